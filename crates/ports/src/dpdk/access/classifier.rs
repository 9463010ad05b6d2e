//! Finding the first rule of the access list that matches a packet, with the library's classifier (rte_acl).
//!
//! Building it takes milliseconds (512 rules: 2 to 30), in which a port would overflow. So a thread of its own builds it, on the
//! cores of the process that started this one. Until it is there packets stay [`Standing::Unfiltered`], which leaves them to
//! rx-gateway's own matcher: a new list is in force at once, and one that cannot be built costs time and nothing else.

use super::super::ffi::reason;
use super::super::rx::pool_name;
use super::super::{DpdkError, Eal};
use super::ffi::{Acl, DESTINATION, KEYS, Key, Match, PORTS, PROTOCOL, SOURCE, VLAN};
use super::matches;
use crate::Standing;
use acl::{AclAction, AclRule, Packet};
use std::net::IpAddr;
use std::thread::JoinHandle;

/// Most memory of a list's classifier for one family; 512 rules take less than 512 KiB. The library looks for a smaller form of
/// one that would take more.
const MAX_BYTES: usize = 16 << 20;
/// Where the builder shares the stage's core, the stage has nine tenths of it.
const NICE: i32 = 10;

/// An access list as a classifier.
#[derive(Debug)]
pub struct Classifier {
    eal: Eal,
    max_bytes: usize,
    form: Form,
    builder: Option<JoinHandle<Result<Built, i32>>>,
    failed: Option<DpdkError>,
    ipv4: Batch,
    ipv6: Batch,
}

/// What the list is now.
#[derive(Debug)]
enum Form {
    /// It lets everything in.
    Trivial,
    /// Not built, or not yet.
    Unbuilt,
    Built(Built),
}

/// The rules of each family; none: no rule matches.
#[derive(Debug)]
struct Built {
    ipv4: Option<Acl>,
    ipv6: Option<Acl>,
}

/// Packets of one family on their way through a classifier.
#[derive(Debug)]
struct Batch {
    keys: Box<[Key; KEYS]>,
    found: Box<[u32; KEYS]>,
    /// Which packet each key is of.
    of: [u8; KEYS],
    count: usize,
}

impl Classifier {
    /// For the list that lets everything in.
    pub fn new(eal: &Eal) -> Self {
        Self::with_limit(eal, MAX_BYTES)
    }

    /// The same, with at most this much of the library's memory for a list's rules of one family.
    pub fn with_limit(eal: &Eal, max_bytes: usize) -> Self {
        Self {
            eal: eal.clone(),
            max_bytes,
            form: Form::Trivial,
            builder: None,
            failed: None,
            ipv4: Batch::new(),
            ipv6: Batch::new(),
        }
    }

    /// Goes by this list from now on. It is built in the background; until then no packet is classified.
    pub fn set(&mut self, rules: &[AclRule], policy: AclAction) {
        // What is still being built for an older list ends with its thread, which nobody waits for.
        (self.builder, self.failed) = (None, None);
        if rules.is_empty() && policy == AclAction::Allow {
            self.form = Form::Trivial;
            return;
        }
        self.form = Form::Unbuilt;
        let [ipv4, ipv6] = [false, true].map(|family| matches(rules, family));
        let max_bytes = self.max_bytes;
        let build = move || {
            stand_aside();
            Ok(Built { ipv4: build(false, &ipv4, max_bytes)?, ipv6: build(true, &ipv6, max_bytes)? })
        };
        match std::thread::Builder::new().name("access-list".to_owned()).spawn(build) {
            Ok(builder) => self.builder = Some(builder),
            Err(error) => self.failed = Some(DpdkError::AccessList { reason: error.to_string(), log: String::new() }),
        }
    }

    /// Takes over what has been built meanwhile.
    #[inline]
    pub fn poll(&mut self) {
        if self.builder.as_ref().is_some_and(JoinHandle::is_finished) {
            self.take_built();
        }
    }

    /// Waits until the list has been built; whether packets are classified by it now.
    pub fn wait(&mut self) -> bool {
        self.take_built();
        !matches!(self.form, Form::Unbuilt)
    }

    /// Why the list was not built, once.
    pub fn take_error(&mut self) -> Option<DpdkError> {
        self.failed.take()
    }

    #[cold]
    fn take_built(&mut self) {
        match self.join() {
            None => {}
            Some(Ok(built)) => self.form = Form::Built(built),
            Some(Err(errno)) => {
                let log = self.eal.control().take();
                self.failed = Some(DpdkError::AccessList { reason: reason(errno), log });
            }
        }
    }

