//! Starting a stage process without privilege but for what its device needs, signals as a descriptor, and who is at the other end
//! of a socket: what needs system calls that have no safe form.

#![allow(unsafe_code, reason = "the one place of this crate that design section 5 names")]

use arena::launch::{Launch, VARIABLE};
use config::StageUser;
use rustix::process::{Gid, Pid, PidfdFlags, Resource, Rlimit, Uid};
use rustix::thread::{self, CapabilitySet, CapabilitySets, CpuSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Who connected to a socket, or listens at its other end (`SO_PEERCRED`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The process, unless it has no number here: it is of another process namespace.
    pub pid: Option<u32>,
    /// Its effective user.
    pub uid: u32,
}

impl Peer {
    /// Who is at the other end of `socket`.
    pub(crate) fn of(socket: BorrowedFd<'_>) -> io::Result<Self> {
        let mut found = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
        let mut length = size_of_val(&found) as libc::socklen_t;
        let (to, fd) = ((&raw mut found).cast(), socket.as_raw_fd());
        // SAFETY: needed because the safe form takes a process's number for one that is never 0, and the kernel writes 0 for
        // processes of other namespaces. Pointer and length describe a live structure of whole numbers, which any bytes are.
        let answer = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PEERCRED, to, &raw mut length) };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self::new(found))
    }

    fn new(found: libc::ucred) -> Self {
        Self { pid: u32::try_from(found.pid).ok().filter(|pid| *pid != 0), uid: found.uid }
    }

    /// Whether it is root or this process's own user.
    pub(crate) fn is_own_or_root(self) -> bool {
        self.uid == 0 || self.uid == rustix::process::geteuid().as_raw()
    }
}

/// What a stage may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    /// The user it runs as; none is the supervisor's own.
    pub user: Option<StageUser>,
    /// The capabilities that it keeps, of those that the supervisor has.
    pub rights: CapabilitySet,
}

/// Starts `binary` as the process that `launch` describes; it inherits exactly the descriptors named there.
///
/// It has no capability but `allowed`'s, and can get no other, whoever the supervisor is: what else needs privilege it has
/// inherited as descriptors.
/// It gets a process group of its own, so that Ctrl-C on the terminal reaches the supervisor alone, and the signal mask
/// and cores that the supervisor was started with. Returns its process id and pidfd.
pub(crate) fn spawn(binary: &Path, launch: &Launch, allowed: Allowed, cpus: CpuSet) -> io::Result<(u32, OwnedFd)> {
    let mut command = Command::new(binary);
    command.env(VARIABLE, launch.encode()).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
    let inherited = launch.descriptors();
    let prepare = move || {
        for fd in &inherited {
            // SAFETY: needed because the descriptor belongs to structures that stay in the parent. It is open: fork copied
            // the descriptor table, and the caller borrows the owners of all of them for the whole call.
            let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
            rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
        }
        // Cores are a hint: if the set shrank meanwhile, the stage runs where it may.
        let _ = rustix::thread::sched_setaffinity(None, &cpus);
        drop_privileges(allowed)?;
        set_mask(libc::SIG_SETMASK, &[]).map(drop)
    };
    // SAFETY: needed to clear close-on-exec in the child alone; doing it in the parent would leak the descriptors into
    // whatever else is started meanwhile. Between fork and exec the closure makes raw system calls only and touches
    // memory that existed before; it takes no lock and allocates nothing.
    unsafe { command.pre_exec(prepare) };
    let mut child = command.spawn()?;
    let pid = child.id();
    let handle = Pid::from_raw(pid as i32).ok_or(io::ErrorKind::InvalidData)?;
    // Nobody has waited for the child, so the number is still its own.
    match rustix::process::pidfd_open(handle, PidfdFlags::empty()) {
        Ok(pidfd) => Ok((pid, pidfd)),
        Err(error) => {
            // A process that could not be watched must not be there. Nothing has run in it that a SIGKILL could harm.
            let _ = child.kill();
            let _ = child.wait();
            Err(error.into())
        }
    }
}

/// Has `command` run without privileges, as `user` if there is one.
pub(crate) fn unprivileged(command: &mut Command, user: Option<StageUser>) {
    restrict(command, Allowed { user, rights: CapabilitySet::empty() });
}

fn restrict(command: &mut Command, allowed: Allowed) {
    // SAFETY: needed to give up privileges in the child alone. Between fork and exec the closure makes raw system calls only;
    // it takes no lock and allocates nothing.
    unsafe { command.pre_exec(move || drop_privileges(allowed)) };
}

