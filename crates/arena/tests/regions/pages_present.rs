//! Pages: all present from the start, huge where the system has them, and clear errors where there are too few.

use crate::skipped;
use arena::region::{HugePages, Mapping, Region, RegionError};
use std::os::fd::AsFd;

/// `KernelPageSize` of the mapping of the memfd called `name`, bytes.
fn kernel_page_size(name: &str) -> Option<u64> {
    let smaps = std::fs::read_to_string("/proc/self/smaps").ok()?;
    let (_, rest) = smaps.split_once(&format!("/memfd:{name}"))?;
    let line = rest.lines().find_map(|l| l.strip_prefix("KernelPageSize:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb << 10)
}

fn free_huge_pages() -> u64 {
    let text = std::fs::read_to_string("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

#[test]
fn ordinary_pages_are_present_and_zero() {
    let region = Region::create("flumeway-plain", 3 << 20, HugePages::Off).unwrap();
    assert_eq!((region.len, region.huge), (4 << 20, false), "rounded up to whole huge pages");
    let stat = rustix::fs::fstat(&region.rw).unwrap();
    assert_eq!(stat.st_blocks as u64 * 512, region.len, "every page is there");
    Mapping::map("plain", region.ro.as_fd(), region.len, false).unwrap();
    assert_eq!(kernel_page_size("flumeway-plain"), Some(4096));
    let mut bytes = vec![1; region.len as usize];
    assert_eq!(rustix::io::pread(&region.ro, &mut bytes[..], 0), Ok(4 << 20));
    assert!(bytes.iter().all(|b| *b == 0));
}

const RESERVED: &str = "/proc/sys/vm/nr_hugepages";

/// Huge pages that this test reserved, where it may; given back at its end.
struct Reserved(Option<String>);

impl Reserved {
    fn at_least(pages: u64) -> Self {
        let Some(now) = std::fs::read_to_string(RESERVED).ok().filter(|_| free_huge_pages() < pages) else {
            return Self(None);
        };
        let wanted = now.trim().parse::<u64>().unwrap_or(0) + pages;
        Self(std::fs::write(RESERVED, wanted.to_string()).ok().map(|()| now))
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = std::fs::write(RESERVED, before);
        }
    }
}

#[test]
fn huge_pages_where_they_can_be_reserved() {
    let _reserved = Reserved::at_least(4);
    if free_huge_pages() < 2 {
        skipped("no two free huge pages of 2 MiB; reserve them with `sysctl vm.nr_hugepages=2`");
        return;
    }
    for huge in [HugePages::Auto, HugePages::Require] {
        let region = Region::create("flumeway-huge", 1, huge).unwrap();
        assert!(region.huge);
        Mapping::map("huge", region.rw.as_fd(), region.len, true).unwrap();
        assert_eq!(kernel_page_size("flumeway-huge"), Some(2 << 20));
    }
}

#[test]
fn too_few_huge_pages() {
    // 1 TiB of huge pages: no machine that runs this test has them.
    let refused = Region::create("flumeway-vast", 1 << 40, HugePages::Require).unwrap_err();
    assert!(matches!(refused, RegionError::HugePages { pages: 524_288, .. }), "{refused}");
    assert!(refused.to_string().contains("sysctl vm.nr_hugepages=524288"), "{refused}");
}

#[test]
fn too_little_memory() {
    let refused = Region::create("flumeway-vast", 1 << 50, HugePages::Off).unwrap_err();
    assert!(matches!(refused, RegionError::Memory { need_mib: 1_073_741_824, .. }), "{refused}");
    assert!(refused.to_string().contains("lower [arena] buffers or slots"), "{refused}");
}
