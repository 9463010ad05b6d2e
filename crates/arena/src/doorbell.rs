//! Doorbells: an eventfd per stage instance, rung only when its owner may be asleep.
//!
//! ```text
//! sleeper                                 waker
//!   SLEEPING := 1                           commit (ring entry, head, control word)
//!   SeqCst fence          (C)               SeqCst fence          (C)
//!   look at every input again               load SLEEPING
//!   poll(eventfd), 100 ms at most           if 1: write eventfd
//!   SLEEPING := 0
//! ```
//! With both fences either the sleeper sees the commit or the waker sees SLEEPING.

#[cfg(not(any(loom, shuttle)))]
use crate::arena::Arena;
use crate::owner::OwnerId;
use crate::page::StagePage;
use crate::seeded::{Bug, planted};
use crate::sync::{AtomicU32, Ordering, fence};
use rustix::event::EventfdFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Creates one doorbell.
pub fn create() -> rustix::io::Result<OwnedFd> {
    rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
}

/// The doorbells of all instances, as one process holds them.
#[derive(Debug)]
pub struct Doorbells {
    bells: Vec<(Option<OwnedFd>, &'static StagePage)>,
}

impl Doorbells {
    #[cfg(not(any(loom, shuttle)))]
    /// `bells[n]` is the doorbell of owner id `FIRST_STAGE + n`.
    pub fn new(arena: &Arena, bells: impl IntoIterator<Item = Option<OwnedFd>>) -> Self {
        let pages = arena.geometry().all_instances().filter_map(|(id, _)| arena.page(id));
        Self { bells: bells.into_iter().zip(pages).collect() }
    }

    fn get(&self, id: OwnerId) -> Option<&(Option<OwnedFd>, &'static StagePage)> {
        self.bells.get((id.0 as usize).checked_sub(OwnerId::FIRST_STAGE as usize)?)
    }

    /// The doorbell's descriptor.
    pub fn fd(&self, id: OwnerId) -> Option<BorrowedFd<'_>> {
        self.get(id)?.0.as_ref().map(AsFd::as_fd)
    }

    /// Wakes `id` if it may be asleep. Call after the commit it should see.
    #[inline]
    pub fn ring(&self, id: OwnerId) {
        let Some((Some(bell), page)) = self.get(id) else { return };
        if must_ring(&page.sleeping) {
            // A full counter means that it is ringing already.
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }

    /// Wakes `id` whatever its page says.
    pub fn ring_always(&self, id: OwnerId) {
        if let Some((Some(bell), _)) = self.get(id) {
            let _ = rustix::io::write(bell, &1_u64.to_ne_bytes());
        }
    }
}

/// Says that the stage may be asleep from now on; look at every input again before sleeping.
#[inline]
pub fn announce_sleep(page: &StagePage) {
    announce(&page.sleeping);
}

/// [`announce_sleep`] on the word itself.
#[inline]
pub fn announce(sleeping: &AtomicU32) {
    sleeping.store(1, Ordering::Relaxed);
    if !planted(Bug::SleepWithoutFence) {
        fence(Ordering::SeqCst); // (C)
    }
}

/// Whether the owner of this word may not see what was committed before this call, and must be rung.
#[inline]
pub fn must_ring(sleeping: &AtomicU32) -> bool {
    if !planted(Bug::RingWithoutFence) {
        fence(Ordering::SeqCst); // (C)
    }
    sleeping.load(Ordering::Relaxed) != 0
}

/// Says that the stage is awake.
#[inline]
pub fn awake(page: &StagePage) {
    page.sleeping.store(0, Ordering::Relaxed);
}
