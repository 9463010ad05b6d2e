//! What became of a frame, as its sender learns it.

named_codes! {
    /// Why a frame was given up although nothing was wrong with it. A retry may succeed, except after
    /// [`DropReason::ResultTooLarge`].
    pub enum DropReason: "drop reason" {
        /// Its deadline passed before inference began.
        Deadline = 1 => "deadline",
        /// Overload, and the stream's policy is to refuse the newest frame.
        OverloadNewest = 2 => "overload-newest",
        /// Overload, and a newer frame took its place: the stream's policy is to give up the oldest.
        OverloadOldest = 3 => "overload-oldest",
        /// No free packet buffer or tensor slot.
        NoBuffers = 4 => "no-buffers",
        /// The pipeline is stopping.
        Stopping = 5 => "stopping",
        /// Fragments were missing when the assembly timeout ran out.
        Incomplete = 6 => "incomplete",
        /// Still incomplete when newer frames of its stream needed the place.
        Evicted = 7 => "evicted",
        /// The stream is new and `max_streams` are known already.
        TooManyStreams = 8 => "too-many-streams",
        /// The result is longer than the configured `max_reply_bytes`.
        ResultTooLarge = 9 => "result-too-large",
        /// Restarts for other causes interrupted it too often.
        InterruptedTooOften = 10 => "interrupted-too-often",
        /// The pipeline's record of it, or of one of its packets, was damaged in memory.
        Damaged = 11 => "damaged",
        /// A reason that this release has no name for; what unknown codes are read as.
        Other = 255 => "other",
    }
}

named_codes! {
    /// Why a request cannot be served as it stands. A retry of the same bytes fails again.
    pub enum BadRequestReason: "bad-request reason" {
        /// The image data could not be decoded.
        DecodeFailed = 1 => "decode-failed",
        /// The encoding is unknown, or this pipeline does not take it.
        UnsupportedEncoding = 2 => "unsupported-encoding",
        /// The frame's length is not the one that encoding and sides, or the model's input, ask for.
        WrongSize = 3 => "wrong-size",
        /// Longer, wider or higher than the pipeline accepts.
        TooLarge = 4 => "too-large",
        /// Width or height is impossible for the encoding.
        BadGeometry = 5 => "bad-geometry",
        /// Fragment index, count, offset and lengths do not fit one another.
        BadFragment = 6 => "bad-fragment",
        /// Fragments of one frame contradict one another.
        InconsistentFragments = 7 => "inconsistent-fragments",
        /// A flag or an extension that must be understood is unknown.
        UnknownExtension = 8 => "unknown-extension",
        /// The protocol version is not spoken here.
        UnsupportedVersion = 9 => "unsupported-version",
        /// A reason that this release has no name for; what unknown codes are read as.
        Other = 255 => "other",
    }
}

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Answered; a result may follow.
    Ok,
    /// Given up, for the reason stated.
    Dropped(DropReason),
    /// Taken out because it made stages crash; it will not be tried again.
    Quarantined,
    /// Refused, for the reason stated.
    BadRequest(BadRequestReason),
    /// The pipeline cannot serve frames at present (a stage is parked, no model is loaded).
    Unavailable,
}

impl Status {
    /// The two bytes on the wire: status code, reason code.
    pub const fn codes(self) -> (u8, u8) {
        match self {
            Self::Ok => (0, 0),
            Self::Dropped(reason) => (1, reason.code()),
            Self::Quarantined => (2, 0),
            Self::BadRequest(reason) => (3, reason.code()),
            Self::Unavailable => (4, 0),
        }
    }

    /// The status of two bytes from the wire; `None` for an unknown status. An unknown reason is read as `Other`, so that
    /// reasons can be added without a new version.
    pub const fn from_codes(status: u8, reason: u8) -> Option<Self> {
        match status {
            0 => Some(Self::Ok),
            1 => Some(Self::Dropped(match DropReason::from_u8(reason) {
                Some(reason) => reason,
                None => DropReason::Other,
            })),
            2 => Some(Self::Quarantined),
            3 => Some(Self::BadRequest(match BadRequestReason::from_u8(reason) {
                Some(reason) => reason,
                None => BadRequestReason::Other,
            })),
            4 => Some(Self::Unavailable),
            _ => None,
        }
    }

    /// The stable name of the status, without its reason.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Dropped(_) => "dropped",
            Self::Quarantined => "quarantined",
            Self::BadRequest(_) => "bad-request",
            Self::Unavailable => "unavailable",
        }
    }

    /// The stable name of the reason, where the status has one.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Dropped(reason) => Some(reason.name()),
            Self::BadRequest(reason) => Some(reason.name()),
            Self::Ok | Self::Quarantined | Self::Unavailable => None,
        }
    }
}

impl core::fmt::Display for Status {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.reason() {
            Some(reason) => write!(f, "{} ({reason})", self.name()),
            None => f.write_str(self.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_status() -> Vec<Status> {
        let mut all = vec![Status::Ok, Status::Quarantined, Status::Unavailable];
        all.extend(DropReason::ALL.iter().map(|&reason| Status::Dropped(reason)));
        all.extend(BadRequestReason::ALL.iter().map(|&reason| Status::BadRequest(reason)));
        all
    }

    #[test]
    fn every_status_survives_the_wire() {
        for status in every_status() {
            let (code, reason) = status.codes();
            assert_eq!(Status::from_codes(code, reason), Some(status));
        }
    }

    #[test]
    fn unknown_reasons_are_kept_apart_from_unknown_statuses() {
        assert_eq!(Status::from_codes(1, 200), Some(Status::Dropped(DropReason::Other)));
        assert_eq!(Status::from_codes(3, 0), Some(Status::BadRequest(BadRequestReason::Other)));
        assert_eq!(Status::from_codes(5, 0), None);
    }

    #[test]
    fn names_say_status_and_reason() {
        assert_eq!(Status::Dropped(DropReason::Deadline).to_string(), "dropped (deadline)");
        assert_eq!(Status::Quarantined.to_string(), "quarantined");
        assert_eq!(serde_json::to_string(&DropReason::NoBuffers).unwrap(), "\"no-buffers\"");
    }
}
