//! A start with poll-mode drivers waits for their ports: what a library or a card refuses is then the start's error, and not
//! a stage's that is started over and over.

use crate::death::{EXIT_AGAIN, Ending};
use crate::error::StartError;
use crate::start::Supervisor;
use crate::watch::PORT_START_NS;
use arena::StageKind;
use arena::now_ns;
use arena::sync::Ordering;
use config::Driver;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::AsFd;

/// Between two looks at the stages' pages; an end shows at once.
const LOOK_NS: i64 = 2_000_000;
/// Processes that one stage may need until one gets its port.
const TRIES: u32 = 8;

impl Supervisor {
    /// Waits until rx-gateways and tx have started their ports, if they drive them themselves.
    ///
    /// # Errors
    /// [`StartError::Stage`] with a stage's own words if it ends before; nothing of its port stays behind.
    pub(crate) fn await_ports(&mut self) -> Result<(), StartError> {
        if self.pipeline.ingress.driver != Driver::Dpdk {
            return Ok(());
        }
        let until_ns = now_ns() + PORT_START_NS;
        let mut tries = TRIES;
        while let Some(n) = self.without_port() {
            if now_ns() >= until_ns || self.is_asked_to_stop() {
                // The loop goes on with it, as with any stage that is slow.
                return Ok(());
            }
            if let Err(error) = self.wait_for(n, &mut tries) {
                for left in self.clear_ports() {
                    tracing::error!("{left}");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// A stage whose port has not started.
    fn without_port(&self) -> Option<usize> {
        self.units.iter().position(|unit| {
            let page = self.holdings.arena.page(unit.id);
            let began = page.is_some_and(|page| page.first_work_ns.load(Ordering::Acquire) >= unit.activated_ns);
            matches!(unit.kind(), StageKind::RxGateway | StageKind::Tx) && !began
        })
    }

    fn is_asked_to_stop(&self) -> bool {
        let mut fds = vec![PollFd::from_borrowed_fd(self.stop_asked.as_fd(), PollFlags::IN)];
        fds.extend(self.signals.iter().map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN)));
        rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }

    /// Waits a moment for unit `n`; an error if it has ended.
    fn wait_for(&mut self, n: usize, tries: &mut u32) -> Result<(), StartError> {
        let unit = &mut self.units[n];
        let name = unit.name();
        let Some(process) = &mut unit.process else { return Ok(()) };
        let mut fds = [PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN)];
        let pause = Timespec { tv_sec: 0, tv_nsec: LOOK_NS };
        if !rustix::event::poll(&mut fds, Some(&pause)).is_ok_and(|ready| ready > 0) {
            return Ok(());
        }
        let Some(ending) = process.reap() else { return Ok(()) };
        if ending == Ending::Exited(EXIT_AGAIN) && *tries > 0 {
            *tries -= 1;
            return self.another_process(n);
        }
        let said = process.last_words().unwrap_or_else(|| match ending {
            Ending::Exited(code) => format!("it ended with exit code {code}; its log tells why"),
            Ending::Signaled(signal) => format!("it ended by {}", crate::death::signal_name(signal)),
            Ending::Unknown => "it ended, and nobody knows how".to_owned(),
        });
        Err(StartError::Stage { stage: name, said })
    }

    /// Another process for unit `n`, whose first one ended before it took anything over.
    fn another_process(&mut self, n: usize) -> Result<(), StartError> {
        let unit = &mut self.units[n];
        unit.process = None;
        let process = self.holdings.spawn(unit.id, unit.instance, unit.core).map_err(StartError::system("spawn"))?;
        tracing::info!(
            stage = self.units[n].name(),
            pid = process.pid,
            "started again: the first could not have its port"
        );
        self.activate(n, process);
        Ok(())
    }

    /// Ends all stages, and clears away what their ports left on interfaces.
    fn clear_ports(&mut self) -> Vec<String> {
        for unit in &mut self.units {
            // Dropping kills and waits.
            unit.process = None;
        }
        self.holdings.ingress.detach()
    }
}
