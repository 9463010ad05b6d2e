//! What a frame carries besides its bytes: all that a reply needs, copied by rx-gateway from headers and socket, so that
//! no later stage reads a packet header.

use crate::sync::{AtomicU64, Ordering};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Words of an extension.
pub const WORDS: usize = 32;

/// An IP address with port as three words: `family:16 | port:16 | scope:32`, then 16 bytes of address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Address(pub [u64; 3]);

impl Address {
    /// Nobody.
    pub const NONE: Self = Self([0; 3]);

    /// From a socket address.
    #[inline]
    pub fn new(addr: SocketAddr) -> Self {
        let (family, octets, scope) = match addr {
            SocketAddr::V4(a) => (4_u64, a.ip().to_ipv6_mapped().octets(), 0),
            SocketAddr::V6(a) => (6, a.ip().octets(), a.scope_id()),
        };
        let bits = u128::from_be_bytes(octets);
        let first = family << 48 | u64::from(addr.port()) << 32 | u64::from(scope);
        Self([first, (bits >> 64) as u64, bits as u64])
    }

    /// From an address as a number, an IPv4 address in IPv4-mapped form, and a port.
    #[inline]
    pub fn from_bits(bits: u128, port: u16, is_ipv4: bool) -> Self {
        let family = if is_ipv4 { 4_u64 } else { 6 };
        Self([family << 48 | u64::from(port) << 32, (bits >> 64) as u64, bits as u64])
    }

    /// Back to a socket address; `None` if it names nobody.
    #[inline]
    pub fn get(self) -> Option<SocketAddr> {
        let bits = u128::from(self.0[1]) << 64 | u128::from(self.0[2]);
        let port = (self.0[0] >> 32) as u16;
        let ip = Ipv6Addr::from_bits(bits);
        match self.0[0] >> 48 {
            4 => Some(SocketAddr::new(IpAddr::V4(ip.to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED)), port)),
            6 => Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, self.0[0] as u32))),
            _ => None,
        }
    }
}

/// How a frame came in on a link that a driver drives itself: what a reply's own headers are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Who sent it: the request's source address.
    pub peer_mac: [u8; 6],
    /// Our interface, as the request addressed it.
    pub local_mac: [u8; 6],
    /// VLAN tags, the outer one first, each `tpid:16 | tci:16`; 0 = none (IEEE 802.1Q).
    pub tags: [u32; 2],
    /// Device queue that it came in by.
    pub queue: u8,
}

impl Link {
    const PRESENT: u64 = 1 << 56;

    fn to_words(link: Option<Self>) -> [u64; 3] {
        let mac = |m: [u8; 6]| m.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        link.map_or([0; 3], |l| {
            let first = Self::PRESENT | u64::from(l.queue) << 48 | mac(l.peer_mac);
            [first, mac(l.local_mac), u64::from(l.tags[0]) << 32 | u64::from(l.tags[1])]
        })
    }

    fn from_words(w: [u64; 3]) -> Option<Self> {
        let mac = |word: u64| {
            let [_, _, mac @ ..] = word.to_be_bytes();
            mac
        };
        (w[0] & Self::PRESENT != 0).then(|| Self {
            peer_mac: mac(w[0]),
            local_mac: mac(w[1]),
            tags: [(w[2] >> 32) as u32, w[2] as u32],
            queue: (w[0] >> 48) as u8,
        })
    }
}

/// The immutable part of a frame's metadata; rx-gateway writes it for each fragment it keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameMeta {
    /// Stream.
    pub stream: u32,
    /// Encoding, as numbered on the wire.
    pub encoding: u8,
    /// [`FrameMeta::REPLY_ON_DROP`] and others.
    pub flags: u8,
    /// Row of the configuration's streams that rules this frame.
    pub policy: u16,
    /// Row of the stream table.
    pub stream_row: u32,
    /// Byte offset of this fragment's payload in the frame.
    pub fragment_offset: u32,
    /// Bytes of the whole frame.
    pub total_len: u32,
    /// Sender's session.
    pub session: u64,
    /// Frame id.
    pub frame: u64,
    /// Capture time, the sender's; echoed.
    pub capture_time: u64,
    /// First packet's arrival, CLOCK_MONOTONIC ns.
    pub arrival_ns: u64,
    /// When an answer is worth nothing any more, CLOCK_MONOTONIC ns; 0 = never.
    pub deadline_ns: u64,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// Who sent it.
    pub peer: Address,
    /// Who gets the reply; [`Address::NONE`]: nobody.
    pub reply_to: Address,
    /// Our own address that it was sent to, so that the reply comes from there.
    pub local: Address,
    /// The link that it came by; `None`: the kernel's socket.
    pub link: Option<Link>,
}

impl FrameMeta {
    /// A status reply is wanted when the frame is dropped.
    pub const REPLY_ON_DROP: u8 = 1;
    /// The request carried a MAC; the reply does too.
    pub const MAC: u8 = 2;
    pub(crate) const WORDS: usize = 22;

    /// Extension word of metadata word `i`: the link lies behind what changes during a frame's life.
    pub(crate) const fn place(i: usize) -> usize {
        if i < Moment::Admitted as usize { i } else { LINK + i - Moment::Admitted as usize }
    }

    pub(crate) fn to_words(self) -> [u64; Self::WORDS] {
        let a = u64::from(self.stream) << 32
            | u64::from(self.policy) << 16
            | u64::from(self.flags) << 8
            | u64::from(self.encoding);
        let mut w = [0; Self::WORDS];
        w[..10].copy_from_slice(&[
            a,
            u64::from(self.stream_row) << 32 | u64::from(self.fragment_offset),
            u64::from(self.total_len),
            self.session,
            self.frame,
            self.capture_time,
            self.arrival_ns,
            self.deadline_ns,
            u64::from(self.width),
            u64::from(self.height),
        ]);
        w[10..13].copy_from_slice(&self.peer.0);
        w[13..16].copy_from_slice(&self.reply_to.0);
        w[16..19].copy_from_slice(&self.local.0);
        w[19..22].copy_from_slice(&Link::to_words(self.link));
        w
    }

