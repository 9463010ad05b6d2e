//! A network of bytes: it takes and gives u8, and a picture reaches it as pixels.

use super::ask;
use super::picture::Encoded;
use integration_tests::client::{Client, Frame};
use integration_tests::pipeline::Pipeline;
use wire::{ElementType, Encoding, ResultView};

const WIDTH: u16 = 5;
const HEIGHT: u16 = 4;

/// One `Identity` of u8 `[1, 3, 4, 5]`, as the protocol buffers of onnx.proto3 have it.
fn identity() -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| [&[number << 3 | 2, bytes.len() as u8], bytes].concat();
    let number = |number: u8, value: u8| vec![number << 3, value];
    let dims: Vec<u8> = [1, 3, HEIGHT as u8, WIDTH as u8].iter().flat_map(|size| field(1, &number(1, *size))).collect();
    // TypeProto.Tensor: element type 2 is UINT8, then the shape.
    let tensor = field(1, &[number(1, 2), field(2, &dims)].concat());
    let value = |name: &[u8]| [field(1, name), field(2, &tensor)].concat();
    let node = [field(1, b"x"), field(2, b"y"), field(4, b"Identity")].concat();
    let graph = [field(1, &node), field(2, b"g"), field(11, &value(b"x")), field(12, &value(b"y"))].concat();
    [number(1, 8), field(7, &graph), field(8, &number(2, 17))].concat()
}

#[test]
fn pixels_go_in_and_bytes_come_out() {
    let path = std::env::temp_dir().join(format!("flumeway-test-{}-identity.onnx", std::process::id()));
    std::fs::write(&path, identity()).expect("write a network");
    let pipeline = Pipeline::start("bytes", &format!("[infer]\nmodel = \"{}\"\nengine = \"rten\"\n", path.display()));
    std::fs::remove_file(&path).expect("the test's own file");
    let mut client = Client::new(pipeline.listen(), 1);
    let pixels: Vec<u8> = (0..usize::from(WIDTH) * usize::from(HEIGHT) * 3).map(|i| (i * 4) as u8).collect();
    let planes: Vec<u8> = (0..3).flat_map(|channel| pixels[channel..].iter().step_by(3).copied()).collect();
    let frame = Encoded { encoding: Encoding::Rgb8, width: WIDTH, height: HEIGHT, bytes: pixels };
    let answer = ask(&mut client, &frame);
    let ResultView::Tensor(tensor) = answer.reply.result().expect("a result") else { panic!("a tensor") };
    assert_eq!(tensor.shape.element(), ElementType::U8);
    assert_eq!(tensor.shape.dims(), [1, 3, u32::from(HEIGHT), u32::from(WIDTH)]);
    assert_eq!(tensor.bytes, planes);
    // The network's input as it lies in memory, and what is none.
    client.send(1, &Frame { encoding: Encoding::TensorRaw, width: 0, height: 0, bytes: &planes });
    client.receive_until(2);
    let ResultView::Tensor(tensor) = client.answer(1).reply.result().expect("a result") else { panic!("a tensor") };
    assert_eq!(tensor.bytes, planes);
    client.send(2, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &planes });
    client.receive_until(3);
    let unsupported = wire::Status::BadRequest(wire::BadRequestReason::UnsupportedEncoding);
    assert_eq!(client.answer(2).status, unsupported);
    pipeline.assert_whole();
}
