//! The run loop.

use crate::wait::{Waiter, Woken, hung_up};
use crate::{Context, Stop};
use arena::launch::{Attached, Launch, VARIABLE, read_config};
use arena::layout::{LAYOUT_HASH, LAYOUT_VERSION};
use arena::page::{Command, Event, StagePage};
use arena::sync::Ordering;
use arena::{Me, StageKind, now_ns};
use config::Pipeline;
use rustix::thread::{CapabilitySet, CapabilitySets};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::process::ExitCode;

/// After its supervisor is gone a stage goes on for as long as there is work, and this much longer.
const ORPHAN_GRACE_NS: u64 = 500_000_000;
/// How long a control word that cannot be is waited for to be put right.
const MISLED_NS: u64 = 1_000_000_000;
/// Between two looks at what a draining stage waits for (an engine, a transmit queue).
const DRAIN_PAUSE: std::time::Duration = std::time::Duration::from_micros(50);

/// What makes a stage this stage. The run loop calls; nothing here loops on its own or waits.
pub trait Stage {
    /// Becomes the active incarnation: opens its ring ends, takes over what a dead predecessor held. Until this call the
    /// stage has written nothing to the arena.
    fn activate(&mut self, cx: &mut Context) -> Result<(), Stop>;

    /// Does some work and returns how much; 0 = nothing to do.
    fn poll(&mut self, cx: &mut Context) -> Result<usize, Stop>;

    /// Whether a poll would find something to do; asked right before sleeping.
    fn has_input(&self, cx: &Context) -> bool;

    /// When the stage wants to be polled although nothing arrived, CLOCK_MONOTONIC ns.
    fn timer_ns(&self, _cx: &Context) -> Option<u64> {
        None
    }

    /// A descriptor whose readability is input, besides the doorbell.
    fn wake_fd<'a>(&'a self, _cx: &'a Context) -> Option<BorrowedFd<'a>> {
        None
    }

    /// Finishes what is in hand and takes no more; true when everything is committed.
    fn drain(&mut self, cx: &mut Context) -> Result<bool, Stop>;

    /// Whether the stage has something to open yet that takes the rights that the supervisor left it.
    fn needs_rights(&self) -> bool {
        false
    }

    /// Takes over what may change while running.
    fn reload(&mut self, pipeline: &Pipeline);

    /// What the stage believes it holds: (buffers, slots).
    fn holds(&self) -> (u64, u64);
}

/// The whole life of a stage process. `prepare` loads models and allocates; it does not see the arena's contents.
pub fn run<S: Stage>(kind: StageKind, prepare: impl FnOnce(&Pipeline, &Attached) -> Result<S, Stop>) -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("--layout") => {
            println!("{{\"layout_version\":{LAYOUT_VERSION},\"layout_hash\":\"{LAYOUT_HASH:016x}\"}}");
            return ExitCode::SUCCESS;
        }
        Some("--version") => {
            println!("flumeway-{} {} (layout {LAYOUT_VERSION})", kind.name(), env!("CARGO_PKG_VERSION"));
            return ExitCode::SUCCESS;
        }
        Some(_) => {
            eprintln!(
                "flumeway-{}: a stage of a Flumeway pipeline, started by `flumeway run`; see `flumeway --help`",
                kind.name()
            );
            return ExitCode::from(2);
        }
        None => {}
    }
    let filter = tracing_subscriber::EnvFilter::try_from_env("FLUMEWAY_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match live(kind, prepare) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stop) => {
            eprintln!("flumeway-{}: {stop}", kind.name());
            ExitCode::from(stop.exit_code())
        }
    }
}

