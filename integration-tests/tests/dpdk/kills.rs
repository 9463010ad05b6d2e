//! Every stage dies many times under load, on each driver: nothing leaks, nothing is answered twice, and what is lost is counted.
//!
//! What waits in a port's queue dies with the port. So replies are not waited for here; the books say what became of each frame.

use crate::{BUFFERS, Pmd, Wanted, both, came, client, judged, kill, leftovers, not_brought, two_ports};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Side, Switched};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::processes::softnet_dropped;
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady_until};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const STAGES: [&str; 4] = ["rx-gateway", "preprocess.0", "infer.0", "tx"];
/// Frames per second: what comes while a stage is away waits in the rings.
const PER_S: u32 = 400;
/// No packet takes as long from one namespace to the other, whatever else the machine does.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// Kills of each stage.
fn kills() -> usize {
    std::env::var("FLUMEWAY_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// How long the victims were away: the supervisor's own numbers, and until a frame was answered again.
#[derive(Default)]
struct Away {
    times: [Vec<Duration>; 4],
}

impl Away {
    fn describe(&mut self) -> String {
        let mut text = String::new();
        for (stage, times) in STAGES.iter().zip(&mut self.times) {
            times.sort_unstable();
            let at = |q: usize| times.get(times.len() * q / 100).or(times.last()).copied().unwrap_or_default();
            let _ = writeln!(
                text,
                "  {stage}: until frames are answered again, ms: p50 {}, p95 {}",
                at(50).as_millis(),
                at(95).as_millis()
            );
        }
        text
    }
}

/// Kills the stage, and waits until it is back and frames are answered.
fn kill_and_wait(pipeline: &Pipeline, stage: &str) -> Duration {
    let begun = Instant::now();
    kill(pipeline, stage);
    let answered = number(&pipeline.ledger()["answered"]);
    wait_until("frames to be answered again", || number(&pipeline.ledger()["answered"]) > answered);
    begun.elapsed()
}

/// All buffers are free, or wait for packets in the port and its pool; with nothing in flight no stage holds anything.
fn assert_nothing_leaked(pipeline: &Pipeline) {
    assert_eq!(pipeline.order(&json!({"command": "drain"}))["state"], "drained");
    let ledger = pipeline.assert_whole();
    let audit = &ledger["audit"];
    let n = |key: &str| number(&audit[key]);
    assert_eq!(n("free") + n("with_device"), BUFFERS, "{audit}");
    assert_eq!((n("assembling"), n("heads"), n("segments"), n("slots_free")), (0, 0, 0, n("slots")), "{audit}");
    pipeline.order(&json!({"command": "resume"}));
}

/// Replies of one packet: none came twice, and those that never came were posted when their tx died. One per death may also have
/// lain in the memory that the driver shares with the kernel: that goes with the process, after the driver has said that it is done
/// with them. `net_af_packet` says so too of packets that it has put into its ring and the kernel has not taken (ENOBUFS or EAGAIN of
/// its `sendto`: the comment at the end of `eth_af_packet_tx`, DPDK 22.11 and later). `dropped`: what the kernel has dropped on the way to the client, see [`dropped_by_kernel`].
fn assert_replies(pipeline: &Pipeline, client: &Client, ledger: &Value, dropped: u64) -> (u64, u64) {
    for (id, answers) in &client.replies {
        assert_eq!(answers.len(), 1, "frame {id} is answered once");
        assert_right(client, *id);
    }
    let (answered, here) = (number(&ledger["answered"]), client.replies.len() as u64);
    let unconfirmed = pipeline.counter("tx", "sent_unconfirmed");
    let shared = number(&pipeline.stage("tx")["restarts"]);
    assert!(
        answered >= here && answered - here <= unconfirmed + shared + dropped,
        "{answered} answered, {here} here, {unconfirmed} unconfirmed, {shared} in memory that went with its tx, {dropped} dropped by \
         the kernel"
    );
    (answered - here, unconfirmed)
}

/// What has been sent comes when the kernel gets round to it. What never comes is for [`assert_replies`].
fn receive_what_is_on_its_way(pipeline: &Pipeline, client: &mut Client) {
    let begun = Instant::now();
    let is_all = |client: &Client| {
        client.replies.len() as u64 + pipeline.counter("tx", "sent_unconfirmed")
            >= number(&pipeline.ledger()["answered"])
    };
    while client.receive() > 0 || !is_all(client) && begun.elapsed() < ON_ITS_WAY {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Packets that this machine's kernel found no room for behind the port: at a processor's backlog, which all tests share, and in
/// the client's socket.
fn dropped_by_kernel(net: &Switched) -> u64 {
    softnet_dropped() + net.net().kernel_counter(Side::Traffic, "Udp.RcvbufErrors")
}

/// What the interface under the port received was judged, or is counted as lost. The books are exact when a new incarnation
/// has begun and nothing comes meanwhile.
pub fn assert_losses(net: &Switched, pipeline: &Pipeline, sent: u64) -> u64 {
    kill(pipeline, "rx-gateway");
    let mut ledger = pipeline.assert_whole();
    let lost = || not_brought(pipeline, "rx-gateway");
    wait_until(
        &format!("{} packets to be judged or lost: {ledger}, {} lost", came(net, pipeline, "rx-gateway", 0), lost()),
        || {
            ledger = pipeline.ledger();
            judged(&ledger) + lost() == came(net, pipeline, "rx-gateway", 0)
        },
    );
    let received = number(&ledger["received"]);
    assert_eq!(number(&ledger["packets"]["fragment"]), received, "frames of one packet: {ledger}");
    // What never came to the interface is the network's: the interface's own count is what the books are held against.
    assert!(received <= sent, "{sent} sent, {received} received, {} lost", lost());
    assert_eq!(pipeline.counter("rx-gateway", "device_faults") + pipeline.counter("tx", "device_faults"), 0);
    lost()
}

fn under_load(pmd: Pmd) {
    let Some(net) = two_ports("kills", pmd) else { return };
    let pipeline = Wanted::on(pmd).start(&net, "kills");
    let mut client = client(&net, both(&net)[0], 1);
    let (over, working) = mpsc::channel();
    let dropped = dropped_by_kernel(&net);
    let (mut away, begun, kills) = (Away::default(), Instant::now(), kills());
    let sent = std::thread::scope(|scope| {
        let (pipeline, away) = (&pipeline, &mut away);
        scope.spawn(move || {
            let _over = over;
            for n in 0..kills * STAGES.len() {
                let victim = (n + n / STAGES.len()) % STAGES.len();
                away.times[victim].push(kill_and_wait(pipeline, STAGES[victim]));
                std::thread::sleep(Duration::from_millis(n as u64 % 5));
            }
        });
        steady_until(&mut client, PER_S, &working)
    });
    let took = begun.elapsed();
    pipeline.settle();
    receive_what_is_on_its_way(&pipeline, &mut client);
    let ledger = pipeline.assert_whole();
    let (missing, unconfirmed) = assert_replies(&pipeline, &client, &ledger, dropped_by_kernel(&net) - dropped);
    for stage in STAGES {
        let restarts = number(&pipeline.stage(stage)["restarts"]);
        assert!(restarts >= kills as u64, "{stage} was restarted {restarts} times");
    }
    let lost = assert_losses(&net, &pipeline, sent);
    assert_nothing_leaked(&pipeline);
    // The ports serve on as they are.
    let first = sent + 1_000;
    integration_tests::traffic::steady(&mut client, first..first + 100, 1_000, |_| {});
    let count = client.replies.len() - (client.replies.keys().filter(|id| **id >= first).count());
    client.receive_until(count + 100);
    report(
        &format!("dpdk-kills-{}", pmd.word()),
        &format!(
            "{} kills in {} s, {sent} frames, {lost} packets lost in the port, {unconfirmed} replies unconfirmed, {missing} of them \
             never came\n{}",
            kills * STAGES.len(),
            took.as_secs(),
            away.describe()
        ),
    );
    let (code, last) = pipeline.stop();
    assert_eq!((code, leftovers(&net)), (0, vec![]), "{last}");
}

#[test]
fn of_every_stage_on_af_packet() {
    under_load(Pmd::AfPacket);
}

#[test]
fn of_every_stage_on_af_xdp() {
    under_load(Pmd::AfXdp);
}

/// The supervisor's death: the stages end, and the next start needs no hand.
#[test]
fn a_killed_supervisor_leaves_ports_that_the_next_one_opens() {
    for pmd in Pmd::ALL {
        let Some(net) = two_ports("supervisor", pmd) else { return };
        for n in 0..2 {
            let pipeline = Wanted::on(pmd).start(&net, &format!("supervisor-{n}"));
            let mut client = client(&net, both(&net)[0], 1);
            integration_tests::traffic::steady(&mut client, 0..50, 1_000, |_| {});
            client.receive_until(50);
            let pid = number(&pipeline.status()["pid"]) as u32;
            integration_tests::processes::signal(pid, rustix::process::Signal::KILL);
            wait_until("the stages to end", || net.processes().is_empty());
        }
        let pipeline = Wanted::on(pmd).start(&net, "supervisor-last");
        let (code, last) = pipeline.stop();
        assert_eq!((code, leftovers(&net)), (0, vec![]), "{last}");
    }
}
