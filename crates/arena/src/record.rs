//! The immutable part of a buffer's record, and the checksums that tell whether it still says what rx-gateway wrote.
//!
//! | word of the extension | holds |
//! |---|---|
//! | 0-18, 29-31 | [`FrameMeta`] |
//! | [`META_CHECK`] | checksum over those and the buffer's index |
//! | [`PLACE_CHECK`] | checksum over the descriptor's `data` and `fragment`, and the buffer's index |
//! | [`EARLY`] | how much earlier the frame's first packet came than this one, microseconds, and its own check |
//!
//! rx-gateway writes all of it before the buffer gets a role. Readers get it checked or not at all: a frame whose record was
//! overwritten must not be answered to a wrong address, or from wrong bytes. [`EARLY`] alone is stored later, when a frame
//! is complete; it is one store, so that a death leaves either the old word or the new one, and both are valid.
//!
//! The checksum is no secret: it finds accidents, not intent. Each step of [`fold`] is a bijection of the word and of the
//! state, so that damage within one word is found always, and damage to several with a probability
//! of 1 - 2^-64 ([`EARLY`]: 1 - 2^-32).

use crate::descriptor::{DataRange, Descriptor};
use crate::meta::{Extension, FrameMeta};
use crate::sync::Ordering;

/// Word of the checksum over the metadata.
pub(crate) const META_CHECK: usize = 26;
/// Word of the checksum over the payload's place.
pub(crate) const PLACE_CHECK: usize = 27;
/// Word of how much earlier the frame began: `early_us:32 | check:32`.
pub(crate) const EARLY: usize = 28;

/// Which fragment a buffer holds, and where its payload lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The payload in its 4096-byte buffer.
    pub data: DataRange,
    /// Number of the fragment in its frame.
    pub fragment: u16,
    /// Fragments of the frame.
    pub count: u16,
}

/// A record does not match its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the record of buffer {index} does not match its checksum: something wrote over shared memory; its frame is dropped \
     without a reply. If it happens again, look for the stage that dies or restarts near it, and test the machine's memory"
)]
pub struct Damaged {
    /// The buffer.
    pub index: u32,
}

const ODD: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 / golden ratio: odd, so that multiplying by it can be undone

/// One step: for each word a bijection of the state, for each state a bijection of the word.
#[inline]
const fn fold(state: u64, word: u64) -> u64 {
    (state ^ word).wrapping_mul(ODD).rotate_left(29)
}

/// The last steps: every bit of the state reaches every bit.
#[inline]
const fn finish(mut state: u64) -> u64 {
    state = (state ^ state >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93);
    state ^ state >> 32
}

/// Checksum over a buffer's metadata. Four chains side by side, since a chain of multiplications would wait for each.
#[inline]
fn meta_check(index: u32, words: &[u64; FrameMeta::WORDS]) -> u64 {
    let mut lanes: [u64; 4] = [ODD, ODD ^ 1, ODD ^ 2, u64::from(index) << 32 | 0x6d65_7461];
    for (i, word) in words.iter().enumerate() {
        lanes[i % 4] = fold(lanes[i % 4], *word);
    }
    finish(fold(fold(lanes[0], lanes[1]), fold(lanes[2], lanes[3])))
}

/// Checksum over a payload's place.
#[inline]
const fn place_check(index: u32, data: u32, fragment: u32) -> u64 {
    finish(fold((index as u64) << 32 | 0x706c_6163, (data as u64) << 32 | fragment as u64))
}

/// The word of how much earlier the frame began. The lower half repeats the upper one, veiled, so that no single word of
/// another meaning passes for it, zero least of all.
#[inline]
const fn early_word(index: u32, early_us: u32) -> u64 {
    (early_us as u64) << 32 | (early_us ^ finish(index as u64 ^ ODD) as u32) as u64
}

impl Extension {
    #[inline]
    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    #[inline]
    fn set_word(&self, at: usize, word: u64) {
        self.words[at].store(word, Ordering::Relaxed);
    }

