//! Any bytes as a ring and its descriptors, and any sequence of operations on them: whatever stands in shared memory, nothing
//! panics, nothing is read or written outside, and nobody is handed an index that names nothing.

use arena::descriptor::{DataRange, Descriptor, Fate, Role, Table};
use arena::reclaim::{Marks, reclaim};
use arena::ring::{Consumer, Producer, Ring, RingId};
use arena::sync::{AtomicU64, Ordering};
use arena::{Held, Me, Owner, OwnerId};

const FROM: OwnerId = OwnerId(4);
const TO: OwnerId = OwnerId(5);

/// The input, read from the front; zeros after its end.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn word(&mut self) -> u64 {
        (0..8).fold(0, |word, _| word << 8 | u64::from(self.byte()))
    }

    /// Small numbers as a rule, since most that is wrong is wrong by little; now and then any number.
    fn number(&mut self) -> u64 {
        match self.byte() {
            255 => self.word(),
            small => u64::from(small),
        }
    }
}

/// What lies in shared memory: one ring, a recovery ring of the same size, descriptors.
struct Memory {
    head: [AtomicU64; 2],
    tail: [AtomicU64; 2],
    slots: [Vec<AtomicU64>; 2],
    descriptors: Vec<Descriptor>,
    buffers: u32,
}

fn descriptor(owner: Owner, role: Role) -> Descriptor {
    let d = Descriptor::new(owner, role);
    d.set_data(DataRange { offset: 320, len: 64 });
    d
}

impl Memory {
    /// As it would be after a start, with cursors anywhere.
    fn new(input: &mut Input<'_>) -> Self {
        let capacity = 1_usize << (input.byte() % 6);
        let (buffers, slots) = (u32::from(input.byte() % 24) + 1, u32::from(input.byte() % 8));
        let words = || (0..capacity).map(|_| AtomicU64::new(0)).collect();
        let owner = Owner { id: FROM, incarnation: 1, seq: input.byte().into() };
        let role = |i| if i < buffers { Role::Head } else { Role::Slot };
        let memory = Self {
            head: Default::default(),
            tail: Default::default(),
            slots: [words(), words()],
            descriptors: (0..buffers + slots).map(|i| descriptor(owner, role(i))).collect(),
            buffers,
        };
        let start = input.number();
        memory.ring(0).format(start);
        memory.ring(1).format(start);
        memory
    }

    fn ring(&self, n: usize) -> Ring<'_> {
        let from = if n == 0 { FROM } else { TO };
        Ring::new(RingId(n as u16), (from, TO), &self.head[n], &self.tail[n], &self.slots[n])
    }

    fn table(&self) -> Table<'_> {
        Table::new(&self.descriptors, self.buffers)
    }

    /// Writes over one word.
    fn damage(&self, input: &mut Input<'_>) {
        let (what, at, value) = (input.byte(), usize::from(input.byte()), input.number());
        let n = usize::from(what & 1);
        let d = &self.descriptors[at % self.descriptors.len()];
        let short = value as u32;
        match what >> 1 & 15 {
            0 => self.head[n].store(value, Ordering::Relaxed),
            1 => self.tail[n].store(value, Ordering::Relaxed),
            2..=4 => self.slots[n][at % self.slots[n].len()].store(value, Ordering::Relaxed),
            5 => {
                let entry = value << 32 | u64::from(d.owner().seq);
                self.slots[n][at % self.slots[n].len()].store(entry, Ordering::Relaxed);
            }
            6 => d.owner.store(value, Ordering::Relaxed),
            7 => d.owner.store(Owner { id: OwnerId(short as u8), ..d.owner() }.pack(), Ordering::Relaxed),
            8 => d.owner.store(Owner { id: OwnerId::ATTACHED, incarnation: short, seq: 7 }.pack(), Ordering::Relaxed),
            9 => d.role.store(short, Ordering::Relaxed),
            10 => d.slot.store(short, Ordering::Relaxed),
            11 => d.next.store(short, Ordering::Relaxed),
            12 => d.segments.store(short, Ordering::Relaxed),
            13 => d.fate.store(value, Ordering::Relaxed),
            14 => d.data.store(short, Ordering::Relaxed),
            _ => d.settled.store(value, Ordering::Relaxed),
        }
    }
}

/// Both ends, and what their holders have in hand.
struct Ends<'a> {
    memory: &'a Memory,
    producer: Producer<'a>,
    consumer: Consumer<'a>,
    incarnation: u32,
    hand: Vec<Held>,
}

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        for held in self.hand.drain(..) {
            held.release();
        }
    }
}

impl<'a> Ends<'a> {
    fn new(memory: &'a Memory) -> Self {
        let (ring, table) = (memory.ring(0), memory.table());
        let (producer, consumer) = (
            ring.producer(table, Me { id: FROM, incarnation: 1 }),
            ring.consumer(table, Me { id: TO, incarnation: 1 }),
        );
        Self { memory, producer, consumer, incarnation: 1, hand: Vec::with_capacity(256) }
    }

    fn me(&self, id: OwnerId) -> Me {
        Me { id, incarnation: self.incarnation }
    }

