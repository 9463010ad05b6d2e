//! What can go wrong with a driver.

use rustix::io::Errno;
use std::net::SocketAddr;

/// Why a driver does not work.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The address is taken.
    #[error("{0} is in use by another program (or another pipeline); stop it, or listen elsewhere: [ingress] listen")]
    InUse(SocketAddr),
    /// The address is not this machine's.
    #[error("{0} is no address of this machine; write one of `ip address`'s, or 0.0.0.0, in [ingress] listen")]
    NotLocal(SocketAddr),
    /// The port is below `net.ipv4.ip_unprivileged_port_start`.
    #[error("{0} needs CAP_NET_BIND_SERVICE; grant it, or write a port of 1024 or above in [ingress] listen")]
    Privileged(SocketAddr),
    /// A system call failed.
    #[error("udp: {call}: {source}")]
    System {
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// Shared memory for the driver's vectors cannot be had.
    #[error(transparent)]
    Region(#[from] arena::region::RegionError),
    /// The wrong number of inherited descriptors.
    #[error("the driver needs {want} descriptors and was given {is}; supervisor and stage are of different releases")]
    Descriptors {
        /// Given.
        is: usize,
        /// Needed.
        want: usize,
    },
}

impl PortError {
    pub(crate) fn system(call: &'static str) -> impl Fn(Errno) -> Self {
        move |source| Self::System { call, source }
    }
}
