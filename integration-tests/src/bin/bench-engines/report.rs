//! What the parts have measured, and the machine meanwhile.

use anyhow::Result;
use benches::figures::{Figure, Required};
use benches::{figures, machine};
use serde_json::{Map, Value, json};
use std::time::Instant;

/// Figures of all parts, and the numbers behind them.
pub struct Report {
    figures: Vec<Figure>,
    raw: Map<String, Value>,
    machine: Value,
    start: Instant,
    busy_ns: u64,
    own_ns: u64,
}

impl Report {
    /// Nothing yet; the clock of what others compute meanwhile starts here.
    pub fn start() -> Self {
        Self {
            figures: Vec::new(),
            raw: Map::new(),
            machine: machine::describe(),
            start: Instant::now(),
            busy_ns: machine::busy_ns(),
            own_ns: machine::own_ns(),
        }
    }

    /// Adds a figure, named with its unit last. `Err` says in a few words why there is none.
    pub fn add(&mut self, name: &str, outcome: Result<f64, String>, required: Required) {
        self.figures.push(Figure::new(name, outcome, required));
    }

    /// Adds the numbers behind the figures of one contender.
    pub fn keep(&mut self, name: &str, value: Value) {
        self.raw.insert(name.to_owned(), value);
    }

    /// Prints everything, and writes it if it is all there is. True if every figure is reached.
    pub fn conclude(mut self, whole: bool) -> Result<bool> {
        // What others computed meanwhile, in cores: what makes the numbers worthless on a busy machine.
        let own_ns = machine::own_ns() - self.own_ns;
        let foreign_ns = (machine::busy_ns() - self.busy_ns).saturating_sub(own_ns);
        self.machine["foreign_load_cores"] = json!(foreign_ns as f64 / self.start.elapsed().as_nanos() as f64);
        self.machine["load_average_after"] = machine::load().into();
        self.machine["run_s"] = json!(self.start.elapsed().as_secs());
        println!("machine: {}\n", self.machine);
        if !whole {
            self.figures.iter().for_each(|figure| println!("{}", figure.line()));
            return Ok(self.figures.iter().all(Figure::is_reached));
        }
        figures::conclude(&benches::root(), "engines", &self.machine, &Value::Object(self.raw), &self.figures)
    }
}