fn live<S: Stage>(kind: StageKind, prepare: impl FnOnce(&Pipeline, &Attached) -> Result<S, Stop>) -> Result<(), Stop> {
    let launch = Launch::from_env()?;
    let mut attached = launch.attach()?;
    pin(launch.core);
    let generation = attached.arena.supervisor().config_generation.load(Ordering::Acquire);
    let pipeline = document(&attached.config, generation)?;
    let other =
        || arena::launch::LaunchError::Malformed(format!("{VARIABLE}: owner {} is no {}", launch.owner.0, kind.name()));
    let instance = attached.arena.geometry().instance(launch.owner).filter(|i| i.kind == kind).ok_or_else(other)?;
    let page = attached.arena.page(launch.owner).ok_or_else(other)?;
    let mut stage = match prepare(&pipeline, &attached) {
        Ok(stage) => stage,
        Err(stop) => {
            tell(&attached.supervisor, &stop.to_string());
            return Err(stop);
        }
    };
    tell(&attached.supervisor, "ready\n");

    let Some(incarnation) = wait_for_activation(&launch, &attached) else { return Ok(()) };
    let port = std::mem::take(&mut attached.port);
    let mut cx = Context {
        table: attached.arena.table(),
        arena: attached.arena,
        me: Me { id: launch.owner, incarnation },
        instance,
        page,
        doorbells: attached.doorbells,
        rings: pipeline.rings.clone(),
        port,
        now_ns: now_ns(),
        ingress_paused: false,
    };
    page.pid.store(std::process::id(), Ordering::Relaxed);
    page.ticket.store(launch.ticket, Ordering::Relaxed);
    page.config_generation.store(generation, Ordering::Relaxed);
    page.heartbeat_ns.store(cx.now_ns, Ordering::Relaxed);
    page.incarnation.store(incarnation, Ordering::Release);
    page.note(cx.now_ns, Event::Active, incarnation);
    #[cfg(feature = "killpoints")]
    if let Some(word) = cx.arena.control_word(launch.owner) {
        arena::killpoint::arm_from(&word.kill_point_armed, &page.kill_point_hit);
    }
    let waiter = Waiter::new(pipeline.general.wait, pipeline.general.spin_us.unwrap_or(0));
    let mut life = Life {
        launch,
        config: attached.config,
        supervisor: attached.supervisor,
        waiter,
        orphaned_ns: None,
        misled_ns: None,
        has_rights: true,
    };
    let ended = stage.activate(&mut cx).and_then(|()| {
        life.give_up_rights(&stage);
        // Before the first turn, which may be long: the supervisor compares it with the words.
        say_what_it_holds(&stage, page);
        page.first_work_ns.store(now_ns(), Ordering::Release);
        life.turns(&mut stage, &mut cx)
    });
    if let Err(Stop::Poison(poison)) = &ended {
        page.set_poison(*poison);
        page.note(now_ns(), Event::Poisoned, poison.ring.0.into());
    }
    if let Err(stop) = &ended {
        tell(&life.supervisor, &stop.to_string());
    }
    // Handles still in hand end with the process; the sweep reads the words.
    std::mem::forget(stage);
    ended
}

/// What the run loop needs besides the stage and its context.
struct Life {
    launch: Launch,
    config: OwnedFd,
    supervisor: OwnedFd,
    waiter: Waiter,
    orphaned_ns: Option<u64>,
    /// Since when the control word has said what cannot be.
    misled_ns: Option<u64>,
    /// The stage's device may not be started yet.
    has_rights: bool,
}

