//! A port with an access list, and the library's environment.

use crate::skip::skipped;
use acl::{AclAction, AclRule};
use arena::topology::RX;
use arena::{Arena, Held, Me};
use ports::conformance::arena_of;
use ports::dpdk::{Before, DpdkError, DpdkRx, Eal, EalOptions, Filter, FlowRules, Idle, RxOptions};
use ports::{PortError, Received, RxPort, Standing};
use std::net::IpAddr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const ME: Me = Me { id: RX, incarnation: 1 };
pub const PORT: u16 = 9000;
const BUFFERS: u32 = 256;

pub fn options(device: &str, addresses: Vec<IpAddr>, flow_rules: FlowRules) -> RxOptions {
    RxOptions {
        device: device.to_owned(),
        queues: 1,
        descriptors: 64,
        burst: 32,
        cache: 0,
        mtu: None,
        promiscuous: false,
        verify_checksums: false,
        offloads: true,
        flow_rules,
        idle: Idle::Sleep,
        idle_sleep_us: 200,
        filter: Filter { addresses, port: PORT },
        depth: BUFFERS,
        before: Before::default(),
    }
}

/// A port that has been offered all buffers of an arena.
pub struct Port {
    pub rx: DpdkRx,
    arena: Arena,
}

impl Port {
    pub fn open(eal: &Eal, options: &RxOptions, rules: &[AclRule]) -> Self {
        let (arena, _) = arena_of(BUFFERS);
        let rx = DpdkRx::open(eal, options, &arena, ME).unwrap_or_else(|e| panic!("{e}"));
        let mut port = Self { rx, arena };
        port.rx.set_access_list(rules, AclAction::Allow);
        port.offer((0..BUFFERS).filter_map(|index| port.arena.table().adopt(index, ME)).collect());
        port
    }

    fn offer(&mut self, mut free: Vec<Held>) {
        self.rx.offer(&self.arena, &mut free);
        for held in free {
            held.release();
        }
    }

    /// The next packet: who sent it and how it stands.
    pub fn receive(&mut self, within: Duration) -> Result<Option<(Option<IpAddr>, Standing)>, PortError> {
        let end = Instant::now() + within;
        let mut out = Vec::with_capacity(1);
        while self.rx.receive(&mut out, 1)? == 0 && Instant::now() < end {}
        let Some(Received { held, peer, standing, .. }) = out.pop() else { return Ok(None) };
        self.offer(vec![held]);
        Ok(Some((peer.get().map(|peer| peer.ip()), standing)))
    }

    /// The same, of datagrams alone, classified: packets that come while a list is built are not.
    pub fn datagram(&mut self, send: impl Fn()) -> Option<(IpAddr, Option<u16>)> {
        let end = Instant::now() + Duration::from_secs(20);
        let mut others = Vec::new();
        while Instant::now() < end {
            send();
            match self.receive(Duration::from_millis(100)).expect("a port") {
                Some((Some(peer), Standing::Matched(rule))) => return Some((peer, rule)),
                other => others.push(other),
            }
        }
        while let Some(notice) = self.rx.take_notice() {
            println!("{notice}");
        }
        println!("the last of {} were {:?}", others.len(), &others[others.len().saturating_sub(3)..]);
        None
    }

    pub fn close(mut self) {
        let mut free = Vec::new();
        self.rx.withdraw(&mut free).expect("the port gives them back");
        for held in free {
            held.release();
        }
    }
}

pub fn deny(source: &str) -> AclRule {
    AclRule { source: Some(source.parse().unwrap()), ..AclRule::all(AclAction::Deny) }
}

/// The environment of this process, or why there is none.
pub fn eal() -> Option<&'static Eal> {
    static EAL: OnceLock<Result<Eal, DpdkError>> = OnceLock::new();
    let prefix = format!("flumeway-access-{}", std::process::id());
    let eal = EAL.get_or_init(|| Eal::init(&EalOptions { prefix, ..EalOptions::default() }));
    match eal {
        Ok(eal) => Some(eal),
        Err(error @ DpdkError::NoHugePages { .. }) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}
