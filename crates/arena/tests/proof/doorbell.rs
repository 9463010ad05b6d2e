//! Nobody sleeps over a commit: either the sleeper sees it in its last look, or the waker sees that it must ring.

use crate::engine::{Explored, dawdle, explore, spawn};
use crate::rig::{C, P, Shm, me, release};
use arena::doorbell::{announce, must_ring};
use arena::sync::Ordering;
use std::sync::Arc;

pub fn no_commit_is_slept_over() -> Explored {
    explore(20, || {
        let shm = Shm::new(1, 0, P, 2, &[(P, C)]);
        let hand = shm.hold(&[0], me(P, 1));
        let (a, b) = (Arc::clone(&shm), Arc::clone(&shm));
        let waker = spawn(move || {
            let mut to = a.ring(0).producer(a.table(), me(P, 1));
            for held in hand {
                assert!(to.push(held).is_ok());
            }
            must_ring(&a.sleeping)
        });
        let sleeper = spawn(move || {
            dawdle();
            let input = b.ring(0).consumer(b.table(), me(C, 1));
            announce(&b.sleeping);
            input.is_empty()
        });
        let (rung, slept) = (waker.join().unwrap(), sleeper.join().unwrap());
        assert!(rung || !slept, "asleep beside a commit, and nobody rings");
        release(shm.drain(0, me(C, 1)));
    })
}

/// The other direction: a producer that waits for room, and a consumer that makes some.
pub fn no_room_is_slept_over() -> Explored {
    explore(20, || {
        let shm = Shm::new(2, 0, P, 2, &[(P, C)]);
        let hand = shm.hold(&[0, 1], me(P, 1));
        shm.push(0, me(P, 1), hand);
        let (a, b) = (Arc::clone(&shm), Arc::clone(&shm));
        let waker = spawn(move || {
            let held = a.ring(0).consumer(a.table(), me(C, 1)).pop().expect("no poison").expect("an entry");
            (must_ring(&a.sleeping), held.release())
        });
        let sleeper = spawn(move || {
            dawdle();
            let to = b.ring(0).producer(b.table(), me(P, 1));
            announce(&b.sleeping);
            to.look() == 2
        });
        let ((rung, _), slept) = (waker.join().unwrap(), sleeper.join().unwrap());
        assert!(rung || !slept, "asleep beside room, and nobody rings");
        assert_eq!(shm.sleeping.load(Ordering::Relaxed), 1);
    })
}
