//! How a stage waits: spinning, or spinning a while and then sleeping on its doorbell.

use crate::{Context, Stage};
use arena::doorbell::{announce_sleep, awake};
use arena::now_ns;
use config::Wait;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Longest sleep: bounds the harm of anything forgotten, and keeps the heartbeat going.
const SLEEP_MAX_NS: u64 = 100_000_000;

/// What a wait found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    /// Look at the inputs again.
    Again,
    /// The supervisor is gone.
    Orphaned,
}

/// The configured strategy and its state.
#[derive(Debug)]
pub(crate) struct Waiter {
    wait: Wait,
    spin_ns: u64,
    idle_since_ns: Option<u64>,
    supervisor_asked_ns: u64,
}

impl Waiter {
    pub(crate) fn new(wait: Wait, spin_us: u32) -> Self {
        Self { wait, spin_ns: u64::from(spin_us) * 1_000, idle_since_ns: None, supervisor_asked_ns: 0 }
    }

    /// There was work.
    #[inline]
    pub(crate) fn busy(&mut self) {
        self.idle_since_ns = None;
    }

    /// Whether the supervisor's socket has hung up; asked at most ten times a second.
    pub(crate) fn orphaned(&mut self, now_ns: u64, supervisor: &OwnedFd) -> bool {
        if now_ns.wrapping_sub(self.supervisor_asked_ns) < SLEEP_MAX_NS {
            return false;
        }
        self.supervisor_asked_ns = now_ns;
        hung_up(supervisor.as_fd(), 0)
    }

    /// There was nothing to do.
    pub(crate) fn idle(
        &mut self,
        cx: &Context,
        stage: &dyn Stage,
        supervisor: &OwnedFd,
        stop: impl Fn() -> bool,
    ) -> Woken {
        match self.wait {
            Wait::Spin => return Woken::Again,
            Wait::SpinPause => {
                std::hint::spin_loop();
                return Woken::Again;
            }
            Wait::Adaptive => {}
        }
        let since = *self.idle_since_ns.get_or_insert(cx.now_ns);
        if cx.now_ns.wrapping_sub(since) < self.spin_ns {
            return Woken::Again;
        }
        announce_sleep(cx.page);
        let woken = if stage.has_input(cx) || stop() { Woken::Again } else { sleep(cx, stage, supervisor) };
        awake(cx.page);
        woken
    }
}

fn sleep(cx: &Context, stage: &dyn Stage, supervisor: &OwnedFd) -> Woken {
    let now = now_ns();
    let until = stage.timer_ns(cx).map_or(SLEEP_MAX_NS, |t| t.saturating_sub(now).min(SLEEP_MAX_NS));
    let timeout = Timespec { tv_sec: 0, tv_nsec: until as i64 };
    let Some(bell) = cx.doorbells.fd(cx.me.id) else { return Woken::Again };
    let mut fds = [
        PollFd::from_borrowed_fd(bell, PollFlags::IN),
        PollFd::from_borrowed_fd(supervisor.as_fd(), PollFlags::IN),
        PollFd::from_borrowed_fd(stage.wake_fd(cx).unwrap_or(bell), PollFlags::IN),
    ];
    if rustix::event::poll(&mut fds, Some(&timeout)).unwrap_or(0) == 0 {
        return Woken::Again;
    }
    let orphaned = fds[1].revents().intersects(PollFlags::HUP | PollFlags::ERR);
    if fds[0].revents().contains(PollFlags::IN) {
        let _ = rustix::io::read(bell, &mut [0; 8]);
    }
    if orphaned { Woken::Orphaned } else { Woken::Again }
}

/// Waits up to `timeout_ms` and says whether the other end of the socket is closed.
pub(crate) fn hung_up(socket: BorrowedFd<'_>, timeout_ms: u32) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(socket, PollFlags::IN)];
    let timeout = Timespec { tv_sec: 0, tv_nsec: i64::from(timeout_ms) * 1_000_000 };
    rustix::event::poll(&mut fds, Some(&timeout)).is_ok_and(|n| n > 0)
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR)
}
