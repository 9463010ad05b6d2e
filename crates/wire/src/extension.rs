//! The extension area between base header and payload: a list of type, length, value.
//!
//! Each item starts on a multiple of 4 bytes: type u16, length of the value u16, value, zero bytes up to the next multiple
//! of 4. Type 0 ends the list; the rest of the header is padding. Types from 0x8000 must be understood, others may be skipped.

use crate::error::HeaderError;
use crate::mac::MAC_LEN;

/// Type 0: end of the list.
const END: u16 = 0;
/// Bit of types that a receiver has to understand.
const MUST_UNDERSTAND: u16 = 0x8000;
/// Type of the MAC extension; its value has [`MAC_LEN`] bytes.
pub(crate) const MAC_TYPE: u16 = 0x8001;
/// Length of an item's type and length fields.
pub(crate) const ITEM_HEADER_LEN: usize = 4;

/// Walks the area that begins at `start` in `header`; tells where the value of the MAC extension lies.
pub(crate) fn find_mac(header: &[u8], start: usize) -> Result<Option<usize>, HeaderError> {
    let mut mac_at = None;
    let mut at = start;
    while let Some(&[t0, t1, l0, l1]) = header.get(at..).and_then(|rest| rest.first_chunk::<ITEM_HEADER_LEN>()) {
        let (item_type, len) = (u16::from_le_bytes([t0, t1]), usize::from(u16::from_le_bytes([l0, l1])));
        if item_type == END {
            break;
        }
        let value_at = at + ITEM_HEADER_LEN;
        if value_at + len > header.len() {
            return Err(HeaderError::BadExtension { offset: at });
        }
        match item_type {
            MAC_TYPE if len == MAC_LEN && mac_at.is_none() => mac_at = Some(value_at),
            MAC_TYPE => return Err(HeaderError::BadExtension { offset: at }),
            unknown if unknown & MUST_UNDERSTAND != 0 => {
                return Err(HeaderError::UnknownExtension { extension: unknown });
            }
            _ => {}
        }
        at = value_at + len.next_multiple_of(ITEM_HEADER_LEN);
    }
    Ok(mac_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(item_type: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = [item_type.to_le_bytes(), (value.len() as u16).to_le_bytes()].concat();
        bytes.extend_from_slice(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    fn area(items: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = items.concat();
        bytes.resize(bytes.len().next_multiple_of(64), 0);
        bytes
    }

    #[test]
    fn the_mac_is_found_behind_what_may_be_skipped() {
        let header = area(&[item(0x0007, b"abcde"), item(MAC_TYPE, &[9; MAC_LEN])]);
        assert_eq!(find_mac(&header, 0), Ok(Some(16)));
        assert_eq!(find_mac(&header, 64), Ok(None));
        assert_eq!(find_mac(&area(&[]), 0), Ok(None));
    }

    #[test]
    fn nothing_is_read_behind_the_end() {
        let header = area(&[item(END, &[]), item(0xffff, &[])]);
        assert_eq!(find_mac(&header, 0), Ok(None));
    }

    #[test]
    fn what_must_be_understood_is_refused() {
        let header = area(&[item(0x8002, &[])]);
        assert_eq!(find_mac(&header, 0), Err(HeaderError::UnknownExtension { extension: 0x8002 }));
    }

    #[test]
    fn items_that_leave_the_header_or_come_twice_are_refused() {
        let mut reaching_out = area(&[item(0x0007, &[1; 60])]);
        reaching_out[2] = 61;
        assert_eq!(find_mac(&reaching_out, 0), Err(HeaderError::BadExtension { offset: 0 }));
        let short = area(&[item(MAC_TYPE, &[9; 12])]);
        assert_eq!(find_mac(&short, 0), Err(HeaderError::BadExtension { offset: 0 }));
        let twice = area(&[item(MAC_TYPE, &[9; MAC_LEN]), item(MAC_TYPE, &[9; MAC_LEN])]);
        assert_eq!(find_mac(&twice, 0), Err(HeaderError::BadExtension { offset: 20 }));
    }
}
