//! The references inside one process: crossbeam's `ArrayQueue` and rtrb between side A's thread and a second thread of its
//! process. Neither works between processes: what they consist of lies on one heap.

use crate::contenders::{Answer, Carrier, Contender, Drive, ROWS, Visitor};
use crate::pair::{Length, Round, Side, idle};
use crate::shared::{BATCH, CAPACITY, read_all};
use anyhow::{Context as _, Result, anyhow, bail};
use arena::descriptor::Table;
use arena::sync::Ordering;
use benches::machine::pin;
use crossbeam_queue::ArrayQueue;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

/// One side's ends of a queue each way.
trait Link {
    /// Hands over `N` indices.
    fn push<const N: usize>(&mut self, indices: &[u32; N]);
    /// Takes what has come, as many as fit, and says how many; `N` is all that is awaited.
    fn pop<const N: usize>(&mut self, into: &mut [u32]) -> usize;
}

/// To the other side, and from it.
struct ArrayQueues(Arc<ArrayQueue<u32>>, Arc<ArrayQueue<u32>>);

impl Link for ArrayQueues {
    #[inline]
    fn push<const N: usize>(&mut self, indices: &[u32; N]) {
        // It knows no batches.
        for index in indices {
            while self.0.push(*index).is_err() {}
        }
    }

    #[inline]
    fn pop<const N: usize>(&mut self, into: &mut [u32]) -> usize {
        let mut n = 0;
        while n < into.len() {
            let Some(index) = self.1.pop() else { break };
            into[n] = index;
            n += 1;
        }
        n
    }
}

/// To the other side, and from it.
struct Rtrb(rtrb::Producer<u32>, rtrb::Consumer<u32>);

impl Link for Rtrb {
    #[inline]
    fn push<const N: usize>(&mut self, indices: &[u32; N]) {
        if N == 1 {
            while self.0.push(indices[0]).is_err() {}
        } else {
            while self.0.push_entire_slice(indices).is_err() {}
        }
    }

    #[inline]
    fn pop<const N: usize>(&mut self, into: &mut [u32]) -> usize {
        if N == 1 {
            return self.1.pop().map(|index| into[0] = index).is_ok().into();
        }
        self.1.pop_partial_slice(into).0.len()
    }
}

/// Batches of `N`. As in `ring_bare`, the producer writes a word of each descriptor of the arena, and the consumer reads all of it.
struct Thread<'a, L, const N: usize, const PAUSE: bool> {
    link: &'a mut L,
    table: Table<'static>,
    count: u64,
    held: [u32; N],
}

impl<'a, L: Link, const N: usize, const PAUSE: bool> Thread<'a, L, N, PAUSE> {
    fn new(link: &'a mut L, table: Table<'static>) -> Self {
        Self { link, table, count: 0, held: std::array::from_fn(|i| i as u32) }
    }

    #[inline]
    fn send(&mut self) {
        self.count += 1;
        for index in &self.held {
            if let Some(d) = self.table.get(*index) {
                d.posted_at.store(self.count, Ordering::Relaxed);
            }
        }
        self.link.push(&self.held);
    }

    #[inline]
    fn receive(&mut self) {
        let mut n = 0;
        while n < N {
            let got = self.link.pop::<N>(&mut self.held[n..]);
            if got == 0 {
                idle::<PAUSE>();
            }
            n += got;
        }
        for index in &self.held {
            if let Some(d) = self.table.get(*index) {
                read_all(d);
            }
        }
    }
}

impl<L: Link, const N: usize, const PAUSE: bool> Side for Thread<'_, L, N, PAUSE> {
    #[inline]
    fn trip(&mut self) -> Result<()> {
        self.send();
        self.receive();
        Ok(())
    }

    #[inline]
    fn echo(&mut self) -> Result<()> {
        self.receive();
        self.send();
        Ok(())
    }
}

/// What one of the two threads has at hand.
struct Ends {
    array_queues: ArrayQueues,
    rtrb: Rtrb,
    table: Table<'static>,
}

