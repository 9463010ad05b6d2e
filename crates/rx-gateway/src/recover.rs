//! Taking over from a dead predecessor (or from nobody: a new arena looks as if incarnation 0 had died at once).
//!
//! Order: the recovery ring's heads are claimed; the journal's pending line is completed; everything that the words give
//! to an older incarnation of us, in no ring, is adopted by its role; packets found in the driver's vector are
//! processed. What is in rings, or attached to a head that is on its way, is left alone.

use crate::books::take_apart;
use crate::gateway::{Live, return_slot};
use crate::policy::Rules;
use arena::counters::RxCounter;
use arena::descriptor::{Descriptor, Fate, FateKind, NONE, Role, is_attached};
use arena::gateway::{Line, Operation};
use arena::page::Event;
use arena::reclaim::Marks;
use arena::{Held, Owner};
use config::Pipeline;
use ports::{Received, Refound};
use stage::{Context, Stop};

/// What the scan finds besides free buffers.
#[derive(Default)]
struct Finds {
    heads: Vec<Held>,
    fragments: Vec<Held>,
    packets: Vec<(Held, Refound)>,
    adopted: u32,
}

impl Live {
    pub(crate) fn recover(&mut self, cx: &Context, rules: &Rules, pipeline: &Pipeline) -> Result<(), Stop> {
        // The recovery ring first: a head whose dissolving was interrupted is in it, and taking it by its word would make
        // its entry there poison.
        let mut finds = Finds::default();
        let mut recovery = cx.recovery();
        while let Some(head) = recovery.pop()? {
            if is_own(cx, head.index()) {
                finds.heads.push(head);
            } else {
                // A word that was overwritten sent it here. Left with us it is nobody's, which the supervisor sees and ends.
                head.release();
            }
        }
        let pending = self.books.pending();
        if let Some(line) = &pending {
            self.repeat(cx, line, &mut finds.heads)?;
        }
        cx.page.note(cx.now_ns, Event::Recovered, finds.heads.len() as u32);
        let mut refound = Vec::new();
        self.port.refind(&mut refound);
        self.port.take_unposted(&mut self.free);
        self.scan(cx, &refound, &mut finds)?;
        cx.page.note(cx.now_ns, Event::Adopted, finds.adopted);
        cx.page.add(RxCounter::Adopted as usize, u64::from(finds.adopted));
        self.index_frames(cx);
        // What the words know already need not be found again; the others keep their record until they are processed.
        for old in refound.iter().filter(|r| finds.packets.iter().all(|(_, f)| f.position != r.position)) {
            self.port.recorded(old.position);
        }
        // The packet that a pending line has counted comes first: the next line would overwrite what tells so.
        let counted = pending.filter(|l| l.operation == Operation::Packet).map(|l| l.extra);
        if let Some(at) = finds.packets.iter().position(|(_, found)| counted == Some(found.position)) {
            let (held, found) = finds.packets.remove(at);
            self.refound(cx, rules, pipeline, held, found, true)?;
        }
        self.books.end();
        for head in finds.heads {
            self.resume(cx, rules, head)?;
        }
        for fragment in finds.fragments {
            match cx.arena.record(fragment.index()) {
                Ok((meta, place)) => self.place(cx, rules, pipeline, fragment, &meta, place)?,
                Err(_) => self.damaged_fragment(cx, rules, fragment)?,
            }
        }
        for (held, found) in finds.packets {
            self.refound(cx, rules, pipeline, held, found, false)?;
        }
        Ok(())
    }

    /// Processes a packet that was received and not recorded.
    fn refound(
        &mut self,
        cx: &Context,
        rules: &Rules,
        pipeline: &Pipeline,
        held: Held,
        found: Refound,
        counted: bool,
    ) -> Result<(), Stop> {
        cx.page.add(RxCounter::Refound as usize, 1);
        let Refound { data, peer, local, link, position, standing, .. } = found;
        let packet = Received { held, data, peer, local, link, position, standing };
        self.packet(cx, rules, pipeline, packet, counted)
    }

    /// Completes the operation that a predecessor had begun.
    fn repeat(&mut self, cx: &Context, line: &Line, heads: &mut Vec<Held>) -> Result<(), Stop> {
        match line.operation {
            Operation::Admit => self.books.repeat_admit(&cx.arena, line),
            // The counter is set; the rest follows with the packet itself.
            Operation::Packet => self.books.repeat(line),
            Operation::Dissolve => {
                self.books.repeat(line);
                // If the head was freed already, only the end was missing.
                if let Some(at) = heads.iter().position(|h| h.index() == line.index) {
                    let head = heads.swap_remove(at);
                    take_apart(&cx.arena, cx.me, line, head, &mut self.slots, &mut self.free)?;
                }
                self.books.end();
            }
        }
        Ok(())
    }

