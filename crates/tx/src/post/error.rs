//! What can be wrong with a decoder's configuration, and with the outputs it meets.

use thiserror::Error;

/// The configuration does not fit the model.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum PostConfigError {
    /// An output index beyond the model's outputs.
    #[error("{key} = {index}, and the model has {count} outputs: give 0 to {last}", last = .count.saturating_sub(1))]
    NoSuchOutput {
        /// The key.
        key: &'static str,
        /// Its value.
        index: usize,
        /// Outputs of the model.
        count: usize,
    },
    /// The output cannot be read as what it is configured to be.
    #[error(
        "{key} has shape {shape:?} and must be {expected}: point the key at another output, or use another result kind"
    )]
    Shape {
        /// The key.
        key: &'static str,
        /// The output's shape.
        shape: Vec<usize>,
        /// What would fit.
        expected: &'static str,
    },
    /// Scores and boxes do not belong together.
    #[error("the score output has {scores} rows and the box output {boxes}: each box needs one row of scores")]
    RowCount {
        /// Rows of the score output.
        scores: usize,
        /// Rows of the box output.
        boxes: usize,
    },
    /// A number outside its range.
    #[error("{key} = {value} is out of range: give {range}")]
    Range {
        /// The key.
        key: &'static str,
        /// Its value.
        value: f64,
        /// What is allowed.
        range: &'static str,
    },
}

/// The outputs of a frame do not have the shapes that the processor was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PostError {
    /// Another number of outputs.
    #[error("{got} outputs came and the model has {expected}: infer and tx run different models")]
    OutputCount {
        /// Outputs of the model.
        expected: usize,
        /// What came.
        got: usize,
    },
    /// An output of another size.
    #[error("output {index} has {got} elements and the model's has {expected}: infer and tx run different models")]
    OutputLength {
        /// Which output.
        index: usize,
        /// Elements by the model's shape.
        expected: usize,
        /// What came.
        got: usize,
    },
}
