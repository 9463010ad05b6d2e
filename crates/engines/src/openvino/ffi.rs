//! OpenVINO's C library: its entry points, found at run time, and what its answers mean.
//!
//! The numbers, names and layouts are those of the C interface's headers (`openvino/c/*.h` of the 2026.4 package).
#![allow(unsafe_code)]

use crate::dtype::DType;
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The library's own status for "still running".
pub(super) const RESULT_NOT_READY: c_int = -9;

/// A list of dimensions; `dims` points to `rank` numbers.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Shape {
    pub rank: i64,
    pub dims: *mut i64,
}

/// A dimension's bounds; equal where it is fixed, and `max` is -1 where there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Bounds {
    pub min: i64,
    pub max: i64,
}

/// A shape that may be open; `dims` points to as many bounds as the rank says, if that is fixed.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct PartialShape {
    pub rank: Bounds,
    pub dims: *mut Bounds,
}

/// Two texts that live until they are freed together.
#[repr(C)]
pub(super) struct Version {
    build: *const c_char,
    description: *const c_char,
}

/// Names of devices, which live until they are freed together.
#[repr(C)]
pub(super) struct Devices {
    names: *mut *mut c_char,
    count: usize,
}

/// What a request calls when it has finished.
#[repr(C)]
pub(super) struct Callback {
    pub function: unsafe extern "C" fn(*mut c_void),
    pub argument: *mut c_void,
}

/// The library's objects: each is a pointer that only it can look into.
pub(super) type Object = *mut c_void;

/// Declares the entry points and how they are looked up; all must be there.
macro_rules! entry_points {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The entry points that this crate uses.
        pub(super) struct EntryPoints {
            $(pub $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
            /// Ends with one key and one value, both text.
            pub ov_core_set_property: unsafe extern "C" fn(Object, *const c_char, ...) -> c_int,
            /// Ends with keys and values, twice as many as the third argument says.
            pub ov_core_compile_model: unsafe extern "C" fn(Object, Object, *const c_char, usize, *mut Object, ...) -> c_int,
        }

        impl EntryPoints {
            fn look_up(library: &Library) -> Result<Self, libloading::Error> {
                // SAFETY: needed because a symbol has no type. The types are those of the C headers, which have kept them since 2022.1;
                // what they do not tell, the numbering of element types, `OpenVino::open` asks the library for.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0"))?,)*
                        ov_core_set_property: *library.get("ov_core_set_property\0")?,
                        ov_core_compile_model: *library.get("ov_core_compile_model\0")?,
                    })
                }
            }
        }
    };
}

entry_points! {
    ov_get_openvino_version: fn(*mut Version) -> c_int;
    ov_version_free: fn(*mut Version);
    ov_get_error_info: fn(c_int) -> *const c_char;
    ov_get_last_err_msg: fn() -> *const c_char;
    ov_free: fn(*const c_char);
    ov_core_create: fn(*mut Object) -> c_int;
    ov_core_free: fn(Object);
    ov_core_get_available_devices: fn(Object, *mut Devices) -> c_int;
    ov_available_devices_free: fn(*mut Devices);
    ov_core_get_property: fn(Object, *const c_char, *const c_char, *mut *mut c_char) -> c_int;
    ov_core_read_model: fn(Object, *const c_char, *const c_char, *mut Object) -> c_int;
    ov_core_read_model_from_memory_buffer: fn(Object, *const c_char, usize, Object, *mut Object) -> c_int;
    ov_core_import_model: fn(Object, *const c_char, usize, *const c_char, *mut Object) -> c_int;
    ov_model_free: fn(Object);
    ov_model_inputs_size: fn(Object, *mut usize) -> c_int;
    ov_model_outputs_size: fn(Object, *mut usize) -> c_int;
    ov_model_const_input_by_index: fn(Object, usize, *mut Object) -> c_int;
    ov_model_const_output_by_index: fn(Object, usize, *mut Object) -> c_int;
    ov_model_reshape_by_port_indexes: fn(Object, *const usize, *const PartialShape, usize) -> c_int;
    ov_output_const_port_free: fn(Object);
    ov_port_get_any_name: fn(Object, *mut *mut c_char) -> c_int;
    ov_port_get_element_type: fn(Object, *mut c_int) -> c_int;
    ov_port_get_partial_shape: fn(Object, *mut PartialShape) -> c_int;
    ov_partial_shape_free: fn(*mut PartialShape);
    ov_preprocess_prepostprocessor_create: fn(Object, *mut Object) -> c_int;
    ov_preprocess_prepostprocessor_free: fn(Object);
    ov_preprocess_prepostprocessor_get_output_info_by_index: fn(Object, usize, *mut Object) -> c_int;
    ov_preprocess_output_info_get_tensor_info: fn(Object, *mut Object) -> c_int;
    ov_preprocess_output_set_element_type: fn(Object, c_int) -> c_int;
    ov_preprocess_output_tensor_info_free: fn(Object);
    ov_preprocess_output_info_free: fn(Object);
    ov_preprocess_prepostprocessor_build: fn(Object, *mut Object) -> c_int;
    ov_compiled_model_free: fn(Object);
    ov_compiled_model_get_property: fn(Object, *const c_char, *mut *mut c_char) -> c_int;
    ov_compiled_model_export_model: fn(Object, *const c_char) -> c_int;
    ov_compiled_model_create_infer_request: fn(Object, *mut Object) -> c_int;
    ov_infer_request_free: fn(Object);
    ov_infer_request_set_input_tensor_by_index: fn(Object, usize, Object) -> c_int;
    ov_infer_request_set_output_tensor_by_index: fn(Object, usize, Object) -> c_int;
    ov_infer_request_infer: fn(Object) -> c_int;
    ov_infer_request_start_async: fn(Object) -> c_int;
    ov_infer_request_wait: fn(Object) -> c_int;
    ov_infer_request_wait_for: fn(Object, i64) -> c_int;
    ov_infer_request_set_callback: fn(Object, *const Callback) -> c_int;
    ov_tensor_create: fn(c_int, Shape, *mut Object) -> c_int;
    ov_tensor_create_from_host_ptr: fn(c_int, Shape, *mut c_void, *mut Object) -> c_int;
    ov_tensor_get_byte_size: fn(Object, *mut usize) -> c_int;
    ov_tensor_free: fn(Object);
}

