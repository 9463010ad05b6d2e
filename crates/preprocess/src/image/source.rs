//! A frame's bytes where they lie: in one packet buffer or in many.

/// A frame as the list of its segments' payloads, in frame order. Segments may be split at any byte, and may be empty.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    segments: &'a [&'a [u8]],
    len: usize,
}

impl<'a> Source<'a> {
    /// A frame that consists of these segments, one after the other.
    pub fn new(segments: &'a [&'a [u8]]) -> Self {
        Self { segments, len: segments.iter().map(|segment| segment.len()).sum() }
    }

    /// The segments, in frame order.
    pub fn segments(&self) -> &'a [&'a [u8]] {
        self.segments
    }

    /// Length of the frame, bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the frame has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The whole frame as one slice, if it lies in one segment.
    pub fn contiguous(&self) -> Option<&'a [u8]> {
        let mut filled = self.segments.iter().filter(|segment| !segment.is_empty());
        match (filled.next(), filled.next()) {
            (None, _) => Some(&[]),
            (Some(only), None) => Some(only),
            _ => None,
        }
    }
}

/// Reads a [`Source`] forward in runs, each within one segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cursor<'a> {
    segments: &'a [&'a [u8]],
    /// What is left of the current segment.
    run: &'a [u8],
    /// Index of the segment after the current one.
    next: usize,
}

impl<'a> Cursor<'a> {
    /// At the first byte.
    pub fn start(source: &Source<'a>) -> Self {
        Self { segments: source.segments, run: &[], next: 0 }
    }

    /// The bytes from here to the end of their segment; empty only at the end of the frame.
    #[inline]
    pub fn run(&mut self) -> &'a [u8] {
        while self.run.is_empty() {
            let Some(segment) = self.segments.get(self.next) else { break };
            self.run = segment;
            self.next += 1;
        }
        self.run
    }

    /// The current segment, and how many bytes of it are left.
    #[inline]
    pub fn segment(&self) -> (&'a [u8], usize) {
        let segment = self.next.checked_sub(1).and_then(|current| self.segments.get(current));
        (segment.copied().unwrap_or(&[]), self.run.len())
    }

    /// The segment after the current one.
    #[inline]
    pub fn following(&self) -> Option<&'a [u8]> {
        self.segments.get(self.next).copied()
    }

    /// Steps over `count` bytes of the current run.
    #[inline]
    pub fn consume(&mut self, count: usize) {
        self.run = self.run.get(count..).unwrap_or(&[]);
    }

    /// The next byte, 0 after the end of the frame (lengths are checked before the first byte is read).
    pub fn byte(&mut self) -> u8 {
        let byte = self.run().first().copied().unwrap_or(0);
        self.consume(1);
        byte
    }

    /// Steps over `count` bytes, across segments.
    pub fn skip(&mut self, mut count: usize) {
        while count > 0 {
            let step = self.run().len().min(count);
            if step == 0 {
                return;
            }
            self.consume(step);
            count -= step;
        }
    }
}
