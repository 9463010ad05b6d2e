//! Names of the counters in the stage pages.

/// A link that is down, in a stage's page.
pub const LINK_DOWN: u64 = 1;
/// A link that is up.
pub const LINK_UP: u64 = 2;

macro_rules! counters {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, in the order of their cells.
            pub const ALL: &'static [(usize, &'static str)] = &[$(($name::$variant as usize, $text),)*];
        }
    };
}

counters! {
    /// What rx-gateway does with packets and frames, beside the ledger.
    RxCounter {
        /// `recvmmsg` calls.
        Receives = "receives",
        /// Datagrams the kernel dropped because the receive buffer was full (`SO_RXQ_OVFL`).
        KernelDropped = "kernel_dropped_packets",
        /// Times input was left in the socket because a policy or a lack of buffers said so.
        Paused = "paused",
        /// Streams forgotten to make room for others.
        StreamsEvicted = "streams_evicted",
        /// Buffers adopted from a dead predecessor.
        Adopted = "adopted",
        /// Packets found again in the socket's vector after a death.
        Refound = "refound_packets",
        /// Frames admitted, by this process's count (the ledger's is authoritative).
        Admitted = "admitted",
        /// Frames whose record did not match its checksum.
        Damaged = "damaged",
        /// Entries of a device's ring that named nothing of this pipeline's.
        DeviceFaults = "device_faults",
        /// Packets for which a device had no free descriptor.
        DeviceMissed = "device_missed",
        /// Packets that a device found damaged, or could not take.
        DeviceErrors = "device_errors",
        /// Times a device's driver had no buffer to fill a descriptor again.
        DeviceNoMbuf = "device_no_mbuf",
        /// Packets that were in a device's queue, or taken and not recorded, when a predecessor died.
        LostInDevice = "lost_in_device",
        /// What the driver's environment took to come up at this stage's last start, microseconds.
        EalInitUs = "eal_init_us",
        /// What finding, configuring and starting the port took then, microseconds.
        PortStartUs = "port_start_us",
        /// What taking over from the predecessor took then, without the port, microseconds.
        RecoveryUs = "recovery_us",
        /// Packets that the kernel's interface under a port had received before this pipeline's first packet, plus one; 0: unknown.
        LinkBase = "device_link_base",
        /// The port's link, where the driver tells: [`LINK_DOWN`], [`LINK_UP`]; 0: unknown.
        LinkUp = "device_link",
        /// Its speed, megabits per second; 0: unknown.
        LinkMbps = "device_link_mbps",
    }
}

counters! {
    /// What preprocess does.
    PreCounter {
        /// Frames made into tensors.
        Frames = "frames",
        /// Frames whose tensor lay in the packet, aligned: nothing to do.
        InPlace = "tensors_in_place",
        /// JPEG frames decoded.
        Decoded = "decoded",
        /// Frames refused as bad requests.
        Bad = "bad_requests",
        /// Frames past their deadline.
        Late = "late",
        /// Passes over a frame that only moved its bytes.
        Copies = "copies",
        /// Bytes of those passes.
        CopiedBytes = "copied_bytes",
        /// Times the stage waited for a slot.
        SlotWaits = "slot_waits",
        /// Frames whose record did not match its checksum.
        Damaged = "damaged",
    }
}

counters! {
    /// What infer does.
    InferCounter {
        /// Frames inferred.
        Frames = "frames",
        /// Frames that would not have met their deadline and were not inferred.
        Late = "late",
        /// Engine errors.
        Errors = "errors",
        /// Frames done again after a death, alone.
        Suspects = "suspects",
        /// Duration that the stage expects of an inference, nanoseconds.
        ExpectedNs = "expected_ns",
        /// Duration of the engine's warm-up, nanoseconds: an upper bound of an inference that nothing has timed yet.
        WarmUpNs = "warm_up_ns",
        /// Frames whose record did not match its checksum.
        Damaged = "damaged",
        /// Times that the engine was given frames, one or a batch.
        Submits = "submits",
        /// Frames that a shadow got too.
        ShadowFrames = "shadow_frames",
        /// Of those, answers that differed from the network's by more than the tolerance.
        ShadowDiffers = "shadow_differs",
        /// Of those, answers whose best element of the first output was another.
        ShadowOtherBest = "shadow_other_best",
        /// Frames that a shadow could not compute.
        ShadowErrors = "shadow_errors",
    }
}

