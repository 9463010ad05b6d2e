//! What requests and replies share: the envelope check on the way in, checksum and MAC on the way out.

use crate::error::{BuildError, HeaderError};
use crate::extension::{self, ITEM_HEADER_LEN, MAC_TYPE};
use crate::layout::{self, Base, put, u16_at, u32_at, u64_at};
use crate::mac::{MAC_LEN, MacError, MacKey};
use crate::{ALIGNMENT, BASE_HEADER_LEN, MAGIC, MAX_HEADER_LEN, VERSION};

/// Flags that a receiver must understand or refuse; none are defined in version 1. The upper half may be ignored.
const MUST_UNDERSTAND_FLAGS: u32 = 0x0000_ffff;
/// Where the MAC's value lies in headers that this crate writes.
const MAC_AT: usize = BASE_HEADER_LEN + ITEM_HEADER_LEN;
/// Length of a header with the MAC extension, padded.
const HEADER_LEN_WITH_MAC: usize = (MAC_AT + MAC_LEN).next_multiple_of(ALIGNMENT);

/// The two kinds of datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request = 1,
    Reply = 2,
}

/// What identifies a frame among all senders' frames. Copies of a packet have equal keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct FrameKey {
    /// Stream, as configured.
    pub stream_id: u32,
    /// Random number that the sender drew at its start.
    pub session: u64,
    /// The sender's number of the frame.
    pub frame_id: u64,
}

impl FrameKey {
    pub(crate) fn read(base: &Base) -> Self {
        Self {
            stream_id: u32_at(base, layout::STREAM_ID_AT),
            session: u64_at(base, layout::SESSION_AT),
            frame_id: u64_at(base, layout::FRAME_ID_AT),
        }
    }
}

/// Length in bytes of the headers that this crate writes: 128, or 192 with a MAC.
pub const fn header_len(with_mac: bool) -> usize {
    if with_mac { HEADER_LEN_WITH_MAC } else { BASE_HEADER_LEN }
}

/// A datagram whose lengths and checksum hold: its bytes are those that were sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) base: &'a Base,
    pub(crate) header: &'a [u8],
    pub(crate) payload: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Checks magic, kind, lengths and checksum.
    pub(crate) fn open(datagram: &'a [u8], kind: Kind) -> Result<Self, HeaderError> {
        let base: &Base = datagram.first_chunk().ok_or(HeaderError::Truncated { len: datagram.len() })?;
        if !base.starts_with(&MAGIC) {
            return Err(HeaderError::BadMagic);
        }
        if base[layout::KIND_AT] != kind as u8 {
            return Err(HeaderError::WrongKind { kind: base[layout::KIND_AT] });
        }
        let header_len = u16_at(base, layout::HEADER_LEN_AT);
        if !header_len_is_possible(header_len) {
            return Err(HeaderError::BadHeaderLen { header_len });
        }
        let stated = u64::from(header_len) + u64::from(u32_at(base, layout::PAYLOAD_LEN_AT));
        let mismatch = HeaderError::LengthMismatch { stated, datagram: datagram.len() };
        if stated != datagram.len() as u64 {
            return Err(mismatch);
        }
        let (header, payload) = datagram.split_at_checked(usize::from(header_len)).ok_or(mismatch)?;
        let stated = u32_at(base, layout::CHECKSUM_AT);
        let computed = checksum(header, &[payload]);
        if stated != computed {
            return Err(HeaderError::BadChecksum { stated, computed });
        }
        Ok(Self { base, header, payload })
    }

    /// Checks that version, flags and extensions are known; tells where the MAC lies, if there is one.
    pub(crate) fn understand(&self) -> Result<Option<usize>, HeaderError> {
        let version = self.base[layout::VERSION_AT];
        if version != VERSION {
            return Err(HeaderError::UnsupportedVersion { version });
        }
        let flags = u32_at(self.base, layout::FLAGS_AT);
        if flags & MUST_UNDERSTAND_FLAGS != 0 {
            return Err(HeaderError::UnknownFlags { flags });
        }
        extension::find_mac(self.header, BASE_HEADER_LEN)
    }

    /// Checks the MAC that lies at `mac_at` against the stream's key.
    pub(crate) fn authenticate(&self, mac_at: Option<usize>, key: Option<&MacKey>) -> Result<(), MacError> {
        match (key, mac_at) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(MacError::Unexpected),
            (Some(_), None) => Err(MacError::Missing),
            (Some(key), Some(at)) => {
                let mac = self.header.get(at..at + MAC_LEN).ok_or(MacError::Missing)?;
                key.verify(mac_parts(self.header, at, &[self.payload]), mac)
            }
        }
    }
}

/// Fields of the prefix that the caller chooses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix {
    pub(crate) kind: Kind,
    pub(crate) key: FrameKey,
    pub(crate) payload_len: u32,
}

