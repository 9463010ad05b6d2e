//! Killed at the points of its protocol.

use super::AfXdp;
use super::common::{self, Killable};
use arena::arena::Regions;
use arena::killpoint::KillPoint;
use arena::{Arena, Me};
use ports::{RxPort, TxPort};
use std::os::fd::{BorrowedFd, OwnedFd};

impl Killable for AfXdp {
    fn regions(&self) -> &Regions {
        &self.regions
    }

    fn rx_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors(true)
    }

    fn tx_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.descriptors(false)
    }

    fn attach_rx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn RxPort> {
        Self::attach_rx(fds, arena, me)
    }

    fn attach_tx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn TxPort> {
        Self::attach_tx(fds, arena, me)
    }
}

#[test]
fn child() {
    common::child::<AfXdp>();
}

#[test]
fn no_packet_is_lost_or_doubled_by_sigkill() {
    let points = [KillPoint::Received, KillPoint::DeviceNamed, KillPoint::DevicePosted];
    if let Some(driver) = AfXdp::new(false) {
        common::receiving(&driver, "kill::child", &points, 8);
    }
}

#[test]
fn each_reply_goes_out_once() {
    let points = [KillPoint::DeviceNamed, KillPoint::DevicePosted, KillPoint::DeviceSettled, KillPoint::DeviceClaimed];
    if let Some(driver) = AfXdp::new(false) {
        common::sending(&driver, "kill::child", &points, 4);
    }
}
