//! The result of a frame: classes, detections, or a tensor.

use crate::MAX_RANK;
use crate::entries::{Classes, Detections, detections_len};
use crate::error::ReplyError;
use crate::tensor::{TensorShape, TensorView};

// Kinds of results on the wire.
const NONE: u8 = 0;
const CLASSES: u8 = 1;
const DETECTIONS: u8 = 2;
pub(crate) const TENSOR: u8 = 3;

/// What the header says of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResultInfo {
    /// No result: status replies, and streams whose clients only want times.
    #[default]
    None,
    /// The best classes, best first.
    Classes {
        /// How many.
        count: u16,
    },
    /// Boxes with scores.
    Detections {
        /// How many.
        count: u16,
    },
    /// The model's output as it is.
    Tensor(TensorShape),
}

/// A complete result, borrowed from where its bytes lie. Everything was checked when it was made.
#[derive(Debug, Clone)]
pub enum ResultView<'a> {
    /// No result.
    None,
    /// Classes, best first.
    Classes(Classes<'a>),
    /// Boxes with scores.
    Detections(Detections<'a>),
    /// A tensor.
    Tensor(TensorView<'a>),
}

/// The header's fields that describe a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct ResultFields {
    pub(crate) kind: u8,
    pub(crate) count: u16,
    pub(crate) dtype: u8,
    pub(crate) rank: u8,
    pub(crate) dims: [u32; MAX_RANK],
}

impl ResultInfo {
    /// The stable name of the kind.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Classes { .. } => "classes",
            Self::Detections { .. } => "detections",
            Self::Tensor(_) => "tensor",
        }
    }

    pub(crate) fn fields(&self) -> ResultFields {
        match *self {
            Self::None => ResultFields::default(),
            Self::Classes { count } => ResultFields { kind: CLASSES, count, ..ResultFields::default() },
            Self::Detections { count } => ResultFields { kind: DETECTIONS, count, ..ResultFields::default() },
            Self::Tensor(shape) => shape.fields(),
        }
    }

    pub(crate) fn from_fields(fields: ResultFields) -> Result<Self, ReplyError> {
        match fields.kind {
            NONE => Ok(Self::None),
            CLASSES => Ok(Self::Classes { count: fields.count }),
            DETECTIONS => Ok(Self::Detections { count: fields.count }),
            TENSOR => TensorShape::read(fields.dtype, fields.rank, fields.dims).map(Self::Tensor),
            kind => Err(ReplyError::UnknownResultKind { kind }),
        }
    }

    /// Whether a result of `total_len` bytes can be what this announces.
    pub(crate) fn fits(&self, total_len: usize) -> bool {
        match *self {
            Self::None => total_len == 0,
            Self::Classes { count } => Classes::fit(count, total_len),
            Self::Detections { count } => total_len == detections_len(count.into()),
            Self::Tensor(shape) => shape.byte_len() == Some(total_len),
        }
    }

    /// The complete result that lies in `bytes`, all of it checked.
    pub fn view<'a>(&self, bytes: &'a [u8]) -> Result<ResultView<'a>, ReplyError> {
        let bad = ReplyError::BadResult { len: bytes.len() };
        if !self.fits(bytes.len()) {
            return Err(bad);
        }
        Ok(match *self {
            Self::None => ResultView::None,
            Self::Classes { count } => ResultView::Classes(Classes::read(count, bytes).ok_or(bad)?),
            Self::Detections { .. } => ResultView::Detections(Detections::read(bytes)),
            Self::Tensor(shape) => ResultView::Tensor(TensorView { shape, bytes }),
        })
    }
}
