//! Everything about the processes, rings and memory as JSON.

use super::ledger::share_json;
use super::{microseconds, ok};
use crate::instance::{Phase, Unit};
use crate::recovery::kill_point_hit;
use crate::start::Supervisor;
use arena::counters::{InferCounter, PreCounter, RxCounter, TxCounter};
use arena::histogram::Histogram;
use arena::page::StagePage;
use arena::sync::Ordering;
use arena::topology::RingKind;
use arena::{Arena, Geometry, OwnerId, StageKind, now_ns};
use serde_json::{Map, Value, json};

/// The status of a pipeline, as the control socket answers it.
pub fn status_json(supervisor: &mut Supervisor) -> Value {
    let ingress = supervisor.holdings.ingress.report(&supervisor.pipeline, &supervisor.holdings.arena);
    let arena = &supervisor.holdings.arena;
    let regions = &supervisor.holdings.regions;
    let now_ns = now_ns();
    let stages: Vec<Value> = supervisor.units.iter().filter_map(|u| stage(arena, u, now_ns)).collect();
    let rings: Vec<Value> = arena
        .layout()
        .rings
        .iter()
        .map(|spec| {
            json!({
                "id": spec.id.0, "kind": ring_kind(spec.kind),
                "from": owner_name(arena.geometry(), spec.from), "to": owner_name(arena.geometry(), spec.to),
                "depth": arena.ring(spec.id).depth(), "capacity": spec.capacity,
            })
        })
        .collect();
    ok(json!({
        "name": supervisor.pipeline.general.name,
        "state": supervisor.mode.name(),
        "pid": std::process::id(),
        "uptime_ms": now_ns.saturating_sub(supervisor.started_ns) / 1_000_000,
        "listen": supervisor.holdings.ingress.local_addr().to_string(),
        "control_socket": supervisor.control.path(),
        "ingress": ingress,
        "stages": stages,
        "rings": rings,
        "arena": {
            "buffers": arena.geometry().buffers,
            "slots": arena.geometry().slots,
            "hugepages": regions.packets.huge,
            "bytes": {
                "control": regions.control.len, "packets": regions.packets.len,
                "inputs": regions.inputs.len, "outputs": regions.outputs.len,
            },
        },
        "models": models(supervisor),
        "config_generation": supervisor.generation,
        "repairs": { "carried_out": supervisor.repairs.total, "words_restored": supervisor.patrol.restored },
    }))
}

fn models(supervisor: &Supervisor) -> Vec<Value> {
    let networks = supervisor.pipeline.networks.iter().zip(&supervisor.choices).enumerate();
    let model = networks.map(|(number, (network, choice))| {
        json!({
            "name": network.model.name,
            "file": network.model.file,
            "sha256": network.facts.sha256,
            "previous": supervisor.previous.get(&number).map(|version| &version.file),
            "shadow": shadow(supervisor, number),
            "engine": network.model.engine,
            "chosen_from": choice.as_ref().map(|choice| &choice.table["candidates"]),
            "remembered": choice.as_ref().map(|choice| choice.remembered),
        })
    });
    model.collect()
}

/// What is tried beside network `number`, and how it compares.
fn shadow(supervisor: &Supervisor, number: usize) -> Option<Value> {
    let shadow = supervisor.pipeline.shadows.iter().find(|shadow| shadow.number == number)?;
    let (now, base) = (supervisor.shadow_counts(), supervisor.shadow_base);
    let count = |n: usize| now[n].saturating_sub(base[n]);
    Some(json!({
        "file": shadow.file,
        "sha256": shadow.sha256,
        "engine": shadow.engine,
        "percent": shadow.percent,
        "frames": count(0),
        "differs": count(1),
        "other_best": count(2),
        "errors": count(3),
    }))
}

fn stage(arena: &Arena, unit: &Unit, now_ns: u64) -> Option<Value> {
    let page = arena.page(unit.id)?;
    let heartbeat_ns = page.heartbeat_ns.load(Ordering::Acquire);
    let parked_reason = match &unit.phase {
        Phase::Parked { reason } => Some(reason),
        _ => None,
    };
    Some(json!({
        "name": unit.name(),
        "owner": unit.id.0,
        // A rx-gateway's own part of the ledger.
        "share": share_json(arena, unit.id),
        "pid": unit.process.as_ref().map(|p| p.pid),
        "state": unit.phase.name(),
        // Active from the order on; at work when the stage has taken over, and started the port that it drives itself.
        "at_work": unit.process.is_some() && page.first_work_ns.load(Ordering::Acquire) >= unit.activated_ns.max(1),
        "incarnation": unit.incarnation,
        "restarts": unit.incarnation.saturating_sub(1),
        "interruptions": unit.interruptions,
        "last_death": unit.last_death,
        "heartbeat_age_ms": (heartbeat_ns > 0).then(|| now_ns.saturating_sub(heartbeat_ns) / 1_000_000),
        "core": unit.core,
        "sleeping": page.sleeping.load(Ordering::Acquire) != 0,
        "parked_reason": parked_reason,
        "kill_point_hit": kill_point_hit(page),
        "held_buffers": page.held_buffers.load(Ordering::Relaxed),
        "held_slots": page.held_slots.load(Ordering::Relaxed),
        "config_generation": page.config_generation.load(Ordering::Acquire),
        "counters": counters(unit.kind(), page),
        "latency_us": {
            "wait": latency(&page.wait), "work": latency(&page.work), "since_arrival": latency(&page.since_arrival),
        },
    }))
}

fn counters(kind: StageKind, page: &StagePage) -> Map<String, Value> {
    let all = match kind {
        StageKind::RxGateway => RxCounter::ALL,
        StageKind::Preprocess => PreCounter::ALL,
        StageKind::Infer => InferCounter::ALL,
        StageKind::Tx => TxCounter::ALL,
    };
    all.iter().map(|(cell, name)| ((*name).to_owned(), json!(page.counter(*cell)))).collect()
}

fn latency(histogram: &Histogram) -> Value {
    let us = |ns| json!(microseconds(ns));
    json!({
        "count": histogram.count(), "p50": us(histogram.quantile_ns(0.5)), "p99": us(histogram.quantile_ns(0.99)),
        "max": us(histogram.max_ns()), "mean": us(histogram.mean_ns()),
    })
}

fn ring_kind(kind: RingKind) -> &'static str {
    match kind {
        RingKind::Forward => "forward",
        RingKind::Slots => "slots",
        RingKind::Status => "status",
        RingKind::Home => "home",
        RingKind::Recovery => "recovery",
    }
}

fn owner_name(geometry: Geometry, id: OwnerId) -> String {
    geometry.instance(id).map_or_else(|| format!("{id:?}"), |instance| instance.name(geometry.gateways))
}
