//! Frames to test with: built by etherparse from a description that proptest can draw.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use etherparse::{
    EtherType, Ethernet2Header, IpNumber, Ipv4Header, Ipv4Options, Ipv6FlowLabel, Ipv6Header, SingleVlanHeader,
    UdpHeader,
};
use proptest::prelude::*;
use wire::packet::{Link, Path, Tag};

pub const PEER: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub const US: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// What a frame is to say.
#[derive(Debug, Clone)]
pub struct Description {
    pub link: Link,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub hops: u8,
    /// IPv4 options: a multiple of 4 bytes, up to 40.
    pub options: Vec<u8>,
    pub identification: u16,
    pub traffic_class: u8,
    pub flow_label: u32,
    pub payload: Vec<u8>,
    /// Bytes behind the packet.
    pub padding: Vec<u8>,
    /// IPv4 without UDP checksum.
    pub without_checksum: bool,
}

impl Description {
    pub fn v4(payload: &[u8]) -> Self {
        Self {
            link: Link { peer_mac: PEER, local_mac: US, tags: [None; 2] },
            source: SocketAddr::from(([192, 0, 2, 7], 40_000)),
            destination: SocketAddr::from(([198, 51, 100, 9], 9_000)),
            hops: 61,
            options: Vec::new(),
            identification: 0x1234,
            traffic_class: 0,
            flow_label: 0,
            payload: payload.to_vec(),
            padding: Vec::new(),
            without_checksum: false,
        }
    }

    pub fn v6(payload: &[u8]) -> Self {
        let address = |last| Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
        Self { source: (address(7), 40_000).into(), destination: (address(9), 9_000).into(), ..Self::v4(payload) }
    }

    /// The frame, as etherparse builds it.
    pub fn frame(&self) -> Vec<u8> {
        let inner = if self.source.is_ipv4() { EtherType::IPV4 } else { EtherType::IPV6 };
        let tags: Vec<Tag> = self.link.tags.iter().flatten().copied().collect();
        let types: Vec<_> = tags.iter().map(|tag| EtherType(tag.tpid())).chain([inner]).collect();
        let ethernet =
            Ethernet2Header { source: self.link.peer_mac, destination: self.link.local_mac, ether_type: types[0] };
        let mut frame = ethernet.to_bytes().to_vec();
        for (tag, ether_type) in tags.iter().zip(&types[1..]) {
            let vlan = SingleVlanHeader {
                pcp: ((tag.tci() >> 13) as u8).try_into().unwrap(),
                drop_eligible_indicator: tag.tci() & 0x1000 != 0,
                vlan_id: (tag.tci() & 0xfff).try_into().unwrap(),
                ether_type: *ether_type,
            };
            frame.extend_from_slice(&vlan.to_bytes());
        }
        match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(&mut frame, source, destination),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(&mut frame, source, destination),
            _ => panic!("one family: {self:?}"),
        }
        frame.extend_from_slice(&self.payload);
        frame.extend_from_slice(&self.padding);
        frame
    }

    fn ipv4(&self, frame: &mut Vec<u8>, source: Ipv4Addr, destination: Ipv4Addr) {
        let udp_len = (8 + self.payload.len()) as u16;
        let mut ip = Ipv4Header::new(udp_len, self.hops, IpNumber::UDP, source.octets(), destination.octets()).unwrap();
        ip.options = Ipv4Options::try_from(&self.options[..]).unwrap();
        ip.set_payload_len(udp_len.into()).unwrap();
        ip.identification = self.identification;
        ip.header_checksum = ip.calc_header_checksum();
        frame.extend_from_slice(&ip.to_bytes());
        let (from, to) = (self.source.port(), self.destination.port());
        let udp = if self.without_checksum {
            UdpHeader::without_ipv4_checksum(from, to, self.payload.len())
        } else {
            UdpHeader::with_ipv4_checksum(from, to, &ip, &self.payload)
        };
        frame.extend_from_slice(&udp.unwrap().to_bytes());
    }

    fn ipv6(&self, frame: &mut Vec<u8>, source: Ipv6Addr, destination: Ipv6Addr) {
        let ip = Ipv6Header {
            traffic_class: self.traffic_class,
            flow_label: Ipv6FlowLabel::try_new(self.flow_label).unwrap(),
            payload_length: (8 + self.payload.len()) as u16,
            next_header: IpNumber::UDP,
            hop_limit: self.hops,
            source: source.octets(),
            destination: destination.octets(),
        };
        frame.extend_from_slice(&ip.to_bytes());
        let (from, to) = (self.source.port(), self.destination.port());
        let udp = UdpHeader::with_ipv6_checksum(from, to, &ip, &self.payload).unwrap();
        frame.extend_from_slice(&udp.to_bytes());
    }
}

fn tag() -> impl Strategy<Value = Tag> {
    (prop_oneof![Just(0x8100), Just(0x88a8)], any::<u16>()).prop_map(|(tpid, tci)| Tag::new(tpid, tci))
}

pub fn link() -> impl Strategy<Value = Link> {
    let tags = prop_oneof![
        Just([None; 2]),
        tag().prop_map(|t| [Some(t), None]),
        (tag(), tag()).prop_map(|(a, b)| [Some(a), Some(b)])
    ];
    (any::<[u8; 6]>(), any::<[u8; 6]>(), tags).prop_map(|(peer_mac, local_mac, tags)| Link {
        peer_mac,
        local_mac,
        tags,
    })
}

/// Two addresses of one family, with ports.
pub fn addresses() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    let v4 = any::<[Ipv4Addr; 2]>().prop_map(|pair| pair.map(IpAddr::V4));
    let v6 = any::<[Ipv6Addr; 2]>().prop_map(|pair| pair.map(IpAddr::V6));
    (prop_oneof![v4, v6], any::<[u16; 2]>()).prop_map(|([a, b], [p, q])| ((a, p).into(), (b, q).into()))
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let sizes = prop_oneof![0..80_usize, 1_400..1_500_usize, Just(3_328)];
    sizes.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len))
}

pub fn description() -> impl Strategy<Value = Description> {
    let options = proptest::collection::vec(any::<[u8; 4]>(), 0..=10).prop_map(|words| words.concat());
    let fields = (any::<u8>(), options, any::<u16>(), any::<u8>(), 0..1_u32 << 20, any::<bool>());
    (link(), addresses(), fields, payload(), proptest::collection::vec(any::<u8>(), 0..50)).prop_map(
        |(
            link,
            (source, destination),
            (hops, options, identification, traffic_class, flow_label, none),
            payload,
            padding,
        )| {
            let without_checksum = none && source.is_ipv4();
            let options = if source.is_ipv4() { options } else { Vec::new() };
            Description {
                link,
                source,
                destination,
                hops,
                options,
                identification,
                traffic_class,
                flow_label,
                payload,
                padding,
                without_checksum,
            }
        },
    )
}

pub fn path() -> impl Strategy<Value = Path> {
    (link(), addresses(), any::<u8>(), any::<u16>()).prop_map(|(link, (from, to), hops, identification)| Path {
        link,
        from,
        to,
        hops,
        identification,
    })
}
