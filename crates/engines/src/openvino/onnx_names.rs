//! What OpenVINO forgets of an ONNX file: the names of its open dimensions, which tell those of one size apart from others, and which messages give.

/// Names of the open dimensions of the graph's inputs: input, axis, name. `model` has passed the check of ONNX files; what is no such name
/// is left out.
pub(super) fn open_dimensions(model: &[u8]) -> Vec<(String, usize, String)> {
    let mut found = Vec::new();
    // Model 7: the graph; Graph 11: an input; ValueInfo 1: its name, 2: its type; Type 1: a tensor's; TensorType 2: its shape; Shape 1: a dimension.
    for graph in fields(model, 7) {
        for input in fields(graph, 11) {
            let name = fields(input, 1).last().map(text).unwrap_or_default();
            let shapes = fields(input, 2).flat_map(|kind| fields(kind, 1)).flat_map(|tensor| fields(tensor, 2));
            for (axis, dimension) in shapes.flat_map(|shape| fields(shape, 1)).enumerate() {
                // Dimension 2: the name in place of a number.
                if let Some(open) = fields(dimension, 2).last() {
                    found.push((name.clone(), axis, text(open)));
                }
            }
        }
    }
    found
}

/// Whether tensors of the model lie in files beside it (Tensor 13: where, as keys and values, of which `location` is one).
pub(super) fn has_external_data(model: &[u8]) -> bool {
    const LOCATION: &[u8] = b"\x0a\x08location";
    model.windows(LOCATION.len()).any(|window| window == LOCATION)
}

/// Whether the model has nodes (Node 4: the operator) that give numbers back their scale, as quantised models do.
pub(super) fn is_quantised(model: &[u8]) -> bool {
    let nodes = fields(model, 7).flat_map(|graph| fields(graph, 1));
    nodes.flat_map(|node| fields(node, 4)).any(|operator| operator == b"DequantizeLinear")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The contents of the length-delimited fields `number` of a message, as far as it can be read.
fn fields(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    let mut rest = message;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let tag = varint(&mut rest)?;
            let content = match tag & 7 {
                0 => varint(&mut rest).map(|_| None)?,
                1 => take(&mut rest, 8).map(|_| None)?,
                5 => take(&mut rest, 4).map(|_| None)?,
                2 => varint(&mut rest).and_then(|length| take(&mut rest, length)).map(Some)?,
                _ => return None,
            };
            if let Some(content) = content.filter(|_| tag >> 3 == number) {
                return Some(content);
            }
        }
        None
    })
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for (i, &byte) in rest.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            *rest = &rest[i + 1..];
            return Some(value);
        }
    }
    None
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A length-delimited field of less than 128 bytes.
    fn field(number: u8, content: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, content.len() as u8], content].concat()
    }

    fn model_with_input(name: &str, dims: &[Vec<u8>]) -> Vec<u8> {
        let tensor = [&[0x08, 1][..], &field(2, &dims.concat())].concat();
        field(7, &field(11, &[field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()))
    }

    #[test]
    fn open_dimensions_have_their_names() {
        let dims = [field(1, &field(2, b"batch")), field(1, &[0x08, 3]), field(1, &field(2, b"width"))];
        let found = open_dimensions(&model_with_input("image", &dims));
        assert_eq!(found, [("image".into(), 0, "batch".into()), ("image".into(), 2, "width".into())]);
        assert!(open_dimensions(&model_with_input("image", &dims[1..2])).is_empty());
    }

    #[test]
    fn quantised_models_and_external_data_are_seen() {
        let node = |operator: &[u8]| field(7, &field(1, &field(4, operator)));
        assert!(is_quantised(&node(b"DequantizeLinear")) && !is_quantised(&node(b"Relu")));
        let place = [field(1, b"location"), field(2, b"weights.bin")].concat();
        let external = field(7, &field(5, &field(13, &place)));
        assert!(has_external_data(&external) && !has_external_data(&node(b"location")));
    }

    proptest! {
        #[test]
        fn no_input_panics(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x3a), Just(0x5a)], 0..200)) {
            let _ = (open_dimensions(&bytes), is_quantised(&bytes), has_external_data(&bytes));
        }
    }
}
