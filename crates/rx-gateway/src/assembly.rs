//! Half-assembled frames: fragments in hand, ordered by their index, for as long as their frame is not complete.
//!
//! Everything here can be rebuilt from the fragments' descriptors; see `recover.rs`.

use arena::Held;
use std::collections::{HashMap, HashSet, VecDeque};

const NONE: u32 = u32::MAX;

/// A frame's name among those of this gateway: stream row and frame id.
pub(crate) type FrameName = (u32, u64);

/// What is happening to a frame that is not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Assembling(u32),
    InFlight,
}

/// What became of a fragment.
#[derive(Debug)]
pub(crate) enum Added {
    /// The frame is complete now.
    Complete(u32),
    /// More is missing.
    Incomplete,
    /// It is there already; the buffer comes back.
    Duplicate(Held),
}

#[derive(Debug)]
struct Frame {
    name: FrameName,
    count: u16,
    have: u16,
    first_ns: u64,
    first: u32,
    last: u32,
    /// Tells this frame from the one that used the place before, in the queue of timeouts.
    generation: u32,
    used: bool,
    /// Fragments came in the order of their indices so far.
    in_order: bool,
}

/// Fragments of complete or given-up frames, in order.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) name: FrameName,
    pub(crate) first_ns: u64,
}

/// All half-assembled frames and, beside them, which frames are in flight.
#[derive(Debug)]
pub(crate) struct Assemblies {
    /// By buffer index: the fragment in hand, its index, and the fragment that came after it.
    fragments: Vec<Option<Held>>,
    index: Vec<u16>,
    next: Vec<u32>,
    /// (place, index) of all fragments in hand.
    known: HashSet<(u32, u16)>,
    frames: Vec<Frame>,
    free: Vec<u32>,
    timeouts: VecDeque<(u64, u32, u32)>,
    places: HashMap<FrameName, Standing>,
    /// By the index of its head: the name of a frame in flight. What the head's record says may be damaged by the time it comes
    /// home, and a name that is never forgotten would keep its sender's next try out.
    names: Vec<Option<FrameName>>,
    held: usize,
}

impl Assemblies {
    /// For an arena of `buffers` and at most `most` half-assembled frames.
    pub(crate) fn new(buffers: u32, most: u32) -> Self {
        let n = buffers as usize;
        let frame = || Frame {
            name: (NONE, 0),
            count: 0,
            have: 0,
            first_ns: 0,
            first: NONE,
            last: NONE,
            generation: 0,
            used: false,
            in_order: true,
        };
        Self {
            fragments: (0..n).map(|_| None).collect(),
            index: vec![0; n],
            next: vec![NONE; n],
            known: HashSet::with_capacity(n * 2),
            frames: (0..most).map(|_| frame()).collect(),
            free: (0..most).rev().collect(),
            timeouts: VecDeque::with_capacity(most as usize * 2),
            places: HashMap::with_capacity((n + most as usize) * 2),
            names: vec![None; n],
            held: 0,
        }
    }

    /// What is happening to a frame.
    pub(crate) fn place(&self, name: FrameName) -> Option<Standing> {
        self.places.get(&name).copied()
    }

    /// The frame of this head is in flight.
    pub(crate) fn set_in_flight(&mut self, head: u32, name: FrameName) {
        self.names[head as usize] = Some(name);
        self.places.insert(name, Standing::InFlight);
    }

    /// The frame of this head has ended; its name, if it had one.
    pub(crate) fn forget(&mut self, head: u32) -> Option<FrameName> {
        let name = self.names[head as usize].take()?;
        self.places.remove(&name);
        Some(name)
    }

    /// Fragments in hand.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Whether no further frame can be begun.
    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Begins a frame; `None` if there are too many half-assembled ones.
    pub(crate) fn begin(&mut self, name: FrameName, count: u16, now_ns: u64, timeout_ns: u64) -> Option<u32> {
        let at = self.free.pop()?;
        let f = &mut self.frames[at as usize];
        let generation = f.generation.wrapping_add(1);
        *f = Frame {
            name,
            count,
            have: 0,
            first_ns: now_ns,
            first: NONE,
            last: NONE,
            generation,
            used: true,
            in_order: true,
        };
        self.places.insert(name, Standing::Assembling(at));
        if self.timeouts.len() == self.timeouts.capacity() {
            let frames = &self.frames;
            self.timeouts.retain(|(_, at, g)| frames[*at as usize].used && frames[*at as usize].generation == *g);
        }
        self.timeouts.push_back((now_ns + timeout_ns, at, generation));
        Some(at)
    }

    /// Any fragment of the frame, to compare others with.
    pub(crate) fn sample(&self, at: u32) -> Option<u32> {
        Some(self.frames[at as usize].first).filter(|f| *f != NONE)
    }

    /// Whether fragment `index` is there already.
    pub(crate) fn has(&self, at: u32, index: u16) -> bool {
        self.known.contains(&(at, index))
    }

