//! What the rounds of each row came to, and what is required of it.

use crate::contenders::{Contender, ROWS};
use crate::pair::Round;
use benches::figures::{Figure, Required};
use benches::statistics::{least, median, quantile, ratios};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// A hop over our ring, in raw cache lines.
const HOP_OVER_RAW_MAX: f64 = 1.6;
/// iceoryx2's hop, in ours.
const ICEORYX2_OVER_HOP_MIN: f64 = 5.0;
/// A descriptor of a batch of 32, or [`OVER_RTE_RING_MAX`] times that of `rte_ring`, whichever is larger.
const BATCH_NS_MAX: f64 = 15.0;
const OVER_RTE_RING_MAX: f64 = 1.3;

/// One row's numbers: one way, per buffer.
#[derive(Debug)]
pub struct Row {
    pub contender: Contender,
    /// Mean of each round, ns; or why there is none.
    pub rounds_ns: Result<Vec<f64>, String>,
    /// Round trips clocked one by one, halved, all rounds together, ns.
    pub clocked_ns: Vec<f64>,
}

impl Row {
    pub fn new(contender: Contender) -> Self {
        Self { contender, rounds_ns: Ok(Vec::new()), clocked_ns: Vec::new() }
    }

    /// Half a round trip, per buffer.
    pub fn add(&mut self, round: &Round) {
        let share = 2.0 * self.contender.batch as f64;
        if let Ok(rounds) = &mut self.rounds_ns {
            rounds.push(round.mean_ns / share);
            self.clocked_ns.extend(round.clocked_ns.iter().map(|ns| ns / share));
        }
    }

    /// (least, median, 99th percentile): the first two of the rounds' means, the last of single hops.
    pub fn summary(&self) -> Result<(f64, f64, f64), String> {
        let rounds = self.rounds_ns.as_ref().map_err(Clone::clone)?;
        if rounds.is_empty() {
            return Err("not measured".to_owned());
        }
        Ok((least(rounds), median(rounds), quantile(&self.clocked_ns, 0.99)))
    }

    fn json(&self) -> Value {
        let c = &self.contender;
        let of_clocked = |q| (!self.clocked_ns.is_empty()).then(|| quantile(&self.clocked_ns, q));
        json!({
            "name": c.name, "batch": c.batch, "pause": c.pause, "in_process": c.carrier.is_in_process(),
            "trips": c.length.trips, "clocked_trips": c.length.clocked,
            "missing": self.rounds_ns.as_ref().err(),
            "min_ns": self.summary().ok().map(|s| s.0),
            "median_ns": self.summary().ok().map(|s| s.1),
            "clocked_p50_ns": of_clocked(0.5), "clocked_p99_ns": of_clocked(0.99),
            "rounds_ns": self.rounds_ns.as_ref().ok(),
        })
    }
}

/// Everything measured.
#[derive(Debug)]
pub struct Results {
    pub rows: Vec<Row>,
}

impl Results {
    pub fn new() -> Self {
        Self { rows: ROWS.into_iter().map(Row::new).collect() }
    }

    fn rounds(&self, name: &str) -> Result<&[f64], String> {
        let row = self.rows.iter().find(|r| r.contender.name == name).ok_or_else(|| format!("no row {name}"))?;
        row.summary()?;
        row.rounds_ns.as_deref().map_err(Clone::clone)
    }

    /// Per round, so that the drift of the machine cancels: (first quartile, median, third quartile).
    fn ratio(&self, over: &str, under: &str) -> Result<[f64; 3], String> {
        let all = ratios(self.rounds(over)?, self.rounds(under)?);
        Ok([quantile(&all, 0.25), median(&all), quantile(&all, 0.75)])
    }

    /// A descriptor of a batch over what it may take; per round too, since the larger bound follows the machine.
    fn batch_over_allowed(&self) -> Result<f64, String> {
        let (ours, peer) = (self.rounds("ring_batch32")?, self.rounds("rte_ring_batch32"));
        // Without rte_ring the stricter bound stands; its missing row fails the run by itself.
        let allowed: Vec<f64> = match peer {
            Ok(peer) => peer.iter().map(|ns| BATCH_NS_MAX.max(OVER_RTE_RING_MAX * ns)).collect(),
            Err(_) => vec![BATCH_NS_MAX; ours.len()],
        };
        Ok(median(&ratios(ours, &allowed)))
    }

