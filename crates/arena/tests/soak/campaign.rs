//! What happens to the stages: deaths and hand-overs at random, and now and then a full stop to account for everything.

use crate::audit;
use crate::frames::Finished;
use crate::kills::{Plan, victim};
use crate::report::State;
use crate::supervisor::{STANDSTILL, Supervisor};
use crate::world::{GEOMETRY, INFER, PRE};
use arena::OwnerId;
use arena::sync::Ordering;
use arena::topology::{RX, TX};
use std::time::{Duration, Instant};

/// Kills between two audits.
const KILLS_PER_AUDIT: u64 = 500;
/// Time to park; a stage that is not on a core may need some of it.
const DRAIN: Duration = Duration::from_millis(50);
/// From the source to the sink, so that each can hand on what it has in hand before the next one stops.
const DRAIN_ORDER: [OwnerId; 4] = [PRE, INFER, TX, RX];

impl Supervisor {
    /// Kills for that long.
    pub fn soak(&mut self, duration: Duration) -> Result<(), String> {
        let begin = Instant::now();
        let ended = self.kill_until(begin + duration);
        self.report.elapsed_s = begin.elapsed().as_secs_f64();
        self.report.frames = self.world.arena.gateway(RX).unwrap().finished();
        ended
    }

    fn kill_until(&mut self, end: Instant) -> Result<(), String> {
        while Instant::now() < end {
            std::thread::sleep(self.random.micros(2500));
            self.look()?;
            let id = victim(&mut self.random, GEOMETRY.instances());
            let n = self.number(id);
            match Plan::choose(&mut self.random) {
                Plan::Kill => self.kill_and_replace(n)?,
                Plan::Again(times) => {
                    self.kill_and_replace(n)?;
                    for _ in 0..times {
                        self.wait_for_a_young_one(n);
                        self.kill_and_replace(n)?;
                    }
                }
                Plan::Pair => self.kill_two(n)?,
                Plan::Park => self.hand_over(n, Duration::ZERO, DRAIN)?,
                Plan::KillDraining => {
                    let patience = self.random.micros(100);
                    self.hand_over(n, Duration::ZERO, patience)?;
                }
                Plan::StopAndKill => {
                    self.process(n)?.stop();
                    std::thread::sleep(self.random.micros(2000));
                    self.kill(n, State::Stopped)?;
                    self.replace(n, None)?;
                }
                Plan::StopAndPark => {
                    let stopped = Duration::from_micros(1) + self.random.micros(2000);
                    self.hand_over(n, stopped, DRAIN)?;
                }
            }
            let frames = self.world.arena.gateway(RX).unwrap().received.load(Ordering::Acquire);
            if self.report.kills() - self.audited_kills >= KILLS_PER_AUDIT
                || frames.saturating_sub(self.oldest) > Finished::WINDOW / 2
            {
                self.stop_and_account()?;
            }
        }
        Ok(())
    }

    /// The next death comes early in a life: somewhere while it starts, or right after it has begun to recover.
    fn wait_for_a_young_one(&mut self, n: usize) {
        let (begin, patience) = (Instant::now(), Duration::from_millis(2));
        if self.random.below(2) == 0 {
            std::thread::sleep(self.random.micros(300));
        } else {
            while self.state(n) == State::Starting && begin.elapsed() < patience {
                std::hint::spin_loop();
            }
        }
    }

    fn kill_and_replace(&mut self, n: usize) -> Result<(), String> {
        // Half of the successors have attached before the death.
        let standby = if self.random.below(2) == 0 { Some(self.fork(n)?) } else { None };
        let state = self.state(n);
        self.kill(n, state)?;
        self.replace(n, standby)
    }

    fn kill_two(&mut self, n: usize) -> Result<(), String> {
        let other = (n + 1 + self.random.below(self.units.len() as u64 - 1) as usize) % self.units.len();
        for n in [n, other] {
            let state = self.state(n);
            self.kill(n, state)?;
        }
        for n in [n, other] {
            self.replace(n, None)?;
        }
        Ok(())
    }

    fn hand_over(&mut self, n: usize, stopped: Duration, patience: Duration) -> Result<(), String> {
        let standby = self.fork(n)?;
        if self.state(n) != State::Working {
            // An order to drain before the stage has begun is no order to it: it waits for ACTIVE.
            self.kill(n, State::Starting)?;
            return self.replace(n, Some(standby));
        }
        if !self.drain(n, stopped, patience)? {
            return self.replace(n, Some(standby));
        }
        self.sweep_parked(n)?;
        let old = self.units[n].process.take();
        self.activate(n, Some(standby))?;
        self.report.parked += 1;
        // It does nothing any more, however long it lives.
        std::thread::sleep(self.random.micros(300));
        old.map_or(Ok(()), |old| old.kill().map_err(|ending| self.ended_by_itself(n, ending)))
    }

    /// Stops everything, by killing or by parking, and looks where each buffer, slot and frame is; then all goes on.
    fn stop_and_account(&mut self) -> Result<(), String> {
        let park = self.random.below(2) == 0;
        self.stop_all(park)?;
        self.account()?;
        for n in 0..self.units.len() {
            self.activate(n, None)?;
        }
        self.moved.0 = Instant::now();
        self.audited_kills = self.report.kills();
        Ok(())
    }

    fn stop_all(&mut self, park: bool) -> Result<(), String> {
        for id in DRAIN_ORDER {
            let n = self.number(id);
            let state = self.state(n);
            if park && state == State::Working && self.drain(n, Duration::ZERO, DRAIN)? {
                self.sweep_parked(n)?;
                self.report.parked += 1;
                let old = self.units[n].process.take();
                old.map_or(Ok(()), |old| old.kill().map_err(|ending| self.ended_by_itself(n, ending)))?;
            } else {
                self.kill(n, state)?;
            }
        }
        // After the last death, as all of them may happen before the first is seen.
        for n in 0..self.units.len() {
            self.sweep(n)?;
        }
        Ok(())
    }

    fn account(&mut self) -> Result<(), String> {
        self.report.audits += 1;
        let kills = self.report.kills();
        let failed = |why: String| format!("after {kills} kills: {why}\n{}", self.dump());
        audit::account(&self.world).map_err(failed)?;
        self.oldest = audit::frames(&self.world, self.oldest).map_err(failed)?;
        Ok(())
    }

    /// The end: no new frames, every frame comes home, every stage parks, and everything is free again.
    pub fn drain_and_account(&mut self) -> Result<(), String> {
        let (arena, begin) = (self.world.arena.clone(), Instant::now());
        arena.supervisor().ingress_paused.store(1, Ordering::Release);
        while arena.frames_in_flight() > 0 || (0..self.units.len()).any(|n| self.state(n) != State::Working) {
            if begin.elapsed() > STANDSTILL * 2 {
                return Err(format!("{} frames do not come home\n{}", arena.frames_in_flight(), self.dump()));
            }
            self.look_for_ends()?;
            std::thread::sleep(Duration::from_millis(1));
        }
        self.stop_all(true)?;
        self.account()?;
        audit::all_home(&self.world).map_err(|why| format!("{why}\n{}", self.dump()))
    }
}
