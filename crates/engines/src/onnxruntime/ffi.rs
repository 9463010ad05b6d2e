//! Calls into libonnxruntime: the library, its one environment, and sessions.
//!
//! Every pointer that the library returns is checked for null, every number that it returns is taken as a number, not as one of the values that
//! the header lists: a later library may know more of them.
#![allow(unsafe_code)]

use super::element::Element;
use crate::shape::Dim;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use ort_sys as sys;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Once;
use std::sync::atomic::{Ordering, fence};

/// What the library said about a call that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// `OrtErrorCode`.
    pub code: i32,
    /// In one line.
    pub message: String,
}

impl Failure {
    pub(super) fn own(message: &str) -> Self {
        Self { code: sys::OrtErrorCode::ORT_FAIL as i32, message: message.to_owned() }
    }
}

/// Calls a function of the table and turns its status into a result.
macro_rules! call {
    ($runtime:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let runtime: &$crate::onnxruntime::ffi::Runtime = $runtime;
        let api = runtime.api;
        runtime.outcome(((*api).$function)($($argument),*))
    }};
}
pub(super) use call;

/// The library, opened once and never closed: its threads and thread-locals do not survive that.
pub(super) struct Runtime {
    pub(super) api: *const sys::OrtApi,
    env: *mut sys::OrtEnv,
    /// Describes ordinary memory, in which all areas lie.
    pub(super) memory: *mut sys::OrtMemoryInfo,
    append_acl: Option<AppendAcl>,
    /// The file, with links resolved.
    pub path: PathBuf,
    /// As it says itself.
    pub version: String,
    /// The execution providers that it was built with, in its own order and words.
    pub providers: Vec<String>,
}

// SAFETY: needed because raw pointers are not. The table of functions is constant, and the library's documentation allows calls from any thread with
// one environment; the memory info is only read after it was made.
unsafe impl Send for Runtime {}
// SAFETY: as above.
unsafe impl Sync for Runtime {}

type AppendAcl = unsafe extern "C" fn(*mut sys::OrtSessionOptions, c_int) -> sys::OrtStatusPtr;

impl Runtime {
    /// Opens the library at `path` and makes its environment.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        forbid_telemetry();
        // SAFETY: needed to open a library. Its initialisers run; that whoever installed it may run code here is the point of installing it.
        let library = unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) };
        let library = library.map_err(|error| format!("cannot be loaded: {}", said(&error)))?;
        let missing = |error| format!("is not ONNX Runtime: {}", said(&error));
        // SAFETY: needed to find the entry point. Every release of ONNX Runtime exports this name with this type.
        let entry = unsafe { library.get::<unsafe extern "C" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase\0") };
        let entry = *entry.map_err(missing)?;
        // SAFETY: needed for the two calls that every release has had at this place. The string is constant.
        let (api, version) = unsafe {
            let base = entry();
            if base.is_null() {
                return Err("has no interface: OrtGetApiBase answered null".to_owned());
            }
            (((*base).GetApi)(sys::ORT_API_VERSION), text(((*base).GetVersionString)()))
        };
        if api.is_null() {
            let needed = sys::ORT_API_VERSION;
            return Err(format!("is version {version}, and at least 1.{needed}.0 is needed"));
        }
        // SAFETY: needed to find an entry point that only some builds export; the type is the header's, whose bool or int is passed the same way.
        let append_acl =
            unsafe { library.get::<AppendAcl>(b"OrtSessionOptionsAppendExecutionProvider_ACL\0") }.ok().map(|f| *f);
        let mut runtime = Self {
            api,
            env: ptr::null_mut(),
            memory: ptr::null_mut(),
            append_acl,
            path: path.to_owned(),
            version,
            providers: Vec::new(),
        };
        // From here on it has threads and thread-locals.
        std::mem::forget(library);
        runtime.begin().map_err(|failure| format!("does not start: {}", failure.message))?;
        Ok(runtime)
    }

    fn begin(&mut self) -> Result<(), Failure> {
        let (mut env, mut memory) = (ptr::null_mut(), ptr::null_mut());
        let mut names: *mut *mut c_char = ptr::null_mut();
        let mut count: c_int = 0;
        // SAFETY: needed to make the environment. All pointers are valid for the calls; the strings of the list are copied before it is released.
        unsafe {
            // Errors come back as statuses; nobody reads what the library prints besides.
            let level = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL;
            call!(self, CreateEnv(level, c"flumeway".as_ptr(), &raw mut env))?;
            call!(self, DisableTelemetryEvents(env))?;
            let (kind, place) = (sys::OrtAllocatorType::OrtDeviceAllocator, sys::OrtMemType::OrtMemTypeDefault);
            call!(self, CreateCpuMemoryInfo(kind, place, &raw mut memory))?;
            call!(self, GetAvailableProviders(&raw mut names, &raw mut count))?;
            for index in 0..usize::try_from(count).unwrap_or(0) {
                self.providers.push(text(*names.add(index)));
            }
            call!(self, ReleaseAvailableProviders(names, count))?;
        }
        (self.env, self.memory) = (env, memory);
        if env.is_null() || memory.is_null() { Err(Failure::own("it made no environment")) } else { Ok(()) }
    }

    /// Frees the status.
    pub(super) fn outcome(&self, status: sys::OrtStatusPtr) -> Result<(), Failure> {
        let status = status.0;
        if status.is_null() {
            return Ok(());
        }
        // SAFETY: needed to read a status, which is valid until it is released here. The function that tells its code returns a C enumeration,
        // an int for this platform's calls; taken as one, a code that the header does not list is harmless.
        unsafe {
            let code: unsafe extern "system" fn(*const sys::OrtStatus) -> i32 =
                std::mem::transmute((*self.api).GetErrorCode);
            let (code, message) = (code(status), text(((*self.api).GetErrorMessage)(status)));
            ((*self.api).ReleaseStatus)(status);
            Err(Failure { code, message: message.split_whitespace().collect::<Vec<_>>().join(" ") })
        }
    }
}

