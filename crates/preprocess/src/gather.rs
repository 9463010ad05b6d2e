//! A frame's bytes, part by part from where they lie, and what can be wrong with them.

use crate::image::ImageError;
use ::stage::Context;
use arena::Held;
use arena::record::{Damaged, Place};
use wire::BadRequestReason;

/// How a frame's tensor came about.
pub(crate) enum Made {
    /// It lies in the packet.
    InPlace(u16),
    /// It was written into the slot.
    Written { decoded: bool, copied_bytes: usize },
}

/// Why a frame gets no tensor.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The request is wrong.
    Bad(BadRequestReason),
    /// Its record is damaged, or contradicts itself.
    Damaged,
}

impl From<BadRequestReason> for Refusal {
    fn from(reason: BadRequestReason) -> Self {
        Self::Bad(reason)
    }
}

impl From<Damaged> for Refusal {
    fn from(_: Damaged) -> Self {
        Self::Damaged
    }
}

/// The frame's payload, part by part, from where it lies. Each place is checked, and that the parts are all there and follow
/// one another as they were cut: the segments' list has no checksum of its own.
pub(crate) fn gather<'h>(cx: &Context, head: &'h Held, first: Place, parts: &mut Vec<&'h [u8]>) -> Result<(), Refusal> {
    let mut add = |index: u32, place: Place, due: usize| {
        let (from, len) = (place.data.offset as usize, place.data.len as usize);
        let part = cx.arena.packet_of(head, index).get(from..from + len);
        let fits = place.fragment as usize == due && place.count == first.count;
        parts.push(part.filter(|_| fits).ok_or(Refusal::Damaged)?);
        Ok::<(), Refusal>(())
    };
    add(head.index(), first, 0)?;
    let mut due = 1;
    for (index, _) in cx.table.segments(head.index()) {
        add(index, cx.arena.place(index)?, due)?;
        due += 1;
    }
    if due == first.count as usize { Ok(()) } else { Err(Refusal::Damaged) }
}

/// Moves a tensor that does not lie aligned in one packet.
pub(crate) fn copy(parts: &[&[u8]], tensor: &mut [u8]) -> Result<Made, Refusal> {
    let mut at = 0;
    for part in parts {
        let end = at + part.len();
        tensor.get_mut(at..end).ok_or(BadRequestReason::WrongSize)?.copy_from_slice(part);
        at = end;
    }
    if at == tensor.len() {
        Ok(Made::Written { decoded: false, copied_bytes: at })
    } else {
        Err(BadRequestReason::WrongSize.into())
    }
}

pub(crate) fn reason_of(error: &ImageError) -> BadRequestReason {
    match error {
        ImageError::TooLarge { .. } | ImageError::JpegTooLong { .. } => BadRequestReason::TooLarge,
        ImageError::Length { .. } | ImageError::TensorLength { .. } => BadRequestReason::WrongSize,
        ImageError::NoSize { .. } => BadRequestReason::BadGeometry,
        _ => BadRequestReason::DecodeFailed,
    }
}
