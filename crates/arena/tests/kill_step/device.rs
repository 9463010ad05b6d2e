//! Deaths around the rings of a device. The test is the kernel: it takes what stands before the producer.

use crate::scenario::Deaths;
use crate::stages::sorted;
use crate::world::{ForChild, World, me, release};
use arena::descriptor::Role;
use arena::device::Posted;
use arena::device_ring::DeviceRing;
use arena::sync::Ordering;
use arena::topology::{RX, RingKind, TX};
use arena::{Held, Me, OwnerId};

const THREE: [u32; 3] = [0, 1, 2];
/// What rx-gateway keeps when the buffers 0, 1 and 2 are elsewhere.
const REST: [u32; 13] = crate::stages::REST;
const FILL: OwnerId = OwnerId::device_rx(3);
const SEND: OwnerId = OwnerId::device_tx(3);

/// Addresses in the ring from `from` on, as buffer numbers.
fn entries(ring: &DeviceRing, from: u32, to: u32) -> Vec<u32> {
    let count = to.wrapping_sub(from);
    (0..count).map(|n| (ring.address(from.wrapping_add(n)) / 4096) as u32).collect()
}

/// What a stage does that posts: entry, word, and the producer for all together.
fn post_all(world: &World, ring: &DeviceRing, device: OwnerId, who: Me, handles: &mut Vec<Held>) {
    let mut position = ring.producer();
    for held in handles.drain(..) {
        ring.set(position, u64::from(held.index()) * 4096, 64);
        world.arena.table().post(&held, device, who, Posted { position, last: true });
        held.release();
        position = position.wrapping_add(1);
    }
    ring.set_producer(position);
}

/// They have been with the device before, half a ring ago: a position that is left over must not count.
fn posted_before(world: &World) {
    for d in THREE.iter().filter_map(|i| world.arena.table().get(*i)) {
        d.posted_at.store((u32::MAX - 4).into(), Ordering::Release);
    }
}

/// As the kernel holds them: the words name the queue, and the poster's incarnation.
fn with_kernel(device: OwnerId, poster: Me) -> Me {
    Me { id: device, incarnation: poster.incarnation }
}

/// Free buffers are posted to FILL: whatever the kernel may take is its own, and all else is the successor's.
#[test]
fn gateway_fills_a_queue() {
    let (world, who) = (World::new(), me(RX, 1));
    let ring = world.device_ring(&world.ring(RingKind::Status, OwnerId::SUPERVISOR, TX), 8);
    posted_before(&world);
    let handles = ForChild::new(THREE.iter().map(|i| world.take(*i, who)).collect());
    let op = || post_all(&world, &ring, FILL, who, &mut handles.hand());
    world.kill_each("post three to FILL", Deaths::Each, 20..=300, &op, |at| {
        let (next, producer) = (me(RX, 2), ring.producer());
        let kernel = entries(&ring, ring.consumer(), producer);
        assert!(kernel.is_empty() || kernel == THREE, "death {at}: the producer is stored once");
        world.reclaim(who);
        let mut hand = Vec::new();
        world.arena.table().take_unposted(FILL, producer, next, &mut hand);
        hand.extend(world.adopt(next));
        let hand = sorted(release(hand));
        world.audit(at, &[(next, &hand), (with_kernel(FILL, who), &kernel)]);
    });
}

