//! The end of a benchmark: a line for each figure, a file with the numbers behind them, and a verdict.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;

/// A bound that a figure must keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Required {
    /// Nothing is required of it.
    Nothing,
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
}

impl Required {
    fn text(self) -> String {
        match self {
            Self::Nothing => "-".to_owned(),
            Self::AtLeast(bound) => format!(">= {}", number(bound)),
            Self::AtMost(bound) => format!("<= {}", number(bound)),
        }
    }

    /// A number that is none keeps no bound.
    fn is_kept_by(self, value: f64) -> bool {
        match self {
            Self::Nothing => true,
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

/// One number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    name: String,
    outcome: Result<f64, String>,
    required: Required,
    /// It is for another machine: that there is none is no failure.
    elsewhere: bool,
}

impl Figure {
    /// A figure named with its unit last; `Err` says in a few words why there is none, and counts as short.
    pub fn new(name: impl Into<String>, outcome: Result<f64, String>, required: Required) -> Self {
        Self { name: name.into(), outcome, required, elsewhere: false }
    }

    /// A figure that is required of machines with `cores` cores, which this is not.
    pub fn needs_cores(name: impl Into<String>, cores: usize, required: Required) -> Self {
        Self { elsewhere: true, ..Self::new(name, Err(format!("needs {cores} cores")), required) }
    }

    /// Whether it was measured and keeps its bound, or is not required of this machine.
    pub fn is_reached(&self) -> bool {
        self.elsewhere || self.outcome.as_ref().is_ok_and(|value| self.required.is_kept_by(*value))
    }

    fn verdict(&self) -> &str {
        match (&self.outcome, self.required) {
            (Err(reason), _) => reason,
            (Ok(value), Required::Nothing) if value.is_finite() => "measured",
            (Ok(_), _) if self.is_reached() => "reached",
            (Ok(_), _) => "short",
        }
    }

    /// Name, measured, required, verdict.
    pub fn line(&self) -> String {
        let measured = self.outcome.as_ref().map_or_else(|_| "-".to_owned(), |value| number(*value));
        format!("{:<44} {measured:>10}  {:>8}  {}", self.name, self.required.text(), self.verdict())
    }

    fn json(&self) -> Value {
        let measured = self.outcome.as_ref().ok();
        json!({"name": self.name, "measured": measured, "required": self.required.text(), "verdict": self.verdict()})
    }
}

/// Three figures that matter.
pub fn number(value: f64) -> String {
    match value.abs() {
        a if a >= 100.0 || a == 0.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Prints the lines and writes `benches/results/NAME.json`. True if every figure is reached.
pub fn conclude(root: &Path, name: &str, machine: &Value, raw: &Value, figures: &[Figure]) -> Result<bool> {
    for figure in figures {
        println!("{}", figure.line());
    }
    let figures_json: Vec<Value> = figures.iter().map(Figure::json).collect();
    let all = json!({"schema": 1, "name": name, "machine": machine, "figures": figures_json, "raw": raw});
    write(root, &format!("{name}.json"), &format!("{all:#}\n"))?;
    Ok(figures.iter().all(Figure::is_reached))
}

/// Writes a file of `benches/results`, beside it first and then renamed: nobody reads half of one.
pub fn write(root: &Path, file: &str, text: &str) -> Result<()> {
    let folder = root.join("benches/results");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let (path, temporary) = (folder.join(file), folder.join(format!("{file}.tmp")));
    std::fs::write(&temporary, text).with_context(|| format!("write {}", temporary.display()))?;
    std::fs::rename(&temporary, &path).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        let verdict = |value, required| Figure::new("a", Ok(value), required).verdict().to_owned();
        assert_eq!(verdict(1.6, Required::AtMost(1.6)), "reached");
        assert_eq!(verdict(1.601, Required::AtMost(1.6)), "short");
        assert_eq!(verdict(4.9, Required::AtLeast(5.0)), "short");
        assert_eq!(verdict(f64::NAN, Required::AtLeast(5.0)), "short");
        assert_eq!(verdict(f64::NAN, Required::AtMost(5.0)), "short");
        assert_eq!(verdict(1.0, Required::Nothing), "measured");
        let missing = Figure::new("a", Err("needs 2 cores".to_owned()), Required::AtMost(1.6));
        assert!(missing.line().ends_with("needs 2 cores") && !missing.is_reached());
        let elsewhere = Figure::needs_cores("a", 6, Required::AtMost(1.6));
        assert!(elsewhere.line().ends_with("<= 1.60  needs 6 cores") && elsewhere.is_reached());
    }

    #[test]
    fn a_short_figure_fails_and_all_are_written() {
        let root = std::env::temp_dir().join(format!("flumeway-benches-{}", std::process::id()));
        let figures = [
            Figure::new("a", Ok(1.0), Required::Nothing),
            Figure::new("b", Ok(0.5), Required::AtLeast(0.9)),
            Figure::new("c", Err("no libdpdk".to_owned()), Required::Nothing),
        ];
        assert!(!conclude(&root, "x", &json!({}), &json!([]), &figures[..2]).unwrap());
        assert!(!conclude(&root, "x", &json!({}), &json!([]), &figures[2..]).unwrap());
        assert!(conclude(&root, "x", &json!({}), &json!([]), &figures[..1]).unwrap());
        let text = std::fs::read_to_string(root.join("benches/results/x.json")).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["figures"][0]["verdict"], "measured");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
