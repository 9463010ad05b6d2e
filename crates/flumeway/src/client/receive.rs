//! The receiving half: checks every reply and accounts for it.

use std::collections::BTreeMap;

use wire::{CompleteReply, ReplyAssembler, ReplyHeader, ResultView, StageTimes, Status};

use super::frame::Frame;
use super::observer::{Answer, Observer};
use super::outstanding::{Arrival, Outstanding};
use super::plan::SendPlan;
use super::report::StageReport;
use super::statistics::Distribution;

/// Results in parts that are waited for at the same time.
const PENDING_MAX: usize = 1_024;

/// What has come so far.
#[derive(Debug)]
pub(crate) struct Receiver<'p> {
    plan: &'p SendPlan,
    session: u64,
    assembler: ReplyAssembler,
    expects_classes: bool,
    pub(crate) tally: Tally,
    pub(crate) latency: Distribution,
    pub(crate) response: Distribution,
    stages: Stages,
}

/// Counts of frames and datagrams.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) datagrams: u64,
    pub(crate) answered: u64,
    pub(crate) ok: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    pub(crate) bad_request: BTreeMap<&'static str, u64>,
    pub(crate) quarantined: u64,
    pub(crate) unavailable: u64,
    pub(crate) correct: u64,
    pub(crate) retried: u64,
    pub(crate) late: u64,
    pub(crate) duplicates: u64,
    pub(crate) bad_replies: u64,
    pub(crate) bad_reply_cause: Option<String>,
}

#[derive(Debug, Default)]
struct Stages {
    assemble: Distribution,
    preprocess_wait: Distribution,
    preprocess: Distribution,
    infer_wait: Distribution,
    infer: Distribution,
    tx_wait: Distribution,
    tx: Distribution,
    total: Distribution,
}

impl<'p> Receiver<'p> {
    pub(crate) fn new(plan: &'p SendPlan, session: u64) -> Self {
        Self {
            plan,
            session,
            assembler: ReplyAssembler::new(PENDING_MAX, wire::MAX_TOTAL_LEN),
            expects_classes: plan.frames.iter().any(|frame| frame.expected_class.is_some()),
            tally: Tally::default(),
            latency: Distribution::new(),
            response: Distribution::new(),
            stages: Stages::default(),
        }
    }

    /// Takes one datagram in that was received at `now_ns`.
    pub(crate) fn take(
        &mut self,
        datagram: &[u8],
        now_ns: u64,
        outstanding: &mut Outstanding,
        observer: &mut dyn Observer,
    ) {
        self.tally.datagrams += 1;
        if let Err(cause) = self.try_take(datagram, now_ns, outstanding, observer) {
            self.tally.bad_replies += 1;
            self.tally.bad_reply_cause = Some(cause);
        }
    }

    /// How many frames had a right answer, if any was expected.
    pub(crate) fn correct(&self) -> Option<u64> {
        self.expects_classes.then_some(self.tally.correct)
    }

    pub(crate) fn stage_report(&self) -> StageReport {
        StageReport {
            assemble: self.stages.assemble.percentiles(),
            preprocess_wait: self.stages.preprocess_wait.percentiles(),
            preprocess: self.stages.preprocess.percentiles(),
            infer_wait: self.stages.infer_wait.percentiles(),
            infer: self.stages.infer.percentiles(),
            tx_wait: self.stages.tx_wait.percentiles(),
            tx: self.stages.tx.percentiles(),
            total: self.stages.total.percentiles(),
        }
    }

