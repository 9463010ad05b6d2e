//! The life of a stage process: attach, wait for its activation, recover, work, drain, park.

use crate::frames::Finished;
use crate::gateway::Gateway;
use crate::middle::{Infer, Preprocess, Tx};
use crate::world::{World, ring};
use arena::descriptor::Table;
use arena::page::{Command, ControlWord, StagePage};
use arena::ring::{Consumer, Fault, Poison, Producer, Ring};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use arena::{Arena, Held, Me, OwnerId, now_ns};
use std::time::Duration;

/// Exit code after poison, as the shipped stages have it.
pub const POISONED: i32 = 70;
/// Exit code after anything else that cannot be.
pub const BROKEN: i32 = 71;

/// What a stage does; its life is the same for all.
pub trait Stage {
    /// Some work; how much.
    fn poll(&mut self, cx: &Context) -> usize;
    /// Finishes what is in hand and takes no more; true when that is done.
    fn drain(&mut self, cx: &Context) -> bool;
    /// What it believes it holds: buffers, slots.
    fn holds(&self) -> (u64, u64);
}

/// Who this process is, and its view of the arena.
pub struct Context {
    pub arena: Arena,
    pub table: Table<'static>,
    pub me: Me,
    pub finished: Finished,
    page: &'static StagePage,
}

impl Context {
    pub fn ring(&self, kind: RingKind, from: OwnerId, to: OwnerId) -> Ring<'static> {
        ring(&self.arena, kind, from, to)
    }

    pub fn producer(&self, kind: RingKind, to: OwnerId) -> Producer<'static> {
        self.ring(kind, self.me.id, to).producer(self.table, self.me)
    }

    pub fn consumer(&self, kind: RingKind, from: OwnerId) -> Consumer<'static> {
        self.ring(kind, from, self.me.id).consumer(self.table, self.me)
    }

    /// Everything in the recovery ring.
    pub fn recovered(&self) -> Vec<Held> {
        let (mut ring, mut all) = (self.consumer(RingKind::Recovery, self.me.id), Vec::with_capacity(1024));
        while self.checked(ring.pop_batch(&mut all, 1024)) > 0 {}
        all
    }

    /// A result of a ring, or the end: poison under nobody's hand is a bug of the protocol.
    pub fn checked<T>(&self, result: Result<T, Poison>) -> T {
        result.unwrap_or_else(|poison| self.poisoned(poison))
    }

    fn poisoned(&self, poison: Poison) -> ! {
        self.page.set_poison(poison);
        self.end(POISONED, &poison.to_string())
    }

    /// Pushes where the ring has room: looked at before, or roomy.
    pub fn push(&self, ring: &mut Producer<'static>, held: Held) {
        match ring.push(held) {
            Ok(()) => {}
            Err(refused) => match refused.fault {
                Fault::Poison(poison) => self.poisoned(poison),
                Fault::Full => self.broken(&format!("ring {:?} is full where there was room", ring.ring().id)),
            },
        }
    }

    /// Something cannot be; the supervisor prints the rest.
    pub fn broken(&self, what: &str) -> ! {
        self.end(BROKEN, what)
    }

    fn end(&self, code: i32, what: &str) -> ! {
        println!("{:?}: {what}", self.me);
        // SAFETY: needed to end a forked child without running anything of its parent's.
        unsafe { libc::_exit(code) }
    }
}

/// Gives the core to whoever has work.
fn idle() {
    std::thread::yield_now();
}

/// The whole life of the process with this ticket, from its fork on.
pub fn live(world: &World, id: OwnerId, ticket: u32) -> ! {
    let Ok(arena) = world.attach(id) else {
        // SAFETY: as in `end`.
        unsafe { libc::_exit(BROKEN) }
    };
    let (Some(control), Some(page)) = (arena.control_word(id), arena.page(id)) else {
        // SAFETY: as in `end`.
        unsafe { libc::_exit(BROKEN) }
    };
    let incarnation = wait_for_activation(control, ticket);
    let me = Me { id, incarnation };
    let cx = Context { table: arena.table(), arena, me, finished: world.finished, page };
    page.first_work_ns.store(0, Ordering::Relaxed);
    page.incarnation.store(incarnation, Ordering::Release);
    let mut stage: Box<dyn Stage> = match id {
        RX => Box::new(Gateway::activate(&cx)),
        TX => Box::new(Tx::activate(&cx)),
        id if id == crate::world::PRE => Box::new(Preprocess::activate(&cx)),
        _ => Box::new(Infer::activate(&cx)),
    };
    page.first_work_ns.store(now_ns(), Ordering::Release);
    let (active, drain) = (Command::Active { incarnation, ticket }, Command::Drain { incarnation, ticket });
    loop {
        let command = control.command();
        if command == drain {
            if stage.drain(&cx) {
                park(&cx, &*stage);
            }
            idle();
        } else if command != active {
            cx.broken(&format!(
                "{command:?} stands in the control word while this incarnation neither died nor parked"
            ));
        } else if stage.poll(&cx) == 0 {
            idle();
        }
    }
}

fn wait_for_activation(control: &ControlWord, ticket: u32) -> u32 {
    loop {
        match control.command() {
            Command::Active { incarnation, ticket: whose } if whose == ticket => return incarnation,
            _ => std::thread::sleep(Duration::from_micros(20)),
        }
    }
}

/// PARKED is the last store of an incarnation. The process stays, as one does that takes long to end.
fn park(cx: &Context, stage: &dyn Stage) -> ! {
    let (buffers, slots) = stage.holds();
    cx.page.held_buffers.store(buffers, Ordering::Relaxed);
    cx.page.held_slots.store(slots, Ordering::Relaxed);
    cx.page.parked.store(cx.me.incarnation, Ordering::Release);
    loop {
        std::thread::park();
    }
}
