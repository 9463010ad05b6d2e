//! `[arena]` and `[rings]`: buffers, slots and rings, the sizes that the shared memory is made of.

use serde::{Deserialize, Serialize};

use crate::error::{ConfigError, Origin};
use crate::general::Profile;
use crate::reader::Section;
use crate::value::{Auto, words};

/// Bytes from one packet buffer to the next in the arena.
pub const BUFFER_STRIDE_BYTES: u64 = 4096;

words! {
    /// Whether the arena lies in 2 MiB pages.
    Hugepages {
        /// If the machine has enough of them free.
        Auto = "auto",
        /// Or else the pipeline does not start.
        Require = "require",
        /// Ordinary pages.
        Off = "off",
    }
}

/// `[arena]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Arena {
    /// Packet buffers of 4096 bytes.
    pub buffers: u32,
    /// Pairs of an input and an output tensor: the frames that can be between preprocess and tx at once.
    pub slots: Auto<u32>,
    /// Whether the arena lies in 2 MiB pages.
    pub hugepages: Hugepages,
    /// Bytes of one input tensor; 0 takes the model's. More leaves room for a later model.
    pub max_input_bytes: u64,
    /// Bytes of one output area; 0 takes the model's.
    pub max_output_bytes: u64,
}

impl Arena {
    pub(crate) fn defaults(profile: Profile) -> Self {
        Self {
            buffers: if profile == Profile::Small { 4096 } else { 16384 },
            slots: Auto::AUTO,
            hugepages: Hugepages::Auto,
            max_input_bytes: 0,
            max_output_bytes: 0,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>, profile: Profile) -> Result<Self, ConfigError> {
        let mut arena = Self::defaults(profile);
        section.set("buffers", &mut arena.buffers)?;
        section.set("slots", &mut arena.slots)?;
        section.set("hugepages", &mut arena.hugepages)?;
        section.set("max_input_bytes", &mut arena.max_input_bytes)?;
        section.set("max_output_bytes", &mut arena.max_output_bytes)?;
        Ok(arena)
    }

    pub(crate) fn check(&self, at: &Origin, rings: &Rings) -> Result<(), ConfigError> {
        // 16 GiB of packets; an attached buffer's word could name four times as many.
        at.in_range("arena.buffers", self.buffers, 64..=1 << 22)?;
        at.in_range("arena.max_input_bytes", self.max_input_bytes, 0..=1 << 30)?;
        at.in_range("arena.max_output_bytes", self.max_output_bytes, 0..=1 << 30)?;
        let Auto::Fixed(slots) = self.slots else {
            return Ok(());
        };
        at.in_range("arena.slots", slots, 1..=65536)?;
        for (limit, key) in [(rings.capacity, "[rings] capacity"), (self.buffers, "[arena] buffers")] {
            if slots > limit {
                return Err(at.error(
                    "arena.slots",
                    &format!("= {slots} is more than {key} = {limit}"),
                    format!("write at most {limit}, or raise {key}"),
                ));
            }
        }
        Ok(())
    }
}

/// `[rings]`: the single-producer rings between stages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rings {
    /// Entries of a ring that carries frames from stage to stage; a power of two.
    pub capacity: u32,
    /// Most entries a stage takes from a ring at once.
    pub burst: u32,
    /// Above this fill a ring's producer stops taking input.
    pub high_watermark_percent: u32,
    /// Below this fill a stopped producer is woken.
    pub low_watermark_percent: u32,
}

impl Rings {
    pub(crate) fn defaults(profile: Profile) -> Self {
        Self {
            capacity: if profile == Profile::Small { 1024 } else { 8192 },
            burst: 32,
            high_watermark_percent: 75,
            low_watermark_percent: 25,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>, profile: Profile) -> Result<Self, ConfigError> {
        let mut rings = Self::defaults(profile);
        section.set("capacity", &mut rings.capacity)?;
        section.set("burst", &mut rings.burst)?;
        section.set("high_watermark_percent", &mut rings.high_watermark_percent)?;
        section.set("low_watermark_percent", &mut rings.low_watermark_percent)?;
        Ok(rings)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        at.in_range("rings.capacity", self.capacity, 64..=65536)?;
        if !self.capacity.is_power_of_two() {
            return Err(at.error(
                "rings.capacity",
                &format!("= {} is not a power of two", self.capacity),
                format!("write {}", self.capacity.next_power_of_two()),
            ));
        }
        at.in_range("rings.burst", self.burst, 1..=256)?;
        if self.burst > self.capacity {
            return Err(at.error(
                "rings.burst",
                &format!("= {} is more than capacity = {}", self.burst, self.capacity),
                format!("write at most {}", self.capacity),
            ));
        }
        at.in_range("rings.high_watermark_percent", self.high_watermark_percent, 1..=100)?;
        at.in_range("rings.low_watermark_percent", self.low_watermark_percent, 0..=99)?;
        if self.low_watermark_percent >= self.high_watermark_percent {
            return Err(at.error(
                "rings.low_watermark_percent",
                &format!(
                    "= {} is not below high_watermark_percent = {}",
                    self.low_watermark_percent, self.high_watermark_percent
                ),
                format!("write less than {}", self.high_watermark_percent),
            ));
        }
        Ok(())
    }

    /// Entries at which a ring of `capacity` entries counts as full enough to stop its producer.
    pub fn high_watermark(&self, capacity: u32) -> u32 {
        share(capacity, self.high_watermark_percent).max(1)
    }

    /// Entries below which a stopped producer goes on; always less than [`Self::high_watermark`].
    pub fn low_watermark(&self, capacity: u32) -> u32 {
        share(capacity, self.low_watermark_percent).min(self.high_watermark(capacity) - 1)
    }
}

fn share(capacity: u32, percent: u32) -> u32 {
    (u64::from(capacity) * u64::from(percent) / 100) as u32
}
