//! Which pipeline has a port: names among the sockets of this network namespace, which go with their process however it ends.
//!
//! What the kernel would share (a packet socket on an interface) two pipelines would both answer for.

use super::error::DeviceError;
use crate::spawn::Peer;
use config::{DpdkDevice, Pipeline};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use std::os::fd::{AsFd, OwnedFd};

/// How often others may ask who has a port, until they learn only that it is in use.
const ASKED_MAX: i32 = 128;

/// What is held for as long as the pipeline lives.
#[derive(Debug, Default)]
pub(crate) struct Claims(#[expect(dead_code, reason = "only held")] Vec<OwnedFd>);

impl Claims {
    /// Claims every port of `pipeline`.
    ///
    /// # Errors
    /// [`DeviceError::InUse`] if another pipeline has one.
    pub(crate) fn make(pipeline: &Pipeline) -> Result<Self, DeviceError> {
        pipeline.dpdk.devices().filter_map(|device| claim(device).transpose()).collect::<Result<_, _>>().map(Self)
    }
}

/// What two pipelines cannot both have; `None` for devices that each process makes for itself.
fn port(device: &DpdkDevice) -> Option<&str> {
    device.pci().or_else(|| device.kernel_interface())
}

fn claim(device: &DpdkDevice) -> Result<Option<OwnedFd>, DeviceError> {
    let Some(port) = port(device) else { return Ok(None) };
    let in_use = |holder| DeviceError::InUse { device: device.to_string(), holder };
    // Neither can fail but for want of memory or descriptors; then the driver finds out for itself.
    let Ok(address) = SocketAddrUnix::new_abstract_name(format!("flumeway/port/{port}").as_bytes()) else {
        return Ok(None);
    };
    let socket =
        || socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None);
    let Ok(own) = socket() else { return Ok(None) };
    if bind(&own, &address) != Err(Errno::ADDRINUSE) {
        let _ = listen(&own, ASKED_MAX);
        return Ok(Some(own));
    }
    let connected = socket().and_then(|other| connect(&other, &address).map(|()| other));
    let other = match connected {
        Ok(other) => other,
        // Many have asked it already.
        Err(Errno::AGAIN) => return Err(in_use(None)),
        Err(_) => return Ok(None),
    };
    // Names are free for all: only who could drive a port is believed to have one.
    match Peer::of(other.as_fd()) {
        Ok(peer) if peer.is_own_or_root() => Err(in_use(Some(peer.pid.map_or_else(
            || "a pipeline in another process namespace".to_owned(),
            |pid| format!("the pipeline of process {pid}"),
        )))),
        Ok(_) | Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_one_pipelines_until_that_ends() {
        let mut pipeline = Pipeline::default_with(config::Engine::Null);
        let name = format!("net_af_packet0,iface=c{}", std::process::id() % 100_000);
        pipeline.dpdk.rx = DpdkDevice::parse(&name).into_iter().collect();
        pipeline.dpdk.tx = DpdkDevice::parse("net_null0");
        let first = Claims::make(&pipeline).unwrap();
        pipeline.dpdk.rx = DpdkDevice::parse(&name.replace("af_packet", "af_xdp")).into_iter().collect();
        let refused = Claims::make(&pipeline).unwrap_err().to_string();
        let holder = format!("is in use by the pipeline of process {}; stop that program", std::process::id());
        assert!(refused.contains(&holder), "{refused}");
        drop(first);
        Claims::make(&pipeline).unwrap();
    }
}
