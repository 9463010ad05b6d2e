//! Receive rate of small packets: rx-gateway, which judges and discards them, against a bare loop that drops them.
//!
//! The kernel's receiving thread shares the core with them, so that the core is full, and the rate is what is left for
//! packets. Where it is not full, processor time per packet is compared.

use crate::subject::{Placement, Subject, Wait};
use anyhow::{Error, Result, ensure};
use benches::figures::Required;
use integration_tests::gate::number as count;
use integration_tests::load::{Load, number, offer};
use integration_tests::netns::{Net, Side};
use integration_tests::parts::Part;
use integration_tests::rates::{FLOOD, Rates, compare, receive_on, spent_ns};
use serde_json::Value;

const ROUNDS: usize = 9;
const REQUIRED: Required = Required::AtLeast(0.8);

fn link(label: &str, place: &Placement) -> Result<Net> {
    let net = Net::new(label)?;
    receive_on(&net, place.rx_gateway).map_err(Error::msg)?;
    Ok(net)
}

pub fn measure(place: &Placement) -> Result<Part> {
    let (ours, theirs) = (link("bench-rx", place)?, link("bench-drop", place)?);
    let pipeline = place.pipeline(&ours, "af_xdp");
    ours.pin_napi(Side::Pipeline, place.rx_gateway).map_err(Error::msg)?;
    let gateway = pipeline.pid("rx-gateway");
    let discarded = || count(&pipeline.ledger()["packets"]["malformed"]);
    let (mut flumeway, mut bare) = (Rates::default(), Rates::default());
    for round in 0..ROUNDS {
        eprint!("\rreceive: round {} of {ROUNDS}  ", round + 1);
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                let (packets, spent) = (discarded(), spent_ns(&ours, gateway));
                let result = offer(&ours, place.generator, Load::Frames, &FLOOD)?;
                let spent = spent_ns(&ours, gateway) - spent;
                flumeway.add(&result, (discarded() - packets) as f64, spent);
            } else {
                let drop = Subject::bare(&theirs, "bare_drop", Wait::Poll, place.rx_gateway)?;
                theirs.pin_napi(Side::Pipeline, place.rx_gateway).map_err(Error::msg)?;
                let spent = spent_ns(&theirs, drop.pid());
                let result = offer(&theirs, place.generator, Load::Frames, &FLOOD)?;
                let spent = spent_ns(&theirs, drop.pid()) - spent;
                let Subject::Bare(drop) = drop else { continue };
                bare.add(&result, number(&drop.stop()["packets"]), spent);
            }
        }
    }
    eprintln!();
    let ledger = pipeline.settle();
    ensure!(ledger["received"] == 0, "small packets were taken for frames: {ledger}");
    let mut part = Part::default();
    let mut raw: Value = compare(&mut part, "receive", &flumeway, ("bare", &bare), REQUIRED);
    raw["ledger"] = ledger;
    part.raw = raw;
    Ok(part)
}
