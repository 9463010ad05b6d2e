//! libcuda's functions, and the few things made with them.
#![allow(unsafe_code)]

use crate::shim::{reason, symbol};
use libloading::Library;
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::ops::Range;
use std::path::Path;

type Code = c_int;
type Pointer = *mut c_void;

const SUCCESS: Code = 0;
const NOT_READY: Code = 600;
const ALREADY_REGISTERED: Code = 712;

/// `CUdevice_attribute`.
const INTEGRATED: c_int = 18;
const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

/// `cuMemHostRegister`: usable from every context, has an address on the device, and is only read there.
const REGISTER: c_uint = 1 | 2;
const REGISTER_READ_ONLY: c_uint = 8;

/// Streams and events that do not order themselves by what others do, and do not record the time.
const NON_BLOCKING: c_uint = 1;
const DISABLE_TIMING: c_uint = 2;

/// Who waits for a stream sleeps, since other stages may share the core.
const WAIT_ASLEEP: c_uint = 4;

/// Other threads may call what they like meanwhile.
const CAPTURE_THREAD_LOCAL: c_uint = 1;

/// Declares the table of functions and how it is filled.
macro_rules! functions {
    ($($field:ident = $name:literal: fn($($argument:ty),*);)*) => {
        #[derive(Clone, Copy)]
        struct Functions { $($field: unsafe extern "C" fn($($argument),*) -> Code,)* }

        impl Functions {
            fn load(library: &'static Library) -> Result<Self, String> {
                // SAFETY: needed to call what was loaded. The types are those of cuda.h, which CUDA keeps for a name once it is given; a change
                // comes under a new name.
                unsafe { Ok(Self { $($field: symbol(library, $name)?,)* }) }
            }
        }
    };
}

functions! {
    init = "cuInit": fn(c_uint);
    driver_version = "cuDriverGetVersion": fn(*mut c_int);
    device_count = "cuDeviceGetCount": fn(*mut c_int);
    device_get = "cuDeviceGet": fn(*mut c_int, c_int);
    device_name = "cuDeviceGetName": fn(*mut c_char, c_int, c_int);
    device_attribute = "cuDeviceGetAttribute": fn(*mut c_int, c_int, c_int);
    primary_flags = "cuDevicePrimaryCtxSetFlags_v2": fn(c_int, c_uint);
    primary_context = "cuDevicePrimaryCtxRetain": fn(*mut Pointer, c_int);
    set_current = "cuCtxSetCurrent": fn(Pointer);
    error_string = "cuGetErrorString": fn(Code, *mut *const c_char);
    allocate = "cuMemAlloc_v2": fn(*mut u64, usize);
    free = "cuMemFree_v2": fn(u64);
    fill = "cuMemsetD8Async": fn(u64, u8, usize, Pointer);
    register = "cuMemHostRegister_v2": fn(Pointer, usize, c_uint);
    device_address = "cuMemHostGetDevicePointer_v2": fn(*mut u64, Pointer, c_uint);
    copy_in = "cuMemcpyHtoDAsync_v2": fn(u64, *const c_void, usize, Pointer);
    copy_out = "cuMemcpyDtoHAsync_v2": fn(Pointer, u64, usize, Pointer);
    stream_create = "cuStreamCreate": fn(*mut Pointer, c_uint);
    stream_wait = "cuStreamSynchronize": fn(Pointer);
    stream_destroy = "cuStreamDestroy_v2": fn(Pointer);
    event_create = "cuEventCreate": fn(*mut Pointer, c_uint);
    event_record = "cuEventRecord": fn(Pointer, Pointer);
    event_query = "cuEventQuery": fn(Pointer);
    event_destroy = "cuEventDestroy_v2": fn(Pointer);
    capture_begin = "cuStreamBeginCapture_v2": fn(Pointer, c_uint);
    capture_end = "cuStreamEndCapture": fn(Pointer, *mut Pointer);
    graph_instantiate = "cuGraphInstantiateWithFlags": fn(*mut Pointer, Pointer, u64);
    graph_launch = "cuGraphLaunch": fn(Pointer, Pointer);
    graph_destroy = "cuGraphDestroy": fn(Pointer);
    graph_exec_destroy = "cuGraphExecDestroy": fn(Pointer);
}

