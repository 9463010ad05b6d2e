//! The control socket: a Unix stream, one JSON object per line, one answer per request.

mod client;
mod request;

pub(crate) use request::{Request, StageName};

use crate::error::StartError;
use crate::report::error;
use crate::spawn::Peer;
use client::Client;
use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, Stat};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde_json::Value;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

/// Clients at once; one more is told so and let go.
const CLIENTS_MAX: usize = 16;

/// The listening socket and its clients.
#[derive(Debug)]
pub(crate) struct Control {
    listener: OwnedFd,
    path: PathBuf,
    file: (u64, u64),
    clients: Vec<Client>,
    next_id: u64,
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

impl Control {
    /// Listens at `path`. A socket whose supervisor is dead is replaced; a live one is an error.
    pub(crate) fn open(path: &Path) -> Result<Self, StartError> {
        let fail = |source: io::Error| StartError::ControlSocket { path: path.to_owned(), source };
        if let Some(folder) = path.parent().filter(|f| !f.as_os_str().is_empty()) {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
            builder.recursive(true).create(folder).map_err(fail)?;
        }
        let address = SocketAddrUnix::new(path).map_err(|e| fail(e.into()))?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = || rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None);
        if let Ok(stat) = rustix::fs::lstat(path) {
            if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
                return Err(StartError::NotASocket(path.to_owned()));
            }
            let probe = socket().map_err(|e| fail(e.into()))?;
            match rustix::net::connect(&probe, &address) {
                Err(Errno::CONNREFUSED) => rustix::fs::unlink(path).map_err(|e| fail(e.into()))?,
                Err(Errno::NOENT) => {}
                // AGAIN: its backlog is full, so somebody lives there.
                Ok(()) | Err(Errno::AGAIN) => return Err(StartError::ControlSocketInUse(path.to_owned())),
                Err(error) => return Err(fail(error.into())),
            }
        }
        let listener = socket().map_err(|e| fail(e.into()))?;
        // Linux gives the file the socket's own mode, so there is no moment at which others could connect.
        rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR).map_err(|e| fail(e.into()))?;
        match rustix::net::bind(&listener, &address) {
            Err(Errno::ADDRINUSE) => return Err(StartError::ControlSocketInUse(path.to_owned())),
            other => other.map_err(|e| fail(e.into()))?,
        }
        rustix::net::listen(&listener, CLIENTS_MAX as i32).map_err(|e| fail(e.into()))?;
        let file = rustix::fs::lstat(path).map(|s| identity(&s)).map_err(|e| fail(e.into()))?;
        Ok(Self { listener, path: path.to_owned(), file, clients: Vec::new(), next_id: 1 })
    }

    /// Where it listens.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Readable when somebody connects.
    pub(crate) fn listener(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }

    /// What is to be polled for: client, descriptor, events.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (u64, BorrowedFd<'_>, PollFlags)> {
        self.clients.iter().map(|c| (c.id, c.fd(), c.interest()))
    }

    /// Takes everybody who has connected. Only our own user and root are let in.
    pub(crate) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(socket) = rustix::net::accept_with(&self.listener, flags) {
            let Ok(peer) = Peer::of(socket.as_fd()) else { continue };
            let mut client = Client::new(self.next_id, socket);
            self.next_id += 1;
            if !peer.is_own_or_root() {
                tracing::warn!(uid = peer.uid, pid = peer.pid, "refused on the control socket");
                client.answer(&error("this pipeline belongs to another user", false));
            } else if self.clients.len() >= CLIENTS_MAX {
                client.answer(&error(format!("{CLIENTS_MAX} clients are connected already"), true));
            } else {
                self.clients.push(client);
            }
        }
    }

    /// Reads from and writes to a client; returns its next request, if there is a whole one.
    pub(crate) fn on_ready(&mut self, id: u64, events: PollFlags) -> Option<String> {
        let client = self.clients.iter_mut().find(|c| c.id == id)?;
        client.on_ready(events);
        let request = client.next_request();
        self.clients.retain(|c| !c.is_over());
        request
    }

    /// Clients that have another whole request waiting behind the one just answered.
    pub(crate) fn next_request(&mut self) -> Option<(u64, String)> {
        self.clients.iter_mut().find_map(|c| Some((c.id, c.next_request()?)))
    }

    /// Answers a client's request; one that has gone is forgotten.
    pub(crate) fn answer(&mut self, id: u64, answer: &Value) {
        if let Some(client) = self.clients.iter_mut().find(|c| c.id == id) {
            client.answer(answer);
        }
        self.clients.retain(|c| !c.is_over());
    }

    /// Removes the socket's file, unless somebody else's lies there by now.
    fn remove(&self) {
        if rustix::fs::lstat(&self.path).is_ok_and(|s| identity(&s) == self.file) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.remove();
    }
}
