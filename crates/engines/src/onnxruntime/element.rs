//! Element types of tensors, as ONNX and ONNX Runtime number them.

use crate::dtype::DType;

/// An element type by its number in `TensorProto.DataType`, which ONNX Runtime uses as well. Any number may come from a library or a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element(pub i32);

/// How elements become f32.
type Convert = fn(&[u8]) -> f32;

/// Number, name, bytes, and the conversion of those that no area holds as they are.
const KNOWN: [(i32, &str, usize, Option<Convert>); 13] = [
    (1, "f32", 4, None),
    (2, "u8", 1, None),
    (3, "i8", 1, None),
    (4, "u16", 2, Some(|bytes| f32::from(u16::from_ne_bytes(exactly(bytes))))),
    (5, "i16", 2, Some(|bytes| f32::from(i16::from_ne_bytes(exactly(bytes))))),
    (6, "i32", 4, Some(|bytes| i32::from_ne_bytes(exactly(bytes)) as f32)),
    (7, "i64", 8, Some(|bytes| i64::from_ne_bytes(exactly(bytes)) as f32)),
    (9, "bool", 1, Some(|bytes| f32::from(u8::from(bytes != [0])))),
    (10, "f16", 2, None),
    (11, "f64", 8, Some(|bytes| f64::from_ne_bytes(exactly(bytes)) as f32)),
    (12, "u32", 4, Some(|bytes| u32::from_ne_bytes(exactly(bytes)) as f32)),
    (13, "u64", 8, Some(|bytes| u64::from_ne_bytes(exactly(bytes)) as f32)),
    // bf16 is the upper half of an f32.
    (16, "bf16", 2, Some(|bytes| f32::from_bits(u32::from(u16::from_ne_bytes(exactly(bytes))) << 16))),
];

/// Callers cut chunks of just this size.
fn exactly<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

impl Element {
    fn known(self) -> Option<&'static (i32, &'static str, usize, Option<Convert>)> {
        KNOWN.iter().find(|known| known.0 == self.0)
    }

    /// The type under which an area holds it unchanged.
    pub(super) fn in_place(self) -> Option<DType> {
        match self.0 {
            1 => Some(DType::F32),
            2 => Some(DType::U8),
            3 => Some(DType::I8),
            10 => Some(DType::F16),
            _ => None,
        }
    }

    /// The type of an output in its area; `None` where there is no conversion.
    pub(super) fn as_output(self) -> Option<DType> {
        self.in_place().or_else(|| self.known().map(|_| DType::F32))
    }

    /// Of one element; 0 where nothing is known of the type.
    pub(super) fn bytes(self) -> usize {
        self.known().map_or(0, |known| known.2)
    }

    /// For messages.
    pub(super) fn name(self) -> String {
        match self.0 {
            8 => "string".to_owned(),
            0 => "no tensor".to_owned(),
            number => self.known().map_or_else(|| format!("number {number} of ONNX"), |known| known.1.to_owned()),
        }
    }

    /// Converts `from`, elements of this type, to as many f32 as `to` holds.
    pub(super) fn convert(self, from: &[u8], to: &mut [u8]) {
        let Some(&(_, _, bytes, Some(convert))) = self.known() else { return };
        for (from, to) in from.chunks_exact(bytes).zip(to.chunks_exact_mut(4)) {
            to.copy_from_slice(&convert(from).to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn converted(element: i32, from: &[u8]) -> f32 {
        let mut to = [0; 4];
        Element(element).convert(from, &mut to);
        f32::from_ne_bytes(to)
    }

    #[test]
    fn every_number_becomes_itself() {
        for (got, expected) in [
            (converted(4, &65_535_u16.to_ne_bytes()), 65_535.0),
            (converted(5, &(-3_i16).to_ne_bytes()), -3.0),
            (converted(6, &(-70_000_i32).to_ne_bytes()), -70_000.0),
            (converted(7, &(1_i64 << 40).to_ne_bytes()), (1_i64 << 40) as f32),
            (converted(9, &[1]), 1.0),
            (converted(9, &[0]), 0.0),
            (converted(11, &(-0.5_f64).to_ne_bytes()), -0.5),
            (converted(12, &u32::MAX.to_ne_bytes()), u32::MAX as f32),
            (converted(13, &u64::MAX.to_ne_bytes()), u64::MAX as f32),
            (converted(16, &0xbf80_u16.to_ne_bytes()), -1.0),
        ] {
            assert!((got - expected).abs() <= expected.abs() * 1e-6, "{got} {expected}");
        }
    }

    #[test]
    fn types_without_numbers_are_named_and_refused() {
        for (number, name) in [(0, "no tensor"), (8, "string"), (14, "number 14 of ONNX"), (-1, "number -1 of ONNX")] {
            assert_eq!((Element(number).as_output(), Element(number).name().as_str()), (None, name));
        }
        assert_eq!((Element(7).in_place(), Element(7).as_output()), (None, Some(DType::F32)));
        assert_eq!(Element(10).as_output(), Some(DType::F16));
    }
}
