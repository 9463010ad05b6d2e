//! What is wrong with a device is said with cause and remedy, and nothing is left behind.

use super::{AF_PACKET, Dpdk, net};
use arena::Me;
use arena::topology::RX;
use ports::dpdk::{DpdkRx, Eal, EalOptions, Idle, RxOptions};

/// What opening the receiving side says when `change` was made to options that work.
fn refused(harness: &Dpdk, change: impl Fn(&mut RxOptions)) -> String {
    let mut options = harness.options();
    change(&mut options);
    let me = Me { id: RX, incarnation: 1 };
    let message = DpdkRx::open(&harness.eal, &options, &harness.arena, me).map(drop).expect_err("refused").to_string();
    println!("{message}");
    // Nothing is left: the same works as soon as the input is right.
    DpdkRx::open(&harness.eal, &harness.options(), &harness.arena, me).expect("a port");
    message
}

#[test]
fn devices_that_are_not_there_or_do_not_fit() {
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let device = |name: &'static str| refused(&harness, move |o| name.clone_into(&mut o.device));
    assert!(device("fffe:00:00.0").contains("lspci"));
    assert!(device("net_flumeway0").contains("no driver for net_flumeway0"));
    assert!(device("net_af_packet9,iface=nobody").contains("no interface nobody"));
    assert!(device("net_af_packet9,iface").contains("net_af_packet9"));
    assert!(refused(&harness, |o| o.queues = 300).contains("receive queues"));
    assert!(refused(&harness, |o| o.mtu = Some(9000)).contains("MTU"));
    assert!(device("net_null\0").contains("zero byte"));
}

#[test]
fn a_device_that_the_kernel_drives() {
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let driven = std::fs::read_dir("/sys/bus/pci/devices").into_iter().flatten().flatten();
    let mut driven = driven.filter(|entry| entry.path().join("driver").exists());
    let Some(device) = driven.next().and_then(|entry| entry.file_name().into_string().ok()) else {
        return super::skip::skipped("no PCI device with a kernel driver");
    };
    assert!(refused(&harness, |o| o.device.clone_from(&device)).contains("host-setup bind"));
}

#[test]
fn a_device_that_this_process_has() {
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let me = Me { id: RX, incarnation: 1 };
    let first = DpdkRx::open(&harness.eal, &harness.options(), &harness.arena, me).expect("a port");
    let second = DpdkRx::open(&harness.eal, &harness.options(), &harness.arena, me).expect_err("taken");
    assert!(second.to_string().contains("in use"), "{second}");
    assert_eq!(first.info().mac, net::MACS[0]);
}

#[test]
fn interrupts_that_the_port_has_not() {
    use ports::RxPort;
    let Some(harness) = Dpdk::new(&AF_PACKET, false) else { return };
    let me = Me { id: RX, incarnation: 1 };
    let options = RxOptions { idle: Idle::Interrupt, depth: 4, ..harness.options() };
    let mut port = DpdkRx::open(&harness.eal, &options, &harness.arena, me).expect("a port");
    let table = harness.arena.table();
    let mut free: Vec<_> = (0..8).filter_map(|index| table.adopt(index, me)).collect();
    port.offer(&harness.arena, &mut free);
    let error = port.receive(&mut Vec::with_capacity(4), 4).expect_err("no interrupts");
    assert!(error.to_string().contains("[dpdk] idle"), "{error}");
    port.withdraw(&mut free).expect("the port gives them back");
    assert_eq!(free.len(), 8, "every buffer is back");
    for held in free {
        held.release();
    }
}

#[test]
fn a_second_environment() {
    if let Err(missing) = super::eal() {
        return super::skip::skipped(&missing);
    }
    assert!(Eal::init(&EalOptions::default()).expect_err("one is up").to_string().contains("up already"));
}
