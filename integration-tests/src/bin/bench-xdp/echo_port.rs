//! An echo in one process through `RxPort` and `TxPort`: what the driver costs, without the pipeline around it.
//!
//! Each datagram goes back from the buffer it came in, with headers written anew. Ring size and depth are those of a pipeline
//! with the small profile. It ends when its standard input does.

use acl::Compiled;
use anyhow::{Context as _, Result, bail};
use arena::arena::Regions;
use arena::descriptor::DataRange;
use arena::region::{HugePages, Mapping};
use arena::topology::RX;
use arena::{Arena, Geometry, Held, Me};
use config::AclAction;
use ports::af_xdp::{AfXdpRx, AfXdpTx, Pair, RxOptions, TxOptions, Wanted};
use ports::xdp::{Attached, Filter, Interface, Mode, Program};
use ports::{Datagram, Reaped, Received, Route, RxPort, SendOutcome, TxPort, udp};
use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

const BURST: usize = 64;
const BUFFERS: u32 = 4096;
const RING: u32 = 2048;
/// Longest sleep, and longest while something sent may come back unheard.
const SLEEP_NS: i64 = 100_000_000;
const PENDING_NS: i64 = 1_000_000;

/// Of so many empty turns of a spinning echo one looks whether it is to end.
const LOOK_EVERY: u32 = 1 << 16;

struct Echo {
    arena: Arena,
    rx: Box<dyn RxPort>,
    tx: Box<dyn TxPort>,
    free: Vec<Held>,
    /// Packets that are not with the device again, and where the answer lies in each; empty: there is none.
    received: Vec<Received>,
    frames: Vec<DataRange>,
    reaped: Vec<Reaped>,
}

/// What stays open as long as the echo runs, as a supervisor would keep it.
struct Host {
    regions: Regions,
    kernel: udp::Host,
    pairs: Vec<Pair>,
    attached: Attached,
}

impl Host {
    fn open(interface: &Interface, listen: SocketAddr) -> Result<Self> {
        let geometry = Geometry {
            buffers: BUFFERS,
            slots: 2,
            slot_input_bytes: 64,
            slot_output_bytes: 64,
            preprocess: 1,
            infer: 1,
            ring_capacity: 64,
            max_streams: 4,
            gateways: 1,
        };
        // Where the limit cannot be raised, registering the UMEM says so.
        let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
        let (_, regions) = Arena::create(geometry, HugePages::Auto)?;
        let packets = Mapping::map("packets", regions.packets.rw.as_fd(), regions.packets.len, true)?;
        let wanted = Wanted {
            interface: &interface.name,
            ifindex: interface.index,
            ring_size: RING,
            zero_copy: false,
            need_wakeup: true,
            busy_poll: None,
        };
        let pairs = wanted.open(&[0], &packets)?;
        let acl = Compiled::new(&[], AclAction::Allow)?;
        let filter = Filter { mac: interface.mac, addresses: vec![listen.ip()], ports: vec![listen.port()], acl: &acl };
        let attached = Program::load(&filter)?.attach(interface.index, Mode::Native)?;
        let kernel = udp::Host::open(listen, 1 << 20, 1)?;
        Ok(Self { regions, kernel, pairs, attached })
    }

    /// Lets packets come: the queue has been filled.
    fn serve(&mut self) -> Result<()> {
        Ok(self.attached.program().set_socket(0, self.pairs[0].rx.as_fd())?)
    }
}

impl Echo {
    fn attach(host: &Host, mtu: u32) -> Result<Self> {
        let packets = Some((host.regions.packets.rw.as_fd(), true));
        let arena = Arena::attach(host.regions.control.rw.as_fd(), packets, None, None)?;
        let me = Me { id: RX, incarnation: 1 };
        let (kernel, pair) = (host.kernel.rx_descriptors(0).context("the kernel's socket")?, &host.pairs[0]);
        let rx_fds = kernel.into_iter().chain([pair.rx.as_fd()]).map(|fd| fd.try_clone_to_owned());
        let rx_fds: Vec<OwnedFd> = rx_fds.collect::<Result<_, _>>()?;
        let rx_options = RxOptions {
            ring_size: RING,
            depth: RING,
            verify_checksums: false,
            busy_poll: false,
            burst: BURST,
            queues: vec![0],
        };
        let tx_options = TxOptions { ring_size: RING, mtu, zero_copy: false, need_wakeup: true, queues: vec![0] };
        let table = arena.table();
        let mut echo = Self {
            rx: Box::new(AfXdpRx::attach(rx_fds, &rx_options, &arena, me)?),
            tx: Box::new(AfXdpTx::attach(vec![pair.tx.try_clone()?], &tx_options, &arena, me)?),
            free: (0..BUFFERS).filter_map(|index| table.adopt(index, me)).collect(),
            received: Vec::with_capacity(BURST),
            frames: Vec::with_capacity(BURST),
            reaped: Vec::with_capacity(BUFFERS as usize),
            arena,
        };
        echo.rx.offer(&echo.arena, &mut echo.free);
        Ok(echo)
    }

