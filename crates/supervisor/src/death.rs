//! What a death was: whose doing, and what it is called.

use std::fmt;

/// How a process ended, as the kernel says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// By itself, with this code.
    Exited(i32),
    /// By this signal.
    Signaled(i32),
    /// Not known any more.
    Unknown,
}

/// Why the supervisor itself sent SIGKILL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OurKill {
    /// Its heartbeat stood still.
    Hang,
    /// It did not become active in time.
    Start,
    /// It did not park in time.
    Drain,
    /// It is not needed any more.
    Unneeded,
    /// It is an end of a ring that has to be filled again, or may hold what nobody is known to hold.
    Repair,
}

/// What a death was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// It drained, parked and ended.
    Parked,
    /// It ended with this code, without having parked.
    Exited(i32, Option<String>),
    /// A signal that a program brings upon itself.
    Crashed(i32),
    /// Any other signal: somebody outside.
    Killed(i32),
    /// Our own SIGKILL.
    Ours(OurKill),
    /// The kernel's, for want of memory.
    OutOfMemory,
    /// There never was a process.
    NotStarted(String),
    /// Nobody knows.
    Unknown,
}

/// Exit code of a stage that met a ring entry that cannot be.
pub(crate) const EXIT_POISON: i32 = 70;
/// Exit code of a stage whose port another process may have where it could not.
pub(crate) const EXIT_AGAIN: i32 = 75;
/// Exit code of a stage whose configuration, model or engine cannot be loaded.
pub(crate) const EXIT_CONFIGURATION: i32 = 78;

/// Signals from `signal(7)` whose default sender is the process's own mistake.
const CRASHES: [(i32, &str); 6] = [
    (libc::SIGSEGV, "SIGSEGV"),
    (libc::SIGBUS, "SIGBUS"),
    (libc::SIGILL, "SIGILL"),
    (libc::SIGFPE, "SIGFPE"),
    (libc::SIGSYS, "SIGSYS"),
    (libc::SIGABRT, "SIGABRT"),
];

impl Cause {
    /// Judges an ending. `parked`: it had stored PARKED, or was ordered away before it became active. `oom`: the kernel
    /// has killed for want of memory since the last death. `words`: the last thing it said.
    pub(crate) fn of(ending: Ending, killed: Option<OurKill>, parked: bool, oom: bool, words: Option<String>) -> Self {
        match ending {
            Ending::Exited(0) if parked => Self::Parked,
            Ending::Exited(code) => Self::Exited(code, words),
            Ending::Signaled(libc::SIGKILL) if killed.is_some() => killed.map_or(Self::Unknown, Self::Ours),
            Ending::Signaled(libc::SIGKILL) if oom => Self::OutOfMemory,
            Ending::Signaled(signal) if CRASHES.iter().any(|(s, _)| *s == signal) => Self::Crashed(signal),
            Ending::Signaled(signal) => Self::Killed(signal),
            Ending::Unknown => Self::Unknown,
        }
    }

    /// Whether the death can be the process's own doing: it counts towards the restart limit.
    pub(crate) fn own_doing(&self) -> bool {
        match self {
            Self::Exited(..) | Self::Crashed(_) | Self::OutOfMemory | Self::NotStarted(_) => true,
            Self::Ours(why) => matches!(why, OurKill::Hang | OurKill::Start),
            Self::Parked | Self::Killed(_) | Self::Unknown => false,
        }
    }

    /// Whether the frame that was being worked on may be the reason. Not so for what is wrong with a ring or with the
    /// configuration, whatever frame was in hand.
    pub(crate) fn blames_frame(&self) -> bool {
        let unrelated = matches!(
            self,
            Self::Exited(EXIT_POISON | EXIT_CONFIGURATION, _) | Self::NotStarted(_) | Self::Ours(OurKill::Start)
        );
        self.own_doing() && !unrelated
    }

    /// Whether it met what cannot be in shared memory.
    pub(crate) fn is_poison(&self) -> bool {
        matches!(self, Self::Exited(EXIT_POISON, _))
    }

    /// Whether another try cannot be expected to go better.
    pub(crate) fn is_permanent(&self) -> bool {
        matches!(self, Self::Exited(EXIT_CONFIGURATION, _) | Self::NotStarted(_))
    }
}

/// `SIGKILL`, or `signal 35`.
pub(crate) fn signal_name(signal: i32) -> String {
    let others = [
        (libc::SIGKILL, "SIGKILL"),
        (libc::SIGTERM, "SIGTERM"),
        (libc::SIGINT, "SIGINT"),
        (libc::SIGHUP, "SIGHUP"),
        (libc::SIGQUIT, "SIGQUIT"),
        (libc::SIGPIPE, "SIGPIPE"),
        (libc::SIGUSR1, "SIGUSR1"),
        (libc::SIGUSR2, "SIGUSR2"),
        (libc::SIGXCPU, "SIGXCPU"),
    ];
    let name = CRASHES.iter().chain(&others).find(|(s, _)| *s == signal);
    name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).to_owned())
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Parked => f.write_str("drained and ended"),
            Self::Exited(code, words) => {
                match *code {
                    EXIT_POISON => f.write_str("exit code 70 (met a ring entry that cannot be)")?,
                    EXIT_CONFIGURATION => f.write_str("exit code 78 (cannot load its configuration or model)")?,
                    code => write!(f, "exit code {code}")?,
                }
                words.as_ref().map_or(Ok(()), |words| write!(f, ": {words}"))
            }
            Self::Crashed(signal) => write!(f, "crashed with {}", signal_name(*signal)),
            Self::Killed(signal) => write!(f, "{} from outside", signal_name(*signal)),
            Self::Ours(OurKill::Hang) => f.write_str("hung, killed by the supervisor"),
            Self::Ours(OurKill::Start) => f.write_str("did not become active in time, killed by the supervisor"),
            Self::Ours(OurKill::Drain) => f.write_str("did not drain in time, killed by the supervisor"),
            Self::Ours(OurKill::Unneeded) => f.write_str("not needed any more, killed by the supervisor"),
            Self::Ours(OurKill::Repair) => f.write_str("killed by the supervisor, to repair damaged memory"),
            Self::OutOfMemory => f.write_str("killed by the kernel: out of memory"),
            Self::NotStarted(error) => f.write_str(error),
            Self::Unknown => f.write_str("ended, nobody knows how"),
        }
    }
}

