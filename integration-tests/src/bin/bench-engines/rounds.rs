//! Contenders that take turns on one core.

use anyhow::Result;
use benches::machine;
use benches::statistics::{least, median, ratios};
use serde_json::{Value, json};
use std::time::Instant;

/// Rounds of every contender.
const ROUNDS: usize = 101;
/// Calls in one round of one contender: their mean is the round's time.
const CALLS: u32 = 10;
/// Rounds that are not counted: caches, and tables that are computed at the first call.
const WARM_UP: usize = 5;

/// Somebody who does a piece of work.
pub struct Contender<'a> {
    pub name: String,
    pub work: Box<dyn FnMut() -> Result<()> + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, work: impl FnMut() -> Result<()> + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }
}

/// Microseconds per call of each contender, round by round.
pub struct Times {
    names: Vec<String>,
    rounds_us: Vec<Vec<f64>>,
}

/// Lets them work in turns on the first core that this process may use; who begins alternates.
pub fn take_turns(mut contenders: Vec<Contender<'_>>) -> Result<Times> {
    machine::pin(machine::cores()[0])?;
    let mut rounds_us = vec![Vec::with_capacity(ROUNDS); contenders.len()];
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..contenders.len() {
            let number = if round % 2 == 0 { turn } else { contenders.len() - 1 - turn };
            let begin = Instant::now();
            for _ in 0..CALLS {
                (contenders[number].work)()?;
            }
            if round >= WARM_UP {
                rounds_us[number].push(begin.elapsed().as_secs_f64() * 1e6 / f64::from(CALLS));
            }
        }
    }
    Ok(Times { names: contenders.into_iter().map(|contender| contender.name).collect(), rounds_us })
}

impl Times {
    fn of(&self, name: &str) -> &[f64] {
        self.names.iter().position(|known| known == name).map_or(&[], |at| &self.rounds_us[at])
    }

    /// Median time of a call, microseconds; NaN of an unknown name.
    pub fn median_us(&self, name: &str) -> f64 {
        median(self.of(name))
    }

    /// Median of the rounds' ratios of `a`'s time to `b`'s.
    pub fn ratio(&self, a: &str, b: &str) -> f64 {
        median(&ratios(self.of(a), self.of(b)))
    }

    /// All of it, and a table of it on the standard output.
    pub fn show(&self, title: &str) -> Value {
        println!("{title}: microseconds per frame, median and least of {ROUNDS} rounds");
        let mut all = Value::Null;
        for (name, rounds_us) in self.names.iter().zip(&self.rounds_us) {
            let (middle, smallest) = (median(rounds_us), least(rounds_us));
            println!("  {name:<44} {middle:>9.1} {smallest:>9.1}");
            all[name] = json!({"median_us": middle, "least_us": smallest, "rounds_us": rounds_us});
        }
        println!();
        all
    }
}
