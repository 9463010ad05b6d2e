//! The end of a benchmark: a line for each figure, a file with the numbers behind them, and a verdict.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::path::Path;

/// What a figure came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// Nothing is required of it.
    Measured,
    /// At least what is required.
    Reached,
    /// Less.
    Short,
    /// Not measurable here.
    NeedsCores(usize),
}

impl Verdict {
    fn text(self) -> String {
        match self {
            Self::Measured => "measured".to_owned(),
            Self::Reached => "reached".to_owned(),
            Self::Short => "short".to_owned(),
            Self::NeedsCores(n) => format!("needs {n} cores"),
        }
    }
}

/// One number of the report.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name, unit last.
    pub name: String,
    /// `None` where it could not be measured.
    pub measured: Option<f64>,
    /// At least this; `None` where nothing is required.
    pub required: Option<f64>,
    /// What it came to.
    pub verdict: Verdict,
}

impl Figure {
    /// A figure that nothing is required of.
    pub fn measured(name: impl Into<String>, value: f64) -> Self {
        Self { name: name.into(), measured: Some(value), required: None, verdict: Verdict::Measured }
    }

    /// A figure that must be at least `required`.
    pub fn at_least(name: impl Into<String>, value: f64, required: f64) -> Self {
        let verdict = if value >= required { Verdict::Reached } else { Verdict::Short };
        Self { name: name.into(), measured: Some(value), required: Some(required), verdict }
    }

    /// A figure that must be at least `required` on a machine of `cores` cores, which this is not.
    pub fn needs_cores(name: impl Into<String>, required: f64, cores: usize) -> Self {
        Self { name: name.into(), measured: None, required: Some(required), verdict: Verdict::NeedsCores(cores) }
    }

    /// Name, measured, required, verdict.
    pub fn line(&self) -> String {
        let or_dash = |n: Option<f64>| n.map_or_else(|| "-".to_owned(), number);
        let required = self.required.map_or_else(|| "-".to_owned(), |r| format!(">= {}", number(r)));
        format!("{:<44} {:>10}  {required:>8}  {}", self.name, or_dash(self.measured), self.verdict.text())
    }

    fn json(&self) -> Value {
        json!({"name": self.name, "measured": self.measured, "required": self.required, "verdict": self.verdict.text()})
    }
}

/// Three figures that matter.
fn number(value: f64) -> String {
    match value.abs() {
        a if a >= 100.0 || a == 0.0 => format!("{value:.0}"),
        a if a >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}

/// Prints the lines and writes `benches/results/NAME.json`. True if no figure is short.
pub fn conclude(root: &Path, name: &str, machine: &Value, raw: &Value, figures: &[Figure]) -> Result<bool> {
    for figure in figures {
        println!("{}", figure.line());
    }
    let folder = root.join("benches/results");
    std::fs::create_dir_all(&folder).with_context(|| format!("create {}", folder.display()))?;
    let path = folder.join(format!("{name}.json"));
    let figures_json: Vec<Value> = figures.iter().map(Figure::json).collect();
    let all = json!({"schema": 1, "name": name, "machine": machine, "figures": figures_json, "raw": raw});
    // Written beside and renamed: nobody reads half a file.
    let temporary = path.with_extension("json.tmp");
    std::fs::write(&temporary, format!("{all:#}\n")).with_context(|| format!("write {}", temporary.display()))?;
    std::fs::rename(&temporary, &path).with_context(|| format!("write {}", path.display()))?;
    Ok(figures.iter().all(|f| f.verdict != Verdict::Short))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        assert_eq!(Figure::at_least("a", 0.9, 0.9).verdict, Verdict::Reached);
        assert_eq!(Figure::at_least("a", 0.899, 0.9).verdict, Verdict::Short);
        assert_eq!(Figure::at_least("a", f64::NAN, 0.9).verdict, Verdict::Short);
        assert!(Figure::needs_cores("a", 0.9, 2).line().ends_with("needs 2 cores"));
        assert!(Figure::measured("a", 123.4).line().contains(" 123 "));
    }

    #[test]
    fn a_short_figure_fails_and_all_are_written() {
        let root = std::env::temp_dir().join(format!("flumeway-figures-{}", std::process::id()));
        let figures = [Figure::measured("a", 1.0), Figure::at_least("b", 0.5, 0.9)];
        assert!(!conclude(&root, "x", &json!({}), &json!([]), &figures).unwrap());
        assert!(conclude(&root, "x", &json!({}), &json!([]), &figures[..1]).unwrap());
        let text = std::fs::read_to_string(root.join("benches/results/x.json")).unwrap();
        let back: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(back["figures"][0]["name"], "a");
        std::fs::remove_dir_all(&root).unwrap();
    }
}