    fn join(&mut self) -> Option<Result<Built, i32>> {
        // A panic in there would be a mistake of this program; the list stays unbuilt then.
        self.builder.take().map(|builder| builder.join().unwrap_or(Err(libc::EFAULT)))
    }

    /// Whether the list lets everything in: there is nothing that must be classified.
    #[inline]
    pub const fn is_trivial(&self) -> bool {
        matches!(self.form, Form::Trivial)
    }

    /// Classifies packets, at most 64: none is one that the list is not about. [`Classifier::answers`] says what came out.
    #[inline]
    pub fn classify(&mut self, packets: impl Iterator<Item = Option<Packet>>) {
        let Self { form, ipv4, ipv6, .. } = self;
        (ipv4.count, ipv6.count) = (0, 0);
        if matches!(form, Form::Unbuilt) {
            return;
        }
        for (n, packet) in packets.take(KEYS).enumerate() {
            let Some(packet) = packet else { continue };
            match (packet.source.to_canonical(), packet.destination.to_canonical()) {
                (IpAddr::V4(from), IpAddr::V4(to)) => ipv4.add(n, &packet, &from.octets(), &to.octets()),
                (IpAddr::V6(from), IpAddr::V6(to)) => ipv6.add(n, &packet, &from.octets(), &to.octets()),
                // An IPv4 address written as an IPv6 one, on one side: for the matcher in software.
                _ => {}
            }
        }
        if let Form::Built(built) = form {
            ipv4.run(built.ipv4.as_ref());
            ipv6.run(built.ipv6.as_ref());
        }
    }

    /// Packets of the last call, counted from 0, and how they stand now. Those that are still unfiltered are not among them.
    #[inline]
    pub fn answers(&self) -> impl Iterator<Item = (usize, Standing)> {
        let trivial = self.is_trivial();
        self.ipv4.answers(trivial).chain(self.ipv6.answers(trivial))
    }
}

impl Drop for Classifier {
    fn drop(&mut self) {
        self.join();
    }
}

impl Batch {
    fn new() -> Self {
        Self { keys: Box::new([[0; _]; KEYS]), found: Box::new([0; KEYS]), of: [0; KEYS], count: 0 }
    }

    /// Nothing but the fields that a packet of this family has is ever written: the rest stays zero.
    #[inline]
    fn add<const BYTES: usize>(&mut self, n: usize, packet: &Packet, from: &[u8; BYTES], to: &[u8; BYTES]) {
        let key = &mut self.keys[self.count];
        key[PROTOCOL] = packet.protocol;
        key[SOURCE..SOURCE + BYTES].copy_from_slice(from);
        key[DESTINATION..DESTINATION + BYTES].copy_from_slice(to);
        key[PORTS..PORTS + 2].copy_from_slice(&packet.source_port.to_be_bytes());
        key[PORTS + 2..PORTS + 4].copy_from_slice(&packet.port.to_be_bytes());
        key[VLAN..VLAN + 4].copy_from_slice(&u32::from(packet.vlan.unwrap_or(0)).to_be_bytes());
        self.of[self.count] = n as u8;
        self.count += 1;
    }

    #[inline]
    fn run(&mut self, acl: Option<&Acl>) {
        match acl {
            Some(acl) if self.count > 0 => acl.classify(&self.keys, &mut self.found, self.count),
            Some(_) => {}
            None => self.found.fill(0),
        }
    }

    #[inline]
    fn answers(&self, trivial: bool) -> impl Iterator<Item = (usize, Standing)> {
        let both = self.of.iter().zip(self.found.iter()).take(self.count);
        both.map(move |(n, found)| {
            let rule = found.checked_sub(1).map(|rule| rule as u16);
            (usize::from(*n), if trivial { Standing::Filtered } else { Standing::Matched(rule) })
        })
    }
}

fn build(ipv6: bool, rules: &[Match], max_bytes: usize) -> Result<Option<Acl>, i32> {
    if rules.is_empty() {
        return Ok(None);
    }
    Acl::build(&pool_name("fw-acl"), ipv6, rules, max_bytes).map(Some)
}

/// Leaves the stage's core: the supervisor's, if it may run on others, is where such work belongs.
fn stand_aside() {
    let own = rustix::thread::sched_getaffinity(None);
    let theirs = rustix::process::getppid().map(|parent| rustix::thread::sched_getaffinity(Some(parent)));
    if let (Ok(own), Some(Ok(mut cores))) = (own, theirs) {
        for core in (0..rustix::thread::CpuSet::MAX_CPU).filter(|core| own.is_set(*core)) {
            cores.unset(core);
        }
        if cores.count() > 0 && rustix::thread::sched_setaffinity(None, &cores).is_ok() {
            return;
        }
    }
    let _ = rustix::process::setpriority_process(None, NICE);
}
