//! A [`Plan`] as aligned text.

use std::fmt;

use crate::facts::TensorFacts;
use crate::plan::Plan;
use crate::plan_notes::mib;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "pipeline {}: profile {}, wait {}, spin {} us, {} slots, at most {} frames at once",
            self.name, self.profile, self.wait, self.spin_us, self.slots, self.max_heads
        )?;
        self.write_models(f)?;
        table(
            f,
            &["process", "core", "executable"],
            self.processes.iter().map(|process| {
                let core = process.core.map_or_else(|| "any".to_owned(), |core| core.to_string());
                [process.name.clone(), core, process.executable.to_owned()]
            }),
        )?;
        table(
            f,
            &["ring", "carries", "capacity", "high", "low"],
            self.rings.iter().map(|ring| {
                let mark = |mark: Option<u32>| mark.map_or_else(|| "-".to_owned(), |mark| mark.to_string());
                [
                    format!("{} -> {}", ring.from, ring.to),
                    ring.carries.to_string(),
                    ring.capacity.to_string(),
                    mark(ring.high_watermark),
                    mark(ring.low_watermark),
                ]
            }),
        )?;
        let total = ["total".to_owned(), mib(self.memory_bytes).to_string(), String::new()];
        let regions = self.memory.iter();
        let rows = regions.map(|region| [region.name.to_owned(), mib(region.bytes).to_string(), region.holds.clone()]);
        table(f, &["memory", "MiB", "holds"], rows.chain(std::iter::once(total)))?;
        table(
            f,
            &["frame", "bytes", "mtu", "buffers", "fit"],
            self.frames.iter().map(|cost| {
                [
                    cost.frame.to_owned(),
                    cost.bytes.to_string(),
                    cost.mtu.to_string(),
                    cost.buffers.to_string(),
                    cost.fit.to_string(),
                ]
            }),
        )?;
        self.write_ports(f)?;
        // Ports of poll-mode drivers have no socket.
        if self.ports.is_empty() {
            let buffer = &self.receive_buffer;
            writeln!(
                f,
                "\nreceive buffer: {} of {} bytes granted, covers a restart at up to {} Mbit/s",
                buffer.granted_bytes, buffer.asked_bytes, buffer.covered_mbit_per_s
            )?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "{}: {}; {}", note.level, note.message, note.remedy))
    }
}

impl Plan {
    fn write_models(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for model in &self.models {
            let shapes = |tensors: &[TensorFacts]| {
                let one = |t: &TensorFacts| format!("{} {:?}", t.dtype, t.shape);
                tensors.iter().map(one).collect::<Vec<_>>().join(", ")
            };
            writeln!(
                f,
                "model {}: {}, input {} ({} bytes), output {} ({} bytes), answers with {}",
                model.name,
                model.engine,
                shapes(&model.facts.inputs),
                model.facts.input_bytes,
                shapes(&model.facts.outputs),
                model.facts.output_bytes,
                model.answers
            )?;
        }
        Ok(())
    }

    fn write_ports(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ports.is_empty() {
            return Ok(());
        }
        let rows = self.ports.iter().map(|port| {
            let held =
                if port.buffers == 0 { "-".to_owned() } else { format!("{} of {}", port.buffers_held, port.buffers) };
            [
                port.device.to_string(),
                port.process.clone(),
                format!("{} x {}", port.queues, port.descriptors),
                held,
                port.driver_copies.map_or_else(|| "?".to_owned(), |copies| copies.to_string()),
                mib(port.library_bytes).to_string(),
            ]
        });
        table(f, &["dpdk port", "process", "descriptors", "buffers held", "copies", "library MiB"], rows)
    }
}

/// Prints `rows` in columns as wide as their longest entry, below a blank line and `heads`.
fn table<const N: usize>(
    f: &mut fmt::Formatter<'_>,
    heads: &[&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> fmt::Result {
    let mut lines: Vec<[String; N]> = vec![heads.map(str::to_owned)];
    lines.extend(rows);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    writeln!(f)?;
    for line in &lines {
        let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}
