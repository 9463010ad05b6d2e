//! Killed at the points of its protocol.

use super::Replay;
use super::common::{self, Killable};
use arena::arena::Regions;
use arena::killpoint::KillPoint;
use arena::{Arena, Me};
use ports::replay::{ReplayRx, ReplayTx, RxOptions, Speed};
use ports::{RxPort, TxPort};
use std::os::fd::{BorrowedFd, OwnedFd};

const LOCAL: &str = "10.0.0.1:9000";

impl Killable for Replay {
    fn regions(&self) -> &Regions {
        &self.regions
    }

    fn rx_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.host.rx_descriptors().into()
    }

    fn tx_descriptors(&self) -> Vec<BorrowedFd<'_>> {
        self.host.tx_descriptors().into()
    }

    fn attach_rx(fds: Vec<OwnedFd>, arena: &Arena, me: Me) -> Box<dyn RxPort> {
        let listen = LOCAL.parse().expect("an address");
        let options = RxOptions { speed: Speed::Max, follow: true, listen, burst: 64 };
        Box::new(ReplayRx::attach(fds, &options, arena, me).expect("the host's descriptors"))
    }

    fn attach_tx(fds: Vec<OwnedFd>, _: &Arena, _: Me) -> Box<dyn TxPort> {
        Box::new(ReplayTx::attach(fds).expect("the host's descriptors"))
    }
}

fn replay() -> Replay {
    Replay::new(LOCAL, "10.0.0.2:4000")
}

#[test]
fn child() {
    common::child::<Replay>();
}

#[test]
fn no_packet_is_lost_or_doubled_by_sigkill() {
    common::receiving(&replay(), "kill::child", &[KillPoint::Received], 20);
}

#[test]
fn each_reply_stands_in_the_file_once() {
    common::sending(&replay(), "kill::child", &[KillPoint::Posted, KillPoint::Sent, KillPoint::InHand], 6);
}
