//! What a port makes of its settings, and of the interface below.

use super::{AF_PACKET, AF_XDP, Dpdk, Kind, ONE_AT_A_TIME, net};
use arena::Me;
use arena::topology::RX;
use ports::conformance::Harness;
use ports::dpdk::{DpdkRx, DpdkTx, RxOptions, TxOptions};
use ports::{PortError, RxPort};
use std::process::Command;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

const ME: Me = Me { id: RX, incarnation: 1 };

/// The calling thread is in the port's namespace.
fn set_interface_mtu(mtu: u16) {
    let _starting = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let words = format!("link set dev {} mtu {mtu}", net::INTERFACE);
    let status = Command::new("ip").args(words.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {words}");
}

impl Dpdk {
    fn mtu_of_rx(&self, mtu: Option<u16>) -> Result<u16, PortError> {
        let _opening = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let options = RxOptions { mtu, ..self.options() };
        DpdkRx::open(&self.eal, &options, &self.arena, ME).map(|port| port.info().mtu)
    }

    fn mtu_of_tx(&self, mtu: Option<u16>) -> Result<u16, PortError> {
        let _opening = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let options = TxOptions { device: self.device("tx"), descriptors: 256, mtu };
        DpdkTx::open(&self.eal, &options, &self.arena, ME).map(|port| port.info().mtu)
    }
}

fn mtu_is_the_interfaces(kind: &'static Kind, beyond: u16) {
    let Some(harness) = Dpdk::new(kind, false) else { return };
    for mtu in [1_500, 1_400] {
        set_interface_mtu(mtu);
        assert_eq!((harness.mtu_of_rx(None).expect("a port"), harness.mtu_of_tx(None).expect("a port")), (mtu, mtu));
    }
    assert_eq!(harness.mtu_of_tx(Some(1_300)).expect("a port"), 1_300);
    assert_eq!(harness.mtu_of_rx(None).expect("a port"), 1_300, "it was set at the interface");
    let error = harness.mtu_of_rx(Some(beyond)).unwrap_err().to_string();
    assert!(error.contains(&format!("and {beyond} is set")), "{error}");
}

#[test]
fn the_mtu_is_the_interfaces_on_af_packet() {
    mtu_is_the_interfaces(&AF_PACKET, 1_501);
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    set_interface_mtu(1_968);
    assert_eq!(harness.mtu_of_rx(None).expect("a frame of the ring holds it"), 1_968);
    set_interface_mtu(1_969);
    let error = harness.mtu_of_rx(None).unwrap_err().to_string();
    assert!(error.contains("to 1968 bytes here, and 1969 is set"), "{error}");
}

#[test]
fn the_mtu_is_the_interfaces_on_af_xdp() {
    mtu_is_the_interfaces(&AF_XDP, 3_477);
}

/// The stage keeps its rights until then.
#[test]
fn a_port_starts_when_it_has_its_buffers() {
    let Some(harness) = Dpdk::new(&AF_XDP, false) else { return };
    let opening = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut port = DpdkRx::open(&harness.eal, &harness.options(), &harness.arena, ME).expect("a port");
    let table = harness.arena.table();
    let mut free: Vec<_> = (0..2_000).filter_map(|index| table.adopt(index, ME)).collect();
    port.offer(&harness.arena, &mut free);
    assert!(port.is_starting(), "the driver takes 2048 at once");
    let mut out = Vec::with_capacity(32);
    assert_eq!(port.receive(&mut out, 32).expect("it waits"), 0);
    free.extend((2_000..3_000).filter_map(|index| table.adopt(index, ME)));
    port.offer(&harness.arena, &mut free);
    drop(opening);
    assert!(!port.is_starting());
    assert!(port.link_state().is_some_and(|link| link.is_up));
    harness.peer_send(b"there");
    let start = Instant::now();
    while out.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(2), "nothing comes");
        port.receive(&mut out, 32).expect("the driver receives");
    }
    out.drain(..).for_each(|packet| _ = packet.held.release());
    port.withdraw(&mut free).expect("the port gives them back");
    assert!(!port.is_starting());
    for held in free {
        held.release();
    }
}
