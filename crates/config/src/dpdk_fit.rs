//! How `[dpdk]` fits the other sections.

use crate::dpdk::Dpdk;
use crate::dpdk_device::DpdkDevice;
use crate::error::{ConfigError, Origin};
use crate::general::count;
use crate::memory::Hugepages;
use crate::pipeline::Pipeline;
use crate::stream::ReplyTo;
use crate::value::Value;

/// Checks the pipeline as a whole, if a start may take the drivers of `[dpdk]`.
pub(crate) fn check(pipeline: &Pipeline) -> Result<(), ConfigError> {
    let (at, dpdk, listen) = (&pipeline.origin, &pipeline.dpdk, pipeline.ingress.listen);
    if !dpdk.may_serve(pipeline.ingress.driver) {
        return Ok(());
    }
    if let Some(key) = dpdk.without_device() {
        let problem = "is missing, and [ingress] driver = \"dpdk\" needs it";
        return Err(at.error(&format!("dpdk.{key}"), problem, format!("write {}", DpdkDevice::wanted())));
    }
    let gateways = pipeline.rx_gateway.instances;
    if dpdk.rx.len() != gateways as usize {
        let problem = format!("names {} for [rx_gateway] instances = {gateways}", count(dpdk.rx.len(), "device"));
        return Err(at.error("dpdk.rx", &problem, "name one per rx-gateway; queues spread one device's packets"));
    }
    check_ports(at, dpdk)?;
    if listen.port() == 0 {
        let problem = format!("= \"{listen}\" leaves the port to the kernel, which DPDK goes past");
        return Err(at.error("ingress.listen", &problem, "write a port"));
    }
    if dpdk.addresses(listen.ip()).is_empty() {
        let problem = format!("is empty, and [ingress] listen = \"{listen}\" names no address either");
        return Err(at.error("dpdk.addresses", &problem, "write the addresses that senders reach this machine by"));
    }
    let pci = dpdk.devices().find_map(DpdkDevice::pci);
    if let (Some(device), Hugepages::Off) = (pci, pipeline.arena.hugepages) {
        let problem = format!("= \"off\", and {device} reads and writes the arena itself: its pages must be huge");
        return Err(at.error("arena.hugepages", &problem, "write \"require\""));
    }
    check_buffers(pipeline)?;
    check_neighbours(pipeline)
}

/// No two processes drive one port.
fn check_ports(at: &Origin, dpdk: &Dpdk) -> Result<(), ConfigError> {
    let devices: Vec<&DpdkDevice> = dpdk.devices().collect();
    for (n, device) in devices.iter().enumerate() {
        let Some(first) = devices[..n].iter().find(|other| other.is_port_of(device)) else { continue };
        let is_tx = n == dpdk.rx.len();
        let key = if is_tx { "dpdk.tx" } else { "dpdk.rx" };
        let problem = format!("= \"{device}\" is the same port as \"{first}\"");
        let remedy = if is_tx {
            "rx and tx need two ports or functions: name another, or with one port write [ingress] driver = \"af_xdp\""
        } else {
            "name each once; queues spread one device's packets"
        };
        return Err(at.error(key, &problem, remedy));
    }
    Ok(())
}

/// What waits in the device and its pool is lost to frames in flight: half of the buffers at least is left to them.
fn check_buffers(pipeline: &Pipeline) -> Result<(), ConfigError> {
    let (dpdk, gateways) = (&pipeline.dpdk, pipeline.rx_gateway.instances);
    let share = pipeline.arena.buffers / gateways.max(1);
    let held = dpdk.buffers_held();
    if held <= share / 2 {
        return Ok(());
    }
    let own = dpdk.rx.iter().find(|rx| rx.least_buffers() > dpdk.rx_descriptors);
    let own = own.map(|rx| format!(" (its driver takes {})", rx.least_buffers())).unwrap_or_default();
    let problem = format!(
        "= {}{own} for {} and pool_cache = {} keep {held} of the {share} buffers of an rx-gateway with the device",
        dpdk.rx_descriptors,
        count(dpdk.queues as usize, "queue"),
        dpdk.pool_cache,
    );
    let buffers = u64::from(held) * 2 * u64::from(gateways);
    let remedy = format!("leave half to frames in flight: write less, or [arena] buffers = {buffers}");
    Err(pipeline.origin.error("dpdk.rx_descriptors", &problem, remedy))
}

/// No kernel knows the link addresses of those who get replies without having asked.
fn check_neighbours(pipeline: &Pipeline) -> Result<(), ConfigError> {
    for stream in std::iter::once(&pipeline.default_stream).chain(&pipeline.streams) {
        let ReplyTo::Address(to) = stream.reply_to else { continue };
        if pipeline.dpdk.neighbours.iter().all(|neighbour| neighbour.address != to.ip()) {
            let key = format!("stream.{}.reply_to", stream.id);
            let problem = format!("= \"{to}\" has no entry in [dpdk] neighbours");
            let remedy =
                format!("add {{ address = \"{}\", mac = \"...\" }} with the next hop's hardware address", to.ip());
            return Err(pipeline.origin.error(&key, &problem, remedy));
        }
    }
    Ok(())
}
