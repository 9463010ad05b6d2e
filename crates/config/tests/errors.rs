//! What a user reads after a mistake: exact messages.

mod common;

use common::Folder;
use config::{AclAction, AclRule, MAX_ACL_RULES, Pipeline, PortRange, Protocol, Rate, StreamId};

/// Loads `text` as `pipeline.toml` with a model at hand.
fn load(folder: &Folder, text: &str) -> Result<Pipeline, config::ConfigError> {
    folder.file("m.onnx", "x", 0o644);
    Pipeline::from_toml_str(text, folder.path(), "pipeline.toml")
}

const HEAD: &str = "[infer]\nmodel = \"m.onnx\"\n";

/// What is appended to [`HEAD`], and the message without the file's name.
const CASES: &[(&str, &str)] = &[
    ("[rings]\n  capacity = 1000", "4:14: [rings] capacity = 1000 is not a power of two; write 1024"),
    ("[rings]\ncapacity = 32", "4:12: [rings] capacity = 32 is out of range; write a value from 64 to 65536"),
    ("[rings]\ncapcity = 8192", "4:1: [rings] capcity is not a known key; write capacity"),
    (
        "[rings]\nbuffers = 1",
        "4:1: [rings] buffers is not a known key; \
             remove it; the keys here are capacity, burst, high_watermark_percent, low_watermark_percent",
    ),
    ("[ring]\nburst = 1", "3:2: [ring] is no table of this file; write [rings]"),
    ("[[streams]]\nid = 7", "3:3: [streams] is no table of this file; write [[stream]]"),
    (
        "[network]",
        "3:2: [network] is no table of this file; remove it; the tables are \
             pipeline, infer, arena, rings, ingress, af_xdp, dpdk, replay, limits, rx_gateway, preprocess, post, model, supervisor, stream",
    ),
    ("[rings]\nburst = \"32\"", "4:9: [rings] burst = \"32\" is a string; write a whole number"),
    ("[rings]\nburst = -1", "4:9: [rings] burst = -1 is out of range; write a whole number from 0 to 4294967295"),
    ("[rings]\nburst = 1.5", "4:9: [rings] burst = 1.5 is a float; write a whole number"),
    (
        "[rings]\nhigh_watermark_percent = 20",
        "3:2: [rings] low_watermark_percent = 25 is not below high_watermark_percent = 20; write less than 20",
    ),
    (
        "[pipeline]\nprofile = \"smal\"",
        "4:11: [pipeline] profile = \"smal\" is not known; write \"small\" (\"default\" or \"small\")",
    ),
    (
        "[pipeline]\nname = \"a/b\"",
        "4:8: [pipeline] name = \"a/b\" cannot be a file name; \
             write 1 to 48 letters, digits, '-', '_' or '.', not beginning with '.'",
    ),
    (
        "[pipeline]\nspin_us = \"never\"",
        "4:11: [pipeline] spin_us = \"never\" is a string; write \"auto\" or a whole number",
    ),
    (
        "[pipeline]\ncores = { supervisor = 0, rx_gateway = 1, preprocess = [2], infer = [3, 4], tx = 1 }",
        "4:9: [pipeline] cores names 2 cores for infer, which has instances = 1; write one core per instance of infer",
    ),
    (
        "[pipeline]\ncores = { supervisor = 0, rx_gateway = [1, 2], preprocess = [2], infer = [3], tx = 1 }",
        "4:9: [pipeline] cores names 2 cores for rx_gateway, which has instances = 1; \
             write one core per instance of rx_gateway",
    ),
    (
        "[pipeline]\ncores = { supervisor = 0, rx_gateway = 1, preprocess = [2], infer = [3], tx = 1 }\n\
         [rx_gateway]\ninstances = 2",
        "4:9: [pipeline] cores names 1 core for rx_gateway, which has instances = 2; \
             write one core per instance of rx_gateway",
    ),
    ("[rx_gateway]\ninstances = 17", "4:13: [rx_gateway] instances = 17 is out of range; write a value from 1 to 16"),
    (
        "[limits]\nmax_frame_bytes = 16777216\n[rx_gateway]\ninstances = 4",
        "4:19: [limits] max_frame_bytes = 16777216 takes 5243 buffers, more than [arena] buffers = 16384, 4096 for \
             each of 4 rx-gateways; write less, or [arena] buffers = 32768",
    ),
    (
        "[arena]\nslots = 10000",
        "4:9: [arena] slots = 10000 is more than [rings] capacity = 8192; \
             write at most 8192, or raise [rings] capacity",
    ),
    (
        "[arena]\nslots = 16\n[limits]\nmax_heads = 17",
        "6:13: [limits] max_heads = 17 is more than [arena] slots = 16; \
             write at most 16: every admitted frame needs a slot",
    ),
    (
        "[arena]\nbuffers = 1024",
        "[limits] max_frame_bytes = 8388608 takes 2622 buffers, more than [arena] buffers = 1024; \
             write less, or [arena] buffers = 4096",
    ),
    (
        "[ingress]\ndriver = \"rdma\"",
        "4:10: [ingress] driver = \"rdma\" comes with a later release; write \"auto\", \"udp\", \"af_xdp\", \"dpdk\" or \"replay\"",
    ),
    (
        "[ingress]\nlisten = \"localhost\"",
        "4:10: [ingress] listen = \"localhost\" is not an address with a port; \
             write an address with a port, such as \"0.0.0.0:9000\" or \"[::]:9000\"",
    ),
    (
        "[preprocess]\nmean = [0.5]",
        "4:8: [preprocess] mean = [0.5] has 1 number; \
             write three numbers, one per channel, such as [0.5, 0.5, 0.5]",
    ),
    (
        "[preprocess]\nstd = [1, 0, 1]",
        "4:7: [preprocess] std = [1.0, 0.0, 1.0] divides by zero; \
             write three numbers other than 0; [1, 1, 1] leaves the values as they are",
    ),
    (
        "[post]\nkind = \"detections\"\nboxes_output = 0",
        "5:16: [post] boxes_output = 0 is the output that scores_output names; \
             write the number of the output that holds the boxes",
    ),
    (
        "[supervisor]\nstage_user = { uid = 1 }",
        "4:14: [supervisor] stage_user = { uid = 1 } lacks the key gid; \
             write \"same\" or { uid = 65534, gid = 65534 }",
    ),
    ("[stream]\nid = 7", "3:2: [[stream]] is no list of tables; write [[stream]], with two brackets"),
    (
        "[[stream]]\npolicy = \"pause\"",
        "3:1: [[stream]] has no id; write id = 7 for one stream, or id = \"default\" for all others",
    ),
    ("[[stream]]\nid = 7\n[[stream]]\nid = 7", "6:6: [[stream]] id = 7 is there twice; merge the two entries"),
    (
        "[[stream]]\nid = 7\nsources = [\"::1\", \"10.1.2.3/8\"]",
        "5:11: [[stream]] id = 7: sources = [\"::1\", \"10.1.2.3/8\"] has an entry 2 that has bits set behind its \
             prefix; write \"10.0.0.0/8\"",
    ),
    (
        "[[stream]]\nid = \"default\"\npolicy = \"drop_oldest\"",
        "5:10: [[stream]] id = \"default\": policy = \"drop_oldest\" is not known; \
             write \"drop-oldest\" (\"pause\", \"drop-oldest\" or \"drop-newest\")",
    ),
    (
        "[[stream]]\nid = 7\nreply_to = \"[::1]:9001\"",
        "5:12: [[stream]] id = 7: reply_to = \"[::1]:9001\" is an IPv6 address, and [ingress] listen = \
             \"0.0.0.0:9000\" an IPv4 one; write an IPv4 address, or listen = \"[::]:9000\"",
    ),
    (
        "[[ingress.acl]]\nsource = \"::1\"",
        "3:1: [[ingress.acl]] rule 1: action is missing; write \"allow\" or \"deny\"",
    ),
    (
        "[ingress]\nacl_policy = \"drop\"",
        "4:14: [ingress] acl_policy = \"drop\" is not known; write \"allow\" or \"deny\"",
    ),
    ("[ingress]\nacl = 5", "4:7: [[ingress.acl]] is no list of tables; write [[ingress.acl]], with two brackets"),
    (
        "[ingress.acl]\naction = \"deny\"",
        "3:1: [[ingress.acl]] is no list of tables; write [[ingress.acl]], with two brackets",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\n[[ingress.acl]]\naction = \"deny\"\nsorce = \"::1\"",
        "7:1: [[ingress.acl]] rule 2: sorce is not a known key; write source",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nsource = \"::1\"\ndestination = \"10.0.0.0/8\"",
        "6:15: [[ingress.acl]] rule 1: destination = \"10.0.0.0/8\" is not of the family of source = \"::1/128\"; \
             write both as IPv4 or both as IPv6; a rule for each family, if both are meant",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nports = \"9010-9000\"",
        "5:9: [[ingress.acl]] rule 1: ports = \"9010-9000\" begins above its end; write \"9000-9010\"",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nsource_ports = \"65536\"",
        "5:16: [[ingress.acl]] rule 1: source_ports = \"65536\" is no range of ports; \
             write ports from 0 to 65535 in quotes, like \"9000\" or \"9000-9010\"",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nports = 9000",
        "5:9: [[ingress.acl]] rule 1: ports = 9000 is an integer; \
             write ports from 0 to 65535 in quotes, like \"9000\" or \"9000-9010\"",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nvlan = 4095",
        "5:8: [[ingress.acl]] rule 1: vlan = 4095 is out of range; write a value from 0 to 4094",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nprotocol = \"icmp\"",
        "5:12: [[ingress.acl]] rule 1: protocol = \"icmp\" is not known; \
             write \"udp\", \"tcp\" or a protocol number from 0 to 255",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nprotocol = 256",
        "5:12: [[ingress.acl]] rule 1: protocol = 256 is out of range; \
             write \"udp\", \"tcp\" or a protocol number from 0 to 255",
    ),
    (
        "[[ingress.acl]]\naction = \"deny\"\nrate_pps = 100",
        "5:12: [[ingress.acl]] rule 1: rate_pps = 100 stands in a rule that denies; \
             write action = \"allow\": what is above the rate is dropped; or remove rate_pps",
    ),
    (
        "[[ingress.acl]]\naction = \"allow\"\nrate_pps = 0",
        "5:12: [[ingress.acl]] rule 1: rate_pps = 0 is out of range; write a value from 1 to 10000000",
    ),
    (
        "[[ingress.acl]]\naction = \"allow\"\nburst = 5",
        "5:9: [[ingress.acl]] rule 1: burst stands without rate_pps; add rate_pps, or remove burst",
    ),
    (
        "[[ingress.acl]]\naction = \"allow\"\nname = \"\"",
        "5:8: [[ingress.acl]] rule 1: name is empty or longer than 64 bytes; write a short name, or leave the key out",
    ),
    ("[[stream]]\nid = 7\ndeadline = 5", "5:1: [[stream]] id = 7: deadline is not a known key; write deadline_us"),
];

