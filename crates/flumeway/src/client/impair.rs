//! Simulated faults of a network, at the sender: lost, doubled and late datagrams.

use std::collections::VecDeque;

use serde::Serialize;

use super::random::Random;

/// A late datagram is overtaken by 1 to this many others.
const OVERTAKEN_BY_MAX: u64 = 16;

/// Probabilities in percent, of each datagram by itself.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Impairments {
    /// Not sent at all.
    pub loss_percent: f64,
    /// Sent after datagrams that follow it.
    pub reorder_percent: f64,
    /// Sent twice.
    pub duplicate_percent: f64,
}

/// How often each fault was simulated, in datagrams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Simulated {
    /// Not sent.
    pub lost: u64,
    /// Sent later than others that follow.
    pub reordered: u64,
    /// Sent a second time.
    pub duplicated: u64,
}

/// Decides over each datagram, and keeps those that are late.
#[derive(Debug)]
pub(crate) struct Impairer {
    probabilities: Impairments,
    random: Random,
    late: VecDeque<Late>,
    pub(crate) simulated: Simulated,
}

#[derive(Debug)]
struct Late {
    overtaken_by: u64,
    datagram: Vec<u8>,
}

impl Impairments {
    /// Whether any fault is asked for.
    pub fn any(&self) -> bool {
        self.loss_percent > 0.0 || self.reorder_percent > 0.0 || self.duplicate_percent > 0.0
    }
}

impl Impairer {
    /// The same seed makes the same decisions.
    pub(crate) fn new(probabilities: Impairments, seed: u64) -> Self {
        Self { probabilities, random: Random::new(seed), late: VecDeque::new(), simulated: Simulated::default() }
    }

    /// How many times `datagram` is to be sent now: 0, 1 or 2. A late one is kept here.
    pub(crate) fn copies(&mut self, datagram: &[u8]) -> usize {
        if self.random.percent(self.probabilities.loss_percent) {
            self.simulated.lost += 1;
            return 0;
        }
        let mut copies = 1;
        if self.random.percent(self.probabilities.duplicate_percent) {
            self.simulated.duplicated += 1;
            copies += 1;
        }
        if self.random.percent(self.probabilities.reorder_percent) {
            self.simulated.reordered += 1;
            let overtaken_by = 1 + self.random.below(OVERTAKEN_BY_MAX);
            self.late.push_back(Late { overtaken_by, datagram: datagram.to_vec() });
            copies -= 1;
        }
        copies
    }

    /// Notes that a datagram has passed the late ones.
    pub(crate) fn passed(&mut self) {
        for late in &mut self.late {
            late.overtaken_by = late.overtaken_by.saturating_sub(1);
        }
    }

    /// A late datagram whose time has come; with `flush`, any.
    pub(crate) fn next_late(&mut self, flush: bool) -> Option<Vec<u8>> {
        let position = self.late.iter().position(|late| flush || late.overtaken_by == 0)?;
        self.late.remove(position).map(|late| late.datagram)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a receiver gets of the datagrams 0..n.
    fn sent(probabilities: Impairments, n: u32) -> (Vec<u32>, Simulated) {
        let mut impairer = Impairer::new(probabilities, 1);
        let mut out = Vec::new();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
        for i in 0..n {
            for _ in 0..impairer.copies(&i.to_le_bytes()) {
                out.push(i);
                impairer.passed();
            }
            while let Some(late) = impairer.next_late(false) {
                out.push(number(&late));
            }
        }
        while let Some(late) = impairer.next_late(true) {
            out.push(number(&late));
        }
        (out, impairer.simulated)
    }

    #[test]
    fn nothing_happens_by_default() {
        let (out, simulated) = sent(Impairments::default(), 1000);
        assert_eq!(out, (0..1000).collect::<Vec<_>>());
        assert_eq!(simulated, Simulated::default());
        assert!(!Impairments::default().any());
    }

    #[test]
    fn counts_fit_what_arrives() {
        let probabilities = Impairments { loss_percent: 20.0, reorder_percent: 20.0, duplicate_percent: 20.0 };
        let (out, simulated) = sent(probabilities, 10_000);
        assert_eq!(out.len() as u64, 10_000 - simulated.lost + simulated.duplicated);
        for count in [simulated.lost, simulated.reordered, simulated.duplicated] {
            assert!((1_400..2_300).contains(&count), "{simulated:?}");
        }
        let mut different = out.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len() as u64, 10_000 - simulated.lost, "nothing else is missing");
    }

    #[test]
    fn late_datagrams_come_after_others_but_not_for_ever() {
        let (out, simulated) = sent(Impairments { reorder_percent: 5.0, ..Impairments::default() }, 10_000);
        assert_eq!(out.len(), 10_000);
        let displaced = out.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(displaced > 200 && simulated.reordered > 400, "{displaced} {simulated:?}");
        let farthest = out.iter().enumerate().map(|(at, &n)| (at as i64 - i64::from(n)).abs()).max().unwrap();
        assert!(farthest <= 2 * OVERTAKEN_BY_MAX as i64, "{farthest}");
    }

    #[test]
    fn a_seed_repeats_itself() {
        let probabilities = Impairments { loss_percent: 10.0, reorder_percent: 10.0, duplicate_percent: 10.0 };
        assert_eq!(sent(probabilities, 500), sent(probabilities, 500));
    }
}
