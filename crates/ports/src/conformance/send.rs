//! What a driver must do that sends.

use super::letter::{Letter, done, hand_over, send, send_all, settle};
use super::{Hand, Harness, PATIENCE};
use crate::{SendOutcome, Sent, TxPort};
use arena::Held;
use arena::meta::Address;
use std::time::Duration;

/// How long the suite waits for a packet that must not come.
const SILENCE: Duration = Duration::from_millis(50);

/// What the peer receives next.
fn next(harness: &dyn Harness) -> Vec<u8> {
    harness.peer_recv(PATIENCE).expect("the peer receives what was sent").0
}

/// The successor's first steps: what its predecessor had sent, and that it left nothing for a device behind.
fn inherit(port: &mut dyn TxPort) -> Vec<Sent> {
    let (mut found, mut heads) = (Vec::new(), Vec::new());
    port.found_sent(&mut found);
    port.take_unposted(&mut heads);
    assert!(heads.is_empty(), "{heads:?} were meant for a device and never posted");
    found
}

/// A header and a result that lies elsewhere arrive as one datagram; either part may be missing.
pub fn two_parts_make_one_datagram(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 32);
    let mut port = harness.tx(hand.me);
    let big: Vec<u8> = (0..1200_u32).map(|i| (i * 7) as u8).collect();
    for (first, second) in [(&b"header"[..], &b" and result"[..]), (b"alone", b""), (b"", b"second"), (b"x", &big)] {
        let mut letters = vec![Letter::new(harness, &mut hand, first, second)];
        assert_eq!(send(&mut *port, &hand, &mut letters), [SendOutcome::Sent]);
        port.recorded();
        assert_eq!(next(harness), [first, second].concat());
        done(&mut hand, letters);
    }
}

/// A hundred datagrams arrive in the order in which they were given.
pub fn order_is_kept(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 200);
    let mut port = harness.tx(hand.me);
    let mut letters: Vec<_> = (0..100_u8).map(|n| Letter::new(harness, &mut hand, &[n], &[n; 3])).collect();
    send_all(&mut *port, &hand, &mut letters);
    for n in 0..100_u8 {
        assert_eq!(next(harness), [n; 4]);
    }
    assert_eq!(harness.peer_recv(SILENCE), None, "nothing was sent twice");
    done(&mut hand, letters);
}

/// A reply comes from the address that the request was sent to; without a wish the kernel chooses one, and a driver of
/// links, which knows no routes, refuses it.
pub fn from_the_address_that_was_asked(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 8);
    let mut port = harness.tx(hand.me);
    let mut letters =
        vec![Letter::new(harness, &mut hand, b"from", b"you"), Letter::new(harness, &mut hand, b"any", b"")];
    letters[1].from = Address::NONE;
    let outcomes = send(&mut *port, &hand, &mut letters);
    port.recorded();
    let (bytes, from) = harness.peer_recv(PATIENCE).expect("the first reply");
    assert_eq!((bytes.as_slice(), from), (&b"fromyou"[..], harness.local()));
    if harness.link().is_some() {
        assert_eq!(outcomes, [SendOutcome::Sent, SendOutcome::Failed]);
        assert_eq!(harness.peer_recv(SILENCE), None);
        return done(&mut hand, letters);
    }
    assert_eq!(outcomes, [SendOutcome::Sent; 2]);
    let (bytes, from) = harness.peer_recv(PATIENCE).expect("the second reply");
    assert_eq!((bytes.as_slice(), from.port()), (&b"any"[..], harness.local().port()));
    done(&mut hand, letters);
}

/// Datagrams to nobody, or to where nothing can be sent, fail; those before, between and after them are sent.
pub fn unsendable_fails_alone(harness: &dyn Harness) {
    use SendOutcome::{Failed, Sent};
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.tx(hand.me);
    let posts = port.posts();
    let mut letters: Vec<_> = (0..6_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"")).collect();
    for n in [0, 2] {
        letters[n].to = Address::new(harness.unsendable());
    }
    for n in [3, 5] {
        letters[n].to = Address::NONE;
    }
    assert_eq!(send(&mut *port, &hand, &mut letters), [Failed, Sent, Failed, Failed, Sent, Failed]);
    assert_eq!((next(harness), next(harness)), (vec![1], vec![4]));
    assert_eq!(harness.peer_recv(SILENCE), None);
    // Those that failed are not found as sent; what a device gave back stands in the words.
    drop(port);
    let found = inherit(&mut *harness.tx(hand.me));
    let expected = [letters[1].sent(hand.arena), letters[4].sent(hand.arena)];
    assert_eq!(found, if posts { &[][..] } else { &expected });
    done(&mut hand, letters);
}