counters! {
    /// What tx does.
    TxCounter {
        /// Frames answered.
        Frames = "frames",
        /// Reply datagrams handed to the kernel.
        Datagrams = "datagrams",
        /// Bytes of them.
        Bytes = "bytes",
        /// Status replies.
        Statuses = "statuses",
        /// Status replies withheld by `reply_on_drop` or its rate.
        Withheld = "statuses_withheld",
        /// Sends that the kernel refused; the frame counts as answered, the reply as failed.
        SendErrors = "send_errors",
        /// Replies cut to a status because they exceed `max_reply_bytes`.
        TooLarge = "replies_too_large",
        /// Replies that a dead predecessor had sent already.
        FoundSent = "found_sent",
        /// Frames whose stream wants no reply.
        Silent = "silent",
        /// Frames whose record did not match its checksum.
        Damaged = "damaged",
        /// Entries of a device's ring that named nothing of this pipeline's.
        DeviceFaults = "device_faults",
        /// What the driver's environment took to come up at this stage's last start, microseconds.
        EalInitUs = "eal_init_us",
        /// What finding, configuring and starting the port took then, microseconds.
        PortStartUs = "port_start_us",
        /// Replies that a dead predecessor had posted to a device that was reset then: they count as answered, nobody saw them go.
        SentUnconfirmed = "sent_unconfirmed",
        /// Answers to neighbours (ARP, neighbour discovery, ping) handed to the device. They are no frames.
        LinkAnswers = "link_answers",
        /// Answers to neighbours that the device refused, or for which there is none.
        LinkRefused = "link_refused",
        /// Copies of each reply that are made between tx and the device because that would give its buffer back late.
        CopiesForDevice = "copies_for_device",
        /// Frames that the device took and could not send, as its driver tells.
        DeviceErrors = "device_send_errors",
        /// The port's link, where the driver tells: [`LINK_DOWN`], [`LINK_UP`]; 0: unknown.
        LinkUp = "device_link",
        /// Its speed, megabits per second; 0: unknown.
        LinkMbps = "device_link_mbps",
    }
}

counters! {
    /// What became of a packet; each packet received has exactly one verdict.
    Verdict {
        /// Part of a frame.
        Fragment = "fragment",
        /// A copy of one that is being assembled, in flight or finished.
        Duplicate = "duplicate",
        /// No Flumeway datagram, or its fields contradict each other.
        Malformed = "malformed",
        /// The checksum is wrong.
        Checksum = "checksum",
        /// The sender is not among the stream's `sources`.
        Source = "refused_source",
        /// More streams than `max_streams`.
        Streams = "too_many_streams",
        /// The MAC is missing or wrong.
        Mac = "refused_mac",
        /// More half-assembled frames of the stream than `max_assembling_per_stream`.
        Assembly = "assembly_limit",
        /// The frame is larger than `max_frame_bytes` or than the buffers can hold.
        TooLarge = "too_large",
        /// It contradicts an earlier fragment of its frame.
        Contradicts = "contradicts_fragment",
        /// A fragment of an IP packet: not reassembled here.
        IpFragment = "ip_fragment",
        /// No UDP datagram in an IP packet, or headers that contradict each other.
        Headers = "bad_headers",
        /// The access list denies it.
        Denied = "access_denied",
        /// Its sender sends more than the access list's rate.
        Limited = "access_limited",
        /// For somebody else, or nothing that is answered here, where no kernel takes such packets.
        Elsewhere = "elsewhere",
        /// A neighbour asked for our hardware address, or whether we are there, and gets an answer.
        Link = "link",
        /// The same, and there were too many: no answer.
        LinkLimited = "link_limited",
    }
}
