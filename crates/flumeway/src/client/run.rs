//! The loop that sends and receives.

use std::io::Error;
use std::net::SocketAddr;
use std::num::NonZeroU64;

use rustix::rand::{GetRandomFlags, getrandom};

use super::observer::Observer;
use super::outstanding::Outstanding;
use super::plan::{PlanError, SendPlan};
use super::receive::Receiver;
use super::report::{Datagrams, KernelDropped, SendReport};
use super::socket::ClientSocket;
use super::transmit::{Step, Transmitter};

/// Steps of one half before the other has its turn.
const SEND_BURST: usize = 8;
const RECEIVE_BURST: usize = 32;
/// The first frame is due this long after everything is prepared.
const LEAD_NS: u64 = 2_000_000;
/// The observer is asked at least this often.
const LOOK_UP_NS: u64 = 50_000_000;
/// Second replies come within this time of the first; waited for after the last answer so that they are counted.
const LINGER_NS: u64 = 20_000_000;
/// Nothing but refusals for this long means that nobody listens.
const REFUSED_NS: u64 = 1_000_000_000;
/// Room for any UDP datagram.
const DATAGRAM_ROOM: usize = 65_536;

/// Why frames could not be sent.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The plan is wrong.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The socket cannot be used.
    #[error("frames cannot be sent to {to}: {error}; check the address, the route and the firewall")]
    Socket {
        /// Destination.
        to: SocketAddr,
        /// What the system says.
        error: Error,
    },
    /// Nobody listens.
    #[error("nobody listens at {to}; start a pipeline with `flumeway run`, or name its address with --to")]
    NobodyListens {
        /// Destination.
        to: SocketAddr,
    },
}

/// Sends what `plan` says, waits for the answers, and accounts for every frame.
pub fn run(plan: &SendPlan, observer: &mut dyn Observer) -> Result<SendReport, RunError> {
    plan.validate()?;
    let failed = |error| RunError::Socket { to: plan.to, error };
    let mut session = [0; 8];
    getrandom(&mut session, GetRandomFlags::empty()).map_err(|error| failed(error.into()))?;
    let socket = ClientSocket::open(plan.to).map_err(failed)?;
    // Timers of ordinary threads may fire 50 us late so that wake-ups can be merged; here that is the sender's jitter.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
    let mut run = Run::new(plan, u64::from_le_bytes(session), socket);
    run.execute(observer).map_err(failed)?;
    if run.nobody_listens() {
        return Err(RunError::NobodyListens { to: plan.to });
    }
    Ok(run.report())
}

#[derive(Debug)]
struct Run<'p> {
    plan: &'p SendPlan,
    session: u64,
    socket: ClientSocket,
    outstanding: Outstanding,
    transmitter: Transmitter<'p>,
    receiver: Receiver<'p>,
    buffer: Box<[u8]>,
    timeout_ns: u64,
    start_ns: u64,
    last_sent_ns: u64,
    looked_up_ns: u64,
}

impl<'p> Run<'p> {
    fn new(plan: &'p SendPlan, session: u64, socket: ClientSocket) -> Self {
        let receiver = Receiver::new(plan, session);
        // Everything is allocated before the first frame is due.
        let start_ns = arena::now_ns() + LEAD_NS;
        Self {
            plan,
            session,
            socket,
            outstanding: Outstanding::default(),
            transmitter: Transmitter::new(plan, session, start_ns),
            receiver,
            buffer: vec![0; DATAGRAM_ROOM].into(),
            timeout_ns: u64::try_from(plan.timeout.as_nanos()).unwrap_or(u64::MAX),
            start_ns,
            last_sent_ns: start_ns,
            looked_up_ns: start_ns,
        }
    }

    fn execute(&mut self, observer: &mut dyn Observer) -> Result<(), Error> {
        let mut settled_ns = None;
        loop {
            let step = self.send_burst(observer)?;
            let received = self.receive_burst(observer)?;
            let now_ns = arena::now_ns();
            self.outstanding.expire(now_ns, self.timeout_ns, self.transmitter.is_within_frame());
            if self.nobody_listens() && now_ns > self.start_ns + REFUSED_NS {
                return Ok(());
            }
            let is_settled = step == Step::Finished && self.outstanding.waiting() == 0;
            let linger_end_ns = is_settled.then(|| *settled_ns.get_or_insert(now_ns) + LINGER_NS);
            if linger_end_ns.is_some_and(|end_ns| now_ns >= end_ns) {
                return Ok(());
            }
            if now_ns >= self.looked_up_ns + LOOK_UP_NS {
                self.looked_up_ns = now_ns;
                if observer.wants_stop() {
                    self.transmitter.stop();
                }
            }
            if !received {
                self.sleep(step, now_ns, linger_end_ns)?;
            }
        }
    }

