//! The supervisor of the soak: kills, learns of the death by waiting for it, sweeps, activates, and stops all to account.

use crate::kills::Random;
use crate::process::{Ending, Process};
use crate::report::{Report, State};
use crate::world::{GEOMETRY, World, ring};
use arena::page::{Command, StagePage};
use arena::reclaim::{Marks, Reclaimed, reclaim};
use arena::sync::Ordering;
use arena::topology::{RX, RingKind};
use arena::{Me, OwnerId, now_ns};
use std::time::{Duration, Instant};

/// Frames that stand still for so long will not move again: somebody waits for what nobody has.
pub const STANDSTILL: Duration = Duration::from_secs(5);

/// One stage: its number of activation and the process that has it.
pub struct Unit {
    pub me: Me,
    pub process: Option<Process>,
    pub died_ns: Option<u64>,
}

pub struct Supervisor {
    // Before the world: its processes end first.
    pub units: Vec<Unit>,
    pub world: World,
    marks: Marks,
    pub random: Random,
    tickets: u32,
    pub oldest: u64,
    pub audited_kills: u64,
    pub moved: (Instant, u64),
    pub report: Report,
}

impl Supervisor {
    /// A new arena and its four stages.
    pub fn start(seed: u64) -> Result<Self, String> {
        let world = World::new()?;
        let marks = Marks::new(world.arena.table().len());
        let unit = |(id, _)| Unit { me: Me { id, incarnation: 0 }, process: None, died_ns: None };
        let mut supervisor = Self {
            units: GEOMETRY.all_instances().map(unit).collect(),
            world,
            marks,
            random: Random::new(seed),
            tickets: 0,
            oldest: 1,
            audited_kills: 0,
            moved: (Instant::now(), 0),
            report: Report::default(),
        };
        for n in 0..supervisor.units.len() {
            supervisor.activate(n, None)?;
        }
        Ok(supervisor)
    }

    pub fn number(&self, id: OwnerId) -> usize {
        usize::from(id.0 - OwnerId::FIRST_STAGE).min(self.units.len() - 1)
    }

