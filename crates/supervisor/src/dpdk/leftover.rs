//! The XDP program that `net_af_xdp` leaves on its interface when its process is killed.

use config::Pipeline;
use ports::xdp::{Interface, detach, program_name};

/// What the library's helper (libxdp) calls its programs: the one that fills sockets, and the one that calls others in turn.
const PROGRAMS: [&str; 3] = ["xsk_def_prog", "xsk_def_xdp_pro", "xdp_dispatcher"];

/// Whether program `id` is of the kind that the library leaves behind.
pub(super) fn is_librarys(id: u32) -> bool {
    program_name(id).is_some_and(|name| PROGRAMS.contains(&name.as_str()))
}

/// Takes such programs from the interfaces of `pipeline`, whose stages have ended; says what could not be taken.
pub(crate) fn clear(pipeline: &Pipeline) -> Vec<String> {
    let xdp = pipeline.dpdk.devices().filter(|device| device.virtual_driver() == Some("net_af_xdp"));
    let interfaces = xdp.filter_map(|device| Interface::find(device.kernel_interface()?).ok());
    let left = interfaces.filter(|interface| interface.xdp.is_some_and(|there| is_librarys(there.program)));
    let cleared = left.filter_map(|interface| {
        let error = detach(&interface).err()?;
        Some(format!("the XDP program stays on {0}: {error}; run: ip link set dev {0} xdp off", interface.name))
    });
    cleared.collect()
}
