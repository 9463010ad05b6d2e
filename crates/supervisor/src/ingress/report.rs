//! Driver, device, filter and access list as the status shows them.

use super::{Ingress, af_xdp as filter};
use arena::Arena;
use arena::gateway::ACL_CELLS;
use arena::sync::Ordering;
use config::{Driver, Pipeline};
use ports::af_xdp;
use serde_json::{Value, json};

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
            "ports": ports(pipeline),
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

/// Each port with its process, and the copies of a packet's bytes that its driver makes.
fn ports(pipeline: &Pipeline) -> Option<Vec<Value>> {
    if pipeline.ingress.driver != Driver::Dpdk {
        return None;
    }
    let several = pipeline.dpdk.rx.len() > 1;
    let name = |n| if several { format!("rx-gateway.{n}") } else { "rx-gateway".to_owned() };
    let rx = pipeline.dpdk.rx.iter().enumerate().map(|(n, device)| {
        json!({ "process": name(n), "device": device, "driver_copies": device.driver_copies().map(|(rx, _)| rx) })
    });
    let tx = pipeline.dpdk.tx.iter().map(|device| {
        json!({ "process": "tx", "device": device, "driver_copies": device.driver_copies().map(|(_, tx)| tx) })
    });
    Some(rx.chain(tx).collect())
}
