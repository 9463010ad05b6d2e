//! Is this file a well-formed ONNX message? Asked before an engine's parser sees it.
//!
//! Parsers are written for files that exporters wrote. rten 0.27 loops for ever on a number whose ten bytes all say "more follows", which a
//! damaged file easily contains, and any parser that recurses can be driven through its stack. So this walk reads every number that a parser would read,
//! with the bounds that the encoding sets, and knows of the ONNX schema just which fields hold messages and packed numbers.
//!
//! Sources: the protocol buffers encoding (<https://protobuf.dev/programming-guides/encoding/>), and `onnx.proto3` for the field numbers.

/// Longest encoding of a 64-bit number.
const VARINT_BYTES_MAX: usize = 10;

/// Deepest nesting: a graph in an attribute of a node adds three levels, so this allows ten graphs inside each other.
const DEPTH_MAX: usize = 40;

/// The ONNX messages that contain numbers, other messages, or both.
#[derive(Clone, Copy, PartialEq)]
enum Message {
    Model,
    OperatorSet,
    Graph,
    Node,
    Attribute,
    Tensor,
    SparseTensor,
    ValueInfo,
    Type,
    TensorType,
    ElementType,
    MapType,
    Shape,
    Dimension,
    Function,
    /// Any message whose fields are all strings and plain numbers.
    Plain,
}

/// What a length-delimited field holds.
enum Content {
    Nested(Message),
    PackedNumbers,
    /// Text, tensor data, fixed-width numbers, or unknown to this walk, and then to the parsers too.
    Bytes,
}

fn content(message: Message, field: u64) -> Content {
    use Content::{Bytes, Nested, PackedNumbers};
    use Message as M;
    let nested = match (message, field) {
        (M::Attribute | M::Tensor | M::SparseTensor, _) if is_packed(message, field) => {
            return PackedNumbers;
        }
        (M::Model, 8) | (M::Function, 9) => M::OperatorSet,
        (M::Model, 7) | (M::Attribute, 6 | 11) => M::Graph,
        (M::Model, 25) => M::Function,
        (M::Graph, 1) | (M::Function, 7) => M::Node,
        (M::Node, 5) | (M::Function, 11) => M::Attribute,
        (M::Graph, 5) | (M::Attribute, 5 | 10) | (M::SparseTensor, 1 | 2) => M::Tensor,
        (M::Graph, 15) | (M::Attribute, 22 | 23) => M::SparseTensor,
        (M::Graph, 11..=13) | (M::Function, 12) => M::ValueInfo,
        (M::Attribute, 14 | 15) | (M::ValueInfo | M::MapType, 2) | (M::ElementType, 1) => M::Type,
        (M::Type, 1 | 8) => M::TensorType,
        (M::Type, 4 | 9) => M::ElementType,
        (M::Type, 5) => M::MapType,
        (M::TensorType, 2) => M::Shape,
        (M::Shape, 1) => M::Dimension,
        // Names with values: metadata, quantisation annotations, places of external data.
        (M::Model | M::Function, 14) | (M::Graph, 14 | 16) | (M::Node, 9) | (M::Tensor, 13 | 16) => M::Plain,
        _ => return Bytes,
    };
    Nested(nested)
}

/// Lists of integers, which exporters pack: dimensions, integer tensor data and attributes.
fn is_packed(message: Message, field: u64) -> bool {
    matches!((message, field), (Message::Attribute, 8) | (Message::Tensor, 1 | 5 | 7 | 11) | (Message::SparseTensor, 3))
}

/// Walks a model file.
///
/// # Errors
/// What is wrong and at which byte.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut walk = Walk { bytes, at: 0, graphs: 0 };
    walk.message(Message::Model, bytes.len(), 0)?;
    if walk.graphs == 0 {
        return Err("the file contains no graph".to_owned());
    }
    Ok(())
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    graphs: usize,
}

