//! A stage without packets uses next to no CPU, also on a port without interrupts, and is awake soon when one comes.

use super::{AF_PACKET, Dpdk};
use arena::Me;
use arena::topology::RX;
use ports::conformance::Harness;
use ports::dpdk::DpdkRx;
use ports::{Received, RxPort};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, Instant};

/// How long the port is idle.
const IDLE: Duration = Duration::from_secs(2);

/// Longest sleep that a port is allowed here: nothing depends on speed, and one that never wakes ends the test.
const NEVER: Timespec = Timespec { tv_sec: 60, tv_nsec: 0 };

/// Sleeps until the port is to be looked at.
fn sleep(port: &DpdkRx) {
    let woken = poll(&mut [PollFd::from_borrowed_fd(port.readable(), PollFlags::IN)], Some(&NEVER)).expect("poll");
    assert_eq!(woken, 1, "the port does not wake for a minute");
}

/// CPU time of this thread.
fn busy() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

#[test]
fn an_idle_port_costs_nothing_to_speak_of() {
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let me = Me { id: RX, incarnation: 1 };
    let mut port = DpdkRx::open(&harness.eal, &harness.options(), &harness.arena, me).expect("a port");
    let table = harness.arena.table();
    let mut free: Vec<_> = (0..256).filter_map(|index| table.adopt(index, me)).collect();
    port.offer(&harness.arena, &mut free);
    let mut out = Vec::with_capacity(32);
    let (start, before, mut sleeps) = (Instant::now(), busy(), 0_u32);
    while start.elapsed() < IDLE {
        sleep(&port);
        port.receive(&mut out, 32).expect("the driver receives");
        out.drain(..).for_each(|packet| _ = packet.held.release());
        sleeps += 1;
    }
    let used = busy().saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64();
    println!("{:.2} % of a core, {sleeps} sleeps", used * 100.0);
    // Of a slow machine that does other things besides; a port that is polled takes all of one.
    assert!(used < 0.05, "{:.2} % of a core while nothing comes", used * 100.0);
    harness.peer_send(b"wake");
    let is_it = |packet: &Received| {
        let from = usize::from(packet.data.offset);
        harness.arena.packet(&packet.held)[from..][..usize::from(packet.data.len)] == *b"wake"
    };
    let (start, mut woken) = (Instant::now(), false);
    while !woken {
        sleep(&port);
        port.receive(&mut out, 32).expect("the driver receives");
        // What the peer's kernel says by itself is something else.
        woken = out.iter().any(is_it);
        free.extend(out.drain(..).map(|packet| packet.held));
        port.offer(&harness.arena, &mut free);
        assert!(start.elapsed() < Duration::from_mins(1), "asleep with a packet waiting");
    }
    port.withdraw(&mut free).expect("the port gives them back");
    for held in free {
        held.release();
    }
}
