//! Client of a running pipeline's control socket: newline-delimited JSON over a Unix stream, one request, one answer.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

/// Longest answer that is read; a status of many stages has some kilobytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Version of the protocol's form.
const SCHEMA: u64 = 1;

/// Why a request was not fulfilled.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No socket, or nobody listens on it.
    #[error(
        "no pipeline answers at {path:?} ({error}); start one with `flumeway run`, or name its socket with --socket or --name"
    )]
    NotRunning {
        /// Socket.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The socket belongs to somebody else.
    #[error("{path:?} may not be used ({error}); run this command as the user that runs the pipeline, or as root")]
    NotAllowed {
        /// Socket.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// No answer in time.
    #[error("the pipeline at {path:?} did not answer within {} s; ask again, or see its log", waited.as_secs())]
    NoAnswer {
        /// Socket.
        path: PathBuf,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection broke.
    #[error("the pipeline at {path:?} ended the connection ({reason}); see its log")]
    Broken {
        /// Socket.
        path: PathBuf,
        /// How.
        reason: String,
    },
    /// The answer is none that this release understands.
    #[error("the answer of {path:?} cannot be read: {reason}; use the command line of the pipeline's release")]
    Unreadable {
        /// Socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The supervisor refused.
    #[error("{message}")]
    Refused {
        /// What the supervisor says.
        message: String,
        /// Whether the same request may succeed later.
        retry: bool,
    },
}

/// A connection to a running supervisor.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Control {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, ControlError> {
        match UnixStream::connect(path) {
            Ok(stream) => Ok(Self { path: path.to_owned(), stream: BufReader::new(stream) }),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Err(ControlError::NotAllowed { path: path.to_owned(), error })
            }
            Err(error) => Err(ControlError::NotRunning { path: path.to_owned(), error }),
        }
    }

    /// Sends a command without arguments; see [`Self::request`].
    pub fn command(&mut self, command: &str, timeout: Duration) -> Result<Value, ControlError> {
        self.request(&json!({ "command": command }), timeout)
    }

    /// Sends a request and waits for its answer, an object with `"ok": true`.
    pub fn request(&mut self, request: &Value, timeout: Duration) -> Result<Value, ControlError> {
        let answer = self.exchange(request, timeout)?;
        if answer.get("schema").and_then(Value::as_u64) != Some(SCHEMA) {
            let reason = format!("it is of schema {}, this release knows {SCHEMA}", answer["schema"]);
            return Err(ControlError::Unreadable { path: self.path.clone(), reason });
        }
        if answer.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(answer);
        }
        let message = answer.get("error").and_then(Value::as_str).unwrap_or("the request was refused without a reason");
        let retry = answer.get("retry").and_then(Value::as_bool).unwrap_or(false);
        Err(ControlError::Refused { message: message.to_owned(), retry })
    }

    fn exchange(&mut self, request: &Value, timeout: Duration) -> Result<Value, ControlError> {
        let path = self.path.clone();
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                ControlError::NoAnswer { path: path.clone(), waited: timeout }
            }
            _ => ControlError::Broken { path: path.clone(), reason: error.to_string() },
        };
        // Zero would mean for ever.
        let timeout = Some(timeout.max(Duration::from_millis(1)));
        self.stream.get_ref().set_read_timeout(timeout).map_err(failed)?;
        self.stream.get_ref().set_write_timeout(timeout).map_err(failed)?;
        let line = format!("{request}\n");
        self.stream.get_mut().write_all(line.as_bytes()).map_err(failed)?;
        let mut answer = Vec::new();
        self.stream.by_ref().take(ANSWER_BYTES_MAX).read_until(b'\n', &mut answer).map_err(failed)?;
        if !answer.ends_with(b"\n") {
            let reason = format!("after {} bytes of an answer", answer.len());
            return Err(ControlError::Broken { path: self.path.clone(), reason });
        }
        serde_json::from_slice(&answer)
            .map_err(|error| ControlError::Unreadable { path: self.path.clone(), reason: error.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const PATIENCE: Duration = Duration::from_secs(5);

    /// A supervisor that gives these answers in turn; gives back what it was asked.
    fn answering(answers: &'static [&'static str]) -> (PathBuf, std::thread::JoinHandle<Vec<String>>) {
        let name = format!("flumeway-control-{}-{:?}.sock", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut asked = Vec::new();
            for answer in answers {
                asked.push(lines.next().unwrap().unwrap());
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
            asked
        });
        (path, thread)
    }

    #[test]
    fn requests_are_lines_and_so_are_answers() {
        let (path, thread) =
            answering(&["{\"schema\":1,\"ok\":true,\"name\":\"a\"}\n", "{\"schema\":1,\"ok\":true}\n"]);
        let mut control = Control::connect(&path).unwrap();
        assert_eq!(control.command("status", PATIENCE).unwrap()["name"], "a");
        control.request(&json!({"command": "kill", "stage": "infer", "signal": 9}), PATIENCE).unwrap();
        let asked = thread.join().unwrap();
        assert_eq!(asked[0], "{\"command\":\"status\"}");
        assert_eq!(serde_json::from_str::<Value>(&asked[1]).unwrap()["signal"], 9);
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn refusals_broken_connections_and_other_schemas_are_told_apart() {
        let (path, thread) = answering(&["{\"schema\":1,\"ok\":false,\"error\":\"no stage x\",\"retry\":true}\n"]);
        let error = Control::connect(&path).unwrap().command("restart", PATIENCE).unwrap_err();
        assert!(matches!(error, ControlError::Refused { retry: true, .. }), "{error:?}");
        assert_eq!(error.to_string(), "no stage x");
        thread.join().unwrap();
        std::fs::remove_file(path).unwrap();

        let (path, thread) = answering(&["{\"schema\":2,\"ok\":true}\n", "{\"schema\":1,", ""]);
        let mut control = Control::connect(&path).unwrap();
        assert!(matches!(control.command("status", PATIENCE).unwrap_err(), ControlError::Unreadable { .. }));
        let short = Duration::from_millis(50);
        assert!(matches!(control.command("status", short).unwrap_err(), ControlError::NoAnswer { .. }));
        assert!(matches!(control.command("status", PATIENCE).unwrap_err(), ControlError::Broken { .. }));
        thread.join().unwrap();
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nobody_there_says_what_to_do() {
        let message = Control::connect(Path::new("/nowhere/x.sock")).unwrap_err().to_string();
        assert!(message.contains("/nowhere/x.sock") && message.contains("flumeway run"), "{message}");
    }
}
