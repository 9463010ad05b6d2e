//! Driver, device, filter and access list as the status shows them.

use super::{Ingress, af_xdp as filter};
use arena::counters::{LINK_UP, RxCounter, TxCounter};
use arena::gateway::ACL_CELLS;
use arena::sync::Ordering;
use arena::topology::TX;
use arena::{Arena, OwnerId};
use config::{DpdkDevice, Driver, Pipeline};
use ports::af_xdp;
use ports::xdp::Interface;
use serde_json::{Map, Value, json};

impl Ingress {
    /// Driver, interface, filter and access list as the status shows them.
    pub(crate) fn report(&mut self, pipeline: &Pipeline, arena: &Arena) -> Value {
        let filter =
            self.device.as_mut().and_then(|device| device.counters().ok()).map(|now| filter::sum(&self.before, &now));
        // Beside a filter rx-gateway applies the list once more to what the kernel's socket serves: not counted twice here.
        let in_stages = |cell: usize| {
            let cells = arena.gateways().filter_map(|page| page.acl_hits.get(cell));
            cells.fold(0_u64, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
        };
        let rules = pipeline.ingress.acl.iter().enumerate().map(|(n, rule)| {
            let in_filter = filter.as_ref().and_then(|f| f.hits.get(n).copied());
            json!({ "rule": rule.to_string(), "hits": in_filter.unwrap_or_else(|| in_stages(n)), "hits_in_rx_gateway": in_stages(n) })
        });
        json!({
            "driver": pipeline.ingress.driver.word(),
            "described": self.describe(),
            "not_taken": self.reasons,
            "device": pipeline.device.as_ref().map(|d| json!({
                "interface": d.interface, "mtu": d.mtu, "queues": d.queues, "zero_copy": d.zero_copy,
                "native": self.device.as_ref().map(|h| h.chosen().native),
                "served": self.device.as_ref().map(af_xdp::Host::served),
            })),
            "ports": ports(pipeline, arena),
            "filter": filter.as_ref().map(|f| json!({
                "redirected": f.redirected, "no_socket": f.no_socket, "denied": f.denied, "limited": f.limited,
                "fragments": f.fragments,
            })),
            "access_list": rules.collect::<Vec<_>>(),
            "policy": pipeline.ingress.acl_policy.word(),
            "policy_hits": filter.as_ref().map_or_else(|| in_stages(ACL_CELLS - 1), |f| f.policy_hits),
        })
    }
}

/// What stages count of their ports; those that a release has are shown.
const COUNTERS: [&str; 8] = [
    "device_missed",
    "device_errors",
    "device_no_mbuf",
    "lost_in_device",
    "sent_unconfirmed",
    "device_send_errors",
    "eal_init_us",
    "port_start_us",
];

/// Each port with its process, the copies of a packet's bytes that its driver makes, its link and what is counted of it.
fn ports(pipeline: &Pipeline, arena: &Arena) -> Option<Vec<Value>> {
    if pipeline.ingress.driver != Driver::Dpdk {
        return None;
    }
    let port = |id: OwnerId, device: &DpdkDevice, copies: Option<u32>, names: &[(usize, &'static str)]| {
        let page = arena.page(id);
        let shown = names.iter().filter(|(_, name)| COUNTERS.contains(name));
        let counted = shown.filter_map(|(cell, name)| Some(((*name).to_owned(), json!(page?.counter(*cell)))));
        let word = |is_up: bool| if is_up { "up" } else { "down" };
        let told = |of: &str| {
            let cell = names.iter().find(|(_, name)| *name == of).map(|(cell, _)| *cell);
            page.zip(cell).map(|(page, cell)| page.counter(cell)).filter(|value| *value != 0)
        };
        // What a driver of PCI sees of its link, its process tells.
        let link = match device.kernel_interface() {
            Some(name) => Some(word(Interface::find(name).is_ok_and(|interface| interface.is_up))),
            None => told("device_link").map(|link| word(link == LINK_UP)),
        };
        let speed_mbps = told("device_link_mbps").filter(|_| device.kernel_interface().is_none());
        json!({
            "process": arena.geometry().instance(id).map(|instance| instance.name(arena.geometry().gateways)),
            "device": device, "driver_copies": copies, "link": link, "link_mbps": speed_mbps,
            "counters": counted.collect::<Map<_, _>>(),
        })
    };
    let gateways = arena.geometry().gateway_ids().zip(&pipeline.dpdk.rx);
    let rx = gateways.map(|(id, device)| port(id, device, device.driver_copies().map(|(rx, _)| rx), RxCounter::ALL));
    let tx = &pipeline.dpdk.tx;
    let more = arena.page(TX).map_or(0, |page| page.counter(TxCounter::CopiesForDevice as usize)) as u32;
    let tx = tx.iter().map(|device| port(TX, device, device.driver_copies().map(|(_, tx)| tx + more), TxCounter::ALL));
    Some(rx.chain(tx).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arena;
    use arena::counters::LINK_DOWN;

    #[test]
    fn ports_are_shown_with_their_processes() {
        let mut pipeline = Pipeline::default_with(config::Engine::Null);
        pipeline.dpdk.rx = DpdkDevice::parse("net_af_packet0,iface=lo").into_iter().collect();
        pipeline.dpdk.tx = DpdkDevice::parse("0000:3b:00.0");
        assert_eq!(ports(&pipeline, &arena()), None);
        pipeline.ingress.driver = Driver::Dpdk;
        let arena = arena();
        let shown = ports(&pipeline, &arena).expect("ports");
        let of = |n: usize| ["process", "device", "driver_copies", "link"].map(|key| shown[n][key].clone());
        assert_eq!(of(0), [json!("rx-gateway"), json!("net_af_packet0,iface=lo"), json!(1), json!("up")]);
        assert_eq!(of(1), [json!("tx"), json!("0000:3b:00.0"), json!(0), Value::Null]);
        assert!(shown[0]["counters"].is_object());
        let page = arena.page(TX).expect("a page");
        for (link, mbps, seen) in
            [(LINK_UP, 10_000, (json!("up"), json!(10_000))), (LINK_DOWN, 0, (json!("down"), Value::Null))]
        {
            let told = [(TxCounter::LinkUp, link), (TxCounter::LinkMbps, mbps), (TxCounter::DeviceErrors, 3)];
            for (cell, value) in told {
                page.counters[cell as usize].store(value, Ordering::Relaxed);
            }
            let shown = ports(&pipeline, &arena).expect("ports");
            assert_eq!((shown[1]["link"].clone(), shown[1]["link_mbps"].clone()), seen);
            assert_eq!(shown[1]["counters"]["device_send_errors"], 3);
        }
    }
}