#[test]
fn messages_name_the_place_the_mistake_and_the_remedy() {
    let folder = Folder::new("messages");
    for (text, expected) in CASES {
        let error = load(&folder, &format!("{HEAD}{text}")).expect_err(text);
        let place = if expected.starts_with('[') { "pipeline.toml: " } else { "pipeline.toml:" };
        assert_eq!(error.to_string(), format!("{place}{expected}"), "{text}");
    }
}

#[test]
fn an_access_list_is_read_whole_and_bounded() {
    let folder = Folder::new("acl");
    let text = "[ingress]\nacl_policy = \"deny\"\n[[ingress.acl]]\nname = \"cameras\"\naction = \"allow\"\n\
                source = \"10.1.0.0/16\"\ndestination = \"192.0.2.1\"\nports = \"9000 - 9010\"\nsource_ports = \"5\"\n\
                vlan = 0\nprotocol = 17\nrate_pps = 5\n[[ingress.acl]]\naction = \"deny\"\n";
    let ingress = load(&folder, &format!("{HEAD}{text}")).unwrap().ingress;
    assert_eq!(ingress.acl_policy, AclAction::Deny);
    let rule = AclRule {
        name: Some("cameras".to_owned()),
        source: "10.1.0.0/16".parse().ok(),
        destination: "192.0.2.1/32".parse().ok(),
        ports: Some(PortRange { first: 9000, last: 9010 }),
        source_ports: Some(PortRange { first: 5, last: 5 }),
        vlan: Some(0),
        protocol: Some(Protocol::UDP),
        rate_pps: Some(5),
        ..AclRule::all(AclAction::Allow)
    };
    assert_eq!(rule.rate(), Some(Rate { per_second: 5, burst: 1 }), "a tenth, at least 1");
    assert_eq!(ingress.acl, [rule, AclRule::all(AclAction::Deny)]);
    let many = |n: usize| format!("{HEAD}{}", "[[ingress.acl]]\naction = \"deny\"\n".repeat(n));
    assert_eq!(load(&folder, &many(MAX_ACL_RULES)).unwrap().ingress.acl.len(), MAX_ACL_RULES);
    assert_eq!(
        load(&folder, &many(MAX_ACL_RULES + 1)).unwrap_err().to_string(),
        "pipeline.toml:3:1: [[ingress.acl]] has 513 rules; write at most 512: join prefixes and port ranges"
    );
}

