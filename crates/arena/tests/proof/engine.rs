//! One scenario, five ways to run it: plain threads (natively, under AddressSanitizer, under valgrind), loom, shuttle.
//!
//! Every exploration says how many executions it made and fails if they were fewer than it must be: a checker that runs a
//! scenario once proves nothing.

use arena::sync::death::dies_at;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

#[cfg(loom)]
pub use loom::thread::{JoinHandle, yield_now};
#[cfg(shuttle)]
pub use shuttle::thread::{JoinHandle, yield_now};
#[cfg(not(any(loom, shuttle)))]
pub use std::thread::{JoinHandle, yield_now};

/// Name of this engine in the report.
pub const ENGINE: &str = if cfg!(loom) {
    "loom"
} else if cfg!(shuttle) {
    "shuttle"
} else {
    "threads"
};

/// Stack of a model's thread, bytes: unwinding a simulated death takes more than loom gives by default.
#[cfg(loom)]
const STACK_BYTES: usize = 1 << 17;

/// Preemptions that loom explores, unless `LOOM_MAX_PREEMPTIONS` says otherwise.
#[cfg(loom)]
const PREEMPTIONS: usize = 4;

/// Starts a thread of the model.
pub fn spawn<R: 'static + Send>(life: impl FnOnce() -> R + Send + 'static) -> JoinHandle<R> {
    #[cfg(loom)]
    return loom::thread::Builder::new().stack_size(STACK_BYTES / size_of::<usize>()).spawn(life).expect("a thread");
    #[cfg(not(loom))]
    return spawn_native(life);
}

#[cfg(shuttle)]
use shuttle::thread::spawn as spawn_native;
#[cfg(not(any(loom, shuttle)))]
use std::thread::spawn as spawn_native;

/// Lets real threads drift apart by up to 60 us; a model's scheduler needs no such help.
pub fn dawdle() {
    #[cfg(not(any(loom, shuttle)))]
    {
        // A sequence that covers its range evenly: successive multiples of the golden ratio.
        static TURN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let turn = TURN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9);
        let (begin, us) = (std::time::Instant::now(), u64::from(turn >> 26));
        while begin.elapsed().as_micros() < us.into() {
            std::hint::spin_loop();
        }
    }
}

/// How much to explore, from the environment: `FLUMEWAY_PROOF_RUNS` schedules of a scenario (shuttle: of each kind; loom
/// explores all that its bound allows).
#[cfg(not(loom))]
fn runs() -> usize {
    let default = if cfg!(shuttle) { 1000 } else { 200 };
    let runs =
        std::env::var("FLUMEWAY_PROOF_RUNS").map_or(default, |v| v.parse().expect("FLUMEWAY_PROOF_RUNS is a number"));
    assert!(runs > 0, "FLUMEWAY_PROOF_RUNS=0 explores nothing");
    runs
}

/// Whether a bug is planted: then what counts is that the scenario fails, and how many executions there were does not.
pub fn seeded() -> bool {
    cfg!(feature = "seeded-bugs") && std::env::var("FLUMEWAY_SEEDED_BUG").is_ok_and(|name| !name.is_empty())
}

/// Explores `scenario` and returns the number of executions.
fn executions(scenario: impl Fn() + Send + Sync + 'static) -> usize {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let body = move || {
        seen.fetch_add(1, Ordering::Relaxed);
        scenario();
    };
    #[cfg(loom)]
    {
        let body = Arc::new(body);
        for yields in [false, true] {
            arena::sync::death::yielding::set(yields);
            let mut model = loom::model::Builder::new();
            model.preemption_bound = model.preemption_bound.or(Some(PREEMPTIONS));
            model.max_branches = 50_000;
            // In a thread of its own: the first thread's stack cannot be chosen.
            let body = Arc::clone(&body);
            model.check(move || {
                let body = Arc::clone(&body);
                spawn(move || body()).join().expect("a scenario holds");
            });
        }
        arena::sync::death::yielding::set(false);
    }
    #[cfg(shuttle)]
    {
        let body = Arc::new(body);
        let again = Arc::clone(&body);
        shuttle::check_random(move || body(), runs());
        // Priority-based schedules with three points of change: Burckhardt et al., ASPLOS 2010.
        let body = again;
        shuttle::check_pct(move || body(), runs(), 3);
    }
    #[cfg(not(any(loom, shuttle)))]
    for _ in 0..runs() {
        body();
    }
    let count = count.load(Ordering::Relaxed);
    #[cfg(not(loom))]
    assert_eq!(count, runs() * if cfg!(shuttle) { 2 } else { 1 }, "executions");
    count
}

