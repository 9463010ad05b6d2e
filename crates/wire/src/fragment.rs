//! The arithmetic of fragments, the same for frames and for results.
//!
//! All fragments but the last carry equally many bytes, the *stride*, a multiple of [`ALIGNMENT`]. So the place of a
//! fragment follows from its index, fragments cannot overlap, and a single packet tells the frame's whole plan.

use crate::{ALIGNMENT, MAX_TOTAL_LEN};

/// Which part of a frame, or of a result, a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Fragment {
    /// Number of this fragment, from 0.
    pub index: u16,
    /// How many fragments there are, at least 1.
    pub count: u16,
    /// First byte of this fragment within the whole.
    pub offset: u32,
    /// Bytes that this datagram carries.
    pub len: u32,
    /// Bytes of the whole.
    pub total_len: u32,
}

/// Why fragment fields contradict one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FragmentError {
    /// No fragments.
    #[error("the fragment count is 0; an unfragmented frame has count 1")]
    CountZero,
    /// Index out of range.
    #[error("fragment index {index} is not below the count {count}; number fragments from 0")]
    IndexBeyondCount {
        /// Index stated.
        index: u16,
        /// Count stated.
        count: u16,
    },
    /// Total length out of range.
    #[error("the total length {total_len} is over {MAX_TOTAL_LEN} bytes; send a smaller or compressed frame")]
    TooLarge {
        /// Bytes stated, or offered by a sender.
        total_len: u64,
    },
    /// No bytes.
    #[error("the fragment carries no bytes; frames are never empty")]
    Empty,
    /// Offset and length leave the whole.
    #[error("offset {offset} and length {len} reach beyond the total length {total_len}")]
    BeyondTotal {
        /// Offset stated.
        offset: u32,
        /// Length stated.
        len: u32,
        /// Total length stated.
        total_len: u32,
    },
    /// Not on the grid of equal strides.
    #[error(
        "fragment {index} of {count} at offset {offset} with {len} of {total_len} bytes does not fit equal strides; \
         give every fragment but the last the same multiple of {ALIGNMENT} bytes"
    )]
    UnevenStride {
        /// Index stated.
        index: u16,
        /// Count stated.
        count: u16,
        /// Offset stated.
        offset: u32,
        /// Length stated.
        len: u32,
        /// Total length stated.
        total_len: u32,
    },
    /// More fragments than the field can count, or no room for payload in a datagram.
    #[error("{total_len} bytes do not fit 65535 datagrams of {max_datagram} bytes; allow larger datagrams")]
    TooManyFragments {
        /// Bytes to send.
        total_len: u64,
        /// Largest datagram allowed, in bytes.
        max_datagram: usize,
    },
}

impl Fragment {
    /// The only fragment of an unfragmented whole of `len` bytes.
    pub const fn whole(len: u32) -> Self {
        Self { index: 0, count: 1, offset: 0, len, total_len: len }
    }

    /// Whether this is the only fragment.
    pub const fn is_whole(&self) -> bool {
        self.count == 1
    }

    /// Bytes carried by each fragment but the last; the total length if there is only one. Meaningful after
    /// [`Fragment::check`]; 0 for fields that contradict one another.
    pub const fn stride(&self) -> u32 {
        if self.count <= 1 {
            self.total_len
        } else if (self.index as u32) + 1 < self.count as u32 {
            self.len
        } else if self.index == 0 {
            0
        } else {
            self.offset / self.index as u32
        }
    }

    /// Whether two fragments can belong to the same whole: equal count, stride and total length.
    pub const fn same_plan(&self, other: &Self) -> bool {
        self.count == other.count && self.total_len == other.total_len && self.stride() == other.stride()
    }

    /// Checks all fields against one another. `may_be_empty` allows a whole of 0 bytes, as status replies are.
    pub const fn check(&self, may_be_empty: bool) -> Result<(), FragmentError> {
        let Self { index, count, offset, len, total_len } = *self;
        if count == 0 {
            return Err(FragmentError::CountZero);
        }
        if index >= count {
            return Err(FragmentError::IndexBeyondCount { index, count });
        }
        if total_len as usize > MAX_TOTAL_LEN {
            return Err(FragmentError::TooLarge { total_len: total_len as u64 });
        }
        if len == 0 && !(may_be_empty && count == 1) {
            return Err(FragmentError::Empty);
        }
        if offset as u64 + len as u64 > total_len as u64 {
            return Err(FragmentError::BeyondTotal { offset, len, total_len });
        }
        let fits = if count == 1 {
            offset == 0 && len == total_len
        } else {
            let stride = self.stride() as u64;
            let (index, count, total) = (index as u64, count as u64, total_len as u64);
            let expected = if index + 1 < count { stride } else { total.saturating_sub(index * stride) };
            stride != 0
                && stride.is_multiple_of(ALIGNMENT as u64)
                && offset as u64 == index * stride
                && len as u64 == expected
                && total > (count - 1) * stride
                && total <= count * stride
        };
        if fits { Ok(()) } else { Err(FragmentError::UnevenStride { index, count, offset, len, total_len }) }
    }
}

