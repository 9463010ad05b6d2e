//! What `check` says of the interface: which driver it would be, on which queues, and what to set there.

use config::{Driver, Pipeline};
use ports::xdp::Interface;
use serde_json::{Value, json};
use std::path::PathBuf;
use supervisor::Examined;
use supervisor::StartError;

/// The driver that a start would take, or why the one that is named cannot serve.
pub(super) struct Ingress(Result<Examined, StartError>);

impl Ingress {
    pub(super) fn examine(pipeline: &Pipeline) -> Self {
        Self(supervisor::examine(pipeline))
    }

    /// Whether a start could go on.
    pub(super) fn can_start(&self) -> bool {
        self.0.is_ok()
    }

    /// Why it could not.
    pub(super) fn problem(&self) -> Option<String> {
        self.0.as_ref().err().map(ToString::to_string)
    }

    /// For people.
    pub(super) fn text(&self, pipeline: &Pipeline) -> String {
        let examined = match &self.0 {
            Ok(examined) => examined,
            Err(error) => return format!("Packets\n  problem: {error}"),
        };
        let mut lines = vec!["Packets".to_owned()];
        match &examined.interface {
            Some((interface, queues)) => {
                lines.push(format!(
                    "  af_xdp on {} (driver {}, MTU {}), queues {queues:?} of {}; native and zero copy are decided at the start",
                    interface.name,
                    if interface.driver.is_empty() { "unknown" } else { &interface.driver },
                    interface.mtu,
                    interface.rx_queues,
                ));
                lines.extend(advice(pipeline, interface, queues).into_iter().map(|a| format!("  advice: {a}")));
            }
            None if examined.driver == Driver::Replay => {
                let path =
                    |path: &Option<PathBuf>| path.as_deref().map(|p| p.display().to_string()).unwrap_or_default();
                let (input, output) = (path(&pipeline.replay.input), path(&pipeline.replay.output));
                lines.push(format!("  replay: {input} in, {output} out"));
            }
            None if examined.driver == Driver::Dpdk => {
                let addresses = pipeline.dpdk.addresses(pipeline.ingress.listen.ip());
                let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                lines.push(format!("  dpdk: {}", ports(pipeline).collect::<Vec<_>>().join(", ")));
                lines.push(format!("  answers for {} on the link itself", addresses.join(", ")));
            }
            None => lines.push("  udp: the kernel's sockets".to_owned()),
        }
        lines.extend(examined.reasons.iter().map(|reason| format!("  {reason}")));
        lines.join("\n")
    }

    /// For programs.
    pub(super) fn json(&self, pipeline: &Pipeline) -> Value {
        let examined = match &self.0 {
            Ok(examined) => examined,
            Err(error) => return json!({ "problem": error.to_string() }),
        };
        let interface = examined.interface.as_ref().map(|(interface, queues)| {
            json!({
                "name": interface.name, "driver": interface.driver, "mtu": interface.mtu, "queues": queues,
                "rx_queues": interface.rx_queues, "advice": advice(pipeline, interface, queues),
            })
        });
        let devices = (examined.driver == Driver::Dpdk).then(|| pipeline.dpdk.devices().collect::<Vec<_>>());
        json!({
            "driver": examined.driver.word(), "not_taken": examined.reasons, "interface": interface, "devices": devices,
        })
    }
}

/// The ports, each with its direction.
fn ports(pipeline: &Pipeline) -> impl Iterator<Item = String> {
    let rx = pipeline.dpdk.rx.iter().map(|device| format!("rx {device}"));
    rx.chain(pipeline.dpdk.tx.iter().map(|device| format!("tx {device}")))
}

/// What to set at the interface.
fn advice(pipeline: &Pipeline, interface: &Interface, queues: &[u32]) -> Vec<String> {
    let (name, port) = (&interface.name, pipeline.ingress.listen.port());
    let mut advice = Vec::new();
    if (queues.len() as u32) < interface.rx_queues {
        let first: Vec<u32> = (0..queues.len() as u32).collect();
        let steer = if queues == first {
            format!("ethtool -X {name} equal {}", queues.len())
        } else {
            let family = if pipeline.ingress.listen.is_ipv6() { "udp6" } else { "udp4" };
            let queue = queues.first().copied().unwrap_or(0);
            format!("ethtool -N {name} flow-type {family} dst-port {port} action {queue}")
        };
        advice.push(format!(
            "the kernel's socket serves frames on the other queues, at its own cost; to steer them away, run: {steer}"
        ));
    }
    if queues.len() < pipeline.rx_gateway.instances as usize {
        advice.push(format!(
            "{} rx-gateways share {} queues: some have none; write [rx_gateway] instances = {}",
            pipeline.rx_gateway.instances,
            queues.len(),
            queues.len()
        ));
    }
    if interface.strips_vlan_tags {
        advice.push(format!(
            "{name} takes VLAN tags out of frames, so that neither rules nor replies know them; if there are VLANs, run: \
             ethtool -K {name} rxvlan off"
        ));
    }
    if pipeline.af_xdp.busy_poll_us > 0 {
        advice.push(format!(
            "busy polling spares interrupts only with: echo 2 > /sys/class/net/{name}/napi_defer_hard_irqs; \
             echo 200000 > /sys/class/net/{name}/gro_flush_timeout"
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Engine;

    fn interface() -> Interface {
        Interface {
            name: "eth0".to_owned(),
            index: 2,
            mac: [2; 6],
            mtu: 1500,
            addresses: Vec::new(),
            rx_queues: 4,
            driver: "ixgbe".to_owned(),
            strips_vlan_tags: true,
            is_up: true,
            xdp: None,
        }
    }

    #[test]
    fn fewer_queues_than_the_interface_has_call_for_steering() {
        let pipeline = Pipeline::default_with(Engine::Null);
        let all = advice(&pipeline, &interface(), &[0, 1, 2, 3]);
        assert_eq!(all.len(), 1, "{all:?}");
        assert!(all[0].contains("ethtool -K eth0 rxvlan off"), "{all:?}");
        assert!(advice(&pipeline, &interface(), &[0, 1])[0].ends_with("ethtool -X eth0 equal 2"));
        let one = advice(&pipeline, &interface(), &[3]);
        assert!(one[0].ends_with("ethtool -N eth0 flow-type udp4 dst-port 9000 action 3"), "{one:?}");
    }

    #[test]
    fn a_driver_that_is_named_and_cannot_serve_is_a_problem() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        let auto = Ingress::examine(&pipeline);
        assert!(auto.can_start() && auto.text(&pipeline).contains("not af_xdp: [af_xdp] interface does not name one"));
        pipeline.ingress.driver = Driver::AfXdp;
        pipeline.af_xdp.interface = config::Auto::Fixed("no-such-if".to_owned());
        let named = Ingress::examine(&pipeline);
        assert!(!named.can_start() && named.text(&pipeline).contains("no-such-if"));
        assert_eq!((auto.problem(), named.problem().is_some_and(|p| p.contains("no-such-if"))), (None, true));
    }
}
