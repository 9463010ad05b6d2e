//! Short questions to a stage's executable: which memory layout it has, and what its engine says of the model.

use crate::error::StartError;
use arena::layout::{LAYOUT_HASH, LAYOUT_VERSION};
use config::{InstanceKind, ModelFacts, Pipeline, StageUser};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{MemfdFlags, SeekFrom};
use rustix::process::{Pid, PidfdFlags};
use serde_json::Value;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A binary prints its layout without loading anything.
const LAYOUT_LIMIT: Duration = Duration::from_secs(5);
/// A large model takes long to load, and may have to be run once to learn its output's shape.
const DESCRIBE_LIMIT: Duration = Duration::from_mins(2);
/// Most bytes read of an answer.
const ANSWER_MAX: usize = 1 << 20;

struct Answer {
    success: bool,
    stdout: String,
    stderr: String,
}

/// The executables of all kinds of stage, each checked to have our memory layout.
pub fn check_layouts(bin_dir: &Path) -> Result<(), StartError> {
    const QUESTION: &str = "--layout";
    for kind in InstanceKind::ALL {
        let path = bin_dir.join(kind.executable());
        let answer = ask(&path, QUESTION, b"", LAYOUT_LIMIT, None)?;
        match parse_layout(&answer.stdout).filter(|_| answer.success) {
            Some(theirs) if theirs == (LAYOUT_VERSION.into(), format!("{LAYOUT_HASH:016x}")) => {}
            Some((version, hash)) => {
                let ours = format!("{LAYOUT_VERSION} ({LAYOUT_HASH:016x})");
                return Err(StartError::Layout { path, theirs: format!("{version} ({hash})"), ours });
            }
            None => return Err(unanswered(&path, QUESTION, &answer)),
        }
    }
    Ok(())
}

/// The version of DPDK that the stage's executable at `path` uses; `None` if it is built without.
pub(crate) fn dpdk_of(path: &Path) -> Result<Option<String>, StartError> {
    const QUESTION: &str = "--drivers";
    let answer = ask(path, QUESTION, b"", LAYOUT_LIMIT, None)?;
    let object: Option<Value> = serde_json::from_str(answer.stdout.trim()).ok().filter(|_| answer.success);
    let Some(object) = object else { return Err(unanswered(path, QUESTION, &answer)) };
    Ok(object.pointer("/dpdk/library").and_then(Value::as_str).map(str::to_owned))
}

/// Why there is no answer: the dynamic loader says so itself, with its own exit code.
fn unanswered(path: &Path, question: &'static str, answer: &Answer) -> StartError {
    let said = answer.stderr.split_once("error while loading shared libraries: ").map(|(_, said)| said);
    match said.filter(|_| !answer.success) {
        Some(said) => {
            StartError::Library { path: path.to_owned(), said: said.lines().next().unwrap_or("").trim().to_owned() }
        }
        None => StartError::Answer { path: path.to_owned(), question, answer: beginning(answer) },
    }
}

fn parse_layout(line: &str) -> Option<(u64, String)> {
    let object: Value = serde_json::from_str(line.trim()).ok()?;
    Some((object.get("layout_version")?.as_u64()?, object.get("layout_hash")?.as_str()?.to_owned()))
}

/// What `flumeway-infer` says of the model that `pipeline` names: shapes and sizes.
///
/// # Errors
/// [`StartError::Model`] with the engine's own message if it refuses the model; others if the executable does not answer.
pub fn describe(pipeline: &Pipeline) -> Result<ModelFacts, StartError> {
    const QUESTION: &str = "--describe";
    let answer = question(pipeline, QUESTION, DESCRIBE_LIMIT)?;
    let object: Value = serde_json::from_str(answer.trim()).map_err(|_| StartError::Answer {
        path: infer(pipeline),
        question: QUESTION,
        answer: answer.trim().chars().take(160).collect(),
    })?;
    Ok(ModelFacts::from_describe(&object)?)
}

/// The executable that knows engines.
pub(crate) fn infer(pipeline: &Pipeline) -> PathBuf {
    pipeline.supervisor.bin_dir.join(InstanceKind::Infer.executable())
}

/// Asks flumeway-infer about `pipeline`; its refusals are about the model.
pub(crate) fn question(pipeline: &Pipeline, question: &'static str, limit: Duration) -> Result<String, StartError> {
    // As the stage will be: a model is somebody's file, and whoever parses it must have no privilege.
    let user = pipeline.supervisor.stage_user;
    let answer = ask(&infer(pipeline), question, pipeline.to_json().as_bytes(), limit, user)?;
    if answer.success {
        return Ok(answer.stdout);
    }
    let said = answer.stderr.trim();
    let said =
        if said.is_empty() { format!("flumeway-infer {question} failed without a message") } else { said.to_owned() };
    Err(StartError::Model { number: 0, said })
}

fn beginning(answer: &Answer) -> String {
    let text = if answer.stdout.trim().is_empty() { &answer.stderr } else { &answer.stdout };
    text.trim().chars().take(160).collect()
}

