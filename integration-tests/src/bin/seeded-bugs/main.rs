//! Plants each bug of `arena::seeded` in turn and runs the proofs on it: do they have teeth?
//!
//! Which tool must catch which bug stands in a table of RELIABILITY.md (`x`). The run fails if a tool misses a bug that the
//! table says it catches, if a bug is caught by none, if the table and the code name different bugs, or if a tool fails on
//! the code without a bug. `--all` tries the other pairs as well and prints what it finds.

mod table;
mod tools;

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;
use table::Table;
use tools::{Outcome, TOOLS, Tool};

/// One run: this bug (none: the code as it is) under this tool.
#[derive(Clone, Debug)]
struct Cell {
    bug: Option<String>,
    tool: usize,
    claimed: bool,
}

fn main() -> ExitCode {
    let all = std::env::args().any(|a| a == "--all");
    let table = match Table::read() {
        Ok(table) => table,
        Err(error) => {
            eprintln!("seeded-bugs: {error}");
            return ExitCode::FAILURE;
        }
    };
    let begin = Instant::now();
    let mut tools = Vec::new();
    for spec in TOOLS {
        match spec.build() {
            Ok(tool) => tools.push(tool),
            Err(error) => {
                eprintln!("seeded-bugs: {}: {error}", spec.name);
                return ExitCode::FAILURE;
            }
        }
    }
    println!("seeded-bugs: {} tools built in {:.0} s", tools.len(), begin.elapsed().as_secs_f64());
    let results = run(&cells(&table, all), &tools);
    let failures = judge(&table, &results);
    print_matrix(&table, &results);
    println!("seeded-bugs: {} bugs, {} runs, {:.0} s", table.rows.len(), results.len(), begin.elapsed().as_secs_f64());
    for failure in &failures {
        println!("seeded-bugs: {failure}");
    }
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What to run: each tool without a bug, then the table.
fn cells(table: &Table, all: bool) -> Vec<Cell> {
    let clean = (0..TOOLS.len()).map(|tool| Cell { bug: None, tool, claimed: true });
    let planted = table.rows.iter().flat_map(|row| {
        let cell = |(tool, claimed): (usize, &bool)| Cell { bug: Some(row.bug.clone()), tool, claimed: *claimed };
        row.catches.iter().enumerate().map(cell)
    });
    clean.chain(planted.filter(|cell| all || cell.claimed)).collect()
}

/// Runs the cells, one per core at a time; the tools that need a core to themselves come last, alone.
fn run(cells: &[Cell], tools: &[Tool]) -> Vec<(Cell, Outcome)> {
    let results = Mutex::new(Vec::new());
    let (alone, beside): (Vec<_>, Vec<_>) = cells.iter().partition(|cell| TOOLS[cell.tool].alone);
    let workers = std::thread::available_parallelism().map_or(1, Into::into);
    for (cells, workers) in [(beside, workers), (alone, 1)] {
        let next = Mutex::new(cells.into_iter());
        let work = || {
            loop {
                let cell = next.lock().expect("no panic while it is held").next();
                let Some(cell) = cell else { break };
                let outcome = tools[cell.tool].run(cell.bug.as_deref());
                results.lock().expect("no panic while it is held").push((cell.clone(), outcome));
            }
        };
        std::thread::scope(|s| (0..workers).for_each(|_| drop(s.spawn(work))));
    }
    results.into_inner().expect("no panic while it is held")
}

/// What is wrong, in words.
fn judge(table: &Table, results: &[(Cell, Outcome)]) -> Vec<String> {
    let mut failures = Vec::new();
    for (cell, outcome) in results {
        let tool = TOOLS[cell.tool].name;
        match (&cell.bug, outcome.caught) {
            (None, true) => failures.push(format!("{tool} fails without a bug: {}", outcome.told)),
            (Some(bug), false) if cell.claimed => {
                failures.push(format!("{tool} misses {bug}, which RELIABILITY.md says it catches"));
            }
            _ => {}
        }
    }
    for row in &table.rows {
        let caught = |(cell, outcome): &&(Cell, Outcome)| cell.bug.as_ref() == Some(&row.bug) && outcome.caught;
        if results.iter().find(caught).is_none() {
            failures.push(format!("{} is caught by no tool", row.bug));
        }
    }
    failures
}

/// The table as this run found it: `x` caught, `.` not caught, blank: not tried.
fn print_matrix(table: &Table, results: &[(Cell, Outcome)]) {
    let names: Vec<_> = TOOLS.iter().map(|t| t.name).collect();
    println!("| bug | {} |", names.join(" | "));
    for row in &table.rows {
        let mark = |tool| {
            let found = results.iter().find(|(c, _)| c.tool == tool && c.bug.as_ref() == Some(&row.bug));
            found.map_or(" ", |(_, outcome)| if outcome.caught { "x" } else { "." })
        };
        let marks: Vec<_> = (0..TOOLS.len()).map(mark).collect();
        println!("| `{}` | {} |", row.bug, marks.join(" | "));
    }
    let slowest = results.iter().max_by(|a, b| a.1.seconds.total_cmp(&b.1.seconds));
    if let Some((cell, outcome)) = slowest {
        println!(
            "slowest: {} under {}, {:.0} s",
            cell.bug.as_deref().unwrap_or("none"),
            TOOLS[cell.tool].name,
            outcome.seconds
        );
    }
}
