//! The arena as a process sees it: the regions it was given, and typed access to what lies in them.

use crate::descriptor::{Descriptor, Table};
use crate::gateway::{GatewayPage, StreamRow};
use crate::held::Held;
use crate::layout::{
    BUFFER_BYTES, Cursor, GEOMETRY_WORDS, GeometryError, Header, LAYOUT_HASH, LAYOUT_VERSION, Layout, MAGIC,
    SupervisorPage, rows_at,
};
use crate::meta::Extension;
use crate::owner::{Me, OwnerId};
use crate::page::StagePage;
use crate::region::{self, ALIGN, HugePages, Mapping, Region, RegionError};
use crate::ring::{Ring, RingId};
use crate::sync::{AtomicU64, Ordering};
use crate::topology::{Geometry, RX, RingKind, StageKind};
use std::cell::Cell;
use std::os::fd::{AsFd, BorrowedFd};

/// Why there is no arena.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// A region cannot be had.
    #[error(transparent)]
    Region(#[from] RegionError),
    /// Not enough memory for all regions together.
    #[error(
        "the arena needs {need_mib} MiB and the machine has {have_mib} MiB available; lower [arena] buffers, slots or \
             max_input_bytes, or use [pipeline] profile = \"small\"; `flumeway check` shows what takes how much"
    )]
    Memory {
        /// MiB needed.
        need_mib: u64,
        /// MiB available.
        have_mib: u64,
    },
    /// Not enough reserved huge pages for all regions together.
    #[error(
        "the arena needs {pages} huge pages of 2 MiB and the system has too few free; reserve them with \
             `sysctl -w vm.nr_hugepages=$(($(cat /proc/sys/vm/nr_hugepages) + {pages}))`, or set [arena] hugepages = \"auto\""
    )]
    HugePages {
        /// Pages of all regions.
        pages: u64,
    },
    /// Impossible sizes.
    #[error("arena geometry: {0}")]
    Geometry(#[from] GeometryError),
    /// Not an arena.
    #[error("the control region does not begin with Flumeway's magic: the descriptor names something else")]
    Magic,
    /// Another layout.
    #[error(
        "the arena has layout version {is_version} (hash {is_hash:016x}), this binary reads version {want_version} \
             (hash {want_hash:016x}); use binaries of one release, or restart the pipeline with this one"
    )]
    Layout {
        /// The arena's version.
        is_version: u64,
        /// This binary's version.
        want_version: u64,
        /// The arena's hash.
        is_hash: u64,
        /// This binary's hash.
        want_hash: u64,
    },
    /// Not yet formatted.
    #[error("the arena is not ready: its creator has not finished formatting it")]
    NotReady,
}

/// The four regions as the supervisor holds them.
#[derive(Debug)]
pub struct Regions {
    /// Header, rings, descriptors, pages.
    pub control: Region,
    /// Packet buffers.
    pub packets: Region,
    /// Tensor areas of the slots.
    pub inputs: Region,
    /// Result areas of the slots.
    pub outputs: Region,
}

impl Regions {
    fn create(layout: &Layout, huge: HugePages) -> Result<Self, ArenaError> {
        let sizes = [layout.control_bytes, layout.packets_bytes, layout.inputs_bytes, layout.outputs_bytes];
        let total = sizes.iter().map(|len| len.max(&1).next_multiple_of(ALIGN)).sum::<u64>();
        // All together before the first: else gigabytes are pre-faulted, to the machine's harm, before the last one fails.
        if let Some(have) = region::available(huge)
            && have < total
        {
            return Err(ArenaError::Memory { need_mib: total >> 20, have_mib: have >> 20 });
        }
        let region = |name, len| {
            Region::create(name, len, huge).map_err(|error| match error {
                // What one region lacks is no remedy: the next one would lack more.
                RegionError::HugePages { .. } => ArenaError::HugePages { pages: total / ALIGN },
                error => error.into(),
            })
        };
        let [control, packets, inputs, outputs] = sizes;
        Ok(Self {
            control: region("flumeway-control", control)?,
            packets: region("flumeway-packets", packets)?,
            inputs: region("flumeway-inputs", inputs)?,
            outputs: region("flumeway-outputs", outputs)?,
        })
    }
}

