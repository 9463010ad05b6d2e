//! System calls that no crate wraps as needed here: links of XDP programs, and ethtool's questions.
//!
//! Why links are made here: the loader's own `attach` falls back to an attachment that stays when the process dies, and its
//! replacement gives the link up, and with it the program that runs, when the new one is refused.

use rustix::io::Errno;
use std::mem::{size_of, size_of_val};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

// Commands and types of include/uapi/linux/bpf.h.
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_XDP: u32 = 37;

// Commands and flags of include/uapi/linux/ethtool.h.
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;

/// Words of `struct ethtool_drvinfo`; its second field is the driver's name, 32 bytes.
const DRVINFO_WORDS: usize = 49;

/// `bpf(2)` with the first words of its attributes; the kernel takes those beyond as 0.
fn bpf(command: libc::c_int, attributes: &mut [u32; 4]) -> Result<RawFd, Errno> {
    let size = size_of_val(attributes);
    // SAFETY: needed for a call that libc does not wrap. The pointer and size describe live memory, and both commands used
    // here read no pointer from it.
    let answer = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size) };
    if answer < 0 { Err(last_errno()) } else { Ok(answer as RawFd) }
}

/// A link that attaches `program` to the interface. The kernel makes the descriptor close-on-exec.
pub(super) fn link_create(program: BorrowedFd<'_>, ifindex: u32, flags: u32) -> Result<OwnedFd, Errno> {
    let fd = bpf(BPF_LINK_CREATE, &mut [program.as_raw_fd() as u32, ifindex, BPF_XDP, flags])?;
    // SAFETY: needed to own what the call returned: a descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Makes `program` the link's, in one step; on an error the old one stays.
pub(super) fn link_update(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<(), Errno> {
    bpf(BPF_LINK_UPDATE, &mut [link.as_raw_fd() as u32, program.as_raw_fd() as u32, 0, 0]).map(drop)
}

/// The driver of interface `name`; `socket` is any one of its network namespace.
pub(super) fn driver(socket: BorrowedFd<'_>, name: &str) -> Result<String, Errno> {
    let mut info = [0; DRVINFO_WORDS];
    info[0] = ETHTOOL_GDRVINFO;
    ethtool(socket, name, &mut info)?;
    let bytes = info[1..9].iter().flat_map(|word| word.to_ne_bytes()).take_while(|byte| *byte != 0).collect::<Vec<_>>();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Whether the interface takes VLAN tags out of the frames it receives.
pub(super) fn strips_vlan_tags(socket: BorrowedFd<'_>, name: &str) -> Result<bool, Errno> {
    let mut value = [ETHTOOL_GFLAGS, 0];
    ethtool(socket, name, &mut value)?;
    Ok(value[1] & ETH_FLAG_RXVLAN != 0)
}

/// Private: the two callers above give the memory that their commands need.
fn ethtool(socket: BorrowedFd<'_>, name: &str, question: &mut [u32]) -> Result<(), Errno> {
    #[repr(C)]
    struct Request {
        name: [u8; libc::IFNAMSIZ],
        data: *mut u32,
        // `struct ifreq` ends in a union of this size.
        rest: [u8; 24 - size_of::<*mut u32>()],
    }
    const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
    let mut request = Request { name: [0; libc::IFNAMSIZ], data: question.as_mut_ptr(), rest: [0; 16] };
    // The last byte stays 0: the kernel wants a C string.
    for (to, from) in request.name[..libc::IFNAMSIZ - 1].iter_mut().zip(name.bytes()) {
        *to = from;
    }
    // SAFETY: needed because no crate has the request. It has the size and layout of `struct ifreq` (checked above), and its
    // pointer leads to live memory of the size that the command at its start writes (struct ethtool_drvinfo: 49 words,
    // struct ethtool_value: 2).
    let answer = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) };
    if answer < 0 { Err(last_errno()) } else { Ok(()) }
}

fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
