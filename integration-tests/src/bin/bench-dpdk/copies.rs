//! How often a frame's bytes are only moved between packet and engine: by our own code never, by the driver as it says.

use crate::device::{Pmd, Setup, client, null_engine, ports};
use anyhow::{Result, ensure};
use benches::figures::Required;
use integration_tests::client::{Client, Frame};
use integration_tests::gate::number;
use integration_tests::parts::Part;
use integration_tests::root;
use integration_tests::traffic::tensor_of;
use serde_json::{Value, json};
use wire::{Encoding, Status};

const FRAMES: u64 = 200;
/// A picture that fits into one packet.
const SIDE: u16 = 20;
/// Bounds of counts, which are whole numbers.
const NONE: Required = Required::AtMost(0.0);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Rgb8,
    TensorF32,
}

impl Sent {
    fn name(self) -> &'static str {
        match self {
            Self::Rgb8 => "rgb8",
            Self::TensorF32 => "tensor_f32",
        }
    }

    fn infer(self) -> String {
        let models = root().join("models");
        match self {
            Self::Rgb8 => format!(
                "engine = \"rten\"\nmodel = \"{}\"\n[post]\nlabels = \"{}\"",
                models.join("roadside.onnx").display(),
                models.join("roadside.labels").display()
            ),
            Self::TensorF32 => null_engine(),
        }
    }

    fn send(self, client: &mut Client, id: u64) {
        match self {
            Self::Rgb8 => {
                let bytes = vec![id as u8; usize::from(SIDE) * usize::from(SIDE) * 3];
                client.send(id, &Frame { encoding: Encoding::Rgb8, width: SIDE, height: SIDE, bytes: &bytes });
            }
            Self::TensorF32 => client.send_tensor(id, &tensor_of(id)),
        }
    }
}

/// What the stages that prepare frames counted.
fn copies_per_frame(status: &Value) -> f64 {
    let stages = status["stages"].as_array().cloned().unwrap_or_default();
    let preprocess = stages.iter().filter(|s| s["name"].as_str().is_some_and(|name| name.starts_with("preprocess")));
    let (mut copies, mut frames) = (0, 0);
    for stage in preprocess {
        copies += number(&stage["counters"]["copies"]);
        frames += number(&stage["counters"]["frames"]);
    }
    copies as f64 / frames as f64
}

fn on(pmd: Pmd, sent: Sent, cores: (usize, usize), part: &mut Part) -> Result<()> {
    let net = ports("bench-copies", 2)?;
    let (rx, tx) = (pmd.device(net.port(0)), pmd.device(net.port(1)));
    let infer = sent.infer();
    let setup = Setup { devices: [&rx, &tx], core: cores.0, spin_us: 20, infer: &infer, more: "" };
    let pipeline = setup.start(&net, &format!("copies-{}-{}", sent.name(), pmd.name()));
    let mut client = client(&net)?;
    for id in 0..FRAMES {
        sent.send(&mut client, id);
        client.receive_until(id as usize + 1);
        let status = client.answer(id).status;
        ensure!(status == Status::Ok, "frame {id} was answered {status:?}");
    }
    let status = pipeline.status();
    let copies = copies_per_frame(&status);
    part.figure(format!("copies.{}.{}.copies_per_frame", pmd.name(), sent.name()), copies, NONE);
    let ports = status["ingress"]["ports"].as_array().cloned().unwrap_or_default();
    if sent == Sent::TensorF32 {
        for port in &ports {
            let process = port["process"].as_str().unwrap_or_default().replace('-', "_");
            let name = format!("copies.{}.{process}.driver_copies", pmd.name());
            part.figure(name, port["driver_copies"].as_f64().unwrap_or(f64::NAN), Required::Nothing);
        }
    }
    part.raw[format!("{}.{}", pmd.name(), sent.name())] = json!({"copies_per_frame": copies, "ports": ports});
    pipeline.assert_whole();
    Ok(())
}

pub fn measure(cores: (usize, usize)) -> Result<Part> {
    let mut part = Part::default();
    for pmd in Pmd::ALL {
        for sent in [Sent::TensorF32, Sent::Rgb8] {
            on(pmd, sent, cores, &mut part)?;
        }
    }
    Ok(part)
}
