//! `[pipeline]`: name, profile, how stages wait, and on which cores they run.

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::error::{ConfigError, Origin};
use crate::reader::Section;
use crate::value::{Auto, Mistake, Value, words};

words! {
    /// The set of defaults to start from.
    Profile {
        /// For servers and edge boxes with 4 GB and more.
        Default = "default",
        /// For boards with 2 GB: fewer buffers and slots, smaller rings and frames.
        Small = "small",
    }
}

words! {
    /// What a stage does while its rings are empty.
    Wait {
        /// Spin for `spin_us`, then sleep on the doorbell. Uses no CPU while idle.
        Adaptive = "adaptive",
        /// Spin without the `pause` instruction, for cores that belong to one stage alone.
        Spin = "spin",
        /// Spin with `pause`, for such cores on hardware where `pause` is cheap.
        SpinPause = "spin-pause",
    }
}

/// `[pipeline]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct General {
    /// Name of this pipeline on the machine: part of its socket's path and of its log lines.
    pub name: String,
    /// The defaults in use.
    pub profile: Profile,
    /// What a stage does while its rings are empty.
    pub wait: Wait,
    /// How long an adaptive stage spins before it sleeps; `auto` is 0 where stages share cores, else 50.
    pub spin_us: Auto<u32>,
    /// Which core runs what.
    pub cores: Cores,
}

/// `[pipeline] cores`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cores {
    /// Chosen by [`crate::Topology::new`] from the cores the machine has.
    Auto,
    /// Nobody is pinned; the kernel's scheduler decides.
    None,
    /// As the user wrote it.
    Pinned(PinnedCores),
}

/// Core ids as the kernel numbers them (`/proc/cpuinfo`, `taskset`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinnedCores {
    /// The supervisor's.
    pub supervisor: usize,
    /// One per instance of rx-gateway; written as a number where there is one.
    pub rx_gateway: Vec<usize>,
    /// One per instance of preprocess.
    pub preprocess: Vec<usize>,
    /// One per instance of infer.
    pub infer: Vec<usize>,
    /// tx's.
    pub tx: usize,
}

const CORES: &str = "\"auto\", \"none\", or { supervisor = 0, rx_gateway = 1, preprocess = [2], infer = [3], tx = 1 }";

impl Value for Cores {
    fn wanted() -> String {
        CORES.to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match (value.as_str(), value.as_table()) {
            (Some("auto"), _) => return Ok(Self::Auto),
            (Some("none"), _) => return Ok(Self::None),
            (Some(_), _) => return Err(Mistake::new("is not known", format!("write {CORES}"))),
            (None, None) => return Err(Mistake::wrong_type(value, CORES)),
            (None, Some(_)) => {}
        }
        inline_table(value, &["supervisor", "rx_gateway", "preprocess", "infer", "tx"], CORES)?;
        Ok(Self::Pinned(PinnedCores {
            supervisor: entry(value, "supervisor")?,
            rx_gateway: match entry(value, "rx_gateway") {
                Ok(core) => vec![core],
                Err(_) if value.get("rx_gateway").is_some_and(|v| v.get_ref().is_array()) => {
                    entry(value, "rx_gateway")?
                }
                Err(mistake) => return Err(mistake),
            },
            preprocess: entry(value, "preprocess")?,
            infer: entry(value, "infer")?,
            tx: entry(value, "tx")?,
        }))
    }
}

/// Refuses keys of the inline table `value` other than `keys`, and missing ones.
pub(crate) fn inline_table(value: &DeValue<'_>, keys: &[&str], wanted: &str) -> Result<(), Mistake> {
    let Some(table) = value.as_table() else {
        return Err(Mistake::wrong_type(value, wanted));
    };
    if let Some(unknown) = table.keys().find(|key| !keys.contains(&key.get_ref().as_ref())) {
        return Err(Mistake::new(format!("has the unknown key {}", unknown.get_ref()), format!("write {wanted}")));
    }
    match keys.iter().find(|key| table.get(**key).is_none()) {
        Some(missing) => Err(Mistake::new(format!("lacks the key {missing}"), format!("write {wanted}"))),
        None => Ok(()),
    }
}

/// One entry of an inline table that [`inline_table`] has passed.
pub(crate) fn entry<T: Value>(table: &DeValue<'_>, key: &str) -> Result<T, Mistake> {
    let value = table.get(key).ok_or_else(|| Mistake::new(format!("lacks the key {key}"), "add it"))?;
    T::read(value.get_ref()).map_err(|mistake| {
        let remedy = format!("{} as {key}", mistake.remedy);
        Mistake::new(format!("has a {key} that {}", mistake.problem), remedy)
    })
}

impl Default for General {
    fn default() -> Self {
        Self {
            name: "flumeway".to_owned(),
            profile: Profile::Default,
            wait: Wait::Adaptive,
            spin_us: Auto::AUTO,
            cores: Cores::Auto,
        }
    }
}

impl General {
    pub(crate) fn read(section: &mut Section<'_, '_>) -> Result<Self, ConfigError> {
        let mut general = Self::default();
        section.set("name", &mut general.name)?;
        section.set("profile", &mut general.profile)?;
        section.set("wait", &mut general.wait)?;
        section.set("spin_us", &mut general.spin_us)?;
        section.set("cores", &mut general.cores)?;
        Ok(general)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || self.name.len() > 48 || self.name.starts_with('.') || !self.name.chars().all(plain) {
            return Err(at.error(
                "pipeline.name",
                &format!("= {:?} cannot be a file name", self.name),
                "write 1 to 48 letters, digits, '-', '_' or '.', not beginning with '.'",
            ));
        }
        if let Auto::Fixed(spin_us) = self.spin_us {
            // A second of spinning is no adaptive wait any more, and a misplaced unit is likelier.
            at.in_range("pipeline.spin_us", spin_us, 0..=1_000_000)?;
        }
        Ok(())
    }

    /// The pinned cores must be as many as the instances of rx-gateway, preprocess and infer.
    pub(crate) fn check_cores(&self, at: &Origin, instances: [u32; 3]) -> Result<(), ConfigError> {
        let Cores::Pinned(cores) = &self.cores else {
            return Ok(());
        };
        let written = [("rx_gateway", &cores.rx_gateway), ("preprocess", &cores.preprocess), ("infer", &cores.infer)];
        for ((stage, ids), instances) in written.into_iter().zip(instances) {
            if ids.len() != instances as usize {
                return Err(at.error(
                    "pipeline.cores",
                    &format!("names {} for {stage}, which has instances = {instances}", count(ids.len(), "core")),
                    format!("write one core per instance of {stage}"),
                ));
            }
        }
        Ok(())
    }
}

/// `1 core`, `2 cores`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
