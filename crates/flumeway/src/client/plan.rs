//! What to send, where, and how fast.

use std::net::SocketAddr;
use std::time::Duration;

use wire::{MacKey, header_len};

use super::frame::Frame;
use super::impair::Impairments;

/// UDP payload that fits an Ethernet MTU of 1 500 bytes under IPv4 and under IPv6: 128 bytes of header and 1 280 of frame.
pub const DEFAULT_DATAGRAM_BYTES: usize = 1_408;
/// Largest payload of a UDP datagram over IPv4.
const UDP_PAYLOAD_MAX: usize = 65_507;
/// Frames that may be unanswered at rate 0 unless the plan says otherwise, and the bytes they may have together: a quarter of the
/// receive buffer that pipelines ask for, since the kernel counts its own overhead too.
const WINDOW_FRAMES: u64 = 64;
const WINDOW_BYTES: usize = 1 << 20;
/// Frames are told apart by one bit each.
const COUNT_MAX: u64 = 1_000_000_000;

/// Everything that [`super::run`] needs.
#[derive(Debug, Clone)]
pub struct SendPlan {
    /// Where the pipeline listens.
    pub to: SocketAddr,
    /// Sent in turn, from the first again after the last.
    pub frames: Vec<Frame>,
    /// How many frames to send.
    pub count: u64,
    /// Frames per second, all streams together; 0 sends as fast as the window allows.
    pub rate_fps: f64,
    /// Number of streams that take turns.
    pub streams: u32,
    /// Id of the first of them; the others follow.
    pub first_stream_id: u32,
    /// Most unanswered frames; `None` is no limit, or a small one at rate 0.
    pub window: Option<u64>,
    /// Written into each frame; 0 asks for the stream's default.
    pub deadline_us: u32,
    /// Largest datagram, UDP payload in bytes, header included.
    pub datagram_bytes: usize,
    /// Share of the interval between two frames over which a frame's datagrams are spread; 0 sends them back to back.
    pub spread_percent: f64,
    /// Key of the streams.
    pub mac_key: Option<MacKey>,
    /// Faults to simulate.
    pub impairments: Impairments,
    /// Of simulated faults.
    pub seed: u64,
    /// A frame is unanswered if this long after its last datagram no reply has come.
    pub timeout: Duration,
}

/// Why a plan cannot be executed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No frames.
    #[error("there is nothing to send; name JPEG files, or use --generate WxH or --tensor N")]
    NoFrames,
    /// A number out of range.
    #[error("{what} {given} is out of range; write {allowed}")]
    OutOfRange {
        /// Which number.
        what: &'static str,
        /// What was given.
        given: String,
        /// What may be given.
        allowed: String,
    },
    /// A frame does not fit.
    #[error("frame {name} cannot be cut into datagrams: {reason}")]
    Fragment {
        /// The frame's name.
        name: String,
        /// Why.
        reason: String,
    },
}

impl SendPlan {
    /// One pass over `frames`, 30 frames per second, one stream with id 0, no faults.
    pub fn new(to: SocketAddr, frames: Vec<Frame>) -> Self {
        Self {
            to,
            count: frames.len() as u64,
            frames,
            rate_fps: 30.0,
            streams: 1,
            first_stream_id: 0,
            window: None,
            deadline_us: 0,
            datagram_bytes: DEFAULT_DATAGRAM_BYTES,
            spread_percent: 100.0,
            mac_key: None,
            impairments: Impairments::default(),
            seed: 1,
            timeout: Duration::from_secs(2),
        }
    }

    /// Checks every number and that each frame can be cut.
    pub fn validate(&self) -> Result<(), PlanError> {
        if self.frames.is_empty() {
            return Err(PlanError::NoFrames);
        }
        let datagram_min = header_len(self.mac_key.is_some()) + wire::ALIGNMENT;
        let checks = [
            in_range("--count", self.count as f64, 1.0, COUNT_MAX as f64),
            in_range("--rate", self.rate_fps, 0.0, 10e6),
            in_range("--streams", self.streams.into(), 1.0, 65_536.0),
            in_range("--stream-id", self.first_stream_id.into(), 0.0, f64::from(u32::MAX - (self.streams.max(1) - 1))),
            in_range("--mtu", self.datagram_bytes as f64, datagram_min as f64, UDP_PAYLOAD_MAX as f64),
            in_range("--spread", self.spread_percent, 0.0, 100.0),
            in_range("--loss", self.impairments.loss_percent, 0.0, 100.0),
            in_range("--reorder", self.impairments.reorder_percent, 0.0, 100.0),
            in_range("--duplicate", self.impairments.duplicate_percent, 0.0, 100.0),
            in_range("--timeout-ms", self.timeout.as_millis() as f64, 1.0, 600_000.0),
            in_range("--window", self.window.unwrap_or(1) as f64, 1.0, COUNT_MAX as f64),
        ];
        checks.into_iter().collect::<Result<(), _>>()?;
        self.frames.iter().try_for_each(|frame| self.check_frame(frame))
    }

