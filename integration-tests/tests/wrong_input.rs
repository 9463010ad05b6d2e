//! Wrong input, as a new user would give it: each is refused with the exit code that says whose fault it is, a message that
//! names cause and remedy, and nothing left behind or disturbed.

#[path = "wrong_input/onnx.rs"]
mod onnx;

use integration_tests::client::Client;
use integration_tests::pipeline::{PATIENCE, Pipeline, folder};
use integration_tests::traffic::{assert_right, config, steady, tensor_of};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Exit codes.
const USAGE: i32 = 2;
const ENVIRONMENT: i32 = 3;

const NULL: &str = "engine = \"null\"";

/// A folder with files for one test.
struct Desk(PathBuf);

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Desk {
    fn new(name: &str) -> Self {
        Self(folder(name))
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, contents).expect("write a file");
        path
    }

    /// A configuration that would run, with this `[infer]` line, and these lines of other tables.
    fn config(&self, infer: &str, more: &str) -> PathBuf {
        let ingress = if more.contains("[ingress]") { "" } else { "[ingress]\nlisten = \"127.0.0.1:0\"\n" };
        let text = format!(
            "[pipeline]\nprofile = \"small\"\n[infer]\n{infer}\n[post]\nkind = \"tensor\"\n{more}\n{ingress}[supervisor]\n\
             control_socket = \"control.sock\"\nquarantine_dir = \"quarantine\"\n"
        );
        self.write("pipeline.toml", text)
    }
}