/// Entries of RX are claimed and recorded one by one: each packet is found unclaimed, claimed and unrecorded, or recorded.
#[test]
fn gateway_takes_packets() {
    let (world, who) = (World::new(), me(RX, 1));
    let ring = world.device_ring(&world.ring(RingKind::Status, OwnerId::SUPERVISOR, TX), 16);
    let mut handles: Vec<_> = THREE.iter().map(|i| world.take(*i, who)).collect();
    post_all(&world, &ring, FILL, who, &mut handles);
    let (table, room) = (world.arena.table(), ForChild::room(3));
    let op = || {
        let producer = ring.producer();
        let mut position = ring.consumer();
        while position != producer {
            let index = (ring.address(position) / 4096) as u32;
            if let (Some(held), Some(d)) = (table.claim(index, FILL, who), table.get(index)) {
                d.set_role(Role::Assembling); // recorded
                room.hand().push(held);
            }
            position = position.wrapping_add(1);
            ring.set_consumer(position);
        }
    };
    world.kill_each("take three from RX", Deaths::Each, 20..=400, &op, |at| {
        let next = me(RX, 2);
        let waiting = entries(&ring, ring.consumer(), ring.producer());
        // The rule of the driver: claimed entries come first, and a claimed one without a role is a packet to process.
        let unclaimed: Vec<_> = waiting.iter().copied().filter(|i| table.is_with(*i, FILL)).collect();
        assert!(waiting.ends_with(&unclaimed), "death {at}: {waiting:?}, unclaimed {unclaimed:?}");
        let claimed = &waiting[..waiting.len() - unclaimed.len()];
        assert!(claimed.len() <= 1, "death {at}: {claimed:?} claimed and not consumed");
        let free = |i: &&u32| table.get(**i).unwrap().role() == Role::Free;
        let refound = claimed.iter().filter(free).count();
        let recorded = THREE.iter().filter(|i| table.get(**i).unwrap().role() == Role::Assembling).count();
        assert_eq!(unclaimed.len() + refound + recorded, 3, "death {at}: each packet once");
        world.reclaim(who);
        let hand = sorted(release(world.adopt(next)));
        for index in &hand {
            table.get(*index).unwrap().set_role(Role::Free);
        }
        world.audit(at, &[(next, &hand), (with_kernel(FILL, who), &unclaimed)]);
    });
}

/// Heads are posted to TX: each is sent by the kernel, or comes back to the successor unanswered.
#[test]
fn tx_posts_replies() {
    let (world, who) = (World::new(), me(TX, 1));
    let ring = world.device_ring(&world.ring(RingKind::Status, OwnerId::SUPERVISOR, TX), 16);
    posted_before(&world);
    let handles = ForChild::new(world.heads(&THREE, who));
    let op = || post_all(&world, &ring, SEND, who, &mut handles.hand());
    world.kill_each("post three to TX", Deaths::Each, 20..=300, &op, |at| {
        let (table, next, producer) = (world.arena.table(), me(TX, 2), ring.producer());
        let sent = entries(&ring, ring.consumer(), producer);
        world.reclaim(who);
        let mut again = world.recovered(next);
        table.take_unposted(SEND, producer, next, &mut again);
        assert!(again.iter().all(|held| !table.of(held).is_settled()), "death {at}: not sent, and settled");
        let again = sorted(release(again));
        assert_eq!(sorted([sent.clone(), again.clone()].concat()), THREE, "death {at}: sent, or to be sent again");
        world.audit(at, &[(me(RX, 1), &REST), (next, &again), (with_kernel(SEND, who), &sent)]);
    });
}

/// Heads come back through COMPLETION: each is settled and in one hand, and none is sent again.
#[test]
fn tx_reaps_completions() {
    let (world, who) = (World::new(), me(TX, 1));
    let ring = world.device_ring(&world.ring(RingKind::Status, OwnerId::SUPERVISOR, TX), 8);
    let mut handles = world.heads(&THREE, who);
    post_all(&world, &ring, SEND, who, &mut handles);
    let (table, room) = (world.arena.table(), ForChild::room(3));
    let reap = |who: Me, out: &mut Vec<Held>| {
        let (mut position, producer) = (ring.consumer(), ring.producer());
        while position != producer {
            let index = (ring.address(position) / 4096) as u32;
            out.extend(table.complete(index, SEND, who).map(|(held, _)| held));
            position = position.wrapping_add(1);
        }
        ring.set_consumer(position);
    };
    let op = || reap(who, &mut room.hand());
    world.kill_each("reap three", Deaths::Each, 20..=500, &op, |at| {
        let next = me(TX, 2);
        world.reclaim(who);
        let mut hand = world.recovered(next);
        assert!(hand.iter().all(|held| table.of(held).is_settled()), "death {at}: claimed before it was settled");
        reap(next, &mut hand);
        let hand = sorted(release(hand));
        assert_eq!(hand, THREE, "death {at}");
        assert!(THREE.iter().all(|i| table.get(*i).unwrap().is_settled()), "death {at}");
        world.audit(at, &[(me(RX, 1), &REST), (next, &hand)]);
    });
}
