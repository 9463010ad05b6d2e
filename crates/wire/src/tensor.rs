//! Tensors as results: shape and elements.

use crate::error::{BuildError, ReplyError};
use crate::layout::u32_le;
use crate::result::{ResultFields, TENSOR};
use crate::{MAX_RANK, MAX_TOTAL_LEN};

/// Element type code of f32.
const DTYPE_F32: u8 = 1;

/// Shape of a tensor of f32 (IEEE 754 binary32, little-endian), outermost dimension first, as in `[N, C, H, W]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TensorShape {
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
    pub fn f32(dims: &[u32]) -> Result<Self, BuildError> {
        let mut padded = [0; MAX_RANK];
        padded.get_mut(..dims.len()).ok_or(BuildError::ResultShape)?.copy_from_slice(dims);
        let shape = Self { rank: dims.len() as u8, dims: padded };
        shape.byte_len().map(|_| shape).ok_or(BuildError::ResultShape)
    }

    /// The dimensions, outermost first.
    pub fn dims(&self) -> &[u32] {
        &self.dims[..usize::from(self.rank)]
    }

    /// Bytes of all elements, or `None` above [`MAX_TOTAL_LEN`].
    pub fn byte_len(&self) -> Option<usize> {
        let start = size_of::<f32>();
        let len = self.dims().iter().try_fold(start, |len, &dim| len.checked_mul(dim as usize))?;
        (len <= MAX_TOTAL_LEN).then_some(len)
    }

    /// What a header says of a tensor of this shape.
    pub(crate) const fn fields(&self) -> ResultFields {
        ResultFields { kind: TENSOR, count: 1, dtype: DTYPE_F32, rank: self.rank, dims: self.dims }
    }

    /// The shape in a header's fields; dimensions beyond the rank are not read.
    pub(crate) fn read(dtype: u8, rank: u8, mut dims: [u32; MAX_RANK]) -> Result<Self, ReplyError> {
        if dtype != DTYPE_F32 || usize::from(rank) > MAX_RANK {
            return Err(ReplyError::BadTensor { dtype, rank });
        }
        dims[usize::from(rank)..].fill(0);
        Ok(Self { rank, dims })
    }
}

impl<'a> TensorView<'a> {
    /// The elements in row-major order.
    pub fn elements(&self) -> impl Iterator<Item = f32> + use<'a> {
        self.bytes.chunks_exact(size_of::<f32>()).filter_map(|chunk| u32_le(chunk, 0)).map(f32::from_bits)
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
}
