//! Frames that end with the supervisor: taken from a dead stage, copied for whoever wants to know why, and sent to tx as
//! a status.

use arena::descriptor::{Fate, FateKind, Role};
use arena::ring::{Producer, Refused};
use arena::sync::Ordering;
use arena::topology::{RingKind, TX};
use arena::{Arena, Me, OwnerId};
use serde_json::{Value, json};
use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The supervisor's own incarnation: it does not take over an arena yet.
pub(crate) const INCARNATION: u32 = 1;
/// Frames written per run of the supervisor. A sender that can crash a stage must not be able to fill the disk.
const FILES_MAX: usize = 1024;
/// Most bytes kept of one frame.
const EVIDENCE_MAX: usize = 64 << 20;

/// The supervisor's end of its ring to tx.
#[derive(Debug)]
pub(crate) struct StatusPath {
    producer: Producer<'static>,
    me: Me,
}

impl StatusPath {
    /// Opens it; there is one in every topology.
    pub(crate) fn open(arena: &Arena) -> Option<Self> {
        let me = Me { id: OwnerId::SUPERVISOR, incarnation: INCARNATION };
        let rings = arena.rings_where(|s| s.kind == RingKind::Status && s.from == me.id && s.to == TX);
        Some(Self { producer: rings.first()?.producer(arena.table(), me), me })
    }

    /// Opens it again on a ring that was made anew while tx is dead, and sends what the supervisor still owns.
    pub(crate) fn reopen(&mut self, arena: &Arena) {
        let Some(fresh) = Self::open(arena) else { return };
        *self = fresh;
        for (index, d) in arena.table().iter().take(arena.table().buffers() as usize) {
            if d.owner().is(self.me) && d.role() == Role::Head {
                let lost = Fate { kind: FateKind::Dropped, reason: wire::DropReason::Other.code() };
                self.end(arena, index, lost);
            }
        }
    }

    /// Takes a head from a dead stage, before the sweep, records its fate and sends it to tx. Ring tx afterwards.
    pub(crate) fn end(&mut self, arena: &Arena, head: u32, fate: Fate) {
        let Some(held) = arena.table().take(head, self.me) else { return };
        arena.table().of(&held).set_fate(fate);
        if let Err(Refused { held, fault }) = self.producer.push(held) {
            // The ring has room for every buffer, so its cursors are impossible: the frame stays with the supervisor.
            tracing::error!(head, %fault, "a frame cannot be handed to tx; it stays with the supervisor");
            held.release();
        }
    }
}

/// A frame that has killed stages, to be written out.
#[derive(Debug)]
pub(crate) struct Evidence {
    stem: String,
    meta: Value,
    bytes: Vec<u8>,
}

impl Evidence {
    /// Copies a frame whose head nobody alive holds: metadata, and the payload of head and segments in order. What does not
    /// match its checksum is left out, and `"complete"` is false then.
    pub(crate) fn gather(arena: &Arena, head: u32, stage: &str, cause: &str) -> Option<Self> {
        let d = arena.table().get(head)?;
        let sound = arena.frame_meta(head);
        let meta = sound.unwrap_or_default();
        let mut bytes = Vec::with_capacity((meta.total_len as usize).min(EVIDENCE_MAX));
        let mut complete = sound.is_ok();
        let mut append = |index: u32| {
            let part = arena.place(index).ok().zip(arena.packet_copy(index)).and_then(|(place, buffer)| {
                let (start, len) = (usize::from(place.data.offset), usize::from(place.data.len));
                buffer.get(start..start + len).map(<[u8]>::to_vec)
            });
            complete &= part.is_some();
            // Lists may run in circles; no frame is larger than this.
            let room = EVIDENCE_MAX.saturating_sub(bytes.len());
            bytes.extend(part.unwrap_or_default().into_iter().take(room));
        };
        append(head);
        let mut segments = arena.table().segments(head);
        for (index, _) in &mut segments {
            append(index);
        }
        complete &= segments.failed().is_none();
        let address = |a: arena::meta::Address| a.get().map(|a| a.to_string());
        let meta_json = json!({
            "schema": 1, "stage": stage, "cause": cause,
            "attempts": d.attempts.load(Ordering::Relaxed), "interruptions": d.interruptions.load(Ordering::Relaxed),
            "unix_time_ns": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos() as u64),
            "arena_epoch": arena.epoch(), "bytes": bytes.len(), "complete": complete, "damaged": sound.is_err(),
            "stream": meta.stream, "session": meta.session, "frame": meta.frame, "encoding": meta.encoding,
            "flags": meta.flags, "policy": meta.policy, "stream_row": meta.stream_row,
            "fragment_offset": meta.fragment_offset, "total_len": meta.total_len, "width": meta.width,
            "height": meta.height, "capture_time": meta.capture_time, "arrival_ns": meta.arrival_ns,
            "deadline_ns": meta.deadline_ns, "peer": address(meta.peer), "reply_to": address(meta.reply_to),
            "local": address(meta.local),
        });
        Some(Self { stem: format!("{}-{}-{}", arena.epoch(), meta.stream, meta.frame), meta: meta_json, bytes })
    }

    /// Writes `STEM.json` and `STEM.bin` for the owner's eyes only; an earlier frame of the same name is kept.
    fn write(&self, dir: &Path) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let create = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        // Frame ids repeat between senders and sessions.
        for n in 1..=16 {
            let stem = if n == 1 { self.stem.clone() } else { format!("{}-{n}", self.stem) };
            let path = dir.join(format!("{stem}.json"));
            let mut meta = match create(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                other => other?,
            };
            writeln!(meta, "{}", self.meta)?;
            create(&dir.join(format!("{stem}.bin")))?.write_all(&self.bytes)?;
            return Ok(path);
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Frames waiting to be written: recovery does not wait for the disk.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    waiting: Vec<Evidence>,
    seen: usize,
}

