//! Running a session on areas in place.

mod ffi;

pub(super) use self::ffi::{Plan, trial};

use super::element::Element;
use crate::spec::{Specs, TensorSpec};

/// A tensor in an area.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// As the model has it; an area may hold f32 instead, if it can be converted.
    pub element: Element,
    /// Dimensions as the library takes them.
    pub shape: Vec<i64>,
    /// First byte in the area.
    pub offset: usize,
    /// Bytes in the area.
    pub bytes: usize,
}

impl Place {
    fn elements(&self) -> usize {
        self.shape.iter().map(|&size| size as usize).product()
    }
}

/// The tensors of an area, in the model's order, and its length.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    pub places: Vec<Place>,
    pub bytes: usize,
}

impl Layout {
    pub(super) fn inputs(specs: &Specs, elements: &[Element]) -> Self {
        Self { places: places(specs.inputs(), specs.input_offsets(), elements), bytes: specs.input_bytes() }
    }

    pub(super) fn outputs(specs: &Specs, elements: &[Element]) -> Self {
        Self { places: places(specs.outputs(), specs.output_offsets(), elements), bytes: specs.output_bytes() }
    }
}

fn places(tensors: &[TensorSpec], offsets: &[usize], elements: &[Element]) -> Vec<Place> {
    let place = |((tensor, &offset), &element): ((&TensorSpec, &usize), &Element)| Place {
        element,
        shape: tensor.shape.iter().map(|&size| size as i64).collect(),
        offset,
        bytes: tensor.bytes(),
    };
    tensors.iter().zip(offsets).zip(elements).map(place).collect()
}