    pub(crate) fn from_words(w: &[u64; Self::WORDS]) -> Self {
        Self {
            stream: (w[0] >> 32) as u32,
            policy: (w[0] >> 16) as u16,
            flags: (w[0] >> 8) as u8,
            encoding: w[0] as u8,
            stream_row: (w[1] >> 32) as u32,
            fragment_offset: w[1] as u32,
            total_len: w[2] as u32,
            session: w[3],
            frame: w[4],
            capture_time: w[5],
            arrival_ns: w[6],
            deadline_ns: w[7],
            width: w[8] as u32,
            height: w[9] as u32,
            peer: Address([w[10], w[11], w[12]]),
            reply_to: Address([w[13], w[14], w[15]]),
            local: Address([w[16], w[17], w[18]]),
            link: Link::from_words([w[19], w[20], w[21]]),
        }
    }
}

/// Moments in a frame's life, CLOCK_MONOTONIC ns; each written by the stage that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Moment {
    /// rx-gateway made it a head.
    Admitted = 19,
    /// preprocess took it up.
    PreprocessStart = 20,
    /// preprocess was done.
    PreprocessEnd = 21,
    /// infer took it up.
    InferStart = 22,
    /// infer was done.
    InferEnd = 23,
}

/// What the engine's input is: `model:16 | place:32`. Place 0 = in the slot, else `offset + 1` of an aligned tensor in the head's packet.
pub(crate) const INPUT: usize = 24;
/// Bytes of results in the slot's output area.
pub(crate) const OUTPUT_BYTES: usize = 25;
/// First of the three words of the link that the frame came by.
pub(crate) const LINK: usize = 29;

/// A buffer's extension record. The first words are the immutable part: [`crate::record`] writes and reads them, checked.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Extension {
    pub(crate) words: [AtomicU64; WORDS],
}

impl Extension {
    /// Stores a moment.
    #[inline]
    pub fn set_moment(&self, moment: Moment, ns: u64) {
        self.words[moment as usize].store(ns, Ordering::Relaxed);
    }

    /// A moment; 0 if it has not come.
    #[inline]
    pub fn moment(&self, moment: Moment) -> u64 {
        self.words[moment as usize].load(Ordering::Relaxed)
    }

    /// Forgets the moments and results of the frame that used this buffer before.
    #[inline]
    pub fn reset(&self) {
        for cell in &self.words[Moment::Admitted as usize..=OUTPUT_BYTES] {
            cell.store(0, Ordering::Relaxed);
        }
    }

    /// Says that the input tensor is made for network `model`, and lies in the packet at this offset of the head's buffer, or in the slot.
    #[inline]
    pub fn set_input(&self, in_packet: Option<u16>, model: u16) {
        let place = in_packet.map_or(0, |offset| u64::from(offset) + 1);
        self.words[INPUT].store(u64::from(model) << 32 | place, Ordering::Relaxed);
    }

    /// Offset of the input tensor in the head's buffer, if it lies there.
    #[inline]
    pub fn input_in_packet(&self) -> Option<usize> {
        (self.words[INPUT].load(Ordering::Relaxed) as u32 as usize).checked_sub(1)
    }

    /// The network that the input tensor is made for; an allegation, as all numbers in shared memory.
    #[inline]
    pub fn model(&self) -> usize {
        (self.words[INPUT].load(Ordering::Relaxed) >> 32) as usize
    }

    /// Bytes that infer wrote into the slot's output area.
    #[inline]
    pub fn set_output_bytes(&self, bytes: u64) {
        self.words[OUTPUT_BYTES].store(bytes, Ordering::Relaxed);
    }

    /// Bytes that infer wrote.
    #[inline]
    pub fn output_bytes(&self) -> u64 {
        self.words[OUTPUT_BYTES].load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_round_trip() {
        for text in ["127.0.0.1:9000", "[::1]:1", "[fe80::1%3]:65535", "0.0.0.0:0", "[2001:db8::5]:443"] {
            let addr: SocketAddr = text.parse().unwrap();
            assert_eq!(Address::new(addr).get(), Some(addr), "{text}");
        }
        assert_eq!(Address::NONE.get(), None);
    }

    #[test]
    fn metadata_round_trips() {
        let meta = FrameMeta {
            stream: 0xdead_beef,
            encoding: 7,
            flags: 3,
            policy: 0xabcd,
            stream_row: 1023,
            fragment_offset: 0x1234_5678,
            total_len: u32::MAX,
            session: 1,
            frame: u64::MAX,
            capture_time: 2,
            arrival_ns: 3,
            deadline_ns: 4,
            width: 5,
            height: 6,
            peer: Address::new("1.2.3.4:5".parse().unwrap()),
            reply_to: Address::NONE,
            local: Address::new("[::1]:7".parse().unwrap()),
            link: Some(Link {
                peer_mac: [2, 3, 4, 5, 6, 7],
                local_mac: [0xff, 0, 1, 2, 3, 4],
                tags: [0x88a8_2fff, 0x8100_0001],
                queue: 63,
            }),
        };
        assert_eq!(FrameMeta::from_words(&meta.to_words()), meta);
        let without = FrameMeta { link: None, ..meta };
        assert_eq!(FrameMeta::from_words(&without.to_words()), without);
    }
}
