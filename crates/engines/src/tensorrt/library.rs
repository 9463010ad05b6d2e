//! Finding TensorRT: driver and device first, then the library in a process of its own, and only then in this one.
//!
//! Without a driver that suits it libnvinfer has handed out a wild pointer (11.4), so whether it works is asked where a crash is only an answer.

use super::NAME;
use super::cuda::{self, Device};
use super::ffi::Tensorrt;
use crate::error::LoadError;
use crate::options::EngineOptions;
use crate::{runtime, shim};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The program that tries the library, beside the shim.
const TRY_PROGRAM: &str = "try_tensorrt";

/// How long it may take: the first context on a device takes seconds.
const TRY_PATIENCE: Duration = Duration::from_mins(1);

/// How often it is asked whether it has ended.
const TRY_PERIOD: Duration = Duration::from_millis(5);

/// All that is needed to load a model.
pub(super) struct Found {
    pub tensorrt: Tensorrt,
    pub device: Device,
    /// The shim.
    pub path: PathBuf,
    /// Names of all devices, as options name them.
    pub devices: Vec<String>,
}

/// # Errors
/// [`LoadError::NoRuntime`] names what is missing: driver, device, shim or library. [`LoadError::BadOptions`]: no such device.
pub(super) fn open(options: &EngineOptions) -> Result<Found, LoadError> {
    let no_driver = |reason| LoadError::NoRuntime {
        engine: NAME,
        reason,
        remedy: "Install NVIDIA's driver on a machine with one of its GPUs, or use another engine".to_owned(),
    };
    let (driver, count) = cuda::driver(NAME, options).map_err(no_driver)?;
    let devices: Vec<_> = (0..count).map(|index| format!("cuda:{index}")).collect();
    let index = choose(options.device.as_deref(), &devices)?;
    let (path, tensorrt) = open_shim(options)?;
    let device = driver.device(index).map_err(|reason| LoadError::Runtime { engine: NAME, reason })?;
    Ok(Found { tensorrt, device, path, devices })
}

fn choose(wanted: Option<&str>, devices: &[String]) -> Result<usize, LoadError> {
    let wanted = wanted.unwrap_or("gpu");
    if wanted == "gpu" || wanted == "cuda" {
        return Ok(0);
    }
    devices.iter().position(|device| device == wanted).ok_or_else(|| {
        let reason = format!("TensorRT has no device \"{wanted}\" here: write one of {}, or none", devices.join(", "));
        LoadError::BadOptions { reason }
    })
}

/// The newest shim whose TensorRT works here.
fn open_shim(options: &EngineOptions) -> Result<(PathBuf, Tensorrt), LoadError> {
    let folders = runtime::folders(NAME, options);
    // One for each major version, which stands behind its name: in each folder the highest first.
    let in_folder = |folder: &PathBuf| {
        let found = runtime::libraries(std::slice::from_ref(folder), "libflumeway_tensorrt.so");
        found.into_iter().rev()
    };
    let shims: Vec<_> = folders.iter().flat_map(in_folder).collect();
    if shims.is_empty() {
        return Err(shim::no_runtime(
            NAME,
            format!("libflumeway_tensorrt.so is in none of {}", runtime::listed(&folders)),
        ));
    }
    let mut reasons = Vec::with_capacity(shims.len());
    for path in shims {
        let folder = path.parent().unwrap_or(Path::new("/"));
        match try_out(&path, folder).and_then(|()| Tensorrt::open(&path, folder)) {
            Ok(tensorrt) => return Ok((path, tensorrt)),
            Err(reason) => reasons.push(reason),
        }
    }
    Err(LoadError::NoRuntime {
        engine: NAME,
        reason: reasons.join("; "),
        remedy: "Install TensorRT 10 or 11 where the loader finds it, or put its libraries beside the shim".to_owned(),
    })
}

/// Lets a process of its own open the library and make a runtime.
fn try_out(path: &Path, folder: &Path) -> Result<(), String> {
    let program = folder.join(TRY_PROGRAM);
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let mut command = Command::new(&program);
    command.arg(path).arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(failed)?;
    let started = Instant::now();
    // What it prints is less than a pipe holds, so it ends without being read.
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed)? {
            break status;
        }
        if started.elapsed() > TRY_PATIENCE {
            child.kill().map_err(failed)?;
            child.wait().map_err(failed)?;
            return Err(format!("{} did not end within {TRY_PATIENCE:?}", program.display()));
        }
        std::thread::sleep(TRY_PERIOD);
    };
    if status.success() {
        return Ok(());
    }
    let mut said = String::new();
    if let Some(mut printed) = child.stdout.take() {
        printed.read_to_string(&mut said).map_err(failed)?;
    }
    match said.trim() {
        "" => Err(format!("TensorRT crashed in a trial process ({status}): driver and library do not suit each other")),
        said => Err(said.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_chosen_by_its_number() {
        let devices = ["cuda:0".to_owned(), "cuda:1".to_owned()];
        assert_eq!(choose(None, &devices).unwrap(), 0);
        assert_eq!(choose(Some("cuda:1"), &devices).unwrap(), 1);
        let refused = choose(Some("cuda:2"), &devices).unwrap_err().to_string();
        assert!(refused.contains("\"cuda:2\"") && refused.contains("cuda:0, cuda:1"), "{refused}");
    }
}
