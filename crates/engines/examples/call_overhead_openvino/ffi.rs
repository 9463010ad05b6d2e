//! OpenVINO's C interface as a program would call it that does nothing else.
#![allow(unsafe_code)]

use engines::{Specs, TensorSpec};
use libloading::Library;
use std::cell::Cell;
use std::ffi::{CString, c_char, c_int, c_void};
use std::ptr::{null, null_mut};
use std::time::Instant;

/// An object of the library.
type Object = *mut c_void;

/// Its number for f32.
const F32: c_int = 4;

#[repr(C)]
#[derive(Clone, Copy)]
struct Shape {
    rank: i64,
    dims: *const i64,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Bounds {
    min: i64,
    max: i64,
}

#[repr(C)]
struct PartialShape {
    rank: Bounds,
    dims: *const Bounds,
}

/// A request whose tensors are bound, once.
pub struct Plain {
    infer: unsafe extern "C" fn(Object) -> c_int,
    request: Object,
    output: Vec<Vec<f32>>,
    offsets: Vec<usize>,
    output_len: usize,
}

fn ok(status: c_int, what: &str) -> Result<(), String> {
    if status == 0 { Ok(()) } else { Err(format!("{what}: {status}")) }
}

impl Plain {
    /// Compiles the model as the engine does, and binds `input`, which must stay where it is, and memory for the outputs.
    pub fn new(library: &str, model: &str, specs: &Specs, input: &[f32]) -> Result<Self, Box<dyn std::error::Error>> {
        let [input_spec] = specs.inputs() else { return Err("the model has several inputs".into()) };
        let (device, path) = (CString::new("CPU")?, CString::new(model)?);
        let mut output: Vec<_> = specs.outputs().iter().map(|spec| vec![0.0_f32; spec.elements()]).collect();
        let settings = [
            ("PERFORMANCE_HINT", "LATENCY"),
            ("INFERENCE_PRECISION_HINT", "f32"),
            ("INFERENCE_NUM_THREADS", "1"),
            ("NUM_STREAMS", "1"),
            ("ENABLE_CPU_PINNING", "NO"),
        ];
        // SAFETY: needed to call C. The types are those of the library's headers; every object comes from the call before its first use; the library
        // copies texts and shapes, and keeps the addresses of tensors, which outlast the measurement. It is never unloaded.
        unsafe {
            let library: &'static Library = Box::leak(Box::new(Library::new(library)?));
            let create = library.get::<unsafe extern "C" fn(*mut Object) -> c_int>("ov_core_create\0")?;
            let set =
                library.get::<unsafe extern "C" fn(Object, *const c_char, ...) -> c_int>("ov_core_set_property\0")?;
            let read = library
                .get::<unsafe extern "C" fn(Object, *const c_char, *const c_char, *mut Object) -> c_int>(
                    "ov_core_read_model\0",
                )?;
            let reshape = library
                .get::<unsafe extern "C" fn(Object, *const usize, *const PartialShape, usize) -> c_int>(
                    "ov_model_reshape_by_port_indexes\0",
                )?;
            let compile =
                library.get::<unsafe extern "C" fn(Object, Object, *const c_char, usize, *mut Object, ...) -> c_int>(
                    "ov_core_compile_model\0",
                )?;
            let request_of = library.get::<unsafe extern "C" fn(Object, *mut Object) -> c_int>(
                "ov_compiled_model_create_infer_request\0",
            )?;
            let set_input = library.get::<unsafe extern "C" fn(Object, usize, Object) -> c_int>(
                "ov_infer_request_set_input_tensor_by_index\0",
            )?;
            let set_output = library.get::<unsafe extern "C" fn(Object, usize, Object) -> c_int>(
                "ov_infer_request_set_output_tensor_by_index\0",
            )?;
            let infer = *library.get::<unsafe extern "C" fn(Object) -> c_int>("ov_infer_request_infer\0")?;
            let (mut core, mut model, mut compiled, mut request) = (null_mut(), null_mut(), null_mut(), null_mut());
            ok(create(&raw mut core), "core")?;
            for (key, value) in settings {
                let (key, value) = (CString::new(key)?, CString::new(value)?);
                ok(set(core, device.as_ptr(), key.as_ptr(), value.as_ptr()), "property")?;
            }
            ok(read(core, path.as_ptr(), null(), &raw mut model), "model")?;
            let dims: Vec<_> =
                input_spec.shape.iter().map(|&dim| Bounds { min: dim as i64, max: dim as i64 }).collect();
            let rank = Bounds { min: dims.len() as i64, max: dims.len() as i64 };
            let shape = PartialShape { rank, dims: dims.as_ptr() };
            ok(reshape(model, &raw const FIRST, &raw const shape, 1), "shape")?;
            ok(compile(core, model, device.as_ptr(), 0, &raw mut compiled), "compile")?;
            ok(request_of(compiled, &raw mut request), "request")?;
            ok(set_input(request, 0, tensor(library, input_spec, input.as_ptr().cast_mut())?), "input")?;
            for (index, (spec, memory)) in specs.outputs().iter().zip(&mut output).enumerate() {
                ok(set_output(request, index, tensor(library, spec, memory.as_mut_ptr())?), "output")?;
            }
            let (offsets, output_len) = (specs.output_offsets().to_vec(), specs.output_bytes() / 4);
            let mut plain = Self { infer, request, output, offsets, output_len };
            for _ in 0..3 {
                plain.infer()?;
            }
            Ok(plain)
        }
    }

