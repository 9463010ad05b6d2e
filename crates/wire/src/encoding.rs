//! How the bytes of a frame are to be read.

named_codes! {
    /// Encoding of a frame. Raw encodings have rows from top to bottom without padding between them.
    pub enum Encoding: "encoding" {
        /// A JPEG file (JFIF or Exif), baseline or progressive. Width and height may be 0: the file says them itself.
        Jpeg = 1 => "jpeg",
        /// `[H, W, 3]` bytes in the order red, green, blue.
        Rgb8 = 2 => "rgb8",
        /// `[H, W, 3]` bytes in the order blue, green, red.
        Bgr8 = 3 => "bgr8",
        /// `[H, W]` bytes of luminance.
        Gray8 = 4 => "gray8",
        /// A plane `[H, W]` of Y, then a plane `[H/2, W/2, 2]` of U and V (4:2:0). Width and height are even.
        Nv12 = 5 => "nv12",
        /// `[H, W/2, 4]` bytes in the order Y0, U, Y1, V (4:2:2). The width is even.
        Yuyv = 6 => "yuyv",
        /// Little-endian IEEE 754 binary32 values in the layout of the model's input; width and height are not read.
        TensorF32 = 7 => "tensor_f32",
        /// The model's input as it lies in memory: all inputs in the model's order and in their own element types, little-endian, each from a
        /// multiple of 64 bytes on; width and height are not read.
        TensorRaw = 8 => "tensor_raw",
    }
}

impl Encoding {
    /// Length in bytes of a frame of `width` x `height` pixels. `None` where the sides do not fix the length
    /// ([`Encoding::Jpeg`] and tensors) and where they are impossible: zero, or odd where pixels share chroma.
    pub const fn expected_len(self, width: u16, height: u16) -> Option<usize> {
        let (w, h) = (width as usize, height as usize);
        if w == 0 || h == 0 {
            return None;
        }
        match self {
            Self::Rgb8 | Self::Bgr8 => Some(w * h * 3),
            Self::Gray8 => Some(w * h),
            Self::Nv12 if w % 2 == 0 && h % 2 == 0 => Some(w * h / 2 * 3),
            Self::Yuyv if w % 2 == 0 => Some(w * h * 2),
            Self::Jpeg | Self::TensorF32 | Self::TensorRaw | Self::Nv12 | Self::Yuyv => None,
        }
    }

    /// Whether width and height fix the frame's length.
    pub const fn is_raw(self) -> bool {
        !matches!(self, Self::Jpeg | Self::TensorF32 | Self::TensorRaw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_known_sizes() {
        assert_eq!(Encoding::Rgb8.expected_len(1920, 1080), Some(6_220_800));
        assert_eq!(Encoding::Bgr8.expected_len(3, 1), Some(9));
        assert_eq!(Encoding::Gray8.expected_len(4, 2), Some(8));
        assert_eq!(Encoding::Nv12.expected_len(1280, 720), Some(1_382_400));
        assert_eq!(Encoding::Yuyv.expected_len(640, 480), Some(614_400));
    }

    #[test]
    fn impossible_sides_have_no_length() {
        for (encoding, width, height) in [
            (Encoding::Rgb8, 0, 4),
            (Encoding::Gray8, 4, 0),
            (Encoding::Nv12, 3, 2),
            (Encoding::Nv12, 2, 3),
            (Encoding::Yuyv, 3, 2),
            (Encoding::Jpeg, 4, 4),
            (Encoding::TensorF32, 4, 4),
            (Encoding::TensorRaw, 4, 4),
        ] {
            assert_eq!(encoding.expected_len(width, height), None, "{encoding} {width}x{height}");
        }
        assert_eq!(Encoding::Yuyv.expected_len(2, 3), Some(12));
    }

    #[test]
    fn codes_and_names_lead_back() {
        for &encoding in Encoding::ALL {
            assert_eq!(Encoding::from_u8(encoding.code()), Some(encoding));
            assert_eq!(encoding.name().parse(), Ok(encoding));
            let json = serde_json::to_string(&encoding).unwrap();
            assert_eq!(json, format!("\"{encoding}\""));
            assert_eq!(serde_json::from_str::<Encoding>(&json).unwrap(), encoding);
        }
        assert_eq!((Encoding::from_u8(0), Encoding::from_u8(9)), (None, None));
        assert_eq!(
            "png".parse::<Encoding>().unwrap_err().to_string(),
            "\"png\" is no encoding; write one of jpeg, rgb8, bgr8, gray8, nv12, yuyv, tensor_f32, tensor_raw"
        );
    }
}
