//! The parsed file, table by table: keys are asked for by name, what nobody asked for is an unknown key.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::de::DeTable;

use crate::error::{ConfigError, Origin};
use crate::stream::StreamId;
use crate::suggest;
use crate::value::Value;

/// A parsed file.
pub(crate) struct Document<'t> {
    text: &'t str,
    root: DeTable<'t>,
    pub origin: Origin,
    /// Every dotted key that was asked for, with `stream.*` for all streams: the keys there are.
    pub known: BTreeSet<String>,
    tables: Vec<&'static str>,
}

/// One table of the file while it is read. A table that the file lacks reads as an empty one.
pub(crate) struct Section<'d, 't> {
    path: String,
    /// `path`, but the same for all streams.
    kind: &'static str,
    text: &'t str,
    table: Option<&'d DeTable<'t>>,
    asked: Vec<&'static str>,
    /// Keys that hold lists of tables.
    lists: Vec<&'static str>,
    pub origin: &'d mut Origin,
    known: &'d mut BTreeSet<String>,
}

impl<'t> Document<'t> {
    /// Parses `text`; `file` is its name in messages.
    pub fn parse(text: &'t str, file: &str) -> Result<Self, ConfigError> {
        let origin = Origin::of_file(file);
        match DeTable::parse(text) {
            Ok(root) => Ok(Self { text, root: root.into_inner(), origin, known: BTreeSet::new(), tables: Vec::new() }),
            Err(error) => {
                let what = error.message().replace('\n', ", ");
                let remedy = if what.contains("duplicate key") {
                    "write it once"
                } else {
                    "write key = value, texts in quotes, tables as [name]"
                };
                Err(origin.error_in_text(
                    text,
                    error.span().map(|span| span.start),
                    format!("no valid TOML: {what}"),
                    remedy,
                ))
            }
        }
    }