/// Becomes `allowed.user`, if there is one, with `allowed.rights` alone and without a way to more. Runs between fork and exec: system
/// calls of this one thread alone.
fn drop_privileges(allowed: Allowed) -> io::Result<()> {
    let Allowed { user, rights } = allowed;
    let rights = thread::capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.permitted) & rights;
    if !rights.is_empty() {
        // A device's memory is locked. Who may not raise the limit has CAP_IPC_LOCK where it matters.
        let unlimited = Rlimit { current: None, maximum: None };
        let _ = rustix::process::setrlimit(Resource::Memlock, unlimited);
        // Another user keeps nothing otherwise.
        thread::set_keep_capabilities(true)?;
    }
    // The bounding set first: it takes a capability. Who has none to give up is not told so.
    for bit in 0..CapabilitySet::all().bits().count_ones() {
        if let Some(one) = CapabilitySet::from_bits(1 << bit).filter(|one| !rights.contains(*one)) {
            let _ = thread::remove_capability_from_bounding_set(one);
        }
    }
    if let Some(user) = user {
        let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
        // Who is that user already keeps its groups, having no right to change them.
        let is_already = rustix::process::getuid() == uid && rustix::process::getgid() == gid;
        thread::set_thread_groups(&[]).or_else(|error| if is_already { Ok(()) } else { Err(error) })?;
        thread::set_thread_res_gid(gid, gid, gid)?;
        thread::set_thread_res_uid(uid, uid, uid)?;
    }
    // With no capability at all a thread has nothing to clear.
    let _ = thread::clear_ambient_capability_set();
    thread::set_capabilities(None, CapabilitySets { effective: rights, permitted: rights, inheritable: rights })?;
    // Not only root has them after exec then.
    for bit in 0..u64::BITS {
        if rights.bits() >> bit & 1 == 1 {
            thread::configure_capability_in_ambient_set(CapabilitySet::from_bits_retain(1 << bit), true)?;
        }
    }
    // Root's exec would get back what the bounding set still has; nor do set-user-ID programs help it.
    thread::set_no_new_privs(true)?;
    Ok(())
}

fn set_mask(how: libc::c_int, signals: &[libc::c_int]) -> io::Result<libc::sigset_t> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: needed because there is no safe call for signal masks. The set is initialised by sigemptyset before any
    // other use; both pointers are valid for the calls.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in signals {
            libc::sigaddset(set.as_mut_ptr(), *signal);
        }
        match libc::pthread_sigmask(how, set.as_ptr(), std::ptr::null_mut()) {
            0 => Ok(set.assume_init()),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

/// Blocks SIGTERM and SIGINT in this thread and returns a descriptor that is readable when one arrives.
pub(crate) fn watch_termination() -> io::Result<OwnedFd> {
    let set = set_mask(libc::SIG_BLOCK, &[libc::SIGTERM, libc::SIGINT])?;
    // SAFETY: needed because rustix has no signalfd. The set is initialised and valid for the call.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just created and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    /// Values of the lines of `/proc/self/status` that begin so, of a process that may do what `allowed` says.
    fn status(allowed: Allowed, keys: &[&str]) -> Vec<String> {
        let mut command = Command::new("/bin/cat");
        command.arg("/proc/self/status");
        restrict(&mut command, allowed);
        let said = String::from_utf8(command.output().expect("cat").stdout).expect("text");
        let value =
            |key: &&str| said.lines().find_map(|line| line.strip_prefix(*key)).expect("a line").trim().to_owned();
        keys.iter().map(value).collect()
    }

    #[test]
    fn a_stage_has_what_its_device_needs_and_nothing_else() {
        const CAPABILITIES: [&str; 5] = ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:", "CapBnd:"];
        let own = thread::capabilities(None).expect("capabilities").permitted;
        let rights = CapabilitySet::NET_RAW | CapabilitySet::IPC_LOCK;
        if !rustix::process::getuid().is_root() || !own.contains(rights) {
            println!("skipped: this needs root with CAP_NET_RAW and CAP_IPC_LOCK");
            return;
        }
        for user in [None, Some(StageUser { uid: 65534, gid: 65534 })] {
            let kept = status(Allowed { user, rights }, &CAPABILITIES);
            assert_eq!(kept, vec![format!("{:016x}", rights.bits()); 5], "as {user:?}");
            let none = status(Allowed { user, rights: CapabilitySet::empty() }, &CAPABILITIES);
            assert_eq!(none, vec!["0000000000000000"; 5], "as {user:?}");
            assert_eq!(status(Allowed { user, rights }, &["NoNewPrivs:"]), ["1"]);
        }
    }

    #[test]
    fn a_peer_may_have_no_number_here() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let uid = rustix::process::geteuid().as_raw();
        assert_eq!(Peer::of(ours.as_fd()).unwrap(), Peer { pid: Some(std::process::id()), uid });
        let elsewhere = Peer::new(libc::ucred { pid: 0, uid: 65_534, gid: 0 });
        assert_eq!((elsewhere.pid, elsewhere.is_own_or_root()), (None, uid == 65_534));
        assert!(Peer::of(std::fs::File::open("/dev/null").unwrap().as_fd()).is_err());
    }
}
