//! Frames that were begun and whose fate is open, by their number.

use std::collections::VecDeque;

/// The frames from `base` on, and one bit for each earlier one.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    base: u64,
    records: VecDeque<Record>,
    /// Bit `id % 64` of word `id / 64`: frame `id`, below `base`, was answered.
    answered: Vec<u64>,
    waiting: u64,
    pub(crate) unanswered: u64,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    first_due_ns: u64,
    last_due_ns: u64,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Answered,
    Unsent,
}

/// What a complete reply to frame `id` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// The frame's answer. When its first and its last datagram were due.
    First { first_due_ns: u64, last_due_ns: u64 },
    /// The frame has been answered before.
    Duplicate,
    /// The frame had been given up.
    Late,
    /// No such frame was sent.
    Unknown,
}

impl Outstanding {
    /// Begins the next frame; frames are numbered in the order of these calls.
    pub(crate) fn begin(&mut self, first_due_ns: u64, last_due_ns: u64) {
        self.records.push_back(Record { first_due_ns, last_due_ns, state: State::Waiting });
        self.waiting += 1;
    }

    /// Notes when the last datagram of the newest frame was due, where only sending it tells.
    pub(crate) fn set_last_due(&mut self, last_due_ns: u64) {
        if let Some(record) = self.records.back_mut() {
            record.last_due_ns = last_due_ns;
        }
    }

    /// The newest frame was not handed to the kernel completely; it is not waited for.
    pub(crate) fn give_up_newest(&mut self) {
        if let Some(record @ Record { state: State::Waiting, .. }) = self.records.back_mut() {
            record.state = State::Unsent;
            self.waiting -= 1;
        }
    }

    /// Frames that are waited for.
    pub(crate) fn waiting(&self) -> u64 {
        self.waiting
    }

    /// Frames begun.
    pub(crate) fn begun(&self) -> u64 {
        self.base + self.records.len() as u64
    }

    /// Whether the frame has been answered.
    pub(crate) fn is_answered(&self, id: u64) -> bool {
        match id.checked_sub(self.base) {
            None => self.answered.get((id / 64) as usize).is_some_and(|word| word & bit(id) != 0),
            Some(at) => self.records.get(at as usize).is_some_and(|record| record.state == State::Answered),
        }
    }

    /// A complete reply to frame `id` has come.
    pub(crate) fn arrive(&mut self, id: u64) -> Arrival {
        if self.is_answered(id) {
            return Arrival::Duplicate;
        }
        let Some(at) = id.checked_sub(self.base) else {
            self.mark(id);
            return Arrival::Late;
        };
        let Some(record) = self.records.get_mut(at as usize) else { return Arrival::Unknown };
        let was_waiting = record.state == State::Waiting;
        record.state = State::Answered;
        let Record { first_due_ns, last_due_ns, .. } = *record;
        if !was_waiting {
            return Arrival::Late;
        }
        self.waiting -= 1;
        Arrival::First { first_due_ns, last_due_ns }
    }

    /// Forgets what is settled, and gives up frames whose last datagram was due more than `timeout_ns` ago. The newest frame
    /// may still be on its way out, and stays.
    pub(crate) fn expire(&mut self, now_ns: u64, timeout_ns: u64, newest_is_open: bool) {
        while let Some(&record) = self.records.front() {
            let in_time = now_ns < record.last_due_ns.saturating_add(timeout_ns);
            let is_open = newest_is_open && self.records.len() == 1;
            if is_open || (record.state == State::Waiting && in_time) {
                return;
            }
            if record.state == State::Waiting {
                self.waiting -= 1;
                self.unanswered += 1;
            }
            self.records.pop_front();
            let id = self.base;
            self.base += 1;
            if record.state == State::Answered {
                self.mark(id);
            }
        }
    }

    /// When the oldest waiting frame will be given up.
    pub(crate) fn next_expiry_ns(&self, timeout_ns: u64) -> Option<u64> {
        self.records.front().map(|record| record.last_due_ns.saturating_add(timeout_ns))
    }

    fn mark(&mut self, id: u64) {
        let word = (id / 64) as usize;
        if self.answered.len() <= word {
            self.answered.resize(word + 1, 0);
        }
        self.answered[word] |= bit(id);
    }
}

const fn bit(id: u64) -> u64 {
    1 << (id % 64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn first_duplicate_late_and_unknown_are_told_apart() {
        let mut outstanding = Outstanding::default();
        outstanding.begin(10, 12);
        outstanding.begin(20, 22);
        assert_eq!(outstanding.arrive(1), Arrival::First { first_due_ns: 20, last_due_ns: 22 });
        assert_eq!(outstanding.arrive(1), Arrival::Duplicate);
        assert_eq!(outstanding.arrive(2), Arrival::Unknown);
        assert_eq!(outstanding.waiting(), 1);
        outstanding.expire(111, 100, false);
        assert_eq!(outstanding.waiting(), 1, "not yet");
        outstanding.expire(112, 100, false);
        assert_eq!((outstanding.waiting(), outstanding.unanswered), (0, 1));
        assert_eq!(outstanding.arrive(0), Arrival::Late);
        assert_eq!(outstanding.arrive(0), Arrival::Duplicate);
        assert_eq!(outstanding.arrive(1), Arrival::Duplicate, "remembered beyond its record");
    }

    #[test]
    fn unsent_frames_are_not_waited_for() {
        let mut outstanding = Outstanding::default();
        outstanding.begin(0, 0);
        outstanding.give_up_newest();
        outstanding.give_up_newest();
        assert_eq!(outstanding.waiting(), 0);
        assert_eq!(outstanding.arrive(0), Arrival::Late, "a part of it was answered");
        outstanding.expire(1, 0, false);
        assert_eq!((outstanding.unanswered, outstanding.begun()), (0, 1));
    }

    #[test]
    fn a_frame_on_its_way_out_does_not_expire() {
        let mut outstanding = Outstanding::default();
        outstanding.begin(0, 0);
        outstanding.expire(u64::MAX, 1, true);
        assert_eq!((outstanding.waiting(), outstanding.unanswered), (1, 0));
        outstanding.set_last_due(50);
        assert_eq!(outstanding.next_expiry_ns(7), Some(57));
    }

    proptest! {
        /// Against a plain set: every frame is counted once, whatever the order of replies.
        #[test]
        fn each_frame_is_counted_once(replies in proptest::collection::vec(0_u64..200, 0..400), expire_every in 1_usize..50) {
            let mut outstanding = Outstanding::default();
            (0..200).for_each(|id| outstanding.begin(id, id));
            let (mut seen, mut first, mut late) = (HashSet::new(), 0, 0);
            for (step, &id) in replies.iter().enumerate() {
                let arrival = outstanding.arrive(id);
                prop_assert_eq!(arrival == Arrival::Duplicate, !seen.insert(id));
                first += u64::from(matches!(arrival, Arrival::First { .. }));
                late += u64::from(arrival == Arrival::Late);
                if step % expire_every == 0 {
                    outstanding.expire(step as u64, 5, false);
                }
            }
            outstanding.expire(10_000, 5, false);
            prop_assert_eq!(outstanding.waiting(), 0);
            prop_assert_eq!(first + outstanding.unanswered, 200);
            prop_assert_eq!(first + late, seen.len() as u64);
        }
    }
}