/// Explores a scenario of threads; `least`: executions that loom must have made, at its default bound.
pub fn explore(least: usize, scenario: impl Fn() + Send + Sync + 'static) -> Explored {
    let executions = executions(scenario);
    assert!(!cfg!(loom) || seeded() || executions >= least, "loom made {executions} executions, {least} are required");
    Explored { executions, deaths: 0 }
}

/// Runs a scenario without concurrency, once.
pub fn once(scenario: impl Fn() + Send + Sync + 'static) -> Explored {
    let scenario = Arc::new(scenario);
    #[cfg(loom)]
    {
        let mut model = loom::model::Builder::new();
        model.max_branches = 50_000;
        model.check(move || {
            let scenario = Arc::clone(&scenario);
            spawn(move || scenario()).join().expect("a scenario holds");
        });
    }
    #[cfg(shuttle)]
    shuttle::check_random(move || scenario(), 1);
    #[cfg(not(any(loom, shuttle)))]
    scenario();
    Explored { executions: 1, deaths: 0 }
}

/// What an exploration did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Explored {
    /// Executions altogether.
    pub executions: usize,
    /// Places at which somebody died.
    pub deaths: usize,
}

impl std::ops::Add for Explored {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { executions: self.executions + other.executions, deaths: self.deaths + other.deaths }
    }
}

/// Whoever dies in a scenario, before the store with this number.
#[derive(Clone)]
pub struct Victim {
    at: u32,
    died: Arc<AtomicBool>,
}

impl Victim {
    /// Lives, or dies on the way (`None`).
    pub fn live<R>(&self, life: impl FnOnce() -> R) -> Option<R> {
        let ended = dies_at(Some(self.at), life).ok();
        if ended.is_none() {
            self.died.store(true, Ordering::Relaxed);
        }
        ended
    }
}

/// Explores `scenario` with a death before each store of its victim, one after the other, and once without a death.
/// `least`: executions that loom must have made, and deaths that there must be.
pub fn each_death(least: Explored, scenario: impl Fn(&Victim) + Send + Sync + 'static) -> Explored {
    let all = die_everywhere(least.deaths, scenario, executions);
    // How far a real thread gets before it is told to stop is the machine's to say, and some deaths may never come about.
    let deaths = if cfg!(any(loom, shuttle)) { least.deaths } else { 1 };
    assert!(seeded() || all.deaths >= deaths, "{} deaths, {deaths} are required", all.deaths);
    let enough = !cfg!(loom) || seeded() || all.executions >= least.executions;
    assert!(enough, "loom made {} executions, {} are required", all.executions, least.executions);
    all
}

/// As [`each_death`], for a scenario without concurrency: one execution for each death.
pub fn each_death_alone(least_deaths: usize, scenario: impl Fn(&Victim) + Send + Sync + 'static) -> Explored {
    let all = die_everywhere(least_deaths, scenario, |run| once(run).executions);
    assert!(seeded() || all.deaths >= least_deaths, "{} deaths, {least_deaths} are required", all.deaths);
    all
}

/// Up to the first place, from `least` on, at which nobody dies any more.
fn die_everywhere(
    least: usize,
    scenario: impl Fn(&Victim) + Send + Sync + 'static,
    explore: impl Fn(Box<dyn Fn() + Send + Sync>) -> usize,
) -> Explored {
    let scenario = Arc::new(scenario);
    let mut all = Explored::default();
    for at in 0.. {
        let victim = Victim { at, died: Arc::default() };
        let (run, who) = (Arc::clone(&scenario), victim.clone());
        all.executions += explore(Box::new(move || run(&who)));
        let died = victim.died.load(Ordering::Relaxed);
        all.deaths += usize::from(died);
        if !died && at as usize >= least {
            break;
        }
    }
    all
}
