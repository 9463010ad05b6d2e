//! `cargo bench -p benches --features peers --bench ring`: rings inside one process, in the same shapes: ours in an arena, crossbeam's
//! `ArrayQueue` and rtrb. The peers pass an index and no ownership.
#![forbid(unsafe_code)]

use arena::descriptor::Role;
use arena::region::HugePages;
use arena::ring::{Consumer, Producer};
use arena::topology::{RX, RingKind, TX};
use arena::{Arena, Geometry, Held, Me};
use benches::machine::{cores, pin, two_cores};
use criterion::{Criterion, criterion_group, criterion_main};
use crossbeam_queue::ArrayQueue;
use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

const CAPACITY: usize = 64;

/// Buffers and slots together make the rings between rx-gateway and tx [`CAPACITY`] long.
const GEOMETRY: Geometry = Geometry {
    buffers: 56,
    slots: 8,
    slot_input_bytes: 64,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 64,
    max_streams: 1,
    gateways: 1,
};

/// The ends of one side, and what it holds.
struct Ours {
    tx: Producer<'static>,
    rx: Consumer<'static>,
    hand: Vec<Held>,
}

/// Both sides; the first holds all buffers.
fn ours() -> (Ours, Ours) {
    let (arena, _regions) = Arena::create(GEOMETRY, HugePages::Off).expect("a small arena");
    let ring = |kind, from, to| {
        arena.rings_where(|s| s.kind == kind && s.from == from && s.to == to).into_iter().next().expect("a ring")
    };
    let (there, back) = (ring(RingKind::Status, RX, TX), ring(RingKind::Home, TX, RX));
    let [a, b] = [RX, TX].map(|id| Me { id, incarnation: 1 });
    let table = arena.table();
    table.iter().take(GEOMETRY.buffers as usize).for_each(|(_, d)| d.set_role(Role::Head)); // only heads travel
    let hand = (0..GEOMETRY.buffers).filter_map(|i| table.adopt(i, a)).collect();
    let side_a = Ours { tx: there.producer(table, a), rx: back.consumer(table, a), hand };
    (side_a, Ours { tx: back.producer(table, b), rx: there.consumer(table, b), hand: Vec::with_capacity(CAPACITY) })
}

/// Something that hands indices over.
trait Hand {
    fn send(&mut self);
    /// Whether something came.
    fn receive(&mut self) -> bool;
}

impl Hand for Ours {
    fn send(&mut self) {
        let held = self.hand.pop().expect("something in hand");
        self.tx.push(held).expect("the ring has room for all buffers");
    }

    fn receive(&mut self) -> bool {
        self.rx.pop().expect("no poison").map(|held| self.hand.push(held)).is_some()
    }
}

impl Drop for Ours {
    fn drop(&mut self) {
        // The arena goes with them.
        for held in self.hand.drain(..) {
            held.release();
        }
    }
}

/// One direction each way.
struct Crossbeam<'a>(&'a ArrayQueue<u64>, &'a ArrayQueue<u64>);

impl Hand for Crossbeam<'_> {
    fn send(&mut self) {
        self.0.push(1).expect("room");
    }

    fn receive(&mut self) -> bool {
        self.1.pop().map(black_box).is_some()
    }
}

struct Rtrb(rtrb::Producer<u64>, rtrb::Consumer<u64>);

impl Hand for Rtrb {
    fn send(&mut self) {
        self.0.push(1).expect("room");
    }

    fn receive(&mut self) -> bool {
        self.1.pop().map(black_box).is_ok()
    }
}

fn rtrb_pair() -> (Rtrb, Rtrb) {
    let ((to_b, from_a), (to_a, from_b)) = (rtrb::RingBuffer::new(CAPACITY), rtrb::RingBuffer::new(CAPACITY));
    (Rtrb(to_b, from_b), Rtrb(to_a, from_a))
}

/// There and back in one thread: what the instructions cost when nothing leaves the cache.
fn turn(a: &mut impl Hand, b: &mut impl Hand) {
    a.send();
    assert!(b.receive());
    b.send();
    assert!(a.receive());
}

fn one_thread(c: &mut Criterion) {
    let mut group = c.benchmark_group("one_thread_two_hops");
    let (mut a, mut b) = ours();
    group.bench_function("ring", |bench| bench.iter(|| turn(&mut a, &mut b)));
    let queues = [ArrayQueue::new(CAPACITY), ArrayQueue::new(CAPACITY)];
    let (mut a, mut b) = (Crossbeam(&queues[0], &queues[1]), Crossbeam(&queues[1], &queues[0]));
    group.bench_function("array_queue", |bench| bench.iter(|| turn(&mut a, &mut b)));
    let (mut a, mut b) = rtrb_pair();
    group.bench_function("rtrb", |bench| bench.iter(|| turn(&mut a, &mut b)));
    group.finish();
}

/// Time of `trips` round trips; the other thread echoes as many as it is told.
fn trips(a: &mut impl Hand, orders: &mpsc::Sender<u64>, trips: u64) -> Duration {
    orders.send(trips).expect("the other thread lives");
    let start = Instant::now();
    for _ in 0..trips {
        a.send();
        while !a.receive() {}
    }
    start.elapsed()
}

fn two_threads_of(c: &mut Criterion, name: &str, a: &mut impl Hand, b: &mut (impl Hand + Send), cores: (usize, usize)) {
    thread::scope(|scope| {
        let (orders, ordered) = mpsc::channel();
        scope.spawn(move || {
            pin(cores.1).expect("pin");
            for trips in ordered {
                for _ in 0..trips {
                    while !b.receive() {}
                    b.send();
                }
            }
        });
        pin(cores.0).expect("pin");
        let mut group = c.benchmark_group("two_threads_round_trip");
        group.bench_function(name, |bench| bench.iter_custom(|n| trips(a, &orders, n)));
        group.finish();
    });
}

fn two_threads(c: &mut Criterion, cores: &[usize]) {
    let Some(cores) = two_cores(cores) else {
        eprintln!("two_threads_round_trip: needs 2 cores, not measured");
        std::process::exit(1);
    };
    let (mut a, mut b) = ours();
    two_threads_of(c, "ring", &mut a, &mut b, cores);
    let queues = [ArrayQueue::new(CAPACITY), ArrayQueue::new(CAPACITY)];
    let (mut a, mut b) = (Crossbeam(&queues[0], &queues[1]), Crossbeam(&queues[1], &queues[0]));
    two_threads_of(c, "array_queue", &mut a, &mut b, cores);
    let (mut a, mut b) = rtrb_pair();
    two_threads_of(c, "rtrb", &mut a, &mut b, cores);
}

fn rings(c: &mut Criterion) {
    // Asked before the thread is bound, since it is told no other core afterwards.
    let cores = cores();
    pin(cores[0]).expect("pin");
    one_thread(c);
    two_threads(c, &cores);
}

criterion_group!(benches, rings);
criterion_main!(benches);