    /// Adopts by words and roles.
    fn scan(&mut self, cx: &Context, refound: &[Refound], finds: &mut Finds) -> Result<(), Stop> {
        let mut marks = Marks::new(cx.table.len());
        let rings = cx.arena.rings_of(cx.me.id);
        let marked = marks.mark(&rings).to_vec();
        let mut by_index = refound.to_vec();
        by_index.sort_unstable_by_key(|r| r.index);
        let of = |index: u32| by_index.binary_search_by_key(&index, |r| r.index).ok().map(|at| by_index[at]);
        for (index, d) in cx.table.iter() {
            let owner = d.owner();
            let orphan = || is_orphan(cx, index, owner, d.role());
            // Slots have no home: one in our predecessor's words is ours to put back.
            let adoptable = cx.table.is_slot(index) || is_own(cx, index);
            let mine = adoptable && owner.is_older(cx.me) && !marked[index as usize];
            if !mine && !orphan() {
                continue;
            }
            let taken = if mine { cx.table.adopt(index, cx.me) } else { cx.table.take(index, cx.me) };
            let Some(held) = taken else { continue };
            finds.adopted += 1;
            match d.role() {
                Role::Slot => return_slot(cx, held, &mut self.slots)?,
                Role::Head => finds.heads.push(held),
                Role::Assembling | Role::Segment => {
                    d.set_role(Role::Assembling);
                    finds.fragments.push(held);
                }
                Role::Free => match of(index).filter(|r| r.seq == owner.seq) {
                    Some(found) => finds.packets.push((held, found)),
                    None => self.free.push(held),
                },
            }
        }
        finds.packets.sort_by_key(|(_, found)| found.position);
        Ok(())
    }

    /// A fragment whose record was damaged while nobody lived to hold it. One of several is missing from its frame from now on;
    /// one that may have been a whole frame is admitted as a drop, so that the ledger knows of it.
    fn damaged_fragment(&mut self, cx: &Context, rules: &Rules, fragment: Held) -> Result<(), Stop> {
        cx.page.add(RxCounter::Damaged as usize, 1);
        if cx.arena.place(fragment.index()).is_ok_and(|place| place.count > 1) {
            cx.table.of(&fragment).set_role(Role::Free);
            self.free.push(fragment);
            return Ok(());
        }
        self.parts.push(fragment);
        let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Damaged.code() };
        self.admit(cx, rules, Some(lost))
    }

    /// Rebuilds which of our frames are in flight.
    fn index_frames(&mut self, cx: &Context) {
        for index in cx.arena.geometry().home_range(cx.me.id) {
            let Some(head) = cx.table.get(index).filter(|d| d.role() == Role::Head) else { continue };
            if head.is_answer() {
                self.neighbours.in_flight += 1;
                continue;
            }
            self.downstream += 1;
            let Ok(meta) = cx.arena.frame_meta(index) else { continue };
            self.assemblies.set_in_flight(index, (meta.stream_row, meta.frame));
            self.streams.begin(meta.stream_row);
        }
    }

    /// Goes on with a head that was in hand.
    fn resume(&mut self, cx: &Context, rules: &Rules, head: Held) -> Result<(), Stop> {
        let d = cx.table.of(&head);
        match d.fate() {
            // No frame: tx sends it, or it has come home.
            None if d.is_answer() && d.is_settled() => self.dissolve(cx, head),
            None if d.is_answer() => self.status.push_roomy(head),
            Some(_) if d.is_settled() => {
                self.downstream = self.downstream.saturating_sub(1);
                self.dissolve(cx, head)
            }
            // Still counted as downstream.
            Some(_) => self.status.push_roomy(head),
            None => {
                self.downstream = self.downstream.saturating_sub(1);
                match cx.arena.frame_meta(head.index()) {
                    Ok(meta) => self.route(cx, rules, head, &meta),
                    Err(_) => self.drop_damaged(cx, head),
                }
            }
        }
    }
}

/// Whether a buffer is one of ours.
fn is_own(cx: &Context, index: u32) -> bool {
    cx.arena.geometry().home_of(index) == cx.me.id
}

/// Attached to something that is no head on its way: a segment of a frame whose attaching was interrupted, or a slot
/// whose head has been dissolved. Only of our own: what belongs to another rx-gateway may be in its hands at this moment.
fn is_orphan(cx: &Context, index: u32, owner: Owner, role: Role) -> bool {
    let with = if role == Role::Slot { owner.incarnation } else { index };
    if !is_attached(owner) || !is_own(cx, with) {
        return false;
    }
    let head = cx.table.get(owner.incarnation).map(Descriptor::role);
    match role {
        Role::Slot => head != Some(Role::Head),
        _ => head != Some(Role::Head) && owner.incarnation != NONE,
    }
}
