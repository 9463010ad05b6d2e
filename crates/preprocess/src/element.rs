//! From f32 to the element type that a network takes.

use config::DType;

/// Writes `numbers` to `tensor` as elements of `dtype`, native byte order: integers are rounded to the nearest, halves to even, and what is
/// out of range becomes the nearest end. `tensor` has room for as many.
pub(crate) fn write(numbers: &[f32], dtype: DType, tensor: &mut [u8]) {
    match dtype {
        DType::F32 => {
            for (to, from) in tensor.chunks_exact_mut(4).zip(numbers) {
                to.copy_from_slice(&from.to_ne_bytes());
            }
        }
        DType::F16 => {
            for (to, from) in tensor.chunks_exact_mut(2).zip(numbers) {
                to.copy_from_slice(&half::f16::from_f32(*from).to_ne_bytes());
            }
        }
        // A cast from float to integer saturates, and takes NaN for 0.
        DType::U8 => tensor.iter_mut().zip(numbers).for_each(|(to, from)| *to = from.round_ties_even() as u8),
        DType::I8 => {
            tensor.iter_mut().zip(numbers).for_each(|(to, from)| *to = (from.round_ties_even() as i8).cast_unsigned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [f32; 8] = [0.0, 0.5, 1.5, 254.6, 300.0, -0.6, -200.0, f32::NAN];

    #[test]
    fn integers_are_rounded_and_saturate() {
        let mut bytes = [9; 8];
        write(&NUMBERS, DType::U8, &mut bytes);
        assert_eq!(bytes, [0, 0, 2, 255, 255, 0, 0, 0]);
        write(&NUMBERS, DType::I8, &mut bytes);
        assert_eq!(bytes.map(u8::cast_signed), [0, 0, 2, 127, 127, -1, -128, 0]);
    }

    #[test]
    fn floats_keep_their_values() {
        let mut bytes = [0; 16];
        write(&NUMBERS, DType::F16, &mut bytes);
        let back: Vec<f32> = bytes.chunks_exact(2).map(|b| half::f16::from_ne_bytes([b[0], b[1]]).to_f32()).collect();
        assert_eq!(back[..7], [0.0, 0.5, 1.5, 254.625, 300.0, -0.600_097_66, -200.0]);
        let mut bytes = [0; 32];
        write(&NUMBERS, DType::F32, &mut bytes);
        assert_eq!(bytes[12..16], 254.6_f32.to_ne_bytes());
    }
}
