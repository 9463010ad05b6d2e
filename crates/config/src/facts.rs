//! What the plan needs to know of the machine and of the network.

use std::fs;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::value::words;

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

words! {
    /// Element type of a tensor.
    DType {
        /// IEEE 754 binary32.
        F32 = "f32",
        /// IEEE 754 binary16.
        F16 = "f16",
        /// Unsigned byte.
        U8 = "u8",
        /// Signed byte.
        I8 = "i8",
    }
}

impl DType {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 | Self::I8 => 1,
        }
    }
}

/// One input or output of a network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorFacts {
    /// Element type.
    pub dtype: DType,
    /// Dimensions, usually `[N, C, H, W]`.
    pub shape: Vec<u64>,
}

impl TensorFacts {
    /// A tensor of f32.
    pub fn f32(shape: impl Into<Vec<u64>>) -> Self {
        Self { dtype: DType::F32, shape: shape.into() }
    }

    /// Bytes of all elements.
    pub fn bytes(&self) -> u64 {
        self.shape.iter().fold(self.dtype.bytes(), |bytes, side| bytes.saturating_mul(*side))
    }
}

/// What the network takes and gives, as `flumeway-infer --describe` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelFacts {
    /// Bytes of the input area: all inputs, each from a multiple of 64 on.
    pub input_bytes: u64,
    /// Bytes of the output area, laid out alike.
    pub output_bytes: u64,
    /// Its inputs.
    pub inputs: Vec<TensorFacts>,
    /// Its outputs.
    pub outputs: Vec<TensorFacts>,
    /// SHA-256 of its file, in lower-case hexadecimal; empty without a file.
    #[serde(default)]
    pub sha256: String,
}

/// A description of a network that is not in the agreed form.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the description of the model has no usable {0:?}; check that flumeway-infer and flumeway are of one release")]
pub struct DescribeError(pub &'static str);

impl ModelFacts {
    /// Whether a network with these tensors can take the other's place: frames on their way fit both.
    pub fn same_tensors(&self, other: &Self) -> bool {
        self.inputs == other.inputs && self.outputs == other.outputs
    }

    /// Reads the JSON object that `flumeway-infer --describe` prints.
    pub fn from_describe(description: &Value) -> Result<Self, DescribeError> {
        let bytes = |key: &'static str| {
            description.get(key).and_then(Value::as_u64).filter(|bytes| *bytes > 0).ok_or(DescribeError(key))
        };
        let tensors = |key: &'static str| -> Result<Vec<TensorFacts>, DescribeError> {
            let tensors = description.get(key).and_then(Value::as_array).ok_or(DescribeError(key))?;
            let facts = |tensor: &Value| serde_json::from_value(tensor.clone()).map_err(|_| DescribeError(key));
            let tensors: Vec<TensorFacts> = tensors.iter().map(facts).collect::<Result<_, _>>()?;
            if tensors.is_empty() { Err(DescribeError(key)) } else { Ok(tensors) }
        };
        if description.get("schema").and_then(Value::as_u64) != Some(1) {
            return Err(DescribeError("schema"));
        }
        Ok(Self {
            input_bytes: bytes("input_bytes")?,
            output_bytes: bytes("output_bytes")?,
            inputs: tensors("inputs")?,
            outputs: tensors("outputs")?,
            sha256: description.get("sha256").and_then(Value::as_str).unwrap_or_default().to_owned(),
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
        assert_eq!(facts.inputs, [TensorFacts::f32([1, 3, 2, 2])]);
        assert_eq!(facts.outputs, [TensorFacts::f32([1, 10])]);
        for (key, value) in [
            ("schema", json!(2)),
            ("input_bytes", json!(-1)),
            ("output_bytes", json!(0)),
            ("inputs", json!([])),
            ("inputs", json!([{"dtype": "f32", "shape": ["N"]}])),
            ("inputs", json!([{"dtype": "f64", "shape": [1]}])),
            ("outputs", json!({})),
        ] {
            let mut bad = good.clone();
            bad[key] = value;
            assert_eq!(ModelFacts::from_describe(&bad), Err(DescribeError(key)));
        }
    }
}
