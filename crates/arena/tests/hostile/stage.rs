//! What each kind of stage does with buffers, without packets: heads go round and round.

use arena::descriptor::{Descriptor, Fate, FateKind, Role, is_attached};
use arena::reclaim::Marks;
use arena::ring::{Consumer, Fault, Producer, Ring};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, StageKind};
use arena::{Arena, Held, Me};

/// A stage stopped, for a reason that its page would tell.
#[derive(Debug)]
pub struct Poisoned;

/// One active incarnation.
pub struct Stage {
    pub me: Me,
    kind: StageKind,
    arena: Arena,
    inlets: Vec<Consumer<'static>>,
    slots_in: Option<Consumer<'static>>,
    forward: Option<Producer<'static>>,
    status: Option<Producer<'static>>,
    slots_out: Option<Producer<'static>>,
    /// Heads in hand; rx-gateway's free buffers are apart.
    pub heads: Vec<Held>,
    pub free: Vec<Held>,
    pub slots: Vec<Held>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        let all = self.heads.drain(..).chain(self.free.drain(..)).chain(self.slots.drain(..));
        all.for_each(|held| _ = held.release());
    }
}

impl Stage {
    /// Opens its ends and takes over what its predecessor left.
    pub fn activate(arena: &Arena, me: Me) -> Result<Self, Poisoned> {
        let kind = arena.geometry().instance(me.id).expect("an instance").kind;
        let ring = |kind: RingKind, out: bool| -> Vec<Ring<'static>> {
            arena.rings_where(|s| s.kind == kind && (if out { s.from } else { s.to }) == me.id)
        };
        let table = arena.table();
        let producer = |kind| ring(kind, true).first().map(|r| r.producer(table, me));
        let ins = [RingKind::Forward, RingKind::Status, RingKind::Home];
        let mut stage = Self {
            me,
            kind,
            inlets: ins.iter().flat_map(|k| ring(*k, false)).map(|r| r.consumer(table, me)).collect(),
            slots_in: ring(RingKind::Slots, false).first().map(|r| r.consumer(table, me)),
            forward: producer(if kind == StageKind::Tx { RingKind::Home } else { RingKind::Forward }),
            status: producer(RingKind::Status),
            slots_out: producer(RingKind::Slots),
            arena: arena.clone(),
            heads: Vec::new(),
            free: Vec::new(),
            slots: Vec::new(),
        };
        let mut recovery = ring(RingKind::Recovery, false)[0].consumer(table, me);
        while let Some(held) = recovery.pop().map_err(|_| Poisoned)? {
            let slot = table.is_slot(held.index());
            if slot { &mut stage.slots } else { &mut stage.heads }.push(held);
        }
        if kind == StageKind::RxGateway {
            stage.adopt()?;
        }
        Ok(stage)
    }

    fn adopt(&mut self) -> Result<(), Poisoned> {
        let table = self.arena.table();
        let mut marks = Marks::new(table.len());
        let marked = marks.mark(&self.arena.rings_of(RX)).to_vec();
        for (index, d) in table.iter() {
            let word = d.owner();
            let head = table.get(word.incarnation).map(Descriptor::role);
            let orphan = is_attached(word) && head != Some(Role::Head);
            let held = match word.is_older(self.me) && !marked[index as usize] {
                true => table.adopt(index, self.me),
                false if orphan => table.take(index, self.me),
                false => None,
            };
            let Some(held) = held else { continue };
            match d.role() {
                _ if table.is_slot(index) => self.return_slot(held)?,
                Role::Head => self.heads.push(held),
                _ => {
                    d.set_role(Role::Free);
                    self.free.push(held);
                }
            }
        }
        Ok(())
    }

    fn return_slot(&mut self, slot: Held) -> Result<(), Poisoned> {
        push(self.slots_out.as_mut(), slot).map(|back| back.map(Held::release)).map(|_| ())
    }

    /// Takes up to `most` heads from each ring and passes on what it holds; rx-gateway may begin a frame.
    pub fn turn(&mut self, most: usize, begin: bool) -> Result<(), Poisoned> {
        let table = self.arena.table();
        for n in 0..self.inlets.len() {
            let mut out = Vec::with_capacity(most);
            let popped = self.inlets[n].pop_batch(&mut out, most);
            let strange = out.iter().any(|held| table.is_slot(held.index()));
            self.heads.append(&mut out);
            if strange || popped.is_err() {
                return Err(Poisoned);
            }
        }
        // Oldest first; one that has to wait for a slot does not keep back those that have theirs.
        for _ in 0..self.heads.len() {
            let head = self.heads.remove(0);
            if let Some(head) = self.pass(head)? {
                self.heads.push(head);
            }
        }
        if self.kind == StageKind::RxGateway
            && begin
            && let Some(head) = self.free.pop()
        {
            self.admit(head)?;
        }
        Ok(())
    }

    /// A free buffer becomes a head.
    fn admit(&mut self, head: Held) -> Result<(), Poisoned> {
        let d = self.arena.table().of(&head);
        d.reset();
        d.set_role(Role::Head);
        if let Some(head) = push(self.forward.as_mut(), head)? {
            self.heads.push(head);
        }
        Ok(())
    }

    /// One head, one step further; back if it cannot go on now.
    fn pass(&mut self, head: Held) -> Result<Option<Held>, Poisoned> {
        let table = self.arena.table();
        let d = table.of(&head);
        match self.kind {
            StageKind::RxGateway if d.fate().is_some() => {
                if let Some(slot) = table.detach_slot(&head, self.me)
                    && self.return_slot(slot).is_err()
                {
                    self.heads.push(head);
                    return Err(Poisoned);
                }
                d.set_role(Role::Free);
                self.free.push(head);
                return Ok(None);
            }
            StageKind::Preprocess if d.fate().is_some() => return push(self.status.as_mut(), head),
            StageKind::Preprocess => {
                if table.slot_of(head.index()).is_none() {
                    match self.slot() {
                        Ok(Some(slot)) => table.attach_slot(&head, slot),
                        Ok(None) => return Ok(Some(head)),
                        Err(poisoned) => {
                            self.heads.push(head);
                            return Err(poisoned);
                        }
                    }
                }
            }
            StageKind::Tx => d.set_fate(Fate { kind: FateKind::Answered, reason: 0 }),
            StageKind::RxGateway | StageKind::Infer => {}
        }
        push(self.forward.as_mut(), head)
    }

    fn slot(&mut self) -> Result<Option<Held>, Poisoned> {
        if let Some(slot) = self.slots.pop() {
            return Ok(Some(slot));
        }
        let popped = self.slots_in.as_mut().map_or(Ok(None), Consumer::pop).map_err(|_| Poisoned)?;
        match popped {
            Some(slot) if !self.arena.table().is_slot(slot.index()) => {
                slot.release();
                Err(Poisoned)
            }
            slot => Ok(slot),
        }
    }

    /// What a page would say.
    pub fn tell(&self) {
        let page = self.arena.page(self.me.id).expect("a page");
        let beat_ns = page.heartbeat_ns.load(Ordering::Relaxed).wrapping_add(1);
        page.heartbeat_ns.store(beat_ns, Ordering::Release);
        page.held_buffers.store((self.heads.len() + self.free.len()) as u64, Ordering::Release);
        page.held_slots.store(self.slots.len() as u64, Ordering::Release);
    }
}

fn push(to: Option<&mut Producer<'static>>, held: Held) -> Result<Option<Held>, Poisoned> {
    match to.expect("a ring").push(held) {
        Ok(()) => Ok(None),
        Err(refused) if refused.fault == Fault::Full => Ok(Some(refused.held)),
        Err(refused) => {
            refused.held.release();
            Err(Poisoned)
        }
    }
}
