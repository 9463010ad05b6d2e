//! Tensors of the library over memory of ours, and the call that runs a model on them.
#![allow(unsafe_code)]

use super::{Layout, Place};
use crate::onnxruntime::element::Element;
use crate::onnxruntime::ffi::{Failure, Runtime, Session, call, tensor_info};
use crate::shape::Dim;
use ort_sys as sys;
use std::ffi::c_void;
use std::ptr;

/// What a session needs to compute frames, or batches, of one shape.
pub(in crate::onnxruntime) struct Plan {
    inputs: Side,
    outputs: Side,
}

impl Plan {
    /// For areas that are laid out as `inputs` and `outputs`, whose tensors are those of the session that it will be run with. Keeps the tensors
    /// over up to `kept` areas of either side.
    pub(in crate::onnxruntime) fn new(
        session: &Session,
        inputs: Layout,
        outputs: Layout,
        kept: usize,
    ) -> Result<Self, Failure> {
        let runtime = session.runtime;
        Ok(Self { inputs: Side::new(runtime, inputs, kept)?, outputs: Side::new(runtime, outputs, kept)? })
    }

    /// Computes `input` into `output`. `lasting`: the areas come back at these addresses, so the tensors over them are worth keeping.
    pub(in crate::onnxruntime) fn run(
        &mut self,
        session: &mut Session,
        input: &[u8],
        output: &mut [u8],
        lasting: bool,
    ) -> Result<(), Failure> {
        let start = input.as_ptr().cast_mut();
        let inputs = self.inputs.over(start, input.len(), lasting)?;
        let outputs = self.outputs.over(output.as_mut_ptr(), output.len(), lasting)?;
        // SAFETY: needed to run the model. `over` has checked that the tensors lie in the two areas, which are borrowed for the call; the library does
        // not write to inputs. The lists of values have as many entries as `Session::new` found names, which `check` compares.
        unsafe { execute(session, inputs, outputs)? };
        self.outputs.convert(output);
        Ok(())
    }
}

/// Runs the model on `input` without saying where outputs belong, and tells their types and dimensions.
pub(in crate::onnxruntime) fn trial(
    session: &mut Session,
    inputs: Layout,
    input: &[u8],
) -> Result<Vec<(Element, Vec<Dim>)>, Failure> {
    let runtime = session.runtime;
    let mut side = Side::new(runtime, inputs, 0)?;
    let mut outputs = vec![ptr::null_mut(); session.outputs.len()];
    let inputs = side.over(input.as_ptr().cast_mut(), input.len(), false)?;
    // SAFETY: needed to run the model, as in `Plan::run`; null entries ask the library for tensors of its own.
    unsafe { execute(session, inputs, &mut outputs)? };
    outputs.into_iter().map(|value| described(&Value { raw: value, runtime })).collect()
}

/// # Safety
/// The values' memory is valid for the call, that of the outputs for writing, and aliased by nothing.
unsafe fn execute(
    session: &mut Session,
    inputs: &[*mut sys::OrtValue],
    outputs: &mut [*mut sys::OrtValue],
) -> Result<(), Failure> {
    let (input_names, output_names) = (&session.input_names, &session.output_names);
    if (inputs.len(), outputs.len()) != (input_names.len(), output_names.len()) {
        return Err(Failure::own("the plan belongs to another model"));
    }
    // SAFETY: needed to run the model. Names and values are as many as the call is told; the names are the session's; the values' memory is the
    // caller's promise.
    unsafe {
        call!(
            session.runtime,
            Run(
                session.raw,
                session.run_options,
                input_names.as_ptr(),
                inputs.as_ptr().cast(),
                inputs.len(),
                output_names.as_ptr(),
                outputs.len(),
                outputs.as_mut_ptr()
            )
        )
    }
}

/// A tensor of the library's.
struct Value {
    raw: *mut sys::OrtValue,
    runtime: &'static Runtime,
}

impl Drop for Value {
    fn drop(&mut self) {
        // SAFETY: needed to free a tensor that nothing else names; null is allowed. Memory that it lies over is not touched.
        unsafe { ((*self.runtime.api).ReleaseValue)(self.raw) }
    }
}

fn described(value: &Value) -> Result<(Element, Vec<Dim>), Failure> {
    let mut info = ptr::null_mut();
    // SAFETY: needed to ask a tensor that the library made; the description is released after it was read.
    unsafe {
        call!(value.runtime, GetTensorTypeAndShape(value.raw, &raw mut info))?;
        let read = tensor_info(value.runtime, info);
        ((*value.runtime.api).ReleaseTensorTypeAndShapeInfo)(info);
        read
    }
}

/// The tensors of one side of a model, inputs or outputs.
struct Side {
    runtime: &'static Runtime,
    layout: Layout,
    /// What the model answers in a type that areas do not have: tensors in memory of the library's, and where their bytes are.
    converted: Vec<Option<(Value, *const u8)>>,
    /// Addresses of the areas over which tensors are kept, 0 for none; the last entry is of the area that is not kept.
    areas: Vec<usize>,
    /// For each area as many as the model has on this side, in its order. Those of `converted` are named here too.
    values: Vec<*mut sys::OrtValue>,
}

// SAFETY: needed because raw pointers are not. Tensors may be used from any thread, one thread at a time.
unsafe impl Send for Side {}

impl Side {
    fn new(runtime: &'static Runtime, layout: Layout, kept: usize) -> Result<Self, Failure> {
        let mut converted = Vec::with_capacity(layout.places.len());
        for place in &layout.places {
            if place.offset.checked_add(place.bytes).is_none_or(|end| end > layout.bytes) {
                return Err(Failure::own("a tensor ends behind its area"));
            }
            let own = place.element.in_place().is_none();
            converted.push(if own { Some(allocated(runtime, place)?) } else { None });
        }
        let areas = vec![0; kept + 1];
        let values = vec![ptr::null_mut(); areas.len() * layout.places.len()];
        Ok(Self { runtime, layout, converted, areas, values })
    }

