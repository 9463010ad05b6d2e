//! A ring that the kernel shares with us, mapped: the four rings of an AF_XDP socket (`linux/if_xdp.h`).
//!
//! Everything in it is read through atomics, so that whatever the kernel or another process stores there is only a
//! wrong number, checked by who uses it. Cursors count entries and wrap at 32 bits.

use crate::sync::{AtomicU32, AtomicU64, Ordering};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;

/// The kernel sets this flag when it wants to be woken (`XDP_RING_NEED_WAKEUP`).
const NEED_WAKEUP: u32 = 1;

/// Where the parts of a ring lie in its mapping, as the kernel tells (`XDP_MMAP_OFFSETS`), bytes.
#[derive(Clone, Copy, Debug)]
pub struct RingOffsets {
    /// Offset to map the socket at: says which ring.
    pub page: u64,
    /// The producer's cursor.
    pub producer: u64,
    /// The consumer's cursor.
    pub consumer: u64,
    /// The flags.
    pub flags: u64,
    /// The entries.
    pub entries: u64,
    /// Bytes of an entry: 8 (an address), or 16 (an address, a length, options).
    pub stride: usize,
}

/// A ring of the kernel's, mapped for the process's life.
#[derive(Debug)]
pub struct DeviceRing {
    producer: &'static AtomicU32,
    consumer: &'static AtomicU32,
    flags: &'static AtomicU32,
    words: &'static [AtomicU64],
    mask: u32,
    words_per_entry: usize,
}

impl DeviceRing {
    /// Maps a ring of `entries` entries, a power of two.
    ///
    /// # Errors
    /// What the kernel says; [`Errno::INVAL`] for offsets or sizes that cannot be.
    pub fn map(socket: BorrowedFd<'_>, at: RingOffsets, entries: u32) -> Result<Self, Errno> {
        let words = entries as usize * at.stride / 8;
        let len = usize::try_from(at.entries).ok().and_then(|n| n.checked_add(words * 8)).ok_or(Errno::INVAL)?;
        let cursors = [at.producer, at.consumer, at.flags];
        let aligned = at.entries.is_multiple_of(8) && cursors.iter().all(|c| c.is_multiple_of(4) && *c < at.entries);
        if !entries.is_power_of_two() || !matches!(at.stride, 8 | 16) || !aligned {
            return Err(Errno::INVAL);
        }
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: needed because mapping is the only way to a ring. A new mapping at an address that the kernel chooses
        // touches no other memory; it is never unmapped, so the references below may be static.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len, ProtFlags::READ | ProtFlags::WRITE, flags, socket, at.page)?
        };
        let base = NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)?;
        let cursor = |offset: u64| {
            // SAFETY: inside the mapping and aligned, both checked above; an atomic may be read and written while others do.
            unsafe { base.add(offset as usize).cast::<AtomicU32>().as_ref() }
        };
        // SAFETY: the mapping was made long enough for them; aligned, checked above.
        let words =
            unsafe { std::slice::from_raw_parts(base.add(at.entries as usize).cast::<AtomicU64>().as_ptr(), words) };
        Ok(Self {
            producer: cursor(at.producer),
            consumer: cursor(at.consumer),
            flags: cursor(at.flags),
            words,
            mask: entries - 1,
            words_per_entry: at.stride / 8,
        })
    }

    /// Entries of the ring.
    pub fn capacity(&self) -> u32 {
        self.mask + 1
    }

    /// The producer's cursor; what stands before it may be read.
    #[inline]
    pub fn producer(&self) -> u32 {
        self.producer.load(Ordering::Acquire)
    }

    /// Publishes the entries before `cursor`.
    #[inline]
    pub fn set_producer(&self, cursor: u32) {
        self.producer.store(cursor, Ordering::Release);
    }

    /// The consumer's cursor; what stands before it may be written over.
    #[inline]
    pub fn consumer(&self) -> u32 {
        self.consumer.load(Ordering::Acquire)
    }

    /// Gives the entries before `cursor` back.
    #[inline]
    pub fn set_consumer(&self, cursor: u32) {
        self.consumer.store(cursor, Ordering::Release);
    }

    /// Whether the kernel asks to be woken.
    #[inline]
    pub fn needs_wakeup(&self) -> bool {
        self.flags.load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    fn word(&self, position: u32, n: usize) -> Option<&AtomicU64> {
        self.words.get((position & self.mask) as usize * self.words_per_entry + n)
    }

    /// The address in the entry at `position`.
    #[inline]
    pub fn address(&self, position: u32) -> u64 {
        self.word(position, 0).map_or(u64::MAX, |w| w.load(Ordering::Relaxed))
    }

    /// The length in the entry at `position`, bytes; only where entries have one.
    #[inline]
    pub fn length(&self, position: u32) -> u32 {
        self.word(position, 1).map_or(u32::MAX, |w| w.load(Ordering::Relaxed) as u32)
    }

    /// Stores the entry at `position`; `length` where entries have one, with no options.
    #[inline]
    pub fn set(&self, position: u32, address: u64, length: u32) {
        if let Some(word) = self.word(position, 0) {
            word.store(address, Ordering::Relaxed);
        }
        if let Some(word) = self.word(position, 1).filter(|_| self.words_per_entry == 2) {
            word.store(length.into(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::MemfdFlags;
    use std::os::fd::{AsFd, OwnedFd};

    fn memory() -> OwnedFd {
        let fd = rustix::fs::memfd_create("ring", MemfdFlags::CLOEXEC).unwrap();
        rustix::fs::ftruncate(&fd, 8192).unwrap();
        fd
    }

    const AT: RingOffsets = RingOffsets { page: 0, producer: 0, consumer: 64, flags: 128, entries: 192, stride: 16 };

    #[test]
    fn two_ends_see_one_ring() {
        let memory = memory();
        let ours = DeviceRing::map(memory.as_fd(), AT, 8).unwrap();
        let theirs = DeviceRing::map(memory.as_fd(), AT, 8).unwrap();
        ours.set(u32::MAX, 0x1234, 60);
        ours.set(0, 0x5678, 61);
        ours.set_producer(1);
        assert_eq!((theirs.producer(), theirs.address(u32::MAX), theirs.length(7)), (1, 0x1234, 60));
        assert_eq!((theirs.address(8), theirs.length(0)), (0x5678, 61), "positions wrap");
        theirs.set_consumer(1);
        assert_eq!(ours.consumer(), 1);
        assert!(!ours.needs_wakeup());
        rustix::io::pwrite(&memory, &[1], 128).unwrap();
        assert!(ours.needs_wakeup());
    }

    #[test]
    fn entries_of_one_word_have_no_length() {
        let memory = memory();
        let ring = DeviceRing::map(memory.as_fd(), RingOffsets { stride: 8, ..AT }, 8).unwrap();
        ring.set(0, 1, 99);
        ring.set(1, 2, 99);
        assert_eq!((ring.address(0), ring.address(1), ring.address(2)), (1, 2, 0));
    }

    #[test]
    fn impossible_rings_are_refused() {
        let memory = memory();
        let map = |at, entries| DeviceRing::map(memory.as_fd(), at, entries).err();
        assert_eq!(map(AT, 6), Some(Errno::INVAL));
        for at in [
            RingOffsets { stride: 12, ..AT },
            RingOffsets { producer: 2, ..AT },
            RingOffsets { flags: 192, ..AT },
            RingOffsets { entries: 196, ..AT },
            RingOffsets { entries: u64::MAX - 7, ..AT },
        ] {
            assert_eq!(map(at, 8), Some(Errno::INVAL), "{at:?}");
        }
    }
}
