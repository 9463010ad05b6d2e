//! Half-assembled frames: fragments in hand, ordered by their index, for as long as their frame is not complete.
//!
//! Everything here can be rebuilt from the fragments' descriptors; see `recover.rs`.

use arena::Held;
use std::collections::{HashMap, VecDeque};

const NONE: u32 = u32::MAX;

/// A frame's name among those of this gateway: stream row and frame id.
pub(crate) type FrameName = (u32, u64);

/// Where a frame that is not finished is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
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
    /// By buffer index: the fragment in hand, and its neighbours in its frame.
    fragments: Vec<Option<Held>>,
    index: Vec<u16>,
    next: Vec<u32>,
    prev: Vec<u32>,
    frames: Vec<Frame>,
    free: Vec<u32>,
    timeouts: VecDeque<(u64, u32, u32)>,
    places: HashMap<FrameName, Place>,
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
        };
        Self {
            fragments: (0..n).map(|_| None).collect(),
            index: vec![0; n],
            next: vec![NONE; n],
            prev: vec![NONE; n],
            frames: (0..most).map(|_| frame()).collect(),
            free: (0..most).rev().collect(),
            timeouts: VecDeque::with_capacity(most as usize * 2),
            places: HashMap::with_capacity((n + most as usize) * 2),
            held: 0,
        }
    }

    /// Where a frame is.
    pub(crate) fn place(&self, name: FrameName) -> Option<Place> {
        self.places.get(&name).copied()
    }

    pub(crate) fn set_in_flight(&mut self, name: FrameName) {
        self.places.insert(name, Place::InFlight);
    }

    pub(crate) fn forget(&mut self, name: FrameName) {
        self.places.remove(&name);
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
        *f = Frame { name, count, have: 0, first_ns: now_ns, first: NONE, last: NONE, generation, used: true };
        self.places.insert(name, Place::Assembling(at));
        if self.timeouts.len() == self.timeouts.capacity() {
            let frames = &self.frames;
            self.timeouts.retain(|(_, at, g)| frames[*at as usize].used && frames[*at as usize].generation == *g);
        }
        self.timeouts.push_back((now_ns + timeout_ns, at, generation));
        Some(at)
    }

    /// Number of fragments that the frame at `at` was announced with.
    pub(crate) fn count(&self, at: u32) -> u16 {
        self.frames[at as usize].count
    }

    /// Any fragment of the frame, to compare others with.
    pub(crate) fn sample(&self, at: u32) -> Option<u32> {
        Some(self.frames[at as usize].first).filter(|f| *f != NONE)
    }

    /// Whether fragment `index` is there already.
    pub(crate) fn has(&self, at: u32, index: u16) -> bool {
        let mut p = self.frames[at as usize].last;
        while p != NONE && self.index[p as usize] > index {
            p = self.prev[p as usize];
        }
        p != NONE && self.index[p as usize] == index
    }

    /// Adds a fragment in hand. It goes in before the last one with a greater index: fragments mostly come in order, so
    /// the search from the end is short.
    pub(crate) fn add(&mut self, at: u32, index: u16, held: Held, arrived_ns: u64) -> Added {
        let frame = &mut self.frames[at as usize];
        let mut before = frame.last;
        if frame.first != NONE && self.index[frame.first as usize] > index {
            before = NONE;
        }
        while before != NONE && self.index[before as usize] > index {
            before = self.prev[before as usize];
        }
        if before != NONE && self.index[before as usize] == index {
            return Added::Duplicate(held);
        }
        let b = held.index();
        let after = if before == NONE { frame.first } else { self.next[before as usize] };
        self.index[b as usize] = index;
        self.prev[b as usize] = before;
        self.next[b as usize] = after;
        match before {
            NONE => frame.first = b,
            p => self.next[p as usize] = b,
        }
        match after {
            NONE => frame.last = b,
            n => self.prev[n as usize] = b,
        }
        frame.first_ns = frame.first_ns.min(arrived_ns);
        frame.have += 1;
        self.fragments[b as usize] = Some(held);
        self.held += 1;
        if frame.have == frame.count { Added::Complete(at) } else { Added::Incomplete }
    }

    /// Ends the assembly at `at`: its fragments in order go to `out`.
    pub(crate) fn take(&mut self, at: u32, out: &mut Vec<Held>) -> Taken {
        let frame = &mut self.frames[at as usize];
        let taken = Taken { name: frame.name, first_ns: frame.first_ns };
        let mut p = frame.first;
        frame.used = false;
        self.free.push(at);
        self.places.remove(&taken.name);
        while p != NONE {
            if let Some(held) = self.fragments[p as usize].take() {
                self.held -= 1;
                out.push(held);
            }
            p = self.next[p as usize];
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
