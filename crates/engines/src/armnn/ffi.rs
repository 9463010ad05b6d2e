//! The functions of `shims/armnn.h`.
#![allow(unsafe_code)]

use crate::shim::{Failure, Message, RawTensor, Status, Tensor, Text, open, symbol};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr::NonNull;

/// `flumeway_armnn_options`.
#[repr(C)]
struct RawOptions {
    backends: *const c_char,
    threads: u32,
    reduced: u32,
}

type Handle = *mut c_void;

#[derive(Clone, Copy)]
struct Functions {
    version: unsafe extern "C" fn() -> *const c_char,
    backends: unsafe extern "C" fn(Text) -> c_int,
    load: unsafe extern "C" fn(*const u8, usize, *const RawOptions, *mut Handle, Text) -> c_int,
    free: unsafe extern "C" fn(Handle),
    count: unsafe extern "C" fn(Handle, u32) -> u32,
    tensor: unsafe extern "C" fn(Handle, u32, u32, *mut RawTensor) -> c_int,
    in_place: unsafe extern "C" fn(Handle) -> u32,
    run: unsafe extern "C" fn(Handle, *const *const c_void, *const *mut c_void, Text) -> c_int,
}

/// The shim, opened.
pub(super) struct Armnn {
    functions: Functions,
}

impl Armnn {
    /// # Errors
    /// What is missing, with the library's path.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let library = open(path, "flumeway_armnn")?;
        // SAFETY: needed to call what was loaded. The types are those of `armnn.h`, whose version `open` has compared.
        let functions = unsafe {
            Functions {
                version: symbol(library, "flumeway_armnn_version")?,
                backends: symbol(library, "flumeway_armnn_backends")?,
                load: symbol(library, "flumeway_armnn_load")?,
                free: symbol(library, "flumeway_armnn_free")?,
                count: symbol(library, "flumeway_armnn_count")?,
                tensor: symbol(library, "flumeway_armnn_tensor")?,
                in_place: symbol(library, "flumeway_armnn_in_place")?,
                run: symbol(library, "flumeway_armnn_run")?,
            }
        };
        Ok(Self { functions })
    }

    pub(super) fn version(&self) -> String {
        // SAFETY: needed because it is C. The function returns a text of the library's that lasts, or null.
        let text = unsafe {
            let at = (self.functions.version)();
            (!at.is_null()).then(|| CStr::from_ptr(at))
        };
        text.map_or_else(|| "unknown".to_owned(), |text| text.to_string_lossy().into_owned())
    }

    /// Names of the backends here.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn backends(&self) -> Result<Vec<String>, String> {
        let mut message = Message::new();
        // SAFETY: needed because it is C. The room outlives the call.
        let code = unsafe { (self.functions.backends)(message.room()) };
        let text = message.read();
        Status::check(code).map_err(|_| text.clone())?;
        Ok(text.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// # Errors
    /// What the library says.
    pub(super) fn load(&self, model: &[u8], backends: &str, threads: u32, reduced: bool) -> Result<Network, Failure> {
        let failed = |status, message: String| Failure { status, message };
        let backends = CString::new(backends).map_err(|error| failed(Status::Failed, error.to_string()))?;
        let options = RawOptions { backends: backends.as_ptr(), threads, reduced: u32::from(reduced) };
        let (mut handle, mut message): (Handle, _) = (std::ptr::null_mut(), Message::new());
        // SAFETY: needed because it is C. Model, options, handle and room outlive the call; the library keeps none of them.
        let code = unsafe {
            (self.functions.load)(model.as_ptr(), model.len(), &raw const options, &raw mut handle, message.room())
        };
        Status::check(code).map_err(|status| failed(status, message.read()))?;
        let handle = NonNull::new(handle).ok_or_else(|| failed(Status::Failed, "no network came back".to_owned()))?;
        let functions = self.functions;
        Ok(Network { functions, handle, message, inputs: Vec::new(), outputs: Vec::new() })
    }
}

/// A network that is loaded on a device.
pub(super) struct Network {
    functions: Functions,
    handle: NonNull<c_void>,
    message: Message,
    /// Addresses of a frame's tensors, kept so that a frame allocates nothing.
    inputs: Vec<*const c_void>,
    outputs: Vec<*mut c_void>,
}

// SAFETY: needed because pointers are not `Send`. The header allows calls from any thread, one after another, and `&mut self` and ownership
// see to that; the addresses are written anew for each frame.
unsafe impl Send for Network {}

impl Network {
    /// # Errors
    /// The library describes a tensor that cannot be.
    pub(super) fn tensors(&self, direction: u32) -> Result<Vec<Tensor>, String> {
        // SAFETY: needed because it is C. The handle is live.
        let count = unsafe { (self.functions.count)(self.handle.as_ptr(), direction) };
        (0..count)
            .map(|index| {
                let mut tensor = RawTensor::new();
                // SAFETY: as above; the tensor outlives the call.
                let code = unsafe { (self.functions.tensor)(self.handle.as_ptr(), direction, index, &raw mut tensor) };
                let tensor = Status::check(code).ok().and_then(|()| tensor.read());
                tensor.ok_or_else(|| format!("it does not describe tensor {index}"))
            })
            .collect()
    }

    pub(super) fn in_place(&self) -> bool {
        // SAFETY: needed because it is C. The handle is live.
        unsafe { (self.functions.in_place)(self.handle.as_ptr()) != 0 }
    }

    /// Computes one frame. The slices are all tensors in the library's order, each as long as the library said.
    ///
    /// # Errors
    /// What the library says.
    pub(super) fn run<'a>(
        &mut self,
        inputs: impl Iterator<Item = &'a [u8]>,
        outputs: impl Iterator<Item = &'a mut [u8]>,
    ) -> Result<(), String> {
        self.inputs.clear();
        self.outputs.clear();
        self.inputs.extend(inputs.map(|tensor| tensor.as_ptr().cast::<c_void>()));
        self.outputs.extend(outputs.map(|tensor| tensor.as_mut_ptr().cast::<c_void>()));
        let room = self.message.room();
        // SAFETY: needed because it is C. The slices are borrowed beyond the call, inputs are only read, and the engine has checked that there are
        // as many as the library has tensors, of the lengths that it named. The library keeps addresses to compare, not to follow.
        let code =
            unsafe { (self.functions.run)(self.handle.as_ptr(), self.inputs.as_ptr(), self.outputs.as_ptr(), room) };
        Status::check(code).map_err(|_| self.message.read())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // SAFETY: needed because it is C. The handle came from `load`, and this is its last use.
        unsafe { (self.functions.free)(self.handle.as_ptr()) };
    }
}
