//! Why a frame is refused, and why headers cannot be written. Every refusal is one byte, so that it can index a counter.

/// Why a received frame is no UDP packet that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// Headers, or the lengths they state, reach beyond the frame.
    #[error("the frame ends before its headers or their stated lengths do; it was cut on its way, or look at the MTU")]
    Truncated,
    /// More than two VLAN tags.
    #[error("the frame carries more than two VLAN tags; remove one on the switch")]
    TooManyTags,
    /// No IP: another EtherType, an IEEE 802.3 length, or a version that contradicts the EtherType.
    #[error("the frame carries neither IPv4 nor IPv6; such traffic is to be left to the kernel")]
    NotIp,
    /// IP without UDP.
    #[error("the packet carries another protocol than UDP; such traffic is to be left to the kernel")]
    NotUdp,
    /// An IP fragment, the first included.
    #[error("the packet is a fragment of IP; send datagrams that fit the path's MTU")]
    Fragment,
    /// Lengths that contradict one another.
    #[error("the length fields of the IP or UDP header contradict one another; the sender builds wrong headers")]
    BadLength,
    /// The IPv4 header's checksum does not fit.
    #[error("the checksum of the IPv4 header is wrong; the header was damaged, or the sender leaves it to its NIC")]
    BadIpChecksum,
    /// An IPv6 extension header before UDP.
    #[error("an IPv6 extension header stands before UDP; send without extension headers")]
    ExtensionHeader,
}

/// Why headers cannot be written before a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unwritable {
    /// IPv4 on one side and IPv6 on the other.
    #[error("source and destination are not of one family; answer from the address that the request went to")]
    MixedFamilies,
    /// The payload lies outside the buffer.
    #[error("the payload does not lie within the buffer of {buffer_len} bytes")]
    PayloadOutside {
        /// Bytes of the buffer.
        buffer_len: usize,
    },
    /// Too few bytes before the payload.
    #[error("{headroom} bytes before the payload, the headers take {needed}; leave more headroom")]
    NoHeadroom {
        /// Bytes before the payload.
        headroom: usize,
        /// Bytes that the headers take.
        needed: usize,
    },
    /// More than the 16-bit length fields can state.
    #[error("a payload of {len} bytes does not fit one UDP datagram of {max}; fragment it")]
    PayloadTooLong {
        /// Bytes to send.
        len: usize,
        /// Most that fit.
        max: usize,
    },
    /// A tag with another EtherType than those of VLANs.
    #[error("{tpid:#06x} begins no VLAN tag; 0x8100 (802.1Q) and 0x88a8 (802.1ad) do")]
    UnknownTag {
        /// EtherType given.
        tpid: u16,
    },
}