/// Processes that the kernel has killed for want of memory since it booted.
pub(crate) fn oom_kills() -> u64 {
    let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
    parse_oom_kills(&text)
}

/// How far back an out-of-memory kill may lie to be the cause of a death that is seen now.
const OOM_WINDOW_NS: u64 = 250_000_000;

/// The kernel's count of out-of-memory kills, one to two windows ago: one that another program suffered earlier says
/// nothing of a death now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OomWatch {
    before: u64,
    lately: u64,
    lately_ns: u64,
}

impl OomWatch {
    pub(crate) fn new(now_ns: u64, count: u64) -> Self {
        Self { before: count, lately: count, lately_ns: now_ns }
    }

    /// Whether it is time to look again.
    pub(crate) fn is_due(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.lately_ns) >= OOM_WINDOW_NS
    }

    /// What the kernel counts now.
    pub(crate) fn look(&mut self, now_ns: u64, count: u64) {
        *self = Self { before: self.lately, lately: count, lately_ns: now_ns };
    }

    /// Whether the kernel has killed for want of memory lately, if it counts `count` now.
    pub(crate) fn killed(&self, count: u64) -> bool {
        count > self.before
    }
}

fn parse_oom_kills(vmstat: &str) -> u64 {
    vmstat.lines().find_map(|l| l.strip_prefix("oom_kill ")).and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ending: Ending) -> Cause {
        Cause::of(ending, None, false, false, None)
    }

    #[test]
    fn crashes_and_errors_are_own_doing() {
        for (signal, _) in CRASHES {
            assert_eq!(of(Ending::Signaled(signal)), Cause::Crashed(signal));
            assert!(of(Ending::Signaled(signal)).own_doing());
        }
        for code in [1, 70, 71, 78, 101, 0] {
            assert!(of(Ending::Exited(code)).own_doing(), "exit code {code} without PARKED");
        }
        assert!(Cause::of(Ending::Signaled(9), Some(OurKill::Hang), false, false, None).own_doing());
        assert!(Cause::of(Ending::Signaled(9), None, false, true, None).own_doing(), "out of memory");
    }

    #[test]
    fn kills_from_outside_are_not() {
        for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGINT, libc::SIGHUP, 40] {
            assert!(!of(Ending::Signaled(signal)).own_doing(), "signal {signal}");
        }
        assert!(!Cause::of(Ending::Signaled(9), Some(OurKill::Drain), false, false, None).own_doing());
        assert!(!of(Ending::Unknown).own_doing());
    }

    #[test]
    fn an_ordered_end_is_normal_and_a_later_crash_is_not() {
        assert_eq!(Cause::of(Ending::Exited(0), None, true, false, None), Cause::Parked);
        assert_eq!(Cause::of(Ending::Exited(1), None, true, false, None), Cause::Exited(1, None));
        // A hang kill that came too late: the process crashed before it.
        assert_eq!(Cause::of(Ending::Signaled(11), Some(OurKill::Hang), false, false, None), Cause::Crashed(11));
    }

    #[test]
    fn causes_tell_what_happened() {
        let words = Some("model.onnx: not a network".to_owned());
        let cause = Cause::of(Ending::Exited(78), None, false, false, words);
        assert!(cause.is_permanent());
        assert_eq!(
            cause.to_string(),
            "exit code 78 (cannot load its configuration or model): model.onnx: not a network"
        );
        assert_eq!(of(Ending::Signaled(9)).to_string(), "SIGKILL from outside");
        assert_eq!(of(Ending::Signaled(6)).to_string(), "crashed with SIGABRT");
    }

    #[test]
    fn the_kernels_count_is_read() {
        assert_eq!(parse_oom_kills("nr_free 3\noom_kill 17\noom_kill_other 4\n"), 17);
        assert_eq!(parse_oom_kills(""), 0);
    }

    #[test]
    fn an_old_kill_for_memory_is_no_cause() {
        let mut watch = OomWatch::new(0, 5);
        assert!(!watch.killed(5) && watch.killed(6), "just now");
        assert!(!watch.is_due(OOM_WINDOW_NS - 1) && watch.is_due(OOM_WINDOW_NS));
        watch.look(OOM_WINDOW_NS, 6);
        assert!(watch.killed(6), "within the last two windows");
        watch.look(2 * OOM_WINDOW_NS, 6);
        assert!(!watch.killed(6) && watch.killed(7));
    }
}
