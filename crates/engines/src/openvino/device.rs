//! Devices and their settings.

use super::NAME;
use super::model::ffi::{CompiledModel, Core};
use crate::error::LoadError;
use crate::options::{EngineOptions, Precision};
use std::ffi::CStr;

/// The device that every machine has.
const CPU: &str = "CPU";

/// Devices that are made of others, which follow after a colon.
const VIRTUAL: [&str; 3] = ["AUTO", "HETERO", "MULTI"];

/// Where to compute and how.
pub(super) struct Device {
    /// In OpenVINO's words.
    pub name: String,
    /// What is set: part of what a compiled model depends on.
    pub settings: Vec<String>,
    /// Why the precision asked for is not used.
    pub note: Option<String>,
}

impl Device {
    /// Finds the device of the options and sets it up for few frames at a time, each as fast as it goes.
    pub(super) fn choose(core: &Core, options: &EngineOptions) -> Result<Self, LoadError> {
        let name = options.device.as_deref().unwrap_or(CPU).to_ascii_uppercase();
        let available = core.devices().map_err(failed)?;
        if !is_available(&name, &available) {
            let known: Vec<_> = available.iter().map(|device| device.to_lowercase()).collect();
            let reason = format!(
                "device = \"{}\": OpenVINO finds {} here, and \"auto\"; a GPU or NPU needs its driver",
                name.to_lowercase(),
                known.join(", ")
            );
            return Err(LoadError::BadOptions { reason });
        }
        let mut device = Self { name, settings: Vec::new(), note: None };
        // Files are read, not mapped: one that is overwritten while the model runs must not change it, nor end the process by SIGBUS.
        device.set(core, "", c"ENABLE_MMAP", "NO")?;
        let virtual_device = is_virtual(&device.name).then(|| device.name.clone());
        let computing = virtual_device.as_ref().map_or_else(|| vec![device.name.clone()], |_| available);
        for name in virtual_device.iter().chain(&computing) {
            device.set(core, name, c"PERFORMANCE_HINT", "LATENCY")?;
        }
        for name in &computing {
            let precision = device.precision(core, name, options.precision);
            device.set(core, name, c"INFERENCE_PRECISION_HINT", precision)?;
        }
        if computing.iter().any(|name| name == CPU) {
            device.set(core, CPU, c"INFERENCE_NUM_THREADS", &options.threads.to_string())?;
            // One graph, which requests use in turn. More streams would share the threads and make each frame slower.
            device.set(core, CPU, c"NUM_STREAMS", "1")?;
            // The stage has pinned itself, and its threads stay where it is; OpenVINO would choose cores of its own.
            device.set(core, CPU, c"ENABLE_CPU_PINNING", "NO")?;
        }
        Ok(device)
    }

    fn set(&mut self, core: &Core, device: &str, key: &CStr, value: &str) -> Result<(), LoadError> {
        core.set(device, key, value).map_err(failed)?;
        self.settings.push(format!("{device} {}={value}", key.to_string_lossy()));
        Ok(())
    }

    pub(super) fn is_cpu(&self) -> bool {
        self.name == CPU
    }

    /// The number format to compute in: what the model names, or the shortest that the device computes in.
    fn precision(&mut self, core: &Core, device: &str, wanted: Precision) -> &'static str {
        if wanted == Precision::Model {
            return "f32";
        }
        let offered = core.property(device, c"OPTIMIZATION_CAPABILITIES").unwrap_or_default();
        let offers = |name: &str| offered.split([' ', ',']).any(|word| word == name);
        match (offers("BF16"), offers("FP16")) {
            (true, _) => "bf16",
            (false, true) => "f16",
            (false, false) => {
                self.note = Some(format!("{device} computes in nothing shorter than f32"));
                "f32"
            }
        }
    }

    /// What a user should know of this device's dealing with the arena's memory.
    pub(super) fn memory_note(&self, core: &Core) -> String {
        if self.is_cpu() {
            return "tensors are read and written where they are".to_owned();
        }
        let kind = core.property(&self.name, c"DEVICE_TYPE").unwrap_or_else(|_| "of unknown type".to_owned());
        format!(
            "device {} ({kind}): whether the arena can be imported as a remote tensor is unknown, since no property tells; \
             tensors are given as host memory, which the driver imports or copies",
            self.name
        )
    }
}

fn is_virtual(name: &str) -> bool {
    VIRTUAL.contains(&name.split(':').next().unwrap_or(name))
}

/// `GPU` is there if `GPU.0` is; of a virtual device only the name is checked, and OpenVINO the rest.
fn is_available(name: &str, available: &[String]) -> bool {
    is_virtual(name) || available.iter().any(|device| device == name || device.split('.').next() == Some(name))
}

/// The number format that `model` was compiled for. Which layers of a quantised model run in int8 the C interface does not tell: those that OpenVINO
/// recognises and the processor has instructions for.
pub(super) fn compiled_precision(model: &CompiledModel, is_quantised: bool) -> &'static str {
    let compiled = model.property(c"INFERENCE_PRECISION_HINT").unwrap_or_default();
    match (compiled.as_str(), is_quantised) {
        ("bf16", false) => "bf16",
        ("f16", false) => "f16",
        ("f32", false) => "f32",
        ("bf16", true) => "int8 or bf16",
        ("f16", true) => "int8 or f16",
        ("f32", true) => "int8 or f32",
        _ => "the device's own",
    }
}

fn failed(reason: String) -> LoadError {
    LoadError::Runtime { engine: NAME, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_known_by_their_names() {
        let available = ["CPU".to_owned(), "GPU.0".to_owned(), "GPU.1".to_owned()];
        for name in ["CPU", "GPU", "GPU.1", "AUTO", "AUTO:GPU,CPU"] {
            assert!(is_available(name, &available), "{name}");
        }
        for name in ["NPU", "GPU.2", "", "CPU.0", "AUTOMATIC"] {
            assert!(!is_available(name, &available), "{name}");
        }
    }
}