    fn send_burst(&mut self, observer: &mut dyn Observer) -> Result<Step, Error> {
        let mut step = Step::Progress;
        for _ in 0..SEND_BURST {
            let now_ns = arena::now_ns();
            step = self.transmitter.step(now_ns, &mut self.outstanding, &mut self.socket)?;
            match step {
                Step::Progress => {}
                Step::FrameSent => {
                    self.last_sent_ns = now_ns;
                    observer.on_sent(self.transmitter.sent);
                }
                Step::Idle { .. } | Step::WindowFull | Step::NoRoom | Step::Finished => break,
            }
        }
        Ok(step)
    }

    /// Whether anything was received.
    fn receive_burst(&mut self, observer: &mut dyn Observer) -> Result<bool, Error> {
        for received in 0..RECEIVE_BURST {
            let Some(datagram) = self.socket.receive(&mut self.buffer)? else { return Ok(received > 0) };
            self.receiver.take(datagram, arena::now_ns(), &mut self.outstanding, observer);
        }
        Ok(true)
    }

    /// Sleeps until something can happen.
    fn sleep(&self, step: Step, now_ns: u64, linger_end_ns: Option<u64>) -> Result<(), Error> {
        let until_ns = match step {
            Step::Progress | Step::FrameSent => return Ok(()),
            Step::Idle { until_ns } => until_ns,
            Step::WindowFull | Step::NoRoom | Step::Finished => u64::MAX,
        };
        let expiry_ns = self.outstanding.next_expiry_ns(self.timeout_ns).unwrap_or(u64::MAX);
        let until_ns = until_ns
            .min(self.looked_up_ns + LOOK_UP_NS)
            .min(expiry_ns.max(now_ns + 1))
            .min(linger_end_ns.unwrap_or(u64::MAX));
        self.socket.wait(until_ns.saturating_sub(now_ns), step == Step::NoRoom)
    }

    fn nobody_listens(&self) -> bool {
        self.socket.refused > 0 && self.receiver.tally.datagrams == 0
    }

    fn report(self) -> SendReport {
        let Self { plan, session, socket, outstanding, transmitter, receiver, .. } = self;
        let sending_ns = self.last_sent_ns.saturating_sub(self.start_ns);
        let tally = &receiver.tally;
        SendReport {
            schema: 1,
            to: plan.to,
            session,
            planned: plan.count,
            sent: transmitter.sent,
            unsent: transmitter.unsent,
            answered: tally.answered,
            ok: tally.ok,
            dropped: tally.dropped.clone(),
            bad_request: tally.bad_request.clone(),
            quarantined: tally.quarantined,
            unavailable: tally.unavailable,
            unanswered: outstanding.unanswered,
            late: tally.late,
            duplicates: tally.duplicates,
            correct: receiver.correct(),
            retried: tally.retried,
            bad_replies: tally.bad_replies,
            bad_reply_cause: tally.bad_reply_cause.clone(),
            refused: socket.refused,
            kernel_dropped: KernelDropped { requests: socket.requests_dropped(), replies: socket.replies_dropped() },
            simulated: transmitter.simulated(),
            datagrams: Datagrams { received: tally.datagrams, ..transmitter.datagrams },
            latency_us: receiver.latency.percentiles(),
            response_us: receiver.response.percentiles(),
            lateness_us: transmitter.lateness.percentiles(),
            stages: receiver.stage_report(),
            sending_ms: (sending_ns as f64 / 1e4).round() / 100.0,
            rate_fps: rate_fps(transmitter.sent, sending_ns),
        }
    }
}

/// The first frame is due at the beginning, so `n` frames span `n - 1` intervals.
fn rate_fps(sent: u64, sending_ns: u64) -> f64 {
    if sent < 2 || sending_ns == 0 { 0.0 } else { ((sent - 1) as f64 * 1e11 / sending_ns as f64).round() / 100.0 }
}
