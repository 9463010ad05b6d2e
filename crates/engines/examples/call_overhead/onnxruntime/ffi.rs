//! A session made and run by bare calls: the plainest program that a user of the library would write. Only as careful as an example.
#![allow(unsafe_code)]

use crate::Error;
use engines::{DType, Specs, TensorSpec};
use libloading::Library;
use ort_sys as sys;
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::ptr;

/// A session with the tensors of one input and one output area bound to it.
pub struct Direct {
    api: *const sys::OrtApi,
    session: *mut sys::OrtSession,
    options: *mut sys::OrtRunOptions,
    input_names: Vec<*const c_char>,
    output_names: Vec<*const c_char>,
    inputs: Vec<*mut sys::OrtValue>,
    outputs: Vec<*mut sys::OrtValue>,
    input: Area,
    output: Area,
    /// What the lists of names point to.
    _names: Vec<CString>,
}

/// Memory at a multiple of 64, reached by its address alone.
struct Area {
    start: *mut u8,
    len: usize,
}

impl Area {
    fn new(len: usize) -> Self {
        let memory = vec![0_u8; len + 64].leak();
        let start = memory.as_mut_ptr();
        Self { start: start.wrapping_add(start.align_offset(64)), len }
    }
}

macro_rules! call {
    ($api:expr, $function:ident($($argument:expr),* $(,)?)) => {{
        let status = ((*$api).$function)($($argument),*).0;
        if status.is_null() {
            Ok(())
        } else {
            Err(Error::from(CStr::from_ptr(((*$api).GetErrorMessage)(status)).to_string_lossy().into_owned()))
        }
    }};
}

impl Direct {
    /// Opens `model` with one thread, as `engines` does.
    pub fn open(library: &Path, model: &Path, specs: &Specs) -> Result<Self, Error> {
        let bytes = std::fs::read(model)?;
        // SAFETY: needed to call the library, with the types of its own header; the strings and bytes live through the calls.
        unsafe {
            let library = Library::new(library)?;
            let base = library.get::<unsafe extern "C" fn() -> *const sys::OrtApiBase>(b"OrtGetApiBase\0")?();
            let api = ((*base).GetApi)(sys::ORT_API_VERSION);
            std::mem::forget(library);
            let (mut env, mut settings, mut session) = (ptr::null_mut(), ptr::null_mut(), ptr::null_mut());
            let (mut memory, mut options) = (ptr::null_mut(), ptr::null_mut());
            let level = sys::OrtLoggingLevel::ORT_LOGGING_LEVEL_ERROR;
            call!(api, CreateEnv(level, c"direct".as_ptr(), &raw mut env))?;
            call!(api, CreateSessionOptions(&raw mut settings))?;
            call!(api, SetIntraOpNumThreads(settings, 1))?;
            call!(api, CreateSessionFromArray(env, bytes.as_ptr().cast(), bytes.len(), settings, &raw mut session))?;
            call!(api, CreateRunOptions(&raw mut options))?;
            let kind = sys::OrtAllocatorType::OrtDeviceAllocator;
            call!(api, CreateCpuMemoryInfo(kind, sys::OrtMemType::OrtMemTypeDefault, &raw mut memory))?;
            let (input, output) = (Area::new(specs.input_bytes()), Area::new(specs.output_bytes()));
            let inputs = bind(api, memory, &input, specs.inputs(), specs.input_offsets())?;
            let outputs = bind(api, memory, &output, specs.outputs(), specs.output_offsets())?;
            let names = specs.inputs().iter().chain(specs.outputs()).map(|tensor| CString::new(tensor.name.as_str()));
            let names: Vec<_> = names.collect::<Result<_, _>>()?;
            let mut pointers: Vec<_> = names.iter().map(|name| name.as_ptr()).collect();
            let output_names = pointers.split_off(inputs.len());
            let input_names = pointers;
            Ok(Self { api, session, options, input_names, output_names, inputs, outputs, input, output, _names: names })
        }
    }

    /// The input, to fill before runs.
    pub fn input(&mut self) -> &mut [u8] {
        // SAFETY: needed to reach memory that the library's tensors name too; it uses them in `run` alone, which borrows all of this.
        unsafe { std::slice::from_raw_parts_mut(self.input.start, self.input.len) }
    }

    /// What the last run answered.
    pub fn output(&self) -> &[u8] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts(self.output.start, self.output.len) }
    }

    /// One call of the library.
    pub fn run(&mut self) -> Result<(), Error> {
        // SAFETY: needed to call the library; names and values are as many as it is told, and their memory is leaked.
        unsafe {
            call!(
                self.api,
                Run(
                    self.session,
                    self.options,
                    self.input_names.as_ptr(),
                    self.inputs.as_ptr().cast(),
                    self.inputs.len(),
                    self.output_names.as_ptr(),
                    self.outputs.len(),
                    self.outputs.as_mut_ptr()
                )
            )
        }
    }
}

/// # Safety
/// `api` and `memory` are the library's.
unsafe fn bind(
    api: *const sys::OrtApi,
    memory: *const sys::OrtMemoryInfo,
    area: &Area,
    tensors: &[TensorSpec],
    offsets: &[usize],
) -> Result<Vec<*mut sys::OrtValue>, Error> {
    use sys::ONNXTensorElementDataType as Type;
    let mut values = Vec::new();
    for (tensor, &offset) in tensors.iter().zip(offsets) {
        if tensor.dtype != DType::F32 {
            return Err("the direct call knows f32 alone".into());
        }
        let shape: Vec<_> = tensor.shape.iter().map(|&size| size as i64).collect();
        let (data, element) = (area.start.wrapping_add(offset).cast(), Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
        let mut value = ptr::null_mut();
        // SAFETY: needed to make a tensor over the area, of which it is a part; the shape is copied.
        unsafe {
            call!(
                api,
                CreateTensorWithDataAsOrtValue(
                    memory,
                    data,
                    tensor.bytes(),
                    shape.as_ptr(),
                    shape.len(),
                    element,
                    &raw mut value
                )
            )?;
        }
        values.push(value);
    }
    Ok(values)
}
