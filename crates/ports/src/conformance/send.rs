//! What a driver must do that sends.

use super::{Hand, Harness, PATIENCE};
use crate::{Datagram, SendOutcome, Sent, TxPort};
use arena::layout::DATA_OFFSET;
use arena::meta::Address;
use arena::{Arena, Held};
use std::time::Duration;

/// How long the suite waits for a packet that must not come.
const SILENCE: Duration = Duration::from_millis(50);

/// A reply in two buffers of the arena.
struct Letter {
    head: Held,
    first_len: usize,
    rest: Held,
    second_len: usize,
    to: Address,
    from: Address,
    last: bool,
}

impl Letter {
    /// To the peer, from the address that it sends to.
    fn new(harness: &dyn Harness, hand: &mut Hand<'_>, first: &[u8], second: &[u8]) -> Self {
        let (head, rest) = (write(hand, first), write(hand, second));
        let (to, from) = (Address::new(harness.peer()), Address::new(harness.local()));
        Self { head, first_len: first.len(), rest, second_len: second.len(), to, from, last: true }
    }

    fn datagram<'a>(&'a self, arena: &'a Arena) -> Datagram<'a> {
        let from = DATA_OFFSET as usize;
        Datagram {
            head: &self.head,
            seq: arena.table().of(&self.head).owner().seq,
            last: self.last,
            first: &arena.packet(&self.head)[from..from + self.first_len],
            second: &arena.packet(&self.rest)[from..from + self.second_len],
            to: self.to,
            from: self.from,
            offset: DATA_OFFSET,
            link: None,
        }
    }

    fn sent(&self, arena: &Arena) -> Sent {
        Sent { head: self.head.index(), seq: arena.table().of(&self.head).owner().seq }
    }
}

fn write(hand: &mut Hand<'_>, bytes: &[u8]) -> Held {
    let mut held = hand.free.pop().expect("the check took enough buffers");
    let from = DATA_OFFSET as usize;
    hand.arena.packet_mut(&mut held)[from..from + bytes.len()].copy_from_slice(bytes);
    held
}

/// The letters' buffers are free again, or lost with their process.
fn done(hand: &mut Hand<'_>, letters: Vec<Letter>) {
    hand.free.extend(letters.into_iter().flat_map(|l| [l.head, l.rest]));
}

fn send(port: &mut dyn TxPort, arena: &Arena, letters: &[Letter]) -> Vec<SendOutcome> {
    let datagrams: Vec<_> = letters.iter().map(|l| l.datagram(arena)).collect();
    let mut outcomes = vec![SendOutcome::Failed; letters.len()];
    port.send(&datagrams, &mut outcomes).expect("the driver sends");
    outcomes
}

/// Sends all, burst by burst; none may fail.
fn send_all(port: &mut dyn TxPort, arena: &Arena, mut letters: &[Letter]) {
    while !letters.is_empty() {
        let outcomes = send(port, arena, letters);
        let sent = outcomes.iter().take_while(|o| **o == SendOutcome::Sent).count();
        assert!(outcomes[sent..].iter().all(|o| *o == SendOutcome::Later), "{outcomes:?}");
        letters = &letters[sent..];
        port.recorded();
    }
}

/// What the peer receives next.
fn next(harness: &dyn Harness) -> Vec<u8> {
    harness.peer_recv(PATIENCE).expect("the peer receives what was sent").0
}

/// A header and a result that lies elsewhere arrive as one datagram; either part may be missing.
pub fn two_parts_make_one_datagram(harness: &dyn Harness) {
    let mut hand = Hand::new(harness.arena(), 1, 32);
    let mut port = harness.tx();
    let big: Vec<u8> = (0..1200_u32).map(|i| (i * 7) as u8).collect();
    for (first, second) in [(&b"header"[..], &b" and result"[..]), (b"alone", b""), (b"", b"second"), (b"x", &big)] {
        let letters = vec![Letter::new(harness, &mut hand, first, second)];
        assert_eq!(send(&mut *port, hand.arena, &letters), [SendOutcome::Sent]);
        port.recorded();
        assert_eq!(next(harness), [first, second].concat());
        done(&mut hand, letters);
    }
}

/// A hundred datagrams arrive in the order in which they were given.
pub fn order_is_kept(harness: &dyn Harness) {
    let mut hand = Hand::new(harness.arena(), 1, 200);
    let mut port = harness.tx();
    let letters: Vec<_> = (0..100_u8).map(|n| Letter::new(harness, &mut hand, &[n], &[n; 3])).collect();
    send_all(&mut *port, hand.arena, &letters);
    for n in 0..100_u8 {
        assert_eq!(next(harness), [n; 4]);
    }
    assert_eq!(harness.peer_recv(SILENCE), None, "nothing was sent twice");
    done(&mut hand, letters);
}

/// A reply comes from the address that the request was sent to; without a wish the driver chooses one.
pub fn from_the_address_that_was_asked(harness: &dyn Harness) {
    let mut hand = Hand::new(harness.arena(), 1, 8);
    let mut port = harness.tx();
    let mut letters =
        vec![Letter::new(harness, &mut hand, b"from", b"you"), Letter::new(harness, &mut hand, b"any", b"")];
    letters[1].from = Address::NONE;
    send_all(&mut *port, hand.arena, &letters);
    let (bytes, from) = harness.peer_recv(PATIENCE).expect("the first reply");
    assert_eq!((bytes.as_slice(), from), (&b"fromyou"[..], harness.local()));
    let (bytes, from) = harness.peer_recv(PATIENCE).expect("the second reply");
    assert_eq!((bytes.as_slice(), from.port()), (&b"any"[..], harness.local().port()));
    done(&mut hand, letters);
}