/// What a process gets of a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// No descriptor at all.
    None,
    /// Read-only.
    Read,
    /// Read and write.
    Write,
}

/// Which rights a kind of stage has on (packets, inputs, outputs); all write to control.
pub const fn rights(kind: StageKind) -> (Access, Access, Access) {
    match kind {
        StageKind::RxGateway => (Access::Write, Access::None, Access::None),
        StageKind::Preprocess => (Access::Read, Access::Write, Access::None),
        StageKind::Infer => (Access::Read, Access::Read, Access::Write),
        StageKind::Tx => (Access::Write, Access::None, Access::Read),
    }
}

/// The arena, mapped. References into it are `'static`: it stays mapped until the process ends.
#[derive(Clone, Debug)]
pub struct Arena {
    layout: Layout,
    control: Mapping,
    packets: Option<Mapping>,
    inputs: Option<Mapping>,
    outputs: Option<Mapping>,
}

impl Arena {
    /// Creates the regions and formats them: each rx-gateway's buffers free with its incarnation 0 (which never runs), so that
    /// incarnation 1 adopts them; all slots in the slot rings of the first.
    pub fn create(geometry: Geometry, huge: HugePages) -> Result<(Self, Regions), ArenaError> {
        let layout = Layout::new(geometry)?;
        let regions = Regions::create(&layout, huge)?;
        let control = Mapping::map("control", regions.control.rw.as_fd(), layout.control_bytes, true)?;
        let packets = Mapping::map("packets", regions.packets.ro.as_fd(), layout.packets_bytes, false)?;
        let arena = Self { layout, control, packets: Some(packets), inputs: None, outputs: None };
        arena.format();
        Ok((arena, regions))
    }

    fn format(&self) {
        let header = self.header();
        header.magic.store(MAGIC, Ordering::Relaxed);
        header.version.store(LAYOUT_VERSION.into(), Ordering::Relaxed);
        header.hash.store(LAYOUT_HASH, Ordering::Relaxed);
        for (cell, word) in header.geometry_cells().zip(self.layout.geometry.to_words()) {
            cell.store(word, Ordering::Relaxed);
        }
        let epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        header.epoch.store(epoch as u64, Ordering::Relaxed);
        let first = Me { id: RX, incarnation: 0 };
        self.table().format(|index| Me { id: self.geometry().home_of(index), incarnation: 0 }, |_| first);
        for (id, _) in self.geometry().all_instances() {
            if let Some(page) = self.page(id) {
                page.clear_current();
            }
        }
        let preprocess = self.geometry().preprocess as u32;
        for spec in &self.layout.rings {
            let ring = self.ring(spec.id);
            ring.format(0);
            if spec.kind == RingKind::Slots && spec.from == RX {
                let mine = u32::from(spec.to.0 - self.geometry().preprocess_id(0).0);
                let mut producer = ring.producer(self.table(), first);
                for slot in (0..self.geometry().slots).filter(|s| s % preprocess == mine) {
                    producer.push_in_name(self.geometry().buffers + slot, first).expect("a slot ring holds all slots");
                }
            }
        }
        header.ready.store(1, Ordering::Release);
    }

