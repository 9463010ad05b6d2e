//! What the stages may do: nothing that the descriptors they inherit do not let them.

use crate::{Wanted, client};
use integration_tests::netns::{Net, Options, Side};
use integration_tests::pipeline::Pipeline;
use integration_tests::traffic::{assert_right, tensor_of};

const CAPABILITIES: [&str; 5] = ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"];

fn assert_powerless(pipeline: &Pipeline, uid: &str) {
    for stage in ["rx-gateway", "tx", "preprocess.0", "infer.0"] {
        let path = format!("/proc/{}/status", pipeline.pid(stage));
        let status = std::fs::read_to_string(path).expect("the status of a stage");
        let field =
            |name: &str| status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or_default().trim().to_owned();
        for set in CAPABILITIES {
            assert_eq!(field(set), "0000000000000000", "{stage} {set}");
        }
        assert_eq!(field("NoNewPrivs:"), "1", "{stage} can gain privileges");
        assert!(field("Uid:").split_whitespace().all(|id| id == uid), "{stage} runs as {}", field("Uid:"));
    }
}

#[test]
fn stages_on_af_xdp_hold_no_capability() {
    let Some(net) = Net::or_skip("xdp-rights", Options::default()) else { return };
    let users = [("0", ""), ("65534", "[supervisor]\nstage_user = { uid = 65534, gid = 65534 }\n")];
    for (uid, more) in users {
        let pipeline = Wanted { more, ..Wanted::default() }.start(&net, &format!("rights-{uid}"));
        assert_powerless(&pipeline, uid);
        let mut client = client(&net, net.v4(Side::Pipeline), 1);
        for id in 0..60 {
            // Their successors have no more, and take the rings over all the same.
            match id {
                20 => pipeline.kill_9("rx-gateway"),
                40 => pipeline.kill_9("tx"),
                _ => {}
            }
            client.send_tensor(id, &tensor_of(id));
            client.receive_until(id as usize + 1);
        }
        (0..60).for_each(|id| assert_right(&client, id));
        assert_powerless(&pipeline, uid);
        pipeline.assert_whole();
        assert_eq!(pipeline.stop().0, 0);
    }
}
