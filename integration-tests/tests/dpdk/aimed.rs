//! Deaths at named states of the rules for devices: what the words say then, what is lost, and what is never sent twice.
//!
//! One frame at a time, so that the state at death is known to the last buffer.

use crate::{Pmd, Wanted, both, client, two_ports, wait_back};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::{assert_right, tensor_of};
use integration_tests::{report, with_kill_points};
use serde_json::{Value, json};
use std::time::Duration;

/// What becomes of the frame whose sending led to the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is answered.
    Answered,
    /// The packet was taken and not recorded: it is gone, and counted.
    Lost,
    /// Its reply was posted when tx died, and had not left.
    Unconfirmed,
    /// Its reply was posted, and had left.
    UnconfirmedAndSent,
}

const POINTS: [(&str, &str, Fate); 6] = [
    ("rx-gateway", "device-named", Fate::Answered),
    ("rx-gateway", "device-posted", Fate::Answered),
    ("rx-gateway", "received-unrecorded", Fate::Lost),
    ("tx", "device-named", Fate::Unconfirmed),
    ("tx", "device-posted", Fate::UnconfirmedAndSent),
    ("tx", "device-settled", Fate::Answered),
];
const ROUNDS: usize = 3;

struct Range {
    pipeline: Pipeline,
    client: Client,
    sent: u64,
    /// Frames that were not answered, and those of them that the gateway never had.
    without: u64,
    unseen: u64,
    /// Frames that seem to have come while there was no port. One that is answered in the end was only slow.
    in_gap: Vec<u64>,
    /// Rounds of each point whose frame was answered.
    answered: [usize; POINTS.len()],
}

impl Range {
    fn lost(&self) -> u64 {
        self.pipeline.counter("rx-gateway", "lost_in_device")
    }

    fn unconfirmed(&self) -> u64 {
        self.pipeline.counter("tx", "sent_unconfirmed")
    }

    /// Arms the point, sends frames one by one until the stage stands there; (its incarnation, the last frame's number).
    fn reach(&mut self, stage: &str, point: &str) -> (u64, u64) {
        self.pipeline.settle();
        self.pipeline.order(&json!({"command": "killpoint", "stage": stage, "point": point}));
        let mut entry = Value::Null;
        let mut last = None;
        wait_until(&format!("{stage} to reach {point}"), || {
            entry = self.pipeline.stage(stage);
            self.client.receive();
            let is_there = entry["kill_point_hit"] == *point;
            if !is_there && last.is_none_or(|id| self.client.replies.contains_key(&id)) {
                self.client.send_tensor(self.sent, &tensor_of(self.sent));
                last = Some(self.sent);
                self.sent += 1;
            }
            is_there
        });
        (number(&entry["incarnation"]), last.unwrap_or(0))
    }

    /// Every buffer is somewhere while the stage stands at the point.
    fn assert_state(&self, stage: &str, point: &str) {
        let audit = self.pipeline.order(&json!({"command": "audit"}));
        let n = |key: &str| number(&audit[key]);
        assert_eq!(audit["sound"], true, "{stage} {point}: {audit}");
        let all = n("free") + n("with_device") + n("assembling") + n("heads") + n("segments");
        assert_eq!(all, n("buffers"), "{stage} {point}: {audit}");
    }