    /// The tensors over the area of `len` bytes at `start`. They are good as long as the area is; nothing reads or writes it before a run.
    fn over(&mut self, start: *mut u8, len: usize, lasting: bool) -> Result<&mut [*mut sys::OrtValue], Failure> {
        if len != self.layout.bytes {
            return Err(Failure::own("an area has another length than its tensors"));
        }
        let address = start.addr();
        let kept = self.areas.len() - 1;
        let lasting = lasting && kept > 0;
        let entry = if lasting { entry(address, kept) } else { kept };
        let width = self.layout.places.len();
        if !lasting || self.areas[entry] != address {
            self.make(entry, start)?;
        }
        Ok(&mut self.values[entry * width..(entry + 1) * width])
    }

    /// Makes the tensors of `entry` anew.
    fn make(&mut self, entry: usize, start: *mut u8) -> Result<(), Failure> {
        self.release(entry);
        for (index, place) in self.layout.places.iter().enumerate() {
            let value = &mut self.values[entry * self.layout.places.len() + index];
            *value = match &self.converted[index] {
                Some((own, _)) => own.raw,
                // In bounds: `new` has compared the place with the area's length, and `over` the length.
                None => over_memory(self.runtime, place, start.wrapping_add(place.offset).cast())?,
            };
        }
        self.areas[entry] = start.addr();
        Ok(())
    }

    fn release(&mut self, entry: usize) {
        self.areas[entry] = 0;
        let width = self.layout.places.len();
        for (value, converted) in self.values[entry * width..].iter_mut().zip(&self.converted) {
            let raw = std::mem::replace(value, ptr::null_mut());
            if converted.is_none() {
                drop(Value { raw, runtime: self.runtime });
            }
        }
    }

    /// Writes what the library holds of the outputs into their area.
    fn convert(&self, area: &mut [u8]) {
        for (place, converted) in self.layout.places.iter().zip(&self.converted) {
            let Some((_, data)) = converted else { continue };
            let bytes = place.elements() * place.element.bytes();
            // SAFETY: needed to read the library's memory, which it has allocated for just this many elements and does not write now.
            let from = unsafe { std::slice::from_raw_parts(*data, bytes) };
            place.element.convert(from, &mut area[place.offset..place.offset + place.bytes]);
        }
    }
}

impl Drop for Side {
    fn drop(&mut self) {
        for entry in 0..self.areas.len() {
            self.release(entry);
        }
    }
}

/// Where the tensors over an area are kept: slots lie at even distances, which multiplying by an odd number spreads (Fibonacci hashing).
fn entry(address: usize, kept: usize) -> usize {
    const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;
    let hash = (address as u64 >> 6).wrapping_mul(GOLDEN);
    // The upper half as a fraction of one, times the number of entries.
    ((u128::from(hash) * kept as u128) >> u64::BITS) as usize
}

fn over_memory(runtime: &Runtime, place: &Place, data: *mut c_void) -> Result<*mut sys::OrtValue, Failure> {
    let mut value = ptr::null_mut();
    let element = element(place)?;
    let (shape, rank) = (place.shape.as_ptr(), place.shape.len());
    // SAFETY: needed to make a tensor over memory, which the call does not touch; it compares the length with the shape. The shape is copied.
    unsafe {
        call!(
            runtime,
            CreateTensorWithDataAsOrtValue(runtime.memory, data, place.bytes, shape, rank, element, &raw mut value)
        )?;
    }
    Ok(value)
}

/// A tensor in memory of the library's, and the address of its elements.
fn allocated(runtime: &'static Runtime, place: &Place) -> Result<(Value, *const u8), Failure> {
    let (mut allocator, mut value, mut data) =
        (ptr::null_mut(), Value { raw: ptr::null_mut(), runtime }, ptr::null_mut());
    let (shape, rank, element) = (place.shape.as_ptr(), place.shape.len(), element(place)?);
    // SAFETY: needed to make a tensor; the shape is copied, the allocator is the library's and lasts.
    unsafe {
        call!(runtime, GetAllocatorWithDefaultOptions(&raw mut allocator))?;
        call!(runtime, CreateTensorAsOrtValue(allocator, shape, rank, element, &raw mut value.raw))?;
        call!(runtime, GetTensorMutableData(value.raw, &raw mut data))?;
    }
    if data.is_null() {
        return Err(Failure::own("a tensor without memory"));
    }
    Ok((value, data.cast_const().cast()))
}

/// The element types that can be made, in the header's words.
fn element(place: &Place) -> Result<sys::ONNXTensorElementDataType, Failure> {
    use sys::ONNXTensorElementDataType as Type;
    Ok(match place.element.0 {
        1 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
        2 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
        3 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8,
        4 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
        5 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
        6 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
        7 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
        9 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL,
        10 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
        11 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        12 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
        13 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
        16 => Type::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
        _ => return Err(Failure::own("a tensor of a type that has no numbers")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_of_any_stride_find_places_of_their_own() {
        for stride in [4096, 602_112, 921_600, 106_112_usize.next_multiple_of(64)] {
            let mut taken = vec![0_usize; 512];
            (0..64).for_each(|slot| taken[entry(0x7f12_3440_0000 + slot * stride, 512)] += 1);
            let alone = taken.iter().filter(|&&count| count == 1).count();
            assert!(alone >= 40, "stride {stride}: {alone} of 64 slots keep their tensors");
        }
    }
}
