//! The journal: whichever step a death falls on, repeating the line gives the same counters; the ledger adds up.

use arena::Arena;
use arena::descriptor::{Fate, FateKind, Role};
use arena::gateway::{HISTORY, Line, NO_STREAM, Operation};
use arena::sync::{AtomicU32, Ordering};
use arena::topology::RX;
use proptest::prelude::*;

/// The steps of an operation after its line: each may be the last one of a life.
fn steps(arena: &Arena, line: &Line) -> Vec<Box<dyn Fn()>> {
    let (page, line) = (arena.gateway(RX).unwrap(), *line);
    let role = |to: Role| {
        let d = arena.table().get(line.index).unwrap();
        Box::new(move || d.set_role(to)) as Box<dyn Fn()>
    };
    let mut steps: Vec<Box<dyn Fn()>> = vec![Box::new(move || page.set(&line))];
    match line.operation {
        Operation::Admit => steps.push(role(Role::Head)),
        Operation::Dissolve => {
            if line.extra != NO_STREAM {
                let row = &arena.streams(RX)[line.extra as usize];
                steps.push(Box::new(move || row.record_finished(line.finished, 1000 + line.finished)));
            }
            steps.push(role(Role::Free));
        }
        Operation::Packet => {}
    }
    steps
}

/// Performs an operation by a life that ends after `deaths[0]` steps, a successor that ends after `deaths[1]`, ... and a
/// last one that ends of its own. A life that ends before its line is complete has done nothing.
fn perform(arena: &Arena, line: &Line, deaths: &[usize]) {
    let journal = &arena.gateway(RX).unwrap().journal;
    let mut lives = deaths.iter().copied().chain([usize::MAX]);
    let mut left = lives.next().unwrap();
    while left == 0 {
        assert_eq!(journal.pending(), None);
        left = lives.next().unwrap();
    }
    journal.begin(*line);
    left -= 1;
    loop {
        let line = journal.pending().expect("the line stands");
        let steps = steps(arena, &line);
        let done = left.min(steps.len());
        steps[..done].iter().for_each(|step| step());
        if left > steps.len() {
            journal.end();
            return;
        }
        left = lives.next().unwrap();
    }
}

fn line(arena: &Arena, operation: Operation, index: u32, fate: Fate) -> Line {
    let page = arena.gateway(RX).unwrap();
    let (cell, counter) = match operation {
        Operation::Admit => (0, &page.received),
        Operation::Dissolve => (fate.cell() as u32, &page.cells[fate.cell()]),
        Operation::Packet => (3, &page.packets[3]),
    };
    let extra = if operation == Operation::Dissolve { index % 2 } else { NO_STREAM };
    let finished = arena.streams(RX)[(index % 2) as usize].finished.load(Ordering::Relaxed);
    Line { operation, index, seq: 7, cell, value: counter.load(Ordering::Relaxed) + 1, extra, finished }
}

#[test]
fn a_line_reads_back_as_it_was_written() {
    let (arena, _regions) = crate::small();
    let journal = &arena.gateway(RX).unwrap().journal;
    assert_eq!(journal.pending(), None);
    for operation in [Operation::Admit, Operation::Dissolve, Operation::Packet] {
        let line = Line {
            operation,
            index: 0x00ab_cdef,
            seq: u32::MAX,
            cell: 319,
            value: u64::MAX,
            extra: NO_STREAM,
            finished: 1 << 40,
        };
        journal.begin(line);
        assert_eq!(journal.pending(), Some(line));
        journal.end();
        assert_eq!(journal.pending(), None);
    }
}

/// A counter that the line names out of range is nobody's: nothing is set.
#[test]
fn a_cell_out_of_range_sets_nothing() {
    let (arena, _regions) = crate::small();
    let page = arena.gateway(RX).unwrap();
    for operation in [Operation::Dissolve, Operation::Packet] {
        let line = Line { operation, index: 0, seq: 0, cell: 9999, value: 5, extra: NO_STREAM, finished: 0 };
        page.set(&line);
    }
    assert_eq!((page.finished(), page.received.load(Ordering::Relaxed)), (0, 0));
    assert!(page.packets.iter().all(|p| p.load(Ordering::Relaxed) == 0));
}

