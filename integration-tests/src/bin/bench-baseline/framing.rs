//! Frames on a stream of bytes: four bytes of length, little endian, then one datagram of the frame protocol that carries
//! the whole frame.

use std::io::{ErrorKind, Read, Result};

/// Bytes of the length.
pub const PREFIX: usize = 4;
/// Longest frame that is believed: the protocol's longest and a header.
const LONGEST: usize = wire::MAX_TOTAL_LEN + wire::MAX_HEADER_LEN;

/// Reads the next frame into `frame`. False at the end of the stream.
pub fn read_frame(reader: &mut impl Read, frame: &mut Vec<u8>) -> Result<bool> {
    let mut prefix = [0; PREFIX];
    match reader.read_exact(&mut prefix) {
        Err(e) if e.kind() == ErrorKind::UnexpectedEof => return Ok(false),
        other => other?,
    }
    let len = u32::from_le_bytes(prefix) as usize;
    if len > LONGEST {
        return Err(std::io::Error::new(
            ErrorKind::InvalidData,
            format!("a frame of {len} bytes; {LONGEST} are the most"),
        ));
    }
    frame.resize(len, 0);
    reader.read_exact(frame)?;
    Ok(true)
}

/// Writes the length of what follows it in `message`.
pub fn seal_length(message: &mut [u8]) {
    let len = (message.len() - PREFIX) as u32;
    message[..PREFIX].copy_from_slice(&len.to_le_bytes());
}
