//! Requests: frames that OpenVINO computes, with their tensors where the caller has them.
#![allow(unsafe_code)]

use super::super::ffi::{Callback, Object, OpenVino, RESULT_NOT_READY, Shape, element_type};
use super::super::model::ffi::CompiledModel;
use super::Notice;
use crate::regions::Regions;
use crate::spec::TensorSpec;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// Areas whose tensors are kept: more than an arena has slots in flight. A power of two.
const KEPT: usize = 512;

/// A tensor over memory that somebody else owns: an address with a type and a shape. The library reads or writes that memory only while a request
/// runs to which the tensor is bound.
struct Tensor {
    library: &'static OpenVino,
    object: Object,
}

impl Drop for Tensor {
    fn drop(&mut self) {
        // SAFETY: needed to call C. The object is this value's; a request to which it is bound has a share of its own in what is behind it.
        unsafe { (self.library.entry.ov_tensor_free)(self.object) }
    }
}

/// How the tensors lie in an area, and the library's tensors for the areas seen before.
pub(in super::super) struct Views {
    library: &'static OpenVino,
    /// Element type, dimensions and offset of each.
    tensors: Vec<(c_int, Vec<i64>, usize)>,
    bytes: usize,
    /// Frames side by side in each tensor.
    batch: usize,
    /// Addresses that last: only tensors over these are kept.
    lasting: Vec<Range<usize>>,
    /// By address; each place belongs to several addresses in turn.
    kept: Vec<(usize, Vec<Tensor>)>,
    /// Over memory that may go.
    passing: Vec<Tensor>,
}

impl Views {
    /// Tensors of `specs` at `offsets`, each `batch` frames long, in an area of `bytes`.
    pub(in super::super) fn new(
        library: &'static OpenVino,
        specs: &[TensorSpec],
        offsets: &[usize],
        bytes: usize,
        batch: usize,
    ) -> Result<Self, String> {
        let mut tensors = Vec::with_capacity(specs.len());
        for (spec, &offset) in specs.iter().zip(offsets) {
            let end = spec.bytes().checked_mul(batch).and_then(|tensor_bytes| tensor_bytes.checked_add(offset));
            if end.is_none_or(|end| end > bytes) {
                return Err(format!("tensor \"{}\" does not fit into its area", spec.name));
            }
            let mut dims: Vec<_> = spec.shape.iter().map(|&dim| dim as i64).collect();
            if let Some(frames) = dims.first_mut() {
                *frames *= batch as i64;
            }
            tensors.push((element_type(spec.dtype), dims, offset));
        }
        Ok(Self { library, tensors, bytes, batch, lasting: Vec::new(), kept: Vec::new(), passing: Vec::new() })
    }

    /// From now on, tensors over these addresses are kept.
    pub(in super::super) fn keep(&mut self, lasting: &[Range<usize>]) {
        self.lasting = lasting.to_vec();
        self.kept = (0..KEPT).map(|_| (0, Vec::new())).collect();
    }

    /// The library's tensors over the area at `start`, which is `self.bytes` long.
    fn over(&mut self, start: *mut u8) -> Result<&[Tensor], String> {
        let address = start.addr();
        let inside = |region: &Range<usize>| region.start <= address && address + self.bytes <= region.end;
        if !self.lasting.iter().any(inside) {
            self.passing = self.create(start)?;
            return Ok(&self.passing);
        }
        // Slots lie at equal distances; the multiplication spreads them over the places whatever the distance is.
        let place = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - KEPT.trailing_zeros());
        let place = place as usize;
        if self.kept[place].0 != address {
            self.kept[place] = (address, self.create(start)?);
        }
        Ok(&self.kept[place].1)
    }

    fn create(&self, start: *mut u8) -> Result<Vec<Tensor>, String> {
        let tensor = |&(element_type, ref dims, offset): &(c_int, Vec<i64>, usize)| {
            let shape = Shape { rank: dims.len() as i64, dims: dims.as_ptr().cast_mut() };
            let mut object = null_mut();
            // SAFETY: needed to call C. The library copies the dimensions and keeps the address, which it follows in a run only; `new` has checked
            // that the tensor lies inside the area.
            let status = unsafe {
                let create = self.library.entry.ov_tensor_create_from_host_ptr;
                create(element_type, shape, start.add(offset).cast::<c_void>(), &raw mut object)
            };
            self.library.check(status)?;
            Ok(Tensor { library: self.library, object })
        };
        self.tensors.iter().map(tensor).collect()
    }
}

// SAFETY: needed because pointers say nothing about threads. Tensors are addresses with a shape, and may be used from any one thread.
unsafe impl Send for Views {}

/// Whom to tell that a request has finished.
struct Listener {
    /// Here because the library keeps the pointer to it, not a copy.
    callback: Callback,
    notices: SyncSender<Notice>,
    request: usize,
}

/// What the library calls, on a thread of its own, when a request has finished.
unsafe extern "C" fn finished(listener: *mut c_void) {
    // SAFETY: needed because C passes no types. The listener is the one that `listen` has set; it lives as long as its request, which waits for
    // this call before it goes. It is only read, and a sender may be shared.
    let listener = unsafe { &*listener.cast::<Listener>() };
    // There is room for one notice of each request; and if the receiver has gone, nobody asks.
    let _ = listener.notices.try_send(Notice { request: listener.request, at: Instant::now() });
}

