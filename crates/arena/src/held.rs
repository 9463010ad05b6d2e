//! Move-only handles: holding one means that the owner word names me.

/// A buffer or slot in hand. Not `Clone`: a second handle would be a second owner.
///
/// It leaves through a ring push, an attach or a free; dropping it anywhere else loses the buffer until the next
/// restart of its holder. Debug builds abort on that.
#[derive(Debug)]
#[must_use = "a held buffer must be forwarded, attached or freed"]
pub struct Held {
    index: u32,
}

impl Held {
    /// Only for code that has just stored `me` into the owner word of `index`, or found it there.
    #[inline]
    pub(crate) fn new(index: u32) -> Self {
        Self { index }
    }

    /// Index of the buffer (slots count on after the buffers).
    #[inline]
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Ends the handle: the word now names somebody else, or the process is about to end.
    #[inline]
    pub fn release(self) -> u32 {
        core::mem::ManuallyDrop::new(self).index
    }
}

#[cfg(debug_assertions)]
impl Drop for Held {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // A buffer that goes out of scope unforwarded is a leak that only the next restart would repair.
            eprintln!("arena: buffer {} dropped in hand", self.index);
            std::process::abort();
        }
    }
}