    /// Answers what has come, and takes back what has been sent; how many came.
    fn turn(&mut self) -> Result<usize> {
        let mut n = 0;
        if self.received.is_empty() {
            n = self.rx.receive(&mut self.received, BURST)?;
            for packet in &mut self.received {
                let frame = route(packet)
                    .and_then(|route| self.tx.enclose(self.arena.packet_mut(&mut packet.held), packet.data, &route));
                self.frames.push(frame.unwrap_or(DataRange { offset: 0, len: 0 }));
            }
        }
        // An array is filled twice, with the first and with each: most turns have one packet.
        match self.received.len() {
            0 => {}
            1 => self.send::<1>()?,
            2..=8 => self.send::<8>()?,
            _ => self.send::<BURST>()?,
        }
        self.tx.reap(&mut self.reaped);
        self.free.extend(self.reaped.drain(..).map(|r| r.held));
        self.rx.offer(&self.arena, &mut self.free);
        Ok(n)
    }

    fn send<const N: usize>(&mut self) -> Result<()> {
        let all =
            || self.received.iter().zip(&self.frames).map(|(packet, frame)| datagram(&self.arena, packet, *frame));
        let Some(first) = all().next() else { return Ok(()) };
        let n = self.received.len().min(N);
        let mut datagrams = [first; N];
        let mut outcomes = [SendOutcome::Later; N];
        for (place, datagram) in datagrams.iter_mut().zip(all()).skip(1) {
            *place = datagram;
        }
        self.tx.send(&datagrams[..n], &mut outcomes[..n])?;
        let done = outcomes[..n].iter().take_while(|o| **o != SendOutcome::Later).count();
        self.frames.drain(..done);
        for (Received { held, position, .. }, outcome) in self.received.drain(..done).zip(outcomes) {
            self.rx.recorded(position);
            match outcome {
                SendOutcome::Posted => _ = held.release(),
                _ => self.free.push(held),
            }
        }
        Ok(())
    }

    /// False: nothing came for long.
    fn wait(&self) -> bool {
        let tv_nsec = if self.tx.is_pending() { PENDING_NS } else { SLEEP_NS };
        let mut events = [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }];
        // The driver's descriptor is an epoll instance. An interrupted sleep is a short one.
        epoll::wait(self.rx.readable(), &mut events, Some(&Timespec { tv_sec: 0, tv_nsec })) != Ok(0)
    }

    /// The process ends: what it holds, nobody will miss.
    fn end(self) {
        let received = self.received.into_iter().map(|packet| packet.held);
        for held in self.free.into_iter().chain(received) {
            held.release();
        }
    }
}

/// The way back.
fn route(packet: &Received) -> Option<Route> {
    packet.link.map(|link| Route { to: packet.peer, from: packet.local, link })
}

fn datagram<'a>(arena: &'a Arena, packet: &'a Received, frame: DataRange) -> Datagram<'a> {
    let from = usize::from(frame.offset);
    Datagram {
        head: &packet.held,
        seq: 0,
        last: true,
        first: arena.packet(&packet.held).get(from..from + usize::from(frame.len)).unwrap_or_default(),
        second: &[],
        to: packet.peer,
        from: packet.local,
        offset: frame.offset,
        link: packet.link,
    }
}

/// Serves `interface`'s queue 0, which is in this network namespace: `ADDRESS PORT spin|poll CORE`.
pub fn serve(arguments: &[String]) -> Result<()> {
    let [interface, address, port, wait, core] = arguments else { bail!("the echo needs five arguments") };
    let spin = wait == "spin";
    benches::machine::pin(core.parse()?)?;
    let listen = SocketAddr::new(address.parse::<IpAddr>()?, port.parse()?);
    let interface = Interface::find(interface)?;
    let mut host = Host::open(&interface, listen)?;
    let mut echo = Echo::attach(&host, interface.mtu)?;
    host.serve()?;
    println!("ready");
    // In one thread, and looking for its end in idle moments alone: a second thread would make each system call dearer.
    let mut empty = 0_u32;
    loop {
        let idle = echo.turn()? == 0 && if spin { true } else { !echo.wait() };
        empty = empty.wrapping_add(u32::from(idle));
        if idle && (!spin || empty.is_multiple_of(LOOK_EVERY)) && is_over() {
            break;
        }
    }
    echo.end();
    Ok(())
}

/// Whether the other end of standard input is closed.
fn is_over() -> bool {
    let stdin = std::io::stdin();
    let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|n| n > 0)
}
