//! A whole machine under test: Debian's kernel in QEMU by software emulation, with an emulated IOMMU and two PCI network
//! cards, each on a TAP device of a namespace of its own. The host's root file system is there read-only.
//!
//! What runs in it, and how it is told to, stands in `integration-tests/vm`.

mod qemu;

use crate::netns::{Taps, skipped};
use crate::pipeline::folder;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// PCI address of the card whose TAP is called [`RX_TAP`].
pub const RX: &str = "0000:00:10.0";
/// PCI address of the card whose TAP is called [`TX_TAP`].
pub const TX: &str = "0000:00:11.0";
/// MAC addresses of the two cards.
pub const MACS: [&str; 2] = ["02:00:00:00:79:10", "02:00:00:00:79:11"];
const RX_TAP: &str = "rx";
const TX_TAP: &str = "tx";

/// What every order may use, and where the share and the shipped programs are in the machine.
const PRELUDE: &str = "set -eu\n. \"$SHARE/lib.sh\"\n";
/// Software emulation on a busy machine takes several times what it takes alone.
const BOOT_LIMIT: Duration = Duration::from_mins(2);
/// Longest an order may take.
const ORDER_LIMIT: Duration = Duration::from_mins(2);

/// The machine, and the namespace that its cards are on.
#[derive(Debug)]
pub struct Machine {
    // In this order: the processor stops before its wires go.
    qemu: Child,
    orders: BufReader<UnixStream>,
    next: u32,
    dir: PathBuf,
    booted: Duration,
    taps: Arc<Taps>,
}

/// What became of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status of its shell.
    pub status: i32,
    /// What it wrote to both standard output and standard error.
    pub text: String,
}

/// What the machine cannot be made without.
fn missing(kernel: &Path) -> Option<String> {
    let tools = [("qemu-system-x86_64", "qemu-system-x86"), ("dpdk-testpmd", "dpdk-dev")];
    let path = std::env::var_os("PATH").unwrap_or_default();
    for (tool, package) in tools {
        if !std::env::split_paths(&path).any(|dir| dir.join(tool).exists()) {
            return Some(format!("no `{tool}` in PATH: `make deps` installs it (Debian package {package})"));
        }
    }
    let files = [kernel.join("vmlinuz"), kernel.join("initramfs.cpio")];
    let absent = files.iter().find(|f| !f.exists())?;
    Some(format!("{} is not there: `make vm-kernel` fetches it", absent.display()))
}

impl Machine {
    /// Boots, until it takes orders. `None`, said aloud, where something is missing.
    pub fn or_skip(label: &str) -> Option<Self> {
        let kernel = crate::target().join("vm");
        if let Some(missing) = missing(&kernel) {
            skipped(label, &missing);
            return None;
        }
        let taps = Taps::or_skip(label, &[RX_TAP, TX_TAP])?;
        Some(Self::boot(label, &kernel, taps))
    }

    fn boot(label: &str, kernel: &Path, taps: Taps) -> Self {
        let began = Instant::now();
        let dir = folder(&format!("vm-{label}"));
        let share = dir.join("share");
        fs::create_dir_all(&share).expect("a folder to share");
        for script in ["guest.sh", "lib.sh"] {
            fs::copy(crate::root().join("integration-tests/vm").join(script), share.join(script))
                .expect("copy a script");
        }
        let listener = UnixListener::bind(dir.join("orders")).expect("a socket for orders");
        let log = fs::File::create(dir.join("qemu.log")).expect("a log");
        let mut qemu = taps.command("qemu-system-x86_64");
        qemu::arguments(&mut qemu, kernel, &dir, [RX_TAP, TX_TAP]);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("start QEMU");
        let orders = accept(&listener);
        let mut machine =
            Self { qemu, orders: BufReader::new(orders), next: 1, dir, booted: Duration::ZERO, taps: Arc::new(taps) };
        let (number, status) = machine.answer(BOOT_LIMIT, "the machine to boot");
        assert_eq!((number, status), (0, 0), "the machine's first word");
        machine.booted = began.elapsed();
        machine
    }

    /// How long it took to boot.
    pub fn booted(&self) -> Duration {
        self.booted
    }

    /// The namespace that its cards are on.
    pub fn taps(&self) -> Arc<Taps> {
        Arc::clone(&self.taps)
    }

    /// The folder that the machine can write to, `$SHARE` there.
    pub fn share(&self) -> PathBuf {
        self.dir.join("share")
    }

    /// Runs a shell script in the machine, and waits for its end. Whatever it leaves running must write elsewhere.
    pub fn run(&mut self, script: &str) -> Outcome {
        let number = self.next;
        self.next += 1;
        let share = self.share();
        fs::write(share.join(format!("{number}.sh")), format!("{PRELUDE}{script}\n")).expect("write an order");
        writeln!(self.orders.get_mut(), "{number}").expect("send an order");
        let (answered, status) = self.answer(ORDER_LIMIT, script);
        assert_eq!(answered, number, "the machine answers another order");
        let text = fs::read(share.join(format!("{number}.out"))).unwrap_or_default();
        Outcome { status, text: String::from_utf8_lossy(&text).into_owned() }
    }

    /// Runs a shell script that must succeed; what it wrote.
    pub fn must(&mut self, script: &str) -> String {
        let Outcome { status, text } = self.run(script);
        assert_eq!(status, 0, "in the machine:\n{script}\nended with {status}:\n{text}");
        text
    }

    /// A file that the machine has written to `$SHARE`; empty if there is none.
    pub fn written(&self, name: &str) -> String {
        String::from_utf8_lossy(&fs::read(self.share().join(name)).unwrap_or_default()).into_owned()
    }

    fn answer(&mut self, limit: Duration, what: &str) -> (u32, i32) {
        let mut line = String::new();
        self.orders.get_ref().set_read_timeout(Some(limit)).expect("a time limit");
        let read = self.orders.read_line(&mut line);
        let numbers: Vec<i32> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match numbers[..] {
            [number, status] => (number as u32, status),
            _ => panic!("no answer within {} s ({read:?}, {line:?}) to: {what}", limit.as_secs()),
        }
    }

    /// What to look at when something went wrong.
    fn traces(&self) -> String {
        let mut text = String::new();
        let mut paths = vec![self.dir.join("qemu.log"), self.dir.join("console")];
        paths.extend(fs::read_dir(self.share()).into_iter().flatten().flatten().map(|f| f.path()));
        let last = format!("{}.out", self.next - 1);
        // Logs that orders have written, and what the last order said.
        let is_log =
            |p: &PathBuf| p.extension().is_some_and(|e| e == "log") || p.ends_with("console") || p.ends_with(&last);
        for path in paths.into_iter().filter(is_log) {
            let bytes = fs::read(&path).unwrap_or_default();
            let lines: Vec<_> = bytes.split(|b| *b == b'\n').map(String::from_utf8_lossy).collect();
            let tail = lines[lines.len().saturating_sub(60)..].join("\n");
            let _ = writeln!(text, "--- {} ---\n{tail}", path.display());
        }
        text
    }
}

/// QEMU connects as its first act.
fn accept(listener: &UnixListener) -> UnixStream {
    listener.set_nonblocking(true).expect("a non-blocking socket");
    let mut stream = None;
    crate::pipeline::wait_until("QEMU to start", || {
        stream = listener.accept().ok().map(|(stream, _)| stream);
        stream.is_some()
    });
    let stream = stream.expect("waited for");
    stream.set_nonblocking(false).expect("a blocking socket");
    stream
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.traces());
        }
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}
