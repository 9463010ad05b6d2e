//! The functions of `shims/tensorrt.h`.
#![allow(unsafe_code)]

use super::cuda::Stream;
use crate::shim::{Failure, Message, RawTensor, Status, Tensor, Text, open, symbol};
use std::ffi::{CString, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

/// `flumeway_direction`.
pub(super) const INPUT: u32 = 0;
pub(super) const OUTPUT: u32 = 1;

pub(super) const DIMS_MAX: usize = 8;

/// `flumeway_tensorrt_range`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub least: [i64; DIMS_MAX],
    pub most: [i64; DIMS_MAX],
}

/// `flumeway_tensorrt_plan`.
#[repr(C)]
struct RawPlan {
    at: *const u8,
    bytes: usize,
    owner: *mut c_void,
}

type Handle = *mut c_void;

/// Declares the table of functions and how it is filled.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*) -> $back:ty;)*) => {
        #[derive(Clone, Copy)]
        struct Functions { $($field: unsafe extern "C" fn($($argument),*) -> $back,)* }

        impl Functions {
            fn load(library: &'static libloading::Library) -> Result<Self, String> {
                // SAFETY: needed to call what was loaded. The types are those of `tensorrt.h`, whose version was compared when it was opened.
                unsafe { Ok(Self { $($field: symbol(library, concat!("flumeway_tensorrt_", $name))?,)* }) }
            }
        }
    };
}

functions! {
    major = "major": fn() -> u32;
    open = "open": fn(*const c_char, *mut i32, Text) -> c_int;
    parse = "parse": fn(*const c_char, u32, *mut Handle, Text) -> c_int;
    network_free = "network_free": fn(Handle) -> ();
    network_inputs = "network_inputs": fn(Handle) -> u32;
    network_input = "network_input": fn(Handle, u32, *mut RawTensor) -> c_int;
    network_dimension = "network_dimension": fn(Handle, u32, u32, Text) -> c_int;
    build = "build": fn(Handle, *const Sizes, *mut RawPlan, Text) -> c_int;
    plan_free = "plan_free": fn(*mut RawPlan) -> ();
    load = "load": fn(*const u8, usize, *mut Handle, Text) -> c_int;
    free = "free": fn(Handle) -> ();
    count = "count": fn(Handle, u32) -> u32;
    tensor = "tensor": fn(Handle, u32, u32, *mut RawTensor) -> c_int;
    sizes = "sizes": fn(Handle, u32, *mut Sizes) -> c_int;
    context_new = "context_new": fn(Handle, *mut Handle, Text) -> c_int;
    context_free = "context_free": fn(Handle) -> ();
    shape = "shape": fn(Handle, u32, *const i64, Text) -> c_int;
    output = "output": fn(Handle, u32, *mut RawTensor) -> c_int;
    bind = "bind": fn(Handle, u32, u32, u64, Text) -> c_int;
    enqueue = "enqueue": fn(Handle, *mut c_void, Text) -> c_int;
}

fn fail(code: c_int, message: &Message) -> Result<(), Failure> {
    Status::check(code).map_err(|status| Failure { status, message: message.read() })
}

fn live(handle: Handle) -> Result<NonNull<c_void>, Failure> {
    NonNull::new(handle)
        .ok_or_else(|| Failure { status: Status::Failed, message: "the shim returned nothing".to_owned() })
}

fn path_text(path: &Path) -> Result<CString, Failure> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|error| Failure { status: Status::Failed, message: error.to_string() })
}

/// The shim and TensorRT behind it, opened. Only where a driver answers.
pub(super) struct Tensorrt {
    functions: Functions,
    /// Major * 10000 + minor * 100 + patch.
    pub version: i32,
    /// Of the headers that the shim was compiled with.
    pub major: u32,
}

impl Tensorrt {
    /// Opens the shim at `path` and libnvinfer from `folder`.
    ///
    /// # Errors
    /// What is missing.
    pub(super) fn open(path: &Path, folder: &Path) -> Result<Self, String> {
        let functions = Functions::load(open(path, "flumeway_tensorrt")?)?;
        let folder = path_text(folder).map_err(|failure| failure.message)?;
        let (mut version, mut message) = (0, Message::new());
        // SAFETY: needed because it is C. Text, number and room outlive the call.
        let code = unsafe { (functions.open)(folder.as_ptr(), &raw mut version, message.room()) };
        fail(code, &message).map_err(|failure| failure.message)?;
        // SAFETY: needed because it is C; it takes nothing.
        let major = unsafe { (functions.major)() };
        Ok(Self { functions, version, major })
    }

