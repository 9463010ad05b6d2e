//! What a parser takes for granted of an operator: that its options are of its own kind, and that some inputs are constants.
//!
//! Arm NN 20.08 follows both without looking. Numbers are those of `BuiltinOperator` and `BuiltinOptions` in TensorFlow Lite's `schema.fbs`.

/// One operator of the schema.
pub(crate) struct Operator {
    code: u32,
    /// Kind of its options; 0 where it may have none.
    pub options: u8,
    /// Places of inputs that are read when the model is loaded.
    pub constants: &'static [usize],
}

const fn operator(code: u32, options: u8, constants: &'static [usize]) -> Operator {
    Operator { code, options, constants }
}

const OPERATORS: [Operator; 31] = [
    operator(0, 11, &[]),         // ADD
    operator(1, 5, &[]),          // AVERAGE_POOL_2D
    operator(2, 10, &[]),         // CONCATENATION
    operator(3, 1, &[1, 2]),      // CONV_2D
    operator(4, 2, &[1, 2]),      // DEPTHWISE_CONV_2D
    operator(5, 94, &[]),         // DEPTH_TO_SPACE
    operator(9, 8, &[1, 2]),      // FULLY_CONNECTED
    operator(11, 12, &[]),        // L2_NORMALIZATION
    operator(17, 5, &[]),         // MAX_POOL_2D
    operator(18, 21, &[]),        // MUL
    operator(22, 17, &[1]),       // RESHAPE
    operator(23, 15, &[1]),       // RESIZE_BILINEAR
    operator(25, 9, &[]),         // SOFTMAX
    operator(34, 0, &[1]),        // PAD
    operator(36, 23, &[]),        // GATHER
    operator(37, 0, &[1, 2]),     // BATCH_TO_SPACE_ND
    operator(38, 0, &[1, 2]),     // SPACE_TO_BATCH_ND
    operator(39, 0, &[1]),        // TRANSPOSE
    operator(40, 27, &[1]),       // MEAN
    operator(41, 28, &[]),        // SUB
    operator(42, 29, &[]),        // DIV
    operator(43, 30, &[]),        // SQUEEZE
    operator(45, 32, &[1, 2, 3]), // STRIDED_SLICE
    operator(49, 35, &[0]),       // SPLIT
    operator(65, 0, &[1, 2]),     // SLICE
    operator(67, 49, &[0, 1]),    // TRANSPOSE_CONV
    operator(83, 59, &[]),        // PACK
    operator(88, 64, &[]),        // UNPACK
    operator(97, 74, &[1]),       // RESIZE_NEAREST_NEIGHBOR
    operator(98, 75, &[]),        // LEAKY_RELU
    operator(102, 79, &[1, 2]),   // SPLIT_V
];

/// What is known of the operator with that code.
pub(crate) fn find(code: u32) -> Option<&'static Operator> {
    OPERATORS.binary_search_by_key(&code, |operator| operator.code).ok().map(|place| &OPERATORS[place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operator_is_found() {
        for operator in &OPERATORS {
            assert!(find(operator.code).is_some_and(|found| found.code == operator.code), "{}", operator.code);
        }
        assert!(find(u32::MAX).is_none());
    }
}
