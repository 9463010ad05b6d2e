//! What tx must know of each stream: its key, how many status replies it may get, and how who gets them is reached.

use arena::meta::{Address, FrameMeta, Link};
use config::{DeviceFacts, Driver, Pipeline, StaticNeighbour, Stream, StreamId};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use wire::MacKey;

/// One stream's entry.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) key: Option<MacKey>,
    per_s: u32,
    left: u32,
    second_ns: u64,
}

impl Rule {
    fn new(stream: &Stream) -> Self {
        Self {
            key: stream.mac_key.as_ref().map(|k| MacKey::from_bytes(k.bytes())),
            per_s: stream.reply_on_drop_per_s,
            left: stream.reply_on_drop_per_s,
            second_ns: 0,
        }
    }

    /// Whether one more status reply may go out in this second.
    pub(crate) fn allow_status(&mut self, now_ns: u64) -> bool {
        if now_ns.wrapping_sub(self.second_ns) >= 1_000_000_000 {
            self.second_ns = now_ns;
            self.left = self.per_s;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// All entries.
#[derive(Debug)]
pub(crate) struct Rules {
    own: HashMap<u32, Rule>,
    default: Rule,
    device: Option<DeviceFacts>,
    /// Frames come out of a file: there is no other way back than their link.
    by_link_alone: bool,
    /// Where no kernel knows routes: those that the configuration names, and our own addresses.
    hops: Vec<StaticNeighbour>,
    own_addresses: Vec<IpAddr>,
}

impl Rules {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let own = pipeline.streams.iter().filter_map(|s| match s.id {
            StreamId::Id(id) => Some((id, Rule::new(s))),
            StreamId::Default => None,
        });
        let default = Rule::new(&pipeline.default_stream);
        let by_link_alone = pipeline.ingress.driver == Driver::Replay;
        let (hops, own_addresses) = if pipeline.ingress.driver == Driver::Dpdk {
            (pipeline.dpdk.neighbours.clone(), pipeline.dpdk.addresses(pipeline.ingress.listen.ip()))
        } else {
            (Vec::new(), Vec::new())
        };
        Self { own: own.collect(), default, device: pipeline.device.clone(), by_link_alone, hops, own_addresses }
    }

    /// By which link a reply goes, and from which address. Back where the request came from, or to the next hop of whom the
    /// configuration names; without a link it goes by the kernel's socket, which knows all routes.
    pub(crate) fn way(&self, meta: &FrameMeta) -> (Option<Link>, Address) {
        if meta.reply_to == meta.peer || self.by_link_alone {
            return (meta.link, meta.local);
        }
        let found = self.device.as_ref().zip(meta.reply_to.get()).and_then(|(device, to)| {
            let neighbour = device.neighbours.iter().find(|n| n.address == to.ip())?;
            let (local, queue) = (meta.local.get()?, meta.link.map_or(0, |l| l.queue));
            let from = if local.is_ipv4() == to.is_ipv4() { local.ip() } else { neighbour.source };
            let link = Link { peer_mac: neighbour.mac, local_mac: device.mac, tags: [0; 2], queue };
            Some((Some(link), Address::new(SocketAddr::new(from, local.port()))))
        });
        found.or_else(|| self.hop(meta)).unwrap_or((None, meta.local))
    }

    /// The way to a fixed address by a hop that the configuration names; from the address that the request went to, or one of ours of
    /// the other family. Untagged; the hardware address that it comes from is the sending port's to say.
    fn hop(&self, meta: &FrameMeta) -> Option<(Option<Link>, Address)> {
        let (to, local) = (meta.reply_to.get()?, meta.local.get()?);
        let hop = self.hops.iter().find(|hop| hop.address == to.ip())?;
        let from = if local.is_ipv4() == to.is_ipv4() {
            local.ip()
        } else {
            *self.own_addresses.iter().find(|own| own.is_ipv4() == to.is_ipv4())?
        };
        let (local_mac, queue) = meta.link.map_or(([0; 6], 0), |l| (l.local_mac, l.queue));
        let link = Link { peer_mac: hop.mac.0, local_mac, tags: [0; 2], queue };
        Some((Some(link), Address::new(SocketAddr::new(from, local.port()))))
    }

    pub(crate) fn of(&mut self, stream: u32) -> &mut Rule {
        if self.own.is_empty() { &mut self.default } else { self.own.get_mut(&stream).unwrap_or(&mut self.default) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_go_back_or_to_the_next_hop_or_by_the_kernel() {
        let address = |text: &str| Address::new(text.parse().unwrap());
        let link = Link { peer_mac: [1; 6], local_mac: [2; 6], tags: [0x8100_0007, 0], queue: 3 };
        let meta = FrameMeta {
            peer: address("10.0.0.1:5"),
            reply_to: address("10.0.0.1:5"),
            local: address("10.0.0.2:9000"),
            link: Some(link),
            ..FrameMeta::default()
        };
        let mut pipeline = Pipeline::default_with(config::Engine::Null);
        assert_eq!(Rules::new(&pipeline).way(&meta), (Some(link), meta.local));
        let elsewhere = FrameMeta { reply_to: address("10.9.0.1:77"), ..meta };
        assert_eq!(Rules::new(&pipeline).way(&elsewhere), (None, meta.local), "by the kernel");
        let (hop, ours) = ("10.9.0.1".parse().unwrap(), "10.0.0.3".parse().unwrap());
        pipeline.device = Some(DeviceFacts {
            interface: "eth0".to_owned(),
            mac: [9; 6],
            mtu: 1500,
            queues: vec![3],
            zero_copy: false,
            neighbours: vec![config::Neighbour { address: hop, source: ours, mac: [8; 6] }],
        });
        let mut replayed = pipeline.clone();
        replayed.ingress.driver = Driver::Replay;
        assert_eq!(Rules::new(&replayed).way(&elsewhere), (Some(link), meta.local), "a file knows no routes");
        let by_hop = Link { peer_mac: [8; 6], local_mac: [9; 6], tags: [0; 2], queue: 3 };
        assert_eq!(Rules::new(&pipeline).way(&elsewhere), (Some(by_hop), meta.local));
        let from_v6 = FrameMeta { local: address("[fd00::2]:9000"), ..elsewhere };
        assert_eq!(Rules::new(&pipeline).way(&from_v6), (Some(by_hop), address("10.0.0.3:9000")));
    }

    #[test]
    fn without_a_kernel_the_configuration_names_the_hops() {
        let address = |text: &str| Address::new(text.parse().unwrap());
        let link = Link { peer_mac: [1; 6], local_mac: [2; 6], tags: [0x8100_0007, 0], queue: 1 };
        let meta = FrameMeta {
            peer: address("10.0.0.1:5"),
            reply_to: address("10.9.0.1:77"),
            local: address("10.0.0.2:9000"),
            link: Some(link),
            ..FrameMeta::default()
        };
        let mut pipeline = Pipeline::default_with(config::Engine::Null);
        let hop = |ip: &str| StaticNeighbour { address: ip.parse().unwrap(), mac: config::LinkAddress([8; 6]) };
        pipeline.dpdk.neighbours = vec![hop("10.9.0.1"), hop("fd09::1")];
        pipeline.dpdk.addresses = vec!["10.0.0.2".parse().unwrap(), "fd00::2".parse().unwrap()];
        assert_eq!(Rules::new(&pipeline).way(&meta), (None, meta.local), "another driver's");
        pipeline.ingress.driver = Driver::Dpdk;
        let rules = Rules::new(&pipeline);
        let by_hop = Link { peer_mac: [8; 6], tags: [0; 2], ..link };
        assert_eq!(rules.way(&meta), (Some(by_hop), meta.local));
        let to_v6 = FrameMeta { reply_to: address("[fd09::1]:77"), ..meta };
        assert_eq!(rules.way(&to_v6), (Some(by_hop), address("[fd00::2]:9000")));
        let unknown = FrameMeta { reply_to: address("10.9.0.2:77"), ..meta };
        assert_eq!(rules.way(&unknown), (None, meta.local));
        let back = FrameMeta { reply_to: meta.peer, ..meta };
        assert_eq!(rules.way(&back), (Some(link), meta.local), "a request's own sender needs none");
    }

    #[test]
    fn statuses_are_rationed_by_the_second() {
        let mut stream = Pipeline::default_with(config::Engine::Null).default_stream;
        stream.reply_on_drop_per_s = 2;
        let mut rule = Rule::new(&stream);
        let s = 1_000_000_000;
        let allowed: Vec<_> = [s, s + 1, s + 2, 2 * s - 1, 2 * s].iter().map(|t| rule.allow_status(*t)).collect();
        assert_eq!(allowed, [true, true, false, false, true]);
    }
}
