//! What commands print: text for people, one line of JSON for programs.

use std::io::{IsTerminal, Write};

use flumeway::failure::Failure;
use serde_json::{Value, json};

/// Prints a line on standard output. A reader that has gone away (`| head`) is no error of ours.
pub(crate) fn line(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Reports a failure: in words on standard error, and as JSON on standard output where a program reads it.
pub(crate) fn failure(failure: &Failure, is_json: bool) {
    error(&failure.message);
    if is_json {
        line(json!({"schema": 1, "ok": false, "error": failure.message, "exit_code": failure.status as u8}));
    }
}

/// An error, on standard error.
pub(crate) fn error(message: &str) {
    let (bold, plain) = if std::io::stderr().is_terminal() { ("\x1b[1;31m", "\x1b[0m") } else { ("", "") };
    let _ = writeln!(std::io::stderr(), "{bold}error:{plain} {message}");
}

/// Columns side by side, as wide as their widest cell; numbers to the right.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).chain([head[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let is_number = |column: usize| {
        let mut cells = rows.iter().filter_map(|row| row.get(column)).filter(|cell| *cell != "-").peekable();
        cells.peek().is_some() && cells.all(|cell| cell.parse::<f64>().is_ok())
    };
    let right: Vec<bool> = (0..head.len()).map(is_number).collect();
    let print = |cells: Vec<&str>| {
        let padded =
            cells.iter().zip(&widths).zip(&right).map(|((cell, &width), &right)| {
                if right { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            });
        padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let body = rows.iter().map(|row| print(row.iter().map(String::as_str).collect()));
    std::iter::once(print(head.to_vec())).chain(body).collect::<Vec<_>>().join("\n")
}

/// A value of a JSON answer as text: strings without quotes, null and absent as `-`.
pub(crate) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A duration in microseconds in the unit that suits it.
pub(crate) fn duration(duration_us: f64) -> String {
    match duration_us {
        us if us < 1e3 => format!("{us:.0} us"),
        us if us < 1e5 => format!("{:.2} ms", us / 1e3),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_numbers_are_to_the_right() {
        let rows = vec![vec!["tx".to_owned(), "7".to_owned()], vec!["infer.0".to_owned(), "123".to_owned()]];
        assert_eq!(table(&["stage", "pid"], &rows), "stage    pid\ntx         7\ninfer.0  123");
        assert_eq!(table(&["a", "b"], &[]), "a  b");
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        let texts = [12.3, 1_234.0, 123_400.0, 2_345_000.0].map(duration);
        assert_eq!(texts, ["12 us", "1.23 ms", "123 ms", "2.35 s"]);
    }

    #[test]
    fn absent_values_are_a_dash() {
        let answer = json!({"name": "tx", "pid": 7, "core": null});
        assert_eq!(["name", "pid", "core", "none"].map(|key| cell(&answer[key])), ["tx", "7", "-", "-"]);
    }
}
