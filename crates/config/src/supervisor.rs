//! `[supervisor]`: where its things lie, and how it watches and restarts stages.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use toml::de::DeValue;

use crate::error::{ConfigError, Origin};
use crate::general::{entry, inline_table};
use crate::reader::Section;
use crate::value::{Mistake, Value};

/// Longest path that `sockaddr_un` holds, without its closing zero.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// The user that stages run as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StageUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

const STAGE_USER: &str = "\"same\" or { uid = 65534, gid = 65534 }";

impl Value for Option<StageUser> {
    fn wanted() -> String {
        STAGE_USER.to_owned()
    }

    fn read(value: &DeValue<'_>) -> Result<Self, Mistake> {
        match value.as_str() {
            Some("same") => return Ok(None),
            Some(_) => return Err(Mistake::new("is not known", format!("write {STAGE_USER}"))),
            None => inline_table(value, &["uid", "gid"], STAGE_USER)?,
        }
        Ok(Some(StageUser { uid: entry(value, "uid")?, gid: entry(value, "gid")? }))
    }
}

/// `[supervisor]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Supervisor {
    /// Folder with the stages' executables.
    pub bin_dir: PathBuf,
    /// Unix socket for `flumeway ctl`.
    pub control_socket: PathBuf,
    /// Folder that frames are written to which killed a stage repeatedly.
    pub quarantine_dir: PathBuf,
    /// A stage silent for longer is taken for hung, and killed.
    pub heartbeat_timeout_ms: u32,
    /// How long a stage may take to finish what it holds before it is killed.
    pub drain_ms: u32,
    /// Incarnations that one frame may kill before it is quarantined.
    pub max_attempts: u32,
    /// Times that one frame may be interrupted by deaths that are not its doing.
    pub max_interruptions: u32,
    /// Wait before the first restart; it doubles from then on, from 1 ms if 0.
    pub restart_delay_ms: u32,
    /// Longest wait before a restart.
    pub restart_delay_max_ms: u32,
    /// Deaths of its own doing, within `restart_window_s`, after which a stage is parked instead of restarted.
    pub restart_limit: u32,
    /// See `restart_limit`.
    pub restart_window_s: u32,
    /// User that stages run as; `None` is the supervisor's own.
    pub stage_user: Option<StageUser>,
}

impl Supervisor {
    /// Defaults of the pipeline called `name`; relative paths lie in `base_dir`.
    pub(crate) fn defaults(name: &str, base_dir: &Path) -> Self {
        Self {
            bin_dir: default_bin_dir(),
            control_socket: default_control_socket(name),
            quarantine_dir: crate::files::absolute(base_dir, Path::new("quarantine")),
            heartbeat_timeout_ms: 2000,
            drain_ms: 2000,
            max_attempts: 2,
            max_interruptions: 100,
            restart_delay_ms: 0,
            restart_delay_max_ms: 5000,
            restart_limit: 10,
            restart_window_s: 30,
            stage_user: None,
        }
    }

    pub(crate) fn read(section: &mut Section<'_, '_>, name: &str, base_dir: &Path) -> Result<Self, ConfigError> {
        let mut supervisor = Self::defaults(name, base_dir);
        let (mut bin_dir, mut control_socket) = (None, None);
        section.set("bin_dir", &mut bin_dir)?;
        section.set("control_socket", &mut control_socket)?;
        section.set("quarantine_dir", &mut supervisor.quarantine_dir)?;
        section.set("heartbeat_timeout_ms", &mut supervisor.heartbeat_timeout_ms)?;
        section.set("drain_ms", &mut supervisor.drain_ms)?;
        section.set("max_attempts", &mut supervisor.max_attempts)?;
        section.set("max_interruptions", &mut supervisor.max_interruptions)?;
        section.set("restart_delay_ms", &mut supervisor.restart_delay_ms)?;
        section.set("restart_delay_max_ms", &mut supervisor.restart_delay_max_ms)?;
        section.set("restart_limit", &mut supervisor.restart_limit)?;
        section.set("restart_window_s", &mut supervisor.restart_window_s)?;
        section.set("stage_user", &mut supervisor.stage_user)?;
        supervisor.bin_dir = bin_dir.unwrap_or(supervisor.bin_dir);
        supervisor.control_socket = control_socket.unwrap_or(supervisor.control_socket);
        for path in [&mut supervisor.bin_dir, &mut supervisor.control_socket, &mut supervisor.quarantine_dir] {
            *path = crate::files::absolute(base_dir, path);
        }
        Ok(supervisor)
    }

    pub(crate) fn check(&self, at: &Origin) -> Result<(), ConfigError> {
        // A loaded machine may keep a healthy stage off its core for tens of milliseconds.
        at.in_range("supervisor.heartbeat_timeout_ms", self.heartbeat_timeout_ms, 200..=600_000)?;
        at.in_range("supervisor.drain_ms", self.drain_ms, 1..=600_000)?;
        at.in_range("supervisor.max_attempts", self.max_attempts, 1..=100)?;
        at.in_range("supervisor.max_interruptions", self.max_interruptions, 1..=60_000)?;
        at.in_range("supervisor.restart_delay_max_ms", self.restart_delay_max_ms, 1..=600_000)?;
        at.in_range("supervisor.restart_delay_ms", self.restart_delay_ms, 0..=self.restart_delay_max_ms)?;
        at.in_range("supervisor.restart_limit", self.restart_limit, 1..=10_000)?;
        at.in_range("supervisor.restart_window_s", self.restart_window_s, 1..=86_400)?;
        let length = self.control_socket.as_os_str().len();
        if length > MAX_SOCKET_PATH_BYTES {
            return Err(at.error(
                "supervisor.control_socket",
                &format!("has {length} bytes, and a socket's path at most {MAX_SOCKET_PATH_BYTES}"),
                "write a shorter path",
            ));
        }
        Ok(())
    }
}

/// The folder of the running executable.
pub fn default_bin_dir() -> PathBuf {
    let executable = std::env::current_exe().ok();
    executable.as_deref().and_then(Path::parent).map_or_else(|| PathBuf::from("/usr/bin"), Path::to_owned)
}

/// Where the control socket of pipeline `name` lies unless the configuration says otherwise: `/run/flumeway` for root,
/// else `$XDG_RUNTIME_DIR/flumeway`, else `/tmp/flumeway-<uid>`.
pub fn default_control_socket(name: &str) -> PathBuf {
    let uid = rustix::process::geteuid();
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let dir = match runtime_dir {
        _ if uid.is_root() => PathBuf::from("/run/flumeway"),
        Some(dir) => dir.join("flumeway"),
        None => PathBuf::from(format!("/tmp/flumeway-{}", uid.as_raw())),
    };
    dir.join(format!("{name}.sock"))
}