/// Computes one frame at a time.
pub(in super::super) struct Request {
    /// Goes after the request, which uses its weights.
    _model: Arc<CompiledModel>,
    library: &'static OpenVino,
    object: Object,
    /// Addresses of the areas that its tensors stand for, and the frames in them.
    bound: Option<(usize, usize, usize)>,
    running: bool,
    /// Owned; a pointer because the library has it too.
    listener: *mut Listener,
}

// SAFETY: needed because pointers say nothing about threads. The library's requests may be used from any one thread; the listener is shared with the
// library for reading only, and is `Sync`; of the model, requests only hold on to it.
unsafe impl Send for Request {}

impl Request {
    pub(in super::super) fn new(model: &Arc<CompiledModel>) -> Result<Self, String> {
        let object = model.create_request()?;
        Ok(Self {
            _model: Arc::clone(model),
            library: model.library,
            object,
            bound: None,
            running: false,
            listener: null_mut(),
        })
    }

    /// Sends a notice with the number `request` whenever a run that was started has finished; `notices` has room for all requests that share it.
    pub(in super::super) fn listen(&mut self, notices: SyncSender<Notice>, request: usize) -> Result<(), String> {
        if !self.listener.is_null() {
            return Err("the request has a listener".to_owned());
        }
        let callback = Callback { function: finished, argument: null_mut() };
        self.listener = Box::into_raw(Box::new(Listener { callback, notices, request }));
        // SAFETY: needed to let the structure point to what it is part of, and to call C. The listener was made by the line above, nobody else has it
        // yet, and it lives as long as the request, which keeps the pointer.
        let set = unsafe {
            (*self.listener).callback.argument = self.listener.cast();
            (self.library.entry.ov_infer_request_set_callback)(self.object, &raw const (*self.listener).callback)
        };
        self.library.check(set)
    }

    /// Computes a frame on the calling thread, as far as the device allows.
    pub(in super::super) fn infer(
        &mut self,
        views: [&mut Views; 2],
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        self.bind(views, input, output)?;
        // SAFETY: needed to call C. The request does not run, its tensors lie inside the two areas, as `bind` has checked, and both are borrowed
        // until the library has finished. It only reads the input.
        self.library.check(unsafe { (self.library.entry.ov_infer_request_infer)(self.object) })
    }

    /// Begins with a frame whose areas lie inside `regions`; [`Request::listen`] comes first. That nobody touches the areas until the run has
    /// finished is the caller's promise, as [`Regions`] say.
    pub(in super::super) fn start(
        &mut self,
        views: [&mut Views; 2],
        regions: &Regions,
        input: &[u8],
        output: &mut [u8],
    ) -> Result<(), String> {
        if !regions.contain(input, output) {
            return Err("the areas do not lie in memory that lasts".to_owned());
        }
        self.bind(views, input, output)?;
        // SAFETY: needed to call C. As in `infer`; after this call the areas stay mapped, since they lie inside the regions.
        self.library.check(unsafe { (self.library.entry.ov_infer_request_start_async)(self.object) })?;
        self.running = true;
        Ok(())
    }

    /// How a started run ended; `None` if it has not. Does not wait.
    pub(in super::super) fn ended(&mut self) -> Option<Result<(), String>> {
        // SAFETY: needed to call C.
        let status = unsafe { (self.library.entry.ov_infer_request_wait_for)(self.object, 0) };
        if status == RESULT_NOT_READY {
            return None;
        }
        self.running = false;
        Some(self.library.check(status))
    }

    fn bind(&mut self, [inputs, outputs]: [&mut Views; 2], input: &[u8], output: &mut [u8]) -> Result<(), String> {
        if self.running {
            return Err("the request runs".to_owned());
        }
        if input.len() != inputs.bytes || output.len() != outputs.bytes {
            return Err("an area has another size than its tensors".to_owned());
        }
        let wanted = (input.as_ptr().addr(), output.as_ptr().addr(), inputs.batch);
        if self.bound == Some(wanted) {
            return Ok(());
        }
        self.bound = None;
        let entry = &self.library.entry;
        for (index, tensor) in inputs.over(input.as_ptr().cast_mut())?.iter().enumerate() {
            // SAFETY: needed to call C. Both objects live, the request does not run, and the library checks index, type and shape.
            let set = unsafe { (entry.ov_infer_request_set_input_tensor_by_index)(self.object, index, tensor.object) };
            self.library.check(set)?;
        }
        for (index, tensor) in outputs.over(output.as_mut_ptr())?.iter().enumerate() {
            // SAFETY: as above.
            let set = unsafe { (entry.ov_infer_request_set_output_tensor_by_index)(self.object, index, tensor.object) };
            self.library.check(set)?;
        }
        self.bound = Some(wanted);
        Ok(())
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        // SAFETY: needed to call C, and because the listener is shared with the library: the wait ends after the library's last call of it, and the
        // request is gone before it. The object and the listener are this value's.
        unsafe {
            if self.running {
                // How the run ended is nobody's interest any more.
                let _ = (self.library.entry.ov_infer_request_wait)(self.object);
            }
            (self.library.entry.ov_infer_request_free)(self.object);
            if !self.listener.is_null() {
                drop(Box::from_raw(self.listener));
            }
        }
    }
}
