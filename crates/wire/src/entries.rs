//! Classes and detections: lists of entries in a result's bytes.

use crate::error::BuildError;
use crate::layout::u32_le;
use crate::result::ResultInfo;

/// Bytes of a class entry without label: class u32, score f32, label length u8, padding.
const CLASS_LEN: usize = 12;
/// Where a class entry's label begins.
const LABEL_AT: usize = 9;
/// Class entries begin on multiples of this many bytes.
const CLASS_ALIGNMENT: usize = 4;
/// Bytes of a detection: four coordinates and the score as f32, class u32.
const DETECTION_LEN: usize = 24;

/// One class of a classification.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClassEntry<'a> {
    /// Index in the model's output.
    pub class: u32,
    /// Probability or raw score, as the pipeline is configured.
    pub score: f32,
    /// Its name in the pipeline's list of labels. On the wire at most 255 bytes, cut between characters.
    pub label: Option<&'a str>,
}

/// One detected object. Coordinates are fractions of the frame's width and height, 0 at the left and at the top.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Detection {
    /// Left side.
    pub x0: f32,
    /// Top side.
    pub y0: f32,
    /// Right side.
    pub x1: f32,
    /// Bottom side.
    pub y1: f32,
    /// Score, 0 to 1.
    pub score: f32,
    /// Index of the class.
    pub class: u32,
}

/// Iterator over classes.
#[derive(Debug, Clone)]
pub struct Classes<'a> {
    rest: &'a [u8],
    left: u16,
}

/// Iterator over detections.
#[derive(Debug, Clone)]
pub struct Detections<'a> {
    rest: &'a [u8],
}

impl<'a> Classes<'a> {
    /// Whether `count` entries can have `total_len` bytes.
    pub(crate) fn fit(count: u16, total_len: usize) -> bool {
        let count = usize::from(count);
        (count * CLASS_LEN..=count * entry_len(u8::MAX.into())).contains(&total_len)
    }

    /// The `count` entries that fill `bytes`, or `None` if other bytes are there.
    pub(crate) fn read(count: u16, bytes: &'a [u8]) -> Option<Self> {
        let classes = Self { rest: bytes, left: count };
        let mut walk = classes.clone();
        (walk.by_ref().count() == usize::from(count) && walk.rest.is_empty()).then_some(classes)
    }
}

impl<'a> Detections<'a> {
    /// The entries that fill `bytes`, whose length was checked.
    pub(crate) const fn read(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Classes<'a> {
    type Item = ClassEntry<'a>;

    fn next(&mut self) -> Option<ClassEntry<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (class, score) = (u32_le(self.rest, 0)?, f32::from_bits(u32_le(self.rest, 4)?));
        let label_len = usize::from(*self.rest.get(LABEL_AT - 1)?);
        let label = core::str::from_utf8(self.rest.get(LABEL_AT..LABEL_AT + label_len)?).ok()?;
        self.rest = self.rest.get(entry_len(label_len)..)?;
        Some(ClassEntry { class, score, label: (label_len > 0).then_some(label) })
    }
}

impl Iterator for Detections<'_> {
    type Item = Detection;

    fn next(&mut self) -> Option<Detection> {
        let (entry, rest) = self.rest.split_at_checked(DETECTION_LEN)?;
        self.rest = rest;
        let f32_le = |at| u32_le(entry, at).map(f32::from_bits);
        Some(Detection {
            x0: f32_le(0)?,
            y0: f32_le(4)?,
            x1: f32_le(8)?,
            y1: f32_le(12)?,
            score: f32_le(16)?,
            class: u32_le(entry, 20)?,
        })
    }
}

/// Bytes that [`write_classes`] needs for these entries.
pub fn classes_len<'a>(entries: impl IntoIterator<Item = ClassEntry<'a>>) -> usize {
    entries.into_iter().map(|entry| entry_len(short_label(entry.label).len())).sum()
}

/// Bytes that [`write_detections`] needs for `count` entries.
pub const fn detections_len(count: usize) -> usize {
    count * DETECTION_LEN
}

/// Writes class entries to the beginning of `out`. Returns what the header has to say of them, and their length in bytes.
pub fn write_classes<'a>(
    out: &mut [u8],
    entries: impl IntoIterator<Item = ClassEntry<'a>>,
) -> Result<(ResultInfo, usize), BuildError> {
    let (mut at, mut count) = (0, 0_u16);
    let room = out.len();
    for entry in entries {
        count = count.checked_add(1).ok_or(BuildError::ResultShape)?;
        let label = short_label(entry.label);
        let end = at + entry_len(label.len());
        let place = out.get_mut(at..end).ok_or(BuildError::NoRoom { needed: end, room })?;
        place.fill(0);
        place[..4].copy_from_slice(&entry.class.to_le_bytes());
        place[4..8].copy_from_slice(&entry.score.to_le_bytes());
        place[LABEL_AT - 1] = label.len() as u8;
        place[LABEL_AT..LABEL_AT + label.len()].copy_from_slice(label.as_bytes());
        at = end;
    }
    Ok((ResultInfo::Classes { count }, at))
}