/// What goes beyond one burst is left for the next call.
pub fn beyond_the_burst_is_later(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 0);
    let mut port = harness.tx(hand.me);
    let burst = port.burst();
    let count = burst + 3;
    hand.adopt_free(if harness.link().is_some() { count } else { 2 * count });
    let mut letters: Vec<_> = (0..count).map(|_| Letter::new(harness, &mut hand, b"again and again", b"")).collect();
    let outcomes = send(&mut *port, &hand, &mut letters);
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
/// out, and not those that failed. Where a device had them, it gives them back to the successor, settled.
pub fn sent_is_found_after_death(harness: &dyn Harness) {
    if harness.forgets() {
        return what_was_posted_comes_back(harness);
    }
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.tx(hand.me);
    let posts = port.posts();
    let mut letters: Vec<_> = (0..5_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"part")).collect();
    letters[1].last = false; // its last part was not handed over any more
    letters[2].to = Address::new(harness.unsendable());
    let mut earlier = letters.split_off(4);
    send_all(&mut *port, &hand, &mut earlier);
    assert_eq!(next(harness), [4, b'p', b'a', b'r', b't']);
    let outcomes = hand_over(&mut *port, hand.arena, &mut letters);
    assert_eq!(outcomes, [SendOutcome::Sent, SendOutcome::Sent, SendOutcome::Failed, SendOutcome::Sent]);
    let expected = [letters[0].sent(hand.arena), letters[3].sent(hand.arena)];
    let expected = if posts { &[][..] } else { &expected };
    std::mem::forget(port); // a process that is killed tidies nothing up
    let mut second = Hand::new(harness, 2, 0);
    let mut port = harness.tx(second.me);
    let found = inherit(&mut *port);
    assert_eq!(found, expected, "what was recorded earlier is not found");
    assert_eq!(port.is_pending(), posts);
    for n in [0, 1, 3] {
        if n != 1 || !harness.holds_parts_back() {
            assert_eq!(next(harness)[0], n);
        }
    }
    // Killed again before it recorded anything: the next one must know as well.
    std::mem::forget(port);
    second.me.incarnation = 3;
    let mut port = harness.tx(second.me);
    assert_eq!(inherit(&mut *port), found);
    port.recorded();
    settle(&mut *port, &second, &mut letters);
    drop(port);
    second.me.incarnation = 4;
    let mut port = harness.tx(second.me);
    assert_eq!(inherit(&mut *port), [], "recorded by the successor");
    assert!(!port.is_pending());
    assert_eq!(harness.peer_recv(SILENCE), None, "nobody sent anything again");
    done(&mut hand, letters);
    done(&mut hand, earlier);
}

/// A device that was reset says nothing: heads whose last datagram was posted come back settled, those of which a part was come
/// back to be sent again, each once, and the successor sends none of them by itself.
fn what_was_posted_comes_back(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.tx(hand.me);
    let mut letters: Vec<_> = (0..4_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"part")).collect();
    letters[1].last = false;
    letters[2].to = Address::new(harness.unsendable());
    let outcomes = hand_over(&mut *port, hand.arena, &mut letters);
    assert_eq!(outcomes, [SendOutcome::Sent, SendOutcome::Sent, SendOutcome::Failed, SendOutcome::Sent]);
    for n in [0, 1, 3] {
        assert_eq!(next(harness)[0], n);
    }
    std::mem::forget(port);
    hand.me.incarnation = 2;
    let mut port = harness.tx(hand.me);
    let (mut sent, mut again, mut unconfirmed) = (Vec::new(), Vec::new(), Vec::new());
    port.found_sent(&mut sent);
    port.take_unposted(&mut again);
    port.take_unconfirmed(&mut unconfirmed);
    let indices = |heads: &[Held]| heads.iter().map(Held::index).collect::<Vec<_>>();
    let mut expected = [letters[0].head.index(), letters[3].head.index()];
    expected.sort_unstable();
    assert_eq!((sent.len(), indices(&again)), (0, vec![letters[1].head.index()]));
    assert_eq!(indices(&unconfirmed), expected);
    let table = hand.arena.table();
    for (heads, settled) in [(&again, false), (&unconfirmed, true)] {
        assert!(heads.iter().all(|h| table.of(h).is_settled() == settled && table.of(h).owner().is(hand.me)));
    }
    assert!(!port.is_pending());
    let mut more = Vec::new();
    port.take_unposted(&mut more);
    port.take_unconfirmed(&mut more);
    assert!(more.is_empty(), "a second time");
    assert_eq!(harness.peer_recv(SILENCE), None, "nobody sent anything again");
    for held in unconfirmed.into_iter().chain(again) {
        held.release();
    }
    for letter in &mut letters {
        letter.posted = false;
    }
    done(&mut hand, letters);
}

/// What stands in the arena's words is forgotten here.
pub fn recorded_is_not_found(harness: &dyn Harness) {
    let mut hand = Hand::new(harness, 1, 16);
    let mut port = harness.tx(hand.me);
    let mut letters: Vec<_> = (0..3_u8).map(|n| Letter::new(harness, &mut hand, &[n], b"")).collect();
    assert_eq!(send(&mut *port, &hand, &mut letters), [SendOutcome::Sent; 3]);
    port.recorded();
    std::mem::forget(port);
    assert_eq!(inherit(&mut *harness.tx(hand.me)), []);
    done(&mut hand, letters);
}

/// A first incarnation has no predecessor; an empty burst is no burst.
pub fn nothing_sent_nothing_found(harness: &dyn Harness) {
    let hand = Hand::new(harness, 1, 0);
    let mut port = harness.tx(hand.me);
    assert_eq!(inherit(&mut *port), []);
    port.send(&[], &mut []).expect("an empty burst");
    assert!(!port.is_pending());
    drop(port);
    assert_eq!(inherit(&mut *harness.tx(hand.me)), []);
}
