//! The life of a pipeline, with stages that only pretend: this executable is all of them.
//!
//! The real ones are put through the same and worse in `integration-tests`.

mod fake;
mod world;

use serde_json::json;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use supervisor::{Options, StartError, Supervisor};
use world::{Folder, World};

fn starts_and_stops_clean() {
    let folder = Folder::new("clean");
    let world = World::start(folder.pipeline(50)).unwrap();
    world.wait_finished(50);
    assert_eq!(world.command("status")["state"], json!("running"));
    assert_eq!(world.command("audit")["sound"], json!(true));
    let refused = world.ask(&json!({ "command": "restart", "stage": "infra" }));
    assert!(refused["error"].as_str().unwrap().contains("preprocess.0"), "{refused}");
    let socket = world.socket.clone();
    let exit = world.finish();
    assert!(exit.clean, "{:?}", exit.problems);
    assert_eq!((&exit.ledger["answered"], &exit.ledger["balanced"]), (&json!(50), &json!(true)));
    assert!(!socket.exists());
}

fn stop_on_the_control_socket_answers_with_the_ledger() {
    let folder = Folder::new("ctl-stop");
    let world = World::start(folder.pipeline(0)).unwrap();
    let answer = world.command("stop");
    assert_eq!((&answer["ok"], &answer["clean"]), (&json!(true), &json!(true)), "{answer}");
    assert_eq!(answer["ledger"]["balanced"], json!(true));
    assert!(world.join().clean);
}

fn a_kill_from_outside_loses_nothing() {
    let folder = Folder::new("kill");
    let world = World::start(folder.pipeline(2_000)).unwrap();
    for round in 1..=6 {
        let stage = ["infer.0", "preprocess.0", "tx"][round % 3];
        let before = world.stage(stage)["incarnation"].as_u64().unwrap();
        let answer = world.ask(&json!({ "command": "kill", "stage": stage, "signal": 9 }));
        assert_eq!(answer["ok"], json!(true), "{answer}");
        world.wait_active(stage, before + 1);
        std::thread::sleep(Duration::from_millis(30));
    }
    world.wait_finished(2_000);
    let recoveries = world.command("recoveries");
    assert_eq!(recoveries["total"], json!(6));
    for record in recoveries["recoveries"].as_array().unwrap() {
        assert_eq!((&record["cause"], &record["own_doing"]), (&json!("SIGKILL from outside"), &json!(false)));
        assert!(record["recovery_ms"].as_f64().unwrap() < 5_000.0, "{record}");
    }
    let exit = world.finish();
    assert!(exit.clean, "{:?}", exit.problems);
    assert_eq!(exit.ledger["answered"], json!(2_000));
    assert_eq!(exit.ledger["audit"]["free"], json!(4_096));
}

fn a_frame_that_kills_twice_is_quarantined() {
    let folder = Folder::new("abort");
    folder.mode("infer", "abort");
    let world = World::start(folder.pipeline(200)).unwrap();
    world.wait_finished(200);
    let ledger = world.command("ledger");
    assert_eq!((&ledger["answered"], &ledger["quarantined"]), (&json!(199), &json!(1)), "{ledger}");
    let records = world.command("recoveries");
    let sentences: Vec<_> =
        records["recoveries"].as_array().unwrap().iter().map(|r| r["frame"]["sentence"].clone()).collect();
    assert_eq!(sentences, [json!("replay"), json!("quarantine")]);
    assert_eq!(world.stage("infer.0")["last_death"], json!("crashed with SIGABRT"));
    let written = || std::fs::read_dir(folder.0.join("quarantine")).map_or(0, Iterator::count);
    world.wait("two files", |_| written() == 2);
    assert!(world.finish().clean);
}