    /// Reads table `[name]` with `read`, and refuses what `read` did not ask for.
    pub fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_, 't>) -> Result<T, ConfigError>,
    ) -> Result<T, ConfigError> {
        self.tables.push(name);
        let table = match self.root.get_key_value(name) {
            None => None,
            Some((key, value)) => {
                self.origin.record(name, self.text, &key.span());
                Some(value.get_ref().as_table().ok_or_else(|| {
                    self.origin.error(
                        name,
                        &format!("is no table but {}", value.get_ref().type_str()),
                        format!("write [{name}] on a line of its own"),
                    )
                })?)
            }
        };
        let mut section = Section {
            path: name.to_owned(),
            kind: name,
            text: self.text,
            table,
            asked: Vec::new(),
            lists: Vec::new(),
            origin: &mut self.origin,
            known: &mut self.known,
        };
        let result = read(&mut section)?;
        section.finish()?;
        Ok(result)
    }

    /// Reads each `[[name]]` with `read`, in the order of the file.
    pub fn list<T>(
        &mut self,
        name: &'static str,
        read: impl FnMut(&mut Section<'_, '_>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        self.tables.push(name);
        // The root is a table like any other, whose own keys are none of this list's business.
        let mut root = Section {
            path: String::new(),
            kind: "",
            text: self.text,
            table: Some(&self.root),
            asked: Vec::new(),
            lists: Vec::new(),
            origin: &mut self.origin,
            known: &mut self.known,
        };
        root.entries(name, name, read)
    }

    /// Reads each `[[stream]]` with `read`, the default one first.
    pub fn streams<T>(
        &mut self,
        mut read: impl FnMut(&mut Section<'_, 't>, StreamId) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        self.tables.push("stream");
        let Some((key, value)) = self.root.get_key_value("stream") else {
            return Ok(Vec::new());
        };
        self.origin.record("stream", self.text, &key.span());
        let no_list = || self.origin.error("stream", "is no list of tables", "write [[stream]], with two brackets");
        let array = value.get_ref().as_array().ok_or_else(no_list)?;
        let tables: Option<Vec<_>> =
            array.iter().map(|entry| Some((entry.span(), entry.get_ref().as_table()?))).collect();
        let mut entries: Vec<(StreamId, Range<usize>, &DeTable<'t>)> = Vec::new();
        for (span, table) in tables.ok_or_else(no_list)? {
            let id = stream_id(&mut self.origin, self.text, &span, table)?;
            if entries.iter().any(|(other, ..)| *other == id) {
                return Err(self.origin.error(
                    "stream",
                    &format!("id = {} is there twice", id.as_written()),
                    "merge the two entries",
                ));
            }
            entries.push((id, span, table));
        }
        entries.sort_by_key(|(id, ..)| *id != StreamId::Default);
        let mut streams = Vec::with_capacity(entries.len());
        for (id, span, table) in entries {
            let path = format!("stream.{id}");
            self.origin.record(&path, self.text, &span);
            let mut section = Section {
                path,
                kind: "stream",
                text: self.text,
                table: Some(table),
                asked: vec!["id"],
                lists: Vec::new(),
                origin: &mut self.origin,
                known: &mut self.known,
            };
            streams.push(read(&mut section, id)?);
            section.finish()?;
        }
        Ok(streams)
    }

    /// Refuses tables that were never asked for.
    pub fn finish(mut self) -> Result<(Origin, BTreeSet<String>), ConfigError> {
        let unknown = self.root.iter().filter(|(key, _)| !self.tables.contains(&key.get_ref().as_ref()));
        if let Some((key, value)) = unknown.min_by_key(|(key, _)| key.span().start) {
            let name = key.get_ref().as_ref();
            self.origin.record(name, self.text, &key.span());
            let is_table = match value.get_ref().as_array() {
                Some(entries) => entries.iter().any(|entry| entry.get_ref().is_table()),
                None => value.get_ref().is_table(),
            };
            if !is_table {
                let message = format!("{name} stands outside any table");
                let remedy = "move it below the [table] it belongs to";
                return Err(self.origin.error_in_text(self.text, Some(key.span().start), message, remedy));
            }
            let remedy = match suggest::nearest(name, &self.tables) {
                Some("stream") => "write [[stream]]".to_owned(),
                Some(table) => format!("write [{table}]"),
                None => format!("remove it; the tables are {}", self.tables.join(", ")),
            };
            return Err(self.origin.error(name, "is no table of this file", remedy));
        }
        Ok((self.origin, self.known))
    }
}

impl Section<'_, '_> {
    /// Reads `key` into `slot` if the file has it; `slot` keeps its default otherwise.
    pub fn set<T: Value>(&mut self, key: &'static str, slot: &mut T) -> Result<(), ConfigError> {
        self.asked.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else {
            return Ok(());
        };
        let path = self.path_of(key);
        self.origin.record(&path, self.text, &value.span());
        *slot = T::read(value.get_ref()).map_err(|mistake| {
            let shown = shown(self.text.get(value.span()).unwrap_or(""));
            self.origin.error(&path, &format!("= {shown} {}", mistake.problem), mistake.remedy)
        })?;
        Ok(())
    }

    /// Reads each table of the list `key` with `read`, in the order of the file. `kind` is the dotted name of such a table.
    pub fn entries<T>(
        &mut self,
        key: &'static str,
        kind: &'static str,
        mut read: impl FnMut(&mut Section<'_, '_>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        self.lists.push(key);
        let Some(value) = self.table.and_then(|table| table.get(key)) else {
            return Ok(Vec::new());
        };
        let path = self.path_of(key);
        self.origin.record(&path, self.text, &value.span());
        let no_list = |origin: &Origin| {
            origin.error(&path, "is no list of tables", format!("write [[{kind}]], with two brackets"))
        };
        let array = value.get_ref().as_array().ok_or_else(|| no_list(self.origin))?;
        let mut entries = Vec::with_capacity(array.len());
        for (n, entry) in array.iter().enumerate() {
            let table = entry.get_ref().as_table().ok_or_else(|| no_list(self.origin))?;
            let path = format!("{path}.{}", n + 1);
            self.origin.record(&path, self.text, &entry.span());
            let mut section = Section {
                path,
                kind,
                text: self.text,
                table: Some(table),
                asked: Vec::new(),
                lists: Vec::new(),
                origin: &mut *self.origin,
                known: &mut *self.known,
            };
            entries.push(read(&mut section)?);
            section.finish()?;
        }
        Ok(entries)
    }

    /// The dotted name of `key` in this table, as [`Origin`] knows it.
    pub fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn finish(self) -> Result<(), ConfigError> {
        for key in &self.asked {
            self.known.insert(format!("{}.{key}", self.kind));
        }
        let Some(table) = self.table else {
            return Ok(());
        };
        let asked = [self.asked.as_slice(), &self.lists].concat();
        let unknown = table.keys().filter(|key| !asked.contains(&key.get_ref().as_ref()));
        let Some(key) = unknown.min_by_key(|key| key.span().start) else {
            return Ok(());
        };
        let path = self.path_of(key.get_ref());
        self.origin.record(&path, self.text, &key.span());
        let remedy = match suggest::nearest(key.get_ref(), &asked) {
            Some(known) => format!("write {known}"),
            None => format!("remove it; the keys here are {}", asked.join(", ")),
        };
        Err(self.origin.error(&path, "is not a known key", remedy))
    }
}

/// The `id` of a stream's entry. Errors stand at the id, or at the entry that lacks one.
fn stream_id(
    origin: &mut Origin,
    text: &str,
    entry: &Range<usize>,
    table: &DeTable<'_>,
) -> Result<StreamId, ConfigError> {
    origin.record("stream", text, entry);
    let Some(id) = table.get("id") else {
        return Err(origin.error("stream", "has no id", format!("write {}", StreamId::wanted())));
    };
    origin.record("stream", text, &id.span());
    StreamId::read(id.get_ref()).map_err(|mistake| {
        let shown = shown(text.get(id.span()).unwrap_or(""));
        origin.error("stream", &format!("id = {shown} {}", mistake.problem), mistake.remedy)
    })
}

/// The value as the user wrote it, cut to what fits into a message.
fn shown(source: &str) -> String {
    const LONGEST: usize = 60;
    let line = source.lines().next().unwrap_or("");
    if line.chars().count() <= LONGEST && line.len() == source.len() {
        return line.to_owned();
    }
    let cut: String = line.chars().take(LONGEST).collect();
    format!("{cut}...")
}
