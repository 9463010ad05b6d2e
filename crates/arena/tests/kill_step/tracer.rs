//! A child process that dies after an exact number of machine instructions.

use std::io::Write as _;

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

/// The system does not let this process trace its children.
#[derive(Debug)]
pub struct Refused;

const REFUSED: i32 = 77;

/// Forks a child that stops, then performs `op` and ends. Returns its process id, stopped and traced.
fn spawn(op: &dyn Fn()) -> Result<libc::pid_t, Refused> {
    // SAFETY: needed because a death is for a whole process. The child runs `op` alone, which touches its own copies and
    // the shared arena, allocates nothing that another thread's lock could guard (glibc's fork leaves malloc usable),
    // and leaves through _exit, so that nothing of the parent's is dropped twice.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            if libc::ptrace(libc::PTRACE_TRACEME, 0, 0, 0) != 0 {
                libc::_exit(REFUSED);
            }
            libc::raise(libc::SIGSTOP);
            op();
            libc::_exit(0);
        }
        pid
    };
    assert!(pid > 0, "fork");
    match wait(pid) {
        status if libc::WIFSTOPPED(status) => Ok(pid),
        status if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == REFUSED => Err(Refused),
        status => panic!("the child did not stop: status {status:#x}"),
    }
}

fn wait(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    // SAFETY: needed to wait for exactly this child; `status` is a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid, "waitpid");
    status
}

/// One machine instruction; false if the child ended instead.
fn step(pid: libc::pid_t) -> bool {
    // SAFETY: needed to step the child, which this thread traces and which is stopped.
    assert_eq!(unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) }, 0, "PTRACE_SINGLESTEP");
    let status = wait(pid);
    if libc::WIFEXITED(status) {
        assert_eq!(libc::WEXITSTATUS(status), 0, "the operation failed in the child");
        return false;
    }
    assert!(libc::WIFSTOPPED(status) && libc::WSTOPSIG(status) == libc::SIGTRAP, "status {status:#x}");
    true
}

/// Performs `op` in a child and kills it as soon as `enough`, asked with the number of instructions that it has lived.
pub fn die_when(op: &dyn Fn(), mut enough: impl FnMut(u64) -> bool) -> Result<End, Refused> {
    let pid = spawn(op)?;
    let mut lived = 0;
    while !enough(lived) {
        if !step(pid) {
            return Ok(End::Finished { instructions: lived });
        }
        lived += 1;
    }
    // SAFETY: needed for the death itself; `pid` is our stopped child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let status = wait(pid);
    assert!(libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGKILL, "status {status:#x}");
    Ok(End::Killed)
}

/// Says something past the test runner's capture.
pub fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}
