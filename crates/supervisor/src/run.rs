//! The poll loop.

use crate::error::RunError;
use crate::options::Exit;
use crate::report::{ledger_json, ok, status_json};
use crate::start::Supervisor;
use crate::stop::Mode;
use arena::now_ns;
use config::Cores;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::thread::CpuSet;
use serde_json::json;
use std::os::fd::AsFd;

/// Whose descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// A process has ended. First: nothing may keep a recovery waiting.
    Ended(u32),
    /// A process says something.
    Says(u32),
    /// SIGTERM or SIGINT.
    Signal,
    /// A [`crate::StopHandle`].
    StopAsked,
    /// A client of the control socket.
    Client(u64),
    /// A new one.
    Listener,
}

impl Supervisor {
    /// Supervises until the pipeline is stopped by a signal, a [`crate::StopHandle`] or the control socket.
    ///
    /// # Errors
    /// [`RunError`] if the loop itself cannot go on; the stages are killed.
    pub fn run(mut self) -> Result<Exit, RunError> {
        self.pin();
        while self.mode != Mode::Stopped {
            let ready = self.poll()?;
            let now_ns = now_ns();
            for (source, events) in ready {
                self.dispatch(source, events, now_ns);
            }
            self.tick(now_ns);
            self.advance_mode(now_ns);
            self.advance_orders(now_ns);
            while let Some((client, request)) = self.control.next_request() {
                self.on_request(client, &request, now_ns);
            }
            self.quarantine.write_all(&self.pipeline.supervisor.quarantine_dir);
        }
        Ok(self.finish())
    }

    /// Only where it was asked for, or has a core to itself: elsewhere the scheduler finds the idle core sooner.
    fn pin(&self) {
        let wanted = matches!(self.pipeline.general.cores, Cores::Pinned(_)) || !self.topology.shares_cores;
        let Some(core) = self.topology.supervisor_core.filter(|c| wanted && *c < CpuSet::MAX_CPU) else { return };
        let mut set = CpuSet::new();
        set.set(core);
        if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
            tracing::warn!(core, %error, "the supervisor cannot be pinned");
        }
    }

    /// Waits for a descriptor or the next timer; what is ready, the most urgent first.
    fn poll(&self) -> Result<Vec<(Source, PollFlags)>, RunError> {
        let mut sources = vec![Source::Listener, Source::StopAsked];
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.control.listener(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.stop_asked.as_fd(), PollFlags::IN),
        ];
        let mut add = |source, fd, events| {
            sources.push(source);
            fds.push(PollFd::from_borrowed_fd(fd, events));
        };
        if let Some(signals) = &self.signals {
            add(Source::Signal, signals.as_fd(), PollFlags::IN);
        }
        for process in self.units.iter().flat_map(crate::instance::Unit::processes) {
            add(Source::Ended(process.ticket), process.pidfd(), PollFlags::IN);
            if let Some(socket) = process.socket() {
                add(Source::Says(process.ticket), socket, PollFlags::IN);
            }
        }
        for (id, fd, events) in self.control.interests() {
            add(Source::Client(id), fd, events);
        }
        let now_ns = now_ns();
        let left = self.next_due_ns(now_ns).saturating_sub(now_ns);
        let timeout = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(RunError::Poll(error.into())),
        }
        let ready = sources.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        let mut ready: Vec<_> = ready.map(|(source, fd)| (*source, fd.revents())).collect();
        ready.sort_unstable_by_key(|(source, _)| *source);
        Ok(ready)
    }

    fn dispatch(&mut self, source: Source, events: PollFlags, now_ns: u64) {
        match source {
            Source::Ended(ticket) => self.on_exit(ticket, now_ns),
            Source::Says(ticket) => {
                let all = self.units.iter_mut().flat_map(crate::instance::Unit::processes_mut);
                if let Some(process) = { all }.find(|p| p.ticket == ticket) {
                    process.hear();
                }
            }
            Source::Signal => {
                let signals = self.signals.as_ref();
                // One read takes one pending signal; Ctrl-C twice is two.
                if signals.is_some_and(|fd| rustix::io::read(fd, &mut [0_u8; 128][..]).is_ok()) {
                    self.stop(now_ns);
                }
            }
            Source::StopAsked => {
                if rustix::io::read(&*self.stop_asked, &mut [0_u8; 8][..]).is_ok() {
                    self.stop(now_ns);
                }
            }
            Source::Client(id) => {
                if let Some(request) = self.control.on_ready(id, events) {
                    self.on_request(id, &request, now_ns);
                }
            }
            Source::Listener => self.control.accept(),
        }
    }

    /// No process is left: the final account.
    fn finish(&mut self) -> Exit {
        self.problems.extend(self.holdings.ingress.close());
        let ledger = ledger_json(&self.holdings.arena);
        if ledger["balanced"] != json!(true) {
            self.problems.push("the ledger does not balance".to_owned());
        }
        if ledger["in_flight"] != json!(0) {
            self.problems.push(format!("{} frames were left unfinished", ledger["in_flight"]));
        }
        if ledger["audit"]["sound"] != json!(true) {
            self.problems.push("the audit of buffers is not sound".to_owned());
        }
        let problems = std::mem::take(&mut self.problems);
        let exit = Exit {
            clean: problems.is_empty(),
            status: status_json(self),
            recoveries: ok(self.records.to_json()),
            ledger,
            problems,
        };
        // Whoever is told that the pipeline has stopped finds its interfaces free.
        for left in self.holdings.ingress.detach() {
            tracing::error!("{left}");
        }
        let answer = json!({ "clean": exit.clean, "problems": exit.problems, "ledger": exit.ledger });
        self.answer_stopped(&ok(answer));
        tracing::info!(clean = exit.clean, "stopped");
        exit
    }
}