fn a_stage_that_cannot_load_is_parked_with_its_reason() {
    let folder = Folder::new("park");
    let world = World::start(folder.pipeline(0)).unwrap();
    folder.mode("infer", "refuse");
    world.ask(&json!({ "command": "kill", "stage": "infer" }));
    world.wait("parked", |w| w.stage("infer.0")["state"] == json!("parked"));
    let stage = world.stage("infer.0");
    assert!(stage["parked_reason"].as_str().unwrap().contains("the model is no network"), "{stage}");
    assert_eq!(world.stage("tx")["state"], json!("active"), "the rest goes on");
    folder.mode("infer", "");
    let answer = world.ask(&json!({ "command": "restart", "stage": "infer.0" }));
    assert_eq!(answer["ok"], json!(true), "{answer}");
    assert_eq!(world.stage("infer.0")["state"], json!("active"));
    assert!(world.finish().clean);
}

fn a_hung_stage_is_killed_and_comes_back() {
    let folder = Folder::new("hang");
    let world = World::start(folder.pipeline(0)).unwrap();
    world.ask(&json!({ "command": "kill", "stage": "preprocess.0", "signal": 19 }));
    world.wait_active("preprocess.0", 2);
    let record = &world.command("recoveries")["recoveries"][0];
    assert_eq!((&record["cause"], &record["own_doing"]), (&json!("hung, killed by the supervisor"), &json!(true)));
    assert!(world.finish().clean);
}

fn a_restart_under_load_loses_nothing() {
    let folder = Folder::new("restart");
    let world = World::start(folder.pipeline(1_000)).unwrap();
    for stage in ["infer", "tx", "preprocess.0", "rx-gateway"] {
        let answer = world.ask(&json!({ "command": "restart", "stage": stage }));
        assert_eq!((&answer["ok"], &answer["restarted"][0]["incarnation"]), (&json!(true), &json!(2)), "{answer}");
    }
    world.wait_finished(1_000);
    assert_eq!(world.command("recoveries")["total"], json!(0), "nobody died");
    let exit = world.finish();
    assert!(exit.clean, "{:?}", exit.problems);
    assert_eq!(exit.ledger["answered"], json!(1_000));
}

fn a_broken_successor_leaves_the_old_process_at_work() {
    let folder = Folder::new("broken");
    let world = World::start(folder.pipeline(0)).unwrap();
    let before = world.stage("infer.0");
    folder.mode("infer", "refuse");
    let answer = world.ask(&json!({ "command": "restart", "stage": "infer.0" }));
    assert!(answer["error"].as_str().unwrap().contains("the model is no network"), "{answer}");
    let after = world.stage("infer.0");
    assert_eq!((&before["pid"], &before["incarnation"]), (&after["pid"], &after["incarnation"]));
    assert!(world.finish().clean);
}

fn a_stage_that_does_not_drain_is_killed() {
    let folder = Folder::new("stubborn");
    folder.mode("tx", "stubborn");
    let mut pipeline = folder.pipeline(20);
    pipeline.supervisor.drain_ms = 200;
    let world = World::start(pipeline).unwrap();
    world.wait_finished(20);
    folder.mode("tx", "");
    let answer = world.ask(&json!({ "command": "restart", "stage": "tx" }));
    assert_eq!(answer["restarted"][0]["incarnation"], json!(2), "{answer}");
    let record = &world.command("recoveries")["recoveries"][0];
    assert_eq!(record["cause"], json!("did not drain in time, killed by the supervisor"));
    assert_eq!(record["own_doing"], json!(false));
    assert!(world.finish().clean);
}

fn drain_and_resume() {
    let folder = Folder::new("drain");
    let world = World::start(folder.pipeline(100_000)).unwrap();
    let answer = world.command("drain");
    assert_eq!(answer["state"], json!("drained"), "{answer}");
    let ledger = world.command("ledger");
    assert_eq!((&ledger["in_flight"], &ledger["balanced"]), (&json!(0), &json!(true)));
    std::thread::sleep(Duration::from_millis(30));
    assert_eq!(world.command("ledger")["received"], ledger["received"], "nothing is taken");
    assert_eq!(world.command("resume")["state"], json!("running"));
    world.wait("more frames", |w| w.command("ledger")["received"] != ledger["received"]);
    assert!(world.finish().clean);
}

