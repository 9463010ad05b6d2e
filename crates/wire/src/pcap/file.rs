//! The file header.

use super::error::FileError;
use super::{FILE_HEADER_LEN, LINK_TYPE_ETHERNET, MAX_CAPTURED_LEN};

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const MAGIC_NANOSECONDS: u32 = 0xa1b2_3c4d;
/// Block type of a section header, with which pcapng files begin; the same in both byte orders.
const MAGIC_PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
const VERSION: (u16, u16) = (2, 4);
/// Bits of the link type and reserved ones, which must be 0. Above them stands how long a check sequence the frames carry,
/// which does no harm: the IP header says where the packet ends.
const LINK_TYPE_BITS: u32 = 0x03ff_ffff;

/// Order of the bytes of every field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// Least significant byte first.
    Little,
    /// Most significant byte first.
    Big,
}

impl ByteOrder {
    pub(super) const fn u32(self, bytes: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(bytes),
            Self::Big => u32::from_be_bytes(bytes),
        }
    }

    const fn u16(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }

    pub(super) const fn bytes(self, value: u32) -> [u8; 4] {
        match self {
            Self::Little => value.to_le_bytes(),
            Self::Big => value.to_be_bytes(),
        }
    }
}

/// Unit of the fraction of a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Resolution {
    /// Millionths.
    Microseconds,
    /// Billionths.
    Nanoseconds,
}

impl Resolution {
    /// Nanoseconds of one unit.
    pub(super) const fn unit_ns(self) -> u32 {
        match self {
            Self::Microseconds => 1_000,
            Self::Nanoseconds => 1,
        }
    }
}

/// What holds for all records of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileHeader {
    /// Byte order of all headers.
    pub byte_order: ByteOrder,
    /// Resolution of all times.
    pub resolution: Resolution,
    /// Most bytes of a frame that were captured, as stated: records are checked against [`MAX_CAPTURED_LEN`] instead.
    pub snap_len: u32,
}

impl FileHeader {
    /// The header of a new file: little-endian, nanoseconds, frames of up to [`MAX_CAPTURED_LEN`] bytes.
    pub const fn new_ns() -> Self {
        Self { byte_order: ByteOrder::Little, resolution: Resolution::Nanoseconds, snap_len: MAX_CAPTURED_LEN }
    }

    /// Reads a file's first bytes.
    pub const fn parse(bytes: &[u8; FILE_HEADER_LEN]) -> Result<Self, FileError> {
        let &[m0, m1, m2, m3, v0, v1, v2, v3, _, _, _, _, _, _, _, _, s0, s1, s2, s3, l0, l1, l2, l3] = bytes;
        let magic = [m0, m1, m2, m3];
        let (byte_order, resolution) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MAGIC_MICROSECONDS, _) => (ByteOrder::Little, Resolution::Microseconds),
            (MAGIC_NANOSECONDS, _) => (ByteOrder::Little, Resolution::Nanoseconds),
            (_, MAGIC_MICROSECONDS) => (ByteOrder::Big, Resolution::Microseconds),
            (_, MAGIC_NANOSECONDS) => (ByteOrder::Big, Resolution::Nanoseconds),
            _ if matches!(magic, MAGIC_PCAPNG) => return Err(FileError::PcapNg),
            _ => return Err(FileError::BadMagic { magic }),
        };
        let (major, minor) = (byte_order.u16([v0, v1]), byte_order.u16([v2, v3]));
        if major != VERSION.0 || minor != VERSION.1 {
            return Err(FileError::UnsupportedVersion { major, minor });
        }
        let link_type = byte_order.u32([l0, l1, l2, l3]) & LINK_TYPE_BITS;
        if link_type != LINK_TYPE_ETHERNET {
            return Err(FileError::LinkType { link_type });
        }
        Ok(Self { byte_order, resolution, snap_len: byte_order.u32([s0, s1, s2, s3]) })
    }

    /// The header as bytes.
    pub fn to_bytes(&self) -> [u8; FILE_HEADER_LEN] {
        let magic = match self.resolution {
            Resolution::Microseconds => MAGIC_MICROSECONDS,
            Resolution::Nanoseconds => MAGIC_NANOSECONDS,
        };
        let (major, minor) = match self.byte_order {
            ByteOrder::Little => (VERSION.0.to_le_bytes(), VERSION.1.to_le_bytes()),
            ByteOrder::Big => (VERSION.0.to_be_bytes(), VERSION.1.to_be_bytes()),
        };
        let mut bytes = [0; FILE_HEADER_LEN];
        bytes[..4].copy_from_slice(&self.byte_order.bytes(magic));
        bytes[4..6].copy_from_slice(&major);
        bytes[6..8].copy_from_slice(&minor);
        bytes[16..20].copy_from_slice(&self.byte_order.bytes(self.snap_len));
        bytes[20..].copy_from_slice(&self.byte_order.bytes(LINK_TYPE_ETHERNET));
        bytes
    }
}