    /// Attaches to an arena: maps and checks, and writes nothing. `None` for the regions this process has no right to.
    pub fn attach(
        control: BorrowedFd<'_>,
        packets: Option<(BorrowedFd<'_>, bool)>,
        inputs: Option<(BorrowedFd<'_>, bool)>,
        outputs: Option<(BorrowedFd<'_>, bool)>,
    ) -> Result<Self, ArenaError> {
        let len = rustix::fs::fstat(control).map_or(0, |s| s.st_size as u64);
        if len < 4096 {
            return Err(ArenaError::Magic);
        }
        let control = Mapping::map("control", control, len, true)?;
        // SAFETY: the header consists of atomics; the control region is mapped writable.
        let header = unsafe { control.one::<Header>(0) };
        if header.magic.load(Ordering::Relaxed) != MAGIC {
            return Err(ArenaError::Magic);
        }
        let (is_version, is_hash) = (header.version.load(Ordering::Relaxed), header.hash.load(Ordering::Relaxed));
        if is_version != LAYOUT_VERSION.into() || is_hash != LAYOUT_HASH {
            let (want_version, want_hash) = (LAYOUT_VERSION.into(), LAYOUT_HASH);
            return Err(ArenaError::Layout { is_version, want_version, is_hash, want_hash });
        }
        if header.ready.load(Ordering::Acquire) != 1 {
            return Err(ArenaError::NotReady);
        }
        let mut words = [0; GEOMETRY_WORDS];
        for (word, cell) in words.iter_mut().zip(header.geometry_cells()) {
            *word = cell.load(Ordering::Relaxed);
        }
        let layout = Layout::new(Geometry::from_words(words))?;
        if layout.control_bytes != len {
            return Err(RegionError::Length { name: "control", is: len, want: layout.control_bytes }.into());
        }
        let map = |name, fd: Option<(BorrowedFd<'_>, bool)>, len| {
            fd.map(|(fd, writable)| Mapping::map(name, fd, len, writable)).transpose()
        };
        let packets = map("packets", packets, layout.packets_bytes)?;
        let inputs = map("inputs", inputs, layout.inputs_bytes)?;
        let outputs = map("outputs", outputs, layout.outputs_bytes)?;
        Ok(Self { layout, control, packets, inputs, outputs })
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The geometry.
    pub fn geometry(&self) -> Geometry {
        self.layout.geometry
    }

    pub(crate) fn header(&self) -> &'static Header {
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.one::<Header>(0) }
    }

    /// CLOCK_REALTIME at which the arena was created, ns.
    pub fn epoch(&self) -> u64 {
        self.header().epoch.load(Ordering::Relaxed)
    }

    /// What the supervisor writes.
    pub fn supervisor(&self) -> &'static SupervisorPage {
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.one::<SupervisorPage>(self.layout.supervisor) }
    }