fn reload_applies_live_keys_and_names_the_others() {
    let folder = Folder::new("reload");
    let world = World::start(folder.pipeline(0)).unwrap();
    let file = folder.0.join("new.toml");
    std::fs::write(&file, "[limits]\nassembly_timeout_ms = 123\n[infer]\nengine = \"null\"\ninstances = 2\n").unwrap();
    let answer = world.ask(&json!({ "command": "reload", "config": file }));
    assert_eq!(answer["ok"], json!(true), "{answer}");
    let has =
        |key: &str, text: &str| answer[key].as_array().unwrap().iter().any(|l| l.as_str().unwrap().contains(text));
    assert!(has("applied", "limits.assembly_timeout_ms") && has("needs_restart", "infer.instances"), "{answer}");
    assert_eq!(world.command("status")["config_generation"], json!(1));
    std::fs::write(&file, "[limits]\nassembly_timeout = 1\n").unwrap();
    std::thread::sleep(Duration::from_millis(510));
    let answer = world.ask(&json!({ "command": "reload", "config": file }));
    assert!(answer["error"].as_str().unwrap().contains("new.toml:2:"), "{answer}");
    assert!(world.finish().clean);
}

fn wrong_environments_are_told_apart() {
    let folder = Folder::new("wrong");
    let start = || Supervisor::start(folder.pipeline(0), &Options::default()).err().unwrap();
    folder.mode("tx", "old-layout");
    let error = start();
    assert!(matches!(error, StartError::Layout { .. }) && error.exit_code() == 3);
    assert!(error.to_string().contains("flumeway-tx has memory layout 0 (00ff)"), "{error}");
    folder.mode("tx", "");
    folder.mode("infer", "no-model");
    let error = start();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (2, "broken.onnx: not an ONNX file"));
    folder.mode("infer", "");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut pipeline = folder.pipeline(0);
    pipeline.ingress.listen = taken.local_addr().unwrap();
    let error = Supervisor::start(pipeline, &Options::default()).err().unwrap();
    assert!(matches!(error, StartError::Port(_)) && error.exit_code() == 3, "{error}");
    assert!(!folder.0.join("run/control.sock").exists(), "nothing is left behind");
    std::fs::remove_file(folder.0.join("flumeway-preprocess")).unwrap();
    assert!(matches!(start(), StartError::Binary { .. }));
}

fn a_live_control_socket_is_respected_and_a_dead_one_replaced() {
    let folder = Folder::new("socket");
    let socket = folder.0.join("run/control.sock");
    std::fs::create_dir_all(socket.parent().unwrap()).unwrap();
    drop(UnixListener::bind(&socket).unwrap());
    let world = World::start(folder.pipeline(0)).unwrap();
    let second = Supervisor::start(folder.pipeline(0), &Options::default()).err().unwrap();
    assert!(matches!(second, StartError::ControlSocketInUse(_)) && second.exit_code() == 3);
    assert!(world.finish().clean, "the first goes on undisturbed");
    std::fs::write(&socket, "not a socket").unwrap();
    let third = Supervisor::start(folder.pipeline(0), &Options::default()).err().unwrap();
    assert!(matches!(third, StartError::NotASocket(_)), "{third}");
}

fn a_supervisor_that_is_dropped_leaves_no_process() {
    let folder = Folder::new("drop");
    let supervisor = Supervisor::start(folder.pipeline(0), &Options::default()).unwrap();
    let pids = supervisor.stage_pids();
    drop(supervisor);
    for (stage, pid) in pids {
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists(), "{stage}");
    }
}

fn an_idle_supervisor_sleeps() {
    let folder = Folder::new("idle");
    let world = World::start(folder.pipeline(0)).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let switches = || -> u64 {
        // The supervisor is the only other thread of this process.
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let other = tasks.map(|t| t.unwrap().path()).find(|p| !p.ends_with(std::process::id().to_string())).unwrap();
        let status = std::fs::read_to_string(other.join("status")).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap();
        line.trim().parse().unwrap()
    };
    let before = switches();
    std::thread::sleep(Duration::from_secs(2));
    let woken = switches() - before;
    assert!(woken <= 12, "woke {woken} times in 2 s");
    assert!(world.finish().clean);
}

