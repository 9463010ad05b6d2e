//! `[replay]`: frames from a capture file, replies into another.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::error::{ConfigError, Origin};
use crate::files::absolute;
use crate::ingress::Driver;
use crate::reader::Section;
use crate::value::{Mistake, Value, words};

/// Most packets per second: one each microsecond.
const MAX_PER_S: u32 = 1_000_000;

/// How fast the input is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Speed {
    /// With the gaps between packets that the file has.
    Recorded,
    /// As fast as the pipeline takes them.
    Max,
    /// So many packets per second, evenly.
    PerS(u32),
}

impl Value for Speed {
    fn wanted() -> String {
        "\"recorded\", \"max\", or packets per second as a whole number".to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("recorded") => Ok(Self::Recorded),
            Some("max") => Ok(Self::Max),
            Some(_) => Err(Mistake::new("is not known", format!("write {}", Self::wanted()))),
            None => u32::read(value)
                .map(Self::PerS)
                .map_err(|m| Mistake::new(m.problem, format!("write {}", Self::wanted()))),
        }
    }
}

words! {
    /// What happens when the input is read to its end.
    AtEnd {
        /// The pipeline ends once every frame has been answered.
        Stop = "stop",
        /// It waits for what is appended to the file, until somebody stops it.
        Wait = "wait",
    }
}

/// `[replay]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replay {
    /// The capture that is read, absolute. Required with `[ingress] driver = "replay"`.
    pub input: Option<PathBuf>,
    /// The capture that replies are written to, absolute; what it holds is overwritten. Required as well.
    pub output: Option<PathBuf>,
    /// How fast.
    pub speed: Speed,
    /// What happens at the end.
    pub at_end: AtEnd,
}

impl Replay {
    pub(crate) fn defaults() -> Self {
        Self { input: None, output: None, speed: Speed::Recorded, at_end: AtEnd::Stop }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>, base_dir: &Path) -> Result<Self, ConfigError> {
        let mut it = Self::defaults();
        section.set("input", &mut it.input)?;
        section.set("output", &mut it.output)?;
        section.set("speed", &mut it.speed)?;
        section.set("at_end", &mut it.at_end)?;
        it.input = it.input.map(|path| absolute(base_dir, &path));
        it.output = it.output.map(|path| absolute(base_dir, &path));
        Ok(it)
    }

    pub(crate) fn check(&self, at: &Origin, driver: Driver) -> Result<(), ConfigError> {
        if let Speed::PerS(packets) = self.speed {
            at.in_range("replay.speed", packets, 1..=MAX_PER_S)?;
        }
        if driver != Driver::Replay {
            return Ok(());
        }
        let required = |key: &str, path: &Option<PathBuf>, remedy: &str| match path {
            Some(_) => Ok(()),
            None => Err(at.error(key, "is missing, and [ingress] driver = \"replay\" needs it", remedy)),
        };
        required("replay.input", &self.input, "name the pcap file to read")?;
        required("replay.output", &self.output, "name the pcap file to write replies to")?;
        if self.input == self.output {
            let remedy = "name another file: it would be overwritten before it is read";
            return Err(at.error("replay.output", "is the input", remedy));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{AtEnd, Speed};
    use crate::Pipeline;
    use std::path::Path;

    fn load(driver: &str, text: &str) -> Result<Pipeline, String> {
        let text = format!("[infer]\nengine = \"null\"\n[ingress]\ndriver = \"{driver}\"\n[replay]\n{text}");
        Pipeline::from_toml_str(&text, Path::new("/captures"), "p.toml").map_err(|e| e.to_string())
    }

    #[test]
    fn paths_start_at_the_file_and_speed_has_three_forms() {
        let both = "input = \"in.pcap\"\noutput = \"out/out.pcap\"\n";
        let replay = load("replay", both).unwrap().replay;
        assert_eq!(replay.input.as_deref(), Some(Path::new("/captures/in.pcap")));
        assert_eq!(replay.output.as_deref(), Some(Path::new("/captures/out/out.pcap")));
        assert_eq!((replay.speed, replay.at_end), (Speed::Recorded, AtEnd::Stop));
        for (text, speed) in [("\"max\"", Speed::Max), ("\"recorded\"", Speed::Recorded), ("25", Speed::PerS(25))] {
            let pipeline = load("replay", &format!("{both}speed = {text}\nat_end = \"wait\"")).unwrap();
            assert_eq!((pipeline.replay.speed, pipeline.replay.at_end), (speed, AtEnd::Wait));
            assert_eq!(Pipeline::from_json(pipeline.to_json().as_bytes()).unwrap().replay, pipeline.replay);
        }
        load("udp", "").unwrap();
    }

    #[test]
    fn one_gateway_reads_the_file() {
        let both = "input = \"a\"\noutput = \"b\"\n[rx_gateway]\ninstances = ";
        load("replay", &format!("{both}1")).unwrap();
        let error = load("replay", &format!("{both}2")).unwrap_err();
        assert!(error.contains("one reader; write 1"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_remedy() {
        let both = "input = \"a\"\noutput = \"b\"\n";
        for (text, said) in [
            ("output = \"b\"", "name the pcap file to read"),
            ("input = \"a\"", "write replies to"),
            ("input = \"a\"\noutput = \"./a\"", "is the input"),
            (&format!("{both}speed = 0"), "1"),
            (&format!("{both}speed = \"fast\""), "packets per second"),
            (&format!("{both}speed = 0.5"), "packets per second"),
            (&format!("{both}at_end = \"loop\""), "\"wait\""),
        ] {
            let error = load("replay", text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