/// Runs `path question` and waits at most `limit`. All three standard streams are memory files, so nobody can block on
/// a full pipe.
fn ask(
    path: &Path,
    question: &'static str,
    input: &[u8],
    limit: Duration,
    user: Option<StageUser>,
) -> Result<Answer, StartError> {
    let missing = |source| StartError::Binary { path: path.to_owned(), source };
    let [stdin, stdout, stderr] = [memory_file(input)?, memory_file(b"")?, memory_file(b"")?];
    let share = |fd: &OwnedFd| fd.try_clone().map(Stdio::from).map_err(StartError::system("dup"));
    let mut command = Command::new(path);
    command.arg(question).stdin(share(&stdin)?).stdout(share(&stdout)?).stderr(share(&stderr)?);
    crate::spawn::unprivileged(&mut command, user);
    let mut child = command.spawn().map_err(missing)?;
    let ended = within(child.id(), limit);
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    let status = child.wait().map_err(StartError::system("waitid"))?;
    if !ended? {
        return Err(StartError::Silent { path: PathBuf::from(path), question, limit });
    }
    Ok(Answer { success: status.success(), stdout: contents(&stdout)?, stderr: contents(&stderr)? })
}

/// Whether the process ends within `limit`.
fn within(pid: u32, limit: Duration) -> Result<bool, StartError> {
    let pid = Pid::from_raw(pid as i32).ok_or(rustix::io::Errno::SRCH).map_err(StartError::system("pidfd_open"))?;
    let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(StartError::system("pidfd_open"))?;
    let until = arena::now_ns() + limit.as_nanos() as u64;
    loop {
        let left = until.saturating_sub(arena::now_ns());
        let timeout = Timespec { tv_sec: (left / 1_000_000_000) as i64, tv_nsec: (left % 1_000_000_000) as i64 };
        let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(n) if n > 0 => return Ok(true),
            Ok(_) | Err(rustix::io::Errno::INTR) if left == 0 => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(StartError::system("poll")(error)),
        }
    }
}

fn memory_file(bytes: &[u8]) -> Result<OwnedFd, StartError> {
    let fd =
        rustix::fs::memfd_create("flumeway-answer", MemfdFlags::CLOEXEC).map_err(StartError::system("memfd_create"))?;
    let mut left = bytes;
    while !left.is_empty() {
        let n = rustix::io::write(&fd, left).map_err(StartError::system("write"))?;
        left = &left[n..];
    }
    rustix::fs::seek(&fd, SeekFrom::Start(0)).map_err(StartError::system("lseek"))?;
    Ok(fd)
}

fn contents(fd: &OwnedFd) -> Result<String, StartError> {
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 4096];
    while bytes.len() < ANSWER_MAX {
        let n = rustix::io::pread(fd, &mut chunk[..], bytes.len() as u64).map_err(StartError::system("pread"))?;
        if n == 0 {
            break;
        }
        bytes.extend_from_slice(&chunk[..n]);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_errors_and_silence_are_told_apart() {
        let cat = Path::new("/bin/cat");
        let answer = ask(cat, "-", b"{\"layout_version\":1,\"layout_hash\":\"00\"}\n", LAYOUT_LIMIT, None).unwrap();
        assert!(answer.success);
        assert_eq!(parse_layout(&answer.stdout), Some((1, "00".to_owned())));
        let answer = ask(cat, "--no-such-option", b"", LAYOUT_LIMIT, None).unwrap();
        assert!(!answer.success && answer.stderr.contains("no-such-option"));
        let silent = ask(Path::new("/bin/sleep"), "30", b"", Duration::from_millis(30), None).err().unwrap();
        assert!(matches!(silent, StartError::Silent { .. }), "{silent}");
        let missing = ask(Path::new("/nowhere/flumeway-tx"), "--layout", b"", LAYOUT_LIMIT, None).err().unwrap();
        assert_eq!(missing.exit_code(), 3);
        assert!(missing.to_string().starts_with("/nowhere/flumeway-tx cannot be run: No such file"), "{missing}");
    }

    #[test]
    fn a_loader_that_fails_names_the_library() {
        let said = "flumeway-tx: error while loading shared libraries: librte_eal.so.23: cannot open shared object file: \
             No such file or directory\n";
        let answer = Answer { success: false, stdout: String::new(), stderr: said.to_owned() };
        let error = unanswered(Path::new("/opt/flumeway-tx"), "--layout", &answer);
        assert!(
            matches!(&error, StartError::Library { said, .. } if said.starts_with("librte_eal.so.23: cannot open"))
        );
        assert!(error.to_string().contains("apt install dpdk"), "{error}");
        let other = Answer { stderr: "out of order".to_owned(), ..answer };
        assert!(matches!(unanswered(Path::new("/x"), "--layout", &other), StartError::Answer { .. }));
    }

    #[test]
    fn who_knows_no_drivers_gives_no_answer() {
        assert!(matches!(dpdk_of(Path::new("/bin/false")), Err(StartError::Answer { .. })));
        assert_eq!(dpdk_of(Path::new("/bin/true")).map_err(|e| e.exit_code()), Err(3));
    }

    #[test]
    fn a_long_question_does_not_block() {
        let long = vec![b'x'; 300_000];
        let answer = ask(Path::new("/bin/cat"), "-", &long, LAYOUT_LIMIT, None).unwrap();
        assert_eq!(answer.stdout.len(), long.len());
    }

    #[test]
    fn what_is_no_layout_is_none() {
        for line in
            ["", "{}", "flumeway 1", "{\"layout_version\":\"1\",\"layout_hash\":\"00\"}", "{\"layout_version\":1}"]
        {
            assert_eq!(parse_layout(line), None, "{line}");
        }
    }
}