    pub fn page(&self, n: usize) -> &'static StagePage {
        self.world.arena.page(self.units[n].me.id).expect("every stage has a page")
    }

    pub fn order(&self, n: usize, command: Command) {
        self.world.arena.control_word(self.units[n].me.id).expect("every stage has a control word").order(command);
    }

    pub fn process(&self, n: usize) -> Result<&Process, String> {
        self.units[n].process.as_ref().ok_or_else(|| format!("{:?} has no process", self.units[n].me))
    }

    pub fn fork(&mut self, n: usize) -> Result<Process, String> {
        self.tickets += 1;
        Process::start(&self.world, self.units[n].me.id, self.tickets)
    }

    pub fn look_for_ends(&mut self) -> Result<(), String> {
        for n in 0..self.units.len() {
            if let Some(ending) = self.units[n].process.as_mut().and_then(Process::ended) {
                return Err(self.ended_by_itself(n, ending));
            }
            self.note_recovery(n);
        }
        Ok(())
    }

    /// What cannot be: a stage that ended by itself, or frames that do not move.
    pub fn look(&mut self) -> Result<(), String> {
        self.look_for_ends()?;
        let page = self.world.arena.gateway(RX).unwrap();
        let steps = page.received.load(Ordering::Acquire) + page.finished();
        if steps != self.moved.1 {
            self.moved = (Instant::now(), steps);
        } else if self.moved.0.elapsed() > STANDSTILL {
            return Err(format!("no frame has moved for {} s\n{}", STANDSTILL.as_secs(), self.dump()));
        }
        Ok(())
    }

    pub fn ended_by_itself(&self, n: usize, ending: Ending) -> String {
        let poison = self.page(n).poison().map_or_else(String::new, |p| format!(", {p}"));
        format!("{:?} ended by itself: {ending:?}{poison}\n{}", self.units[n].me, self.dump())
    }

    /// Where everything stands, for a failure.
    pub fn dump(&self) -> String {
        let arena = &self.world.arena;
        let rings = arena.layout().rings.iter().map(|s| (s, arena.ring(s.id).count())).filter(|(_, n)| *n > 0);
        let mut lines: Vec<_> =
            rings.map(|(s, n)| format!("ring {:?} {:?} -> {:?}: {n}", s.kind, s.from, s.to)).collect();
        lines.extend((0..self.units.len()).map(|n| {
            let (page, me) = (self.page(n), self.units[n].me);
            let command = arena.control_word(me.id).map(arena::page::ControlWord::command);
            format!("{me:?}: page of incarnation {}, {command:?}", page.incarnation.load(Ordering::Acquire))
        }));
        lines.push(format!("{:?}", arena.audit()));
        lines.join("\n")
    }

    pub fn begun(&self, n: usize) -> Option<u64> {
        let page = self.page(n);
        let here = page.incarnation.load(Ordering::Acquire) == self.units[n].me.incarnation;
        here.then(|| page.first_work_ns.load(Ordering::Acquire))
    }

    pub fn note_recovery(&mut self, n: usize) {
        if let (Some(died), Some(first)) = (self.units[n].died_ns, self.begun(n).filter(|t| *t > 0)) {
            self.report.recovery(first.saturating_sub(died));
            self.units[n].died_ns = None;
        }
    }

    pub fn state(&self, n: usize) -> State {
        match self.begun(n) {
            None => State::Starting,
            Some(0) => State::Recovering,
            Some(_) => State::Working,
        }
    }

    pub fn kill(&mut self, n: usize, state: State) -> Result<(), String> {
        self.note_recovery(n);
        if let Some(process) = self.units[n].process.take() {
            process.kill().map_err(|ending| self.ended_by_itself(n, ending))?;
            self.report.kill(self.units[n].me.id, state);
            self.units[n].died_ns = Some(now_ns());
        }
        Ok(())
    }

    pub fn sweep(&mut self, n: usize) -> Result<Reclaimed, String> {
        let (arena, dead) = (&self.world.arena, self.units[n].me);
        let recovery = ring(arena, RingKind::Recovery, dead.id, dead.id);
        let rings = arena.rings_of(dead.id);
        let done = reclaim(arena.table(), dead, &rings, &recovery, dead.id == RX, &mut self.marks)
            .map_err(|fault| format!("sweep of {dead:?}: {fault}"))?;
        self.report.heads_swept += u64::from(done.heads);
        self.report.slots_swept += u64::from(done.slots);
        Ok(done)
    }

    /// The next incarnation: of that standby, or of a process that is forked now.
    pub fn activate(&mut self, n: usize, standby: Option<Process>) -> Result<(), String> {
        self.units[n].me.incarnation += 1;
        let incarnation = self.units[n].me.incarnation;
        let process = if let Some(standby) = standby { standby } else { self.fork(n)? };
        self.order(n, Command::Active { incarnation, ticket: process.ticket });
        self.units[n].process = Some(process);
        Ok(())
    }

    pub fn replace(&mut self, n: usize, standby: Option<Process>) -> Result<(), String> {
        self.sweep(n)?;
        self.activate(n, standby)
    }

    /// Whether the active incarnation stores PARKED in time.
    pub fn parks(&self, n: usize, patience: Duration) -> bool {
        let (begin, incarnation) = (Instant::now(), self.units[n].me.incarnation);
        loop {
            if self.page(n).parked.load(Ordering::Acquire) == incarnation {
                return true;
            }
            if begin.elapsed() >= patience {
                return false;
            }
            std::thread::sleep(Duration::from_micros(20));
        }
    }

    /// DRAIN, to a stage that is stopped for a while or not; PARKED, or SIGKILL when patience is at its end.
    pub fn drain(&mut self, n: usize, stopped: Duration, patience: Duration) -> Result<bool, String> {
        let process = self.process(n)?;
        if !stopped.is_zero() {
            process.stop();
        }
        let (incarnation, ticket) = (self.units[n].me.incarnation, process.ticket);
        self.order(n, Command::Drain { incarnation, ticket });
        if !stopped.is_zero() {
            std::thread::sleep(stopped);
            process.go_on();
        }
        let parked = self.parks(n, patience);
        if !parked {
            self.kill(n, State::Draining)?;
        }
        Ok(parked)
    }

    /// The sweep of a parked stage must find what it said it holds, and no head.
    pub fn sweep_parked(&mut self, n: usize) -> Result<(), String> {
        let (page, me) = (self.page(n), self.units[n].me);
        let done = self.sweep(n)?;
        let said = (page.held_buffers.load(Ordering::Relaxed), page.held_slots.load(Ordering::Relaxed));
        let found = (u64::from(done.heads + done.adoptable), u64::from(done.slots));
        if done.heads > 0 || said != found {
            return Err(format!(
                "{me:?} parked and said it holds {said:?} buffers and slots; the sweep found {done:?}"
            ));
        }
        Ok(())
    }
}
