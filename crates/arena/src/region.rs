//! Shared memory: memfds that the supervisor creates, seals and hands out with rights that hold.
//!
//! A region is created `MFD_NOEXEC_SEAL`, pre-faulted, made mode 0400 so that no holder of a read-only descriptor of
//! another user can re-open it for writing, and sealed against resizing. It is not sealed against writing: a restarted
//! writer must map it again.

use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use std::cell::Cell;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;

/// All regions are multiples of this: one huge page.
pub const ALIGN: u64 = 2 << 20;

/// Whether to take 2 MiB pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HugePages {
    /// If there are enough, else ordinary pages.
    Auto,
    /// Fail if there are too few.
    Require,
    /// Ordinary pages.
    Off,
}

/// Why there is no region.
#[derive(Debug, thiserror::Error)]
pub enum RegionError {
    /// Not enough reserved huge pages.
    #[error(
        "region {name}: {pages} huge pages of 2 MiB are needed and the system has too few free; reserve them with \
             `sysctl vm.nr_hugepages={pages}` or more, or set [arena] hugepages = \"auto\""
    )]
    HugePages {
        /// Region.
        name: &'static str,
        /// Pages it needs.
        pages: u64,
    },
    /// Not enough memory.
    #[error(
        "region {name} needs {need_mib} MiB and the machine has {have_mib} MiB available; lower [arena] buffers or \
             slots, or use profile = \"small\""
    )]
    Memory {
        /// Region.
        name: &'static str,
        /// MiB needed.
        need_mib: u64,
        /// MiB available.
        have_mib: u64,
    },
    /// A system call failed.
    #[error("region {name}: {call} failed: {source}")]
    System {
        /// Region.
        name: &'static str,
        /// The call.
        call: &'static str,
        /// The kernel's answer.
        source: Errno,
    },
    /// A descriptor's file is not as long as the layout says.
    #[error("region {name} is {is} bytes long where the layout says {want}; it belongs to another arena or release")]
    Length {
        /// Region.
        name: &'static str,
        /// Bytes found.
        is: u64,
        /// Bytes expected.
        want: u64,
    },
}

/// The descriptors of one region, held by the supervisor.
#[derive(Debug)]
pub struct Region {
    /// What it is called in messages and in /proc/PID/maps.
    pub name: &'static str,
    /// Writable descriptor.
    pub rw: OwnedFd,
    /// Read-only descriptor.
    pub ro: OwnedFd,
    /// Bytes, a multiple of [`ALIGN`].
    pub len: u64,
    /// Whether it lies in huge pages.
    pub huge: bool,
}

/// Memory that can be had without swapping, bytes (`MemAvailable`), if the kernel tells.
fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().ok().map(|kb| kb << 10)
}

/// Bytes that regions can have, all together; `None` where only the kernel can tell (huge pages alone: it may have more than
/// it shows as free).
pub(crate) fn available(huge: HugePages) -> Option<u64> {
    let ordinary = memory_available();
    match huge {
        HugePages::Require => None,
        HugePages::Off => ordinary,
        HugePages::Auto => {
            let free = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
            let pages = free.ok().and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0);
            ordinary.map(|bytes| bytes + pages * ALIGN)
        }
    }
}

impl Region {
    /// Creates a region of at least `len` bytes, every page of it present.
    pub fn create(name: &'static str, len: u64, huge: HugePages) -> Result<Self, RegionError> {
        let len = len.max(1).next_multiple_of(ALIGN);
        if huge != HugePages::Off {
            match Self::create_with(name, len, MemfdFlags::HUGETLB | MemfdFlags::HUGE_2MB) {
                Ok((rw, ro)) => return Ok(Self { name, rw, ro, len, huge: true }),
                Err(_) if huge == HugePages::Auto => {}
                Err(_) => return Err(RegionError::HugePages { name, pages: len / ALIGN }),
            }
        }
        if let Some(have) = memory_available()
            && have < len + (64 << 20)
        {
            return Err(RegionError::Memory { name, need_mib: len >> 20, have_mib: have >> 20 });
        }
        let (rw, ro) = Self::create_with(name, len, MemfdFlags::empty())?;
        Ok(Self { name, rw, ro, len, huge: false })
    }

    fn create_with(name: &'static str, len: u64, extra: MemfdFlags) -> Result<(OwnedFd, OwnedFd), RegionError> {
        let fail = |call| move |source| RegionError::System { name, call, source };
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING | extra;
        let rw = rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL)
            .or_else(|e| if e == Errno::INVAL { rustix::fs::memfd_create(name, flags) } else { Err(e) }) // before Linux 6.3
            .map_err(fail("memfd_create"))?;
        rustix::fs::ftruncate(&rw, len).map_err(fail("ftruncate"))?;
        // Pre-fault: no page fault on the hot path, and a shortage shows now. The mapping itself is not kept.
        let map = Mapping::map(name, rw.as_fd(), len, true)?;
        map.unmap();
        rustix::fs::fchmod(&rw, Mode::RUSR).map_err(fail("fchmod"))?;
        let path = format!("/proc/self/fd/{}", rw.as_raw_fd());
        let ro = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(fail("open"))?;
        rustix::fs::fcntl_add_seals(&rw, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(fail("fcntl(F_ADD_SEALS)"))?;
        Ok((rw, ro))
    }
}

/// A mapped region. It stays mapped until the process ends: references into it are `'static`.
#[derive(Clone, Copy, Debug)]
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    writable: bool,
}

