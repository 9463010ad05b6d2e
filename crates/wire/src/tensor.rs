//! Tensors as results: shape and elements.

use crate::error::{BuildError, ReplyError};
use crate::result::{ResultFields, TENSOR};
use crate::{MAX_RANK, MAX_TOTAL_LEN};

named_codes! {
    /// Element type of a tensor, little-endian.
    pub enum ElementType: "element type" {
        /// IEEE 754 binary32.
        F32 = 1 => "f32",
        /// IEEE 754 binary16.
        F16 = 2 => "f16",
        /// Unsigned byte.
        U8 = 3 => "u8",
        /// Signed byte.
        I8 = 4 => "i8",
    }
}

impl ElementType {
    /// Bytes of one element.
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::U8 | Self::I8 => 1,
        }
    }
}

/// Element type and shape of a tensor, outermost dimension first, as in `[N, C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorShape {
    element: ElementType,
    rank: u8,
    dims: [u32; MAX_RANK],
}

/// A tensor's shape and bytes.
#[derive(Debug, Clone, Copy)]
pub struct TensorView<'a> {
    /// Its shape.
    pub shape: TensorShape,
    /// Its elements, little-endian, in row-major order.
    pub bytes: &'a [u8],
}

impl TensorShape {
    /// The shape with these dimensions, outermost first; at most [`MAX_RANK`] of them and [`MAX_TOTAL_LEN`] bytes.
    pub fn new(element: ElementType, dims: &[u32]) -> Result<Self, BuildError> {
        let mut padded = [0; MAX_RANK];
        padded.get_mut(..dims.len()).ok_or(BuildError::ResultShape)?.copy_from_slice(dims);
        let shape = Self { element, rank: dims.len() as u8, dims: padded };
        shape.byte_len().map(|_| shape).ok_or(BuildError::ResultShape)
    }

    /// The same for elements of f32.
    pub fn f32(dims: &[u32]) -> Result<Self, BuildError> {
        Self::new(ElementType::F32, dims)
    }

    /// The type of its elements.
    pub const fn element(&self) -> ElementType {
        self.element
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// Bytes of all elements, or `None` above [`MAX_TOTAL_LEN`].
    pub fn byte_len(&self) -> Option<usize> {
        let start = self.element.bytes();
        let len = self.dims().iter().try_fold(start, |len, &dim| len.checked_mul(dim as usize))?;
        (len <= MAX_TOTAL_LEN).then_some(len)
    }

    /// What a header says of a tensor of this shape.
    pub(crate) const fn fields(&self) -> ResultFields {
        ResultFields { kind: TENSOR, count: 1, dtype: self.element.code(), rank: self.rank, dims: self.dims }
    }

    /// The shape in a header's fields; dimensions beyond the rank are not read.
    pub(crate) fn read(dtype: u8, rank: u8, mut dims: [u32; MAX_RANK]) -> Result<Self, ReplyError> {
        let element = ElementType::from_u8(dtype).filter(|_| usize::from(rank) <= MAX_RANK);
        let element = element.ok_or(ReplyError::BadTensor { dtype, rank })?;
        dims[usize::from(rank)..].fill(0);
        Ok(Self { element, rank, dims })
    }
}

impl<'a> TensorView<'a> {
    /// The elements in row-major order, as f32, which holds every value of the other types.
    pub fn elements(&self) -> impl Iterator<Item = f32> + use<'a> {
        let element = self.shape.element;
        self.bytes.chunks_exact(element.bytes()).map(move |chunk| match (element, chunk) {
            (ElementType::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (ElementType::F16, &[a, b]) => half::f16::from_le_bytes([a, b]).to_f32(),
            (ElementType::I8, &[byte]) => f32::from(byte.cast_signed()),
            // Chunks have the element's length, so this is u8.
            (_, chunk) => f32::from(chunk[0]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ResultInfo, ResultView};

    #[test]
    fn tensors_have_at_most_six_dimensions_and_64_mib() {
        let shape = TensorShape::f32(&[1, 5]).unwrap();
        assert_eq!((shape.dims(), shape.byte_len()), ([1, 5].as_slice(), Some(20)));
        assert_eq!(TensorShape::f32(&[]).unwrap().byte_len(), Some(4));
        assert_eq!(TensorShape::f32(&[1; 7]), Err(BuildError::ResultShape));
        assert_eq!(TensorShape::f32(&[1 << 24, 2]), Err(BuildError::ResultShape));
        assert_eq!(TensorShape::f32(&[u32::MAX; 6]), Err(BuildError::ResultShape));
        let bytes: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let info = ResultInfo::Tensor(TensorShape::f32(&[2]).unwrap());
        let ResultView::Tensor(tensor) = info.view(&bytes).unwrap() else { panic!("tensor expected") };
        assert_eq!(tensor.elements().collect::<Vec<_>>(), [1.5, -2.0]);
    }

    #[test]
    fn elements_of_every_type_are_numbers() {
        for (element, bytes, expected) in [
            (ElementType::F16, &[0x00, 0x3e, 0x00, 0xc0][..], [1.5, -2.0]),
            (ElementType::U8, &[7, 255], [7.0, 255.0]),
            (ElementType::I8, &[7, 255], [7.0, -1.0]),
        ] {
            let info = ResultInfo::Tensor(TensorShape::new(element, &[1, 2]).unwrap());
            let ResultView::Tensor(tensor) = info.view(bytes).unwrap() else { panic!("tensor expected") };
            assert_eq!(tensor.elements().collect::<Vec<_>>(), expected, "{element}");
            assert_eq!(tensor.shape.byte_len(), Some(bytes.len()));
        }
        assert!(TensorShape::read(5, 1, [1; MAX_RANK]).is_err(), "an element type of a later release");
    }
}
