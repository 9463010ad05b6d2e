//! What the plan needs to know of the machine and of the network.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What this machine offers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineFacts {
    /// Ids of the cores this process may run on, ascending.
    pub cpus: Vec<usize>,
    /// 2 MiB pages that are reserved and free.
    pub hugepages_free_2m: u64,
    /// Ordinary memory that can be had without swapping.
    pub memory_available_bytes: u64,
    /// The most that `SO_RCVBUF` grants.
    pub rmem_max_bytes: u64,
}

impl MachineFacts {
    /// Asks the kernel. What it does not tell counts as 0, which the plan then warns about.
    pub fn detect() -> Self {
        let number = |path: &str| -> u64 {
            fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
        };
        Self {
            cpus: available_cpus(),
            hugepages_free_2m: number("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"),
            memory_available_bytes: memory_available_bytes(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            rmem_max_bytes: number("/proc/sys/net/core/rmem_max"),
        }
    }
}

fn available_cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return vec![0];
    };
    (0..rustix::thread::CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn memory_available_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// What the network takes and gives, as `flumeway-infer --describe` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Bytes of all inputs together.
    pub input_bytes: u64,
    /// Bytes of the output area: all outputs, each from a multiple of 64 on.
    pub output_bytes: u64,
    /// Shape of the first input, usually `[N, C, H, W]`.
    pub input_shape: Vec<u64>,
    /// Shape of each output.
    pub output_shapes: Vec<Vec<u64>>,
}

/// A description of a network that is not in the agreed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description of the model has no usable {0:?}; check that flumeway-infer and flumeway are of one release")]
pub struct DescribeError(pub &'static str);

impl ModelFacts {
    /// Reads the JSON object that `flumeway-infer --describe` prints.
    pub fn from_describe(description: &Value) -> Result<Self, DescribeError> {
        let bytes = |key: &'static str| {
            description.get(key).and_then(Value::as_u64).filter(|bytes| *bytes > 0).ok_or(DescribeError(key))
        };
        let shapes = |key: &'static str| -> Result<Vec<Vec<u64>>, DescribeError> {
            let tensors = description.get(key).and_then(Value::as_array).ok_or(DescribeError(key))?;
            let shape = |tensor: &Value| -> Option<Vec<u64>> {
                tensor.get("shape")?.as_array()?.iter().map(Value::as_u64).collect()
            };
            tensors.iter().map(|tensor| shape(tensor).ok_or(DescribeError(key))).collect()
        };
        if description.get("schema").and_then(Value::as_u64) != Some(1) {
            return Err(DescribeError("schema"));
        }
        Ok(Self {
            input_bytes: bytes("input_bytes")?,
            output_bytes: bytes("output_bytes")?,
            input_shape: shapes("inputs")?.into_iter().next().ok_or(DescribeError("inputs"))?,
            output_shapes: shapes("outputs")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn meminfo_is_read_in_kib() {
        assert_eq!(memory_available_bytes("MemTotal:  99 kB\nMemAvailable:    2048 kB\n"), 2048 * 1024);
        assert_eq!(memory_available_bytes("MemAvailable: many kB"), 0);
        assert_eq!(memory_available_bytes(""), 0);
    }

    #[test]
    fn this_machine_has_a_core() {
        let facts = MachineFacts::detect();
        assert!(!facts.cpus.is_empty());
        assert!(facts.memory_available_bytes > 0);
    }

    #[test]
    fn descriptions_are_checked() {
        let good = json!({"schema": 1, "engine": "rten", "input_bytes": 48, "output_bytes": 64,
            "inputs": [{"name": "x", "dtype": "f32", "shape": [1, 3, 2, 2]}],
            "outputs": [{"name": "y", "dtype": "f32", "shape": [1, 10]}]});
        let facts = ModelFacts::from_describe(&good).unwrap();
        assert_eq!((facts.input_bytes, facts.output_bytes), (48, 64));
        assert_eq!(facts.input_shape, [1, 3, 2, 2]);
        assert_eq!(facts.output_shapes, [[1, 10]]);
        for (key, value) in [
            ("schema", json!(2)),
            ("input_bytes", json!(-1)),
            ("output_bytes", json!(0)),
            ("inputs", json!([])),
            ("inputs", json!([{"shape": ["N"]}])),
            ("outputs", json!({})),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert_eq!(ModelFacts::from_describe(&bad), Err(DescribeError(key)));
        }
    }
}
