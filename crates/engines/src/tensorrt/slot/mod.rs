//! A run on its way: stream, contexts and memory of the device for one batch.

mod ffi;

pub(super) use ffi::Slot;

use super::ffi::Sizes;
use crate::shim::Element;
use crate::spec::Specs;

/// What the device needs to know of the model.
pub(super) struct Layout {
    pub specs: Specs,
    /// Sizes of each input: `least` of one frame, `most` of a full batch.
    pub sizes: Vec<Sizes>,
    /// Element type of each output on the device.
    pub elements: Vec<Element>,
    /// Most frames of a batch.
    pub batch_max: usize,
}

impl Layout {
    /// Bytes of output `index` of one frame on the device.
    pub(super) fn output_bytes(&self, index: usize) -> usize {
        self.specs.outputs()[index].elements() * self.elements[index].bytes().unwrap_or(0)
    }

    /// Whether each output lies in the area as it is on the device.
    pub(super) fn is_plain(&self) -> bool {
        self.elements.iter().all(|element| matches!(element, Element::Area(_)))
    }
}
