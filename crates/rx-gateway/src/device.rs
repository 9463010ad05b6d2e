//! What a driver's device says of itself, in the stage's page.

use crate::books::Books;
use arena::counters::{LINK_DOWN, LINK_UP, RxCounter};
use arena::page::StagePage;
use arena::sync::Ordering;
use ports::{DeviceCounts, LinkState, RxPort};

/// How often a device is asked: it may take a while to answer.
const PERIOD_NS: u64 = 100_000_000;

/// The device's counts, carried on from incarnation to incarnation: each begins with those of its own port at zero.
#[derive(Debug)]
pub(crate) struct DeviceBooks {
    before: DeviceCounts,
    due_ns: u64,
    /// The device is this incarnation's alone: its counts begin at zero, and [`DeviceBooks::ask`] adds them up.
    own: bool,
}

const CELLS: [RxCounter; 4] =
    [RxCounter::DeviceMissed, RxCounter::DeviceErrors, RxCounter::DeviceNoMbuf, RxCounter::LostInDevice];

impl DeviceBooks {
    /// What the predecessors counted.
    pub(crate) fn new(page: &StagePage) -> Self {
        let [missed, errors, no_mbuf, lost] = CELLS.map(|cell| page.counter(cell as usize));
        Self { before: DeviceCounts { missed, errors, no_mbuf, lost }, due_ns: 0, own: false }
    }

    /// What the kernel or the device dropped. A socket outlives its stage, and counts on.
    pub(crate) fn count_dropped(&self, page: &StagePage, port: &mut dyn RxPort) {
        if !self.own {
            let before = page.counter(RxCounter::KernelDropped as usize);
            set(page, RxCounter::KernelDropped, before.max(port.dropped()));
        }
    }

    /// Notes how long the port took to come up.
    pub(crate) fn started(page: &StagePage, port: &dyn RxPort) {
        let Some(times) = port.start_times() else { return };
        set(page, RxCounter::EalInitUs, times.eal_init_us);
        set(page, RxCounter::PortStartUs, times.port_start_us);
    }

    /// Asks the device, if it is time to.
    pub(crate) fn ask(&mut self, page: &StagePage, port: &mut dyn RxPort, books: &Books, now_ns: u64) {
        if now_ns < self.due_ns {
            return;
        }
        self.due_ns = now_ns + PERIOD_NS;
        count_denied(port, books, false);
        if let Some(notice) = port.take_notice() {
            eprintln!("flumeway-rx-gateway: {notice}");
        }
        if let Some(LinkState { is_up, speed_mbps }) = port.link_state() {
            set(page, RxCounter::LinkUp, if is_up { LINK_UP } else { LINK_DOWN });
            set(page, RxCounter::LinkMbps, speed_mbps.into());
        }
        let Some(now) = port.device_counts() else { return };
        self.own = true;
        let before = &self.before;
        let sums = [
            before.missed.wrapping_add(now.missed),
            before.errors.wrapping_add(now.errors),
            before.no_mbuf.wrapping_add(now.no_mbuf),
            before.lost.wrapping_add(now.lost),
        ];
        for (cell, sum) in CELLS.into_iter().zip(sums) {
            set(page, cell, sum);
        }
        set(page, RxCounter::KernelDropped, sums[0].wrapping_add(sums[1]));
    }
}

/// Counts what the device itself has dropped by rules of the access list; `all` of them, before another list comes.
pub(crate) fn count_denied(port: &mut dyn RxPort, books: &Books, all: bool) {
    port.take_denied(all, &mut |rule, packets| books.access_hits(rule.into(), packets));
}

/// Sets a counter that this stage alone writes.
pub(crate) fn set(page: &StagePage, cell: RxCounter, value: u64) {
    page.counters[cell as usize].store(value, Ordering::Relaxed);
}