impl Walk<'_> {
    fn message(&mut self, message: Message, end: usize, depth: usize) -> Result<(), String> {
        if depth > DEPTH_MAX {
            return Err(format!("byte {}: messages are nested more than {DEPTH_MAX} deep", self.at));
        }
        self.graphs += usize::from(message == Message::Graph);
        while self.at < end {
            let tag = self.varint(end)?;
            let (field, wire_type) = (tag >> 3, tag & 7);
            match wire_type {
                0 => _ = self.varint(end)?,
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let length = self.varint(end)?;
                    let start = self.at;
                    self.skip(length, end)?;
                    let end = self.at;
                    self.at = start;
                    match content(message, field) {
                        Content::Nested(nested) => self.message(nested, end, depth + 1)?,
                        Content::PackedNumbers => self.numbers(end)?,
                        Content::Bytes => self.at = end,
                    }
                }
                _ => return Err(format!("byte {}: wire type {wire_type} does not exist", self.at)),
            }
            if field == 0 {
                return Err(format!("byte {}: field number 0 does not exist", self.at));
            }
        }
        Ok(())
    }

    fn numbers(&mut self, end: usize) -> Result<(), String> {
        while self.at < end {
            self.varint(end)?;
        }
        Ok(())
    }

    fn skip(&mut self, length: u64, end: usize) -> Result<(), String> {
        let left = end - self.at;
        match usize::try_from(length) {
            Ok(length) if length <= left => {
                self.at += length;
                Ok(())
            }
            _ => Err(format!("byte {}: a field of {length} bytes where {left} are left", self.at)),
        }
    }

    fn varint(&mut self, end: usize) -> Result<u64, String> {
        let mut value = 0_u64;
        for (i, &byte) in self.bytes[self.at..end].iter().take(VARINT_BYTES_MAX).enumerate() {
            // Ten groups of seven bits: of the tenth, one bit is left.
            if i == VARINT_BYTES_MAX - 1 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.at += i + 1;
                return Ok(value);
            }
        }
        Err(format!("byte {}: a number that does not end", self.at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_that_do_not_end_are_found_wherever_a_parser_would_read_them() {
        let endless = [0xff; 12];
        assert!(check(&endless).unwrap_err().contains("byte 0: a number"));
        // In the value of the model's field 1.
        assert!(check(&[&[0x08], &endless[..]].concat()).is_err());
        // In packed dimensions (Tensor 1) of an initializer (Graph 5) of the graph (Model 7).
        let dims = [&[0x0a, 12], &endless[..]].concat();
        let tensor = [&[0x2a, 14], &dims[..]].concat();
        assert!(check(&[&[0x3a, 16], &tensor[..]].concat()).unwrap_err().contains("byte 6: a number"));
        // The same bytes as raw data (Tensor 9) are data.
        let data = [&[0x4a, 12], &endless[..]].concat();
        let tensor = [&[0x2a, 14], &data[..]].concat();
        assert_eq!(check(&[&[0x3a, 16], &tensor[..]].concat()), Ok(()));
    }

    #[test]
    fn lengths_stay_inside_their_message() {
        // A graph of 3 bytes holds a node of 2 that holds a string of 5.
        assert!(check(&[0x3a, 4, 0x0a, 2, 0x0a, 5, 0, 0, 0]).unwrap_err().contains("5 bytes where 0 are left"));
        let huge = [0x3a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert!(check(&huge).unwrap_err().contains("are left"));
    }

    #[test]
    fn what_has_no_graph_is_no_model() {
        assert_eq!(check(&[0x08, 8]), Err("the file contains no graph".to_owned()));
        assert_eq!(check(&[0x3a, 0]), Ok(()));
    }

    #[test]
    fn deep_nesting_ends_in_an_error() {
        // Graph in attribute in node in graph, again and again, from the inside out.
        let mut inner = Vec::new();
        let wrap = |tag: u8, inner: Vec<u8>| {
            let mut outer = vec![tag];
            let mut length = inner.len();
            while length >= 0x80 {
                outer.push(length as u8 | 0x80);
                length >>= 7;
            }
            outer.push(length as u8);
            [outer, inner].concat()
        };
        for _ in 0..1000 {
            inner = wrap(0x0a, wrap(0x2a, wrap(0x32, inner)));
        }
        assert!(check(&wrap(0x3a, inner)).unwrap_err().contains("nested"));
    }

    proptest! {
        #[test]
        fn no_input_panics_or_hangs(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x3a), Just(0x0a)], 0..300)) {
            let _ = check(&bytes);
        }
    }
}