#[test]
fn history_keeps_the_last_64() {
    let (arena, _regions) = crate::small();
    let row = &arena.streams(RX)[0];
    assert!(!row.has_finished(0), "an unused cell is no frame 0");
    for n in 0..200 {
        row.record_finished(n, 5000 + n);
        row.record_finished(n, 5000 + n);
        assert_eq!(row.finished.load(Ordering::Relaxed), n + 1);
        let kept = (0..=n).filter(|m| row.has_finished(5000 + m)).count();
        assert_eq!(kept, HISTORY.min(n as usize + 1));
        assert!(row.has_finished(5000 + n));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn counters_are_exact_whoever_dies_where(
        acts in prop::collection::vec((any::<bool>(), 0..64_u32, 0..3_u8, prop::collection::vec(0..5_usize, 0..4)), 0..60)
    ) {
        let (arena, _regions) = crate::small();
        let (mut received, mut finished, mut packets) = (0, [0_u64; 3], 0);
        for (packet, index, reason, deaths) in acts {
            let fate = Fate { kind: FateKind::Dropped, reason };
            let operation = match (packet, arena.table().get(index).unwrap().role()) {
                (true, _) => Operation::Packet,
                (false, Role::Head) => Operation::Dissolve,
                (false, _) => Operation::Admit,
            };
            perform(&arena, &line(&arena, operation, index, fate), &deaths);
            match operation {
                Operation::Admit => received += 1,
                Operation::Dissolve => finished[reason as usize] += 1,
                Operation::Packet => packets += 1,
            }
            let ledger = arena.ledger(1);
            assert!(ledger.settled && ledger.balanced(), "{ledger:?}");
            assert_eq!((ledger.received, ledger.finished()), (received, finished.iter().sum::<u64>()));
            for (reason, count) in finished.iter().enumerate() {
                let cell = Fate { kind: FateKind::Dropped, reason: reason as u8 }.cell();
                assert_eq!(ledger.cells[cell], *count);
            }
            assert_eq!(arena.gateway(RX).unwrap().packets[3].load(Ordering::Relaxed), packets);
        }
        let recorded: u64 = arena.streams(RX).iter().map(|s| s.finished.load(Ordering::Relaxed)).sum();
        assert_eq!(recorded, finished.iter().sum::<u64>(), "each finished frame stands in one history");
    }
}

/// While frames are admitted and dissolved, a snapshot that says it is settled and balanced is one that was true.
#[test]
fn the_ledger_settles_while_frames_move() {
    let (arena, _regions) = crate::small();
    let fate = Fate { kind: FateKind::Answered, reason: 0 };
    let stop = AtomicU32::new(0);
    let moved = std::thread::scope(|s| {
        let mover = s.spawn(|| {
            let mut n = 0_u64;
            while stop.load(Ordering::Relaxed) == 0 {
                let index = (n % 64) as u32;
                perform(&arena, &line(&arena, Operation::Admit, index, fate), &[]);
                perform(&arena, &line(&arena, Operation::Dissolve, index, fate), &[]);
                n += 1;
            }
            n
        });
        let (mut balanced, deadline) = (0, std::time::Instant::now() + std::time::Duration::from_mins(1));
        while balanced < 100 && std::time::Instant::now() < deadline {
            let ledger = arena.ledger(50);
            assert!(ledger.in_flight <= 1, "one frame at a time: {ledger:?}");
            balanced += u32::from(ledger.settled && ledger.balanced());
        }
        stop.store(1, Ordering::Relaxed);
        assert_eq!(balanced, 100, "snapshots of the moving ledger that add up, within a minute");
        mover.join().expect("the mover")
    });
    let ledger = arena.ledger(1);
    assert!(ledger.settled && ledger.balanced() && ledger.received == moved, "{ledger:?} after {moved}");
    assert_eq!(ledger.cells[fate.cell()], moved);
}

#[test]
fn fates_and_cells_are_one_to_one() {
    let mut seen = [false; Fate::CELLS];
    for kind in [FateKind::Answered, FateKind::Dropped, FateKind::BadRequest, FateKind::Quarantined] {
        for reason in 0..64 {
            let fate = Fate { kind, reason };
            assert_eq!(Fate::from_cell(fate.cell()), Some(fate));
            assert!(!std::mem::replace(&mut seen[fate.cell()], true), "{fate:?}");
        }
    }
    assert_eq!((Fate::from_cell(0), Fate::from_cell(Fate::CELLS)), (None, None));
}

#[test]
fn the_first_fate_stays() {
    let (arena, _regions) = crate::small();
    let d = arena.table().get(0).unwrap();
    assert_eq!((d.fate(), d.is_settled()), (None, false));
    let first = Fate { kind: FateKind::Answered, reason: 0 };
    d.set_fate(first);
    d.set_fate(Fate { kind: FateKind::Dropped, reason: 3 });
    assert_eq!(d.fate(), Some(first));
    d.settle();
    assert!(d.is_settled());
    d.reset();
    assert_eq!((d.fate(), d.is_settled()), (None, false), "the next frame in this buffer begins without either");
}
