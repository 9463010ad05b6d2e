//! Writes small ONNX files: just enough of the protocol buffers encoding for models of one operator.
//!
//! Field numbers are those of `onnx.proto3` (ONNX IR version 8).

/// Element types, `TensorProto.DataType`.
pub(super) const FLOAT: u64 = 1;
pub(super) const UINT8: u64 = 2;
pub(super) const INT8: u64 = 3;
pub(super) const INT64: u64 = 7;
pub(super) const BOOL: u64 = 9;
pub(super) const FLOAT16: u64 = 10;

/// A dimension: a number or a name.
pub(super) enum Dim {
    N(u64),
    Name(&'static str),
}

/// An input or output.
pub(super) struct Tensor {
    pub name: &'static str,
    pub dtype: u64,
    pub dims: Vec<Dim>,
}

/// An operator between tensors that have names.
pub(super) struct Node {
    pub op: &'static str,
    pub inputs: &'static [&'static str],
    pub outputs: &'static [&'static str],
    /// Integer attributes.
    pub attributes: &'static [(&'static str, u64)],
}

/// A model with one node `op` from `inputs` to `outputs`, at opset 17.
pub(super) fn model(op: &str, inputs: &[Tensor], outputs: &[Tensor]) -> Vec<u8> {
    model_with_weights(op, inputs, None, outputs)
}

/// The same; `weights`, a last operand of the node, lies in the file of that name beside the model.
pub(super) fn model_with_weights(
    op: &str,
    inputs: &[Tensor],
    weights: Option<(&Tensor, &str)>,
    outputs: &[Tensor],
) -> Vec<u8> {
    let operands: Vec<_> = inputs.iter().chain(weights.map(|(tensor, _)| tensor)).map(|tensor| tensor.name).collect();
    let results: Vec<_> = outputs.iter().map(|tensor| tensor.name).collect();
    around(&node(op, &operands, &results, &[]), inputs, weights, outputs)
}

/// A model of several nodes, at opset 17.
pub(super) fn graph(nodes: &[Node], inputs: &[Tensor], outputs: &[Tensor]) -> Vec<u8> {
    let nodes = nodes.iter().map(|n| node(n.op, n.inputs, n.outputs, n.attributes));
    around(&nodes.collect::<Vec<_>>().concat(), inputs, None, outputs)
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[(&str, u64)]) -> Vec<u8> {
    let mut node = Vec::new();
    for name in inputs {
        field(&mut node, 1, name.as_bytes());
    }
    for name in outputs {
        field(&mut node, 2, name.as_bytes());
    }
    field(&mut node, 3, format!("node_of_{}", outputs.join("_")).as_bytes());
    field(&mut node, 4, op.as_bytes());
    for (name, value) in attributes {
        let mut attribute = Vec::new();
        field(&mut attribute, 1, name.as_bytes());
        number(&mut attribute, 3, *value);
        number(&mut attribute, 20, 2);
        field(&mut node, 5, &attribute);
    }
    let mut nodes = Vec::new();
    field(&mut nodes, 1, &node);
    nodes
}

fn around(nodes: &[u8], inputs: &[Tensor], weights: Option<(&Tensor, &str)>, outputs: &[Tensor]) -> Vec<u8> {
    let mut graph = nodes.to_vec();
    field(&mut graph, 2, b"graph");
    if let Some((tensor, file)) = weights {
        field(&mut graph, 5, &external(tensor, file));
    }
    for tensor in inputs {
        field(&mut graph, 11, &value_info(tensor));
    }
    for tensor in outputs {
        field(&mut graph, 12, &value_info(tensor));
    }

    let mut opset = Vec::new();
    number(&mut opset, 2, 17);
    let mut model = Vec::new();
    number(&mut model, 1, 8);
    field(&mut model, 7, &graph);
    field(&mut model, 8, &opset);
    model
}

/// An initializer whose data lies in `file`.
fn external(tensor: &Tensor, file: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for dim in &tensor.dims {
        let Dim::N(size) = dim else { panic!("weights have a size") };
        number(&mut bytes, 1, *size);
    }
    number(&mut bytes, 2, tensor.dtype);
    field(&mut bytes, 8, tensor.name.as_bytes());
    let mut location = Vec::new();
    field(&mut location, 1, b"location");
    field(&mut location, 2, file.as_bytes());
    field(&mut bytes, 13, &location);
    // EXTERNAL.
    number(&mut bytes, 14, 1);
    bytes
}

fn value_info(tensor: &Tensor) -> Vec<u8> {
    let mut shape = Vec::new();
    for dim in &tensor.dims {
        let mut bytes = Vec::new();
        match dim {
            Dim::N(size) => number(&mut bytes, 1, *size),
            Dim::Name(name) => field(&mut bytes, 2, name.as_bytes()),
        }
        field(&mut shape, 1, &bytes);
    }
    let mut tensor_type = Vec::new();
    number(&mut tensor_type, 1, tensor.dtype);
    field(&mut tensor_type, 2, &shape);
    let mut kind = Vec::new();
    field(&mut kind, 1, &tensor_type);
    let mut info = Vec::new();
    field(&mut info, 1, tensor.name.as_bytes());
    field(&mut info, 2, &kind);
    info
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

fn field(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
