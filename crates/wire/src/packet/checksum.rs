//! The Internet checksum (RFC 1071): the one's complement of the one's complement sum of 16-bit words.

/// A sum under way. The words are those of the memory, in the machine's own byte order, since the sum does not care
/// (RFC 1071 section 2, B); carries are added at the end (C).
///
/// Two 32-bit words at a time go into a 64-bit sum: it cannot overflow before 16 GiB, and without a carry from step to step
/// the compiler can take several steps at once.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum(u64);

impl Sum {
    /// Adds bytes. All but the last addition must be of an even length: an odd byte at the end is padded with a zero.
    #[inline]
    pub(super) fn add(self, bytes: &[u8]) -> Self {
        let (words, rest) = bytes.as_chunks::<8>();
        let mut sum = words.iter().fold(self.0, |sum, word| {
            let word = u64::from_ne_bytes(*word);
            sum + (word & 0xffff_ffff) + (word >> 32)
        });
        let (words, rest) = rest.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let (words, rest) = rest.as_chunks::<2>();
        for word in words {
            sum += u64::from(u16::from_ne_bytes(*word));
        }
        for byte in rest {
            sum += u64::from(u16::from_ne_bytes([*byte, 0]));
        }
        Self(sum)
    }

    /// Adds a field that is not in memory, or not yet.
    #[inline]
    pub(super) fn add_u16(self, field: u16) -> Self {
        Self(self.0 + u64::from(field.to_be()))
    }

    /// The same for a field of two words.
    #[inline]
    pub(super) fn add_u32(self, field: u32) -> Self {
        Self(self.0 + u64::from(field.to_be()))
    }

    /// The checksum: 0 when the checksum field was among the words and fits.
    #[inline]
    pub(super) fn checksum(self) -> u16 {
        let mut sum = self.0;
        // 64 bits become 18, then 17, then 16.
        for _ in 0..3 {
            sum = (sum & 0xffff) + (sum >> 16 & 0xffff) + (sum >> 32 & 0xffff) + (sum >> 48);
        }
        u16::from_be(!(sum as u16))
    }
}

/// The checksum of `bytes`, as a field's value. Over bytes that hold their own checksum it is 0.
#[inline]
pub fn internet_checksum(bytes: &[u8]) -> u16 {
    Sum::default().add(bytes).checksum()
}