    /// Takes a handle in, if there is room for it.
    fn keep(&mut self, held: Option<Held>) {
        let Some(held) = held else { return };
        assert!(held.index() < self.memory.table().len(), "a handle of nothing");
        if self.hand.len() < self.hand.capacity() {
            self.hand.push(held);
        } else {
            held.release();
        }
    }

    /// A successor of either end takes over.
    fn restart(&mut self) {
        self.incarnation += 1;
        for held in self.hand.drain(..) {
            held.release();
        }
        let (ring, table) = (self.memory.ring(0), self.memory.table());
        self.producer = ring.producer(table, self.me(FROM));
        self.consumer = ring.consumer(table, self.me(TO));
    }

    fn sweep(&self, id: OwnerId, adopts_slots: bool) {
        let (table, rings) = (self.memory.table(), [self.memory.ring(0), self.memory.ring(1)]);
        let mut marks = Marks::new(table.len());
        if let Ok(done) = reclaim(table, self.me(id), &rings, &rings[1], adopts_slots, &mut marks) {
            assert!(done.heads + done.slots + done.adoptable + done.in_rings <= table.len());
        }
    }

    fn look(&mut self) {
        for ring in [self.memory.ring(0), self.memory.ring(1)] {
            let capacity = ring.capacity();
            assert!(ring.depth() <= capacity && ring.count() <= capacity);
            let mut n = 0;
            ring.for_each(|_, _| n += 1);
            assert!(n <= capacity, "a walk that does not end");
        }
        let capacity = self.memory.ring(0).capacity();
        assert!(self.producer.depth() <= capacity && self.producer.look() <= capacity);
        assert!(self.producer.room(1).is_ok_and(|room| room <= capacity) || self.producer.room(1).is_err());
        assert!(self.consumer.depth() <= capacity);
        let _ = self.consumer.is_empty();
    }

    fn read_frame(&mut self, head: u32) {
        let table = self.memory.table();
        let mut segments = table.segments(head);
        let mut n = 0;
        for (index, d) in &mut segments {
            assert!(index < table.buffers() && d.owner().is_attached_to(head));
            n += 1;
            assert!(n <= table.buffers(), "a list that does not end");
        }
        let _ = segments.failed();
        if let Some(slot) = table.slot_of(head) {
            assert!(table.is_slot(slot));
        }
        if let Some(d) = table.get(head) {
            let _ = (d.role(), d.data(), d.is_settled());
            assert!(d.fate().is_none_or(|fate| fate.cell() < Fate::CELLS));
        }
    }

    fn attach(&mut self, input: &mut Input<'_>) {
        if self.hand.len() < 2 {
            return;
        }
        let (Some(head), Some(other)) = (self.hand.pop(), self.hand.pop()) else { return };
        let table = self.memory.table();
        if table.is_slot(other.index()) {
            table.attach_slot(&head, other);
        } else {
            table.attach_segment(&head, other, input.number() as u32);
        }
        self.keep(Some(head));
    }

    fn detach(&mut self, input: &mut Input<'_>) {
        let Some(head) = self.hand.pop() else { return };
        let (table, me) = (self.memory.table(), self.me(TO));
        let slot = table.detach_slot(&head, me);
        self.keep(slot);
        let segment = table.detach_segment(&head, input.number() as u32, me);
        self.keep(segment);
        self.keep(Some(head));
    }

    fn pop(&mut self, max: usize) {
        let mut out = Vec::with_capacity(16);
        if let Ok(n) = self.consumer.pop_batch(&mut out, max) {
            assert!(n == out.len() && n <= max.min(16));
        }
        for held in out {
            self.keep(Some(held));
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let (table, operation) = (self.memory.table(), input.byte());
        match operation % 16 {
            0 | 1 => self.memory.damage(input),
            2 | 3 => {
                let held = table.take(input.number() as u32, self.me(FROM));
                self.keep(held);
            }
            4 | 5 => {
                let Some(held) = self.hand.pop() else { return };
                if let Err(refused) = self.producer.push(held) {
                    self.keep(Some(refused.held));
                }
            }
            6 | 7 => {
                let popped = self.consumer.pop().ok().flatten();
                self.keep(popped);
            }
            8 => self.pop(usize::from(input.byte())),
            9 => self.look(),
            10 => {
                let position = self.memory.head[0].load(Ordering::Relaxed).wrapping_add(input.number());
                self.memory.ring(0).step_over(position);
            }
            11 => self.read_frame(input.number() as u32),
            12 => self.sweep(if operation & 16 == 0 { FROM } else { TO }, operation & 32 == 0),
            13 => self.restart(),
            14 => self.attach(input),
            _ => self.detach(input),
        }
        if operation & 0xc0 == 0xc0 {
            let adopted = table.adopt(input.number() as u32, self.me(TO));
            self.keep(adopted);
        }
    }
}

/// One input.
pub fn run(data: &[u8]) {
    let mut input = Input(data);
    let memory = Memory::new(&mut input);
    let mut ends = Ends::new(&memory);
    for _ in 0..512 {
        if input.0.is_empty() {
            break;
        }
        ends.step(&mut input);
    }
    ends.look();
}
