//! Deaths at named states of the rules for devices: what the words say then, and that the frame is answered exactly once.
//!
//! One frame at a time, so that the state at death is known to the last buffer.

use crate::hitless::{PACKETS, assert_answered_once, assert_no_packet_lost, wanted, wide};
use crate::{Wanted, client, filter, judged, wait_served};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::{report, with_kill_points};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const POINTS: [(&str, &str); 7] = [
    ("rx-gateway", "device-named"),
    ("rx-gateway", "device-posted"),
    ("rx-gateway", "received-unrecorded"),
    ("tx", "device-named"),
    ("tx", "device-posted"),
    ("tx", "device-settled"),
    ("tx", "device-claimed"),
];
const ROUNDS: usize = 3;

struct Range {
    pipeline: Pipeline,
    client: Client,
    sent: u64,
}

impl Range {
    fn new(net: &Net, outputs: usize) -> Self {
        let more = "[supervisor]\nheartbeat_timeout_ms = 60000\nmax_interruptions = 60000\n[limits]\nassembly_timeout_ms = 60000\n";
        let text = Wanted { more, ..wanted(outputs) }.text(net.interface(Side::Pipeline));
        let pipeline = Pipeline::start_inside(net, &format!("xdp-aimed-{outputs}"), &text, &with_kill_points(), &[]);
        wait_served(&pipeline);
        Self { pipeline, client: client(net, net.v4(Side::Pipeline), 1), sent: 0 }
    }

    fn send(&mut self) {
        self.client.send_tensor(self.sent, &wide(self.sent));
        self.sent += 1;
    }

    /// Arms the point, sends frames one by one until the stage stands there; its incarnation.
    fn reach(&mut self, stage: &str, point: &str) -> u64 {
        self.pipeline.settle();
        self.pipeline.order(&json!({"command": "killpoint", "stage": stage, "point": point}));
        self.send();
        let mut entry = Value::Null;
        wait_until(&format!("{stage} to reach {point}"), || {
            entry = self.pipeline.stage(stage);
            self.client.receive();
            let is_there = entry["kill_point_hit"] == *point;
            // Not by this frame: it has passed.
            if !is_there && self.client.replies.len() as u64 == self.sent && self.pipeline.ledger()["in_flight"] == 0 {
                self.send();
            }
            is_there
        });
        number(&entry["incarnation"])
    }

    /// What the words say while the stage stands at the point.
    fn assert_state(&mut self, stage: &str, point: &str, is_long: bool) {
        let audit = self.pipeline.order(&json!({"command": "audit"}));
        let n = |key: &str| number(&audit[key]);
        assert_eq!(audit["sound"], true, "{stage} {point}: {audit}");
        let all = n("free") + n("with_device") + n("assembling") + n("heads") + n("segments");
        assert_eq!(all, n("buffers"), "{stage} {point}: every buffer is somewhere: {audit}");
        self.client.receive();
        let answered = self.client.replies.len() as u64;
        match (stage, point) {
            ("rx-gateway", "received-unrecorded") => {
                let (redirected, ledger) = (filter(&self.pipeline, "redirected"), self.pipeline.ledger());
                assert!(judged(&ledger) < redirected, "{ledger} of {redirected}");
                assert_eq!((n("heads"), answered), (0, self.sent - 1), "{audit}");
            }
            ("rx-gateway", _) => {}
            // With the device, or back from it, until it goes home.
            (_, "device-settled" | "device-claimed") if !is_long => {
                wait_until("the reply that has left", || {
                    self.client.receive();
                    self.client.replies.len() as u64 == self.sent
                });
                assert_eq!(n("heads"), 1, "{audit}");
            }
            _ => assert_eq!((n("heads"), answered), (1, self.sent - 1), "{point}: {audit}"),
        }
    }

    fn kill(&mut self, stage: &str, point: &str, incarnation: u64) {
        self.pipeline.kill_9(stage);
        self.pipeline.wait_incarnation(stage, incarnation);
        self.client.receive_until(self.sent as usize);
        let records = self.pipeline.order(&json!({"command": "recoveries"}));
        let last = records["recoveries"].as_array().and_then(|r| r.last()).cloned().unwrap_or_default();
        assert_eq!((last["stage"].as_str(), last["kill_point"].as_str()), (Some(stage), Some(point)), "{last}");
    }
}

/// `outputs`: elements of a result.
fn aimed(label: &str, outputs: usize) {
    let Some(net) = Net::or_skip(label, Options::default()) else { return };
    let (mut range, is_long) = (Range::new(&net, outputs), outputs > 300);
    let mut found = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (stage, point) in POINTS {
            let before = range.pipeline.counter("tx", "found_sent");
            let incarnation = range.reach(stage, point);
            range.assert_state(stage, point, is_long);
            range.kill(stage, point, incarnation);
            range.pipeline.settle();
            *found.entry((stage, point)).or_insert(0) += range.pipeline.counter("tx", "found_sent") - before;
        }
    }
    let Range { pipeline, client, sent } = range;
    assert_answered_once(&client, sent, outputs);
    let ledger = assert_no_packet_lost(&pipeline, PACKETS * sent);
    assert_eq!(ledger["answered"], sent, "{ledger}");
    if !is_long {
        // What had been posted is not sent again: its completion tells the successor.
        assert_eq!(found[&("tx", "device-posted")], ROUNDS as u64, "{found:?}");
        assert_eq!(found[&("tx", "device-named")], 0, "{found:?}");
    }
    report(label, &format!("{} aimed kills, {sent} frames, replies found sent: {found:?}\n", ROUNDS * POINTS.len()));
}

#[test]
fn replies_of_one_packet() {
    aimed("xdp-aimed-short", 16);
}

#[test]
fn replies_of_several_packets() {
    aimed("xdp-aimed-long", 1_000);
}
