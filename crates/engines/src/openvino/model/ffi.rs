//! OpenVINO's core, models and compiled models as owned values.
#![allow(unsafe_code)]

use super::super::cache::Stored;
use super::super::ffi::{Bounds, Object, OpenVino, PartialShape, element_type};
use crate::dtype::DType;
use std::ffi::{CStr, CString, c_int};
use std::path::Path;
use std::ptr::{null, null_mut};

/// An input or output of a model.
#[derive(Clone, Debug)]
pub(in super::super) struct Port {
    /// One of its names; none if it has no name.
    pub name: Option<String>,
    /// The library's number.
    pub element_type: c_int,
    /// None if even their number is open.
    pub dims: Option<Vec<Bounds>>,
}

/// Holds an object of the library and gives it back.
macro_rules! owned {
    ($(#[$about:meta])* $name:ident, $free:ident $(, $field:ident: $type:ty)?) => {
        $(#[$about])*
        pub(in super::super) struct $name {
            pub(in super::super) library: &'static OpenVino,
            object: Object,
            $($field: $type,)?
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: needed to call C. The object came from the library, is owned by this value alone, and is not used after this.
                unsafe { (self.library.entry.$free)(self.object) }
            }
        }

        // SAFETY: needed because a pointer says nothing about threads. The library's objects may be used from any thread, one at a time.
        unsafe impl Send for $name {}
    };
}

owned!(
    /// What knows the devices and their settings.
    Core,
    ov_core_free
);
owned!(
    /// A model as its file has it.
    Model,
    ov_model_free
);
owned!(
    /// A model made ready for a device.
    CompiledModel,
    ov_compiled_model_free,
    _imported: Option<Stored>
);
owned!(
    /// A port while it is asked.
    OpenPort,
    ov_output_const_port_free
);

// SAFETY: needed because requests share the model. The library's compiled models are for use from several threads at once; here requests are made of
// them, and properties asked.
unsafe impl Sync for CompiledModel {}

impl Core {
    pub(in super::super) fn new(library: &'static OpenVino) -> Result<Self, String> {
        let mut object = null_mut();
        // SAFETY: needed to call C. The library stores one pointer.
        library.check(unsafe { (library.entry.ov_core_create)(&raw mut object) })?;
        Ok(Self { library, object })
    }

    pub(in super::super) fn devices(&self) -> Result<Vec<String>, String> {
        self.library.devices(self.object)
    }

    /// A property of a device, as text.
    pub(in super::super) fn property(&self, device: &str, key: &CStr) -> Result<String, String> {
        let (device, mut value) = (c_text(device)?, null_mut());
        // SAFETY: needed to call C. All texts end with a zero and live through the call; the answer is ours.
        unsafe {
            let status =
                (self.library.entry.ov_core_get_property)(self.object, device.as_ptr(), key.as_ptr(), &raw mut value);
            self.library.check(status)?;
            Ok(self.library.take_text(value))
        }
    }

    /// Sets a property of a device, or of the core itself where the device is empty.
    pub(in super::super) fn set(&self, device: &str, key: &CStr, value: &str) -> Result<(), String> {
        let (device, value) = (c_text(device)?, c_text(value)?);
        // SAFETY: needed to call C. The function reads exactly one key and one value after the device; all end with a zero and are copied.
        let status = unsafe {
            (self.library.entry.ov_core_set_property)(self.object, device.as_ptr(), key.as_ptr(), value.as_ptr())
        };
        self.library
            .check(status)
            .map_err(|error| format!("{} = {}: {error}", key.to_string_lossy(), value.to_string_lossy()))
    }

    /// Reads a model from its file, with what lies beside it.
    pub(in super::super) fn read(&self, path: &Path) -> Result<Model, String> {
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| "its path contains a zero byte".to_owned())?;
        let mut object = null_mut();
        // SAFETY: needed to call C. The path ends with a zero; no second path means that the library looks for weights itself.
        let status =
            unsafe { (self.library.entry.ov_core_read_model)(self.object, path.as_ptr(), null(), &raw mut object) };
        self.library.check(status)?;
        Ok(Model { library: self.library, object })
    }

    /// Reads a model that is one piece.
    pub(in super::super) fn read_bytes(&self, bytes: &[u8]) -> Result<Model, String> {
        let mut object = null_mut();
        // SAFETY: needed to call C. The library reads `len` bytes during the call, and without a weights tensor keeps none of them.
        let status = unsafe {
            let read = self.library.entry.ov_core_read_model_from_memory_buffer;
            read(self.object, bytes.as_ptr().cast(), bytes.len(), null_mut(), &raw mut object)
        };
        self.library.check(status)?;
        Ok(Model { library: self.library, object })
    }

    /// Compiles with the properties that [`Core::set`] has set for the device.
    pub(in super::super) fn compile(&self, model: &Model, device: &str) -> Result<CompiledModel, String> {
        let (device, mut object) = (c_text(device)?, null_mut());
        // SAFETY: needed to call C. Both objects live; the count says that no properties follow.
        let status = unsafe {
            let compile = self.library.entry.ov_core_compile_model;
            compile(self.object, model.object, device.as_ptr(), 0, &raw mut object)
        };
        self.library.check(status)?;
        Ok(CompiledModel { library: self.library, object, _imported: None })
    }

    /// Takes back what [`CompiledModel::export`] has written.
    pub(in super::super) fn import(&self, stored: Stored, device: &str) -> Result<CompiledModel, String> {
        let (device, mut object) = (c_text(device)?, null_mut());
        let compiled = stored.compiled();
        // SAFETY: needed to call C. The library reads `len` bytes, and goes on using the weights among them after the call: they belong to the compiled
        // model from here on, are never written, and go after it and its requests. It trusts them; `Stored` has checked that they
        // are what was exported.
        let status = unsafe {
            let import = self.library.entry.ov_core_import_model;
            import(self.object, compiled.as_ptr().cast(), compiled.len(), device.as_ptr(), &raw mut object)
        };
        self.library.check(status)?;
        Ok(CompiledModel { library: self.library, object, _imported: Some(stored) })
    }
}

