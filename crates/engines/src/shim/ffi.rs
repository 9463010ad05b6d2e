//! The layouts of `shims/shim.h`, and opening libraries.
#![allow(unsafe_code)]

use super::{Element, Tensor};
use crate::shape::Dim;
use libloading::Library;
use std::ffi::{CStr, c_char};
use std::path::Path;

/// `FLUMEWAY_SHIM_ABI`: raised with every change of a header.
const ABI: u32 = 1;

const DIMS_MAX: usize = 8;
const NAME_BYTES: usize = 256;
const MESSAGE_BYTES: usize = 4096;

/// `flumeway_tensor`.
#[repr(C)]
pub(crate) struct RawTensor {
    element: u32,
    rank: u32,
    dims: [i64; DIMS_MAX],
    name: [u8; NAME_BYTES],
}

impl RawTensor {
    pub(crate) const fn new() -> Self {
        Self { element: u32::MAX, rank: 0, dims: [0; DIMS_MAX], name: [0; NAME_BYTES] }
    }

    /// What the library wrote, if it can be.
    pub(crate) fn read(&self) -> Option<Tensor> {
        let dims = self.dims.get(..self.rank as usize)?.iter().enumerate();
        let dims = dims.map(|(axis, &dim)| match dim {
            -1 => Some(Dim::Named(format!("?{axis}"))),
            dim => usize::try_from(dim).ok().map(Dim::Fixed),
        });
        Some(Tensor { name: text(&self.name), element: Element::new(self.element), dims: dims.collect::<Option<_>>()? })
    }
}

/// `flumeway_text`.
#[repr(C)]
pub(crate) struct Text {
    at: *mut c_char,
    bytes: usize,
}

/// Room for what a shim has to say, allocated once.
pub(crate) struct Message(Box<[u8; MESSAGE_BYTES]>);

impl Message {
    pub(crate) fn new() -> Self {
        Self(Box::new([0; MESSAGE_BYTES]))
    }

    /// For one call; valid as long as `self` is borrowed, which the caller sees to.
    pub(crate) fn room(&mut self) -> Text {
        self.0[0] = 0;
        Text { at: self.0.as_mut_ptr().cast(), bytes: MESSAGE_BYTES }
    }

    pub(crate) fn read(&self) -> String {
        text(&*self.0)
    }
}

fn text(bytes: &[u8]) -> String {
    let text = CStr::from_bytes_until_nul(bytes).map_or(bytes, CStr::to_bytes);
    String::from_utf8_lossy(text).trim().to_owned()
}

/// Opens a shim whose functions start with `prefix`, for as long as the process lives: the libraries behind it do not stand being closed.
///
/// # Errors
/// What is missing or does not fit, with the library's path.
pub(crate) fn open(path: &Path, prefix: &str) -> Result<&'static Library, String> {
    // SAFETY: needed to load code at run time. Opening runs the library's initialisers; it is the file that `make engines` or the administrator put into
    // a folder for engines, which is trusted as the program itself is.
    let library = unsafe { Library::new(path) }.map_err(|error| reason(&error))?;
    let library: &'static Library = Box::leak(Box::new(library));
    let name = format!("{prefix}_abi");
    // SAFETY: needed to call what was loaded; the function of that name takes nothing and returns a number in every version of the header.
    let abi = unsafe { symbol::<unsafe extern "C" fn() -> u32>(library, &name).map(|abi| abi()) };
    match abi.map_err(|reason| format!("{} is no shim of Flumeway: {reason}", path.display()))? {
        ABI => Ok(library),
        other => Err(format!(
            "{} speaks version {other} of the shims' interface and this program version {ABI}: run `make engines` again",
            path.display()
        )),
    }
}

/// What the loader said: it stands behind the error, which itself only names the call.
pub(crate) fn reason(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// A function of a library.
///
/// # Safety
/// `T` is the type that the function of that name has.
///
/// # Errors
/// The library has none of that name.
pub(crate) unsafe fn symbol<T: Copy>(library: &'static Library, name: &str) -> Result<T, String> {
    // SAFETY: the caller names the type. The pointer is copied out; the library is never closed.
    unsafe { library.get::<T>(name.as_bytes()) }.map(|found| *found).map_err(|error| reason(&error))
}