#[test]
fn a_model_is_required_and_must_be_there() {
    let folder = Folder::new("model");
    let error = load(&folder, "[infer]\nthreads = 2").unwrap_err();
    let expected = "pipeline.toml:1:2: [infer] model is missing, and engine \"auto\" cannot do without; \
                    write model = \"path/to/network.onnx\"";
    assert_eq!(error.to_string(), expected);
    assert!(load(&folder, "[infer]\nengine = \"null\"").is_ok());
    let error = load(&folder, "[infer]\nmodel = \"gone.onnx\"").unwrap_err();
    assert_eq!((error.line, error.column, error.key.as_str()), (2, 9, "infer.model"));
    assert!(error.message.ends_with("cannot be read: No such file or directory (os error 2)"), "{error}");
    let error = load(&folder, "[infer]\nmodel = \".\"").unwrap_err();
    assert!(error.message.ends_with("is a folder"), "{error}");
    assert_eq!(Pipeline::for_model(folder.path().join("gone.onnx")).unwrap_err().line, 0);
}

#[test]
fn syntax_errors_have_a_place_and_no_line_breaks() {
    let folder = Folder::new("syntax");
    for (text, line) in [("[rings\nburst = 1", 1), ("[rings]\nburst = ", 2), ("[a]\nx = 1\nx = 2", 3), ("\u{0}", 1)] {
        let error = load(&folder, text).expect_err(text);
        assert_eq!(error.line, line, "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
    let error = load(&folder, "burst = 1").unwrap_err();
    let expected = "pipeline.toml:1:1: burst stands outside any table; move it below the [table] it belongs to";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_missing_file_is_named() {
    let error = Pipeline::load("/nowhere/pipeline.toml").unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nowhere/pipeline.toml: the configuration cannot be read: No such file or directory (os error 2); \
         name a readable pipeline.toml"
    );
}

#[test]
fn keys_are_read_from_files_that_nobody_else_may_read() {
    let folder = Folder::new("keys");
    let digits = "00112233445566778899aabbccddeeff".repeat(2);
    folder.file("good", &format!("{digits}\n"), 0o600).file("open", &digits, 0o640).file("short", "00ff", 0o600);
    let with = |key: &str| load(&folder, &format!("{HEAD}[[stream]]\nid = 7\nmac_key_file = \"{key}\""));
    let pipeline = with("good").unwrap();
    assert_eq!(pipeline.stream(7).mac_key.as_ref().unwrap().bytes()[..2], [0x00, 0x11]);
    assert!(pipeline.stream(8).mac_key.is_none());
    assert!(!format!("{pipeline:?}").contains("112233"), "a key is not printed");
    let at = folder.path().display();
    let open = with("open").unwrap_err();
    assert_eq!(
        open.to_string(),
        format!(
            "pipeline.toml:5:16: [[stream]] id = 7: mac_key_file = \"{at}/open\" names a file that others may use \
             (mode 0640); run: chmod 600 '{at}/open'"
        )
    );
    assert!(with("short").unwrap_err().message.contains("is not 64 hexadecimal digits"));
    assert!(with("gone").unwrap_err().message.contains("cannot be read"));
}

#[test]
fn labels_are_read() {
    let folder = Folder::new("labels");
    folder.file("l", "empty road\n\n truck \n\n", 0o644).file("none", "\n", 0o644);
    let with = |labels: &str| load(&folder, &format!("{HEAD}[post]\nlabels = \"{labels}\""));
    assert_eq!(with("l").unwrap().post.label_names, ["empty road", "", "truck"], "blank lines keep their number");
    assert!(with("none").unwrap_err().message.ends_with("is empty"));
    assert!(with("gone").unwrap_err().message.contains("cannot be read"));
}

#[test]
fn streams_inherit_from_the_default_entry_wherever_it_stands() {
    let folder = Folder::new("inherit");
    let text = "[[stream]]\nid = 9\ndeadline_us = 5000\n[[stream]]\nid = 3\nsources = []\n\
                [[stream]]\nid = \"default\"\nsources = [\"10.0.0.0/8\"]\nbacklog = 7";
    let pipeline = load(&folder, &format!("{HEAD}{text}")).unwrap();
    assert_eq!(pipeline.streams.iter().map(|s| s.id).collect::<Vec<_>>(), [StreamId::Id(3), StreamId::Id(9)]);
    let (inside, outside) = ("10.9.9.9".parse().unwrap(), "11.0.0.1".parse().unwrap());
    assert!(pipeline.stream(9).admits(inside) && !pipeline.stream(9).admits(outside));
    assert!(pipeline.stream(3).admits(outside), "an empty list lifts the default's");
    assert!(!pipeline.stream(4).admits(outside));
    assert_eq!((pipeline.stream(9).backlog, pipeline.stream(9).deadline_us), (7, 5000));
    assert_eq!(pipeline.stream(4).deadline_us, 0);
}

#[test]
fn the_json_handed_to_stages_is_checked_like_the_file() {
    let folder = Folder::new("json");
    folder.file("k", &"0f".repeat(32), 0o600);
    let text = "[pipeline]\ncores = { supervisor = 0, rx_gateway = 1, preprocess = [2], infer = [3], tx = 1 }\n\
                [[stream]]\nid = 7\nsources = [\"fd00::/8\"]\nreply_to = \"192.0.2.1:9001\"\nmac_key_file = \"k\"\n\
                [supervisor]\nstage_user = { uid = 5, gid = 6 }";
    let pipeline = load(&folder, &format!("{HEAD}{text}")).unwrap();
    let json = pipeline.to_json();
    assert_eq!(Pipeline::from_json(json.as_bytes()).unwrap(), pipeline);
    let bad = json.replace("\"capacity\":8192", "\"capacity\":8191");
    assert_ne!(bad, json);
    assert_eq!(Pipeline::from_json(bad.as_bytes()).unwrap_err().key, "rings.capacity");
    let mut unsorted = pipeline.clone();
    unsorted.streams.push(pipeline.streams[0].clone());
    assert_eq!(Pipeline::from_json(unsorted.to_json().as_bytes()).unwrap_err().key, "stream");
    let unknown = json.replacen("\"buffers\"", "\"bufers\"", 1);
    assert!(Pipeline::from_json(unknown.as_bytes()).is_err());
    assert!(Pipeline::from_json(&json.as_bytes()[..json.len() / 2]).is_err());
}

#[test]
fn paths_that_are_not_utf8_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let mut pipeline = Pipeline::default_with(config::Engine::Null);
    pipeline.supervisor.quarantine_dir = std::ffi::OsStr::from_bytes(b"/tmp/\xff").into();
    let error = pipeline.validate().unwrap_err();
    assert_eq!(error.key, "supervisor.quarantine_dir");
    assert!(Pipeline::from_json(pipeline.to_json().as_bytes()).is_err());
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn never_panics(text in "(\\[\\[?(rings|stream|pipeline|infer|post)\\]?\\]\n|(id|capacity|cores|mean|sources|slots) = (-?[0-9]{1,20}|\"[a-z0-9:/.]{0,8}\"|\\[[0-9, ]{0,6}\\]|\\{ ?tx = 1 ?\\}|true|nan)\n|[a-z=\\[\\]\"#{}\n]{0,4}){0,8}") {
            let _ = Pipeline::from_toml_str(&text, std::path::Path::new("/nowhere"), "p.toml").map_err(|e| e.to_string());
        }
    }
}