impl Life {
    fn turns(&mut self, stage: &mut dyn Stage, cx: &mut Context) -> Result<(), Stop> {
        let other = arena::launch::LaunchError::Malformed("no control word for this owner".to_owned());
        let Some(control) = cx.arena.control_word(cx.me.id) else { return Err(other.into()) };
        let active = Command::Active { incarnation: cx.me.incarnation, ticket: self.launch.ticket };
        loop {
            cx.now_ns = now_ns();
            cx.page.heartbeat_ns.store(cx.now_ns, Ordering::Relaxed);
            let supervisor = cx.arena.supervisor();
            cx.ingress_paused = supervisor.ingress_paused.load(Ordering::Relaxed) != 0 || self.orphaned_ns.is_some();
            let command = control.command();
            if command != active {
                if self.ordered_away(stage, cx, command)? {
                    return Ok(());
                }
                // No poll: it would take new input, and an engine that always has some in flight would never have drained.
                std::thread::sleep(DRAIN_PAUSE);
                continue;
            }
            self.misled_ns = None;
            if supervisor.config_generation.load(Ordering::Relaxed) != cx.page.config_generation.load(Ordering::Relaxed)
            {
                self.reload(stage, cx);
            }
            let done = stage.poll(cx)?;
            if self.has_rights {
                self.give_up_rights(stage);
            }
            say_what_it_holds(stage, cx.page);
            if done > 0 {
                self.waiter.busy();
                if self.waiter.orphaned(cx.now_ns, &self.supervisor) {
                    self.orphaned_ns = Some(cx.now_ns);
                }
                continue;
            }
            if self.orphaned_ns.is_some_and(|t| cx.now_ns.wrapping_sub(t) > ORPHAN_GRACE_NS) && stage.drain(cx)? {
                tracing::warn!("the supervisor is gone and there is nothing left to do");
                return Ok(());
            }
            let woken = self.waiter.idle(cx, stage, &self.supervisor, || control.command() != active);
            if woken == Woken::Orphaned || self.waiter.orphaned(cx.now_ns, &self.supervisor) {
                self.orphaned_ns.get_or_insert(cx.now_ns);
                // Its closed socket is always "readable": without this pause the loop would spin.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
    }

    /// Gives rights up as soon as the stage needs them no more.
    fn give_up_rights(&mut self, stage: &dyn Stage) {
        if !stage.needs_rights() {
            self.has_rights = false;
            give_up_rights();
        }
    }

    /// The control word does not say "active" for us: drain and park, or go. True when it is over.
    fn ordered_away(&mut self, stage: &mut dyn Stage, cx: &mut Context, command: Command) -> Result<bool, Stop> {
        let mine = Command::Drain { incarnation: cx.me.incarnation, ticket: self.launch.ticket };
        if command != mine {
            // Only after our death or our PARKED may anybody else become active; so this cannot be, unless the word is
            // corrupt. Touch nothing until its writer has seen that and written it again.
            let since = *self.misled_ns.get_or_insert(cx.now_ns);
            if cx.now_ns.wrapping_sub(since) > MISLED_NS {
                return Err(Stop::Environment(format!(
                    "the control word orders {command:?}, which is nobody's order here"
                )));
            }
            return Ok(false);
        }
        if !stage.drain(cx)? {
            return Ok(false);
        }
        cx.page.note(cx.now_ns, Event::Parked, cx.me.incarnation);
        cx.page.clear_current();
        cx.page.parked.store(cx.me.incarnation, Ordering::Release);
        Ok(true)
    }

    fn reload(&mut self, stage: &mut dyn Stage, cx: &mut Context) {
        let generation = cx.arena.supervisor().config_generation.load(Ordering::Acquire);
        match document(&self.config, generation) {
            Ok(pipeline) => stage.reload(&pipeline),
            Err(error) => tracing::error!("the new configuration is not taken over: {error}"),
        }
        cx.page.config_generation.store(generation, Ordering::Release);
    }
}

/// What the stage believes it holds, for the supervisor's surveys.
fn say_what_it_holds(stage: &dyn Stage, page: &StagePage) {
    let (buffers, slots) = stage.holds();
    page.held_buffers.store(buffers, Ordering::Relaxed);
    page.held_slots.store(slots, Ordering::Relaxed);
}

fn document(fd: &OwnedFd, generation: u64) -> Result<Pipeline, Stop> {
    let text = read_config(fd, generation).map_err(|e| Stop::Environment(format!("configuration document: {e}")))?;
    Pipeline::from_json(text.as_bytes()).map_err(|e| Stop::Configuration(format!("configuration document: {e}")))
}

/// A word to the supervisor: that preparing is done, or why it failed. If it cannot be said, nothing is lost but time.
fn tell(supervisor: &OwnedFd, text: &str) {
    let _ = rustix::io::write(supervisor, text.as_bytes());
}

/// Gives up what capabilities the supervisor left this stage for its device, which is started now. Threads that the
/// device's library has started keep theirs.
fn give_up_rights() {
    let none = CapabilitySet::empty();
    let has = |sets: CapabilitySets| sets.permitted | sets.inheritable;
    if rustix::thread::capabilities(None).is_ok_and(|sets| has(sets).is_empty()) {
        return;
    }
    let sets = CapabilitySets { effective: none, permitted: none, inheritable: none };
    // What is ambient goes with what is permitted.
    if let Err(error) = rustix::thread::set_capabilities(None, sets) {
        tracing::warn!("capabilities are not given up: {error}");
    }
}

/// Pins the process; a core that is not there is reported, not fatal.
fn pin(core: Option<usize>) {
    let Some(core) = core else { return };
    let mut set = rustix::thread::CpuSet::new();
    if core >= rustix::thread::CpuSet::MAX_CPU {
        return;
    }
    set.set(core);
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!("cannot pin to core {core}: {error}");
    }
}

/// Waits until the control word names this process; `None` if the supervisor goes away first.
fn wait_for_activation(launch: &Launch, attached: &Attached) -> Option<u32> {
    use std::os::fd::AsFd;
    let control = attached.arena.control_word(launch.owner)?;
    loop {
        match control.command() {
            Command::Active { incarnation, ticket } if ticket == launch.ticket => return Some(incarnation),
            Command::Drain { ticket, .. } if ticket == launch.ticket => return None,
            _ => {}
        }
        // A doorbell would be rung for the active incarnation, so a process that waits looks for itself.
        if hung_up(attached.supervisor.as_fd(), 1) {
            return None;
        }
    }
}