impl Quarantine {
    /// Keeps a frame for [`Self::write_all`].
    pub(crate) fn keep(&mut self, evidence: Evidence) {
        self.seen += 1;
        if self.seen > FILES_MAX {
            tracing::warn!(frame = %evidence.stem, "not written out: {FILES_MAX} quarantined frames have been");
        } else {
            self.waiting.push(evidence);
        }
    }

    /// Writes what waits. A full or read-only disk loses the evidence and nothing else.
    pub(crate) fn write_all(&mut self, dir: &Path) {
        for evidence in self.waiting.drain(..) {
            match evidence.write(dir) {
                Ok(path) => tracing::warn!(path = %path.display(), "a quarantined frame was written out"),
                Err(error) => {
                    let frame = &evidence.stem;
                    tracing::error!(%frame, dir = %dir.display(), %error, "a quarantined frame cannot be written out");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{arena, head_with};
    use arena::descriptor::DataRange;
    use arena::meta::FrameMeta;
    use arena::record::Place;

    #[test]
    fn a_frame_taken_goes_to_tx_with_its_fate() {
        let arena = arena();
        let dead = Me { id: arena.geometry().infer_id(0), incarnation: 1 };
        head_with(&arena, 5, dead);
        let fate = Fate { kind: FateKind::Quarantined, reason: 3 };
        StatusPath::open(&arena).unwrap().end(&arena, 5, fate);
        let tx = Me { id: TX, incarnation: 1 };
        let rings = arena.rings_where(|s| s.from == OwnerId::SUPERVISOR);
        let held = rings[0].consumer(arena.table(), tx).pop().unwrap().unwrap();
        assert_eq!(held.index(), 5);
        let d = arena.table().of(&held);
        assert_eq!((d.fate(), d.role(), d.owner().id), (Some(fate), Role::Head, TX));
        held.release();
    }

    #[test]
    fn evidence_is_written_and_nothing_overwritten() {
        let arena = arena();
        head_with(&arena, 5, Me { id: arena.geometry().infer_id(0), incarnation: 1 });
        record(&arena, 5, DataRange { offset: 448, len: 16 });
        let evidence = Evidence::gather(&arena, 5, "infer.0", "crashed with SIGABRT").unwrap();
        assert_eq!(evidence.bytes, [0; 16]);
        let dir = std::env::temp_dir().join(format!("flumeway-quarantine-{}", std::process::id()));
        let (first, second) = (evidence.write(&dir).unwrap(), evidence.write(&dir).unwrap());
        assert_ne!(first, second);
        let meta: Value = serde_json::from_str(&std::fs::read_to_string(&first).unwrap()).unwrap();
        assert_eq!((&meta["stream"], &meta["frame"], &meta["stage"]), (&json!(7), &json!(42), &json!("infer.0")));
        assert_eq!((&meta["complete"], &meta["damaged"]), (&json!(true), &json!(false)));
        assert_eq!(std::fs::read(first.with_extension("bin")).unwrap().len(), 16);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn impossible_payload_ranges_are_left_out() {
        let arena = arena();
        head_with(&arena, 6, Me { id: arena.geometry().infer_id(0), incarnation: 1 });
        record(&arena, 6, DataRange { offset: 4000, len: 4000 });
        let evidence = Evidence::gather(&arena, 6, "infer.0", "x").unwrap();
        assert!(evidence.bytes.is_empty());
        assert_eq!((&evidence.meta["complete"], &evidence.meta["damaged"]), (&json!(false), &json!(false)));
    }

    /// A damaged record names nobody, and bytes from a place that is not to be believed are left out.
    #[test]
    fn evidence_of_a_damaged_frame_says_so() {
        let arena = arena();
        head_with(&arena, 6, Me { id: arena.geometry().infer_id(0), incarnation: 1 });
        record(&arena, 6, DataRange { offset: 448, len: 16 });
        arena.table().get(6).unwrap().set_data(DataRange { offset: 448, len: 17 });
        let evidence = Evidence::gather(&arena, 6, "infer.0", "x").unwrap();
        assert!(evidence.bytes.is_empty());
        let meta = &evidence.meta;
        assert_eq!((&meta["damaged"], &meta["complete"], &meta["frame"]), (&json!(true), &json!(false), &json!(0)));
    }

    /// What rx-gateway would have written of a frame of 16 bytes in one packet.
    fn record(arena: &Arena, index: u32, data: DataRange) {
        let meta = FrameMeta { stream: 7, frame: 42, total_len: 16, ..FrameMeta::default() };
        let d = arena.table().get(index).unwrap();
        arena.extensions()[index as usize].write_record(index, d, &meta, Place { data, fragment: 0, count: 1 });
    }
}