// SAFETY: needed so that a process may use the arena from more than one thread. The mapping is never unmapped while in
// use, and everything in it is reached through atomics or through handles that the ownership protocol makes exclusive.
unsafe impl Send for Mapping {}
// SAFETY: as for Send.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of `fd`, shared.
    pub fn map(name: &'static str, fd: BorrowedFd<'_>, len: u64, writable: bool) -> Result<Self, RegionError> {
        let is = rustix::fs::fstat(fd).map_err(|source| RegionError::System { name, call: "fstat", source })?.st_size;
        if is as u64 != len {
            return Err(RegionError::Length { name, is: is as u64, want: len });
        }
        let prot = if writable { ProtFlags::READ | ProtFlags::WRITE } else { ProtFlags::READ };
        // SAFETY: needed to map shared memory. The address is the kernel's choice, so no existing object is touched; the
        // file is sealed against shrinking (or was just sized by us), so no access inside `len` can fault.
        let base = unsafe {
            rustix::mm::mmap(std::ptr::null_mut(), len as usize, prot, MapFlags::SHARED | MapFlags::POPULATE, fd, 0)
        }
        .map_err(|source| RegionError::System { name, call: "mmap", source })?;
        let base = NonNull::new(base.cast()).ok_or(RegionError::System { name, call: "mmap", source: Errno::NOMEM })?;
        Ok(Self { base, len: len as usize, writable })
    }

    fn unmap(self) {
        // SAFETY: needed to give back the pre-faulting map; called by its only holder, before any reference was made.
        let _ = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
    }

    /// First byte.
    pub fn base(&self) -> NonNull<u8> {
        self.base
    }

    /// Bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether this process may write there.
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Never.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// `count` shared objects of `T` at `offset`.
    ///
    /// # Safety
    /// `T` consists of atomics alone (any bytes are a valid value, and shared references allow writes by others); if
    /// `T` will be written, the mapping is writable.
    pub(crate) unsafe fn slice<T>(&self, offset: u64, count: usize) -> &'static [T] {
        let bytes = count.checked_mul(size_of::<T>()).expect("size of a shared table");
        let end = (offset as usize).checked_add(bytes).expect("end of a shared table");
        assert!(end <= self.len && (offset as usize).is_multiple_of(align_of::<T>()), "shared table out of its region");
        // SAFETY: in range and aligned (asserted: the mapping is page aligned), never unmapped, and by this function's
        // contract any bytes are valid and may change at any time.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset as usize).cast::<T>(), count) }
    }

    /// One shared object of `T` at `offset`.
    ///
    /// # Safety
    /// As for [`Mapping::slice`].
    pub(crate) unsafe fn one<T>(&self, offset: u64) -> &'static T {
        // SAFETY: the same contract, passed on.
        &(unsafe { self.slice::<T>(offset, 1) })[0]
    }

    /// Bytes that the caller owns by the ownership protocol, or may read while he holds their head.
    ///
    /// # Safety
    /// Nobody writes to these bytes while the slice lives.
    #[inline]
    pub(crate) unsafe fn bytes(&self, offset: u64, len: usize) -> &'static [u8] {
        let end = (offset as usize).checked_add(len).expect("end of a buffer");
        assert!(end <= self.len, "buffer out of its region");
        // SAFETY: in range, never unmapped; unshared for writing by this function's contract.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(offset as usize), len) }
    }

    /// The whole region as bytes that may change at any time. Writing through a region that is mapped for reading kills the process.
    pub(crate) fn cells(&self) -> &'static [Cell<u8>] {
        // SAFETY: needed so that engines can be told where tensors lie; the mapping is never undone, and a cell promises nothing about its contents.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast::<Cell<u8>>(), self.len) }
    }

    /// Bytes that the caller alone owns by the ownership protocol.
    ///
    /// # Safety
    /// Nobody else reads or writes these bytes while the slice lives.
    #[allow(clippy::mut_from_ref, reason = "exclusive by the ownership protocol, which the borrow checker cannot see")]
    #[inline]
    pub(crate) unsafe fn bytes_mut(&self, offset: u64, len: usize) -> &'static mut [u8] {
        let end = (offset as usize).checked_add(len).expect("end of a buffer");
        assert!(end <= self.len && self.writable, "buffer out of its region, or read-only");
        // SAFETY: in range, writable, never unmapped; exclusive by this function's contract.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr().add(offset as usize), len) }
    }
}

/// Takes over a descriptor that this process inherited under a number its parent told it.
pub fn inherited(fd: RawFd) -> Option<OwnedFd> {
    if fd < 3 {
        return None;
    }
    // SAFETY: needed to ask about a bare number; the borrowed descriptor lives for this call alone.
    let probe = unsafe { BorrowedFd::borrow_raw(fd) };
    rustix::io::fcntl_getfd(probe).ok()?;
    // SAFETY: the descriptor is open (just asked) and was passed to this process for this purpose; each number is
    // taken over once, at start-up.
    let owned = unsafe { OwnedFd::from_raw_fd(fd) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC).ok()?;
    Some(owned)
}

/// A memfd with these contents, read-only for whoever inherits it; for small documents.
pub fn document(name: &'static str, contents: &[u8]) -> Result<OwnedFd, RegionError> {
    use std::io::Write as _;
    let fail = |call, source| RegionError::System { name, call, source };
    let fd = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC).map_err(|e| fail("memfd_create", e))?;
    let mut file = File::from(fd);
    file.write_all(contents).map_err(|e| fail("write", Errno::from_io_error(&e).unwrap_or(Errno::IO)))?;
    Ok(file.into())
}