    pub(super) fn parse(&self, path: &Path, reduced: bool) -> Result<Network, Failure> {
        let path = path_text(path)?;
        let (mut handle, mut message): (Handle, _) = (std::ptr::null_mut(), Message::new());
        // SAFETY: needed because it is C. Path, handle and room outlive the call.
        let code =
            unsafe { (self.functions.parse)(path.as_ptr(), u32::from(reduced), &raw mut handle, message.room()) };
        fail(code, &message)?;
        Ok(Network { functions: self.functions, handle: live(handle)? })
    }

    pub(super) fn load(&self, plan: &[u8]) -> Result<Arc<Loaded>, Failure> {
        let (mut handle, mut message): (Handle, _) = (std::ptr::null_mut(), Message::new());
        // SAFETY: needed because it is C. Plan, handle and room outlive the call; TensorRT copies what it needs of a plan.
        let code = unsafe { (self.functions.load)(plan.as_ptr(), plan.len(), &raw mut handle, message.room()) };
        fail(code, &message)?;
        Ok(Arc::new(Loaded { functions: self.functions, handle: live(handle)? }))
    }
}

/// A model that is parsed and not yet built.
pub(super) struct Network {
    functions: Functions,
    handle: NonNull<c_void>,
}

impl Network {
    /// The inputs, whose open dimensions have the model's names.
    pub(super) fn inputs(&self) -> Result<Vec<Tensor>, String> {
        // SAFETY: needed because it is C. The handle is live.
        let count = unsafe { (self.functions.network_inputs)(self.handle.as_ptr()) };
        (0..count).map(|index| self.input(index).ok_or_else(|| format!("input {index} is not described"))).collect()
    }

    fn input(&self, index: u32) -> Option<Tensor> {
        let mut raw = RawTensor::new();
        // SAFETY: needed because it is C. The handle is live, the tensor outlives the call.
        let code = unsafe { (self.functions.network_input)(self.handle.as_ptr(), index, &raw mut raw) };
        let mut tensor = Status::check(code).ok().and_then(|()| raw.read())?;
        for (axis, dim) in tensor.dims.iter_mut().enumerate() {
            let crate::shape::Dim::Named(name) = dim else { continue };
            let mut message = Message::new();
            // SAFETY: as above; the room outlives the call.
            let code =
                unsafe { (self.functions.network_dimension)(self.handle.as_ptr(), index, axis as u32, message.room()) };
            let found = message.read();
            if code == 0 && !found.is_empty() {
                *name = found;
            }
        }
        Some(tensor)
    }

    /// Builds the plan for inputs between `sizes`, one for each input.
    pub(super) fn build(&mut self, sizes: &[Sizes]) -> Result<Vec<u8>, Failure> {
        let (mut plan, mut message) =
            (RawPlan { at: std::ptr::null(), bytes: 0, owner: std::ptr::null_mut() }, Message::new());
        // SAFETY: needed because it is C. Sizes, plan and room outlive the call, and there are as many sizes as inputs.
        let code =
            unsafe { (self.functions.build)(self.handle.as_ptr(), sizes.as_ptr(), &raw mut plan, message.room()) };
        fail(code, &message)?;
        if plan.at.is_null() {
            return Err(Failure { status: Status::Failed, message: "the plan is empty".to_owned() });
        }
        // SAFETY: needed because it is C. The shim hands out so many bytes, which are the plan's until it is freed below.
        let bytes = unsafe { std::slice::from_raw_parts(plan.at, plan.bytes) }.to_vec();
        // SAFETY: needed because it is C. The last use of what `build` handed out.
        unsafe { (self.functions.plan_free)(&raw mut plan) };
        Ok(bytes)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // SAFETY: needed because it is C. Came from `parse`; this is its last use.
        unsafe { (self.functions.network_free)(self.handle.as_ptr()) };
    }
}

/// A plan on a device; freed after the last of its contexts.
pub(super) struct Loaded {
    functions: Functions,
    handle: NonNull<c_void>,
}

