//! A thread that stands for a process and dies as SIGKILL would have it: at once, leaving only what it has stored.
//!
//! All that a death leaves behind is shared memory, so dying before each store covers every state that it can leave.

#![allow(clippy::missing_const_for_thread_local, reason = "loom's macro takes no const block")]

use std::cell::Cell;

#[cfg(loom)]
use loom::thread_local;
#[cfg(shuttle)]
use shuttle::thread_local;

thread_local! {
    static LEFT: Cell<Option<u32>> = Cell::new(None);
}

/// The thread has died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Died;

/// Runs `life`, which dies in place of its store number `stores` (counted from 0); `None`: it does not.
///
/// # Errors
/// [`Died`] if it did.
pub fn dies_at<R>(stores: Option<u32>, life: impl FnOnce() -> R) -> Result<R, Died> {
    LEFT.with(|left| left.set(stores));
    // The dead one's locals are dropped on the way, which a killed process would not do; none of them stores anything.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(life));
    LEFT.with(|left| left.set(None));
    ended.map_err(|cause| match cause.downcast::<Died>() {
        Ok(died) => *died,
        Err(other) => std::panic::resume_unwind(other),
    })
}

/// Before every store.
#[inline]
pub(super) fn step() {
    #[cfg(loom)]
    yielding::before_a_store();
    LEFT.with(|left| match left.get() {
        None => {}
        Some(0) => {
            left.set(None);
            std::panic::resume_unwind(Box::new(Died));
        }
        Some(n) => left.set(Some(n - 1)),
    });
}

/// loom 0.7 does not explore a reader of a word that its owner first loads and later stores (tokio-rs/loom #166, #392). A yield
/// before each store makes it look at some of those executions, and at fewer of the others: models are run both ways.
#[cfg(loom)]
pub mod yielding {
    use std::cell::Cell;

    // All threads of a model run on the system thread that explores it.
    std::thread_local! {
        static ON: Cell<bool> = const { Cell::new(false) };
    }

    /// Whether the models that this system thread explores yield before each store.
    pub fn set(on: bool) {
        ON.with(|o| o.set(on));
    }

    pub(super) fn before_a_store() {
        if ON.with(Cell::get) {
            loom::thread::yield_now();
        }
    }
}
