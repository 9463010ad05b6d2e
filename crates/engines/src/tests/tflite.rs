//! Writes small TensorFlow Lite files: just enough of the flatbuffers encoding for models of one operator.
//!
//! Field numbers are those of TensorFlow Lite's `schema.fbs` (version 3).

/// Element types, `TensorType`.
pub(super) const FLOAT32: u8 = 0;
pub(super) const FLOAT16: u8 = 1;
pub(super) const INT32: u8 = 2;
pub(super) const UINT8: u8 = 3;
pub(super) const INT64: u8 = 4;
pub(super) const INT8: u8 = 9;

/// Operators, and the kind of their options.
pub(super) const ADD: (u32, u8) = (0, 11);
pub(super) const RELU: (u32, u8) = (19, 0);
pub(super) const CUSTOM: (u32, u8) = (32, 0);

/// What a field of a table holds.
enum Value {
    Byte(u8),
    Number(u32),
    Text(&'static str),
    Integers(Vec<i32>),
    Longs(Vec<i64>),
    Floats(Vec<f32>),
    Table(Table),
    Tables(Vec<Table>),
}

/// Fields with their numbers.
type Table = Vec<(usize, Value)>;

/// A tensor of the graph; quantised types have a scale and a zero point.
pub(super) struct Tensor {
    pub name: &'static str,
    pub dtype: u8,
    pub dims: Vec<i32>,
    pub quantised: Option<(f32, i64)>,
}

impl Tensor {
    fn table(&self) -> Table {
        let mut fields = vec![
            (0, Value::Integers(self.dims.clone())),
            (1, Value::Byte(self.dtype)),
            (2, Value::Number(0)),
            (3, Value::Text(self.name)),
        ];
        if let Some((scale, zero)) = self.quantised {
            let quantisation = vec![(2, Value::Floats(vec![scale])), (3, Value::Longs(vec![zero]))];
            fields.push((4, Value::Table(quantisation)));
        }
        fields
    }
}

/// A model with one operator from `inputs` to `outputs`.
pub(super) fn model(operator: (u32, u8), inputs: &[Tensor], outputs: &[Tensor]) -> Vec<u8> {
    let places = |range: std::ops::Range<usize>| Value::Integers(range.map(|i| i as i32).collect());
    let (first, all) = (inputs.len(), inputs.len() + outputs.len());
    let mut node = vec![(0, Value::Number(0)), (1, places(0..first)), (2, places(first..all))];
    if operator.1 != 0 {
        node.extend([(3, Value::Byte(operator.1)), (4, Value::Table(Vec::new()))]);
    }
    let mut code = vec![(0, Value::Byte(operator.0 as u8)), (2, Value::Number(1)), (3, Value::Number(operator.0))];
    if operator.0 == CUSTOM.0 {
        code.push((1, Value::Text("FluxCompensate")));
    }
    let graph = vec![
        (0, Value::Tables(inputs.iter().chain(outputs).map(Tensor::table).collect())),
        (1, places(0..first)),
        (2, places(first..all)),
        (3, Value::Tables(vec![node])),
    ];
    let model = vec![
        (0, Value::Number(3)),
        (1, Value::Tables(vec![code])),
        (2, Value::Tables(vec![graph])),
        (4, Value::Tables(vec![Vec::new()])),
    ];
    let mut out = [&[0; 4], &b"TFL3"[..]].concat();
    let root = table(&mut out, &model);
    out[..4].copy_from_slice(&(root as u32).to_le_bytes());
    out
}

/// Writes a table and what it refers to; returns where it starts. Every field takes four bytes.
fn table(out: &mut Vec<u8>, fields: &Table) -> usize {
    let count = fields.iter().map(|(index, _)| index + 1).max().unwrap_or(0);
    // So that the table itself starts at a multiple of four.
    while !(out.len() + 4 + 2 * count).is_multiple_of(4) {
        out.push(0);
    }
    let start = out.len() + 4 + 2 * count;
    out.extend(((4 + 2 * count) as u16).to_le_bytes());
    out.extend(((4 + 4 * fields.len()) as u16).to_le_bytes());
    for index in 0..count {
        let place = fields.iter().position(|(field, _)| *field == index).map_or(0, |place| 4 + 4 * place);
        out.extend((place as u16).to_le_bytes());
    }
    out.extend(((4 + 2 * count) as i32).to_le_bytes());
    out.resize(start + 4 + 4 * fields.len(), 0);
    for (place, (_, value)) in fields.iter().enumerate() {
        field(out, start + 4 + 4 * place, value);
    }
    start
}

fn field(out: &mut Vec<u8>, at: usize, value: &Value) {
    let target = match value {
        Value::Byte(byte) => return out[at] = *byte,
        Value::Number(number) => return out[at..at + 4].copy_from_slice(&number.to_le_bytes()),
        Value::Text(text) => {
            let start = vector(out, text.len(), text.as_bytes().iter().map(|&byte| [byte]));
            out.push(0);
            start
        }
        Value::Integers(values) => vector(out, values.len(), values.iter().map(|value| value.to_le_bytes())),
        Value::Longs(values) => vector(out, values.len(), values.iter().map(|value| value.to_le_bytes())),
        Value::Floats(values) => vector(out, values.len(), values.iter().map(|value| value.to_le_bytes())),
        Value::Table(fields) => table(out, fields),
        Value::Tables(tables) => {
            let start = vector(out, tables.len(), tables.iter().map(|_| [0; 4]));
            for (i, fields) in tables.iter().enumerate() {
                let (entry, target) = (start + 4 + 4 * i, table(out, fields));
                out[entry..entry + 4].copy_from_slice(&((target - entry) as u32).to_le_bytes());
            }
            start
        }
    };
    out[at..at + 4].copy_from_slice(&((target - at) as u32).to_le_bytes());
}

/// Writes a vector whose elements start at a multiple of eight.
fn vector<const N: usize>(out: &mut Vec<u8>, count: usize, elements: impl Iterator<Item = [u8; N]>) -> usize {
    while !(out.len() + 4).is_multiple_of(8) {
        out.push(0);
    }
    let start = out.len();
    out.extend((count as u32).to_le_bytes());
    out.extend(elements.flatten());
    start
}
