//! The access list in front of a pipeline: the same verdicts with every driver, and a change without a gap.

use crate::{PORT, Wanted, filter, ip, keep_up};
use integration_tests::client::Client;
use integration_tests::gate::number;
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::report;
use integration_tests::traffic::{assert_right, steady, tensor_of};
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, TryRecvError};
use std::time::{Duration, Instant};

/// Senders of the traffic's side, in a network of their own.
const fn sender(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 80, 0, n))
}

const ALLOWED: u8 = 1;
const DENIED: u8 = 2;
const LIMITED: u8 = 3;
const STRANGER: u8 = 4;
const BURST: u64 = 5;

const RELOADS: usize = 20;

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

fn add_senders(net: &Net) {
    for n in [ALLOWED, DENIED, LIMITED, STRANGER] {
        ip(net, Side::Traffic, &format!("addr add {}/32 dev {}", sender(n), net.interface(Side::Traffic)));
    }
    ip(net, Side::Pipeline, &format!("route add 10.80.0.0/24 dev {}", net.interface(Side::Pipeline)));
}

/// A client at one of these addresses.
fn client_at(net: &Net, from: IpAddr, to: IpAddr, stream: u32) -> Client {
    let to = SocketAddr::new(to, PORT);
    let open = || {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect(to).map(|()| socket)
    };
    Client::with_socket(net.inside(Side::Traffic, open).flatten().unwrap(), to, stream)
}

/// `flumeway ctl` on this pipeline; its answer.
fn ctl(net: &Net, pipeline: &Pipeline, arguments: &[&str]) -> Value {
    let mut command = net.flumeway(Side::Pipeline, &["ctl", "--json", "--socket"]);
    command.arg(pipeline.dir().join("control.sock")).args(arguments);
    let out = command.output().expect("run flumeway ctl");
    serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("no JSON ({e}) from ctl {arguments:?}: {out:?}"))
}

/// Hits of the rules, and what else the status says of the ingress.
pub fn hits(net: &Net, pipeline: &Pipeline) -> (Vec<u64>, Value) {
    let ingress = ctl(net, pipeline, &["status"])["ingress"].clone();
    let rules = ingress["access_list"].as_array().expect("rules");
    (rules.iter().map(|r| number(&r["hits"])).collect(), ingress)
}

/// Twenty frames of each sender; how many of them were answered.
fn verdicts(net: &Net, driver: &str) -> Vec<u64> {
    let wanted = Wanted { driver, ingress: LIST, ..Wanted::default() };
    let pipeline = wanted.start(net, &format!("access-{driver}"));
    let to = net.v4(Side::Pipeline);
    let froms = [ALLOWED, DENIED, LIMITED, STRANGER].map(|n| (sender(n), to));
    let six = (net.v6(Side::Traffic), net.v6(Side::Pipeline));
    let mut clients: Vec<Client> = Vec::new();
    let start = Instant::now();
    for (stream, (from, to)) in froms.into_iter().chain([six]).enumerate() {
        let mut client = client_at(net, from, to, stream as u32);
        (0..20).for_each(|id| client.send_tensor(id, &tensor_of(id)));
        clients.push(client);
    }
    clients[0].receive_until(20);
    clients[4].receive_until(20);
    clients[2].receive_until(BURST as usize);
    let ledger = pipeline.assert_whole();
    let answered: Vec<u64> = clients.iter_mut().map(|c| (c.receive(), c.replies.len() as u64).1).collect();
    // More of the third only if it took seconds.
    let at_most = BURST + start.elapsed().as_secs() + 1;
    assert!(answered[2] <= at_most, "{answered:?} of at most {at_most}");
    assert_eq!(ledger["answered"], answered.iter().sum::<u64>(), "{ledger}");
    let (rules, ingress) = hits(net, &pipeline);
    assert_eq!((rules, &ingress["policy_hits"]), (vec![20, 20, 20, 20], &json!(20)), "{ingress}");
    let (by_program, by_stage) = (&ingress["filter"], &ledger["packets"]);
    let (denied, limited) = if driver == "udp" {
        (&by_stage["access_denied"], &by_stage["access_limited"])
    } else {
        (&by_program["denied"], &by_program["limited"])
    };
    assert_eq!((number(denied), number(limited) + answered[2]), (40, 20), "{by_program} {by_stage}");
    report(&format!("xdp-access-{driver}"), &format!("answered of 20 each: {answered:?}\n"));
    answered
}