    fn round(&mut self, n: usize) {
        let (stage, point, fate) = POINTS[n];
        let (lost, unconfirmed) = (self.lost(), self.unconfirmed());
        let (incarnation, id) = self.reach(stage, point);
        self.assert_state(stage, point);
        self.pipeline.kill_9(stage);
        wait_back(&self.pipeline, stage, incarnation);
        let ledger = self.pipeline.assert_whole();
        let records = self.pipeline.order(&json!({"command": "recoveries"}));
        // A successor may have died at its start: net_af_packet's ports of two processes can get in each other's way.
        let died_there = |r: &Value| r["stage"] == stage && r["kill_point"] == point;
        let recent = records["recoveries"].as_array().into_iter().flatten().rev().take(3).any(died_there);
        assert!(recent, "{stage} did not die at {point}: {records}");
        let (lost, unconfirmed) = (self.lost() - lost, self.unconfirmed() - unconfirmed);
        let expected = match fate {
            Fate::Lost => (1, 0),
            Fate::Unconfirmed | Fate::UnconfirmedAndSent => (0, 1),
            Fate::Answered => (0, 0),
        };
        // The network's own packets may come in the gap, and are lost too.
        assert!(lost >= expected.0, "{stage} {point}: {lost} lost: {ledger}");
        assert_eq!(unconfirmed, expected.1, "{stage} {point}: {ledger}");
        if stage == "rx-gateway" && matches!(fate, Fate::Answered) && lost > 0 && !self.is_answered_soon(id) {
            // It gives buffers to its port also when no frame has come: this one came afterwards.
            self.in_gap.push(id);
        } else if matches!(fate, Fate::Answered | Fate::UnconfirmedAndSent) {
            wait_until(&format!("frame {id} to be answered after a death of {stage} at {point}"), || {
                self.client.receive();
                self.client.replies.contains_key(&id)
            });
            self.answered[n] += 1;
        } else {
            std::thread::sleep(Duration::from_millis(20));
            self.client.receive();
            assert!(!self.client.replies.contains_key(&id), "frame {id} was answered after {stage} died at {point}");
            self.without += 1;
            self.unseen += u64::from(matches!(fate, Fate::Lost));
        }
    }

    /// Whether a frame of a settled pipeline has a reply.
    fn is_answered_soon(&mut self, id: u64) -> bool {
        std::thread::sleep(Duration::from_millis(50));
        self.client.receive();
        self.client.replies.contains_key(&id)
    }
}

fn aimed(pmd: Pmd) {
    let Some(net) = two_ports("aimed", pmd) else { return };
    let more = "[supervisor]\nheartbeat_timeout_ms = 60000\nmax_interruptions = 60000\n";
    let pipeline = Wanted { more, ..Wanted::on(pmd) }.start_with(&net, "aimed", &with_kill_points());
    let client = client(&net, both(&net)[0], 1);
    let mut range =
        Range { pipeline, client, sent: 0, without: 0, unseen: 0, in_gap: Vec::new(), answered: [0; POINTS.len()] };
    for _ in 0..ROUNDS {
        (0..POINTS.len()).for_each(|n| range.round(n));
    }
    let Range { pipeline, client, sent, mut without, mut unseen, in_gap, answered } = range;
    let lost = in_gap.iter().filter(|id| !client.replies.contains_key(*id)).count() as u64;
    (without, unseen) = (without + lost, unseen + lost);
    for ((stage, point, fate), answered) in POINTS.into_iter().zip(answered) {
        let may_be = matches!(fate, Fate::Answered | Fate::UnconfirmedAndSent);
        assert_eq!(answered > 0, may_be, "{stage} {point}: {answered} of {ROUNDS} frames answered");
    }
    for (id, answers) in &client.replies {
        assert_eq!(answers.len(), 1, "frame {id} is answered once");
        assert_right(&client, *id);
    }
    assert_eq!(client.replies.len() as u64 + without, sent);
    let ledger = pipeline.assert_whole();
    assert_eq!(number(&ledger["received"]), sent - unseen, "{ledger}");
    assert_eq!(ledger["received"], ledger["answered"], "{ledger}");
    let text = format!("{} aimed kills, {sent} frames, {without} without an answer\n", ROUNDS * POINTS.len());
    report(&format!("dpdk-aimed-{}", pmd.word()), &text);
}

#[test]
fn kills_at_device_points_on_af_packet() {
    aimed(Pmd::AfPacket);
}

#[test]
fn kills_at_device_points_on_af_xdp() {
    aimed(Pmd::AfXdp);
}