impl Functions {
    fn check(&self, what: &str, code: Code) -> Result<(), String> {
        if code == SUCCESS {
            return Ok(());
        }
        let mut text = std::ptr::null();
        // SAFETY: needed because it is C. The text is the driver's and lasts.
        let text = unsafe {
            ((self.error_string)(code, &raw mut text) == SUCCESS && !text.is_null()).then(|| CStr::from_ptr(text))
        };
        let text = text.map_or_else(|| "no explanation".into(), CStr::to_string_lossy);
        Err(format!("{what}: CUDA error {code} ({text})"))
    }
}

/// The driver, initialised.
#[derive(Clone, Copy)]
pub(in crate::tensorrt) struct Driver {
    functions: Functions,
}

impl Driver {
    /// # Errors
    /// The library is missing, lacks a function, or finds no driver in the kernel.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        // SAFETY: needed to load code at run time: the driver's library under its own name, trusted as the kernel's part of the driver is.
        let library = unsafe { Library::new(path) }.map_err(|error| reason(&error))?;
        let library: &'static Library = Box::leak(Box::new(library));
        let functions = Functions::load(library)?;
        // SAFETY: needed because it is C; it takes no address, and may be called again and again.
        functions.check("cuInit", unsafe { (functions.init)(0) })?;
        Ok(Self { functions })
    }

    pub(super) fn count(&self) -> Result<usize, String> {
        let mut count = 0;
        // SAFETY: needed because it is C. The number outlives the call.
        let code = unsafe { (self.functions.device_count)(&raw mut count) };
        self.functions.check("cuDeviceGetCount", code)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }

    /// Device number `index`, with its primary context, which TensorRT computes in too. It is kept as long as the process lives.
    ///
    /// # Errors
    /// What the driver says.
    pub(in crate::tensorrt) fn device(&self, index: usize) -> Result<Device, String> {
        let functions = self.functions;
        let (mut ordinal, mut context, mut name) = (0, std::ptr::null_mut(), [0_u8; 256]);
        let number = c_int::try_from(index).map_err(|error| error.to_string())?;
        // SAFETY: needed because it is C. All that is written to outlives its call, and the name's room is as long as is said.
        unsafe {
            functions.check("cuDeviceGet", (functions.device_get)(&raw mut ordinal, number))?;
            let code = (functions.device_name)(name.as_mut_ptr().cast(), name.len() as c_int, ordinal);
            functions.check("cuDeviceGetName", code)?;
            // Refused where the context is in use already; waiting then costs what it costs.
            (functions.primary_flags)(ordinal, WAIT_ASLEEP);
            let code = (functions.primary_context)(&raw mut context, ordinal);
            functions.check("cuDevicePrimaryCtxRetain", code)?;
        }
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: as above.
            let code = unsafe { (functions.device_attribute)(&raw mut value, which, ordinal) };
            functions.check("cuDeviceGetAttribute", code).map(|()| value)
        };
        let mut driver = 0;
        // SAFETY: as above.
        functions.check("cuDriverGetVersion", unsafe { (functions.driver_version)(&raw mut driver) })?;
        let name = CStr::from_bytes_until_nul(&name).map_err(|error| error.to_string())?.to_string_lossy().into_owned();
        let capability = (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?);
        Ok(Device { functions, context, name, capability, is_integrated: attribute(INTEGRATED)? != 0, driver })
    }
}

/// A device in use.
#[derive(Clone)]
pub(in crate::tensorrt) struct Device {
    functions: Functions,
    context: Pointer,
    pub(in crate::tensorrt) name: String,
    /// Compute capability.
    pub(in crate::tensorrt) capability: (c_int, c_int),
    /// Whether it computes in the processor's own memory.
    pub(in crate::tensorrt) is_integrated: bool,
    /// CUDA version that the driver speaks: major * 1000 + minor * 10.
    pub(in crate::tensorrt) driver: c_int,
}

// SAFETY: needed because of the pointer: contexts, and what is made in them, may be used from every thread in which the context is current, and that is
// seen to before each call. The same holds for the three below.
unsafe impl Send for Device {}
// SAFETY: as above.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Send for Event {}
// SAFETY: as above.
unsafe impl Send for Graph {}

