//! The tensors of a model, and where each lies in the input and the output area.

use crate::dtype::DType;
use serde_json::{Value, json};
use std::ops::Range;
use thiserror::Error;

/// Every tensor of an area starts at a multiple of this: a cache line, and the widest vector register.
pub const AREA_ALIGN_BYTES: usize = 64;

/// Largest area. A model file may claim any shape; this keeps a claim from becoming an allocation. Room for an 8K frame in f32.
const AREA_BYTES_MAX: usize = 1 << 30;

/// One input or output of a model. All dimensions are known: engines settle dynamic ones when they load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The model's own name for it.
    pub name: String,
    /// Element type in the area.
    pub dtype: DType,
    /// Dimensions, outermost first; images are `[N, C, H, W]` with N = 1.
    pub shape: Vec<usize>,
}

impl TensorSpec {
    /// A tensor of any element type.
    pub fn new(name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype, shape: shape.into() }
    }

    /// An f32 tensor.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self { name: name.into(), dtype: DType::F32, shape: shape.into() }
    }

    /// Number of elements; the product of the dimensions. Exact for a spec inside [`Specs`], saturating otherwise.
    pub fn elements(&self) -> usize {
        self.shape.iter().fold(1, |product: usize, &dim| product.saturating_mul(dim))
    }

    /// Bytes of the tensor, without padding.
    pub fn bytes(&self) -> usize {
        self.elements().saturating_mul(self.dtype.bytes())
    }

    fn to_json(&self) -> Value {
        json!({ "name": self.name, "dtype": self.dtype.name(), "shape": self.shape })
    }
}

/// Why a set of tensors cannot be laid out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SpecError {
    /// Neither an empty model nor one without an answer can serve frames.
    #[error("the model has no {0}: it must have at least one input and one output")]
    Empty(&'static str),
    /// A dimension of zero leaves nothing to compute; as an output shape it usually means that the size depends on the data.
    #[error(
        "tensor \"{tensor}\" has shape {shape:?} with an empty dimension: export the model with a fixed, non-zero size there"
    )]
    EmptyDimension {
        /// Name of the tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The area would be larger than what is sensible to reserve per frame.
    #[error(
        "tensor \"{tensor}\" with shape {shape:?} makes the {area} area larger than {AREA_BYTES_MAX} bytes: use a smaller shape"
    )]
    TooLarge {
        /// Name of the tensor that crosses the limit.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// `input` or `output`.
        area: &'static str,
    },
}

/// Inputs and outputs of a loaded model, and the layout of the two areas.
///
/// In each area the tensors lie one after another in the model's order, each at a multiple of [`AREA_ALIGN_BYTES`]; the bytes
/// between them belong to nobody and keep their value. The area ends with the last tensor, unpadded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Specs {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    input_offsets: Vec<usize>,
    output_offsets: Vec<usize>,
    input_bytes: usize,
    output_bytes: usize,
}

impl Specs {
    /// Lays out the areas.
    ///
    /// # Errors
    /// [`SpecError`]: no tensor, an empty dimension, or an area over 1 GiB.
    pub fn new(inputs: Vec<TensorSpec>, outputs: Vec<TensorSpec>) -> Result<Self, SpecError> {
        let (input_offsets, input_bytes) = layout(&inputs, "input")?;
        let (output_offsets, output_bytes) = layout(&outputs, "output")?;
        Ok(Self { inputs, outputs, input_offsets, output_offsets, input_bytes, output_bytes })
    }

    /// The model's inputs, in its order.
    pub fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    /// The model's outputs, in its order.
    pub fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Byte offset of each input in the input area.
    pub fn input_offsets(&self) -> &[usize] {
        &self.input_offsets
    }

    /// Byte offset of each output in the output area.
    pub fn output_offsets(&self) -> &[usize] {
        &self.output_offsets
    }

    /// Bytes of the input area.
    pub fn input_bytes(&self) -> usize {
        self.input_bytes
    }

    /// Bytes of the output area.
    pub fn output_bytes(&self) -> usize {
        self.output_bytes
    }

    /// Byte range of input `index` in the input area; `None` if there is no such input.
    pub fn input_range(&self, index: usize) -> Option<Range<usize>> {
        range(&self.inputs, &self.input_offsets, index)
    }

    /// Byte range of output `index` in the output area; `None` if there is no such output.
    pub fn output_range(&self, index: usize) -> Option<Range<usize>> {
        range(&self.outputs, &self.output_offsets, index)
    }

