//! A stage process as its supervisor sees it. It does not outlive the value, nor this process.

use crate::life;
use crate::world::World;
use arena::OwnerId;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    Killed,
    Exited(i32),
    Signaled(i32),
}

fn ending(status: i32) -> Ending {
    if libc::WIFEXITED(status) {
        return Ending::Exited(libc::WEXITSTATUS(status));
    }
    match libc::WTERMSIG(status) {
        libc::SIGKILL => Ending::Killed,
        signal => Ending::Signaled(signal),
    }
}

pub struct Process {
    pid: libc::pid_t,
    reaped: bool,
    pub ticket: u32,
}

impl Process {
    /// Forks a stage, which waits until the control word names its ticket.
    pub fn start(world: &World, id: OwnerId, ticket: u32) -> Result<Self, String> {
        let core = (id.0 - OwnerId::FIRST_STAGE) as usize;
        // SAFETY: needed because a death is for a whole process. This process has one thread, so the child may do anything;
        // it leaves through _exit or a signal and never returns here.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            settle(core);
            life::live(world, id, ticket);
        }
        if pid < 0 {
            return Err(format!("fork: {}", std::io::Error::last_os_error()));
        }
        Ok(Self { pid, reaped: false, ticket })
    }

    fn signal(&self, signal: i32) {
        if !self.reaped {
            // SAFETY: needed for deaths; `pid` is our child and not waited for, so the number is not anybody else's.
            unsafe { libc::kill(self.pid, signal) };
        }
    }

    /// SIGSTOP.
    pub fn stop(&self) {
        self.signal(libc::SIGSTOP);
    }

    /// SIGCONT.
    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// SIGKILL, and waits for the death; what it ended by if that was something else.
    pub fn kill(mut self) -> Result<(), Ending> {
        match self.end() {
            Ending::Killed => Ok(()),
            other => Err(other),
        }
    }

    fn end(&mut self) -> Ending {
        self.signal(libc::SIGKILL);
        let mut status = 0;
        // SAFETY: needed to learn of the death; exactly our child, and `status` is a live integer.
        unsafe { libc::waitpid(self.pid, &raw mut status, 0) };
        self.reaped = true;
        ending(status)
    }

    /// How it ended, if it has, by itself.
    pub fn ended(&mut self) -> Option<Ending> {
        let mut status = 0;
        // SAFETY: as in `end`; does not wait.
        if unsafe { libc::waitpid(self.pid, &raw mut status, libc::WNOHANG) } != self.pid {
            return None;
        }
        self.reaped = true;
        Some(ending(status))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.reaped {
            self.end();
        }
    }
}

/// The child dies with its parent, and shares the cores evenly with its fellows.
fn settle(number: usize) {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    // SAFETY: needed for two calls about this process alone; the set lives through its call. A failure of any of them
    // changes how fast the soak is, not what it proves.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(number % cores, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}
