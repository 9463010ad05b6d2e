//! `net_null` through `RxPort`, in a process of its own: a process has one environment of DPDK. And the owner words alone.
//!
//! `net_null` brings packets without end and without contents. What is left is what every packet costs: the driver's call, the
//! pool, the owner word (claimed when the packet is taken, posted when its buffer goes back), the look at the headers.

use anyhow::{Result, bail};
use arena::descriptor::Table;
use arena::device::Posted;
use arena::region::HugePages;
use arena::topology::RX;
use arena::{Arena, Geometry, Held, Me, OwnerId, now_ns};
use ports::RxPort;
use ports::dpdk::{Before, DpdkRx, Eal, EalOptions, Filter, FlowRules, Idle, RxOptions};
use serde_json::json;
use std::os::fd::AsFd as _;

/// That the receiver does nothing but change owner words.
pub const WORDS: &str = "words";

const BUFFERS: u32 = 8192;
const DESCRIPTORS: u16 = 1024;
/// The clock is read once in so many turns.
const TURNS: u32 = 16;
const ME: Me = Me { id: RX, incarnation: 1 };
/// As the port names it.
const DEVICE: OwnerId = OwnerId::device_rx(0);

/// `DEVICE|words CORE BURST CACHE SECONDS`: prints packets and nanoseconds per packet.
pub fn receive(arguments: &[String]) -> Result<()> {
    let [device, core, burst, cache, seconds] = arguments else { bail!("the receiver needs five arguments") };
    let (core, burst, cache): (u32, usize, u32) = (core.parse()?, burst.parse()?, cache.parse()?);
    let run_ns = (seconds.parse::<f64>()? * 1e9) as u64;
    let (arena, _regions) = arena()?;
    let (packets, spent_ns) = if device == WORDS {
        benches::machine::pin(core as usize)?;
        timed(run_ns, words(arena.table(), burst))
    } else {
        let prefix = format!("bench-null-{}", std::process::id());
        let eal = Eal::init(&EalOptions { prefix, core: Some(core), ..EalOptions::default() })?;
        let mut rx = DpdkRx::open(&eal, &options(device, burst, cache), &arena, ME)?;
        let table = arena.table();
        let mut free: Vec<Held> = (0..BUFFERS).filter_map(|index| table.adopt(index, ME)).collect();
        let mut out = Vec::with_capacity(burst);
        rx.offer(&arena, &mut free);
        let outcome = timed(run_ns, || {
            // An error is seen as no packets.
            let n = rx.receive(&mut out, burst).unwrap_or(0);
            for packet in out.drain(..) {
                rx.recorded(packet.position);
                free.push(packet.held);
            }
            rx.offer(&arena, &mut free);
            n
        });
        rx.withdraw(&mut free).expect("the port gives them back");
        free.drain(..).for_each(|held| _ = held.release());
        outcome
    };
    println!("{}", json!({"packets": packets, "ns_per_packet": spent_ns as f64 / packets as f64}));
    Ok(())
}

fn arena() -> Result<(Arena, arena::arena::Regions)> {
    let geometry = Geometry {
        buffers: BUFFERS,
        slots: 2,
        slot_input_bytes: 64,
        slot_output_bytes: 64,
        preprocess: 1,
        infer: 1,
        ring_capacity: 64,
        max_streams: 4,
        gateways: 1,
    };
    let (_, regions) = Arena::create(geometry, HugePages::Auto)?;
    let packets = Some((regions.packets.rw.as_fd(), true));
    Ok((Arena::attach(regions.control.rw.as_fd(), packets, None, None)?, regions))
}

fn options(device: &str, burst: usize, cache: u32) -> RxOptions {
    RxOptions {
        device: device.to_owned(),
        queues: 1,
        descriptors: DESCRIPTORS,
        burst,
        cache,
        mtu: None,
        promiscuous: false,
        verify_checksums: false,
        offloads: true,
        idle: Idle::Sleep,
        idle_sleep_us: 200,
        flow_rules: FlowRules::Off,
        filter: Filter::default(),
        depth: BUFFERS / 2,
        before: Before::default(),
    }
}

/// The port's changes of owner words, over as many buffers as wait in its pool.
fn words(table: Table<'_>, burst: usize) -> impl FnMut() -> usize {
    let depth = u32::from(DESCRIPTORS) + 8 * burst as u32;
    let mut held: Vec<Held> = (0..depth).filter_map(|index| table.adopt(index, ME)).collect();
    let give = move |held: &mut Vec<Held>| {
        for buffer in held.iter() {
            table.post(buffer, DEVICE, ME, Posted { position: 0, last: false });
        }
        held.drain(..).for_each(|buffer| _ = buffer.release());
    };
    give(&mut held);
    let mut next = 0;
    move || {
        for _ in 0..burst {
            held.extend(table.claim(next, DEVICE, ME));
            next = if next + 1 == depth { 0 } else { next + 1 };
        }
        let n = held.len();
        give(&mut held);
        n
    }
}

/// Packets, and how long they took, after a while to settle in.
fn timed(run_ns: u64, mut turn: impl FnMut() -> usize) -> (u64, u64) {
    let mut run = |run_ns| {
        let (start, mut packets, mut spent_ns) = (now_ns(), 0_u64, 0);
        while spent_ns < run_ns {
            for _ in 0..TURNS {
                packets += turn() as u64;
            }
            spent_ns = now_ns() - start;
        }
        (packets, spent_ns)
    };
    run(run_ns / 4);
    run(run_ns)
}
