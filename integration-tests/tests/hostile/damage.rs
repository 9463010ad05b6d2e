//! Writes into the control region of a running pipeline, past every rule: through `/proc`, as only root can.

use arena::Geometry;
use arena::layout::Layout;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// xorshift64*: the same damage in every run, as far as the machine lets it.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// Where the blow falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// An entry near the cursor of any ring.
    Entry,
    /// A run of entries near the cursor.
    Stretch,
    /// A consumer's cursor.
    Head,
    /// A producer's gauge.
    Tail,
    /// An owner word.
    Owner,
    /// What else stands in a descriptor and changes: role, slot, list, fate, blame.
    Descriptor,
    /// A whole descriptor.
    Line,
    /// What stages write into a frame's record.
    Record,
    /// Identity and life signs of a stage.
    Page,
    /// Orders, generation, pause.
    Orders,
    /// The journal.
    Journal,
    /// The stream table.
    Streams,
    /// The header.
    Header,
    /// Random bytes over everything that one stage writes: its page, the rings at whose ends it stands.
    View,
}

impl Target {
    pub const ALL: [Self; 14] = [
        Self::Entry,
        Self::Stretch,
        Self::Head,
        Self::Tail,
        Self::Owner,
        Self::Descriptor,
        Self::Line,
        Self::Record,
        Self::Page,
        Self::Orders,
        Self::Journal,
        Self::Streams,
        Self::Header,
        Self::View,
    ];
}

/// The control region of a pipeline, opened from outside.
pub struct Control {
    file: File,
    layout: Layout,
    /// Frames whose records were overwritten: their answers are not judged.
    pub hit: Vec<u64>,
}

/// Words of a record that hold the frame's number and the place of the input.
const FRAME_WORD: u64 = 4;
const RECORD_BYTES: u64 = 256;