    /// The figures with their bounds; a row that is missing is a figure that is short.
    pub fn figures(&self) -> Vec<Figure> {
        let middle = |over, under| self.ratio(over, under).map(|[_, middle, _]| middle);
        let mut figures: Vec<Figure> = self
            .rows
            .iter()
            .map(|row| {
                Figure::new(format!("ring.{}_ns", row.contender.name), row.summary().map(|s| s.1), Required::Nothing)
            })
            .collect();
        for (name, over, under) in [
            ("ring.bare_hop_over_raw_line", "ring_bare", "raw_line"),
            ("ring.adaptive_hop_over_raw_line", "ring_adaptive", "raw_line"),
            ("ring.rte_ring_hop_over_raw_line", "rte_ring", "raw_line"),
            ("ring.array_queue_hop_over_raw_line", "array_queue", "raw_line"),
            ("ring.rtrb_hop_over_raw_line", "rtrb", "raw_line"),
            ("ring.hop_over_raw_line_pause", "ring_pause", "raw_line_pause"),
        ] {
            figures.push(Figure::new(name, middle(over, under), Required::Nothing));
        }
        figures.extend([
            Figure::new("ring.hop_over_raw_line", middle("ring", "raw_line"), Required::AtMost(HOP_OVER_RAW_MAX)),
            Figure::new("ring.iceoryx2_over_hop", middle("iceoryx2", "ring"), Required::AtLeast(ICEORYX2_OVER_HOP_MIN)),
            Figure::new("ring.batch32_over_allowed", self.batch_over_allowed(), Required::AtMost(1.0)),
        ]);
        figures
    }

    pub fn json(&self) -> Value {
        let spread = |over, under| json!(self.ratio(over, under).ok());
        json!({
            "rows": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "ratio_quartiles": {
                "hop_over_raw_line": spread("ring", "raw_line"),
                "iceoryx2_over_hop": spread("iceoryx2", "ring"),
                "batch32_over_rte_ring": spread("ring_batch32", "rte_ring_batch32"),
            },
        })
    }

    /// The printed table. Its last column is the ratio of the two rows' medians; the figures take ratios round by round.
    pub fn table(&self) -> String {
        let raw = self.rounds("raw_line").map_or(f64::NAN, median);
        let mut text = format!("{:<26} {:>9} {:>9} {:>9} {:>8}\n", "one way, ns", "min", "median", "p99", "/ raw");
        for row in &self.rows {
            let name = row.contender.name;
            let _ = match row.summary() {
                Ok((least, median, p99)) => {
                    writeln!(text, "{name:<26} {least:>9.1} {median:>9.1} {p99:>9.1} {:>8.2}", median / raw)
                }
                Err(reason) => writeln!(text, "{name:<26} failed: {reason}"),
            };
        }
        text += "array_queue*, rtrb*: between two threads of one process, all others between two processes\n\
                 / raw: median over the median of raw_line, which is without pause\n";
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(values: &[(&str, f64)]) -> Results {
        let mut results = Results::new();
        for row in &mut results.rows {
            let value = values.iter().find(|(name, _)| *name == row.contender.name).map_or(50.0, |(_, v)| *v);
            let trip = value * 2.0 * row.contender.batch as f64;
            for _ in 0..3 {
                row.add(&Round { mean_ns: trip, clocked_ns: vec![trip; 4] });
            }
        }
        results
    }

    fn is_reached(results: &Results, name: &str) -> bool {
        let figures = results.figures();
        figures.iter().find(|f| f.line().starts_with(&format!("{name} "))).expect("there is such a figure").is_reached()
    }

    #[test]
    fn bounds_of_the_hop() {
        let results = with(&[("raw_line", 50.0), ("ring", 80.0), ("iceoryx2", 400.0)]);
        assert!(is_reached(&results, "ring.hop_over_raw_line") && is_reached(&results, "ring.iceoryx2_over_hop"));
        let results = with(&[("raw_line", 50.0), ("ring", 80.1), ("iceoryx2", 400.0)]);
        assert!(!is_reached(&results, "ring.hop_over_raw_line") && !is_reached(&results, "ring.iceoryx2_over_hop"));
    }

    #[test]
    fn the_larger_bound_of_the_batch_stands() {
        let name = "ring.batch32_over_allowed";
        assert!(is_reached(&with(&[("ring_batch32", 15.0), ("rte_ring_batch32", 1.0)]), name));
        assert!(!is_reached(&with(&[("ring_batch32", 15.1), ("rte_ring_batch32", 1.0)]), name));
        assert!(is_reached(&with(&[("ring_batch32", 25.9), ("rte_ring_batch32", 20.0)]), name));
        assert!(!is_reached(&with(&[("ring_batch32", 26.1), ("rte_ring_batch32", 20.0)]), name));
    }

    #[test]
    fn a_missing_row_is_told_and_fails() {
        let mut results = with(&[]);
        let missing = results.rows.iter_mut().find(|r| r.contender.name == "rte_ring").unwrap();
        missing.rounds_ns = Err("no libdpdk".to_owned());
        assert!(!is_reached(&results, "ring.rte_ring_ns"));
        assert!(results.table().contains("failed: no libdpdk"));
        assert_eq!(Results::new().rows[0].summary(), Err("not measured".to_owned()));
    }
}
