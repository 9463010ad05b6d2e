//! Everything is stopped and swept: each buffer and slot must be in exactly one place, each frame finished once or on
//! its way.

use crate::frames::Finished;
use crate::world::World;
use arena::descriptor::{Descriptor, Role, is_attached};
use arena::topology::{RX, RingKind};
use arena::{Owner, OwnerId};
use std::collections::HashMap;

/// Faults named in a message.
const NAMED: usize = 10;

/// Where each index was found.
struct Places(Vec<Vec<String>>);

impl Places {
    fn add(&mut self, index: u32, place: String, faults: &mut Vec<String>) {
        match self.0.get_mut(index as usize) {
            Some(places) => places.push(place),
            None => faults.push(format!("{place}: index {index} names nothing")),
        }
    }
}

/// Whether an entry with `seq` may stand in a ring beside this word: pushed, or claimed by a consumer that died.
fn matches(word: Owner, seq: u32, from: OwnerId, to: OwnerId) -> bool {
    word.id == from && word.seq == seq || word.id == to && word.seq == seq.wrapping_add(1)
}

fn find(world: &World, faults: &mut Vec<String>) -> Places {
    let (arena, table) = (&world.arena, world.arena.table());
    let mut places = Places(vec![Vec::new(); table.len() as usize]);
    for spec in &arena.layout().rings {
        arena.ring(spec.id).for_each(|index, seq| {
            let place = format!("ring {:?} {:?} -> {:?}", spec.kind, spec.from, spec.to);
            if let Some(word) = table.get(index).map(Descriptor::owner)
                && !matches(word, seq, spec.from, spec.to)
            {
                faults.push(format!("{place}: entry ({index}, seq {seq}) beside the word {word:?}"));
            }
            places.add(index, place, faults);
        });
    }
    let in_ring: Vec<bool> = places.0.iter().map(|p| !p.is_empty()).collect();
    for (index, d) in table.iter() {
        let (word, role) = (d.owner(), d.role());
        if role == Role::Head && index < table.buffers() {
            let mut segments = table.segments(index);
            for (segment, _) in segments.by_ref() {
                places.add(segment, format!("segment of {index}"), faults);
            }
            if segments.failed().is_some() {
                faults.push(format!("head {index}: its list of segments contradicts the words"));
            }
            if let Some(slot) = table.slot_of(index) {
                places.add(slot, format!("slot of {index}"), faults);
            }
        }
        let orphan = is_attached(word) && table.get(word.incarnation).map(Descriptor::role) != Some(Role::Head);
        let by_word = word.id == RX && !in_ring[index as usize] && role != Role::Head;
        if orphan || by_word {
            places.add(index, "rx-gateway's to adopt".to_owned(), faults);
        }
    }
    places
}

/// Accounts for every buffer and slot. All stages are dead or parked, and swept.
pub fn account(world: &World) -> Result<(), String> {
    let mut faults = Vec::new();
    let places = find(world, &mut faults);
    for (index, places) in places.0.iter().enumerate().filter(|(_, places)| places.len() != 1) {
        let d = world.arena.table().get(index as u32).map(|d| (d.owner(), d.role(), d.fate()));
        let what = if places.is_empty() { "missing" } else { "doubled" };
        faults.push(format!("{index} is {what}: (word, role, fate) {d:?}, found in {places:?}"));
    }
    if faults.is_empty() {
        return Ok(());
    }
    let (count, named) = (faults.len(), faults.iter().take(NAMED).cloned().collect::<Vec<_>>().join("\n  "));
    Err(format!("{count} faults in the audit:\n  {named}"))
}

/// Each admitted frame is finished or in flight, and not both; `oldest` is the first that was not known to be finished at the
/// last audit. Returns the same for the next one.
pub fn frames(world: &World, oldest: u64) -> Result<u64, String> {
    let (arena, page) = (&world.arena, world.arena.gateway(RX).unwrap());
    // A death between the journal's line and its end: whoever takes over sets the counter, and so does this look at it.
    let pending = page.journal.pending();
    if let Some(line) = &pending {
        page.set(line);
    }
    let ledger = arena.ledger(1);
    let admitting = pending.filter(|l| l.operation == arena::gateway::Operation::Admit).map(|l| l.index);
    let dissolving = pending.filter(|l| l.operation == arena::gateway::Operation::Dissolve).map(|l| l.index);
    let (mut in_flight, mut halfway) = (HashMap::new(), Vec::new());
    for (index, d) in arena.table().iter().take(arena.geometry().buffers as usize) {
        let frame = || arena.frame_meta(index).map(|meta| meta.frame).map_err(|damaged| damaged.to_string());
        if dissolving == Some(index) {
            halfway.push(frame()?);
        } else if d.role() == Role::Head || admitting == Some(index) && d.role() == Role::Assembling {
            let frame = frame()?;
            if let Some(other) = in_flight.insert(frame, index) {
                return Err(format!("frame {frame} is doubled: heads {other} and {index}"));
            }
        }
    }
    let received = ledger.received;
    if received - oldest.min(received) >= Finished::WINDOW {
        return Err(format!("more than {} frames since frame {oldest}: audits are too far apart", Finished::WINDOW));
    }
    for frame in oldest..=received {
        match (world.finished.has(frame), in_flight.get(&frame)) {
            (true, None) | (false, Some(_)) => {}
            _ if halfway.contains(&frame) => {}
            (true, Some(head)) => return Err(format!("frame {frame} is finished and in flight: head {head}")),
            (false, None) => {
                return Err(format!("frame {frame} of {received} is lost: neither finished nor in flight"));
            }
        }
    }
    if let Some((frame, head)) = in_flight.iter().find(|(frame, _)| **frame < oldest || **frame > received) {
        return Err(format!(
            "head {head} carries frame {frame}, which is older than {oldest} or newer than {received}"
        ));
    }
    let (finished, flying) = (ledger.finished(), in_flight.len() as u64);
    if received != finished + flying {
        return Err(format!("the ledger: {received} received, {finished} finished, {flying} in flight"));
    }
    Ok(in_flight.keys().copied().chain(halfway).min().unwrap_or(received + 1))
}

/// No frame is in flight and every stage has parked: all buffers are free, all slots in the slot ring or swept.
pub fn all_home(world: &World) -> Result<(), String> {
    let (audit, g) = (world.arena.audit(), world.arena.geometry());
    if !audit.sound() || audit.free != g.buffers || audit.slots_free != g.slots {
        return Err(format!(
            "after the last frame came home: {audit:?} of {} buffers and {} slots",
            g.buffers, g.slots
        ));
    }
    let count = |kind: RingKind| -> u64 {
        world.arena.rings_where(|s| s.kind == kind).iter().map(arena::ring::Ring::count).sum()
    };
    let slots = count(RingKind::Slots) + count(RingKind::Recovery);
    if slots != u64::from(g.slots) {
        return Err(format!("after the last frame came home {slots} of {} slots stand in rings", g.slots));
    }
    Ok(())
}
