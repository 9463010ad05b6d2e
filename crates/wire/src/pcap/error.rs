//! What can be wrong with a pcap file.

use super::MAX_CAPTURED_LEN;

/// Why a file cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FileError {
    /// The newer format.
    #[error("this is a pcapng file, only classic pcap is read; convert it: editcap -F nsecpcap IN.pcapng OUT.pcap")]
    PcapNg,
    /// No pcap file of any known kind.
    #[error(
        "the file begins with {magic:02x?}, pcap files with d4 c3 b2 a1, 4d 3c b2 a1 or the reverse; \
         unpack it if it is compressed, or convert it: editcap -F nsecpcap IN OUT.pcap"
    )]
    BadMagic {
        /// The first four bytes.
        magic: [u8; 4],
    },
    /// A version that nobody writes any more.
    #[error("pcap version {major}.{minor}, only 2.4 is read; convert it: editcap -F nsecpcap IN OUT.pcap")]
    UnsupportedVersion {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// Frames of another link layer.
    #[error(
        "link type {link_type}, only 1 (Ethernet) is read; capture on an Ethernet interface \
         (tcpdump -i DEVICE, not -i any)"
    )]
    LinkType {
        /// Link type stated, with reserved bits that are set.
        link_type: u32,
    },
}

/// Why a record header cannot be read, or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecordError {
    /// More bytes than a record may hold.
    #[error("a record of {captured_len} bytes, {MAX_CAPTURED_LEN} is the most; the file is damaged from here on")]
    TooLong {
        /// Bytes captured, as stated.
        captured_len: u32,
    },
    /// More captured than there was.
    #[error("{captured_len} bytes captured of a frame of {original_len}; the file is damaged from here on")]
    LongerThanFrame {
        /// Bytes captured, as stated.
        captured_len: u32,
        /// Bytes of the frame, as stated.
        original_len: u32,
    },
    /// A fraction of a second that is a second or more.
    #[error("{fraction} parts of a second where {limit} are a whole one; the file is damaged from here on")]
    BadFraction {
        /// Parts stated.
        fraction: u32,
        /// Parts of a whole second.
        limit: u32,
    },
    /// A time that the 32 bits of seconds cannot hold.
    #[error("the time {time_ns} ns (UNIX) is past the year 2106, where the seconds of pcap end; check the clock")]
    TimeTooLate {
        /// Time given.
        time_ns: u64,
    },
}