impl Device {
    /// Makes its context the calling thread's.
    pub(in crate::tensorrt) fn enter(&self) -> Result<(), String> {
        // SAFETY: needed because it is C. The context is never given back.
        self.functions.check("cuCtxSetCurrent", unsafe { (self.functions.set_current)(self.context) })
    }

    /// Memory of the device.
    pub(in crate::tensorrt) fn allocate(&self, bytes: usize) -> Result<Buffer, String> {
        let mut address = 0;
        self.enter()?;
        // SAFETY: needed because it is C. The address outlives the call.
        let code = unsafe { (self.functions.allocate)(&raw mut address, bytes) };
        self.functions.check("cuMemAlloc", code)?;
        Ok(Buffer { device: self.clone(), address, bytes })
    }

    /// Pins memory that lasts as long as the process (see [`crate::Regions`]), for copies that the processor has no part in.
    /// Memory that another engine has pinned is pinned.
    pub(in crate::tensorrt) fn register(&self, region: &Range<usize>, read_only: bool) -> Result<(), String> {
        self.enter()?;
        let at = std::ptr::with_exposed_provenance_mut(region.start);
        let flags = if read_only { REGISTER | REGISTER_READ_ONLY } else { REGISTER };
        // SAFETY: needed because it is C. The driver pins whole pages and changes nothing in them; the regions are mapped for ever.
        match unsafe { (self.functions.register)(at, region.len(), flags) } {
            ALREADY_REGISTERED => Ok(()),
            code => self.functions.check("cuMemHostRegister", code),
        }
    }

    /// Where the device sees memory that is registered.
    pub(in crate::tensorrt) fn address_of(&self, at: usize) -> Option<u64> {
        let (mut address, at) = (0, std::ptr::with_exposed_provenance_mut(at));
        // SAFETY: needed because it is C. The driver looks the address up and does not follow it.
        let code = unsafe { (self.functions.device_address)(&raw mut address, at, 0) };
        (code == SUCCESS).then_some(address)
    }

    pub(in crate::tensorrt) fn stream(&self) -> Result<Stream, String> {
        let mut handle = std::ptr::null_mut();
        self.enter()?;
        // SAFETY: needed because it is C. The handle outlives the call.
        let code = unsafe { (self.functions.stream_create)(&raw mut handle, NON_BLOCKING) };
        self.functions.check("cuStreamCreate", code)?;
        Ok(Stream { device: self.clone(), handle })
    }

    pub(in crate::tensorrt) fn event(&self) -> Result<Event, String> {
        let mut handle = std::ptr::null_mut();
        self.enter()?;
        // SAFETY: as above.
        let code = unsafe { (self.functions.event_create)(&raw mut handle, DISABLE_TIMING) };
        self.functions.check("cuEventCreate", code)?;
        Ok(Event { device: self.clone(), handle })
    }
}

/// Memory on a device.
pub(in crate::tensorrt) struct Buffer {
    device: Device,
    pub(in crate::tensorrt) address: u64,
    bytes: usize,
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let _ = self.device.enter();
        // SAFETY: needed because it is C. Came from `allocate`; its owner has waited for what uses it.
        let _ = unsafe { (self.device.functions.free)(self.address) };
    }
}

/// Work that a device does in order.
pub(in crate::tensorrt) struct Stream {
    device: Device,
    pub(in crate::tensorrt) handle: Pointer,
}

impl Stream {
    /// Begins to copy to the device.
    ///
    /// # Safety
    /// `from` stays readable, and `to` the caller's, for `bytes` until the stream has got so far.
    pub(in crate::tensorrt) unsafe fn copy_in(&self, to: u64, from: *const u8, bytes: usize) -> Result<(), String> {
        // SAFETY: the caller's.
        let code = unsafe { (self.device.functions.copy_in)(to, from.cast(), bytes, self.handle) };
        self.device.functions.check("cuMemcpyHtoDAsync", code)
    }

