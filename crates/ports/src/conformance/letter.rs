//! Replies for the checks of senders, and what brings their heads back.

use super::{Hand, Harness, PATIENCE};
use crate::{Datagram, Reaped, Route, SendOutcome, Sent, TxPort};
use arena::descriptor::{DataRange, Fate, FateKind};
use arena::layout::DATA_OFFSET;
use arena::meta::{Address, Link};
use arena::{Arena, Held};
use std::time::Instant;

/// A reply in two buffers of the arena; for a driver of links, whole in the first.
pub(super) struct Letter {
    pub head: Held,
    first_len: usize,
    rest: Option<Held>,
    second_len: usize,
    pub to: Address,
    pub from: Address,
    pub last: bool,
    link: Option<Link>,
    /// Where the whole frame lies.
    frame: DataRange,
    /// It went into a device's ring.
    pub posted: bool,
}

impl Letter {
    /// To the peer, from the address that it sends to.
    pub fn new(harness: &dyn Harness, hand: &mut Hand<'_>, first: &[u8], second: &[u8]) -> Self {
        let (to, from) = (Address::new(harness.peer()), Address::new(harness.local()));
        let link = harness.link();
        let (whole, rest) = match link {
            Some(_) => ([first, second].concat(), None),
            None => (first.to_vec(), Some(write(hand, second))),
        };
        Self {
            head: write(hand, &whole),
            first_len: whole.len(),
            rest,
            second_len: second.len(),
            to,
            from,
            last: true,
            link,
            frame: DataRange { offset: DATA_OFFSET, len: 0 },
            posted: false,
        }
    }

    /// Writes the headers, where the driver has it so. What cannot be written stays without, and the driver must refuse it.
    fn prepare(&mut self, port: &dyn TxPort, arena: &Arena) {
        let Some(link) = self.link else { return };
        let payload = DataRange { offset: DATA_OFFSET, len: self.first_len as u16 };
        let route = Route { to: self.to, from: self.from, link };
        let frame = port.enclose(arena.packet_mut(&mut self.head), payload, &route);
        self.frame = frame.unwrap_or(DataRange { len: 0, ..payload });
    }

    fn datagram<'a>(&'a self, arena: &'a Arena) -> Datagram<'a> {
        let from = DATA_OFFSET as usize;
        let (whole, offset, second) = match (&self.rest, self.frame) {
            (Some(rest), _) => {
                let second = &arena.packet(rest)[from..from + self.second_len];
                (from..from + self.first_len, DATA_OFFSET, second)
            }
            (None, DataRange { offset, len }) => {
                (offset.into()..usize::from(offset) + usize::from(len), offset, &[][..])
            }
        };
        Datagram {
            head: &self.head,
            seq: arena.table().of(&self.head).owner().seq,
            last: self.last,
            first: &arena.packet(&self.head)[whole],
            second,
            to: self.to,
            from: self.from,
            offset,
            link: self.link,
        }
    }

    pub fn sent(&self, arena: &Arena) -> Sent {
        Sent { head: self.head.index(), seq: arena.table().of(&self.head).owner().seq }
    }
}

fn write(hand: &mut Hand<'_>, bytes: &[u8]) -> Held {
    let mut held = hand.free.pop().expect("the check took enough buffers");
    // As of a frame that has not ended.
    hand.arena.table().of(&held).reset();
    let from = DATA_OFFSET as usize;
    hand.arena.packet_mut(&mut held)[from..from + bytes.len()].copy_from_slice(bytes);
    held
}

/// The letters' buffers are free again, or lost with their process.
pub(super) fn done(hand: &mut Hand<'_>, letters: Vec<Letter>) {
    for letter in letters {
        assert!(!letter.posted, "a device has the head");
        hand.free.push(letter.head);
        hand.free.extend(letter.rest);
    }
}

/// Hands the letters over. A posted one counts as sent here; [`settle`] gets its head back.
pub(super) fn hand_over(port: &mut dyn TxPort, arena: &Arena, letters: &mut [Letter]) -> Vec<SendOutcome> {
    for letter in letters.iter_mut() {
        letter.prepare(port, arena);
    }
    let datagrams: Vec<_> = letters.iter().map(|l| l.datagram(arena)).collect();
    let mut outcomes = vec![SendOutcome::Failed; letters.len()];
    port.send(&datagrams, &mut outcomes).expect("the driver sends");
    let refused = if port.posts() { SendOutcome::Sent } else { SendOutcome::Posted };
    assert!(!outcomes.contains(&refused), "a driver posts, or it sends: {outcomes:?}");
    for (letter, outcome) in letters.iter_mut().zip(&mut outcomes) {
        if *outcome == SendOutcome::Posted {
            let word = arena.table().of(&letter.head).owner();
            assert!(word.id.is_device_tx(), "a head that was posted is {word:?}'s");
            (*outcome, letter.posted) = (SendOutcome::Sent, true);
        }
    }
    outcomes
}

/// Waits until the device has given back every head, each once, settled if nothing more was to follow.
pub(super) fn settle(port: &mut dyn TxPort, hand: &Hand<'_>, letters: &mut [Letter]) {
    let start = Instant::now();
    let table = hand.arena.table();
    while letters.iter().any(|letter| letter.posted) {
        assert!(start.elapsed() < PATIENCE, "a head does not come back");
        let mut back = Vec::with_capacity(8);
        port.reap(&mut back);
        for Reaped { held, last } in back {
            let letter = letters.iter_mut().find(|l| l.posted && l.head.index() == held.index());
            let letter = letter.expect("a head that was posted, and is not back yet");
            let d = table.of(&held);
            assert!(d.owner().is(hand.me), "{:?}", d.owner());
            let fate = last.then_some(Fate { kind: FateKind::Answered, reason: 0 });
            assert_eq!((last, d.is_settled(), d.fate()), (letter.last, letter.last, fate));
            std::mem::replace(&mut letter.head, held).release();
            letter.posted = false;
        }
    }
    assert!(!port.is_pending(), "all is back");
}

/// Hands the letters over, and has the heads back.
pub(super) fn send(port: &mut dyn TxPort, hand: &Hand<'_>, letters: &mut [Letter]) -> Vec<SendOutcome> {
    let outcomes = hand_over(port, hand.arena, letters);
    settle(port, hand, letters);
    outcomes
}

/// Sends all, burst by burst; none may fail.
pub(super) fn send_all(port: &mut dyn TxPort, hand: &Hand<'_>, mut letters: &mut [Letter]) {
    while !letters.is_empty() {
        let outcomes = send(port, hand, letters);
        let sent = outcomes.iter().take_while(|o| **o == SendOutcome::Sent).count();
        assert!(outcomes[sent..].iter().all(|o| *o == SendOutcome::Later), "{outcomes:?}");
        letters = &mut letters[sent..];
        port.recorded();
    }
}