impl Ends {
    /// Both sides'.
    fn pair(table: Table<'static>) -> (Self, Self) {
        let capacity = CAPACITY as usize;
        let [there, back] = [(); 2].map(|()| Arc::new(ArrayQueue::new(capacity)));
        let ((to_b, from_a), (to_a, from_b)) = (rtrb::RingBuffer::new(capacity), rtrb::RingBuffer::new(capacity));
        let queues_b = ArrayQueues(Arc::clone(&back), Arc::clone(&there));
        let a = Self { array_queues: ArrayQueues(there, back), rtrb: Rtrb(to_b, from_b), table };
        (a, Self { array_queues: queues_b, rtrb: Rtrb(to_a, from_a), table })
    }

    /// This side's part of a round.
    fn play<V: Visitor>(&mut self, row: &Contender, visitor: V) -> Result<V::Out> {
        match row.carrier {
            Carrier::ArrayQueue => over(&mut self.array_queues, self.table, row, visitor),
            Carrier::Rtrb => over(&mut self.rtrb, self.table, row, visitor),
            _ => bail!("{} is not measured between threads", row.name),
        }
    }
}

fn over<V: Visitor>(link: &mut impl Link, table: Table<'static>, row: &Contender, visitor: V) -> Result<V::Out> {
    match (row.batch, row.pause) {
        (1, false) => visitor.visit(&mut Thread::<_, 1, false>::new(link, table)),
        (1, true) => visitor.visit(&mut Thread::<_, 1, true>::new(link, table)),
        (_, false) => visitor.visit(&mut Thread::<_, BATCH, false>::new(link, table)),
        (_, true) => visitor.visit(&mut Thread::<_, BATCH, true>::new(link, table)),
    }
}

/// The second thread, as side A holds it, and side A's ends. Between rounds it is blocked, as the second process is meanwhile.
pub struct Threads {
    orders: mpsc::Sender<(usize, Length)>,
    ends: Ends,
    thread: JoinHandle<()>,
}

impl Threads {
    /// Starts the second thread on `core`.
    pub fn start(table: Table<'static>, core: usize) -> Result<Self> {
        let (ends, mut theirs) = Ends::pair(table);
        let (orders, ordered) = mpsc::channel();
        let thread = std::thread::Builder::new().spawn(move || {
            let outcome = pin(core).and_then(|()| {
                ordered.into_iter().try_for_each(|(number, length): (usize, Length)| {
                    theirs.play(ROWS.get(number).context("no such row")?, Answer(length))
                })
            });
            if let Err(error) = outcome {
                // Side A would spin for ever.
                eprintln!("bench-ring: the second thread ended early: {error:#}");
                std::process::exit(1);
            }
        });
        Ok(Self { orders, ends, thread: thread.context("start the second thread")? })
    }

    /// A round of row `number`.
    pub fn round(&mut self, number: usize) -> Result<Round> {
        let row = ROWS.get(number).context("no such row")?;
        self.orders.send((number, row.length)).map_err(|_| anyhow!("the second thread has gone"))?;
        self.ends.play(row, Drive(row.length))
    }

    /// Ends it.
    pub fn finish(self) -> Result<()> {
        drop(self.orders);
        self.thread.join().map_err(|_| anyhow!("the second thread could not be waited for"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arena::descriptor::Descriptor;

    /// No descriptors: only the queues are tested.
    const EMPTY: &[Descriptor] = &[];

    fn hands_over(a: &mut impl Link, b: &mut impl Link) {
        let mut got = [0; 3];
        assert_eq!(b.pop::<3>(&mut got), 0);
        a.push(&[5, 6]);
        assert_eq!((b.pop::<3>(&mut got), got), (2, [5, 6, 0]));
        a.push(&[7]);
        assert_eq!((b.pop::<1>(&mut got[..1]), got), (1, [7, 6, 0]));
        b.push(&[8, 9]);
        assert_eq!((a.pop::<3>(&mut got[..1]), got), (1, [8, 6, 0]));
        assert_eq!((a.pop::<3>(&mut got[1..]), got), (1, [8, 9, 0]));
    }

    #[test]
    fn both_queues_hand_over_in_order() {
        let (mut a, mut b) = Ends::pair(Table::new(EMPTY, 0));
        hands_over(&mut a.array_queues, &mut b.array_queues);
        hands_over(&mut a.rtrb, &mut b.rtrb);
    }
}
