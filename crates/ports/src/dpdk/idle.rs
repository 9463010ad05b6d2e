//! What a sleeping stage waits on: the port's interrupts where it has them, else a timer.
//!
//! A port without interrupts has to be looked at. The timer is armed by each look of the sleeper at the descriptor, for longer
//! each time that nothing had come, so that an idle pipeline uses next to no CPU.

use super::DpdkError;
use super::ffi::{self, Port};
use rustix::event::epoll;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest sleep without interrupts, microseconds.
const MOST_US: u32 = 2000;

/// How a stage that has nothing to do waits for packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// For an interrupt where the port has them, else for the timer.
    Auto,
    /// For an interrupt; a port without is refused.
    Interrupt,
    /// For the timer.
    Sleep,
}

/// The descriptor to sleep on, and what makes it readable.
#[derive(Debug)]
pub(super) struct Waiter {
    /// Of the timer and, if there is one, of the library's epoll instance.
    outer: OwnedFd,
    timer: OwnedFd,
    /// The queues' interrupts, and how many queues.
    interrupts: Option<(OwnedFd, u16)>,
    least_us: u32,
    sleep_us: Cell<u32>,
    armed: Cell<bool>,
}

impl Waiter {
    /// Sleeps of `least_us` microseconds at first, without interrupts.
    pub fn new(least_us: u32) -> Result<Self, DpdkError> {
        let create = || epoll::create(epoll::CreateFlags::CLOEXEC).map_err(DpdkError::system("epoll_create1"));
        let outer = create()?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags).map_err(DpdkError::system("timerfd_create"))?;
        watch(&outer, timer.as_fd())?;
        let least_us = least_us.clamp(1, MOST_US);
        Ok(Self { outer, timer, interrupts: None, least_us, sleep_us: Cell::new(least_us), armed: Cell::new(false) })
    }

    /// Has the queues' interrupts wake the sleeper; `false`: the port has none. The port is started.
    pub fn use_interrupts(&mut self, port: Port, queues: u16) -> Result<bool, DpdkError> {
        let inner = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(DpdkError::system("epoll_create1"))?;
        if (0..queues).any(|queue| port.add_interrupt(queue, inner.as_fd()).is_err()) {
            return Ok(false);
        }
        watch(&self.outer, inner.as_fd())?;
        self.interrupts = Some((inner, queues));
        Ok(true)
    }

    pub fn has_interrupts(&self) -> bool {
        self.interrupts.is_some()
    }

    /// Before sleeping: what comes from now on makes the descriptor readable, and so does what is there already.
    pub fn arm(&self, port: Port) -> BorrowedFd<'_> {
        let sleep_us = match &self.interrupts {
            None => Some(self.sleep_us.get()),
            Some((_, queues)) => {
                (0..*queues).for_each(|queue| port.enable_interrupt(queue));
                // What came before the interrupt was enabled raises none.
                match (0..*queues).try_fold(0, |sum, queue| Some(sum + port.waiting(queue)?)) {
                    Some(0) => None,
                    Some(_) => Some(0),
                    None => Some(MOST_US),
                }
            }
        };
        self.set_timer(sleep_us);
        self.armed.set(true);
        self.outer.as_fd()
    }

    /// After a sleep, if there was one, before packets are looked for.
    #[inline]
    pub fn disarm(&self, port: Port) -> bool {
        let armed = self.armed.replace(false);
        if armed && let Some((inner, queues)) = &self.interrupts {
            (0..*queues).for_each(|queue| port.disable_interrupt(queue));
            ffi::take_interrupts(inner.as_fd());
        }
        armed
    }

    /// What the look after a sleep found says how long the next one may be.
    #[inline]
    pub fn learn(&self, slept: bool, found: bool) {
        if found {
            self.sleep_us.set(self.least_us);
        } else if slept {
            self.sleep_us.set((self.sleep_us.get() * 2).min(MOST_US));
        }
    }

    /// Wakes the sleeper after `us` microseconds, or not at all: one that has expired stays readable until it is set again.
    fn set_timer(&self, us: Option<u32>) {
        // 0 disarms it.
        let tv_nsec = us.map_or(0, |us| i64::from(us) * 1000 + 1);
        let it_value = Timespec { tv_sec: 0, tv_nsec };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        // Only wrong arguments fail. Setting it forgets that it had expired.
        let _ = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once);
    }
}

fn watch(epoll: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), DpdkError> {
    epoll::add(epoll, fd, epoll::EventData::new_u64(0), epoll::EventFlags::IN).map_err(DpdkError::system("epoll_ctl"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::event::{PollFd, PollFlags, poll};

    #[test]
    fn a_timer_that_has_expired_wakes_nobody_who_waits_for_interrupts() {
        let waiter = Waiter::new(200).expect("descriptors");
        let is_woken = |limit_ms: i64| {
            let limit = Timespec { tv_sec: 0, tv_nsec: limit_ms * 1_000_000 };
            poll(&mut [PollFd::from_borrowed_fd(waiter.outer.as_fd(), PollFlags::IN)], Some(&limit)).expect("poll") > 0
        };
        // A packet was there already: look at once. It is taken, and the next sleep is one until the interrupt.
        waiter.set_timer(Some(0));
        assert!(is_woken(900) && is_woken(0), "it stays so until it is set");
        waiter.set_timer(None);
        assert!(!is_woken(20));
        waiter.set_timer(Some(1));
        assert!(is_woken(900));
    }
}