/// How a whole is cut into datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FragmentPlan {
    total_len: u32,
    stride: u32,
    count: u16,
}

impl FragmentPlan {
    /// The fewest datagrams of at most `max_datagram` bytes, `header_len` of them header, that carry `total_len` bytes.
    pub fn new(total_len: usize, max_datagram: usize, header_len: usize) -> Result<Self, FragmentError> {
        if total_len > MAX_TOTAL_LEN {
            return Err(FragmentError::TooLarge { total_len: total_len as u64 });
        }
        let room = max_datagram.saturating_sub(header_len);
        if total_len <= room && max_datagram >= header_len {
            return Ok(Self { total_len: total_len as u32, stride: total_len as u32, count: 1 });
        }
        let too_many = FragmentError::TooManyFragments { total_len: total_len as u64, max_datagram };
        let stride = room / ALIGNMENT * ALIGNMENT;
        if stride == 0 {
            return Err(too_many);
        }
        let count = u16::try_from(total_len.div_ceil(stride)).map_err(|_| too_many)?;
        Ok(Self { total_len: total_len as u32, stride: stride as u32, count })
    }

    /// How many datagrams.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Bytes per datagram, except the last.
    pub const fn stride(&self) -> u32 {
        self.stride
    }

    /// Fragment `index`, or `None` beyond the last.
    pub const fn fragment(&self, index: u16) -> Option<Fragment> {
        if index >= self.count {
            return None;
        }
        // Below 2^26 for every index of a plan, see `new`.
        let offset = index as u32 * self.stride;
        let rest = self.total_len - offset;
        let len = if rest < self.stride { rest } else { self.stride };
        Some(Fragment { index, count: self.count, offset, len, total_len: self.total_len })
    }

    /// All fragments in order.
    pub fn fragments(&self) -> impl Iterator<Item = Fragment> + use<> {
        let plan = *self;
        (0..plan.count).filter_map(move |index| plan.fragment(index))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// All fragments of all wholes of up to `longest` bytes, made by cutting and not by the arithmetic under test.
    fn cut_all(longest: u32) -> HashSet<Fragment> {
        let mut all = HashSet::new();
        for total_len in 1..=longest {
            let whole: Vec<u32> = (0..total_len).collect();
            for stride in (64..=total_len + 64).step_by(ALIGNMENT) {
                let parts: Vec<&[u32]> = whole.chunks(stride as usize).collect();
                all.extend(parts.iter().enumerate().map(|(index, part)| Fragment {
                    index: index as u16,
                    count: parts.len() as u16,
                    offset: part[0],
                    len: part.len() as u32,
                    total_len,
                }));
            }
        }
        all
    }

    #[test]
    fn exactly_the_fragments_that_cutting_gives_pass() {
        let all = cut_all(264);
        let mut passed = 0;
        for (index, count) in (0..6).flat_map(|index| (0..6).map(move |count| (index, count))) {
            for (offset, len) in (0..=264).step_by(8).flat_map(|offset| (0..=264).map(move |len| (offset, len))) {
                for total_len in (len..=264).step_by(4) {
                    let fragment = Fragment { index, count, offset, len, total_len };
                    assert_eq!(fragment.check(false).is_ok(), all.contains(&fragment), "{fragment:?}");
                    passed += usize::from(all.contains(&fragment));
                }
            }
        }
        assert!(passed > 500, "only {passed} fragments were right");
    }

    #[test]
    fn strides_are_told_by_every_fragment() {
        let plan = FragmentPlan::new(1000, 448, 128).unwrap();
        assert_eq!((plan.stride(), plan.count()), (320, 4));
        for fragment in plan.fragments() {
            assert_eq!(fragment.stride(), 320);
            assert!(fragment.same_plan(&plan.fragment(3).unwrap()));
        }
        assert_eq!(Fragment::whole(77).stride(), 77);
        assert_eq!(Fragment { count: 2, ..Fragment { index: u16::MAX, ..Fragment::whole(9) } }.stride(), 0);
    }

    #[test]
    fn only_a_whole_may_be_empty_and_only_if_allowed() {
        assert_eq!(Fragment::whole(0).check(true), Ok(()));
        assert_eq!(Fragment::whole(0).check(false), Err(FragmentError::Empty));
        let part = Fragment { index: 1, count: 2, offset: 64, len: 0, total_len: 64 };
        assert_eq!(part.check(true), Err(FragmentError::Empty));
    }
}
