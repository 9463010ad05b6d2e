//! Which frame a death is laid to, and what becomes of it.
//!
//! A stage says in its page which frame it is at before it works on it. What stands there is an allegation: it counts only
//! if the frame is a head that the dead incarnation still owns under that very sequence number, in no ring, with no fate. An
//! answer to a neighbour is no frame: tx sends each at most once, whoever dies.

use arena::descriptor::{Descriptor, Role};
use arena::sync::Ordering;
use arena::{Arena, Me};
use config::Supervisor;

/// What becomes of a frame that was in hand at a death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sentence {
    /// It is processed again, alone if it was blamed before.
    Replay,
    /// It has killed `max_attempts` incarnations.
    Quarantine,
    /// Deaths that are not its doing have interrupted it `max_interruptions` times.
    GiveUp,
}

/// The head that `dead` was working on, if its word bears that out. To be asked while `dead` is dead and not yet swept.
pub(crate) fn suspect(arena: &Arena, dead: Me) -> Option<u32> {
    let (head, seq) = arena.page(dead.id)?.current()?;
    let d = arena.table().get(head).filter(|_| head < arena.table().buffers())?;
    let word = d.owner();
    let held = word.id == dead.id && word.incarnation <= dead.incarnation && word.seq == seq;
    if !held || d.role() != Role::Head || d.fate().is_some() || d.is_answer() {
        return None;
    }
    // Ring membership wins: an entry committed right before the death is the next stage's already.
    let mut forwarded = false;
    for ring in arena.rings_of(dead.id) {
        ring.for_each(|index, _| forwarded |= index == head);
    }
    (!forwarded).then_some(head)
}

/// Counts a death against the frame and passes sentence. The supervisor alone writes these counters, and only while the
/// stage that held the frame is dead.
pub(crate) fn charge(d: &Descriptor, blamed: bool, limits: &Supervisor) -> Sentence {
    let counter = if blamed { &d.attempts } else { &d.interruptions };
    let count = counter.load(Ordering::Relaxed).saturating_add(1);
    counter.store(count, Ordering::Release);
    match (blamed, count) {
        (true, n) if n >= limits.max_attempts => Sentence::Quarantine,
        (false, n) if n >= limits.max_interruptions => Sentence::GiveUp,
        _ => Sentence::Replay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arena, head_with};
    use arena::OwnerId;
    use arena::descriptor::{Fate, FateKind};
    use arena::topology::RingKind;

    fn infer(arena: &Arena, incarnation: u32) -> Me {
        Me { id: arena.geometry().infer_id(0), incarnation }
    }

    #[test]
    fn the_frame_in_hand_is_the_suspect() {
        let arena = arena();
        let dead = infer(&arena, 3);
        let seq = head_with(&arena, 7, dead);
        let page = arena.page(dead.id).unwrap();
        assert_eq!(suspect(&arena, dead), None, "no frame was named");
        page.set_current(7, seq);
        assert_eq!(suspect(&arena, dead), Some(7));
        page.set_current(7, seq.wrapping_add(1));
        assert_eq!(suspect(&arena, dead), None, "another frame in the same buffer");
        page.set_current(u32::MAX - 1, seq);
        assert_eq!(suspect(&arena, dead), None, "no buffer");
        page.set_current(7, seq);
        assert_eq!(suspect(&arena, infer(&arena, 2)), None, "a newer incarnation's");
        arena.table().get(7).unwrap().set_role(Role::Free);
        assert_eq!(suspect(&arena, dead), None, "no head");
    }

    #[test]
    fn a_frame_that_is_on_its_way_or_ended_is_none() {
        let arena = arena();
        let dead = infer(&arena, 1);
        let seq = head_with(&arena, 9, dead);
        arena.page(dead.id).unwrap().set_current(9, seq);
        let d = arena.table().get(9).unwrap();
        let forward = arena.rings_where(|s| s.kind == RingKind::Forward && s.from == dead.id);
        let mut producer = forward[0].producer(arena.table(), dead);
        let held = arena.table().take(9, dead).unwrap();
        arena.page(dead.id).unwrap().set_current(9, d.owner().seq);
        assert_eq!(suspect(&arena, dead), Some(9));
        producer.push(held).unwrap();
        assert_eq!(d.owner().id, dead.id, "a push leaves the word");
        assert_eq!(suspect(&arena, dead), None, "forwarded");

        let seq = head_with(&arena, 10, dead);
        arena.page(dead.id).unwrap().set_current(10, seq);
        arena.table().get(10).unwrap().set_fate(Fate { kind: FateKind::Dropped, reason: 1 });
        assert_eq!(suspect(&arena, dead), None, "its fate is decided");

        let seq = head_with(&arena, 11, dead);
        arena.page(dead.id).unwrap().set_current(11, seq);
        assert_eq!(suspect(&arena, dead), Some(11));
        arena.table().get(11).unwrap().mark_answer();
        assert_eq!(suspect(&arena, dead), None, "no frame");
        assert_ne!(dead.id, OwnerId::SUPERVISOR);
    }

    #[test]
    fn two_deaths_of_its_doing_quarantine_a_hundred_others_give_up() {
        let arena = arena();
        let limits = config::Pipeline::default_with(config::Engine::Null).supervisor;
        let d = arena.table().get(1).unwrap();
        assert_eq!(charge(d, true, &limits), Sentence::Replay);
        for _ in 0..99 {
            assert_eq!(charge(d, false, &limits), Sentence::Replay);
        }
        assert_eq!(charge(d, false, &limits), Sentence::GiveUp);
        assert_eq!(charge(d, true, &limits), Sentence::Quarantine);
    }
}
