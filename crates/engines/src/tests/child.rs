//! Processes that are killed while an engine computes in them.

use crate::{Engine, Ticket};
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Set in the child, to the folder that the parent made: who is killed removes nothing.
const CHILD: &str = "FLUMEWAY_TEST_COMPUTING_CHILD";

/// How often.
const KILLS: usize = 2;

/// The parent's folder, in a child.
pub(super) fn folder_of_parent() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Runs `test`, which calls this, in processes that load an engine and compute without end, and kills each in the middle of it.
pub(super) fn killed_while_computing(test: &str, folder: &Path, load: impl Fn() -> Box<dyn Engine>) {
    if folder_of_parent().is_some() {
        compute(&mut *load());
    }
    for _ in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(CHILD, folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let computed = lines.map_while(Result::ok).any(|line| line.contains("computed 1"));
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert!(computed && status.signal() == Some(9), "{status:?}");
    }
}

fn compute(engine: &mut dyn Engine) -> ! {
    let (input, output) = (engine.specs().input_bytes() / 4, engine.specs().output_bytes() / 4);
    let (input, mut output) = (vec![0.5_f32; input], vec![0.0_f32; output]);
    for frame in 0.. {
        let areas = (zerocopy::IntoBytes::as_bytes(&*input), zerocopy::IntoBytes::as_mut_bytes(&mut *output));
        engine.submit(Ticket(frame), areas.0, areas.1).unwrap();
        while engine.in_flight() > 0 {
            if let Some(finished) = engine.poll() {
                finished.result.unwrap();
            }
        }
        println!("computed {frame}");
    }
    unreachable!("frames do not end");
}
