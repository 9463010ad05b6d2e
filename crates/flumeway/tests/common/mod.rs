//! A pipeline without stages: answers requests from a thread, well or badly as a test asks for.
#![allow(dead_code, reason = "each test program uses its own part")]

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use wire::{
    ClassEntry, Fragment, FragmentPlan, FrameKey, MacKey, ReplyHeader, RequestHeader, ResultInfo, StageTimes, Status,
    TensorShape, write_classes,
};

/// What the stand-in does with the complete frame that has this id.
pub type Behaviour = Box<dyn Fn(u64) -> Act + Send>;

/// One frame's treatment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Answer: one class, label "thing".
    Answer { class: u32 },
    /// Answer so many times.
    Repeat(u32),
    /// Answer with a status.
    Status(Status),
    /// Answer with a tensor of so many elements, in parts of 1 280 bytes, the last first.
    Tensor(u32),
    /// Answer after this time.
    Late(Duration),
    /// Say nothing.
    Ignore,
    /// Answer with bytes that are no reply, then as another session.
    Garbage,
}

/// A stand-in for a pipeline; ends when it is dropped.
pub struct StandIn {
    pub address: SocketAddr,
    stop: Sender<()>,
    thread: Option<JoinHandle<Seen>>,
}

/// What a stand-in has seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Ids of complete frames in the order in which they became complete.
    pub frames: Vec<u64>,
    /// Valid datagrams.
    pub datagrams: u64,
    /// Datagrams whose offset was behind that of an earlier one of the same frame.
    pub out_of_order: u64,
    /// Streams by frame.
    pub streams: HashMap<u64, u32>,
    /// Headers of first fragments.
    pub headers: Vec<RequestHeader>,
}

impl StandIn {
    pub fn start(key: Option<MacKey>, behaviour: impl Fn(u64) -> Act + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size_force(&socket, 8 << 20);
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let address = socket.local_addr().unwrap();
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || serve(&socket, key.as_ref(), &behaviour, &stopped));
        Self { address, stop, thread: Some(thread) }
    }

    pub fn finish(mut self) -> Seen {
        self.stop.send(()).unwrap();
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        let _ = self.stop.send(());
    }
}

fn serve(socket: &UdpSocket, key: Option<&MacKey>, behaviour: &dyn Fn(u64) -> Act, stopped: &Receiver<()>) -> Seen {
    let mut seen = Seen::default();
    let mut parts: HashMap<FrameKey, (Vec<bool>, u32)> = HashMap::new();
    let mut buffer = vec![0; 65_536];
    loop {
        // Once per silence or 64 datagrams: the check must not cost a datagram.
        if seen.datagrams.is_multiple_of(64) && stopped.try_recv().is_ok() {
            return seen;
        }
        let Ok((len, from)) = socket.recv_from(&mut buffer) else {
            if stopped.try_recv().is_ok() {
                return seen;
            }
            continue;
        };
        let request = RequestHeader::parse(&buffer[..len]).expect("the sender sends valid requests");
        request.authenticate(key).expect("the sender signs");
        let header = request.header;
        seen.datagrams += 1;
        let entry = parts.entry(header.key).or_insert_with(|| (vec![false; header.fragment.count.into()], 0));
        if entry.0.iter().all(|&arrived| arrived) {
            continue;
        }
        entry.0[usize::from(header.fragment.index)] = true;
        seen.out_of_order += u64::from(header.fragment.offset < entry.1);
        entry.1 = entry.1.max(header.fragment.offset);
        if header.fragment.index == 0 {
            seen.headers.push(header);
        }
        if entry.0.iter().all(|&arrived| arrived) {
            seen.frames.push(header.key.frame_id);
            seen.streams.insert(header.key.frame_id, header.key.stream_id);
            act(socket, from, key, &header, behaviour(header.key.frame_id));
        }
    }
}

fn act(socket: &UdpSocket, to: SocketAddr, key: Option<&MacKey>, request: &RequestHeader, act: Act) {
    let send = |bytes: &[u8]| assert_eq!(socket.send_to(bytes, to).unwrap(), bytes.len());
    match act {
        Act::Answer { class } => send(&answer(request, request.key, class, key)),
        Act::Repeat(times) => (0..times).for_each(|_| send(&answer(request, request.key, 0, key))),
        Act::Status(status) => send(&reply(&ReplyHeader::new(request.key, request.capture_time, status), &[], key)),
        Act::Tensor(elements) => tensor(request, elements, key).iter().rev().for_each(|datagram| send(datagram)),
        Act::Late(delay) => {
            std::thread::sleep(delay);
            send(&answer(request, request.key, 0, key));
        }
        Act::Ignore => {}
        Act::Garbage => {
            send(b"garbage");
            send(&answer(request, FrameKey { session: !request.key.session, ..request.key }, 0, key));
        }
    }
}

fn times() -> StageTimes {
    StageTimes { infer_work_ns: 1_234_000, total_ns: 2_000_000, ..StageTimes::default() }
}

fn answer(request: &RequestHeader, key: FrameKey, class: u32, mac_key: Option<&MacKey>) -> Vec<u8> {
    let mut payload = [0; 64];
    let entry = ClassEntry { class, score: 0.75, label: Some("thing") };
    let (result, len) = write_classes(&mut payload, [entry]).unwrap();
    let header = ReplyHeader {
        fragment: Fragment::whole(len as u32),
        attempts: 1,
        result,
        times: times(),
        ..ReplyHeader::new(key, request.capture_time, Status::Ok)
    };
    reply(&header, &payload[..len], mac_key)
}

fn tensor(request: &RequestHeader, elements: u32, mac_key: Option<&MacKey>) -> Vec<Vec<u8>> {
    let bytes: Vec<u8> = (0..elements).flat_map(|element| (element as f32).to_le_bytes()).collect();
    let plan = FragmentPlan::new(bytes.len(), 1408, wire::header_len(mac_key.is_some())).unwrap();
    let fragments = plan.fragments().map(|fragment| {
        let header = ReplyHeader {
            fragment,
            attempts: 1,
            result: ResultInfo::Tensor(TensorShape::f32(&[1, elements]).unwrap()),
            times: times(),
            ..ReplyHeader::new(request.key, request.capture_time, Status::Ok)
        };
        let start = fragment.offset as usize;
        reply(&header, &bytes[start..start + fragment.len as usize], mac_key)
    });
    fragments.collect()
}

fn reply(header: &ReplyHeader, payload: &[u8], mac_key: Option<&MacKey>) -> Vec<u8> {
    let mut datagram = vec![0; wire::MAX_HEADER_LEN];
    let len = header.write_header(&mut datagram, &[payload], mac_key).unwrap();
    datagram.truncate(len);
    datagram.extend_from_slice(payload);
    datagram
}
