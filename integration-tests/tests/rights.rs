//! Rights that hold, seen from outside: which regions each stage process has mapped, how, and as whom it runs.

use integration_tests::client::Client;
use integration_tests::pipeline::Pipeline;
use integration_tests::traffic::{assert_right, config, tensor_of};

/// (stage, packets, inputs, outputs), as in DESIGN: `-` not mapped, `r` read-only, `w` writable.
const RIGHTS: [(&str, &str, &str, &str); 4] =
    [("rx-gateway", "w", "-", "-"), ("preprocess.0", "r", "w", "-"), ("infer.0", "r", "r", "w"), ("tx", "w", "-", "r")];

fn mapped(pid: u32, region: &str) -> &'static str {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).expect("the maps of a stage");
    let mut lines = maps.lines().filter(|l| l.contains(region));
    match lines.next().map(|l| l.split_whitespace().nth(1).unwrap_or_default()) {
        None => "-",
        Some("r--s") => "r",
        Some("rw-s") => "w",
        Some(other) => panic!("{region} is mapped {other}"),
    }
}

#[test]
fn each_stage_maps_what_it_may_and_no_more() {
    let pipeline = Pipeline::start("rights", &config("null", ""));
    for (stage, packets, inputs, outputs) in RIGHTS {
        let pid = pipeline.pid(stage);
        let is = ["flumeway-packets", "flumeway-inputs", "flumeway-outputs"].map(|r| mapped(pid, r));
        assert_eq!(is, [packets, inputs, outputs], "{stage}");
        assert_eq!(mapped(pid, "flumeway-control"), "w", "{stage}");
    }
}

/// The supervisor may be root; its stages can do no more than any process.
#[test]
fn stages_have_no_capability() {
    let pipeline = Pipeline::start("no-capability", &config("null", ""));
    for (stage, ..) in RIGHTS {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pipeline.pid(stage))).expect("its status");
        let field =
            |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), "0000000000000000", "{stage} {set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{stage}");
        if rustix::process::geteuid().is_root() {
            assert_eq!(field("CapBnd:"), "0000000000000000", "{stage}");
        }
    }
}

#[test]
fn stages_run_as_another_user() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run stages as another user");
        return;
    }
    let more = "[supervisor]\nstage_user = { uid = 65534, gid = 65534 }\n";
    let pipeline = Pipeline::start("user", &config("null", more));
    for (stage, ..) in RIGHTS {
        let status = std::fs::read_to_string(format!("/proc/{}/status", pipeline.pid(stage))).expect("its status");
        let field = |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().to_owned();
        assert!(field("Uid:").split_whitespace().all(|id| id == "65534"), "{stage}: {}", field("Uid:"));
        assert!(field("Gid:").split_whitespace().all(|id| id == "65534"), "{stage}: {}", field("Gid:"));
        assert_eq!(field("CapEff:").trim(), "0000000000000000", "{stage} has no capability");
    }
    let mut client = Client::new(pipeline.listen(), 1);
    for id in 0..50 {
        if id == 25 {
            pipeline.kill_9("rx-gateway");
        }
        client.send_tensor(id, &tensor_of(id));
    }
    client.receive_until(50);
    (0..50).for_each(|id| assert_right(&client, id));
    pipeline.assert_whole();
}
