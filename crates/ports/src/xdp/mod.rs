//! The XDP program: the first filter, in the driver of the interface.
//!
//! All of it is host: the supervisor finds the [`Interface`], loads a [`Program`] for a [`Filter`], puts the AF_XDP sockets
//! in, and holds the [`Attached`] link; stages know nothing of it. The program's source is `flumeway.bpf.c`, its object is
//! committed beside it (`make bpf` builds it), and its access list is an [`acl::Compiled`].
//!
//! Needs Linux 5.12 (atomic compare-and-exchange in BPF), CAP_BPF and CAP_NET_ADMIN. Every descriptor is close-on-exec, and
//! the kernel detaches the program when the last descriptor of its link is closed: nothing stays behind a dead supervisor.

mod attached;
mod error;
mod ffi;
mod fill;
mod foreign;
mod interface;
mod netlink;
mod next_hop;
mod program;

pub use attached::{Attached, Counters, Mode};
pub use error::XdpError;
pub use foreign::{Foreign, detach, dispatched, program};
pub use interface::{Installed, Interface};
pub use next_hop::{NextHop, next_hop};
pub use program::{Action, Filter, MAX_QUEUES, Program, Queue};