/// Runs a pipeline as `flumeway run` does; the folder is the argument.
fn supervise(folder: PathBuf) -> i32 {
    let folder = Folder(folder);
    let supervisor = Supervisor::start(folder.pipeline(0), &Options { signals: true }).unwrap();
    std::fs::write(folder.0.join("pids"), json!(supervisor.stage_pids()).to_string()).unwrap();
    i32::from(!supervisor.run().unwrap().clean)
}

fn sigterm_stops_in_order_and_stages_do_not_inherit_the_mask() {
    let folder = Folder::new("sigterm");
    let me = std::env::current_exe().unwrap();
    let mut child = std::process::Command::new(me).arg("--supervise").arg(&folder.0).spawn().unwrap();
    let pids = loop {
        match std::fs::read_to_string(folder.0.join("pids")) {
            Ok(text) if !text.is_empty() => break serde_json::from_str::<serde_json::Value>(&text).unwrap(),
            _ => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    for stage in pids.as_array().unwrap() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", stage[1])).unwrap();
        let blocked = status.lines().find_map(|l| l.strip_prefix("SigBlk:")).unwrap();
        assert_eq!(blocked.trim(), "0000000000000000", "{stage}");
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for stage in pids.as_array().unwrap() {
        assert!(!PathBuf::from(format!("/proc/{}", stage[1])).exists(), "{stage}");
    }
}

fn main() {
    let mut arguments = std::env::args();
    let path = PathBuf::from(arguments.next().unwrap_or_default());
    let first = arguments.next();
    if path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("flumeway-")) {
        std::process::exit(fake::main(&path, first.as_deref()));
    }
    if first.as_deref() == Some("--supervise") {
        std::process::exit(supervise(PathBuf::from(arguments.next().unwrap_or_default())));
    }
    let filter = first.filter(|f| !f.starts_with('-')).unwrap_or_default();
    let tests: &[(&str, fn())] = &[
        ("starts_and_stops_clean", starts_and_stops_clean),
        ("stop_on_the_control_socket_answers_with_the_ledger", stop_on_the_control_socket_answers_with_the_ledger),
        ("a_kill_from_outside_loses_nothing", a_kill_from_outside_loses_nothing),
        ("a_frame_that_kills_twice_is_quarantined", a_frame_that_kills_twice_is_quarantined),
        ("a_stage_that_cannot_load_is_parked_with_its_reason", a_stage_that_cannot_load_is_parked_with_its_reason),
        ("a_hung_stage_is_killed_and_comes_back", a_hung_stage_is_killed_and_comes_back),
        ("a_restart_under_load_loses_nothing", a_restart_under_load_loses_nothing),
        ("a_broken_successor_leaves_the_old_process_at_work", a_broken_successor_leaves_the_old_process_at_work),
        ("a_stage_that_does_not_drain_is_killed", a_stage_that_does_not_drain_is_killed),
        ("drain_and_resume", drain_and_resume),
        ("reload_applies_live_keys_and_names_the_others", reload_applies_live_keys_and_names_the_others),
        ("wrong_environments_are_told_apart", wrong_environments_are_told_apart),
        (
            "a_live_control_socket_is_respected_and_a_dead_one_replaced",
            a_live_control_socket_is_respected_and_a_dead_one_replaced,
        ),
        ("a_supervisor_that_is_dropped_leaves_no_process", a_supervisor_that_is_dropped_leaves_no_process),
        ("an_idle_supervisor_sleeps", an_idle_supervisor_sleeps),
        (
            "sigterm_stops_in_order_and_stages_do_not_inherit_the_mask",
            sigterm_stops_in_order_and_stages_do_not_inherit_the_mask,
        ),
    ];
    let picked: Vec<_> = tests.iter().filter(|(name, _)| name.contains(&filter)).collect();
    println!("\nrunning {} tests", picked.len());
    // A failed assertion ends the process: the profile aborts on panic. What is printed before says which test it was.
    for (name, test) in &picked {
        print!("test {name} ... ");
        let _ = std::io::Write::flush(&mut std::io::stdout());
        let began = Instant::now();
        test();
        println!("ok ({} ms)", began.elapsed().as_millis());
    }
    println!("\ntest result: ok. {} passed; 0 failed; {} filtered out\n", picked.len(), tests.len() - picked.len());
}
