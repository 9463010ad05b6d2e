//! `flumeway send`: its options, and the plan that they make.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use flumeway::client::{Frame, Impairments, SendPlan, generate_images, generate_tensors, load_files};
use flumeway::failure::Failure;
use wire::{Encoding, MacKey};

/// Different frames that the generator makes, sent in turn.
const VARIANTS: usize = 8;
/// Frames sent of a generator unless `--count` says otherwise.
const GENERATED_COUNT: u64 = 100;

const LONG_ABOUT: &str = "\
Send frames to a pipeline over UDP, receive the answers, and account for every frame.

With --rate above 0 this is an open loop: frame i is due at start + i / rate whatever the pipeline does, and latency is \
counted from the time at which a frame was due, not from the time at which a late sender sent it. A slow pipeline cannot \
slow its own measurement down (no coordinated omission). With --rate 0 frames go as fast as --window allows.

`latency` counts from the due time of a frame's first datagram, `response` from that of its last: the datagrams of a frame \
are spread evenly over the interval between two frames (--spread), so a large frame is on its way for that long.";

const EXAMPLES: &str = "\
Examples:
  flumeway send photo.jpg --print                          one frame, and what the pipeline says of it
  flumeway send *.jpg --encoding rgb8 --rate 30 --count 900
  flumeway send --generate 1920x1080 --encoding nv12 --rate 25 --mtu 3328
  flumeway send --tensor 256 --rate 20000 --count 100000 --json
  flumeway send --tensor 256 --rate 0 --window 64 --count 100000
  flumeway send --generate 640x480 --loss 20 --reorder 20 --duplicate 20 --allow-drops";

/// Send frames to a pipeline and account for every answer.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = EXAMPLES)]
#[allow(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Args {
    /// JPEG files, sent in turn; with --encoding tensor, files of little-endian f32 values
    #[arg(value_name = "FILES", conflicts_with_all = ["generate", "tensor"])]
    files: Vec<PathBuf>,
    /// Where the pipeline listens
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    to: String,
    /// Generate images of this size instead of reading files
    #[arg(long, value_name = "WxH", value_parser = parse_size, conflicts_with = "tensor")]
    generate: Option<(u16, u16)>,
    /// Generate tensors of this many f32 elements
    #[arg(long, value_name = "N")]
    tensor: Option<usize>,
    /// What is sent: jpeg, rgb8, bgr8, gray8, nv12, yuyv or tensor; files are converted at full resolution [default: jpeg]
    #[arg(long, value_parser = parse_encoding)]
    encoding: Option<Encoding>,
    /// Frames per second, all streams together; 0: as fast as the window allows
    #[arg(long, value_name = "FPS", default_value_t = 30.0)]
    rate: f64,
    /// How many frames [default: each file once, or 100]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Number of streams that take turns
    #[arg(long, value_name = "N", default_value_t = 1)]
    streams: u32,
    /// Id of the first stream
    #[arg(long, value_name = "ID", default_value_t = 0)]
    stream_id: u32,
    /// Datagrams lost on purpose
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    loss: f64,
    /// Datagrams overtaken by others on purpose
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    reorder: f64,
    /// Datagrams sent twice on purpose
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0)]
    duplicate: f64,
    /// Seed of these faults and of generated frames
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Most unanswered frames; what is due beyond it counts as unsent [default: no limit; 64 or 1 MiB at rate 0]
    #[arg(long, value_name = "N")]
    window: Option<u64>,
    /// Deadline of each frame, counted from the arrival of its first packet; 0: the stream's default
    #[arg(long, value_name = "US", default_value_t = 0)]
    deadline_us: u32,
    /// Largest UDP payload of a datagram, header included; pipelines take up to 3328
    #[arg(long, value_name = "BYTES", default_value_t = 1408)]
    mtu: usize,
    /// Share of the interval between frames over which a frame's datagrams are spread
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0)]
    spread: f64,
    /// File with the streams' key, 64 hexadecimal digits
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// How long an answer is waited for
    #[arg(long, value_name = "MS", default_value_t = 2000)]
    timeout_ms: u64,
    /// One label per line, to name classes that the pipeline does not name
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// Count answers with another best class as wrong
    #[arg(long, value_name = "N")]
    expect_class: Option<u32>,
    /// Dropped and unanswered frames are no failure
    #[arg(long)]
    pub(crate) allow_drops: bool,
    /// Print every answer
    #[arg(long)]
    pub(crate) print: bool,
    /// Print nothing but errors
    #[arg(long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// Print the report as one line of JSON (with --print, a line per answer before it)
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// The plan, with every frame in memory.
    pub(crate) fn plan(&self) -> Result<SendPlan, Failure> {
        let to = resolve(&self.to)?;
        let mut frames = self.frames()?;
        for frame in &mut frames {
            frame.expected_class = self.expect_class;
        }
        let count = self.count.unwrap_or(if self.files.is_empty() { GENERATED_COUNT } else { frames.len() as u64 });
        let mac_key = self.key_file.as_deref().map(read_key).transpose()?;
        let plan = SendPlan {
            count,
            rate_fps: self.rate,
            streams: self.streams,
            first_stream_id: self.stream_id,
            window: self.window,
            deadline_us: self.deadline_us,
            datagram_bytes: self.mtu,
            spread_percent: self.spread,
            mac_key,
            impairments: Impairments {
                loss_percent: self.loss,
                reorder_percent: self.reorder,
                duplicate_percent: self.duplicate,
            },
            seed: self.seed,
            timeout: Duration::from_millis(self.timeout_ms),
            ..SendPlan::new(to, frames)
        };
        plan.validate().map_err(Failure::usage)?;
        Ok(plan)
    }

    /// The labels of `--labels`.
    pub(crate) fn label_names(&self) -> Result<Vec<String>, Failure> {
        let Some(path) = &self.labels else { return Ok(Vec::new()) };
        let text = read(path, "name a text file with one label per line")?;
        Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
    }

    fn frames(&self) -> Result<Vec<Frame>, Failure> {
        let encoding = match (self.encoding, self.tensor) {
            (None | Some(Encoding::TensorF32), Some(_)) => Encoding::TensorF32,
            (Some(other), Some(_)) => {
                return Err(Failure::usage(format!("--tensor makes tensors, not {other}; leave --encoding out")));
            }
            (encoding, None) => encoding.unwrap_or(Encoding::Jpeg),
        };
        let frames = match (self.tensor, self.generate) {
            (Some(elements), _) => generate_tensors(elements, VARIANTS, self.seed),
            (None, Some((width, height))) => generate_images(encoding, width, height, VARIANTS, self.seed),
            (None, None) => load_files(&self.files, encoding),
        };
        frames.map_err(Failure::usage)
    }
}