    /// Writes the immutable part of buffer `index`, whose descriptor is `d`; rx-gateway, before the buffer gets a role.
    #[inline]
    pub fn write_record(&self, index: u32, d: &Descriptor, meta: &FrameMeta, place: Place) {
        let words = meta.to_words();
        for (i, word) in words.iter().enumerate() {
            self.set_word(FrameMeta::place(i), *word);
        }
        let fragment = u32::from(place.fragment) << 16 | u32::from(place.count);
        d.set_data(place.data);
        d.fragment.store(fragment, Ordering::Relaxed);
        self.set_word(META_CHECK, meta_check(index, &words));
        self.set_word(PLACE_CHECK, place_check(index, d.data.load(Ordering::Relaxed), fragment));
        self.set_word(EARLY, early_word(index, 0));
    }

    /// The whole immutable part of buffer `index`, checked. Arrival and deadline are those of the frame: moved forward to
    /// its first packet, see [`Extension::set_first_arrival`].
    #[inline]
    pub fn read_record(&self, index: u32, d: &Descriptor) -> Result<(FrameMeta, Place), Damaged> {
        let mut words = [0; FrameMeta::WORDS];
        for (i, word) in words.iter_mut().enumerate() {
            *word = self.word(FrameMeta::place(i));
        }
        let early = self.word(EARLY);
        let early_us = (early >> 32) as u32;
        let place = self.read_place(index, d)?;
        if self.word(META_CHECK) != meta_check(index, &words) || early != early_word(index, early_us) {
            return Err(Damaged { index });
        }
        let (mut meta, early_ns) = (FrameMeta::from_words(&words), u64::from(early_us) * 1000);
        meta.arrival_ns = meta.arrival_ns.saturating_sub(early_ns);
        if meta.deadline_ns != 0 {
            // Never to 0, which would mean no deadline at all.
            meta.deadline_ns = meta.deadline_ns.saturating_sub(early_ns).max(1);
        }
        Ok((meta, place))
    }

    /// Which fragment buffer `index` holds and where, checked: all that a reader needs of a segment.
    #[inline]
    pub fn read_place(&self, index: u32, d: &Descriptor) -> Result<Place, Damaged> {
        let (data, fragment) = (d.data.load(Ordering::Relaxed), d.fragment.load(Ordering::Relaxed));
        if self.word(PLACE_CHECK) != place_check(index, data, fragment) {
            return Err(Damaged { index });
        }
        let data = DataRange { offset: (data >> 16) as u16, len: data as u16 };
        Ok(Place { data, fragment: (fragment >> 16) as u16, count: fragment as u16 })
    }

    /// Says that the frame's first packet came `early_ns` before this one, rounded up to microseconds: arrival and deadline
    /// are read as so much earlier. rx-gateway, for the head of a complete frame; one store, and repeating it changes nothing.
    #[inline]
    pub fn set_first_arrival(&self, index: u32, early_ns: u64) {
        let early_us = u32::try_from(early_ns.div_ceil(1000)).unwrap_or(u32::MAX);
        self.set_word(EARLY, early_word(index, early_us));
    }
}

#[cfg(not(any(loom, shuttle)))]
impl crate::Arena {
    /// Writes the immutable part of a buffer in hand; rx-gateway, before the buffer gets a role.
    #[inline]
    pub fn write_record(&self, held: &crate::Held, meta: &FrameMeta, place: Place) {
        let index = held.index();
        self.extensions()[index as usize].write_record(index, self.table().of(held), meta, place);
    }

    /// A frame's metadata and the place of its first fragment, checked; `head` may be any number.
    #[inline]
    pub fn record(&self, head: u32) -> Result<(FrameMeta, Place), Damaged> {
        let (e, d) = self.extensions().get(head as usize).zip(self.table().get(head)).ok_or(Damaged { index: head })?;
        e.read_record(head, d)
    }

    /// As [`Self::record`], the metadata alone.
    #[inline]
    pub fn frame_meta(&self, head: u32) -> Result<FrameMeta, Damaged> {
        self.record(head).map(|(meta, _)| meta)
    }

    /// Which fragment a buffer holds and where, checked; `index` may be any number.
    #[inline]
    pub fn place(&self, index: u32) -> Result<Place, Damaged> {
        let found = self.extensions().get(index as usize).zip(self.table().get(index));
        found.map_or(Err(Damaged { index }), |(e, d)| e.read_place(index, d))
    }
}
