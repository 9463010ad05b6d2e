//! What is in a frame, so that every stage can tell whether it got what it should, and which frames are finished.

use arena::layout::DATA_OFFSET;
use arena::sync::{AtomicU64, Ordering};
use rustix::mm::{MapFlags, ProtFlags};

/// Bytes of a tensor.
pub const TENSOR_BYTES: usize = 256;
/// Bytes of a result.
pub const RESULT_BYTES: usize = 128;
/// Bytes of a packet's payload.
pub const PACKET_BYTES: usize = 64;
/// Most packets of a frame.
pub const PACKETS_MAX: u64 = 3;
/// Where tx writes its reply, away from the request: its work can be repeated.
const REPLY_OFFSET: usize = 2048;

/// Contents that differ by frame and by place.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    /// Of packet n of the frame.
    Packet(u64),
    Tensor,
    Result,
    Reply,
}

/// Packets of a frame.
pub const fn packets(frame: u64) -> u64 {
    1 + frame % PACKETS_MAX
}

fn word(frame: u64, part: Part, at: usize) -> u64 {
    let salt = match part {
        Part::Packet(n) => n,
        Part::Tensor => 0x100,
        Part::Result => 0x101,
        Part::Reply => 0x102,
    };
    // Multiplication by an odd number keeps different inputs different.
    (frame << 16 ^ salt << 8 ^ at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Writes a part of a frame.
pub fn write(area: &mut [u8], frame: u64, part: Part) {
    for (at, bytes) in area.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&word(frame, part, at).to_le_bytes());
    }
}

/// Whether the whole area is that part of that frame.
pub fn holds(area: &[u8], frame: u64, part: Part) -> bool {
    area.chunks_exact(8).enumerate().all(|(at, bytes)| bytes == word(frame, part, at).to_le_bytes())
}

/// The payload in a packet buffer.
pub fn payload(buffer: &[u8]) -> &[u8] {
    &buffer[DATA_OFFSET as usize..][..PACKET_BYTES]
}

/// As [`payload`], to write to.
pub fn payload_mut(buffer: &mut [u8]) -> &mut [u8] {
    &mut buffer[DATA_OFFSET as usize..][..PACKET_BYTES]
}

/// The reply in a packet buffer.
pub fn reply(buffer: &[u8]) -> &[u8] {
    &buffer[REPLY_OFFSET..][..PACKET_BYTES]
}

/// As [`reply`], to write to.
pub fn reply_mut(buffer: &mut [u8]) -> &mut [u8] {
    &mut buffer[REPLY_OFFSET..][..PACKET_BYTES]
}

/// Which of the last frames are finished: shared by all processes, written by rx-gateway.
#[derive(Clone, Copy, Debug)]
pub struct Finished(&'static [AtomicU64]);

impl Finished {
    /// Frames remembered; an audit is due before so many have passed.
    pub const WINDOW: u64 = 1 << 21;

    /// In memory that children of this process share.
    pub fn new() -> rustix::io::Result<Self> {
        let bytes = Self::WINDOW as usize * size_of::<AtomicU64>();
        // SAFETY: needed because what rx-gateway notes must outlive it. A new mapping at the kernel's choice, never unmapped.
        let base = unsafe {
            rustix::mm::mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED | MapFlags::NORESERVE,
            )
        }?;
        // SAFETY: the mapping is that long and page aligned; it holds atomics alone, for which zero is a valid value.
        Ok(Self(unsafe { std::slice::from_raw_parts(base.cast(), Self::WINDOW as usize) }))
    }

    fn cell(self, frame: u64) -> &'static AtomicU64 {
        &self.0[(frame % Self::WINDOW) as usize]
    }

    /// Whether `frame`, one of the last, is finished.
    pub fn has(self, frame: u64) -> bool {
        self.cell(frame).load(Ordering::Acquire) == frame
    }

    /// Notes that it is; may be repeated.
    pub fn note(self, frame: u64) {
        self.cell(frame).store(frame, Ordering::Release);
    }
}