/// Writes detections to the beginning of `out`. Returns what the header has to say of them, and their length in bytes.
pub fn write_detections(
    out: &mut [u8],
    detections: impl IntoIterator<Item = Detection>,
) -> Result<(ResultInfo, usize), BuildError> {
    let (mut at, mut count) = (0, 0_u16);
    let room = out.len();
    for detection in detections {
        count = count.checked_add(1).ok_or(BuildError::ResultShape)?;
        let end = at + DETECTION_LEN;
        let place = out.get_mut(at..end).ok_or(BuildError::NoRoom { needed: end, room })?;
        let Detection { x0, y0, x1, y1, score, class } = detection;
        let words = [x0.to_bits(), y0.to_bits(), x1.to_bits(), y1.to_bits(), score.to_bits(), class];
        for (bytes, word) in place.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        at = end;
    }
    Ok((ResultInfo::Detections { count }, at))
}

const fn entry_len(label_len: usize) -> usize {
    (LABEL_AT + label_len).next_multiple_of(CLASS_ALIGNMENT)
}

/// As much of a label as its length byte can count.
fn short_label(label: Option<&str>) -> &str {
    let label = label.unwrap_or_default();
    &label[..label.floor_char_boundary(u8::MAX.into())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ReplyError;
    use crate::result::ResultView;
    use crate::tensor::TensorShape;

    const CAR: ClassEntry<'_> = ClassEntry { class: 1, score: 0.75, label: Some("car") };
    const TRUCK: ClassEntry<'_> = ClassEntry { class: 2, score: 0.25, label: None };

    #[test]
    fn class_entries_are_padded_to_four_bytes() {
        let mut out = [0xff; 64];
        let (info, len) = write_classes(&mut out, [CAR, TRUCK]).unwrap();
        assert_eq!((info, len), (ResultInfo::Classes { count: 2 }, 24));
        assert_eq!(len, classes_len([CAR, TRUCK]));
        assert_eq!(out[..12], *b"\x01\0\0\0\0\0\x40\x3f\x03car");
        assert_eq!(out[12..24], *b"\x02\0\0\0\0\0\x80\x3e\0\0\0\0");
        let ResultView::Classes(classes) = info.view(&out[..len]).unwrap() else { panic!("classes expected") };
        assert_eq!(classes.collect::<Vec<_>>(), [CAR, TRUCK]);
    }

    #[test]
    fn long_labels_are_cut_between_characters() {
        let long = "x".repeat(254) + "\u{e4}\u{e4}";
        let mut out = [0; 300];
        let (info, len) = write_classes(&mut out, [ClassEntry { label: Some(&long), ..CAR }]).unwrap();
        let ResultView::Classes(mut classes) = info.view(&out[..len]).unwrap() else { panic!("classes expected") };
        assert_eq!(classes.next().unwrap().label, Some(&long[..254]));
    }

    #[test]
    fn full_areas_are_refused() {
        assert_eq!(write_classes(&mut [0; 23], [CAR, TRUCK]).unwrap_err(), BuildError::NoRoom { needed: 24, room: 23 });
        assert_eq!(
            write_detections(&mut [0; 23], [Detection::default()]).unwrap_err(),
            BuildError::NoRoom { needed: 24, room: 23 }
        );
        let many = core::iter::repeat_n(TRUCK, 65_536);
        assert_eq!(write_classes(&mut vec![0; 65_536 * 12], many).unwrap_err(), BuildError::ResultShape);
    }

    #[test]
    fn results_that_are_not_what_is_announced_are_refused() {
        let mut out = [0; 64];
        let (info, len) = write_classes(&mut out, [CAR, TRUCK]).unwrap();
        for (info, bytes) in [
            (info, &out[..len + 4]),
            (info, &out[..len - 4]),
            (ResultInfo::Classes { count: 1 }, &out[..len]),
            (ResultInfo::Detections { count: 1 }, &out[..23]),
            (ResultInfo::None, &out[..1]),
            (ResultInfo::Tensor(TensorShape::f32(&[2, 3]).unwrap()), &out[..20]),
        ] {
            assert_eq!(info.view(bytes).unwrap_err(), ReplyError::BadResult { len: bytes.len() });
        }
        out[9] = 0xff;
        assert_eq!(info.view(&out[..len]).unwrap_err(), ReplyError::BadResult { len }, "a label that is not UTF-8");
    }
}