    /// `{"inputs":[{name,dtype,shape}],"outputs":[..],"input_bytes":..,"output_bytes":..,"input_offsets":[..],"output_offsets":[..]}`.
    pub fn to_json(&self) -> Value {
        json!({
            "inputs": self.inputs.iter().map(TensorSpec::to_json).collect::<Vec<_>>(),
            "outputs": self.outputs.iter().map(TensorSpec::to_json).collect::<Vec<_>>(),
            "input_bytes": self.input_bytes,
            "output_bytes": self.output_bytes,
            "input_offsets": self.input_offsets,
            "output_offsets": self.output_offsets,
        })
    }
}

fn range(specs: &[TensorSpec], offsets: &[usize], index: usize) -> Option<Range<usize>> {
    let offset = *offsets.get(index)?;
    Some(offset..offset + specs.get(index)?.bytes())
}

fn layout(tensors: &[TensorSpec], area: &'static str) -> Result<(Vec<usize>, usize), SpecError> {
    if tensors.is_empty() {
        return Err(SpecError::Empty(area));
    }
    let mut offsets = Vec::with_capacity(tensors.len());
    let mut end = 0_usize;
    for tensor in tensors {
        if tensor.shape.contains(&0) {
            return Err(SpecError::EmptyDimension { tensor: tensor.name.clone(), shape: tensor.shape.clone() });
        }
        let offset = end.next_multiple_of(AREA_ALIGN_BYTES);
        // Neither sum overflows: `end` is at most the limit, and a product that overflows saturates and is refused.
        end = match offset.checked_add(tensor.bytes()) {
            Some(end) if end <= AREA_BYTES_MAX => end,
            _ => return Err(SpecError::TooLarge { tensor: tensor.name.clone(), shape: tensor.shape.clone(), area }),
        };
        offsets.push(offset);
    }
    Ok((offsets, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ultraface_layout_is_the_known_one() {
        let specs = Specs::new(
            vec![TensorSpec::f32("input", [1, 3, 240, 320])],
            vec![TensorSpec::f32("scores", [1, 4420, 2]), TensorSpec::f32("boxes", [1, 4420, 4])],
        )
        .unwrap();
        assert_eq!(specs.input_bytes(), 3 * 240 * 320 * 4);
        // 35 360 bytes of scores end 32 bytes short of a multiple of 64.
        assert_eq!(specs.output_offsets(), [0, 35_392]);
        assert_eq!(specs.output_range(0), Some(0..35_360));
        assert_eq!(specs.output_range(1), Some(35_392..35_392 + 70_720));
        assert_eq!(specs.output_bytes(), 106_112);
        assert_eq!(specs.output_range(2), None);
    }

    #[test]
    fn impossible_shapes_are_refused() {
        let ok = || vec![TensorSpec::f32("x", [1, 4])];
        assert_eq!(Specs::new(vec![], ok()), Err(SpecError::Empty("input")));
        assert_eq!(Specs::new(ok(), vec![]), Err(SpecError::Empty("output")));
        assert!(matches!(Specs::new(ok(), vec![TensorSpec::f32("y", [0, 6])]), Err(SpecError::EmptyDimension { .. })));
        for shape in [vec![usize::MAX], vec![usize::MAX, 2], vec![1 << 28, 2], vec![1 << 40, 1 << 40]] {
            let refused = Specs::new(vec![TensorSpec::f32("x", shape.clone())], ok());
            assert!(matches!(refused, Err(SpecError::TooLarge { area: "input", .. })), "{shape:?}");
        }
    }

    #[test]
    fn a_scalar_is_one_element() {
        assert_eq!(TensorSpec::f32("s", []).bytes(), 4);
    }

    proptest! {
        #[test]
        fn tensors_are_aligned_and_disjoint(
            tensors in prop::collection::vec((0_usize..4, prop::collection::vec(1_usize..20, 0..4)), 1..6),
        ) {
            let tensors: Vec<_> =
                tensors.into_iter().map(|(dtype, shape)| TensorSpec::new("t", DType::ALL[dtype], shape)).collect();
            let count = tensors.len();
            let specs = Specs::new(vec![TensorSpec::f32("x", [1])], tensors).unwrap();
            let mut end = 0;
            for index in 0..count {
                let range = specs.output_range(index).unwrap();
                prop_assert_eq!(range.start % AREA_ALIGN_BYTES, 0);
                prop_assert!(range.start >= end && range.start - end < AREA_ALIGN_BYTES);
                end = range.end;
            }
            prop_assert_eq!(specs.output_bytes(), end);
        }
    }
}
