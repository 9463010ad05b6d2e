//! A port without what the peer's kernel says by itself, to groups of routers and neighbours: the suite counts its own packets.

use arena::{Arena, Held};
use ports::dpdk::DpdkRx;
use ports::{PortError, Received, Refound, RxPort, Standing};
use std::os::fd::BorrowedFd;

/// The port, and buffers on their way back to it.
pub struct Datagrams {
    port: DpdkRx,
    arena: Arena,
    back: Vec<Held>,
}

impl Datagrams {
    pub fn of(port: DpdkRx, arena: &Arena) -> Self {
        Self { port, arena: arena.clone(), back: Vec::new() }
    }
}

impl RxPort for Datagrams {
    fn refind(&mut self, found: &mut Vec<Refound>) {
        self.port.refind(found);
    }

    fn take_unposted(&mut self, free: &mut Vec<Held>) {
        self.port.take_unposted(free);
    }

    fn capacity(&self) -> usize {
        self.port.capacity()
    }

    fn wants(&self) -> usize {
        self.port.wants()
    }

    fn offer(&mut self, arena: &Arena, free: &mut Vec<Held>) {
        self.port.offer(arena, free);
    }

    fn receive(&mut self, out: &mut Vec<Received>, max: usize) -> Result<usize, PortError> {
        let before = out.len();
        self.port.receive(out, max)?;
        for packet in out.extract_if(before.., |packet| packet.standing == Standing::Other) {
            self.back.push(packet.held);
        }
        self.port.offer(&self.arena, &mut self.back);
        Ok(out.len() - before)
    }

    fn recorded(&mut self, position: u32) {
        self.port.recorded(position);
    }

    fn withdraw(&mut self, free: &mut Vec<Held>) -> Result<(), PortError> {
        self.port.withdraw(free)
    }

    fn readable(&self) -> BorrowedFd<'_> {
        self.port.readable()
    }

    fn dropped(&mut self) -> u64 {
        self.port.dropped()
    }
}
