//! What a model file says about its inputs, read from the file itself.
//!
//! ONNX Runtime tells it too, once it has a session; but sizes of dynamic dimensions must be given before, and a model with inputs that no area can
//! hold fails there for reasons that hide this one. Field numbers are those of `onnx.proto3`.

use crate::shape::Dim;

/// A graph input that no initialiser gives a value to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Input {
    pub name: String,
    /// `TensorProto.DataType`; `None` for what is no tensor.
    pub element: Option<i32>,
    /// `None` where the file leaves even the rank open.
    pub dims: Option<Vec<Dim>>,
}

/// Inputs of a model, and what it computes with.
#[derive(Debug, Default)]
pub(super) struct Signature {
    pub inputs: Vec<Input>,
    /// Whether some operator quantises, or computes on integers that stand for reals.
    pub quantised: bool,
}

impl Signature {
    /// Reads `model`, whose encoding has been checked. What is malformed all the same ends the message that it stands in.
    pub(super) fn read(model: &[u8]) -> Self {
        let mut signature = Self::default();
        let mut initialised: Vec<&[u8]> = Vec::new();
        for (_, graph) in Fields(model).messages().filter(|&(field, _)| field == 7) {
            for (field, message) in Fields(graph).messages() {
                match field {
                    1 => signature.quantised |= Fields(message).bytes(4).is_some_and(is_quantised),
                    5 => initialised.extend(Fields(message).bytes(8)),
                    15 => initialised.extend(Fields(message).bytes(1).and_then(|values| Fields(values).bytes(8))),
                    11 => signature.inputs.push(input(message)),
                    _ => {}
                }
            }
        }
        signature.inputs.retain(|input| !initialised.contains(&input.name.as_bytes()));
        signature
    }
}

fn is_quantised(operator: &[u8]) -> bool {
    operator.starts_with(b"QLinear")
        || matches!(operator, b"QuantizeLinear" | b"DequantizeLinear" | b"DynamicQuantizeLinear")
        || matches!(operator, b"ConvInteger" | b"MatMulInteger")
}

fn input(value_info: &[u8]) -> Input {
    let name = text(Fields(value_info).bytes(1));
    let tensor = Fields(value_info).bytes(2).and_then(|kind| Fields(kind).bytes(1));
    let element = tensor.and_then(|tensor| Fields(tensor).number(1)).and_then(|number| i32::try_from(number).ok());
    let shape = tensor.and_then(|tensor| Fields(tensor).bytes(2));
    let dims = shape.map(|shape| Fields(shape).messages().filter(|&(field, _)| field == 1));
    let dims = dims.map(|dims| dims.enumerate().map(|(axis, (_, message))| dim(&name, axis, message)).collect());
    Input { name, element, dims }
}

/// An unnamed dimension gets a name that no other has: nothing says that two such are equal.
fn dim(tensor: &str, axis: usize, message: &[u8]) -> Dim {
    let size = Fields(message).number(1).map(u64::cast_signed);
    match (size.map(usize::try_from), Fields(message).bytes(2).filter(|name| !name.is_empty())) {
        (Some(Ok(size)), _) => Dim::Fixed(size),
        (_, Some(name)) => Dim::Named(text(Some(name))),
        _ => Dim::Named(format!("{tensor}[{axis}]")),
    }
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// The fields of an encoded message, in the file's order.
struct Fields<'a>(&'a [u8]);

enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Other,
}

impl<'a> Fields<'a> {
    fn messages(self) -> impl Iterator<Item = (u64, &'a [u8])> {
        self.filter_map(|(number, field)| match field {
            Field::Bytes(bytes) => Some((number, bytes)),
            Field::Number(_) | Field::Other => None,
        })
    }

    /// The last one counts where a field comes twice.
    fn bytes(self, wanted: u64) -> Option<&'a [u8]> {
        self.messages().filter(|&(number, _)| number == wanted).last().map(|(_, bytes)| bytes)
    }

    fn number(self, wanted: u64) -> Option<u64> {
        self.filter_map(|(number, field)| match field {
            Field::Number(value) if number == wanted => Some(value),
            _ => None,
        })
        .last()
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for (i, &byte) in self.0.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte < 0x80 {
                self.0 = &self.0[i + 1..];
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn field(&mut self) -> Option<(u64, Field<'a>)> {
        let tag = self.varint()?;
        let field = match tag & 7 {
            0 => Field::Number(self.varint()?),
            1 => self.take(8).map(|_| Field::Other)?,
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Field::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Field::Other)?,
            _ => return None,
        };
        Some((tag >> 3, field))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Field<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        field
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wrap(field: u8, inner: &[u8]) -> Vec<u8> {
        let mut outer = vec![field << 3 | 2, inner.len() as u8];
        outer.extend_from_slice(inner);
        outer
    }

    fn value_info(name: &[u8], element: u8, dims: &[Vec<u8>]) -> Vec<u8> {
        let shape = wrap(2, &dims.iter().flat_map(|dim| wrap(1, dim)).collect::<Vec<_>>());
        let tensor = wrap(1, &[&[8, element], &shape[..]].concat());
        wrap(11, &[wrap(1, name), wrap(2, &tensor)].concat())
    }

    #[test]
    fn inputs_are_those_without_initialisers() {
        let dims = [wrap(2, b"batch"), vec![8, 3], vec![], [&[8][..], &[0xff; 9], &[1]].concat()];
        let graph = [
            value_info(b"x", 2, &dims),
            value_info(b"weight", 1, &[]),
            wrap(5, &wrap(8, b"weight")),
            wrap(1, &wrap(4, b"QLinearConv")),
            wrap(11, &wrap(1, b"sequence")),
        ];
        let signature = Signature::read(&wrap(7, &graph.concat()));
        let named = |name: &str| Dim::Named(name.to_owned());
        let dims = Some(vec![named("batch"), Dim::Fixed(3), named("x[2]"), named("x[3]")]);
        let x = Input { name: "x".to_owned(), element: Some(2), dims };
        let sequence = Input { name: "sequence".to_owned(), element: None, dims: None };
        assert_eq!(signature.inputs, [x, sequence]);
        assert!(signature.quantised);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_or_hang(bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0xff), Just(0x3a), Just(0x5a)], 0..200)) {
            Signature::read(&bytes);
        }
    }
}
