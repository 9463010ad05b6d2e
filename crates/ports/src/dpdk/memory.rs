//! The arena's packets as devices see them.
//!
//! A device that the library drives in software goes by the process's own addresses. One that does DMA needs the arena on
//! hugepages, and addresses of its own: under VFIO those that its IOMMU is told, under UIO the physical ones of each page.

use super::DpdkError;
use super::ffi::{self, Stretch};
use arena::Arena;
use arena::layout::BUFFER_BYTES;
use std::ops::Range;
use std::ptr::NonNull;

/// Bytes of a hugepage.
const HUGE: usize = 2 << 20;
/// Where the arena lies for a device behind an IOMMU: the same for every incarnation, below what the library maps itself (from 4 GiB
/// on) and what an IOMMU of 39 bits can name.
const IOVA_BASE: u64 = 0x1000_0000;
/// Here begin the addresses of message-signalled interrupts on x86.
const IOVA_END: u64 = 0xfee0_0000;

/// All packet buffers.
#[derive(Debug)]
pub(super) struct Packets {
    memory: NonNull<[u8]>,
    /// Of each hugepage.
    iovas: Option<Vec<u64>>,
    /// Of each 4096 bytes, where a part begins inside a hugepage.
    fine: Option<Vec<u64>>,
}

impl Packets {
    /// For devices without DMA.
    pub(super) fn of(arena: &Arena) -> Result<Self, DpdkError> {
        Ok(Self { memory: arena.packets_memory().ok_or(DpdkError::NoPackets)?, iovas: None, fine: None })
    }

    /// Looks up addresses for DMA, and tells the library and the device about the memory.
    pub(super) fn open_to(&mut self, device: &super::device::Device) -> Result<(), DpdkError> {
        let name = || device.name.clone();
        let base = self.memory.cast::<u8>();
        if kernel_page(base.as_ptr() as u64).is_none_or(|page| page < HUGE) || !self.memory.len().is_multiple_of(HUGE) {
            return Err(DpdkError::OrdinaryPages { device: name() });
        }
        let pages = 0..self.memory.len() / HUGE;
        let physical = ffi::iova_is_physical();
        let iovas: Vec<u64> = if physical {
            let of =
                |n: usize| ffi::iova(page_at(base, n)).ok_or_else(|| DpdkError::NoPhysicalAddress { device: name() });
            pages.map(of).collect::<Result<_, _>>()?
        } else {
            let fits = IOVA_BASE + self.memory.len() as u64 <= IOVA_END;
            let first = if fits { IOVA_BASE } else { base.as_ptr() as u64 };
            pages.map(|n| first + (n * HUGE) as u64).collect()
        };
        device.run("registering the arena", || ffi::register(self.memory, HUGE, Some(&iovas)))?;
        if !physical {
            device.run("mapping the arena for DMA", || device.port.map(self.memory, iovas[0]))?;
        }
        self.fine = Some(
            (0..self.memory.len())
                .step_by(BUFFER_BYTES as usize)
                .map(|at| iovas[at / HUGE] + (at % HUGE) as u64)
                .collect(),
        );
        self.iovas = Some(iovas);
        Ok(())
    }

    /// The buffers `range`.
    pub(super) fn stretch(&self, range: &Range<u32>) -> Stretch<'_> {
        let at = range.start as usize * BUFFER_BYTES as usize;
        let all = self.memory.len() / BUFFER_BYTES as usize;
        assert!(range.start <= range.end && range.end as usize <= all, "buffers of the arena");
        let base = page_at_byte(self.memory.cast(), at);
        let (iovas, page) = if at.is_multiple_of(HUGE) {
            (self.iovas.as_deref().map(|all| &all[at / HUGE..]), HUGE)
        } else {
            (self.fine.as_deref().map(|all| &all[range.start as usize..]), BUFFER_BYTES as usize)
        };
        Stretch { base, buffers: range.len() as u32, iovas, page }
    }

    /// Everything.
    pub(super) fn all(&self, buffers: u32) -> Stretch<'_> {
        self.stretch(&(0..buffers))
    }
}

fn page_at(base: NonNull<u8>, n: usize) -> NonNull<u8> {
    page_at_byte(base, n * HUGE)
}

fn page_at_byte(base: NonNull<u8>, at: usize) -> NonNull<u8> {
    base.map_addr(|address| address.saturating_add(at))
}

/// Bytes of the pages that the kernel has mapped at `address`.
fn kernel_page(address: u64) -> Option<usize> {
    page_in(&std::fs::read_to_string("/proc/self/smaps").ok()?, address)
}

/// The same, from the text of `/proc/PID/smaps` (proc_pid_smaps(5)).
fn page_in(smaps: &str, address: u64) -> Option<usize> {
    let mut inside = false;
    for line in smaps.lines() {
        let first = line.split(' ').next().unwrap_or("");
        if let Some((from, to)) = first.split_once('-') {
            let range = u64::from_str_radix(from, 16).ok().zip(u64::from_str_radix(to, 16).ok());
            if let Some((from, to)) = range {
                inside = (from..to).contains(&address);
            }
        } else if inside && let Some(size) = line.strip_prefix("KernelPageSize:") {
            return size.trim().strip_suffix(" kB")?.parse::<usize>().ok().map(|kb| kb << 10);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_sizes_are_read_of_the_right_mapping() {
        let smaps = "00400000-00500000 r--p 0 00:00 1 /bin/x\nKernelPageSize:        4 kB\n\
                     7f0000000000-7f0000400000 rw-s 0 00:01 2 /memfd:flumeway-packets (deleted)\nSize: 4096 kB\n\
                     KernelPageSize:     2048 kB\nMMUPageSize:        2048 kB\n";
        assert_eq!(page_in(smaps, 0x7f00_0020_0000), Some(HUGE));
        assert_eq!(page_in(smaps, 0x40_0000), Some(4096));
        assert_eq!(page_in(smaps, 0x50_0000), None);
    }

    #[test]
    fn a_part_has_the_addresses_of_its_buffers() {
        let memory = NonNull::slice_from_raw_parts(
            NonNull::<u8>::dangling().map_addr(|_| (HUGE * 512).try_into().unwrap()),
            2 * HUGE,
        );
        let iovas = vec![0x1000_0000, 0x7000_0000];
        let fine = (0..1024_u64).map(|n| iovas[n as usize / 512] + n % 512 * 4096).collect();
        let packets = Packets { memory, iovas: Some(iovas), fine: Some(fine) };
        let whole = packets.all(1024);
        assert_eq!((whole.buffers, whole.page, whole.iovas.unwrap().len()), (1024, HUGE, 2));
        let part = packets.stretch(&(300..1024));
        assert_eq!((part.base.as_ptr() as usize, part.page), (HUGE * 512 + 300 * 4096, 4096));
        let iovas = part.iovas.unwrap();
        assert_eq!((iovas[0], iovas[212], iovas.len()), (0x1000_0000 + 300 * 4096, 0x7000_0000, 724));
    }
}