// SAFETY: needed because of the pointer. TensorRT allows its engines on any thread, and contexts of one engine on several; what is called through `&self`
// reads, and what it says goes to a log with a lock.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl Loaded {
    pub(super) fn tensors(&self, direction: u32) -> Result<Vec<Tensor>, String> {
        // SAFETY: needed because it is C. The handle is live.
        let count = unsafe { (self.functions.count)(self.handle.as_ptr(), direction) };
        let describe = |index| {
            let mut raw = RawTensor::new();
            // SAFETY: as above; the tensor outlives the call.
            let code = unsafe { (self.functions.tensor)(self.handle.as_ptr(), direction, index, &raw mut raw) };
            let tensor = Status::check(code).ok().and_then(|()| raw.read());
            tensor.ok_or_else(|| format!("tensor {index} is not described"))
        };
        (0..count).map(describe).collect()
    }

    /// The sizes for which input `index` was built.
    pub(super) fn sizes(&self, index: usize) -> Result<Sizes, String> {
        let mut sizes = Sizes::default();
        // SAFETY: as above.
        let code = unsafe { (self.functions.sizes)(self.handle.as_ptr(), index as u32, &raw mut sizes) };
        Status::check(code).map_err(|_| format!("input {index} has no sizes"))?;
        Ok(sizes)
    }

    pub(super) fn context(self: &Arc<Self>) -> Result<Context, Failure> {
        let (mut handle, mut message): (Handle, _) = (std::ptr::null_mut(), Message::new());
        // SAFETY: as above.
        let code = unsafe { (self.functions.context_new)(self.handle.as_ptr(), &raw mut handle, message.room()) };
        fail(code, &message)?;
        Ok(Context { loaded: Arc::clone(self), handle: live(handle)?, message })
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        // SAFETY: needed because it is C. Each context holds a reference, so none is left.
        unsafe { (self.functions.free)(self.handle.as_ptr()) };
    }
}

/// A place for one run at a time.
pub(super) struct Context {
    loaded: Arc<Loaded>,
    handle: NonNull<c_void>,
    message: Message,
}

// SAFETY: needed because of the pointer. The header allows calls from any thread, one after another.
unsafe impl Send for Context {}

impl Context {
    fn check(&self, code: c_int) -> Result<(), String> {
        Status::check(code).map_err(|_| self.message.read())
    }

    /// Sets the shape of input `index`.
    pub(super) fn shape(&mut self, index: usize, dims: &[i64; DIMS_MAX]) -> Result<(), String> {
        let room = self.message.room();
        // SAFETY: needed because it is C. The handle is live; sizes and room outlive the call.
        let code = unsafe { (self.loaded.functions.shape)(self.handle.as_ptr(), index as u32, dims.as_ptr(), room) };
        self.check(code)
    }

    /// Output `index` as it is with the shapes that were set.
    pub(super) fn output(&self, index: usize) -> Option<Tensor> {
        let mut raw = RawTensor::new();
        // SAFETY: as above.
        let code = unsafe { (self.loaded.functions.output)(self.handle.as_ptr(), index as u32, &raw mut raw) };
        Status::check(code).ok().and_then(|()| raw.read())
    }

    /// Says where a tensor lies on the device. Addresses are followed by `enqueue` only.
    pub(super) fn bind(&mut self, direction: u32, index: usize, address: u64) -> Result<(), String> {
        let room = self.message.room();
        // SAFETY: as above.
        let code =
            unsafe { (self.loaded.functions.bind)(self.handle.as_ptr(), direction, index as u32, address, room) };
        self.check(code)
    }

    /// Puts a run on `stream`.
    ///
    /// # Safety
    /// Every tensor is bound to memory of the device as large as the tensor is with the shapes that were set; it and this context stay until the
    /// stream has got so far.
    pub(super) unsafe fn enqueue(&mut self, stream: &Stream) -> Result<(), String> {
        let room = self.message.room();
        // SAFETY: needed because it is C. The handles are live; the rest is the caller's.
        let code = unsafe { (self.loaded.functions.enqueue)(self.handle.as_ptr(), stream.handle, room) };
        self.check(code)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: needed because it is C. Came from `context_new`; its owner has waited for its last run.
        unsafe { (self.loaded.functions.context_free)(self.handle.as_ptr()) };
    }
}