/// The library, for as long as the process lives: its threads may run until then, so it is never unloaded.
pub(super) struct OpenVino {
    pub(super) entry: EntryPoints,
    /// File it was loaded from.
    pub(super) path: PathBuf,
    /// As it says itself: `2026.4.1-22982-e213a147257-releases/2026/4`.
    pub(super) version: String,
}

/// Libraries that are open, or that were tried and are none.
static OPEN: Mutex<Vec<&'static OpenVino>> = Mutex::new(Vec::new());

impl OpenVino {
    /// Opens the library at `path`, which finds what it needs beside itself (its `RPATH` says so).
    ///
    /// # Errors
    /// What the file lacks, in a sentence's part.
    pub(super) fn open(path: &Path) -> Result<&'static Self, String> {
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = open.iter().find(|known| known.path == path) {
            return Ok(known);
        }
        // SAFETY: needed because opening a library runs code of it. That it is OpenVINO is the word of the folder's owner: it stands in a folder for
        // engines, by the name of OpenVINO's library.
        let library = unsafe { Library::new(path) }.map_err(|error| said(&error))?;
        let entry = EntryPoints::look_up(&library)
            .map_err(|error| format!("{} is another library or too old a version: {}", path.display(), said(&error)))?;
        // Never closed, also if it turns out not to be usable: its threads may have begun.
        std::mem::forget(library);
        let mut found = Self { entry, path: path.to_owned(), version: String::new() };
        found.version = found.ask_version()?;
        found.check_element_types()?;
        let found: &'static Self = Box::leak(Box::new(found));
        open.push(found);
        Ok(found)
    }

    fn ask_version(&self) -> Result<String, String> {
        let mut version = Version { build: std::ptr::null(), description: std::ptr::null() };
        // SAFETY: needed to call C. The library fills the structure with two texts, which live until `ov_version_free`.
        unsafe {
            self.check((self.entry.ov_get_openvino_version)(&raw mut version))?;
            let text = text(version.build);
            (self.entry.ov_version_free)(&raw mut version);
            Ok(text)
        }
    }

    /// Element types are numbers, and releases have numbered them differently: a tensor of eight elements tells by its size whether ours are the
    /// library's. Without this an older library would read an area as of another type, and beyond its end.
    fn check_element_types(&self) -> Result<(), String> {
        for dtype in DType::ALL {
            let (mut tensor, mut bytes, mut dims) = (std::ptr::null_mut(), 0, [8_i64]);
            let shape = Shape { rank: 1, dims: dims.as_mut_ptr() };
            // SAFETY: needed to call C. The shape points to one dimension, as its rank says, and the library copies it; the tensor is freed.
            unsafe {
                self.check((self.entry.ov_tensor_create)(element_type(dtype), shape, &raw mut tensor))?;
                let asked = self.check((self.entry.ov_tensor_get_byte_size)(tensor, &raw mut bytes));
                (self.entry.ov_tensor_free)(tensor);
                asked?;
            }
            if bytes != 8 * dtype.bytes() {
                let (path, version) = (self.path.display(), &self.version);
                return Err(format!(
                    "{path} is version {version}, whose element types have other numbers than those of 2026.4"
                ));
            }
        }
        Ok(())
    }

    /// # Errors
    /// What the library says of its last failure, without the places in its source.
    pub(super) fn check(&self, status: c_int) -> Result<(), String> {
        if status == 0 { Ok(()) } else { Err(self.failure(status)) }
    }

    #[cold]
    fn failure(&self, status: c_int) -> String {
        // SAFETY: needed to call C. Both are texts that end with a zero; the first is ours and given back, the second lasts. The message is
        // that of the process's last failure: another thread's may stand there, which costs a wrong wording.
        let (message, name) = unsafe {
            let message = (self.entry.ov_get_last_err_msg)();
            let copy = text(message);
            if !message.is_null() {
                (self.entry.ov_free)(message);
            }
            (copy, text((self.entry.ov_get_error_info)(status)))
        };
        let said = message.lines().map(str::trim).filter(|line| !line.is_empty() && !is_place(line));
        let said = said.collect::<Vec<_>>().join("; ");
        if said.is_empty() { format!("{name} ({status})") } else { said }
    }

    /// A text that the library has made for its caller.
    ///
    /// # Safety
    /// `text` is null or ends with a zero, and is the caller's to give back by `ov_free`.
    pub(super) unsafe fn take_text(&self, made: *mut c_char) -> String {
        // SAFETY: the caller's promise.
        unsafe {
            let copy = text(made);
            if !made.is_null() {
                (self.entry.ov_free)(made);
            }
            copy
        }
    }

    /// The devices that `core` finds here, in OpenVINO's words: `CPU`, `GPU.0`.
    pub(super) fn devices(&self, core: Object) -> Result<Vec<String>, String> {
        let mut devices = Devices { names: std::ptr::null_mut(), count: 0 };
        // SAFETY: needed to call C. The library fills the structure with `count` texts, which live until they are freed as a whole.
        unsafe {
            self.check((self.entry.ov_core_get_available_devices)(core, &raw mut devices))?;
            let names = (0..devices.count).map(|index| text(*devices.names.add(index))).collect();
            (self.entry.ov_available_devices_free)(&raw mut devices);
            Ok(names)
        }
    }
}

