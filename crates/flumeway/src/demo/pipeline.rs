//! The demonstration's own pipeline: configuration, folder, and the thread that supervises it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use config::Pipeline;
use supervisor::{Exit, Options, RunError, StartError, StopHandle, Supervisor};

use crate::failure::Failure;
use crate::models::Roadside;

/// A pipeline that runs in a thread of this process; its stages are processes.
#[derive(Debug)]
pub(super) struct RunningPipeline {
    listen: SocketAddr,
    control_socket: PathBuf,
    stop: StopHandle,
    thread: Option<JoinHandle<Option<Result<Exit, RunError>>>>,
    _folder: Folder,
}

/// What the thread tells when it has started.
struct Started {
    listen: SocketAddr,
    control_socket: PathBuf,
    stop: StopHandle,
}

impl RunningPipeline {
    pub(super) fn start(roadside: &Roadside) -> Result<Self, Failure> {
        let folder = Folder::create()?;
        let pipeline = configuration(roadside, &folder.0)?;
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("supervisor".to_owned())
            .spawn(move || supervise(pipeline, &tell))
            .map_err(|error| Failure::environment(format!("no thread for the supervisor: {error}")))?;
        let failed = || Failure::environment("the supervisor ended before it had started");
        match told.recv().map_err(|_| failed())? {
            Ok(Started { listen, control_socket, stop }) => {
                Ok(Self { listen, control_socket, stop, thread: Some(thread), _folder: folder })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where it takes frames.
    pub(super) fn listen(&self) -> SocketAddr {
        self.listen
    }

    pub(super) fn control_socket(&self) -> &Path {
        &self.control_socket
    }

    /// Ends it and waits for its last account.
    pub(super) fn stop(mut self) -> Result<Exit, Failure> {
        self.stop.stop();
        let thread = self.thread.take().ok_or_else(|| Failure::environment("the supervisor has ended already"))?;
        match thread.join() {
            Ok(Some(exit)) => exit.map_err(Failure::environment),
            Ok(None) | Err(_) => Err(Failure::environment("the supervisor's thread ended without an account")),
        }
    }
}

impl Drop for RunningPipeline {
    /// After a failure: no process is left behind.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.stop.stop();
            let _ = thread.join();
        }
    }
}

/// None if it did not start.
fn supervise(pipeline: Pipeline, tell: &mpsc::Sender<Result<Started, StartError>>) -> Option<Result<Exit, RunError>> {
    // Signals go to the main thread, which ends the process; the stages see their supervisor hang up, and end too.
    match Supervisor::start(pipeline, &Options { signals: false }) {
        Err(error) => {
            let _ = tell.send(Err(error));
            None
        }
        Ok(supervisor) => {
            let control_socket = supervisor.control_socket().to_owned();
            let started = Started { listen: supervisor.listen(), control_socket, stop: supervisor.stop_handle() };
            let _ = tell.send(Ok(started));
            Some(supervisor.run())
        }
    }
}

/// Port 0 of loopback, everything else in `folder`, and the preprocessing that the network was trained with.
fn configuration(roadside: &Roadside, folder: &Path) -> Result<Pipeline, Failure> {
    let quoted = |path: &Path| {
        // A JSON string is a TOML string too.
        let text = path
            .to_str()
            .ok_or_else(|| Failure::environment(format!("{} is not UTF-8; rename the folder", path.display())))?;
        serde_json::to_string(text).map_err(Failure::environment)
    };
    let text = format!(
        "[pipeline]\nname = \"demo\"\n\
         [ingress]\nlisten = \"127.0.0.1:0\"\n\
         [preprocess]\nresize = \"bilinear-antialias\"\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n\
         [infer]\nmodel = {}\n\
         [post]\nlabels = {}\ntop_k = 3\n\
         [supervisor]\ncontrol_socket = \"control.sock\"\nquarantine_dir = \"quarantine\"\n",
        quoted(&roadside.network)?,
        quoted(&roadside.labels)?
    );
    Ok(Pipeline::from_toml_str(&text, folder, "the demo's configuration")?)
}

/// A folder that goes with its owner.
#[derive(Debug)]
struct Folder(PathBuf);

impl Folder {
    fn create() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("flumeway-demo-{}", std::process::id()));
        std::fs::create_dir_all(&path)
            .map_err(|error| Failure::environment(format!("{} cannot be made: {error}; set TMPDIR", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models;

    #[test]
    fn the_configuration_is_valid_and_normalises_as_in_training() {
        let folder = models::find().unwrap();
        let roadside = Roadside::load(&folder).unwrap();
        let pipeline = configuration(&roadside, Path::new("/tmp/flumeway-demo-test")).unwrap();
        assert_eq!(pipeline.ingress.listen, "127.0.0.1:0".parse().unwrap());
        assert_eq!((pipeline.preprocess.picture.mean, pipeline.preprocess.picture.std), ([0.5; 3], [0.5; 3]));
        assert!((pipeline.preprocess.picture.scale - 1.0 / 255.0).abs() < 1e-9);
        assert_eq!(pipeline.post.label_names.len(), 5);
        assert!(pipeline.supervisor.control_socket.starts_with("/tmp/flumeway-demo-test"));
    }
}
