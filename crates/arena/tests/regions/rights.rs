//! Who can write to a region, resize it or make it executable.

use crate::skipped;
use arena::arena::{Access, rights};
use arena::region::{HugePages, Mapping, Region, RegionError};
use arena::topology::StageKind;
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, AsRawFd};

const LEN: u64 = 2 << 20;
const NOBODY: libc::uid_t = 65534;

fn region() -> Region {
    Region::create("flumeway-test", 1, HugePages::Off).expect("2 MiB of memory")
}

#[test]
fn the_rights_of_the_stages_are_those_of_the_design() {
    use Access::{None, Read, Write};
    assert_eq!(rights(StageKind::RxGateway), (Write, None, None));
    assert_eq!(rights(StageKind::Preprocess), (Read, Write, None));
    assert_eq!(rights(StageKind::Infer), (Read, Read, Write));
    assert_eq!(rights(StageKind::Tx), (Write, None, Read));
}

#[test]
fn a_read_only_descriptor_cannot_be_mapped_writable() {
    let region = region();
    let refused = Mapping::map("test", region.ro.as_fd(), LEN, true).map(|_| ()).unwrap_err();
    assert!(matches!(refused, RegionError::System { call: "mmap", source: Errno::ACCESS, .. }), "{refused}");
    assert_eq!(rustix::io::pwrite(&region.ro, b"x", 0), Err(Errno::BADF));
    Mapping::map("test", region.ro.as_fd(), LEN, false).expect("reading is allowed");
    // Not sealed against writing: a restarted writer must map it again.
    Mapping::map("test", region.rw.as_fd(), LEN, true).expect("writing through the writable descriptor is allowed");
}

#[test]
fn nobody_can_resize_a_region_or_seal_it_further() {
    let region = region();
    assert_eq!(rustix::fs::ftruncate(&region.rw, LEN - 4096), Err(Errno::PERM), "shrink");
    assert_eq!(rustix::fs::ftruncate(&region.rw, LEN + 4096), Err(Errno::PERM), "grow");
    assert_eq!(rustix::fs::fcntl_add_seals(&region.rw, SealFlags::WRITE), Err(Errno::PERM), "seal");
    let seals = rustix::fs::fcntl_get_seals(&region.rw).unwrap();
    assert!(seals.contains(SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL), "{seals:?}");
    assert!(!seals.intersects(SealFlags::WRITE | SealFlags::FUTURE_WRITE), "{seals:?}");
    assert_eq!(rustix::fs::fstat(&region.rw).unwrap().st_size as u64, LEN);
}

#[test]
fn a_region_cannot_be_made_executable() {
    let region = region();
    let mode = rustix::fs::fstat(&region.rw).unwrap().st_mode & 0o7777;
    assert_eq!(mode, 0o400);
    if !rustix::fs::fcntl_get_seals(&region.rw).unwrap().contains(SealFlags::EXEC) {
        skipped("this kernel has no MFD_NOEXEC_SEAL (Linux 6.3)");
        return;
    }
    assert_eq!(rustix::fs::fchmod(&region.rw, Mode::RWXU), Err(Errno::PERM));
}

/// Exit status of a child that became another user and opened `path` for writing: 0 opened, else the error number.
fn open_as_nobody(path: &std::ffi::CStr) -> i32 {
    // SAFETY: needed because a change of user is for a whole process. The child makes system calls alone (no allocation,
    // no lock) and leaves through _exit; `path` is a live C string.
    let pid = unsafe {
        let pid = libc::fork();
        if pid == 0 {
            let became = libc::setgroups(0, std::ptr::null()) == 0
                && libc::setgid(NOBODY) == 0
                && libc::setuid(NOBODY) == 0
                // Without this /proc/self belongs to root, and the open fails for a reason that is none of ours.
                && libc::prctl(libc::PR_SET_DUMPABLE, 1, 0, 0, 0) == 0;
            if !became {
                libc::_exit(255);
            }
            let fd = libc::open(path.as_ptr(), libc::O_RDWR);
            libc::_exit(if fd >= 0 { 0 } else { *libc::__errno_location() });
        }
        pid
    };
    assert!(pid > 0, "fork");
    let mut status = 0;
    // SAFETY: needed to wait for exactly this child; `status` is a live integer.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status), "status {status:#x}");
    libc::WEXITSTATUS(status)
}

#[test]
fn another_user_cannot_open_a_read_only_descriptor_again_for_writing() {
    if !rustix::process::geteuid().is_root() {
        skipped("only root can become another user to try whether it may write to a region");
        return;
    }
    let path = |fd: &dyn AsRawFd| std::ffi::CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).unwrap();
    let region = region();
    for fd in [&region.ro, &region.rw] {
        assert_eq!(open_as_nobody(&path(fd)), libc::EACCES);
    }
    // The same attempt on a memfd of ordinary mode succeeds: it is the mode that refuses above.
    let open = rustix::fs::memfd_create("flumeway-control-case", MemfdFlags::CLOEXEC).unwrap();
    rustix::fs::fchmod(&open, Mode::from_raw_mode(0o666)).unwrap();
    assert_eq!(open_as_nobody(&path(&open)), 0);
}