impl Model {
    pub(in super::super) fn inputs(&self) -> Result<Vec<Port>, String> {
        let entry = &self.library.entry;
        self.ports(entry.ov_model_inputs_size, entry.ov_model_const_input_by_index)
    }

    pub(in super::super) fn outputs(&self) -> Result<Vec<Port>, String> {
        let entry = &self.library.entry;
        self.ports(entry.ov_model_outputs_size, entry.ov_model_const_output_by_index)
    }

    fn ports(
        &self,
        size: unsafe extern "C" fn(Object, *mut usize) -> c_int,
        by_index: unsafe extern "C" fn(Object, usize, *mut Object) -> c_int,
    ) -> Result<Vec<Port>, String> {
        let mut count = 0;
        // SAFETY: needed to call C. The library stores one number.
        self.library.check(unsafe { size(self.object, &raw mut count) })?;
        let port = |index| {
            let mut object = null_mut();
            // SAFETY: needed to call C. The library checks the index and stores one pointer, to an object of its own.
            self.library.check(unsafe { by_index(self.object, index, &raw mut object) })?;
            OpenPort { library: self.library, object }.describe()
        };
        (0..count).map(port).collect()
    }

    /// Gives every input the shape of the same place in `shapes`; the model infers the others from them.
    pub(in super::super) fn reshape(&self, shapes: &mut [Vec<Bounds>]) -> Result<(), String> {
        let indexes: Vec<usize> = (0..shapes.len()).collect();
        let partial: Vec<_> = shapes
            .iter_mut()
            .map(|dims| {
                let rank = dims.len() as i64;
                PartialShape { rank: Bounds { min: rank, max: rank }, dims: dims.as_mut_ptr() }
            })
            .collect();
        // SAFETY: needed to call C. Both lists have the length given, each shape as many dimensions as its rank says, and all are copied.
        let status = unsafe {
            let reshape = self.library.entry.ov_model_reshape_by_port_indexes;
            reshape(self.object, indexes.as_ptr(), partial.as_ptr(), indexes.len())
        };
        self.library.check(status)
    }