    /// Begins to copy from the device.
    ///
    /// # Safety
    /// `to` stays writable and nobody else's, and `from` the caller's, for `bytes` until the stream has got so far.
    pub(in crate::tensorrt) unsafe fn copy_out(&self, to: *mut u8, from: u64, bytes: usize) -> Result<(), String> {
        // SAFETY: the caller's.
        let code = unsafe { (self.device.functions.copy_out)(to.cast(), from, bytes, self.handle) };
        self.device.functions.check("cuMemcpyDtoHAsync", code)
    }

    /// Fills a buffer with zeros. It is the caller's until the stream has got so far.
    pub(in crate::tensorrt) fn clear(&self, buffer: &mut Buffer) -> Result<(), String> {
        // SAFETY: needed because it is C. The buffer has so many bytes, of the device, which frees none while a stream still uses it.
        let code = unsafe { (self.device.functions.fill)(buffer.address, 0, buffer.bytes, self.handle) };
        self.device.functions.check("cuMemsetD8Async", code)
    }

    /// Waits until all is done.
    pub(in crate::tensorrt) fn wait(&self) -> Result<(), String> {
        // SAFETY: needed because it is C. The handle is live.
        let code = unsafe { (self.device.functions.stream_wait)(self.handle) };
        self.device.functions.check("cuStreamSynchronize", code)
    }

    /// What `enqueue` puts on this stream, as a graph that is launched at once. It is only recorded, not done.
    pub(in crate::tensorrt) fn capture(&self, enqueue: impl FnOnce() -> Result<(), String>) -> Result<Graph, String> {
        let functions = self.device.functions;
        let (mut graph, mut exec) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: needed because it is C. Handles are live or outlive their calls; what has begun is ended whatever happens between.
        unsafe {
            functions.check("cuStreamBeginCapture", (functions.capture_begin)(self.handle, CAPTURE_THREAD_LOCAL))?;
            let enqueued = enqueue();
            let ended = functions.check("cuStreamEndCapture", (functions.capture_end)(self.handle, &raw mut graph));
            if graph.is_null() {
                return Err(enqueued.and(ended).err().unwrap_or_else(|| "cuStreamEndCapture: no graph".to_owned()));
            }
            let made = enqueued.and(ended).and_then(|()| {
                let code = (functions.graph_instantiate)(&raw mut exec, graph, 0);
                functions.check("cuGraphInstantiate", code)
            });
            (functions.graph_destroy)(graph);
            made.map(|()| Graph { device: self.device.clone(), handle: exec })
        }
    }

    pub(in crate::tensorrt) fn launch(&self, graph: &Graph) -> Result<(), String> {
        // SAFETY: needed because it is C. Both handles are live.
        let code = unsafe { (self.device.functions.graph_launch)(graph.handle, self.handle) };
        self.device.functions.check("cuGraphLaunch", code)
    }

    pub(in crate::tensorrt) fn record(&self, event: &Event) -> Result<(), String> {
        // SAFETY: as above.
        let code = unsafe { (self.device.functions.event_record)(event.handle, self.handle) };
        self.device.functions.check("cuEventRecord", code)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let _ = self.device.enter();
        // SAFETY: needed because it is C. Came from `stream`; this is its last use.
        let _ = unsafe { (self.device.functions.stream_destroy)(self.handle) };
    }
}

/// A place in a stream's work.
pub(in crate::tensorrt) struct Event {
    device: Device,
    handle: Pointer,
}

impl Event {
    /// Whether the stream has got there.
    pub(in crate::tensorrt) fn is_past(&self) -> Result<bool, String> {
        // SAFETY: needed because it is C. The handle is live.
        match unsafe { (self.device.functions.event_query)(self.handle) } {
            NOT_READY => Ok(false),
            code => self.device.functions.check("cuEventQuery", code).map(|()| true),
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        let _ = self.device.enter();
        // SAFETY: needed because it is C. Came from `event`; this is its last use.
        let _ = unsafe { (self.device.functions.event_destroy)(self.handle) };
    }
}

/// Recorded work.
pub(in crate::tensorrt) struct Graph {
    device: Device,
    handle: Pointer,
}

impl Drop for Graph {
    fn drop(&mut self) {
        let _ = self.device.enter();
        // SAFETY: needed because it is C. Came from `capture`; its owner has waited for its last launch.
        let _ = unsafe { (self.device.functions.graph_exec_destroy)(self.handle) };
    }
}
