//! Named points at which a test build stops its process, so that a test can kill it in an exact state.
//!
//! In a build without the feature `killpoints` every call is empty.

macro_rules! kill_points {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A named state of the ownership protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum KillPoint { /// Nothing is armed.
            None = 0, $($(#[$doc])* $variant,)* }

        impl KillPoint {
            /// All points.
            pub const ALL: &'static [KillPoint] = &[$(KillPoint::$variant,)*];
            /// The name used on the control socket and in reports.
            pub const fn name(self) -> &'static str {
                match self { KillPoint::None => "none", $(KillPoint::$variant => $name,)* }
            }
        }
    };
}

kill_points! {
    /// In hand: popped and committed, nothing done with it yet.
    InHand = "in-hand",
    /// A fragment recorded as part of an incomplete frame.
    Assembling = "assembling",
    /// Packets lie in the socket's vector, not yet recorded.
    Received = "received-unrecorded",
    /// Some of a frame's segments are attached, others not.
    AttachSegments = "attaching-segments",
    /// The slot's number stands in the descriptor, ATTACHED is not stored yet.
    SlotNamed = "slot-named",
    /// The slot is attached, the head not yet pushed.
    Attached = "attached",
    /// The owner word is mine, the ring's head not yet stored.
    Claimed = "claimed-uncommitted",
    /// The entry is committed, the tail hint and doorbell are not.
    Committed = "committed-no-doorbell",
    /// The journal's line stands, the frame is not a head yet.
    Admitting = "admitting",
    /// The head's entry stands in the driver's vector, the send has not happened.
    Posted = "posted",
    /// The kernel has the reply, the record of it is not stored.
    Sent = "sent-unrecorded",
    /// The fate is stored, the head still in hand.
    FateRecorded = "fate-recorded",
    /// rx-gateway has the head back, dissolving has not begun.
    GoingHome = "going-home",
    /// The journal's line of a dissolving stands, the slot is home, segments and head are not.
    Dissolving = "dissolving",
    /// The counters of a finished frame are set, nothing of it is free yet.
    Counted = "counted",
    /// The buffer's word names a device queue, that queue's producer does not include it yet.
    DeviceNamed = "device-named",
    /// A device queue's producer includes the buffer, the kernel has not been kicked.
    DevicePosted = "device-posted",
    /// A completion's frame is settled, its word still names the device.
    DeviceSettled = "device-settled",
    /// The word of what came back from a device is mine, the queue's consumer not yet stored.
    DeviceClaimed = "device-claimed",
}

impl KillPoint {
    /// By its name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|k| k.name() == name)
    }
}

/// Stops the process here if the test armed this point.
#[cfg(not(feature = "killpoints"))]
#[inline(always)]
pub fn reach(_: KillPoint) {}

#[cfg(feature = "killpoints")]
pub use armed::{arm_from, reach};

#[cfg(feature = "killpoints")]
mod armed {
    use super::KillPoint;
    use crate::sync::{AtomicU32, Ordering};
    use std::sync::OnceLock;

    static WORDS: OnceLock<(&'static AtomicU32, &'static AtomicU32)> = OnceLock::new();

    /// Tells where the armed point stands (written by the supervisor) and where to say that it was reached.
    pub fn arm_from(armed: &'static AtomicU32, hit: &'static AtomicU32) {
        let _ = WORDS.set((armed, hit));
    }

    /// Stops the process here if the test armed this point.
    #[inline]
    pub fn reach(point: KillPoint) {
        let Some((armed, hit)) = WORDS.get() else { return };
        if armed.load(Ordering::Relaxed) == point as u32 {
            hit.store(point as u32, Ordering::Release);
            // The whole process stops here; the test sees `hit`, kills it and counts the state.
            loop {
                std::thread::park();
            }
        }
    }
}
