//! Requests of the frame protocol in a file, as the generator takes them.

use crate::client::tensor;
use crate::traffic::{ELEMENTS, tensor_of};
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};
use wire::{Encoding, Fragment, FrameKey, RequestHeader};

/// More than can be in flight, and far more than the finished frames that the pipeline remembers: sent again and again, none
/// is taken for a copy.
const COUNT: u64 = 8192;
/// Where the frame's id lies in requests and replies, and the status in replies (docs/PROTOCOL.md).
const ID_AT: usize = 32;
const STATUS_AT: usize = 52;

fn length() -> usize {
    wire::header_len(false) + ELEMENTS * size_of::<f32>()
}

/// Writes them into a folder of the caller's.
pub fn write(folder: &Path) -> Result<PathBuf> {
    let mut all = Vec::with_capacity(length() * COUNT as usize);
    for frame_id in 0..COUNT {
        let bytes = tensor(&tensor_of(frame_id));
        let header = RequestHeader {
            key: FrameKey { stream_id: 1, session: 0x5e55, frame_id },
            fragment: Fragment::whole(bytes.len() as u32),
            encoding: Encoding::TensorF32,
            width: 0,
            height: 0,
            deadline_us: 0,
            capture_time: 0,
            flags: 0,
        };
        let mut datagram = vec![0; length()];
        header.write(&mut datagram, &bytes, None).context("write a request")?;
        all.extend(datagram);
    }
    let path = folder.join("requests");
    std::fs::write(&path, all).with_context(|| format!("write {}", path.display()))?;
    Ok(path)
}

/// What the generator must be told of them.
pub fn options(file: &Path) -> Vec<String> {
    let (length, id, status) = (length().to_string(), ID_AT.to_string(), format!("{STATUS_AT}:0"));
    let file = file.display().to_string();
    ["-f", &file, "-l", &length, "-a", &id, "-e", &status].map(str::to_owned).into()
}
