//! [`Program`]: the filter in the kernel, its maps filled.

use super::error::XdpError;
use super::fill;
use acl::Compiled;
use aya::maps::XskMap;
use aya::programs::Xdp;
use aya::{Ebpf, EbpfLoader, TestRun, TestRunOptions};
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

/// Receive queues that can have a socket; frames of those beyond go to the kernel.
pub const MAX_QUEUES: u32 = 256;

/// The program, as `make bpf` builds it. Aligned, because the loader reads it in place.
static OBJECT: &[u8] = aya::include_bytes_aligned!("flumeway.bpf.o");

/// What goes to the sockets.
#[derive(Clone, Debug)]
pub struct Filter<'a> {
    /// The interface's own MAC address; frames for others (and for all) are left to the kernel.
    pub mac: [u8; 6],
    /// The addresses that the pipeline serves: the configured one, or all of the interface's.
    pub addresses: Vec<IpAddr>,
    /// The UDP ports that it serves.
    pub ports: Vec<u16>,
    /// What of that may come in.
    pub acl: &'a Compiled,
}

/// The program, loaded, with maps of its own.
#[derive(Debug)]
pub struct Program {
    pub(super) ebpf: Ebpf,
    pub(super) rules: usize,
}

/// What the program does with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nobody gets it.
    Drop,
    /// The kernel gets it.
    Pass,
    /// The socket of its queue gets it.
    Redirect,
    /// One that the program never gives.
    Other(u32),
}

/// Where a trial frame comes from.
#[derive(Clone, Copy, Debug)]
pub struct Queue {
    /// The interface's number.
    pub ifindex: u32,
    /// Its receive queue.
    pub index: u32,
}

impl Program {
    /// Loads the program for `filter`. It filters nothing before it is attached.
    pub fn load(filter: &Filter<'_>) -> Result<Self, XdpError> {
        let mut loader = EbpfLoader::new();
        // Nothing in the program depends on the kernel's own types.
        loader.btf(None);
        let constants = fill::Constants::new(filter);
        constants.set(&mut loader);
        fill::size_maps(&mut loader, filter);
        let mut ebpf = loader.load(OBJECT).map_err(|error| XdpError::load(&error))?;
        fill::fill(&mut ebpf, filter)?;
        let mut program = Self { ebpf, rules: filter.acl.len() };
        program.xdp_mut()?.load().map_err(|error| XdpError::load(&error))?;
        Ok(program)
    }

    /// Gives frames of `queue` to the AF_XDP socket, which must be bound to that queue of the interface.
    pub fn set_socket(&mut self, queue: u32, socket: BorrowedFd<'_>) -> Result<(), XdpError> {
        use std::os::fd::AsRawFd;
        self.sockets(queue)?.set(queue, socket.as_raw_fd(), 0).map_err(XdpError::map("sockets"))
    }

    /// Gives frames of `queue` to the kernel. It is no error if they go there already.
    pub fn clear_socket(&mut self, queue: u32) -> Result<(), XdpError> {
        match self.sockets(queue)?.unset(queue) {
            Err(aya::maps::MapError::KeyNotFound) => Ok(()),
            Err(aya::maps::MapError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOENT) => {
                Ok(())
            }
            other => other.map_err(XdpError::map("sockets")),
        }
    }

    /// Runs the program on one frame (14 bytes or more) without sending it anywhere. `now_ns` is the time for rate limits; 0
    /// takes the clock. Without `queue` the frame comes from the loopback's.
    pub fn test_run(&mut self, frame: &[u8], now_ns: u64, queue: Option<Queue>) -> Result<Action, XdpError> {
        fill::set_time(&mut self.ebpf, now_ns)?;
        // `struct xdp_md`: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = queue.map(|queue| {
            let words = [0, frame.len() as u32, 0, queue.ifindex, queue.index, 0];
            words.iter().flat_map(|word| word.to_ne_bytes()).collect::<Vec<u8>>()
        });
        let options = TestRunOptions { data_in: Some(frame), ctx_in: context.as_deref(), ..TestRunOptions::default() };
        let failed = |error: aya::programs::ProgramError| XdpError::TestRun(error.to_string());
        Ok(match self.xdp_mut()?.test_run(options).map_err(failed)?.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            4 => Action::Redirect,
            other => Action::Other(other),
        })
    }

    /// The program in it.
    pub(super) fn xdp_mut(&mut self) -> Result<&mut Xdp, XdpError> {
        let missing = || XdpError::Load("the object has no program called flumeway".to_owned());
        self.ebpf.program_mut("flumeway").and_then(|program| program.try_into().ok()).ok_or_else(missing)
    }

    fn sockets(&mut self, queue: u32) -> Result<XskMap<&mut aya::maps::MapData>, XdpError> {
        if queue >= MAX_QUEUES {
            return Err(XdpError::Queue(queue));
        }
        XskMap::try_from(fill::map(&mut self.ebpf, "sockets")?).map_err(XdpError::map("sockets"))
    }
}
