//! Where ONNX Runtime computes: its execution providers, and which the option `device` asks for.

use super::NAME;
use super::ffi::{Failure, Options, Runtime};
use crate::error::LoadError;
use crate::options::{EngineOptions, Precision};
use std::ffi::{CStr, CString};
use std::os::unix::ffi::OsStrExt;

/// An execution provider.
struct Provider {
    /// In the option `device`.
    device: &'static str,
    /// In the library's list.
    listed: &'static str,
    /// To the function that adds it; empty for the one that is always there.
    added: &'static str,
}

/// Those that can be asked for, others are not listed to users: one of them sends tensors to a web service.
const PROVIDERS: [Provider; 6] = [
    Provider { device: "cpu", listed: "CPUExecutionProvider", added: "" },
    Provider { device: "cuda", listed: "CUDAExecutionProvider", added: "CUDA" },
    Provider { device: "tensorrt", listed: "TensorrtExecutionProvider", added: "TensorRT" },
    Provider { device: "openvino", listed: "OpenVINOExecutionProvider", added: "OpenVINO" },
    Provider { device: "xnnpack", listed: "XnnpackExecutionProvider", added: "XNNPACK" },
    Provider { device: "acl", listed: "ACLExecutionProvider", added: "ACL" },
];

/// The devices that `runtime` was built for.
pub(super) fn devices(runtime: &Runtime) -> Vec<String> {
    let here = |provider: &&Provider| runtime.providers.iter().any(|listed| listed == provider.listed);
    PROVIDERS.iter().filter(here).map(|provider| provider.device.to_owned()).collect()
}

/// Adds what `device` asks for and returns its name for descriptions.
pub(super) fn choose(runtime: &Runtime, engine: &EngineOptions, options: &mut Options) -> Result<String, LoadError> {
    let wanted = engine.device.as_deref().unwrap_or("cpu").to_ascii_lowercase();
    let (name, number) = wanted.split_once(':').map_or((wanted.as_str(), None), |(name, rest)| (name, Some(rest)));
    let Some(provider) = PROVIDERS.iter().find(|provider| provider.device == name) else {
        let known = PROVIDERS.map(|provider| provider.device).join(", ");
        let reason = format!("device \"{wanted}\" is not one of {known}: write cpu, cuda:0, openvino:npu or the like");
        return Err(LoadError::BadOptions { reason });
    };
    let devices = devices(runtime);
    if !devices.iter().any(|device| device == name) {
        return Err(LoadError::NoRuntime {
            engine: NAME,
            reason: format!(
                "{} (version {}) was not built for device \"{name}\"; it has {}",
                runtime.path.display(),
                runtime.version,
                devices.join(", ")
            ),
            remedy: "Install a build that was, or leave `device` out".to_owned(),
        });
    }
    let values = provider_options(name, number, engine)?;
    let failed = |failure: Failure| LoadError::Runtime {
        engine: NAME,
        reason: format!("device \"{wanted}\": {}", failure.message),
    };
    if name == "tensorrt" {
        // What TensorRT cannot compute stays on the same GPU.
        options.append(provider.added, &values).map_err(failed)?;
        let values = provider_options("cuda", number, engine)?;
        options.append("CUDA", &values).map_err(failed)?;
    } else if !provider.added.is_empty() {
        options.append(provider.added, &values).map_err(failed)?;
    }
    Ok(wanted)
}

/// Keys and values in the provider's own words.
fn provider_options(
    name: &str,
    number: Option<&str>,
    engine: &EngineOptions,
) -> Result<Vec<(&'static CStr, CString)>, LoadError> {
    let text = |value: &[u8]| {
        let reason = || LoadError::BadOptions { reason: "a name with a zero byte in it: write it without".to_owned() };
        CString::new(value).map_err(|_| reason())
    };
    let reduced = engine.precision == Precision::Reduced;
    let mut values = Vec::new();
    match name {
        "cuda" | "tensorrt" => {
            let number = number.unwrap_or("0");
            if number.parse::<u16>().is_err() {
                let reason = format!("device \"{name}:{number}\": the GPU is a number, as in {name}:0");
                return Err(LoadError::BadOptions { reason });
            }
            values.push((c"device_id", text(number.as_bytes())?));
            if name == "cuda" {
                values.push((c"use_tf32", text(if reduced { b"1" } else { b"0" })?));
            } else {
                values.push((c"trt_fp16_enable", text(if reduced { b"1" } else { b"0" })?));
                if let Some(folder) = &engine.cache_dir {
                    values.push((c"trt_engine_cache_enable", text(b"1")?));
                    values.push((c"trt_engine_cache_path", text(folder.as_os_str().as_bytes())?));
                }
            }
        }
        "openvino" => {
            values.push((c"device_type", text(number.unwrap_or("cpu").to_ascii_uppercase().as_bytes())?));
            values.push((c"num_of_threads", text(engine.threads.to_string().as_bytes())?));
            if let Some(folder) = &engine.cache_dir {
                values.push((c"cache_dir", text(folder.as_os_str().as_bytes())?));
            }
        }
        "xnnpack" => values.push((c"intra_op_num_threads", text(engine.threads.to_string().as_bytes())?)),
        // Its one option is whether it may compute in shorter numbers.
        "acl" if reduced => values.push((c"enable_fast_math", text(b"1")?)),
        _ => {}
    }
    if number.is_some() && !matches!(name, "cuda" | "tensorrt" | "openvino") {
        let reason = format!("device \"{name}\" has no number: write device = \"{name}\"");
        return Err(LoadError::BadOptions { reason });
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: &str, number: Option<&str>, engine: &EngineOptions) -> Result<Vec<(String, String)>, String> {
        let own = |text: &CStr| text.to_str().unwrap().to_owned();
        provider_options(name, number, engine)
            .map(|values| values.iter().map(|(key, value)| (own(key), own(value))).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn devices_become_the_providers_own_words() {
        let engine = EngineOptions { cache_dir: Some("/c".into()), threads: 3, ..EngineOptions::default() };
        let pairs = |values: &[(&str, &str)]| {
            Ok(values.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>())
        };
        assert_eq!(options("cpu", None, &engine), pairs(&[]));
        assert_eq!(options("cuda", Some("1"), &engine), pairs(&[("device_id", "1"), ("use_tf32", "0")]));
        let npu = pairs(&[("device_type", "NPU"), ("num_of_threads", "3"), ("cache_dir", "/c")]);
        assert_eq!(options("openvino", Some("npu"), &engine), npu);
        let cached = [
            ("device_id", "0"),
            ("trt_fp16_enable", "1"),
            ("trt_engine_cache_enable", "1"),
            ("trt_engine_cache_path", "/c"),
        ];
        let reduced = EngineOptions { precision: Precision::Reduced, ..engine };
        assert_eq!(options("tensorrt", None, &reduced), pairs(&cached));
        assert!(options("cuda", Some("fast"), &reduced).unwrap_err().contains("a number, as in cuda:0"));
        assert!(options("cpu", Some("0"), &reduced).unwrap_err().contains("has no number"));
    }
}
