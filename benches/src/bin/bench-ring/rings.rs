//! Our ring as stages use it: owner words checked and moved, the descriptor read, and each way to wait.

use crate::pair::{Side, idle};
use crate::shared::{Ends, read_all};
use anyhow::{Context as _, Result, anyhow};
use arena::doorbell::{Doorbells, announce_sleep, awake};
use arena::page::StagePage;
use arena::ring::{Consumer, Producer};
use arena::sync::{AtomicU32, Ordering, fence};
use arena::{Held, OwnerId, now_ns};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::thread::futex;
use std::os::fd::BorrowedFd;

/// How long the adaptive strategy spins before it sleeps: the product's default on cores of its own.
const SPIN_NS: u64 = 50_000;
/// Longest sleep, as in the product.
const SLEEP_MAX: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A wait strategy, seen from the ring's user.
pub trait Wait {
    /// There was nothing to pop.
    fn nothing(&mut self, rx: &Consumer<'_>);
    /// There was something.
    fn something(&mut self) {}
    /// Something was pushed.
    fn sent(&mut self) {}
}

/// Looks again, with or without `pause`.
pub struct Spin<const PAUSE: bool>;

impl<const PAUSE: bool> Wait for Spin<PAUSE> {
    #[inline]
    fn nothing(&mut self, _rx: &Consumer<'_>) {
        idle::<PAUSE>();
    }
}

/// Sleeps on the product's doorbell, after spinning for `SPIN` nanoseconds, with or without `pause`.
pub struct Doorbell<'a, const SPIN: u64, const PAUSE: bool> {
    bells: &'a Doorbells,
    bell: BorrowedFd<'a>,
    supervisor: BorrowedFd<'a>,
    page: &'static StagePage,
    peer: OwnerId,
    idle_since_ns: Option<u64>,
}

/// Spins first.
pub type Adaptive<'a, const PAUSE: bool> = Doorbell<'a, SPIN_NS, PAUSE>;
/// Sleeps at once.
pub type Asleep<'a> = Doorbell<'a, 0, false>;

impl<'a, const SPIN: u64, const PAUSE: bool> Doorbell<'a, SPIN, PAUSE> {
    pub fn new(
        bells: &'a Doorbells,
        page: &'static StagePage,
        (id, peer): (OwnerId, OwnerId),
        supervisor: BorrowedFd<'a>,
    ) -> Result<Self> {
        let bell = bells.fd(id).ok_or_else(|| anyhow!("there is no doorbell"))?;
        Ok(Self { bells, bell, supervisor, page, peer, idle_since_ns: None })
    }

    /// As the run loop of the stages does: three descriptors, and one read of the bell.
    fn sleep(&self) {
        let mut fds = [self.bell, self.supervisor, self.bell].map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN));
        if rustix::event::poll(&mut fds, Some(&SLEEP_MAX)).is_ok_and(|n| n > 0) {
            // It is non-blocking: an empty one only says that somebody rang for nothing.
            let _ = rustix::io::read(self.bell, &mut [0; 8]);
        }
    }
}

impl<const SPIN: u64, const PAUSE: bool> Wait for Doorbell<'_, SPIN, PAUSE> {
    #[inline]
    fn nothing(&mut self, rx: &Consumer<'_>) {
        if SPIN > 0 {
            let now = now_ns();
            if now.wrapping_sub(*self.idle_since_ns.get_or_insert(now)) < SPIN {
                idle::<PAUSE>();
                return;
            }
        }
        announce_sleep(self.page);
        if rx.is_empty() {
            self.sleep();
        }
        awake(self.page);
    }

    #[inline]
    fn something(&mut self) {
        self.idle_since_ns = None;
    }

    #[inline]
    fn sent(&mut self) {
        self.bells.ring(self.peer);
    }
}

/// Sleeps at once on a futex, by the doorbell's protocol: what the wake-up costs without an eventfd.
pub struct Futex {
    mine: &'static StagePage,
    theirs: &'static StagePage,
}

impl Futex {
    pub fn new(mine: &'static StagePage, theirs: &'static StagePage) -> Self {
        Self { mine, theirs }
    }

    /// The word that is slept on: a field that only a supervisor would use.
    fn word(page: &StagePage) -> &AtomicU32 {
        &page.ticket
    }
}

impl Wait for Futex {
    #[inline]
    fn nothing(&mut self, rx: &Consumer<'_>) {
        let word = Self::word(self.mine);
        let seen = word.load(Ordering::Relaxed);
        announce_sleep(self.mine);
        if rx.is_empty() {
            // A changed word, a signal and a timeout all mean: look again.
            let _ = futex::wait(word, futex::Flags::empty(), seen, Some(&SLEEP_MAX));
        }
        awake(self.mine);
    }

    #[inline]
    fn sent(&mut self) {
        fence(Ordering::SeqCst);
        if self.theirs.sleeping.load(Ordering::Relaxed) != 0 {
            let word = Self::word(self.theirs);
            // One writer: this side.
            word.store(word.load(Ordering::Relaxed).wrapping_add(1), Ordering::Release);
            let _ = futex::wake(word, futex::Flags::empty(), 1);
        }
    }
}

#[inline]
fn push(tx: &mut Producer<'static>, held: Held) -> Result<()> {
    tx.push(held).map_err(|refused| {
        let index = refused.held.release();
        anyhow!("push of buffer {index}: {}", refused.fault)
    })
}

/// Batches of `N` buffers over the two rings.
pub struct Rings<'h, const N: usize, W> {
    ends: Ends,
    hand: &'h mut Vec<Held>,
    wait: W,
}

impl<'h, const N: usize, W: Wait> Rings<'h, N, W> {
    /// `hand` holds at least `N` buffers on side A, none on side B; it has room for [`crate::shared::BATCH`].
    pub fn new(ends: Ends, hand: &'h mut Vec<Held>, wait: W) -> Self {
        Self { ends, hand, wait }
    }

    #[inline]
    fn send(&mut self) -> Result<()> {
        if N == 1 {
            // No `drain`: its bookkeeping would be a part of so short a hop.
            let held = self.hand.pop().context("nothing in hand")?;
            push(&mut self.ends.tx, held)?;
        } else {
            let first = self.hand.len() - N;
            self.hand.drain(first..).try_for_each(|held| push(&mut self.ends.tx, held))?;
        }
        self.wait.sent();
        Ok(())
    }

    #[inline]
    fn receive(&mut self) -> Result<()> {
        let first = self.hand.len();
        while self.hand.len() < first + N {
            let got = if N == 1 {
                self.ends.rx.pop()?.map(|held| self.hand.push(held)).is_some()
            } else {
                self.ends.rx.pop_batch(self.hand, first + N - self.hand.len())? > 0
            };
            if got {
                self.wait.something();
            } else {
                self.wait.nothing(&self.ends.rx);
            }
        }
        for held in &self.hand[first..] {
            read_all(self.ends.table.of(held));
        }
        Ok(())
    }
}

impl<const N: usize, W: Wait> Side for Rings<'_, N, W> {
    #[inline]
    fn trip(&mut self) -> Result<()> {
        self.send()?;
        self.receive()
    }

    #[inline]
    fn echo(&mut self) -> Result<()> {
        self.receive()?;
        self.send()
    }
}