    /// The same model, with the `outputs` converted to f32.
    pub(in super::super) fn with_f32(&self, outputs: &[usize]) -> Result<Self, String> {
        let (library, entry) = (self.library, &self.library.entry);
        let (mut steps, mut object) = (null_mut(), null_mut());
        // SAFETY: needed to call C. Each object is used only if the call that makes it has succeeded, and given back after its last use.
        unsafe {
            library.check((entry.ov_preprocess_prepostprocessor_create)(self.object, &raw mut steps))?;
            let converted = outputs.iter().try_for_each(|&index| set_f32(library, steps, index));
            let built = converted
                .and_then(|()| library.check((entry.ov_preprocess_prepostprocessor_build)(steps, &raw mut object)));
            (entry.ov_preprocess_prepostprocessor_free)(steps);
            built?;
        }
        Ok(Self { library, object })
    }
}

/// Lets output `index` be f32.
///
/// # Safety
/// `steps` is a preprocessor of the library.
unsafe fn set_f32(library: &OpenVino, steps: Object, index: usize) -> Result<(), String> {
    let entry = &library.entry;
    let (mut output, mut tensor) = (null_mut(), null_mut());
    // SAFETY: the caller's promise, and as in `with_f32`.
    unsafe {
        library.check((entry.ov_preprocess_prepostprocessor_get_output_info_by_index)(
            steps,
            index,
            &raw mut output,
        ))?;
        let found = library.check((entry.ov_preprocess_output_info_get_tensor_info)(output, &raw mut tensor));
        let set = found.and_then(|()| {
            let set = library.check((entry.ov_preprocess_output_set_element_type)(tensor, element_type(DType::F32)));
            (entry.ov_preprocess_output_tensor_info_free)(tensor);
            set
        });
        (entry.ov_preprocess_output_info_free)(output);
        set
    }
}

impl OpenPort {
    fn describe(&self) -> Result<Port, String> {
        let (library, entry) = (self.library, &self.library.entry);
        let (mut name, mut element_type) = (null_mut(), 0);
        let mut shape = PartialShape { rank: Bounds { min: 0, max: -1 }, dims: null_mut() };
        // SAFETY: needed to call C. The library stores a number, a text that is ours, and a shape whose dimensions it owns until it is freed; there
        // are as many as its rank says if that is fixed.
        unsafe {
            library.check((entry.ov_port_get_element_type)(self.object, &raw mut element_type))?;
            let named = (entry.ov_port_get_any_name)(self.object, &raw mut name) == 0;
            let name = named.then(|| library.take_text(name)).filter(|name| !name.is_empty());
            library.check((entry.ov_port_get_partial_shape)(self.object, &raw mut shape))?;
            let rank = usize::try_from(shape.rank.max).ok().filter(|_| shape.rank.min == shape.rank.max);
            let dims = rank.map(|rank| match rank {
                0 => Vec::new(),
                _ => std::slice::from_raw_parts(shape.dims, rank).to_vec(),
            });
            (entry.ov_partial_shape_free)(&raw mut shape);
            Ok(Port { name, element_type, dims })
        }
    }
}

impl CompiledModel {
    /// A property as text.
    pub(in super::super) fn property(&self, key: &CStr) -> Result<String, String> {
        let mut value = null_mut();
        // SAFETY: needed to call C. The key ends with a zero; the answer is ours.
        unsafe {
            let status = (self.library.entry.ov_compiled_model_get_property)(self.object, key.as_ptr(), &raw mut value);
            self.library.check(status)?;
            Ok(self.library.take_text(value))
        }
    }

    /// Writes it to a file, from which [`Core::import`] gets it back in less time than compiling takes.
    pub(in super::super) fn export(&self, path: &Path) -> Result<(), String> {
        use std::os::unix::ffi::OsStrExt;
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| "its path contains a zero byte".to_owned())?;
        // SAFETY: needed to call C. The path ends with a zero.
        self.library.check(unsafe { (self.library.entry.ov_compiled_model_export_model)(self.object, path.as_ptr()) })
    }

    /// An object of the library that computes one frame at a time; the caller owns it, and gives it back before this model goes.
    pub(in super::super) fn create_request(&self) -> Result<Object, String> {
        let mut object = null_mut();
        // SAFETY: needed to call C. The library stores one pointer.
        let status =
            unsafe { (self.library.entry.ov_compiled_model_create_infer_request)(self.object, &raw mut object) };
        self.library.check(status)?;
        Ok(object)
    }
}

fn c_text(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| format!("\"{}\" contains a zero byte", text.escape_default()))
}