    /// Adds a fragment in hand, in whatever order they come: the same small work for each, so that no order is an attack.
    pub(crate) fn add(&mut self, at: u32, index: u16, held: Held, arrived_ns: u64) -> Added {
        if !self.known.insert((at, index)) {
            return Added::Duplicate(held);
        }
        let frame = &mut self.frames[at as usize];
        let b = held.index();
        self.index[b as usize] = index;
        self.next[b as usize] = NONE;
        if frame.last == NONE {
            frame.first = b;
        } else {
            frame.in_order &= self.index[frame.last as usize] < index;
            self.next[frame.last as usize] = b;
        }
        frame.last = b;
        frame.first_ns = frame.first_ns.min(arrived_ns);
        frame.have += 1;
        self.fragments[b as usize] = Some(held);
        self.held += 1;
        if frame.have == frame.count { Added::Complete(at) } else { Added::Incomplete }
    }

    /// Ends the assembly at `at`: its fragments go to `out`, which is empty, in the order of their indices.
    pub(crate) fn take(&mut self, at: u32, out: &mut Vec<Held>) -> Taken {
        let frame = &mut self.frames[at as usize];
        let taken = Taken { name: frame.name, first_ns: frame.first_ns };
        let (mut p, in_order) = (frame.first, frame.in_order);
        frame.used = false;
        self.free.push(at);
        self.places.remove(&taken.name);
        while p != NONE {
            self.known.remove(&(at, self.index[p as usize]));
            if let Some(held) = self.fragments[p as usize].take() {
                self.held -= 1;
                out.push(held);
            }
            p = self.next[p as usize];
        }
        if !in_order {
            out.sort_unstable_by_key(|held| self.index[held.index() as usize]);
        }
        taken
    }

    /// The oldest frame that is still incomplete at `now_ns`.
    pub(crate) fn expired(&mut self, now_ns: u64) -> Option<u32> {
        while let Some((due_ns, at, generation)) = self.timeouts.front().copied() {
            let f = &self.frames[at as usize];
            if f.used && f.generation == generation {
                return (due_ns <= now_ns).then_some(at);
            }
            self.timeouts.pop_front();
        }
        None
    }

    /// When the next frame expires.
    pub(crate) fn next_timeout_ns(&self) -> Option<u64> {
        let live = |(_, at, g): &&(u64, u32, u32)| {
            self.frames[*at as usize].used && self.frames[*at as usize].generation == *g
        };
        self.timeouts.iter().find(live).map(|(due, _, _)| *due)
    }

    /// The oldest half-assembled frame of a stream row.
    pub(crate) fn oldest_of(&self, row: u32) -> Option<u32> {
        let of = |(_, at, g): &&(u64, u32, u32)| {
            let f = &self.frames[*at as usize];
            f.used && f.generation == *g && f.name.0 == row
        };
        self.timeouts.iter().find(of).map(|(_, at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arena::descriptor::Table;
    use arena::{Me, OwnerId};

    /// Buffers in hand, as taking gives them.
    fn buffers(n: u32) -> Vec<Held> {
        let arena = crate::testing::arena(1);
        let table: Table<'_> = arena.table();
        let me = Me { id: OwnerId(2), incarnation: 1 };
        (0..n).map(|i| table.take(i, me).unwrap()).collect()
    }

    fn assemble(order: &[u16]) -> Vec<u32> {
        let mut frames = Assemblies::new(64, 4);
        let at = frames.begin((0, 7), order.len() as u16, 10, 5).unwrap();
        for (n, (held, index)) in buffers(order.len() as u32).into_iter().zip(order).enumerate() {
            let last = n + 1 == order.len();
            match frames.add(at, *index, held, 10) {
                Added::Complete(_) if last => {}
                Added::Incomplete if !last => {}
                other => panic!("{other:?}"),
            }
            assert!(frames.has(at, *index));
        }
        let mut out = Vec::new();
        frames.take(at, &mut out);
        assert_eq!((frames.held(), frames.place((0, 7))), (0, None));
        assert!(!frames.has(at, order[0]), "forgotten with its frame");
        out.into_iter().map(Held::release).collect()
    }

    #[test]
    fn fragments_come_out_in_order_whatever_order_they_came_in() {
        assert_eq!(assemble(&[0, 1, 2, 3]), [0, 1, 2, 3]);
        assert_eq!(assemble(&[3, 2, 1, 0]), [3, 2, 1, 0]);
        assert_eq!(assemble(&[2, 0, 3, 1]), [1, 3, 0, 2]);
    }

    #[test]
    fn a_copy_comes_back_and_time_runs_out() {
        let mut frames = Assemblies::new(64, 1);
        let at = frames.begin((0, 7), 3, 10, 5).unwrap();
        let mut buffers = buffers(2).into_iter();
        assert!(matches!(frames.add(at, 1, buffers.next().unwrap(), 12), Added::Incomplete));
        let Added::Duplicate(copy) = frames.add(at, 1, buffers.next().unwrap(), 13) else { panic!("a copy") };
        assert_eq!(copy.release(), 1);
        assert!(frames.is_full() && frames.begin((0, 8), 2, 10, 5).is_none());
        assert_eq!((frames.expired(14), frames.expired(15)), (None, Some(at)));
        let mut out = Vec::new();
        frames.take(at, &mut out);
        assert_eq!(out.pop().map(Held::release), Some(0));
        assert_eq!((frames.expired(99), frames.next_timeout_ns()), (None, None));
    }
}
