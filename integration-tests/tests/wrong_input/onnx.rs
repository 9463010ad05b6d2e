//! A network of one operator whose picture has no fixed sides, written by hand (field numbers of `onnx.proto3`).

/// Dimensions that a file leaves open.
const BATCH_CHANNELS_HEIGHT_WIDTH: [Result<u64, &str>; 4] = [Ok(1), Ok(3), Err("height"), Err("width")];

/// `y = Relu(x)` for `x` of shape `[1, 3, height, width]`.
pub fn of_any_size() -> Vec<u8> {
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Relu")].concat();
    let graph = [field(1, &node), field(2, b"graph"), field(11, &value("x")), field(12, &value("y"))].concat();
    let opset = number(2, 17);
    [number(1, 8), field(7, &graph), field(8, &opset)].concat()
}

/// The ValueInfoProto of an f32 tensor.
fn value(name: &str) -> Vec<u8> {
    let dimension = |dim: &Result<u64, &str>| match dim {
        Ok(size) => field(1, &number(1, *size)),
        Err(name) => field(1, &field(2, name.as_bytes())),
    };
    let shape: Vec<u8> = BATCH_CHANNELS_HEIGHT_WIDTH.iter().flat_map(dimension).collect();
    let tensor = [number(1, 1), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

fn field(field: u64, bytes: &[u8]) -> Vec<u8> {
    [varint(field << 3 | 2), varint(bytes.len() as u64), bytes.to_vec()].concat()
}