/// Runs `flumeway`, and kills it if, against expectation, it goes on. It may map 8 GiB, so that a refusal that comes only
/// after gigabytes were taken shows as another failure.
fn flumeway(args: &[&str], config: &Path) -> Output {
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -v 8388608; exec \"$0\" \"$@\""])
        .arg(integration_tests::shipped().join("flumeway"))
        .args(args)
        .arg(config)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start flumeway");
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("wait").is_none() {
        if Instant::now() > until {
            let _ = child.kill();
            panic!("flumeway {args:?} {} did not end", config.display());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    child.wait_with_output().expect("output")
}

/// `flumeway run` refuses `config` with `code`, and its message has all of `words`; gives the message.
fn refused(config: &Path, code: i32, words: &[&str]) -> String {
    let out = flumeway(&["run", "--json"], config);
    assert_refusal(&out, code, words)
}

fn assert_refusal(out: &Output, code: i32, words: &[&str]) -> String {
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert_eq!(out.status.code(), Some(code), "{stdout}\n{stderr}");
    let message =
        stderr.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or_else(|| panic!("no error: {stderr}"));
    println!("{message}");
    for word in words {
        assert!(message.contains(word), "the message lacks {word:?}: {message}");
    }
    assert!(!stderr.contains("panicked") && !stderr.contains("RUST_BACKTRACE"), "{stderr}");
    let answer: Value = serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {stdout}"));
    assert_eq!((&answer["schema"], &answer["ok"], &answer["exit_code"]), (&json!(1), &json!(false), &json!(code)));
    assert_eq!(answer["error"], message);
    message.to_owned()
}

/// Both `run` and `check` refuse it alike.
fn refused_by_both(config: &Path, code: i32, words: &[&str]) {
    let by_run = refused(config, code, words);
    let by_check = assert_refusal(&flumeway(&["check", "--json"], config), code, words);
    assert_eq!(by_run, by_check);
}

#[test]
fn configurations_that_cannot_be_read_or_understood() {
    let desk = Desk::new("wrong-config");
    refused_by_both(&desk.0.join("none.toml"), USAGE, &["none.toml: ", "No such file", "name a readable"]);
    refused_by_both(&desk.0, USAGE, &["Is a directory", "name a readable"]);
    refused_by_both(&desk.write("noise.toml", [0xff, 0xfe, 0]), USAGE, &["noise.toml: ", "UTF-8"]);
    let invalid = desk.write("invalid.toml", "[infer]\nengine = \"null\n");
    refused_by_both(&invalid, USAGE, &["invalid.toml:2:", "no valid TOML", "; write "]);
    let unknown = desk.config(NULL, "[ingress]\nlisen = \"127.0.0.1:0\"");
    refused_by_both(&unknown, USAGE, &["pipeline.toml:8:1: ", "[ingress] lisen is not a known key", "write listen"]);
    let table = desk.config(NULL, "[limit]\nmax_streams = 1");
    refused_by_both(&table, USAGE, &["pipeline.toml:7:2: ", "[limit]", "write [limits]"]);
    let range = desk.config(NULL, "[rings]\ncapacity = 1000");
    refused_by_both(&range, USAGE, &["pipeline.toml:8:12: ", "capacity = 1000 is not a power of two", "write 1024"]);
    let none = Command::new(integration_tests::shipped().join("flumeway")).arg("run").output().expect("start");
    assert_eq!(none.status.code(), Some(USAGE), "without a configuration");
}

#[test]
fn models_that_are_missing_damaged_or_of_no_size() {
    let desk = Desk::new("wrong-model");
    let model = |name: &str| desk.config(&format!("model = {name:?}"), "");
    let at = "pipeline.toml:4:9: [infer] model";
    refused_by_both(&model("none.onnx"), USAGE, &[at, "none.onnx", "No such file", "write the path of the network"]);
    let whole = fs::read(integration_tests::root().join("models/roadside.onnx")).expect("the bundled network");
    for (name, bytes) in
        [("half.onnx", &whole[..whole.len() / 2]), ("empty.onnx", &[]), ("text.onnx", b"this is no network")]
    {
        desk.write(name, bytes);
        refused_by_both(&model(name), USAGE, &[at, name, "damaged or no ONNX model", "copy it again", "rten"]);
    }
    desk.write("any-size.onnx", onnx::of_any_size());
    refused_by_both(&model("any-size.onnx"), USAGE, &[at, "any-size.onnx", "dimension 2 (\"height\")", "fixed size"]);
    let nothing = desk.config("engine = \"rten\"", "");
    refused_by_both(&nothing, USAGE, &["[infer] model is missing", "write model = "]);
}

#[test]
fn memory_that_the_machine_does_not_have() {
    let desk = Desk::new("wrong-memory");
    // 2 TiB.
    let more = "[arena]\nbuffers = 4194304\nslots = 1024\nmax_input_bytes = 1073741824\nmax_output_bytes = 1073741824";
    let config = desk.config(NULL, more);
    refused(&config, ENVIRONMENT, &["the arena needs", "MiB and the machine has", "lower [arena] buffers", "profile"]);
    let check = flumeway(&["check"], &config);
    let plan = String::from_utf8_lossy(&check.stdout);
    assert_eq!(check.status.code(), Some(ENVIRONMENT), "{plan}");
    assert!(plan.contains("problem: the arena takes"), "{plan}");
    let absurd = desk.config(NULL, "[arena]\nbuffers = 99999999");
    refused_by_both(
        &absurd,
        USAGE,
        &["pipeline.toml:8:11: ", "buffers = 99999999 is out of range", "write a value from"],
    );
}

#[test]
fn huge_pages_that_nobody_reserved() {
    let number = |name: &str| fs::read_to_string(format!("/proc/sys/vm/{name}")).ok()?.trim().parse::<u64>().ok();
    let pages: u64 = ["nr_hugepages", "nr_overcommit_hugepages"].iter().filter_map(|name| number(name)).sum();
    // More than there are: 512 buffers are a page.
    let buffers = (pages * 512 + 1).next_power_of_two().max(16_384);
    let desk = Desk::new("wrong-hugepages");
    let config = desk.config(NULL, &format!("[arena]\nbuffers = {buffers}\nhugepages = \"require\""));
    let words = ["huge pages of 2 MiB", "sysctl -w vm.nr_hugepages=", "hugepages = \"auto\""];
    let message = refused(&config, ENVIRONMENT, &words);
    // Whoever does what it says has enough for all regions: small has 16 MiB of packets alone.
    let pages: u64 = message.split_whitespace().find_map(|word| word.parse().ok()).expect("a number of pages");
    assert!(pages >= 10, "{message}");
    assert_eq!(flumeway(&["check"], &config).status.code(), Some(ENVIRONMENT));
}

/// Another process writes it: were it open for writing here while another test forks, it could not be executed.
fn write_script(path: &Path, text: &str) {
    let order = "printf %s \"$1\" > \"$0\" && chmod 755 \"$0\"";
    let status = Command::new("sh").args(["-c", order]).arg(path).arg(text).status();
    assert!(status.expect("sh").success(), "{} cannot be written", path.display());
}

#[test]
fn stages_of_another_layout_or_no_stages() {
    let desk = Desk::new("wrong-stage");
    let bin = desk.0.join("bin");
    fs::create_dir(&bin).expect("a folder");
    for stage in ["rx-gateway", "infer", "tx"] {
        let name = format!("flumeway-{stage}");
        symlink(integration_tests::shipped().join(&name), bin.join(&name)).expect("a link");
    }
    let config = desk.config(NULL, "");
    let text = fs::read_to_string(&config).expect("the configuration");
    let config = desk.write("pipeline.toml", format!("{text}bin_dir = \"bin\"\n"));
    let other = bin.join("flumeway-preprocess");
    let name = other.to_str().expect("UTF-8");
    refused(&config, ENVIRONMENT, &[name, "No such file", "set [supervisor] bin_dir"]);
    let answers: [(&str, &[&str]); 3] = [
        (
            "{\"layout_version\":77,\"layout_hash\":\"0123456789abcdef\"}",
            &["memory layout 77 (0123456789abcdef)", "install all"],
        ),
        ("hello", &["answered \"hello\"", "replace it"]),
        ("", &["answered \"\"", "replace it"]),
    ];
    for (answer, words) in answers {
        write_script(&other, &format!("#!/bin/sh\necho '{answer}'\n"));
        refused(&config, ENVIRONMENT, &[&[name][..], words].concat());
    }
    assert!(!desk.0.join("control.sock").exists(), "nothing was begun");
}

#[test]
fn a_running_pipeline_is_not_disturbed() {
    let desk = Desk::new("wrong-second");
    let pipeline = Pipeline::start("undisturbed", &config("null", ""));
    let mut client = Client::new(pipeline.listen(), 1);
    let generation = pipeline.status()["config_generation"].clone();
    assert!(generation.is_u64(), "{generation}");
    let socket = pipeline.dir().join("control.sock");
    let port = desk.config(NULL, &format!("[ingress]\nlisten = \"{}\"", pipeline.listen()));
    let listen = pipeline.listen().to_string();
    let broken = desk.write("broken.toml", "[ingress]\nlisen = 1\n");
    let broken_text = broken.to_str().expect("UTF-8").to_owned();
    // Frames go on while others are refused.
    steady(&mut client, 0..40, 50, |id| match id {
        5 => _ = refused(&port, ENVIRONMENT, &[&listen, "is in use", "[ingress] listen"]),
        10 => {
            let same = pipeline.dir().join("pipeline.toml");
            let words = ["control.sock belongs to a running pipeline", "flumeway ctl stop", "control_socket"];
            refused(&same, ENVIRONMENT, &words);
        }
        20 => {
            let order = ["ctl", "--json", "--socket", socket.to_str().expect("UTF-8"), "reload"];
            let words = ["broken.toml:2:1: ", "lisen is not a known key", "write listen"];
            assert_refusal(&flumeway(&order, &broken), USAGE, &words);
        }
        25 => {
            let answer = pipeline.ask(&json!({"command": "reload", "config": broken_text}));
            assert_eq!(answer["ok"], false, "{answer}");
            assert!(answer["error"].as_str().is_some_and(|e| e.contains("broken.toml:2:1: ")), "{answer}");
        }
        _ => {}
    });
    client.receive_until(40);
    (0..40).for_each(|id| assert_right(&client, id));
    assert_eq!(pipeline.status()["config_generation"], generation, "nothing of it was taken over");
    for stage in ["rx-gateway", "preprocess.0", "infer.0", "tx"] {
        assert_eq!(pipeline.stage(stage)["restarts"], 0, "{stage}");
    }
    client.send_tensor(40, &tensor_of(40));
    client.receive_until(41);
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 41, "{ledger}");
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}
