//! The frames' ledger and the buffers' audit as JSON.

use super::ok;
use arena::counters::Verdict;
use arena::descriptor::{Fate, FateKind};
use arena::sync::Ordering;
use arena::{Arena, OwnerId};
use serde_json::{Map, Value, json};
use wire::{BadRequestReason, DropReason};

/// Attempts at a snapshot that adds up while frames move.
const TRIES: u32 = 64;

/// The ledger: frames received and what became of them, packets by verdict, the audit.
pub fn ledger_json(arena: &Arena) -> Value {
    let ledger = arena.ledger(TRIES);
    let cells = || ledger.cells.iter().enumerate().filter_map(|(cell, n)| Some((Fate::from_cell(cell)?, *n)));
    let total =
        |kind: FateKind| -> u64 { cells().filter(|(f, _)| f.kind == kind).fold(0, |sum, (_, n)| sum.wrapping_add(n)) };
    let by_reason = |kind: FateKind| -> Map<String, Value> {
        let mine = cells().filter(|(f, n)| f.kind == kind && *n > 0);
        mine.map(|(f, n)| (reason_name(f), json!(n))).collect()
    };
    let count = |cell: usize| -> u64 {
        let counts = arena.gateways().filter_map(|page| page.packets.get(cell));
        counts.fold(0, |sum, c| sum.wrapping_add(c.load(Ordering::Acquire)))
    };
    let packets: Map<String, Value> =
        Verdict::ALL.iter().map(|(cell, name)| ((*name).to_owned(), json!(count(*cell)))).collect();
    ok(json!({
        "received": ledger.received,
        "answered": total(FateKind::Answered),
        "dropped": by_reason(FateKind::Dropped),
        "bad_request": by_reason(FateKind::BadRequest),
        "quarantined": total(FateKind::Quarantined),
        "in_flight": ledger.in_flight,
        "settled": ledger.settled,
        "balanced": ledger.balanced(),
        "packets": packets,
        "audit": audit_json(arena),
    }))
}

/// What one rx-gateway has of all that: its buffers, and its frames. `null` for any other stage.
pub(crate) fn share_json(arena: &Arena, gateway: OwnerId) -> Value {
    if !arena.geometry().is_gateway(gateway) {
        return Value::Null;
    }
    let (ledger, buffers) = (arena.ledger_of(gateway, TRIES), arena.geometry().home_range(gateway));
    json!({
        "buffers": buffers.len(), "received": ledger.received, "finished": ledger.finished(),
        "in_flight": ledger.in_flight, "balanced": ledger.balanced(),
    })
}

/// Where every buffer and slot is.
pub fn audit_json(arena: &Arena) -> Value {
    let audit = arena.audit();
    json!({
        "free": audit.free, "with_device": audit.with_device, "assembling": audit.assembling, "heads": audit.heads,
        "answers": audit.answers, "segments": audit.segments,
        "slots_free": audit.slots_free, "slots_attached": audit.slots_attached, "doubled": audit.doubled,
        "orphaned_buffers": audit.orphaned_buffers, "orphaned_slots": audit.orphaned_slots, "sound": audit.sound(),
        "buffers": arena.geometry().buffers, "slots": arena.geometry().slots,
    })
}

/// A reason's name on the wire; numbers above 62 do not fit a cell, and 63 stands for them.
fn reason_name(fate: Fate) -> String {
    let code = if fate.reason == 63 { 255 } else { fate.reason };
    let name = match fate.kind {
        FateKind::Dropped => DropReason::from_u8(code).map(DropReason::name),
        FateKind::BadRequest => BadRequestReason::from_u8(code).map(BadRequestReason::name),
        FateKind::Answered | FateKind::Quarantined => None,
    };
    name.map_or_else(|| format!("reason-{code}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::arena;
    use arena::topology::RX;

    #[test]
    fn a_fresh_arena_balances_at_nothing() {
        let ledger = ledger_json(&arena());
        assert_eq!((&ledger["received"], &ledger["balanced"]), (&json!(0), &json!(true)));
        assert_eq!(ledger["dropped"], json!({}));
        assert_eq!(ledger["audit"]["free"], json!(64));
        assert_eq!(ledger["audit"]["slots_free"], json!(8));
        assert_eq!(ledger["packets"]["duplicate"], json!(0));
    }

    #[test]
    fn fates_are_counted_under_their_names() {
        let arena = arena();
        let page = arena.gateway(RX).unwrap();
        let add = |kind, reason, n: u64| page.cells[Fate { kind, reason }.cell()].store(n, Ordering::Release);
        add(FateKind::Answered, 0, 5);
        add(FateKind::Dropped, DropReason::Deadline.code(), 2);
        add(FateKind::Dropped, 63, 1);
        add(FateKind::BadRequest, BadRequestReason::DecodeFailed.code(), 1);
        add(FateKind::Quarantined, 3, 1);
        page.received.store(10, Ordering::Release);
        let ledger = ledger_json(&arena);
        assert_eq!(ledger["answered"], json!(5));
        assert_eq!(ledger["dropped"], json!({ "deadline": 2, "other": 1 }));
        assert_eq!(ledger["bad_request"], json!({ "decode-failed": 1 }));
        assert_eq!((&ledger["quarantined"], &ledger["balanced"]), (&json!(1), &json!(true)));
        page.received.store(11, Ordering::Release);
        assert_eq!(ledger_json(&arena)["balanced"], json!(false));
    }
}