/// What the system said, which the error has as its source.
fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Lines that name only a place in the library's source.
fn is_place(line: &str) -> bool {
    (line.starts_with("Exception from ") || line.starts_with("Check '")) && line.contains(".cpp:")
}

/// Copies a C text; empty if there is none.
///
/// # Safety
/// `text` is null or ends with a zero.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}

/// The library's number for an element type (`ov_element_type_e`).
pub(super) const fn element_type(dtype: DType) -> c_int {
    match dtype {
        DType::F16 => 3,
        DType::F32 => 4,
        DType::I8 => 7,
        DType::U8 => 16,
    }
}

/// The names of the library's element types, in the order of their numbers.
const ELEMENT_TYPES: [&str; 26] = [
    "dynamic", "bool", "bf16", "f16", "f32", "f64", "i4", "i8", "i16", "i32", "i64", "u1", "u2", "u3", "u4", "u6",
    "u8", "u16", "u32", "u64", "nf4", "f8e4m3", "f8e5m2", "string", "f4e2m1", "f8e8m0",
];

/// Name of the library's element type `number`.
pub(super) fn element_type_name(number: c_int) -> &'static str {
    usize::try_from(number).ok().and_then(|index| ELEMENT_TYPES.get(index)).copied().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn element_types_are_named_as_ours_are() {
        for dtype in DType::ALL {
            assert_eq!(element_type_name(element_type(dtype)), dtype.name());
        }
        assert_eq!(element_type_name(-1), "unknown");
        assert_eq!(element_type_name(26), "unknown");
    }

    #[test]
    fn places_in_the_source_are_no_message() {
        assert!(is_place("Exception from src/inference/src/cpp/core.cpp:84:"));
        assert!(!is_place("onnx: Could not open the file"));
    }
}
