//! Packet headers: Ethernet II, up to two VLAN tags, IPv4 or IPv6, UDP. For drivers that see whole frames.
//!
//! ```text
//!             0            14           14 + 4 n         + 20..60 or 40    + 8
//! frame       | Ethernet   | 0-2 tags   | IPv4 or IPv6   | UDP             | payload ........ | padding
//!             | link.rs    | link.rs    | ip.rs          | udp.rs, headers.rs                 | cut off
//! ```
//!
//! | file | what it holds | source |
//! |---|---|---|
//! | `link` | MAC addresses, EtherType, VLAN tags | IEEE 802.3 clause 3, 802.1Q clause 9 |
//! | `ip` | the headers of IPv4 and IPv6, read | RFC 791, RFC 8200 |
//! | `endpoint` | addresses with ports, as numbers | - |
//! | `udp` | the frame as a whole, read; the UDP checksum | RFC 768, RFC 8200 section 8.1 |
//! | `headers` | all headers of an answer, written | the same |
//! | `neighbour` | what neighbours ask of a station without a kernel, and the answers | see there |
//! | `arp`, `icmp` | ARP; echo and neighbour discovery | RFC 826; RFC 792, RFC 4443, RFC 4861 |
//! | `checksum` | the Internet checksum | RFC 1071 |
//! | `error` | why a frame is refused, why headers cannot be written | - |
//!
//! Every length field is an allegation and is checked against the bytes that are there. Nothing allocates, nothing panics,
//! whatever the bytes. All multi-byte fields are big-endian (network order).

mod arp;
mod checksum;
mod endpoint;
mod error;
mod headers;
mod icmp;
mod ip;
mod link;
mod neighbour;
mod udp;

pub use checksum::internet_checksum;
pub use endpoint::Endpoint;
pub use error::{Refused, Unwritable};
pub use headers::{DEFAULT_HOPS, MAX_HEADER_LEN, Path, header_len, write_headers};
pub use link::{Link, MAX_TAGS, MIN_FRAME_LEN, Tag, source_mac_mut};
pub use neighbour::{Question, Station, Topic};
pub use udp::{UdpPacket, parse, verify_udp_checksum};
