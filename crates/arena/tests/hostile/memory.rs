//! One arena for all cases, set back to its first state for each; and the writes that no rule allows.

use arena::layout::Layout;
use arena::region::HugePages;
use arena::{Arena, Geometry, OwnerId};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, MutexGuard, OnceLock};

pub const GEOMETRY: Geometry = Geometry {
    buffers: 32,
    slots: 8,
    slot_input_bytes: 64,
    slot_output_bytes: 64,
    preprocess: 1,
    infer: 1,
    ring_capacity: 8,
    max_streams: 4,
    gateways: 1,
};

/// Where a write falls.
#[derive(Clone, Copy, Debug)]
pub enum Spot {
    Entry { ring: usize, from_head: i64 },
    Cursor { ring: usize, head: bool },
    Descriptor { index: u64, word: u64 },
    Page { page: u64, word: u64 },
    Anywhere(u64),
}

/// What it does to the word there.
#[derive(Clone, Copy, Debug)]
pub enum Change {
    Flip(u32),
    Word(u64),
    Mix(u64),
}

struct Shared {
    arena: Arena,
    control: File,
    image: Vec<u8>,
}

/// The arena, as one case has it to itself.
pub struct Memory(MutexGuard<'static, Shared>);

fn create() -> Mutex<Shared> {
    let (arena, regions) = Arena::create(GEOMETRY, HugePages::Off).expect("8 MiB of memory");
    let control = File::from(regions.control.rw.try_clone().expect("a descriptor"));
    let mut image = vec![0; arena.layout().control_bytes as usize];
    control.read_exact_at(&mut image, 0).expect("the control region");
    Mutex::new(Shared { arena, control, image })
}

impl Memory {
    /// As it was created: every buffer free, every slot in its ring.
    pub fn fresh() -> Self {
        static SHARED: OnceLock<Mutex<Shared>> = OnceLock::new();
        let shared = SHARED.get_or_init(create).lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shared.control.write_all_at(&shared.image, 0).expect("write the control region");
        Self(shared)
    }

    pub fn arena(&self) -> Arena {
        self.0.arena.clone()
    }

    fn layout(&self) -> &Layout {
        self.0.arena.layout()
    }

    fn area(&self, name: &str) -> u64 {
        self.layout().areas().iter().find(|(n, _)| *n == name).expect("an area").1
    }

    fn read(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.0.control.read_exact_at(&mut word, at).expect("read");
        u64::from_ne_bytes(word)
    }

    /// Stores a word anywhere in the control region.
    pub fn write(&self, at: u64, word: u64) {
        self.0.control.write_all_at(&word.to_ne_bytes(), at).expect("write");
    }

    /// As a stage process would, without the other regions.
    pub fn attach(&self) -> Result<Arena, arena::ArenaError> {
        Arena::attach(std::os::fd::AsFd::as_fd(&self.0.control), None, None, None)
    }

    /// Writes; returns the buffers and slots whose words, or entries, were touched.
    pub fn damage(&self, spot: Spot, change: Change) -> Vec<u32> {
        let all = u64::from(GEOMETRY.buffers + GEOMETRY.slots);
        let ring = |n: usize| {
            let spec = self.layout().rings[n % self.layout().rings.len()];
            (self.layout().ring_at(spec.id).expect("a ring"), spec)
        };
        let at = match spot {
            Spot::Entry { ring: n, from_head } => {
                let (at, spec) = ring(n);
                let position = self.read(at + 4096).wrapping_add_signed(from_head);
                at + 8192 + 8 * (position & u64::from(spec.capacity - 1))
            }
            Spot::Cursor { ring: n, head } => ring(n).0 + if head { 4096 } else { 0 },
            Spot::Descriptor { index, word } => self.area("descriptors") + 64 * (index % all) + 8 * word,
            Spot::Page { page, word } => {
                let page = page % self.0.arena.geometry().instances() as u64;
                self.area("stage pages") + page * size_of::<arena::page::StagePage>() as u64 + 8 * word
            }
            Spot::Anywhere(n) => 8 * (n % (self.layout().control_bytes / 8)),
        };
        let old = self.read(at);
        let new = match change {
            Change::Flip(bit) => old ^ 1 << bit,
            Change::Word(word) => word,
            Change::Mix(word) => old ^ word & word.rotate_left(17),
        };
        self.0.control.write_all_at(&new.to_ne_bytes(), at).expect("write");
        let descriptors = self.area("descriptors");
        if (descriptors..descriptors + 64 * all).contains(&at) {
            vec![((at - descriptors) / 64) as u32]
        } else {
            // An entry: whom it named, and whom it names now. Of other words this says nothing, and harms nothing.
            vec![(old >> 40) as u32, (new >> 40) as u32]
        }
    }
}

/// rx-gateway, tx, preprocess, infer.
pub fn ids() -> [OwnerId; 4] {
    [arena::topology::RX, arena::topology::TX, GEOMETRY.preprocess_id(0), GEOMETRY.infer_id(0)]
}
