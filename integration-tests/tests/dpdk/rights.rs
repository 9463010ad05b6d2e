//! What the stages may do: rx-gateway and tx what their devices need while they start, and nothing afterwards; the others nothing
//! at all.

use crate::{Pmd, Wanted, both, client, two_ports, wait_back};
use integration_tests::pipeline::Pipeline;
use integration_tests::traffic::{assert_right, tensor_of};
use std::fs;

const SETS: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];

/// Bits of linux/capability.h.
const IPC_LOCK: u64 = 1 << 14;
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;
const SYS_ADMIN: u64 = 1 << 21;

/// The most that a process with such a port may have had.
fn needed(pmd: Pmd) -> u64 {
    match pmd {
        Pmd::AfPacket => NET_RAW | NET_ADMIN,
        Pmd::AfXdp => NET_RAW | NET_ADMIN | SYS_ADMIN | IPC_LOCK,
    }
}

/// A line of `/proc/PID/status`, or of one of its threads.
fn field(path: &str, name: &str) -> String {
    let status = fs::read_to_string(path).unwrap_or_else(|e| panic!("{path}: {e}"));
    status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned()
}

fn set(path: &str, name: &str) -> u64 {
    u64::from_str_radix(&field(path, name), 16).unwrap_or_else(|e| panic!("{path} {name}: {e}"))
}

fn assert_rights(pipeline: &Pipeline, pmd: Pmd, uid: &str) {
    for stage in ["rx-gateway", "tx", "preprocess.0", "infer.0"] {
        let pid = pipeline.pid(stage);
        let path = format!("/proc/{pid}/status");
        let drives_port = matches!(stage, "rx-gateway" | "tx");
        for name in SETS {
            let may_stay = if drives_port && name == "CapBnd:" { needed(pmd) } else { 0 };
            let more = set(&path, name) & !may_stay;
            assert_eq!(more, 0, "{stage} on {pmd:?}: {name} {more:x}");
        }
        assert_eq!(field(&path, "NoNewPrivs:"), "1", "{stage} can gain privileges");
        assert!(
            field(&path, "Uid:").split_whitespace().all(|id| id == uid),
            "{stage} runs as {}",
            field(&path, "Uid:")
        );
        // The library's helper threads were born before the port was there.
        for thread in fs::read_dir(format!("/proc/{pid}/task")).expect("its threads").flatten() {
            let path = format!("{}/status", thread.path().display());
            let may_have = if drives_port { needed(pmd) } else { 0 };
            let more = set(&path, "CapEff:") & !may_have;
            assert_eq!(more, 0, "thread {} of {stage} on {pmd:?}: {more:x}", field(&path, "Name:"));
        }
    }
}

fn rights(pmd: Pmd) {
    let Some(net) = two_ports("rights", pmd) else { return };
    let users = [("0", ""), ("65534", "[supervisor]\nstage_user = { uid = 65534, gid = 65534 }\n")];
    for (uid, more) in users {
        let pipeline = Wanted { more, ..Wanted::on(pmd) }.start(&net, &format!("rights-{uid}"));
        assert_rights(&pipeline, pmd, uid);
        let mut client = client(&net, both(&net)[0], 1);
        for id in 0..60 {
            if id == 20 || id == 40 {
                // Their successors have no more, and open the ports all the same.
                let stage = if id == 20 { "rx-gateway" } else { "tx" };
                let before = pipeline.stage(stage)["incarnation"].as_u64().unwrap_or(0);
                pipeline.kill_9(stage);
                wait_back(&pipeline, stage, before);
            }
            client.send_tensor(id, &tensor_of(id));
            client.receive_until(id as usize + 1);
        }
        (0..60).for_each(|id| assert_right(&client, id));
        assert_rights(&pipeline, pmd, uid);
        pipeline.assert_whole();
        assert_eq!(pipeline.stop().0, 0);
    }
}

#[test]
fn of_stages_on_af_packet() {
    rights(Pmd::AfPacket);
}

#[test]
fn of_stages_on_af_xdp() {
    rights(Pmd::AfXdp);
}