    fn try_take(
        &mut self,
        datagram: &[u8],
        now_ns: u64,
        outstanding: &mut Outstanding,
        observer: &mut dyn Observer,
    ) -> Result<(), String> {
        let reply = ReplyHeader::parse(datagram).map_err(|error| error.to_string())?;
        reply.authenticate(self.plan.mac_key.as_ref()).map_err(|error| error.to_string())?;
        let key = reply.header.key;
        if key.session != self.session {
            return Err(format!("it is for session {:016x}, not for {:016x}", key.session, self.session));
        }
        if key.frame_id >= outstanding.begun() || key.stream_id != self.plan.stream_id(key.frame_id) {
            return Err(format!("frame {} of stream {} was never sent", key.frame_id, key.stream_id));
        }
        if outstanding.is_answered(key.frame_id) {
            // Of a result in parts each part comes twice; one of them stands for all.
            self.tally.duplicates += u64::from(reply.header.fragment.index == 0);
            return Ok(());
        }
        let whole: CompleteReply;
        let (header, result) = if reply.header.fragment.is_whole() {
            (&reply.header, reply.result().map_err(|error| error.to_string())?)
        } else {
            match self.assembler.push(&reply).map_err(|error| error.to_string())? {
                None => return Ok(()),
                Some(complete) => whole = complete,
            }
            (&whole.header, whole.result().map_err(|error| error.to_string())?)
        };
        self.settle(header, result, now_ns, outstanding, observer);
        Ok(())
    }

    /// Accounts for a complete reply.
    fn settle(
        &mut self,
        header: &ReplyHeader,
        result: ResultView<'_>,
        now_ns: u64,
        outstanding: &mut Outstanding,
        observer: &mut dyn Observer,
    ) {
        let id = header.key.frame_id;
        let (first_due_ns, last_due_ns) = match outstanding.arrive(id) {
            Arrival::First { first_due_ns, last_due_ns } => (first_due_ns, last_due_ns),
            Arrival::Duplicate => return self.tally.duplicates += 1,
            Arrival::Late | Arrival::Unknown => return self.tally.late += 1,
        };
        let frame = self.plan.frame(id);
        let latency_ns = now_ns.saturating_sub(first_due_ns);
        let is_right = is_right(frame, header.status, &result);
        self.count(header, is_right);
        if header.status == Status::Ok {
            self.latency.record(latency_ns);
            self.response.record(now_ns.saturating_sub(last_due_ns));
            self.stages.record(&header.times);
        }
        observer.on_answer(&Answer { frame, header, result, latency_ns, is_right });
    }

    fn count(&mut self, header: &ReplyHeader, is_right: Option<bool>) {
        let tally = &mut self.tally;
        tally.answered += 1;
        tally.retried += u64::from(header.attempts > 1);
        tally.correct += u64::from(is_right == Some(true));
        match header.status {
            Status::Ok => tally.ok += 1,
            Status::Dropped(reason) => *tally.dropped.entry(reason.name()).or_default() += 1,
            Status::BadRequest(reason) => *tally.bad_request.entry(reason.name()).or_default() += 1,
            Status::Quarantined => tally.quarantined += 1,
            Status::Unavailable => tally.unavailable += 1,
        }
    }
}

impl Stages {
    fn record(&mut self, times: &StageTimes) {
        self.assemble.record(times.assemble_ns.into());
        self.preprocess_wait.record(times.preprocess_wait_ns.into());
        self.preprocess.record(times.preprocess_work_ns.into());
        self.infer_wait.record(times.infer_wait_ns.into());
        self.infer.record(times.infer_work_ns.into());
        self.tx_wait.record(times.tx_wait_ns.into());
        self.tx.record(times.tx_work_ns.into());
        self.total.record(times.total_ns);
    }
}

/// Whether the best class, or the class of the best detection, is the one expected. Only answers with results can be right
/// or wrong; an ok without any entry is wrong.
fn is_right(frame: &Frame, status: Status, result: &ResultView<'_>) -> Option<bool> {
    let expected = frame.expected_class?;
    if status != Status::Ok {
        return None;
    }
    let best = match result {
        ResultView::Classes(classes) => classes.clone().next().map(|entry| entry.class),
        ResultView::Detections(detections) => {
            detections.clone().max_by(|a, b| a.score.total_cmp(&b.score)).map(|detection| detection.class)
        }
        ResultView::None | ResultView::Tensor(_) => None,
    };
    Some(best == Some(expected))
}
