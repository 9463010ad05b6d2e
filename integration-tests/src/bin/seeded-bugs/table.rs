//! The table of RELIABILITY.md that says which tool catches which planted bug.

use crate::tools::TOOLS;
use integration_tests::root;

/// The heading of the table's section.
const HEADING: &str = "## Planted bugs";

/// One bug and the tools that must catch it, in the order of [`TOOLS`].
#[derive(Debug)]
pub struct Row {
    pub bug: String,
    pub catches: Vec<bool>,
}

/// All rows.
#[derive(Debug)]
pub struct Table {
    pub rows: Vec<Row>,
}

impl Table {
    /// Reads RELIABILITY.md and compares its bugs with those that the code knows.
    pub fn read() -> Result<Self, String> {
        let path = root().join("RELIABILITY.md");
        let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        let table = Self::parse(&text)?;
        let known: Vec<_> = arena::seeded::Bug::ALL.iter().map(|(_, name)| *name).collect();
        let listed: Vec<_> = table.rows.iter().map(|row| row.bug.as_str()).collect();
        if known == listed {
            Ok(table)
        } else {
            Err(format!(
                "RELIABILITY.md lists {listed:?}, the code knows {known:?}; list each bug once, in the code's order"
            ))
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        let section = text.split_once(HEADING).ok_or(format!("RELIABILITY.md has no section \"{HEADING}\""))?.1;
        let lines: Vec<_> =
            section.lines().skip_while(|l| !l.starts_with('|')).take_while(|l| l.starts_with('|')).collect();
        let columns =
            |line: &str| -> Vec<String> { line.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect() };
        let names: Vec<_> = TOOLS.iter().map(|t| t.name.to_owned()).collect();
        let header = lines.first().map(|l| columns(l)).unwrap_or_default();
        if header.get(1..) != Some(&names[..]) {
            return Err(format!("the table under \"{HEADING}\" has the columns {header:?}, not bug, {names:?}"));
        }
        let row = |line: &&str| {
            let cells = columns(line);
            let catches: Vec<_> = cells.iter().skip(1).map(|c| c == "x").collect();
            let bug = cells.first().map(|c| c.trim_matches('`').to_owned()).unwrap_or_default();
            if catches.len() == names.len() {
                Ok(Row { bug, catches })
            } else {
                Err(format!("{line}: too few columns"))
            }
        };
        Ok(Self { rows: lines.iter().skip(2).map(row).collect::<Result<_, _>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_bugs_that_there_are() {
        let table = Table::read().unwrap();
        assert!(table.rows.len() >= 8);
        for row in &table.rows {
            assert!(row.catches.contains(&true), "{} is claimed by no tool", row.bug);
        }
    }
}
