//! What became of every frame.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use super::impair::Simulated;
use super::statistics::Percentiles;

/// Frames that were not sent although they were due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Unsent {
    /// The window of unanswered frames was full.
    pub window: u64,
    /// The kernel had no room for a datagram in time; a part of the frame may have been sent.
    pub no_room: u64,
    /// The sender itself was more than a second late.
    pub late: u64,
}

impl Unsent {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.window + self.no_room + self.late
    }
}

/// What the kernel took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Datagrams {
    /// Datagrams handed over, copies included.
    pub sent: u64,
    /// UDP payload bytes of them.
    pub sent_bytes: u64,
    /// Datagrams received.
    pub received: u64,
}

impl Datagrams {
    pub(crate) fn count(&mut self, len: usize) {
        self.sent += 1;
        self.sent_bytes += len as u64;
    }
}

/// Datagrams that the kernel dropped because a receive buffer was full; `None` where that cannot be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct KernelDropped {
    /// On their way to the pipeline, if it runs on this machine.
    pub requests: Option<u64>,
    /// On their way to this sender.
    pub replies: Option<u64>,
}

/// Where the frames that were answered `ok` spent their time, by the pipeline's own clock.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct StageReport {
    /// From the first packet until the frame was complete.
    pub assemble: Percentiles,
    /// Waiting for preprocess.
    pub preprocess_wait: Percentiles,
    /// In preprocess.
    pub preprocess: Percentiles,
    /// Waiting for infer.
    pub infer_wait: Percentiles,
    /// In the engine.
    pub infer: Percentiles,
    /// Waiting for tx.
    pub tx_wait: Percentiles,
    /// In tx.
    pub tx: Percentiles,
    /// From the first packet until the reply was written.
    pub total: Percentiles,
}

impl StageReport {
    /// All parts with their names, in the order in which a frame passes them.
    pub fn parts(&self) -> [(&'static str, Percentiles); 8] {
        [
            ("assemble", self.assemble),
            ("preprocess wait", self.preprocess_wait),
            ("preprocess", self.preprocess),
            ("infer wait", self.infer_wait),
            ("infer", self.infer),
            ("tx wait", self.tx_wait),
            ("tx", self.tx),
            ("total", self.total),
        ]
    }
}

/// The account of a [`super::SendPlan`]. Frames: `planned = sent + unsent` unless sending was stopped, and
/// `sent = answered + unanswered`, `answered = ok + dropped + bad_request + quarantined + unavailable`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SendReport {
    /// Version of this report's form.
    pub schema: u32,
    /// Where the frames went.
    pub to: SocketAddr,
    /// Random number of this sender, in every frame's key.
    pub session: u64,
    /// Frames that the plan asks for.
    pub planned: u64,
    /// Frames handed to the kernel completely, simulated losses counted as handed over.
    pub sent: u64,
    /// Frames that were due and not sent, by cause.
    pub unsent: Unsent,
    /// Frames with a reply in time, whatever it says.
    pub answered: u64,
    /// Frames answered with a result.
    pub ok: u64,
    /// Frames that the pipeline gave up, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Frames that the pipeline refused, by reason.
    pub bad_request: BTreeMap<&'static str, u64>,
    /// Frames that made stages crash.
    pub quarantined: u64,
    /// Frames that the pipeline could not serve.
    pub unavailable: u64,
    /// Frames without reply when the timeout ended.
    pub unanswered: u64,
    /// Of those, and of frames that were sent only in part: answered after all, too late.
    pub late: u64,
    /// Replies to frames that had been answered before.
    pub duplicates: u64,
    /// Frames answered ok whose best class is the expected one; `None` if none was expected.
    pub correct: Option<u64>,
    /// Frames that took the pipeline more than one attempt.
    pub retried: u64,
    /// Datagrams received that are no valid reply to this sender.
    pub bad_replies: u64,
    /// What the last of them lacked.
    pub bad_reply_cause: Option<String>,
    /// Times the other host said that nobody listens.
    pub refused: u64,
    /// Datagrams lost to full receive buffers.
    pub kernel_dropped: KernelDropped,
    /// Faults simulated on purpose, in datagrams.
    pub simulated: Simulated,
    /// Datagrams in both directions.
    pub datagrams: Datagrams,
    /// Frames answered ok: from the time at which the first datagram was due until the reply was complete.
    pub latency_us: Percentiles,
    /// The same from the time at which the last datagram was due.
    pub response_us: Percentiles,
    /// How late the sender began frames; large values say that the sender was the bottleneck.
    pub lateness_us: Percentiles,
    /// Where the time went.
    pub stages: StageReport,
    /// From the first frame's due time until the last frame was handed over.
    pub sending_ms: f64,
    /// Frames sent per second of that time.
    pub rate_fps: f64,
}

impl SendReport {
    /// Whether every planned frame was sent and answered with a result, none of them wrong.
    pub fn is_complete(&self) -> bool {
        self.sent == self.planned && self.ok == self.sent && self.wrong() == 0 && self.bad_replies == 0
    }

    /// Frames answered ok with another class than the expected one.
    pub fn wrong(&self) -> u64 {
        self.correct.map_or(0, |correct| self.ok - correct)
    }

    /// Like [`Self::is_complete`], but frames may be dropped or unanswered: whether nothing is *wrong*.
    pub fn is_sound(&self) -> bool {
        self.wrong() == 0 && self.bad_replies == 0 && self.bad_request.is_empty()
    }
}
