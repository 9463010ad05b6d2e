//! A child process that dies after an exact number of machine instructions.

use crate::step;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// More than any operation takes: what does not end by then never will.
const INSTRUCTIONS_MAX: u64 = 200_000;
/// Time for an operation at full speed, seconds; it takes microseconds.
const AT_FULL_SPEED_S: u32 = 30;
/// Exit code of a child that may not be traced.
const REFUSED: i32 = 77;
/// Exit code of a child whose operation failed an assertion.
const FAILED: i32 = 101;

/// A core for one tracer and its children: a step is two switches between them, several times cheaper on one core than
/// across two. Tests run side by side, so each takes the core that the fewest others have.
pub struct Core(usize);

static TAKEN: Mutex<Vec<u32>> = Mutex::new(Vec::new());

impl Core {
    /// Moves this thread to a core, and with it all children that it forks.
    pub fn take() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        taken.resize(cores, 0);
        let core = (0..cores).min_by_key(|c| taken[*c]).unwrap_or(0);
        taken[core] += 1;
        // SAFETY: needed to place this thread; the set lives through the call. Where it fails, steps are slower.
        unsafe {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(core, &mut set);
            libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
        }
        Self(core)
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner)[self.0] -= 1;
    }
}

/// What became of the child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Killed when asked for.
    Killed,
    /// It finished first.
    Finished {
        /// How many instructions it took.
        instructions: u64,
    },
}

/// A child that stopped right before its operation. It does not outlive this value, nor this process.
struct Child(Option<libc::pid_t>);

impl Child {
    /// Forks a child that stops, then performs `op` and ends.
    fn spawn(op: &dyn Fn()) -> Self {
        // SAFETY: needed because a death is for a whole process. The child runs `op` alone, which touches its own copies
        // and the shared arena, allocates nothing, and leaves through _exit, after a failed assertion too, so that nothing of
        // the parent's is dropped twice and the test runner's frames above are never returned to. It stops by `kill` and not by `raise`, which would add its own instructions behind the stop.
        let pid = unsafe {
            let pid = libc::fork();
            if pid == 0 {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
                if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                    libc::_exit(REFUSED);
                }
                libc::alarm(AT_FULL_SPEED_S);
                libc::kill(libc::getpid(), libc::SIGSTOP);
                let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(op)).is_ok();
                libc::_exit(if held { 0 } else { FAILED });
            }
            pid
        };
        assert!(pid > 0, "fork");
        let status = wait(pid);
        assert!(
            !(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED),
            "this system does not let a process trace its children (PTRACE_TRACEME refused): kill_step cannot run here; \
             look at /proc/sys/kernel/yama/ptrace_scope, seccomp and the container's capabilities"
        );
        assert!(libc::WIFSTOPPED(status), "the child did not stop: status {status:#x}");
        Self(Some(pid))
    }

    fn pid(&self) -> libc::pid_t {
        self.0.expect("the child lives")
    }

    /// One machine instruction; false if the child ended instead.
    fn step(&mut self) -> bool {
        let pid = self.pid();
        assert!(step::begin(pid), "this system does not let a process single-step its children (PTRACE_SINGLESTEP)");
        let status = wait(pid);
        if !libc::WIFSTOPPED(status) {
            self.0 = None;
        }
        if libc::WIFEXITED(status) {
            assert_eq!(libc::WEXITSTATUS(status), 0, "the operation failed in the child");
            return false;
        }
        assert!(!libc::WIFSIGNALED(status), "the operation failed in the child: signal {}", libc::WTERMSIG(status));
        assert_eq!(libc::WSTOPSIG(status), libc::SIGTRAP, "the operation failed in the child: it got another signal");
        true
    }

    /// Lets the child go on at full speed, to its end.
    fn finish(&mut self) {
        let pid = self.pid();
        // SAFETY: needed to let go of our stopped child; it is not stepped any more.
        assert_eq!(unsafe { libc::ptrace(libc::PTRACE_DETACH, pid, 0, 0) }, 0, "PTRACE_DETACH");
        let status = wait(pid);
        self.0 = None;
        assert!(
            libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0,
            "the operation fails without any death: status {status:#x}, what it said is above"
        );
    }

    /// The death itself.
    fn kill(&mut self) {
        let Some(pid) = self.0.take() else { return };
        // SAFETY: needed for the death; `pid` is our stopped child, not yet waited for.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0, "kill");
        let status = wait(pid);
        assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "status {status:#x}");
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // SAFETY: needed so that no stopped child remains when an assertion fails; it is ours and not waited for yet.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            wait(pid);
        }
    }
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: needed to wait for exactly this child; `status` is a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid, "waitpid");
    status
}

/// Performs `op` in a child to its end, at full speed: what fails so says why at once, and not after a million steps.
pub fn perform(op: &dyn Fn()) {
    Child::spawn(op).finish();
}

/// Performs `op` in a child to its end, and shows after each instruction how many it has lived.
pub fn live(op: &dyn Fn(), mut look: impl FnMut(u64)) -> u64 {
    let mut child = Child::spawn(op);
    let mut lived = 0;
    while child.step() {
        lived += 1;
        assert!(lived < INSTRUCTIONS_MAX, "the operation does not end: {lived} instructions");
        look(lived);
    }
    lived
}

/// Performs `op` in a child and kills it when it has lived `instructions`.
pub fn die_after(op: &dyn Fn(), instructions: u64) -> End {
    let mut child = Child::spawn(op);
    for lived in 0..instructions {
        if !child.step() {
            return End::Finished { instructions: lived };
        }
    }
    child.kill();
    End::Killed
}

/// Performs `op` in a child: `instructions` of it, then `meanwhile` here, then the rest. False if it had ended before.
pub fn interleave(op: &dyn Fn(), instructions: u64, meanwhile: impl FnOnce()) -> bool {
    let mut child = Child::spawn(op);
    for _ in 0..instructions {
        if !child.step() {
            return false;
        }
    }
    meanwhile();
    child.finish();
    true
}

/// Says something past the test runner's capture.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