    /// The page of a stage instance.
    pub fn page(&self, id: OwnerId) -> Option<&'static StagePage> {
        let n = (id.0 as usize).checked_sub(OwnerId::FIRST_STAGE as usize)?;
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.slice::<StagePage>(self.layout.pages, self.geometry().instances()) }.get(n)
    }

    /// The control word of a stage instance.
    pub fn control_word(&self, id: OwnerId) -> Option<&'static crate::page::ControlWord> {
        self.supervisor().control.get((id.0 as usize).checked_sub(OwnerId::FIRST_STAGE as usize)?)
    }

    /// Ledger and journal of a rx-gateway.
    pub fn gateway(&self, id: OwnerId) -> Option<&'static GatewayPage> {
        let g = self.geometry();
        let n = g.gateway_number(id)?;
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.slice::<GatewayPage>(self.layout.gateway, g.gateways.into()) }.get(usize::from(n))
    }

    /// Ledger and journal of every rx-gateway.
    pub fn gateways(&self) -> impl Iterator<Item = &'static GatewayPage> {
        self.geometry().gateway_ids().filter_map(|id| self.gateway(id))
    }

    /// The stream table of a rx-gateway; empty for any other id.
    pub fn streams(&self, id: OwnerId) -> &'static [StreamRow] {
        let g = self.geometry();
        let Some(n) = g.gateway_number(id) else { return &[] };
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.slice::<StreamRow>(self.layout.streams + rows_at(&g, n), g.max_streams as usize) }
    }

    /// All descriptors.
    pub fn table(&self) -> Table<'static> {
        let g = self.geometry();
        let all = (g.buffers + g.slots) as usize;
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        Table::new(unsafe { self.control.slice::<Descriptor>(self.layout.descriptors, all) }, g.buffers)
    }

    /// All extension records, one per buffer.
    pub fn extensions(&self) -> &'static [Extension] {
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them.
        unsafe { self.control.slice::<Extension>(self.layout.extensions, self.geometry().buffers as usize) }
    }

    /// A ring by its number.
    pub fn ring(&self, id: RingId) -> Ring<'static> {
        let spec = &self.layout.rings[id.0 as usize];
        let at = self.layout.ring_offsets[id.0 as usize];
        // SAFETY: atomics alone, mapped writable, at the place the layout gives them (all three).
        let tail = &unsafe { self.control.one::<Cursor>(at) }.value;
        // SAFETY: as above.
        let head = &unsafe { self.control.one::<Cursor>(at + 4096) }.value;
        // SAFETY: as above.
        let slots = unsafe { self.control.slice::<AtomicU64>(at + 8192, spec.capacity as usize) };
        Ring::new(id, (spec.from, spec.to), head, tail, slots)
    }

    /// The rings that `pick` takes, in the order of their numbers.
    pub fn rings_where(&self, pick: impl Fn(&crate::topology::RingSpec) -> bool) -> Vec<Ring<'static>> {
        self.layout.rings.iter().filter(|s| pick(s)).map(|s| self.ring(s.id)).collect()
    }

    /// Every ring that an owner produces or consumes.
    pub fn rings_of(&self, id: OwnerId) -> Vec<Ring<'static>> {
        self.rings_where(|s| s.from == id || s.to == id)
    }

    /// Where this process has mapped all packet buffers, for drivers that hand addresses of buffers to a library; buffer i lies
    /// `i * BUFFER_BYTES` behind it. The mapping is never taken away. `None` without the right to write packets.
    pub fn packets_memory(&self) -> Option<std::ptr::NonNull<[u8]>> {
        let packets = self.packets.as_ref().filter(|m| m.is_writable())?;
        Some(std::ptr::NonNull::slice_from_raw_parts(packets.base(), packets.len()))
    }

    /// A whole packet buffer in hand, to write to.
    ///
    /// # Panics
    /// If this process has no right to write packets: a mistake in the program, not in its input.
    #[inline]
    pub fn packet_mut<'h>(&self, held: &'h mut Held) -> &'h mut [u8] {
        let packets = self.packets.as_ref().expect("packets are mapped");
        // SAFETY: the holder of a head or free buffer is the only one to touch it (owner word), and borrows it mutably.
        unsafe { packets.bytes_mut(u64::from(held.index()) * BUFFER_BYTES, BUFFER_BYTES as usize) }
    }

    /// A whole packet buffer in hand.
    #[inline]
    pub fn packet<'h>(&self, held: &'h Held) -> &'h [u8] {
        self.packet_of(held, held.index())
    }

    /// The packet buffer of a segment (or the head itself) of the frame whose head is in hand.
    #[inline]
    pub fn packet_of<'h>(&self, _head: &'h Held, index: u32) -> &'h [u8] {
        let packets = self.packets.as_ref().expect("packets are mapped");
        // SAFETY: attached segments belong to whoever holds their head, and nobody writes to them until it is home.
        unsafe { packets.bytes(u64::from(index) * BUFFER_BYTES, BUFFER_BYTES as usize) }
    }

    /// A packet buffer that a dead incarnation of `me` held, or that `me` holds, to look at before it is adopted.
    pub fn packet_at(&self, index: u32, me: Me) -> Option<&[u8]> {
        let word = self.table().get(index).filter(|_| index < self.geometry().buffers)?.owner();
        let packets = self.packets.as_ref().filter(|_| word.is(me) || word.is_older(me))?;
        // SAFETY: the word names this stage, whose other incarnations are dead: nobody else writes to the buffer.
        Some(unsafe { packets.bytes(u64::from(index) * BUFFER_BYTES, BUFFER_BYTES as usize) })
    }

    /// A packet buffer of a frame that the supervisor holds (quarantine), as a copy.
    pub fn packet_copy(&self, index: u32) -> Option<Vec<u8>> {
        let packets = self.packets.as_ref().filter(|_| index < self.geometry().buffers)?;
        // SAFETY: the frame was taken from a dead stage and belongs to the supervisor; nobody else touches it.
        Some(unsafe { packets.bytes(u64::from(index) * BUFFER_BYTES, BUFFER_BYTES as usize) }.to_vec())
    }

    fn slot_number(&self, index: u32) -> u64 {
        let n = index.checked_sub(self.geometry().buffers).filter(|n| *n < self.geometry().slots);
        u64::from(n.expect("the index of a slot"))
    }

    /// Input area of a slot in hand, to write to.
    pub fn slot_input_mut<'h>(&self, slot: &'h mut Held) -> &'h mut [u8] {
        self.input_area_mut(slot.index())
    }

    fn input_area_mut(&self, index: u32) -> &'static mut [u8] {
        let (len, inputs) = (self.geometry().slot_input_bytes, self.inputs.as_ref().expect("inputs are mapped"));
        // SAFETY: a slot in hand, or attached to a head in hand, belongs to its holder, who borrows it mutably.
        unsafe { inputs.bytes_mut(self.slot_number(index) * len, len as usize) }
    }

    /// What an engine works on: the input (in the slot, or `in_packet` = offset and length of an aligned tensor in the
    /// head's own packet) and the output area of the slot attached to a head in hand. `None` without a slot, or if the
    /// tensor is said to lie outside the packet.
    pub fn inference<'h>(
        &self,
        head: &'h mut Held,
        in_packet: Option<(usize, usize)>,
    ) -> Option<(&'h [u8], &'h mut [u8])> {
        let slot = self.slot_number(self.table().slot_of(head.index())?);
        let g = self.geometry();
        let outputs = self.outputs.as_ref().expect("outputs are mapped");
        // SAFETY: the slot follows its head, which is in hand and mutably borrowed; nobody else writes its output area.
        let output = unsafe { outputs.bytes_mut(slot * g.slot_output_bytes, g.slot_output_bytes as usize) };
        let input = if let Some((at, len)) = in_packet {
            self.packet(head).get(at..at.checked_add(len)?)?
        } else {
            let inputs = self.inputs.as_ref().expect("inputs are mapped");
            // SAFETY: as above; preprocess is done with the input area, and it lies in another region.
            unsafe { inputs.bytes(slot * g.slot_input_bytes, g.slot_input_bytes as usize) }
        };
        Some((input, output))
    }

    /// Where the two parts of [`Self::inference`] can lie: inputs in packets and slots, and outputs. Empty where a region is not mapped.
    pub fn inference_regions(&self) -> ([&'static [Cell<u8>]; 2], &'static [Cell<u8>]) {
        let cells = |mapping: &Option<Mapping>| mapping.as_ref().map_or(&[][..], Mapping::cells);
        ([cells(&self.packets), cells(&self.inputs)], cells(&self.outputs))
    }

    /// What a reply is made of: the head's own buffer, to write to, and the output area of its slot. `None` without a slot.
    pub fn reply_areas<'h>(&self, head: &'h mut Held) -> Option<(&'h mut [u8], &'h [u8])> {
        let slot = self.slot_number(self.table().slot_of(head.index())?);
        let (len, outputs) = (self.geometry().slot_output_bytes, self.outputs.as_ref().expect("outputs are mapped"));
        // SAFETY: the slot follows its head, which is in hand; infer is done with it, and it lies in another region
        // than the buffer.
        let area = unsafe { outputs.bytes(slot * len, len as usize) };
        Some((self.packet_mut(head), area))
    }

    /// Output area of the slot attached to a head in hand.
    pub fn output<'h>(&self, head: &'h Held) -> Option<&'h [u8]> {
        let slot = self.table().slot_of(head.index())?;
        let (len, outputs) = (self.geometry().slot_output_bytes, self.outputs.as_ref().expect("outputs are mapped"));
        // SAFETY: the slot follows its head, which is in hand; infer is done with it.
        Some(unsafe { outputs.bytes(self.slot_number(slot) * len, len as usize) })
    }
}
