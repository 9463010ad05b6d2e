//! A scenario: an operation that is killed at each of its instructions, and what must follow each death.

use crate::step;
use crate::tracer::{Core, End, die_after, live, perform, say};
use crate::world::World;
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Instant;

/// Time for the scenarios that may go in strides, all together, seconds, unless `KILLSTEP_BUDGET_S` says otherwise.
const BUDGET_S: f64 = 90.0;
/// Shares in the budget: about as many as there are such scenarios.
const SHARES: f64 = 9.0;

/// Which deaths a scenario needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deaths {
    /// One after each instruction, whatever it takes.
    Each,
    /// One after each instruction if that fits the budget; else one after each change of shared memory, and strides.
    InBudget,
}

/// The release build is what runs in the field; `step.rs` says which machines can do this.
fn check_build() {
    let release = !cfg!(debug_assertions);
    assert!(release, "kill_step is about the release build: run it with `make killstep`");
    if let Err(why) = step::supported() {
        panic!("{why}");
    }
}

/// Instructions of a child that does nothing: from its stop to the operation, and from there to its end.
fn overhead() -> u64 {
    static OVERHEAD: OnceLock<u64> = OnceLock::new();
    *OVERHEAD.get_or_init(|| live(&|| (), |_| ()))
}

/// Seconds for one scenario. None at all, for runs that plant a bug, leaves one death after each change of shared memory, in
/// every scenario: those are all the states that a death can leave.
fn share_s() -> f64 {
    let text = std::env::var("KILLSTEP_BUDGET_S");
    text.map_or(BUDGET_S, |t| t.parse().expect("KILLSTEP_BUDGET_S is a number of seconds")) / SHARES
}

impl World {
    /// Runs `op` to its end; returns its instructions and after which of them the control region had changed.
    fn changes(&self, start: &[u8], op: &dyn Fn()) -> (u64, Vec<u64>) {
        self.restore(start);
        let (mut last, mut changes) = (start.to_vec(), Vec::new());
        let instructions = live(op, |lived| {
            if self.differs(&last) {
                self.save(&mut last);
                changes.push(lived);
            }
        });
        (instructions, changes)
    }

    /// Kills `op` as `deaths` says. `recover` gets the number of instructions lived for its messages, u64::MAX if the
    /// operation finished. How many instructions are `plausible` guards against a test of nothing: an operation that the
    /// optimiser removed, or one that is not inlined and drowns in a call of something else.
    pub fn kill_each(
        &self,
        name: &str,
        deaths: Deaths,
        plausible: RangeInclusive<u64>,
        op: &dyn Fn(),
        recover: impl Fn(u64),
    ) {
        check_build();
        let _core = Core::take();
        let begin = Instant::now();
        let start = self.snapshot();
        perform(op);
        let (all, changes) = self.changes(&start, op);
        recover(u64::MAX);
        let own = all - overhead().min(all);
        // Each question whether a bug is planted takes some, in a build that has them.
        let most = plausible.end() * if cfg!(feature = "seeded-bugs") { 3 } else { 1 };
        assert!((*plausible.start()..=most).contains(&own), "{name}: {own} instructions, {plausible:?} are plausible");
        assert!(!changes.is_empty(), "{name}: no change of shared memory was seen");
        let share_s = share_s();
        let each = deaths == Deaths::Each && share_s > 0.0;
        let stride = if each { 1 } else { self.stride(&start, all, op, share_s) };
        let (mut count, mut last) = (0_u64, None);
        for lived in 0..all {
            if lived % stride != 0 && !changes.contains(&lived) {
                continue;
            }
            self.restore(&start);
            let end = die_after(op, lived);
            assert_eq!(end, End::Killed, "{name}: the operation takes {all} instructions, but not each time");
            last = Some(lived);
            recover(lived);
            count += 1;
        }
        assert!(!each || count == all, "{name}: {count} deaths over {all} instructions");
        assert!(last >= changes.last().copied(), "{name}: a death after each change of shared memory");
        let how = match stride {
            1 => "each".to_owned(),
            _ if stride > all => "each change".to_owned(),
            _ => format!("each change, and strides of {stride}"),
        };
        let (changes, s) = (changes.len(), begin.elapsed().as_secs_f64());
        say(&format!(
            "{name}: {own} instructions, {changes} changes of shared memory; {count} deaths, after {how} ({s:.1} s)"
        ));
    }

    /// Dying after n instructions takes n steps: n * n / 2 for all, and as many forks.
    fn stride(&self, start: &[u8], all: u64, op: &dyn Fn(), share_s: f64) -> u64 {
        let timed = |instructions| {
            self.restore(start);
            let begin = Instant::now();
            die_after(op, instructions);
            begin.elapsed().as_secs_f64()
        };
        let (fork_s, longest_s) = (timed(0), timed(all - 1));
        let need_s = all as f64 * f64::midpoint(fork_s, longest_s);
        // Without a share: infinite, and `as` makes the largest number of it.
        (need_s / share_s).ceil().max(1.0) as u64
    }
}