    /// One frame, in microseconds.
    pub fn infer(&mut self) -> Result<f64, String> {
        let started = Instant::now();
        // SAFETY: needed to call C. The request and the memory of its tensors live.
        let status = unsafe { (self.infer)(self.request) };
        let elapsed = started.elapsed();
        ok(status, "infer")?;
        Ok(elapsed.as_secs_f64() * 1e6)
    }

    /// The outputs, as an area has them.
    pub fn output(&self) -> Vec<f32> {
        let mut area = vec![0.0; self.output_len];
        for (output, offset) in self.output.iter().zip(&self.offsets) {
            area[offset / 4..offset / 4 + output.len()].copy_from_slice(output);
        }
        area
    }
}

/// Number of the one input.
static FIRST: usize = 0;

/// A tensor of the library over `memory`.
///
/// # Safety
/// `memory` has the elements of `spec` and stays where it is.
unsafe fn tensor(library: &Library, spec: &TensorSpec, memory: *mut f32) -> Result<Object, Box<dyn std::error::Error>> {
    let dims: Vec<_> = spec.shape.iter().map(|&dim| dim as i64).collect();
    let mut tensor = null_mut();
    // SAFETY: the caller's promise; the library copies the shape.
    unsafe {
        let create = library.get::<unsafe extern "C" fn(c_int, Shape, Object, *mut Object) -> c_int>(
            "ov_tensor_create_from_host_ptr\0",
        )?;
        let shape = Shape { rank: dims.len() as i64, dims: dims.as_ptr() };
        ok(create(F32, shape, memory.cast(), &raw mut tensor), "tensor")?;
    }
    Ok(tensor)
}

/// Areas in memory that is never given back, as an arena's.
pub struct Slots {
    cells: &'static [Cell<u8>],
    start: usize,
    stride: usize,
    bytes: usize,
}

impl Slots {
    /// `count` areas of `bytes`, each at a multiple of 64.
    pub fn new(count: usize, bytes: usize) -> Self {
        let stride = bytes.next_multiple_of(64);
        let cells: &'static [Cell<u8>] = vec![Cell::new(0); count * stride + 64].leak();
        Self { cells, start: cells.as_ptr().align_offset(64), stride, bytes }
    }

    /// All of it.
    pub fn cells(&self) -> &'static [Cell<u8>] {
        self.cells
    }

    /// Gives every area these contents.
    pub fn fill(&self, contents: &[u8]) {
        for area in self.cells[self.start..].chunks_exact(self.stride) {
            for (cell, &byte) in area.iter().zip(contents) {
                cell.set(byte);
            }
        }
    }

    /// An area; nobody writes it at the moment.
    pub fn get(&self, index: usize) -> &[u8] {
        let cells = &self.cells[self.start + index * self.stride..][..self.bytes];
        // SAFETY: needed because an engine takes slices. The memory lasts, and is written between calls only.
        unsafe { std::slice::from_raw_parts(cells.as_ptr().cast::<u8>(), cells.len()) }
    }

    /// An area that the engine writes; nobody else has it at the moment.
    #[allow(clippy::mut_from_ref, reason = "the cells are shared, and one area is out at a time")]
    pub fn get_mut(&self, index: usize) -> &mut [u8] {
        let cells = &self.cells[self.start + index * self.stride..][..self.bytes];
        // SAFETY: as above; a cell may be written through its pointer.
        unsafe { std::slice::from_raw_parts_mut(cells.as_ptr().cast::<u8>().cast_mut(), cells.len()) }
    }
}
