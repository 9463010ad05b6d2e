//! A folder with four executables that are this one, and a supervisor running in a thread.

use config::{Auto, Engine, Hugepages, Pipeline};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use supervisor::{Exit, Options, StartError, StopHandle, Supervisor};

const STAGES: [&str; 4] = ["rx-gateway", "preprocess", "infer", "tx"];

/// A folder of its own for one test, removed at its end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("flumeway-life-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let me = std::env::current_exe().unwrap();
        for stage in STAGES {
            std::os::unix::fs::symlink(&me, path.join(format!("flumeway-{stage}"))).unwrap();
        }
        Self(path)
    }

    pub fn mode(&self, stage: &str, mode: &str) {
        std::fs::write(self.0.join(format!("{stage}.mode")), mode).unwrap();
    }

    /// `frames`: how many frames the fake rx-gateway makes up.
    pub fn pipeline(&self, frames: u32) -> Pipeline {
        let mut pipeline = Pipeline::default_with(Engine::Null);
        pipeline.ingress.listen = "127.0.0.1:0".parse().unwrap();
        pipeline.arena.buffers = 4096;
        pipeline.arena.slots = Auto::Fixed(64);
        pipeline.arena.hugepages = Hugepages::Off;
        pipeline.rings.capacity = 1024;
        pipeline.infer.delay_us = frames;
        pipeline.supervisor.bin_dir.clone_from(&self.0);
        pipeline.supervisor.control_socket = self.0.join("run/control.sock");
        pipeline.supervisor.quarantine_dir = self.0.join("quarantine");
        pipeline.supervisor.heartbeat_timeout_ms = 700;
        pipeline
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A running pipeline.
pub struct World {
    pub socket: PathBuf,
    pub stop: StopHandle,
    thread: JoinHandle<Exit>,
}

impl World {
    /// Starts it and waits until every stage is active.
    pub fn start(pipeline: Pipeline) -> Result<World, StartError> {
        let supervisor = Supervisor::start(pipeline, &Options::default())?;
        let socket = supervisor.control_socket().to_owned();
        let stop = supervisor.stop_handle();
        assert_ne!(supervisor.listen().port(), 0);
        assert_eq!(supervisor.stage_pids().len(), 4);
        let thread = std::thread::spawn(move || supervisor.run().unwrap());
        let world = World { socket, stop, thread };
        world.wait("all active", |w| w.stages().iter().all(|s| s["state"] == json!("active")));
        Ok(world)
    }

    /// Asks on the control socket.
    pub fn ask(&self, request: &Value) -> Value {
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        writeln!(stream, "{request}").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["schema"], json!(1));
        answer
    }

    pub fn command(&self, command: &str) -> Value {
        self.ask(&json!({ "command": command }))
    }

    pub fn stages(&self) -> Vec<Value> {
        self.command("status")["stages"].as_array().unwrap().clone()
    }

    pub fn stage(&self, name: &str) -> Value {
        self.stages().into_iter().find(|s| s["name"] == json!(name)).unwrap()
    }

    /// Waits until `is` holds; at most 20 s.
    pub fn wait(&self, what: &str, is: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is(self) {
            assert!(Instant::now() < until, "{what} within 20 s: {}", self.command("status"));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until a stage is active in at least this incarnation.
    pub fn wait_active(&self, stage: &str, incarnation: u64) {
        self.wait(&format!("{stage} {incarnation} active"), |w| {
            let s = w.stage(stage);
            s["state"] == json!("active") && s["incarnation"].as_u64().unwrap() >= incarnation
        });
    }

    /// Waits until this many frames are finished.
    pub fn wait_finished(&self, frames: u64) {
        self.wait(&format!("{frames} frames finished"), |w| {
            let ledger = w.command("ledger");
            ledger["answered"].as_u64().unwrap() + ledger["quarantined"].as_u64().unwrap() >= frames
        });
    }

    pub fn finish(self) -> Exit {
        self.stop.stop();
        self.thread.join().unwrap()
    }

    pub fn join(self) -> Exit {
        self.thread.join().unwrap()
    }
}
