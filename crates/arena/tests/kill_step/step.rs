//! One machine instruction of a traced process: all that depends on the machine.
//!
//! x86-64: a step ends behind one instruction; a system call counts as one, a `rep` prefix as one per repetition.
//!
//! What aarch64 needs besides being named in [`supported`]: PTRACE_SINGLESTEP works there as it does here, except that the debug exception
//! between LDXR and STXR clears the exclusive monitor, so that a stepped LL/SC loop never ends. The operations under test
//! are loads, stores and fences alone, with no read-modify-write in them, so they step; the bound on the number of
//! instructions in `tracer.rs` turns anything else into a failure.

/// Whether steps of this machine have been tried; if not, what to say.
pub fn supported() -> Result<(), &'static str> {
    if cfg!(target_arch = "x86_64") {
        Ok(())
    } else {
        Err("single steps have been tried on x86-64 alone; see tests/kill_step/step.rs for what another machine needs")
    }
}

/// Lets a stopped, traced process execute one instruction; false if the kernel refuses. Wait for the process afterwards.
pub fn begin(pid: libc::pid_t) -> bool {
    // SAFETY: needed to step the child, which this thread traces and which is stopped; address and data are not used.
    unsafe { libc::ptrace(libc::PTRACE_SINGLESTEP, pid, 0, 0) == 0 }
}
