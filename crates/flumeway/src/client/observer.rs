//! Who wants to know while frames are on their way.

use wire::{ReplyHeader, ResultView};

use super::frame::Frame;

/// The first reply of a frame.
#[derive(Debug)]
pub struct Answer<'a> {
    /// The frame as it was sent.
    pub frame: &'a Frame,
    /// The reply's fields.
    pub header: &'a ReplyHeader,
    /// The complete result; [`ResultView::None`] unless the status is ok.
    pub result: ResultView<'a>,
    /// From the time at which the frame's first datagram was due until the reply was complete.
    pub latency_ns: u64,
    /// Whether the best class is the expected one; `None` if none is expected.
    pub is_right: Option<bool>,
}

/// Called from the sending loop: what takes long here makes the sender late.
pub trait Observer {
    /// `sent` frames have been handed to the kernel completely.
    fn on_sent(&mut self, sent: u64) {
        let _ = sent;
    }

    /// A frame was answered.
    fn on_answer(&mut self, answer: &Answer<'_>) {
        let _ = answer;
    }

    /// Asked several times a second; `true` ends sending, and only what was sent is waited for.
    fn wants_stop(&mut self) -> bool {
        false
    }
}

/// Observes nothing.
#[derive(Debug, Default)]
pub struct Silent;

impl Observer for Silent {}