/// Writes prefix, extensions, MAC and checksum around a base header whose other fields are set. Returns the header length.
pub(crate) fn seal(
    out: &mut [u8],
    mut base: Base,
    prefix: Prefix,
    parts: &[&[u8]],
    mac_key: Option<&MacKey>,
) -> Result<usize, BuildError> {
    let given: usize = parts.iter().map(|part| part.len()).sum();
    if given != prefix.payload_len as usize {
        return Err(BuildError::PayloadLen { stated: prefix.payload_len, given });
    }
    let len = header_len(mac_key.is_some());
    let room = out.len();
    let header = out.get_mut(..len).ok_or(BuildError::NoRoom { needed: len, room })?;
    base[..MAGIC.len()].copy_from_slice(&MAGIC);
    base[layout::VERSION_AT] = VERSION;
    base[layout::KIND_AT] = prefix.kind as u8;
    put(&mut base, layout::HEADER_LEN_AT, (len as u16).to_le_bytes());
    put(&mut base, layout::STREAM_ID_AT, prefix.key.stream_id.to_le_bytes());
    put(&mut base, layout::PAYLOAD_LEN_AT, prefix.payload_len.to_le_bytes());
    put(&mut base, layout::SESSION_AT, prefix.key.session.to_le_bytes());
    put(&mut base, layout::FRAME_ID_AT, prefix.key.frame_id.to_le_bytes());
    header.fill(0);
    header[..BASE_HEADER_LEN].copy_from_slice(&base);
    if let Some(mac_key) = mac_key {
        header[BASE_HEADER_LEN..BASE_HEADER_LEN + 2].copy_from_slice(&MAC_TYPE.to_le_bytes());
        header[BASE_HEADER_LEN + 2..MAC_AT].copy_from_slice(&(MAC_LEN as u16).to_le_bytes());
        let mac = mac_key.sign(mac_parts(header, MAC_AT, parts));
        header[MAC_AT..MAC_AT + MAC_LEN].copy_from_slice(&mac);
    }
    let sum = checksum(header, parts);
    header[layout::CHECKSUM_AT..layout::FLAGS_AT].copy_from_slice(&sum.to_le_bytes());
    Ok(len)
}

/// Computes checksum, and MAC where the datagram has one and a key is given, anew after fields were edited. For relays that
/// rewrite fields, and for tests that need a well-formed envelope around wrong fields.
pub fn reseal(datagram: &mut [u8], mac_key: Option<&MacKey>) -> Result<(), BuildError> {
    let base: &Base = datagram.first_chunk().ok_or(BuildError::NotADatagram)?;
    let len = u16_at(base, layout::HEADER_LEN_AT);
    if !header_len_is_possible(len) {
        return Err(BuildError::NotADatagram);
    }
    let (header, payload) = datagram.split_at_mut_checked(usize::from(len)).ok_or(BuildError::NotADatagram)?;
    if let (Some(key), Ok(Some(at))) = (mac_key, extension::find_mac(header, BASE_HEADER_LEN)) {
        let mac = key.sign(mac_parts(header, at, &[payload]));
        header[at..at + MAC_LEN].copy_from_slice(&mac);
    }
    let sum = checksum(header, &[payload]);
    header[layout::CHECKSUM_AT..layout::FLAGS_AT].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn header_len_is_possible(len: u16) -> bool {
    let len = usize::from(len);
    (BASE_HEADER_LEN..=MAX_HEADER_LEN).contains(&len) && len.is_multiple_of(ALIGNMENT)
}

/// CRC32C (Castagnoli, RFC 3720 section 12.1) of header and payload, the checksum field taken as zero.
/// `header` has at least [`BASE_HEADER_LEN`] bytes.
fn checksum(header: &[u8], parts: &[&[u8]]) -> u32 {
    let mut sum = crc32c::crc32c(&header[..layout::CHECKSUM_AT]);
    sum = crc32c::crc32c_append(sum, &[0; 4]);
    sum = crc32c::crc32c_append(sum, &header[layout::FLAGS_AT..]);
    parts.iter().fold(sum, |sum, part| crc32c::crc32c_append(sum, part))
}

/// The message of the MAC: header and payload, checksum field and MAC (at `mac_at`, inside the header) taken as zero.
fn mac_parts<'a>(header: &'a [u8], mac_at: usize, parts: &'a [&'a [u8]]) -> impl Iterator<Item = &'a [u8]> {
    [
        &header[..layout::CHECKSUM_AT],
        &[0; 4],
        &header[layout::FLAGS_AT..mac_at],
        &[0; MAC_LEN],
        &header[mac_at + MAC_LEN..],
    ]
    .into_iter()
    .chain(parts.iter().copied())
}
