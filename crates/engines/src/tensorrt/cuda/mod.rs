//! The part of CUDA's driver interface that this engine needs. The driver comes with libcuda; nothing else of CUDA has to be installed.

mod ffi;

pub(super) use ffi::{Buffer, Device, Driver, Event, Graph, Stream};

use crate::options::EngineOptions;
use crate::runtime;
use std::path::{Path, PathBuf};

/// The driver's library under the only name that it has.
const LIBRARY: &str = "libcuda.so.1";

/// The driver of this machine: beside the engine's libraries, for machines that keep it in a place of their own, or where the loader finds it.
///
/// # Errors
/// Which of library, driver and device is missing.
pub(super) fn driver(engine: &'static str, options: &EngineOptions) -> Result<(Driver, usize), String> {
    let beside = runtime::folders(engine, options).into_iter().map(|folder| folder.join(LIBRARY));
    let path = beside.into_iter().find(|path| path.exists()).unwrap_or_else(|| PathBuf::from(LIBRARY));
    let driver = Driver::open(Path::new(&path)).map_err(|reason| format!("there is no NVIDIA driver: {reason}"))?;
    match driver.count()? {
        0 => Err("the NVIDIA driver is there and has no device (cuDeviceGetCount says 0)".to_owned()),
        count => Ok((driver, count)),
    }
}
