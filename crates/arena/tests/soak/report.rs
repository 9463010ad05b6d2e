//! What the soak did, in numbers.

use crate::world::GEOMETRY;
use arena::OwnerId;

/// What a stage was at when it was killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Ordered ACTIVE, not seen to have begun.
    Starting,
    /// Taking over what its predecessor held.
    Recovering,
    Working,
    /// Ordered to drain.
    Draining,
    /// By SIGSTOP.
    Stopped,
}

const STATES: [State; 5] = [State::Starting, State::Recovering, State::Working, State::Draining, State::Stopped];
const STAGES: usize = GEOMETRY.instances();

#[derive(Debug, Default)]
pub struct Report {
    kills: [[u64; STATES.len()]; STAGES],
    pub parked: u64,
    pub audits: u64,
    pub frames: u64,
    pub heads_swept: u64,
    pub slots_swept: u64,
    pub elapsed_s: f64,
    recovery_ns: Vec<u64>,
}

impl Report {
    pub fn kill(&mut self, id: OwnerId, state: State) {
        self.kills[(id.0 - OwnerId::FIRST_STAGE) as usize][state as usize] += 1;
    }

    /// From the death seen to the successor's first turn.
    pub fn recovery(&mut self, ns: u64) {
        self.recovery_ns.push(ns);
    }

    pub fn kills(&self) -> u64 {
        self.kills.iter().flatten().sum()
    }

    fn quantile_us(&mut self, of_thousand: usize) -> f64 {
        self.recovery_ns.sort_unstable();
        let at = (self.recovery_ns.len() * of_thousand / 1000).min(self.recovery_ns.len().saturating_sub(1));
        self.recovery_ns.get(at).map_or(0.0, |ns| *ns as f64 / 1000.0)
    }

    /// Prints everything; whether there were as many kills as required.
    pub fn print(&mut self, seconds: u64, required: u64) -> bool {
        let kills = self.kills();
        let s = self.elapsed_s.max(1e-3);
        println!(
            "{kills} kills in {s:.1} s of {seconds} s ({:.0}/s), {} frames ({:.0}/s)",
            kills as f64 / s,
            self.frames,
            self.frames as f64 / s
        );
        print!("{:>14}", "");
        for state in STATES {
            print!("{:>12}", format!("{state:?}").to_lowercase());
        }
        println!("{:>12}", "all");
        for (n, row) in self.kills.iter().enumerate() {
            let name = GEOMETRY
                .instance(OwnerId(OwnerId::FIRST_STAGE + n as u8))
                .map_or_else(String::new, |instance| instance.name(1));
            print!("{name:>14}");
            for kills in row {
                print!("{kills:>12}");
            }
            println!("{:>12}", row.iter().sum::<u64>());
        }
        println!(
            "{} hand-overs by PARKED; {} heads and {} slots swept; {} audits of {} buffers and {} slots",
            self.parked, self.heads_swept, self.slots_swept, self.audits, GEOMETRY.buffers, GEOMETRY.slots
        );
        let (samples, p50, p99) = (self.recovery_ns.len(), self.quantile_us(500), self.quantile_us(990));
        println!(
            "from death to the successor's first turn, us: p50 {p50:.0}, p99 {p99:.0}, max {:.0} ({samples} deaths)",
            self.quantile_us(1000)
        );
        let reached = kills >= required;
        println!("required: {required} kills in {seconds} s: {}", if reached { "reached" } else { "SHORT" });
        reached
    }
}