    fn check_frame(&self, frame: &Frame) -> Result<(), PlanError> {
        wire::FragmentPlan::new(frame.bytes.len(), self.datagram_bytes, header_len(self.mac_key.is_some()))
            .map(|_| ())
            .map_err(|error| PlanError::Fragment { name: frame.name.clone(), reason: error.to_string() })
    }

    /// Most unanswered frames, the default filled in.
    pub fn effective_window(&self) -> u64 {
        let longest = self.frames.iter().map(|frame| frame.bytes.len()).max().unwrap_or(1).max(1);
        match self.window {
            Some(window) => window,
            None if self.rate_fps > 0.0 => u64::MAX,
            None => WINDOW_FRAMES.min((WINDOW_BYTES / longest) as u64).max(1),
        }
    }

    /// The frame with number `id`: files in turn.
    pub(crate) fn frame(&self, id: u64) -> &Frame {
        &self.frames[(id % self.frames.len() as u64) as usize]
    }

    /// The stream that frame `id` belongs to: streams in turn.
    pub(crate) fn stream_id(&self, id: u64) -> u32 {
        self.first_stream_id + (id % u64::from(self.streams)) as u32
    }
}

fn in_range(what: &'static str, given: f64, min: f64, max: f64) -> Result<(), PlanError> {
    // Written so that NaN is out of range.
    if given >= min && given <= max {
        return Ok(());
    }
    Err(PlanError::OutOfRange { what, given: given.to_string(), allowed: format!("{min} to {max}") })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::generate_tensors;

    fn plan() -> SendPlan {
        SendPlan::new("127.0.0.1:9000".parse().unwrap(), generate_tensors(64, 3, 1).unwrap())
    }

    #[test]
    fn the_default_plan_is_valid() {
        assert_eq!(plan().validate(), Ok(()));
        assert_eq!((plan().count, plan().effective_window()), (3, u64::MAX));
    }

    #[test]
    fn every_range_is_checked() {
        type Spoil = fn(&mut SendPlan);
        let wrong: [(&str, Spoil); 9] = [
            ("--count", |plan| plan.count = 0),
            ("--rate", |plan| plan.rate_fps = f64::NAN),
            ("--streams", |plan| plan.streams = 0),
            ("--stream-id", |plan| (plan.streams, plan.first_stream_id) = (2, u32::MAX)),
            ("--mtu", |plan| plan.datagram_bytes = 191),
            ("--spread", |plan| plan.spread_percent = 101.0),
            ("--loss", |plan| plan.impairments.loss_percent = -1.0),
            ("--timeout-ms", |plan| plan.timeout = Duration::ZERO),
            ("--window", |plan| plan.window = Some(0)),
        ];
        for (what, spoil) in wrong {
            let mut plan = plan();
            spoil(&mut plan);
            let message = plan.validate().unwrap_err().to_string();
            assert!(message.starts_with(what) && message.contains("; write "), "{what}: {message}");
        }
        assert_eq!(SendPlan { frames: Vec::new(), ..plan() }.validate(), Err(PlanError::NoFrames));
    }

    #[test]
    fn frames_that_cannot_be_cut_are_named() {
        let mut plan = plan();
        plan.frames[1].bytes = vec![0; wire::MAX_TOTAL_LEN + 1];
        let message = plan.validate().unwrap_err().to_string();
        assert!(message.starts_with("frame tensor 1"), "{message}");
    }

    #[test]
    fn the_window_at_rate_0_is_bounded_in_frames_and_bytes() {
        let mut plan = SendPlan { rate_fps: 0.0, ..plan() };
        assert_eq!(plan.effective_window(), WINDOW_FRAMES);
        plan.frames[0].bytes = vec![0; 300_000];
        assert_eq!(plan.effective_window(), 3);
        plan.frames[0].bytes = vec![0; 8 << 20];
        assert_eq!(plan.effective_window(), 1);
        plan.window = Some(9);
        assert_eq!(plan.effective_window(), 9);
    }

    #[test]
    fn frames_and_streams_take_turns() {
        let plan = SendPlan { streams: 2, first_stream_id: 7, ..plan() };
        let turns: Vec<(&str, u32)> = (0..4).map(|id| (plan.frame(id).name.as_str(), plan.stream_id(id))).collect();
        assert_eq!(turns, [("tensor 0", 7), ("tensor 1", 8), ("tensor 2", 7), ("tensor 0", 8)]);
    }
}