impl Control {
    /// Finds it among the supervisor's descriptors.
    pub fn of(supervisor: u32) -> Self {
        let fds = std::fs::read_dir(format!("/proc/{supervisor}/fd")).expect("the supervisor's descriptors");
        let is_control = |path: &std::path::PathBuf| {
            std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().contains("memfd:flumeway-control"))
        };
        let path = fds.flatten().map(|e| e.path()).find(is_control).expect("a control region");
        let file = File::options().read(true).write(true).open(path).expect("open it for writing, as root");
        // Eight words behind magic, version and hash, and the last one behind epoch and readiness.
        let places = (3..11).chain([13]).map(|n| 8 * n);
        let mut words = [0; 9];
        for (word, at) in words.iter_mut().zip(places) {
            *word = read(&file, at);
        }
        let layout = Layout::new(Geometry::from_words(words)).expect("a layout");
        Self { file, layout, hit: Vec::new() }
    }

    fn area(&self, name: &str) -> u64 {
        let areas = self.layout.areas();
        areas.iter().find(|(n, _)| *n == name).unwrap_or_else(|| panic!("no area {name} in {areas:?}")).1
    }

    /// A bit flipped, several, or another word altogether.
    fn spoil(&self, at: u64, random: &mut Random) {
        let old = read(&self.file, at);
        let new = match random.below(4) {
            0 => random.next(),
            1 => old ^ random.next() & random.next() & random.next(),
            2 => 0,
            _ => old ^ 1 << random.below(64),
        };
        self.file.write_at(&new.to_ne_bytes(), at).expect("write to the control region");
    }

    /// One blow; says where.
    pub fn strike(&mut self, target: Target, random: &mut Random) -> String {
        let ring = &self.layout.rings[random.below(self.layout.rings.len() as u64) as usize];
        let ring_at = self.layout.ring_at(ring.id).expect("a ring");
        let capacity = u64::from(ring.capacity);
        let entry = |position: u64| ring_at + 8192 + 8 * (position & (capacity - 1));
        let name = format!("ring {} ({:?} to {:?})", ring.id.0, ring.from, ring.to);
        let all = u64::from(self.layout.geometry.buffers + self.layout.geometry.slots);
        let buffers = u64::from(self.layout.geometry.buffers);
        match target {
            Target::Entry | Target::Stretch => {
                let head = read(&self.file, ring_at + 4096);
                let from = head.wrapping_add(random.below(8)).wrapping_sub(2);
                let n = if target == Target::Entry { 1 } else { 2 + random.below(14) };
                (0..n).for_each(|i| self.spoil(entry(from.wrapping_add(i)), random));
                format!("{name}: {n} entries")
            }
            Target::Head | Target::Tail => {
                self.spoil(ring_at + if target == Target::Head { 4096 } else { 0 }, random);
                format!("{name}: cursor")
            }
            Target::Owner | Target::Descriptor | Target::Line => {
                let index = self.busy(random, all);
                let at = self.area("descriptors") + 64 * index;
                self.note(index);
                match target {
                    Target::Owner => self.spoil(at, random),
                    // Not the place of the payload, which has a checksum: that is `record.rs`'s business, and tested there.
                    Target::Descriptor => self.spoil(at + 8 * [1, 2, 4, 5, 6, 7][random.below(6) as usize], random),
                    _ => (0..8).for_each(|word| self.spoil(at + 8 * word, random)),
                }
                format!("descriptor {index}")
            }
            Target::Record => {
                let index = self.busy(random, buffers);
                self.note(index);
                self.spoil(self.area("extensions") + RECORD_BYTES * index + 8 * random.below(32), random);
                self.note(index);
                format!("record {index}")
            }
            Target::Page => {
                let (n, size) =
                    (random.below(self.layout.geometry.instances() as u64), size_of::<arena::page::StagePage>());
                self.spoil(self.area("stage pages") + n * size as u64 + 8 * random.below(16), random);
                format!("page of instance {n}")
            }
            Target::Orders => {
                let n = random.below(self.layout.geometry.instances() as u64 + 1);
                let at = if n == 0 {
                    64 * arena::topology::MAX_INSTANCES as u64 + 8 * random.below(2)
                } else {
                    64 * (n - 1)
                };
                self.spoil(self.area("supervisor") + at, random);
                format!("orders {n}")
            }
            Target::Journal => {
                self.spoil(self.area("gateway") + 8 * random.below(5), random);
                "journal".to_owned()
            }
            Target::Streams => {
                self.spoil(self.area("stream rows") + 8 * random.below(16), random);
                "stream row".to_owned()
            }
            Target::Header => {
                self.spoil(8 * random.below(13), random);
                "header".to_owned()
            }
            Target::View => self.view(random),
        }
    }

    fn view(&self, random: &mut Random) -> String {
        let n = random.below(self.layout.geometry.instances() as u64);
        let id = arena::OwnerId(arena::OwnerId::FIRST_STAGE + n as u8);
        let page = self.area("stage pages") + n * size_of::<arena::page::StagePage>() as u64;
        (0..8).for_each(|_| self.spoil(page + 8 * random.below(512), random));
        for ring in self.layout.rings.iter().filter(|r| r.from == id || r.to == id) {
            let at = self.layout.ring_at(ring.id).expect("a ring");
            let head = read(&self.file, at + 4096);
            for _ in 0..4 {
                let position = head.wrapping_add(random.below(32)).wrapping_sub(8);
                self.spoil(at + 8192 + 8 * (position & u64::from(ring.capacity - 1)), random);
            }
            if random.below(2) == 0 {
                self.spoil(at + 4096 * random.below(2), random);
            }
        }
        format!("view of instance {n}")
    }

    /// A buffer or slot: mostly one that carries a frame just now, if there is one.
    fn busy(&self, random: &mut Random, below: u64) -> u64 {
        let mut all = vec![0; 64 * below as usize];
        self.file.read_exact_at(&mut all, self.area("descriptors")).expect("read the descriptors");
        let is = |index: &usize, role: u8| all[64 * index + 8] == role;
        let picked = if random.below(4) == 0 { arena::descriptor::Role::Slot } else { arena::descriptor::Role::Head };
        let busy: Vec<_> = (0..below as usize).filter(|i| is(i, picked as u8)).collect();
        match busy.get(random.below(busy.len() as u64) as usize) {
            Some(index) if random.below(8) > 0 => *index as u64,
            _ => random.below(below),
        }
    }

    fn note(&mut self, index: u64) {
        if index < u64::from(self.layout.geometry.buffers) {
            self.hit.push(read(&self.file, self.area("extensions") + RECORD_BYTES * index + 8 * FRAME_WORD));
        }
    }
}

fn read(file: &File, at: u64) -> u64 {
    let mut word = [0; 8];
    file.read_exact_at(&mut word, at).expect("read the control region");
    u64::from_ne_bytes(word)
}
