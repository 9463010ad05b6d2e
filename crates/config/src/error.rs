//! [`ConfigError`]: what is wrong in a configuration, where it stands, and what to write instead.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Range, RangeInclusive};

/// A mistake in a configuration.
///
/// Printed on one line, in the form editors and compilers use:
/// `pipeline.toml:12:12: [rings] capacity = 1000 is not a power of two; write 1024`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ConfigError {
    /// The file as the user named it; empty if the configuration came from no file.
    pub file: String,
    /// Line of the offending value, counted from 1; 0 if the value stands in no file (a default, say).
    pub line: u32,
    /// Column in characters, counted from 1; 0 like `line`.
    pub column: u32,
    /// Dotted key, such as `rings.capacity` or `stream.7.policy`; empty for errors of the file as a whole.
    pub key: String,
    /// What is wrong, beginning with the key in TOML's own form.
    pub message: String,
    /// What to write or do instead.
    pub remedy: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.is_empty(), self.line) {
            (true, _) => {}
            (false, 0) => write!(f, "{}: ", self.file)?,
            (false, line) => write!(f, "{}:{line}:{}: ", self.file, self.column)?,
        }
        write!(f, "{}; {}", self.message, self.remedy)
    }
}

/// Where each key of a configuration was written, kept so that errors found after parsing can name the line too.
///
/// It is no part of a configuration's value: all origins compare equal, and it is not serialised.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    file: String,
    positions: BTreeMap<String, (u32, u32)>,
}

impl PartialEq for Origin {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Origin {
    pub(crate) fn file(&self) -> Option<&str> {
        (!self.file.is_empty()).then_some(&self.file)
    }

    pub(crate) fn of_file(file: &str) -> Self {
        Self { file: file.to_owned(), positions: BTreeMap::new() }
    }

    /// Remembers that `key` stands at byte `span.start` of `text`.
    pub(crate) fn record(&mut self, key: &str, text: &str, span: &Range<usize>) {
        self.positions.insert(key.to_owned(), line_and_column(text, span.start));
    }

    /// An error about `key` (dotted). `problem` continues the key: `= 1000 is not a power of two`.
    pub(crate) fn error(&self, key: &str, problem: &str, remedy: impl Into<String>) -> ConfigError {
        let (line, column) = self.position(key);
        let mut message = key_as_written(key);
        if !problem.starts_with(':') && !problem.starts_with(',') {
            message.push(' ');
        }
        message.push_str(problem);
        ConfigError { file: self.file.clone(), line, column, key: key.to_owned(), message, remedy: remedy.into() }
    }

    /// An error of the file as a whole or of its syntax, at byte `offset` of `text`.
    pub(crate) fn error_in_text(
        &self,
        text: &str,
        offset: Option<usize>,
        message: String,
        remedy: &str,
    ) -> ConfigError {
        let (line, column) = offset.map_or((0, 0), |offset| line_and_column(text, offset));
        ConfigError { file: self.file.clone(), line, column, key: String::new(), message, remedy: remedy.to_owned() }
    }

    /// Refuses a value outside `range`.
    pub(crate) fn in_range<T>(&self, key: &str, value: T, range: RangeInclusive<T>) -> Result<(), ConfigError>
    where
        T: PartialOrd + fmt::Display + Copy,
    {
        if range.contains(&value) {
            return Ok(());
        }
        Err(self.error(
            key,
            &format!("= {value} is out of range"),
            format!("write a value from {} to {}", range.start(), range.end()),
        ))
    }

    /// The key's own position, else that of the nearest enclosing table that was written.
    fn position(&self, key: &str) -> (u32, u32) {
        let mut rest = key;
        loop {
            if let Some(&position) = self.positions.get(rest) {
                return position;
            }
            match rest.rsplit_once('.') {
                Some((table, _)) => rest = table,
                None => return (0, 0),
            }
        }
    }
}

/// `rings.capacity` as it is written in the file: `[rings] capacity`; `stream.7.policy`: `[[stream]] id = 7: policy`.
fn key_as_written(key: &str) -> String {
    // The manifest's table is called so too, and has no number.
    if let Some((number, key)) = key.strip_prefix("model.").and_then(|rest| rest.split_once('.')) {
        return format!("[[model]] {number}: {key}");
    }
    if let Some(rule) = key.strip_prefix("ingress.acl.") {
        return match rule.split_once('.') {
            Some((number, key)) => format!("[[ingress.acl]] rule {number}: {key}"),
            None => format!("[[ingress.acl]] rule {rule}"),
        };
    }
    let mut parts = key.splitn(3, '.');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("stream"), Some("default"), None) => "[[stream]] id = \"default\"".to_owned(),
        (Some("stream"), Some("default"), Some(key)) => format!("[[stream]] id = \"default\": {key}"),
        (Some("stream"), Some(id), None) => format!("[[stream]] id = {id}"),
        (Some("stream"), Some(id), Some(key)) => format!("[[stream]] id = {id}: {key}"),
        (Some("ingress"), Some("acl"), None) => "[[ingress.acl]]".to_owned(),
        (Some("stream"), None, None) => "[[stream]]".to_owned(),
        (Some(table), Some(key), None) => format!("[{table}] {key}"),
        (Some(table), Some(key), Some(inner)) => format!("[{table}] {key}.{inner}"),
        _ => format!("[{key}]"),
    }
}

fn line_and_column(text: &str, offset: usize) -> (u32, u32) {
    // The offset comes from the parser; a wrong one must not turn a message into a panic.
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line as u32, column as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_columns_count_characters_from_one() {
        assert_eq!(line_and_column("a = 1\nb = 2", 0), (1, 1));
        assert_eq!(line_and_column("a = 1\nb = 2", 10), (2, 5));
        assert_eq!(line_and_column("a = \"ä\" # x", 8), (1, 8), "a two-byte character is one column");
        assert_eq!(line_and_column("a", 99), (1, 2));
    }

    #[test]
    fn a_key_without_position_takes_that_of_its_table() {
        let mut origin = Origin::of_file("p.toml");
        origin.record("rings", "\n[rings]", &(2..7));
        let error = origin.error("rings.capacity", "= 3 is wrong", "write 4");
        assert_eq!(error.to_string(), "p.toml:2:2: [rings] capacity = 3 is wrong; write 4");
        let error = origin.error("arena.slots", "= 3 is wrong", "write 4");
        assert_eq!(error.to_string(), "p.toml: [arena] slots = 3 is wrong; write 4");
        assert_eq!(
            Origin::default().error("stream.7.policy", "is odd", "write x").to_string(),
            "[[stream]] id = 7: policy is odd; write x"
        );
    }
}
