//! The access list in front of a pipeline on ports of DPDK: the verdicts of every other driver, and a change without a gap.

use crate::{PORT, Pmd, Wanted, both, client_at, ip, two_ports};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{SWITCH, Side, Switched};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

/// Senders, in a network of their own.
const fn sender(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 80, 0, n))
}

const ALLOWED: u8 = 1;
const DENIED: u8 = 2;
const LIMITED: u8 = 3;
const STRANGER: u8 = 4;
const BURST: u64 = 5;
const RELOADS: usize = 10;

const LIST: &str = "acl_policy = \"deny\"
[[ingress.acl]]
name = \"blocked\"
action = \"deny\"
source = \"10.80.0.2/32\"
[[ingress.acl]]
name = \"few\"
action = \"allow\"
source = \"10.80.0.3/32\"
rate_pps = 1
burst = 5
[[ingress.acl]]
name = \"friends\"
action = \"allow\"
source = \"10.80.0.0/30\"
[[ingress.acl]]
name = \"six\"
action = \"allow\"
source = \"fd00:77::/64\"
";

fn add_senders(net: &Switched) {
    for n in [ALLOWED, DENIED, LIMITED, STRANGER] {
        ip(net, Side::Traffic, &format!("addr add {}/32 dev {SWITCH}", sender(n)));
    }
}

fn at(net: &Switched, n: u8, stream: u32) -> Client {
    client_at(net, SocketAddr::new(sender(n), 0), both(net)[0], stream)
}

/// Hits of the rules, and what else the status says of the ingress.
fn hits(pipeline: &Pipeline) -> (Vec<u64>, Value) {
    let ingress = pipeline.status()["ingress"].clone();
    let rules = ingress["access_list"].as_array().expect("rules");
    (rules.iter().map(|r| number(&r["hits"])).collect(), ingress)
}

fn verdicts(pmd: Pmd) {
    let Some(net) = two_ports("access", pmd) else { return };
    add_senders(&net);
    let pipeline = Wanted { ingress: LIST, ..Wanted::on(pmd) }.start(&net, "access");
    let start = Instant::now();
    let mut clients: Vec<Client> =
        [ALLOWED, DENIED, LIMITED, STRANGER].into_iter().zip(0..).map(|(n, stream)| at(&net, n, stream)).collect();
    let [_, v6] = both(&net);
    clients.push(client_at(&net, SocketAddr::new(net.net().v6(Side::Traffic), 0), v6, 4));
    for client in &mut clients {
        for id in 0..20 {
            client.send_tensor(id, &tensor_of(id));
            std::thread::sleep(Duration::from_micros(500));
        }
    }
    clients[0].receive_until(20);
    clients[4].receive_until(20);
    clients[2].receive_until(BURST as usize);
    let judged =
        |ledger: &Value| number(&ledger["packets"]["access_denied"]) + number(&ledger["packets"]["access_limited"]);
    wait_until("every packet to be judged", || {
        let ledger = pipeline.ledger();
        judged(&ledger) + number(&ledger["received"]) == 100
    });
    let ledger = pipeline.assert_whole();
    let answered: Vec<u64> = clients.iter_mut().map(|c| (c.receive(), c.replies.len() as u64).1).collect();
    // More of the third only if it took seconds.
    let at_most = BURST + start.elapsed().as_secs() + 1;
    assert!(answered[2] <= at_most, "{answered:?} of at most {at_most}");
    assert_eq!([answered[0], answered[1], answered[3], answered[4]], [20, 0, 0, 20]);
    let packets = &ledger["packets"];
    assert_eq!(
        (number(&packets["access_denied"]), number(&packets["access_limited"])),
        (40, 20 - answered[2]),
        "{ledger}"
    );
    let (rules, ingress) = hits(&pipeline);
    assert_eq!((rules, &ingress["policy_hits"]), (vec![20, 20, 20, 20], &json!(20)), "{ingress}");
}

#[test]
fn the_list_gives_the_same_verdicts_as_with_every_driver() {
    Pmd::ALL.into_iter().for_each(verdicts);
}

/// Rules that stay, with others before and behind them in turn.
fn reloaded(n: usize) -> String {
    let other = "[[ingress.acl]]\naction = \"allow\"\nsource = \"10.81.0.0/16\"\n";
    let (first, rules) = LIST.split_once('\n').expect("a list");
    if n.is_multiple_of(2) { format!("{first}\n{rules}{other}") } else { format!("{first}\n{other}{rules}") }
}

#[test]
fn reloads_under_traffic_leave_no_gap() {
    let Some(net) = two_ports("reload", Pmd::AfPacket) else { return };
    add_senders(&net);
    let wanted = Wanted { ingress: LIST, ..Wanted::on(Pmd::AfPacket) };
    let pipeline = wanted.start(&net, "reload");
    let (mut good, mut bad) = (at(&net, ALLOWED, 1), at(&net, DENIED, 2));
    let path = pipeline.dir().join("next.toml");
    let (over, working) = mpsc::channel::<()>();
    let mut frames = 0;
    std::thread::scope(|scope| {
        let (net, pipeline, path) = (&net, &pipeline, path.to_str().expect("a path"));
        scope.spawn(move || {
            let _over = over;
            for n in 0..RELOADS {
                std::fs::write(path, Wanted { ingress: &reloaded(n), ..wanted }.text(net)).expect("write a list");
                // Sooner, the stages would still be taking the last one over.
                std::thread::sleep(Duration::from_millis(500));
                let order = json!({"command": "acl-reload", "config": path});
                wait_until("the reload to be taken", || pipeline.ask(&order)["ok"] == true);
            }
        });
        while working.try_recv() == Err(TryRecvError::Empty) {
            steady(&mut good, frames..frames + 50, 500, |id| bad.send_tensor(id, &tensor_of(id)));
            frames += 50;
            good.receive_until((frames as usize).saturating_sub(100));
        }
    });
    good.receive_until(frames as usize);
    (0..frames).for_each(|id| assert_right(&good, id));
    let ledger = pipeline.assert_whole();
    assert_eq!(bad.receive(), 0, "a denied frame was answered");
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(frames), &json!(frames)), "{ledger}");
    let denied = || number(&pipeline.ledger()["packets"]["access_denied"]);
    wait_until("every denied packet to be judged", || denied() == frames);
    let (rules, ingress) = hits(&pipeline);
    report("dpdk-reload", &format!("{RELOADS} reloads on port {PORT}, hits {rules:?}\n"));
    // The list of the last reload begins with a rule that nothing matches. What a rule has counted, it keeps.
    assert_eq!(rules, [0, frames, 0, frames, 0], "{ingress}");
}
