//! The program itself: exit codes and messages.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::{Act, StandIn};
use serde_json::Value;
use wire::{DropReason, Status};

fn flumeway(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_flumeway")).args(arguments).env_remove("FLUMEWAY_LOG").output().unwrap()
}

/// Exit code, standard output and standard error.
fn outcome(arguments: &[&str]) -> (i32, String, String) {
    let output = flumeway(arguments);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn scratch(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn usage_errors_are_2() {
    for arguments in [
        &[][..],
        &["fly"],
        &["send", "--no-such-option"],
        &["run"],
        &["run", "a.toml", "--model", "b.onnx"],
        &["ctl"],
        &["ctl", "kill", "infer", "--signal", "99"],
        &["check"],
        &["demo", "--frames", "1"],
        &["send", "--generate", "640"],
        &["send", "--tensor", "4", "--generate", "4x4"],
        &["send"],
        &["ctl", "status", "--log", "a=b=c"],
    ] {
        let (code, stdout, stderr) = outcome(arguments);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(!stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn help_and_version_are_0_and_full() {
    let (code, stdout, _) = outcome(&["--version"]);
    assert_eq!(code, 0);
    let layout = arena::layout::LAYOUT_VERSION;
    assert_eq!(stdout, format!("flumeway {} (memory layout {layout})\n", env!("CARGO_PKG_VERSION")));
    for command in ["run", "check", "send", "ctl", "demo"] {
        let (code, stdout, _) = outcome(&[command, "--help"]);
        assert!(code == 0 && stdout.contains("Examples:"), "{command}: {stdout}");
    }
    let (_, stdout, _) = outcome(&["--help"]);
    assert!(stdout.contains("Exit codes:"), "{stdout}");
}

#[test]
fn a_bad_configuration_is_2_and_names_the_line() {
    let config =
        scratch("capacity.toml", "[pipeline]\nname = \"x\"\n\n[rings]\ncapacity = 1000\n[infer]\nengine = \"null\"\n");
    let (code, _, stderr) = outcome(&["check", path(&config)]);
    assert_eq!(code, 2);
    assert!(stderr.contains("capacity.toml:5:") && stderr.contains("[rings] capacity = 1000"), "{stderr}");
    assert!(stderr.lines().count() <= 2, "{stderr}");
    let (code, _, stderr) = outcome(&["run", path(&config)]);
    assert!(code == 2 && stderr.contains("capacity.toml:5:"), "{stderr}");
    let (code, _, stderr) = outcome(&["ctl", "reload", path(&config)]);
    assert!(code == 2 && stderr.contains("capacity.toml:5:"), "{stderr}");
}

#[test]
fn an_unknown_key_is_2_and_the_nearest_is_named() {
    let config = scratch("unknown.toml", "[infer]\nengine = \"null\"\nthread = 2\n");
    let (code, stdout, stderr) = outcome(&["check", path(&config), "--json"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("unknown.toml:3:") && stderr.contains("threads"), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&answer["schema"], &answer["ok"], &answer["exit_code"]), (&1.into(), &false.into(), &2.into()));
    assert!(answer["error"].as_str().unwrap().contains("unknown.toml:3:"));
}

#[test]
fn missing_files_are_2_and_named() {
    let (code, _, stderr) = outcome(&["check", "/nowhere/pipeline.toml"]);
    assert!(code == 2 && stderr.contains("/nowhere/pipeline.toml"), "{code} {stderr}");
    let (code, _, stderr) = outcome(&["run", "--model", "/nowhere/net.onnx"]);
    assert!(code == 2 && stderr.contains("/nowhere/net.onnx"), "{code} {stderr}");
    let (code, _, stderr) = outcome(&["send", "/nowhere/a.jpg"]);
    assert!(code == 2 && stderr.contains("/nowhere/a.jpg"), "{code} {stderr}");
}

#[test]
fn a_plan_without_stages_says_that_sizes_are_unknown() {
    let config = scratch("plan.toml", "[infer]\nengine = \"null\"\n[supervisor]\nbin_dir = \"/nowhere\"\n");
    let (_, stdout, stderr) = outcome(&["check", path(&config)]);
    assert!(stdout.contains("rx-gateway") && stdout.contains("/nowhere/flumeway-infer"), "{stdout}{stderr}");
    let (_, stdout, _) = outcome(&["check", path(&config), "--json"]);
    let plan: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((stdout.lines().count(), &plan["schema"]), (1, &1.into()));
    assert!(plan["model_unknown"].as_str().unwrap().contains("flumeway-infer"));
}

#[test]
fn what_the_machine_lacks_is_3_with_a_remedy() {
    let (code, _, stderr) = outcome(&["ctl", "--socket", "/nowhere/x.sock", "status"]);
    assert!(code == 3 && stderr.contains("/nowhere/x.sock") && stderr.contains("flumeway run"), "{code} {stderr}");
    let (code, stdout, _) = outcome(&["ctl", "--name", "nobody", "ledger", "--json"]);
    let answer: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, &answer["exit_code"]), (3, &3.into()));
    let config = scratch("run.toml", "[infer]\nengine = \"null\"\n[supervisor]\nbin_dir = \"/nowhere\"\n");
    let (code, _, stderr) = outcome(&["run", path(&config)]);
    assert!(code == 3 && stderr.contains("/nowhere/flumeway-") && stderr.contains("bin_dir"), "{code} {stderr}");
    let output =
        Command::new(env!("CARGO_BIN_EXE_flumeway")).arg("demo").env("FLUMEWAY_MODELS", "/nowhere").output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(3) && stderr.contains("FLUMEWAY_MODELS"), "{stderr}");
    let free = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (code, _, stderr) = outcome(&["send", "--tensor", "4", "--count", "3", "--to", &free, "--timeout-ms", "50"]);
    assert!(code == 3 && stderr.contains("nobody listens"), "{code} {stderr}");
}

#[test]
fn send_reports_and_judges() {
    let stand_in = StandIn::start(None, |id| {
        if id == 3 { Act::Status(Status::Dropped(DropReason::Deadline)) } else { Act::Answer { class: 1 } }
    });
    let to = stand_in.address.to_string();
    let send = |more: &[&str]| {
        outcome(&[&["send", "--tensor", "16", "--count", "8", "--rate", "500", "--to", &to], more].concat())
    };
    let (code, stdout, stderr) = send(&["--json", "--expect-class", "1"]);
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((code, stderr.as_str(), stdout.lines().count()), (1, "", 1));
    assert_eq!((&report["schema"], &report["ok"], &report["correct"]), (&1.into(), &7.into(), &7.into()));
    assert_eq!(report["dropped"]["deadline"], 1);
    let (code, stdout, _) = send(&["--allow-drops", "--print"]);
    assert_eq!(code, 0);
    assert!(
        stdout.contains("thing 0.750") && stdout.contains("dropped: deadline") && stdout.contains("latency"),
        "{stdout}"
    );
    assert_eq!(send(&["--allow-drops", "--expect-class", "0"]).0, 1, "wrong is not dropped");
    assert_eq!(send(&["--allow-drops", "--quiet"]), (0, String::new(), String::new()));
    let (_, stdout, _) = send(&["--json", "--print"]);
    let lines: Vec<Value> = stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 9);
    assert_eq!(lines[0]["result"]["classes"][0]["label"], "thing");
}
