//! What Flumeway is compared with: one process, one thread, one TCP connection; it reads a frame, computes, answers, and
//! reads the next. It speaks the same frame protocol, checks the same checksums, and runs the same libraries.

use crate::compute::Compute;
use crate::framing::{PREFIX, read_frame, seal_length};
use crate::machine::pin;
use crate::workload::{Cores, Workload};
use anyhow::{Context as _, Result};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use wire::{Fragment, ReplyHeader, RequestHeader, Status};

/// Longest result: five classes, or a tiny tensor.
const RESULT_MAX: usize = 4096;
/// Several tiny frames come with one system call; longer ones are read past this buffer.
const READ_BUFFER: usize = 64 << 10;

/// The server process: prints its port, serves one connection, and ends with it.
pub fn serve(workload: &Workload, cores: &[usize]) -> Result<()> {
    pin(cores)?;
    let mut compute = Compute::load(workload)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    println!("{}", listener.local_addr()?.port());
    let (stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(READ_BUFFER, &stream);
    let mut writer = &stream;
    let header_len = wire::header_len(false);
    let mut request = Vec::new();
    let mut reply = vec![0; PREFIX + header_len + RESULT_MAX];
    while read_frame(&mut reader, &mut request)? {
        let asked = RequestHeader::parse(&request)?;
        let h = asked.header;
        let (head, body) = reply.split_at_mut(PREFIX + header_len);
        let (result, len) = compute.frame(h.encoding, h.width, h.height, asked.payload, body)?;
        let header = ReplyHeader {
            fragment: Fragment::whole(len as u32),
            attempts: 1,
            result,
            ..ReplyHeader::new(h.key, h.capture_time, Status::Ok)
        };
        header.write_header(&mut head[PREFIX..], &[&body[..len]], None)?;
        let message = &mut reply[..PREFIX + header_len + len];
        seal_length(message);
        writer.write_all(message)?;
    }
    Ok(())
}

/// A server process; killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
}

impl Server {
    /// Starts this executable as a server and waits until it listens.
    pub fn start(workload: &Workload, cores: Cores, machine: usize) -> Result<Self> {
        let cores: Vec<String> = cores.of_server(machine).iter().map(ToString::to_string).collect();
        // Not by its path, which a build may have replaced meanwhile: server and client are of one build.
        let child = Command::new("/proc/self/exe")
            .args(["serve", workload.name, &cores.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the server")?;
        let mut server = Self { child, address: ([127, 0, 0, 1], 0).into() };
        let mut line = String::new();
        let out = server.child.stdout.take().context("the server's standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        let port = line.trim().parse().with_context(|| format!("the server said {line:?} instead of its port"))?;
        server.address.set_port(port);
        Ok(server)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended with its connection already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
