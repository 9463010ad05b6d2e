//! Link addresses of those who get replies by configuration (`reply_to`) and not back where the request came from.
//!
//! The kernel knows routes and neighbours; tx does not ask it. What changes there reaches tx with the configuration document;
//! until an address is known, such replies go by the kernel's socket.

use crate::start::Supervisor;
use config::{Neighbour, Pipeline, ReplyTo};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// How often the kernel is asked.
const EVERY_NS: u64 = 1_000_000_000;

/// Who gets replies by configuration.
fn destinations(pipeline: &Pipeline) -> BTreeSet<IpAddr> {
    let streams = pipeline.streams.iter().chain([&pipeline.default_stream]);
    let named = streams.filter_map(|s| match &s.reply_to {
        ReplyTo::Address(address) => Some(address.ip()),
        _ => None,
    });
    named.collect()
}

impl Supervisor {
    /// Asks for the next hops, now and then, and tells tx of what has changed.
    pub(crate) fn watch_neighbours(&mut self, now_ns: u64) {
        let due = now_ns.saturating_sub(self.neighbours_asked_ns) >= EVERY_NS;
        if !due || self.pipeline.device.is_none() || !self.may_publish(now_ns) {
            return;
        }
        self.neighbours_asked_ns = now_ns;
        let destinations = destinations(&self.pipeline);
        if destinations.is_empty() {
            return;
        }
        let known = self.holdings.ingress.neighbours(&destinations);
        let Some(device) = self.pipeline.device.as_mut().filter(|d| d.neighbours != known) else { return };
        tracing::info!(?known, "next hops of replies");
        let before = std::mem::replace(&mut device.neighbours, known);
        if let Err(error) = self.publish_document(now_ns) {
            tracing::error!(%error, "the next hops cannot be told to tx");
            if let Some(device) = &mut self.pipeline.device {
                device.neighbours = before; // to be told again
            }
        }
    }
}

/// From what the kernel says of one destination.
pub(crate) fn neighbour(address: IpAddr, hop: ports::xdp::NextHop) -> Option<Neighbour> {
    Some(Neighbour { address, source: hop.source, mac: hop.mac? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::Engine;

    #[test]
    fn only_named_addresses_are_asked_for() {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        assert!(destinations(&pipeline).is_empty());
        pipeline.default_stream.reply_to = ReplyTo::Address("10.0.0.9:1".parse().unwrap());
        let mut other = pipeline.default_stream.clone();
        other.reply_to = ReplyTo::Address("10.0.0.9:2".parse().unwrap());
        pipeline.streams.push(other);
        assert_eq!(destinations(&pipeline).into_iter().collect::<Vec<_>>(), ["10.0.0.9".parse::<IpAddr>().unwrap()]);
    }
}
