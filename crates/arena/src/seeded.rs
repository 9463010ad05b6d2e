//! Bugs that a test run plants on purpose, to show that each proof can fail. Which tool catches which: RELIABILITY.md.
//!
//! In a build without the feature `seeded-bugs` every question is answered "no" at compile time.

macro_rules! bugs {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A mistake that somebody could make in this crate.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $($(#[$doc])* $variant,)* }

        impl Bug {
            /// All of them, with the names that `FLUMEWAY_SEEDED_BUG` takes.
            pub const ALL: &'static [(Bug, &'static str)] = &[$((Bug::$variant, $name),)*];
        }
    };
}

bugs! {
    /// Ordering: the entry is stored relaxed, so the consumer may see it before what it announces.
    CommitRelaxed = "commit_relaxed",
    /// Ordering: the entry is loaded relaxed.
    EntryLoadRelaxed = "entry_load_relaxed",
    /// Commit order: `head` is stored before the owner words of the batch.
    HeadBeforeOwner = "head_before_owner",
    /// A producer believes the gauge instead of walking to the end of its ring.
    GaugeBelieved = "gauge_believed",
    /// Attaching writes: opening a ring's consumer stores its cursor.
    AttachWrites = "attach_writes",
    /// ABA: an entry is compared with the lowest bit of its word's seq alone.
    SeqOneBit = "seq_one_bit",
    /// The step from one seq to the next is not taken to wrap at 32 bits.
    SeqWithoutWrap = "seq_without_wrap",
    /// A pop takes what its own incarnation holds already.
    OwnIncarnationAccepted = "own_incarnation_accepted",
    /// Missing bound check: an index from shared memory is used as it is.
    BoundUnchecked = "bound_unchecked",
    /// The sweep takes what stands in rings.
    SweepIgnoresRings = "sweep_ignores_rings",
    /// Stale snapshot: the sweep reads the words first and the rings afterwards.
    SweepWordsBeforeRings = "sweep_words_before_rings",
    /// The sweep takes the words of incarnations newer than the dead one.
    SweepAnyIncarnation = "sweep_any_incarnation",
    /// The sweep leaves the words of incarnations older than the dead one.
    SweepExactIncarnation = "sweep_exact_incarnation",
    /// The slot's word is stored before the head's descriptor names it.
    AttachBeforeSlot = "attach_before_slot",
    /// A head's descriptor is believed whatever the slot's word says.
    SlotBelieved = "slot_believed",
    /// A segment that is freed is mine before it is free: a death in between makes it a part of some unfinished frame.
    WordBeforeRole = "word_before_role",
    /// The journal's line counts as complete before its fields are.
    JournalCommitFirst = "journal_commit_first",
    /// A repeated line adds to its counter instead of setting it.
    JournalAdds = "journal_adds",
    /// Stepping over poison leaves the entry's lap as it was.
    StepOverKeepsLap = "step_over_keeps_lap",
    /// A buffer's word names the device queue before its descriptor says where it was posted.
    DeviceWordFirst = "device_word_first",
    /// A head that a device has sent is mine before its frame is settled.
    ClaimedBeforeSettled = "claimed_before_settled",
    /// No fence between announcing sleep and the last look at the inputs.
    SleepWithoutFence = "sleep_without_fence",
    /// The doorbell is looked at before the commit is visible.
    RingWithoutFence = "ring_without_fence",
}

/// Whether this run has planted `bug`.
#[inline]
#[cfg(not(feature = "seeded-bugs"))]
pub(crate) const fn planted(_: Bug) -> bool {
    false
}

#[cfg(feature = "seeded-bugs")]
pub(crate) use choice::planted;

#[cfg(feature = "seeded-bugs")]
mod choice {
    use super::Bug;
    use std::sync::OnceLock;

    /// Names the bug to plant; unset or empty: none.
    const VARIABLE: &str = "FLUMEWAY_SEEDED_BUG";

    static PLANTED: OnceLock<Option<Bug>> = OnceLock::new();

    /// Whether this run has planted `bug`.
    #[inline]
    pub(crate) fn planted(bug: Bug) -> bool {
        *PLANTED.get_or_init(|| {
            let name = std::env::var(VARIABLE).ok().filter(|name| !name.is_empty())?;
            let known = Bug::ALL.iter().find(|(_, known)| *known == name);
            Some(known.unwrap_or_else(|| panic!("{VARIABLE}={name}: no such bug")).0)
        }) == Some(bug)
    }
}