fn resolve(address: &str) -> Result<SocketAddr, Failure> {
    let wrong = |why: &dyn std::fmt::Display| {
        Failure::usage(format!("--to {address} is no address: {why}; write HOST:PORT, as 127.0.0.1:9000"))
    };
    let mut found = address.to_socket_addrs().map_err(|error| wrong(&error))?;
    found.next().ok_or_else(|| wrong(&"the name has no address"))
}

fn read_key(path: &Path) -> Result<MacKey, Failure> {
    let text = read(path, "name the file with the stream's key")?;
    MacKey::from_hex(&text).map_err(|error| Failure::usage(format!("--key-file {}: {error}", path.display())))
}

fn read(path: &Path, remedy: &str) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("{} cannot be read: {error}; {remedy}", path.display())))
}

fn parse_encoding(text: &str) -> Result<Encoding, String> {
    match text {
        "tensor" => Ok(Encoding::TensorF32),
        other => other.parse().map_err(|error: wire::UnknownName| error.to_string()),
    }
}

fn parse_size(text: &str) -> Result<(u16, u16), String> {
    let sides = text.split_once(['x', 'X']).and_then(|(width, height)| {
        Some((width.parse().ok().filter(|&side| side > 0)?, height.parse().ok().filter(|&side| side > 0)?))
    });
    sides.ok_or_else(|| "write WIDTHxHEIGHT in pixels, as 640x480".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn plan(line: &str) -> Result<SendPlan, Failure> {
        Line::try_parse_from(format!("send {line}").split_whitespace()).unwrap().args.plan()
    }

    #[test]
    fn options_reach_the_plan() {
        let plan = plan("--tensor 256 --rate 20000 --streams 3 --stream-id 5 --window 9 --mtu 3328 --loss 20 --timeout-ms 50 --expect-class 2").unwrap();
        assert_eq!((plan.count, plan.rate_fps, plan.streams, plan.first_stream_id), (100, 20_000.0, 3, 5));
        assert_eq!((plan.window, plan.datagram_bytes, plan.timeout), (Some(9), 3328, Duration::from_millis(50)));
        assert!((plan.impairments.loss_percent - 20.0).abs() < 1e-9);
        assert_eq!((plan.frames[0].bytes.len(), plan.frames[0].expected_class), (1024, Some(2)));
    }

    #[test]
    fn images_are_generated_in_the_encoding_asked_for() {
        let plan = plan("--generate 32x16 --encoding nv12 --count 3").unwrap();
        assert_eq!((plan.count, plan.frames[0].encoding, plan.frames[0].bytes.len()), (3, Encoding::Nv12, 768));
    }

    #[test]
    fn mistakes_say_what_to_write() {
        for (line, part) in [
            ("", "name JPEG files"),
            ("--tensor 4 --encoding rgb8", "leave --encoding out"),
            ("--tensor 4 --to nowhere", "HOST:PORT"),
            ("--tensor 4 --key-file /nowhere", "/nowhere"),
            ("--tensor 4 --rate -1", "--rate"),
            ("/nowhere.jpg", "/nowhere.jpg"),
        ] {
            // A negative number needs the form with `=`; the parser would take it for an option.
            let failure = plan(&line.replace("--rate -1", "--rate=-1")).unwrap_err();
            assert!(failure.message.contains(part), "{line}: {failure}");
            assert_eq!(failure.status, flumeway::failure::ExitStatus::Usage);
        }
        assert_eq!(parse_size("640x480"), Ok((640, 480)));
        assert!(parse_size("640").is_err() && parse_size("0x4").is_err() && parse_size("99999x4").is_err());
        assert_eq!(parse_encoding("tensor"), Ok(Encoding::TensorF32));
        assert!(parse_encoding("png").unwrap_err().contains("jpeg, rgb8"));
    }
}