/// A copy of a C string; empty for null.
///
/// # Safety
/// `string` is null or ends with a zero byte.
unsafe fn text(string: *const c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: needed to read a C string; the caller's promise.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}

unsafe extern "C" {
    /// The environment of this process, a list that ends with null.
    static mut environ: *mut *const c_char;
}

/// Puts `ORT_DISABLE_TELEMETRY=1` into the environment of this process.
///
/// From 1.29 on, official builds for Linux send events to their maker and keep an identifier and a database in the user's cache folder. They begin with
/// it when the environment is made, before `DisableTelemetryEvents` can be called; this variable alone prevents all of it.
fn forbid_telemetry() {
    const SETTING: &CStr = c"ORT_DISABLE_TELEMETRY=1";
    static ONCE: Once = Once::new();
    // SAFETY: needed to change the environment, which another thread may be reading through C. `setenv` may free the list under its eyes; here
    // a reader sees either the old list, which stays as it is, or the new one, which is complete before it is published and never freed. The first entry
    // with a name counts, so this one goes before the others. Nothing else in this process writes to the environment while engines load.
    ONCE.call_once(|| unsafe {
        let mut new = vec![SETTING.as_ptr()];
        let mut entry = environ.cast_const();
        while !entry.is_null() && !(*entry).is_null() {
            new.push(*entry);
            entry = entry.add(1);
        }
        new.push(ptr::null());
        let new = new.leak().as_mut_ptr();
        fence(Ordering::Release);
        // One store of a pointer.
        (&raw mut environ).write_volatile(new);
    });
}

/// What the system's loader said, which stands behind the error.
fn said(error: &libloading::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// How a session is to compute. Made once per load.
pub(super) struct Options {
    raw: *mut sys::OrtSessionOptions,
    runtime: &'static Runtime,
}

impl Options {
    /// One frame at a time on `threads` threads, all optimisations, nothing printed.
    pub(super) fn new(runtime: &'static Runtime, threads: usize) -> Result<Self, Failure> {
        let mut options = Self { raw: ptr::null_mut(), runtime };
        let threads = c_int::try_from(threads).unwrap_or(c_int::MAX);
        // SAFETY: needed to set options. `raw` is what the first call made, and lives until `options` is dropped.
        unsafe {
            call!(runtime, CreateSessionOptions(&raw mut options.raw))?;
            call!(runtime, SetIntraOpNumThreads(options.raw, threads))?;
            call!(runtime, SetInterOpNumThreads(options.raw, 1))?;
            call!(runtime, SetSessionExecutionMode(options.raw, sys::ExecutionMode::ORT_SEQUENTIAL))?;
            let level = sys::GraphOptimizationLevel::ORT_ENABLE_ALL;
            call!(runtime, SetSessionGraphOptimizationLevel(options.raw, level))?;
            let level = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL as c_int;
            call!(runtime, SetSessionLogSeverityLevel(options.raw, level))?;
        }
        Ok(options)
    }

    /// Sets a key that the library documents; one that it does not know has no effect.
    pub(super) fn set(&mut self, key: &CStr, value: &CStr) -> Result<(), Failure> {
        // SAFETY: needed to set an option; both strings are copied.
        unsafe { call!(self.runtime, AddSessionConfigEntry(self.raw, key.as_ptr(), value.as_ptr())) }
    }

    /// Gives a dynamic dimension its size.
    pub(super) fn settle(&mut self, dimension: &CStr, size: usize) -> Result<(), Failure> {
        let size = i64::try_from(size).unwrap_or(i64::MAX);
        // SAFETY: needed to set an option; the string is copied.
        unsafe { call!(self.runtime, AddFreeDimensionOverrideByName(self.raw, dimension.as_ptr(), size)) }
    }

    /// Adds an execution provider by the name that `SessionOptionsAppendExecutionProvider` takes, or one of the three that have functions of their
    /// own, with its options.
    pub(super) fn append(&mut self, provider: &str, options: &[(&CStr, CString)]) -> Result<(), Failure> {
        let keys: Vec<_> = options.iter().map(|(key, _)| key.as_ptr()).collect();
        let values: Vec<_> = options.iter().map(|(_, value)| value.as_ptr()).collect();
        let (keys, values, count) = (keys.as_ptr(), values.as_ptr(), options.len());
        let runtime = self.runtime;
        // SAFETY: needed to add a provider. The strings live through the calls, which copy them; option objects are released, also after a failure.
        unsafe {
            match provider {
                "CUDA" => {
                    let mut own = ptr::null_mut();
                    call!(runtime, CreateCUDAProviderOptions(&raw mut own))?;
                    let set = call!(runtime, UpdateCUDAProviderOptions(own, keys, values, count));
                    let added =
                        set.and_then(|()| call!(runtime, SessionOptionsAppendExecutionProvider_CUDA_V2(self.raw, own)));
                    ((*runtime.api).ReleaseCUDAProviderOptions)(own);
                    added
                }
                "TensorRT" => {
                    let mut own = ptr::null_mut();
                    call!(runtime, CreateTensorRTProviderOptions(&raw mut own))?;
                    let set = call!(runtime, UpdateTensorRTProviderOptions(own, keys, values, count));
                    let added = set.and_then(|()| {
                        call!(runtime, SessionOptionsAppendExecutionProvider_TensorRT_V2(self.raw, own))
                    });
                    ((*runtime.api).ReleaseTensorRTProviderOptions)(own);
                    added
                }
                "ACL" => match runtime.append_acl {
                    Some(append) => runtime.outcome(append(self.raw, c_int::from(!options.is_empty()))),
                    None => Err(Failure::own("it lists ACL and does not export the function that adds it")),
                },
                _ => {
                    let name = CString::new(provider).unwrap_or_default();
                    call!(runtime, SessionOptionsAppendExecutionProvider(self.raw, name.as_ptr(), keys, values, count))
                }
            }
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: needed to free what `new` made; null, after a failure there, is allowed.
        unsafe { ((*self.runtime.api).ReleaseSessionOptions)(self.raw) }
    }
}

/// A tensor that a session takes or returns.
#[derive(Debug)]
pub(super) struct ModelTensor {
    pub name: CString,
    pub element: Element,
    pub dims: Vec<Dim>,
}

/// A model, ready to run.
pub(super) struct Session {
    pub(super) raw: *mut sys::OrtSession,
    pub(super) run_options: *mut sys::OrtRunOptions,
    pub(super) runtime: &'static Runtime,
    pub inputs: Vec<ModelTensor>,
    pub outputs: Vec<ModelTensor>,
    /// The names in these lists, for every run.
    pub(super) input_names: Vec<*const c_char>,
    pub(super) output_names: Vec<*const c_char>,
}

// SAFETY: needed because raw pointers are not. A session may be used from any thread, and this one is used by its owner alone.
unsafe impl Send for Session {}

impl Session {
    /// Makes a session of the bytes of a model, which are copied.
    pub(super) fn new(options: &Options, model: &[u8]) -> Result<Self, Failure> {
        let runtime = options.runtime;
        let mut session = Self {
            raw: ptr::null_mut(),
            run_options: ptr::null_mut(),
            runtime,
            inputs: Vec::new(),
            outputs: Vec::new(),
            input_names: Vec::new(),
            output_names: Vec::new(),
        };
        let bytes: *const c_void = model.as_ptr().cast();
        // SAFETY: needed to make the session. The bytes are read during the call only; what is made is released when `session` is dropped.
        unsafe {
            call!(runtime, CreateSessionFromArray(runtime.env, bytes, model.len(), options.raw, &raw mut session.raw))?;
            call!(runtime, CreateRunOptions(&raw mut session.run_options))?;
            let level = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_FATAL as c_int;
            call!(runtime, RunOptionsSetRunLogSeverityLevel(session.run_options, level))?;
        }
        session.inputs = session.tensors(true)?;
        session.outputs = session.tensors(false)?;
        session.input_names = session.inputs.iter().map(|tensor| tensor.name.as_ptr()).collect();
        session.output_names = session.outputs.iter().map(|tensor| tensor.name.as_ptr()).collect();
        Ok(session)
    }

    fn tensors(&self, inputs: bool) -> Result<Vec<ModelTensor>, Failure> {
        let (mut count, runtime) = (0, self.runtime);
        // SAFETY: needed to ask the session, which is valid, for a number.
        unsafe {
            if inputs {
                call!(runtime, SessionGetInputCount(self.raw, &raw mut count))?;
            } else {
                call!(runtime, SessionGetOutputCount(self.raw, &raw mut count))?;
            }
        }
        (0..count).map(|index| self.tensor(inputs, index)).collect()
    }

    fn tensor(&self, input: bool, index: usize) -> Result<ModelTensor, Failure> {
        let (runtime, api) = (self.runtime, self.runtime.api);
        let (mut allocator, mut name, mut info) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
        // SAFETY: needed to ask the session, which is valid, for a name and a type. The name is freed by the allocator that it came from, after it
        // was copied; the type is released after it was read.
        unsafe {
            call!(runtime, GetAllocatorWithDefaultOptions(&raw mut allocator))?;
            if input {
                call!(runtime, SessionGetInputName(self.raw, index, allocator, &raw mut name))?;
            } else {
                call!(runtime, SessionGetOutputName(self.raw, index, allocator, &raw mut name))?;
            }
            let copy = CString::new(text(name)).unwrap_or_default();
            call!(runtime, AllocatorFree(allocator, name.cast()))?;
            if input {
                call!(runtime, SessionGetInputTypeInfo(self.raw, index, &raw mut info))?;
            } else {
                call!(runtime, SessionGetOutputTypeInfo(self.raw, index, &raw mut info))?;
            }
            let read = type_and_dims(runtime, info);
            ((*api).ReleaseTypeInfo)(info);
            let (element, dims) = read?;
            Ok(ModelTensor { name: copy, element, dims })
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // SAFETY: needed to free what `new` made; null is allowed.
        unsafe {
            ((*self.runtime.api).ReleaseRunOptions)(self.run_options);
            ((*self.runtime.api).ReleaseSession)(self.raw);
        }
    }
}

/// Element type and dimensions; type 0 for what is no tensor.
///
/// # Safety
/// `info` is a type info of the library, or null.
unsafe fn type_and_dims(runtime: &Runtime, info: *const sys::OrtTypeInfo) -> Result<(Element, Vec<Dim>), Failure> {
    let mut tensor = ptr::null();
    // SAFETY: needed to look inside; the caller's promise. What comes out belongs to `info`.
    unsafe { call!(runtime, CastTypeInfoToTensorInfo(info, &raw mut tensor))? };
    if tensor.is_null() {
        return Ok((Element(0), Vec::new()));
    }
    // SAFETY: needed to read it; not null, so a tensor info.
    unsafe { tensor_info(runtime, tensor) }
}

/// # Safety
/// `info` is a tensor info of the library.
pub(super) unsafe fn tensor_info(
    runtime: &Runtime,
    info: *const sys::OrtTensorTypeAndShapeInfo,
) -> Result<(Element, Vec<Dim>), Failure> {
    let (mut element, mut count) = (0_i32, 0);
    // SAFETY: needed to read type, dimensions and their names; the caller's promise. An enumeration is an int here. The lists have as many
    // places as the calls are told; the names belong to `info` and are copied.
    unsafe {
        call!(runtime, GetTensorElementType(info, (&raw mut element).cast()))?;
        call!(runtime, GetDimensionsCount(info, &raw mut count))?;
        let (mut sizes, mut names) = (vec![0_i64; count], vec![ptr::null(); count]);
        call!(runtime, GetDimensions(info, sizes.as_mut_ptr(), count))?;
        call!(runtime, GetSymbolicDimensions(info, names.as_mut_ptr(), count))?;
        let dim = |(&size, &name): (&i64, &*const c_char)| match usize::try_from(size) {
            Ok(size) => Dim::Fixed(size),
            Err(_) => Dim::Named(text(name)),
        };
        Ok((Element(element), sizes.iter().zip(&names).map(dim).collect()))
    }
}
