//! One round of latency, one of throughput, and the numbers that come of several.

use crate::link::Link;
use anyhow::{Result, ensure};
use std::time::{Duration, Instant};

/// A client in the middle of its measurements: frame numbers go on from round to round.
pub struct Client<'w> {
    link: Box<dyn Link + 'w>,
    next_id: u64,
    /// Numbers of the frames on their way.
    out: Vec<u64>,
    /// Frames that were never answered.
    pub lost: u64,
}

/// A round with the window full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loaded {
    /// Answers per second.
    pub fps: f64,
    /// Answers in the round, those before and after the clock included: for cost per frame.
    pub answers: u64,
}

impl<'w> Client<'w> {
    /// A client on this link.
    pub fn new(link: impl Link + 'w) -> Self {
        Self { link: Box::new(link), next_id: 0, out: Vec::new(), lost: 0 }
    }

    fn send(&mut self) -> Result<()> {
        self.link.send(self.next_id)?;
        self.out.push(self.next_id);
        self.next_id += 1;
        Ok(())
    }

    /// Waits for one frame's answer; false if all that are out are lost. Answers to frames given up before are passed over.
    fn receive(&mut self) -> Result<bool> {
        while let Some(id) = self.link.receive()? {
            if let Some(at) = self.out.iter().position(|o| *o == id) {
                self.out.swap_remove(at);
                return Ok(true);
            }
        }
        self.lost += self.out.len() as u64;
        self.out.clear();
        Ok(false)
    }

    /// `frames` frames one at a time; the round trips in nanoseconds.
    pub fn unloaded(&mut self, frames: usize) -> Result<Vec<u64>> {
        let mut round_trips = Vec::with_capacity(frames);
        for _ in 0..frames {
            let start = Instant::now();
            self.send()?;
            if self.receive()? {
                round_trips.push(start.elapsed().as_nanos() as u64);
            }
        }
        ensure!(!round_trips.is_empty(), "no frame was answered");
        Ok(round_trips)
    }

    /// Keeps `window` frames on their way for `time`, counted from the moment when the first window has come back.
    pub fn loaded(&mut self, window: usize, time: Duration) -> Result<Loaded> {
        for _ in 0..window {
            self.send()?;
        }
        let (mut answers, mut from, mut counted) = (0_u64, None, 0_u64);
        let fps = loop {
            if self.receive()? {
                answers += 1;
                self.send()?;
            } else {
                for _ in 0..window {
                    self.send()?;
                }
            }
            let now = Instant::now();
            match from {
                None if answers >= window as u64 => from = Some(now),
                None => {}
                Some(start) => {
                    counted += 1;
                    let taken = now.duration_since(start);
                    if taken >= time {
                        break counted as f64 / taken.as_secs_f64();
                    }
                }
            }
        };
        while !self.out.is_empty() {
            answers += u64::from(self.receive()?);
        }
        Ok(Loaded { fps, answers })
    }
}

/// The value that `percent` of the values do not exceed (nearest rank). 0 for none.
pub fn percentile(values: &[u64], percent: f64) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// The middle value; of an even number the mean of the two. NaN for none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match (sorted.get(middle), sorted.len() % 2) {
        (None, _) => f64::NAN,
        (Some(upper), 0) => f64::midpoint(sorted[middle - 1], *upper),
        (Some(value), _) => *value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Answers in order, but never frame 3.
    #[derive(Default)]
    struct Echo(VecDeque<u64>);

    impl Link for Echo {
        fn send(&mut self, frame_id: u64) -> Result<()> {
            if frame_id != 3 {
                self.0.push_back(frame_id);
            }
            Ok(())
        }

        fn receive(&mut self) -> Result<Option<u64>> {
            Ok(self.0.pop_front())
        }
    }

    #[test]
    fn percentiles_and_medians() {
        let values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!([50.0, 99.0, 100.0].map(|p| percentile(&values, p)), [100, 198, 200]);
        assert_eq!(percentile(&[], 50.0), 0);
        assert!((median([9.0, 1.0, 5.0]) - 5.0).abs() < 1e-9);
        assert!((median([9.0, 1.0, 5.0, 6.0]) - 5.5).abs() < 1e-9);
        assert!(median([]).is_nan());
    }

    #[test]
    fn a_frame_without_answer_is_counted_and_not_timed() {
        let mut client = Client::new(Echo::default());
        assert_eq!(client.unloaded(5).unwrap().len(), 4);
        assert_eq!(client.lost, 1);
    }

    #[test]
    fn the_window_comes_back_whole() {
        let mut client = Client::new(Echo::default());
        let loaded = client.loaded(8, Duration::from_millis(1)).unwrap();
        assert_eq!((client.out.len(), client.lost), (0, 1));
        assert_eq!(loaded.answers + client.lost, client.next_id);
        assert!(loaded.fps > 0.0);
    }
}