#[test]
fn the_same_list_gives_the_same_verdicts_with_every_driver() {
    let Some(net) = Net::or_skip("xdp-access", Options::default()) else { return };
    add_senders(&net);
    let [mut by_program, mut by_socket] = ["af_xdp", "udp"].map(|driver| verdicts(&net, driver));
    // What a rate lets in beyond its burst depends on the time that the test took.
    (by_program[2], by_socket[2]) = (by_program[2].min(BURST), by_socket[2].min(BURST));
    assert_eq!(by_program, [20, 0, BURST, 0, 20]);
    assert_eq!(by_program, by_socket);
}

/// Rules that stay, with others before and behind them in turn.
fn reloaded(n: usize) -> String {
    let other = "[[ingress.acl]]\naction = \"allow\"\nsource = \"10.81.0.0/16\"\n";
    let (first, rules) = LIST.split_once('\n').expect("a list");
    if n.is_multiple_of(2) { format!("{first}\n{rules}{other}") } else { format!("{first}\n{other}{rules}") }
}

#[test]
fn reloads_under_traffic_leave_no_gap() {
    let Some(net) = Net::or_skip("xdp-reload", Options::default()) else { return };
    add_senders(&net);
    let wanted = Wanted { ingress: LIST, ..Wanted::default() };
    let pipeline = wanted.start(&net, "reload");
    let to = net.v4(Side::Pipeline);
    let (mut good, mut bad) = (client_at(&net, sender(ALLOWED), to, 1), client_at(&net, sender(DENIED), to, 2));
    let path = pipeline.dir().join("next.toml");
    let (over, working) = mpsc::channel::<()>();
    let mut frames = 0;
    std::thread::scope(|scope| {
        let (net, pipeline, path) = (&net, &pipeline, path.to_str().expect("a path"));
        scope.spawn(move || {
            let _over = over;
            for n in 0..RELOADS {
                let text = Wanted { ingress: &reloaded(n), ..wanted }.text(net.interface(Side::Pipeline));
                std::fs::write(path, text).expect("write a list");
                // Sooner, the stages would still be taking the last one over.
                std::thread::sleep(Duration::from_millis(500));
                wait_until("the reload to be taken", || ctl(net, pipeline, &["acl", "reload", path])["ok"] == true);
            }
        });
        while working.try_recv() == Err(TryRecvError::Empty) {
            steady(&mut good, frames..frames + 50, 2_000, |id| bad.send_tensor(id, &tensor_of(id)));
            frames += 50;
            keep_up(&mut good, frames, 300);
        }
    });
    good.receive_until(frames as usize);
    (0..frames).for_each(|id| assert_right(&good, id));
    let ledger = pipeline.assert_whole();
    assert_eq!(bad.receive(), 0, "a denied frame was answered");
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(frames), &json!(frames)), "{ledger}");
    let (rules, ingress) = hits(&net, &pipeline);
    report("xdp-reload", &format!("{RELOADS} reloads, hits {rules:?}, {}\n", ingress["filter"]));
    // The list of the last reload begins with a rule that nothing matches. What a rule has counted, it keeps.
    assert_eq!(rules, [0, frames, 0, frames, 0], "{ingress}");
    assert_eq!((filter(&pipeline, "denied"), filter(&pipeline, "redirected")), (frames, frames));
    // A list that cannot be read changes nothing.
    std::fs::write(&path, "[[ingress.acl]]\naction = \"maybe\"\n").unwrap();
    let answer = pipeline.ask(&json!({"command": "acl-reload", "config": path}));
    assert_eq!(answer["ok"], false, "{answer}");
    assert_eq!(hits(&net, &pipeline).0, rules);
}