/// Datagrams to nobody, or to where nothing can be sent, fail; those before, between and after them are sent.
pub fn unsendable_fails_alone(harness: &dyn Harness) {
    use SendOutcome::{Failed, Sent};
    let mut hand = Hand::new(harness.arena(), 1, 16);
    let mut port = harness.tx();
    let mut letters: Vec<_> = (0..6_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"")).collect();
    for n in [0, 2] {
        letters[n].to = Address::new(harness.unsendable());
    }
    for n in [3, 5] {
        letters[n].to = Address::NONE;
    }
    assert_eq!(send(&mut *port, hand.arena, &letters), [Failed, Sent, Failed, Failed, Sent, Failed]);
    assert_eq!((next(harness), next(harness)), (vec![1], vec![4]));
    assert_eq!(harness.peer_recv(SILENCE), None);
    // Those that failed are not found as sent.
    let mut found = Vec::new();
    drop(port);
    harness.tx().found_sent(&mut found);
    assert_eq!(found, [letters[1].sent(hand.arena), letters[4].sent(hand.arena)]);
    done(&mut hand, letters);
}

/// What goes beyond one burst is left for the next call.
pub fn beyond_the_burst_is_later(harness: &dyn Harness) {
    let mut port = harness.tx();
    let burst = port.burst();
    let mut hand = Hand::new(harness.arena(), 1, 2);
    let letters = vec![Letter::new(harness, &mut hand, b"again and again", b"")];
    let datagrams = vec![letters[0].datagram(hand.arena); burst + 3];
    let mut outcomes = vec![SendOutcome::Failed; burst + 3];
    port.send(&datagrams, &mut outcomes).expect("the driver sends");
    let sent = outcomes.iter().take_while(|o| **o == SendOutcome::Sent).count();
    assert!((1..=burst).contains(&sent), "{sent} of a burst of {burst} were sent");
    assert!(outcomes[sent..].iter().all(|o| *o == SendOutcome::Later));
    for _ in 0..sent {
        assert_eq!(next(harness), b"again and again");
    }
    assert_eq!(harness.peer_recv(SILENCE), None, "what is for later was not sent");
    done(&mut hand, letters);
}

/// After a kill the successor is told exactly the heads whose last datagram went out: not those of which a part went
/// out, and not those that failed.
pub fn sent_is_found_after_death(harness: &dyn Harness) {
    let mut hand = Hand::new(harness.arena(), 1, 16);
    let mut port = harness.tx();
    let mut letters: Vec<_> = (0..5_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"part")).collect();
    letters[1].last = false; // its last part was not handed over any more
    letters[2].to = Address::new(harness.unsendable());
    let earlier = letters.split_off(4);
    send_all(&mut *port, hand.arena, &earlier);
    assert_eq!(next(harness), [4, b'p', b'a', b'r', b't']);
    let outcomes = send(&mut *port, hand.arena, &letters);
    assert_eq!(outcomes, [SendOutcome::Sent, SendOutcome::Sent, SendOutcome::Failed, SendOutcome::Sent]);
    std::mem::forget(port); // a process that is killed tidies nothing up
    let mut found = Vec::new();
    let mut port = harness.tx();
    port.found_sent(&mut found);
    assert_eq!(
        found,
        [letters[0].sent(hand.arena), letters[3].sent(hand.arena)],
        "what was recorded earlier is not found"
    );
    for n in [0, 1, 3] {
        assert_eq!(next(harness)[0], n);
    }
    // Killed again before it recorded anything: the next one must know as well.
    std::mem::forget(port);
    let mut again = Vec::new();
    let mut port = harness.tx();
    port.found_sent(&mut again);
    assert_eq!(again, found);
    port.recorded();
    drop(port);
    again.clear();
    harness.tx().found_sent(&mut again);
    assert_eq!(again, [], "recorded by the successor");
    assert_eq!(harness.peer_recv(SILENCE), None, "nobody sent anything again");
    done(&mut hand, letters);
    done(&mut hand, earlier);
}

/// What stands in the arena's words is forgotten here.
pub fn recorded_is_not_found(harness: &dyn Harness) {
    let mut hand = Hand::new(harness.arena(), 1, 16);
    let mut port = harness.tx();
    let letters: Vec<_> = (0..3_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"")).collect();
    assert_eq!(send(&mut *port, hand.arena, &letters), [SendOutcome::Sent; 3]);
    port.recorded();
    std::mem::forget(port);
    let mut found = Vec::new();
    harness.tx().found_sent(&mut found);
    assert_eq!(found, []);
    done(&mut hand, letters);
}

/// A first incarnation has no predecessor; an empty burst is no burst.
pub fn nothing_sent_nothing_found(harness: &dyn Harness) {
    let mut port = harness.tx();
    let mut found = Vec::new();
    port.found_sent(&mut found);
    port.send(&[], &mut []).expect("an empty burst");
    drop(port);
    harness.tx().found_sent(&mut found);
    assert_eq!(found, []);
}
