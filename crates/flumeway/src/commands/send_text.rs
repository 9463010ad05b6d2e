//! `flumeway send`: answers and report in words.

use flumeway::client::{Answer, Percentiles, SendReport};
use serde_json::{Value, json};
use wire::{ClassEntry, ResultView, Status};

use crate::output::duration;

/// Elements of a tensor that are printed.
const ELEMENTS_SHOWN: usize = 8;

/// One answer on one line.
pub(crate) fn answer_line(answer: &Answer<'_>, labels: &[String]) -> String {
    let key = &answer.header.key;
    let latency = duration(answer.latency_ns as f64 / 1e3);
    let status = match answer.header.status {
        Status::Ok => result_text(&answer.result, labels),
        status => format!("{}: {}", status.name(), status.reason().unwrap_or("-")),
    };
    let wrong = if answer.is_right == Some(false) { "  WRONG" } else { "" };
    format!("stream {} frame {} ({})  {latency}  {status}{wrong}", key.stream_id, key.frame_id, answer.frame.name)
}

/// One answer as a JSON object.
pub(crate) fn answer_json(answer: &Answer<'_>, labels: &[String]) -> Value {
    let key = &answer.header.key;
    json!({
        "schema": 1,
        "stream": key.stream_id,
        "frame": key.frame_id,
        "file": answer.frame.name,
        "status": answer.header.status.name(),
        "reason": answer.header.status.reason(),
        "attempts": answer.header.attempts,
        "latency_us": answer.latency_ns as f64 / 1e3,
        "right": answer.is_right,
        "result": result_json(&answer.result, labels),
    })
}

fn label<'a>(class: u32, given: Option<&'a str>, labels: &'a [String]) -> Option<&'a str> {
    given.or_else(|| labels.get(class as usize).map(String::as_str))
}

fn result_text(result: &ResultView<'_>, labels: &[String]) -> String {
    match result {
        ResultView::None => "ok".to_owned(),
        ResultView::Classes(classes) => {
            let text = |entry: ClassEntry<'_>| match label(entry.class, entry.label, labels) {
                Some(label) => format!("{label} {:.3}", entry.score),
                None => format!("class {} {:.3}", entry.class, entry.score),
            };
            classes.clone().map(text).collect::<Vec<_>>().join(", ")
        }
        ResultView::Detections(detections) => {
            let boxes: Vec<String> = detections
                .clone()
                .map(|found| {
                    let name = label(found.class, None, labels).map_or(found.class.to_string(), str::to_owned);
                    format!(
                        "{name} {:.3} at {:.3},{:.3} to {:.3},{:.3}",
                        found.score, found.x0, found.y0, found.x1, found.y1
                    )
                })
                .collect();
            if boxes.is_empty() { "nothing found".to_owned() } else { boxes.join("; ") }
        }
        ResultView::Tensor(tensor) => {
            let elements: Vec<String> =
                tensor.elements().take(ELEMENTS_SHOWN).map(|element| format!("{element}")).collect();
            let rest = tensor.elements().count().saturating_sub(ELEMENTS_SHOWN);
            let rest = if rest > 0 { format!(", and {rest} more") } else { String::new() };
            format!("tensor [{}{rest}]", elements.join(", "))
        }
    }
}

fn result_json(result: &ResultView<'_>, labels: &[String]) -> Value {
    match result {
        ResultView::None => Value::Null,
        ResultView::Classes(classes) => {
            let entry = |entry: ClassEntry<'_>| json!({"class": entry.class, "score": entry.score, "label": label(entry.class, entry.label, labels)});
            json!({"classes": classes.clone().map(entry).collect::<Vec<_>>()})
        }
        ResultView::Detections(detections) => {
            let found = detections.clone().map(|found| {
                let corners = [found.x0, found.y0, found.x1, found.y1];
                json!({"class": found.class, "score": found.score, "box": corners, "label": label(found.class, None, labels)})
            });
            json!({"detections": found.collect::<Vec<_>>()})
        }
        ResultView::Tensor(tensor) => json!({"tensor": tensor.elements().collect::<Vec<_>>()}),
    }
}

/// The report in words: what is always of interest, then what went wrong.
pub(crate) fn report_text(report: &SendReport) -> String {
    let mut lines = vec![
        format!(
            "sent       {} of {} frames to {} in {} ({} per second)",
            report.sent,
            report.planned,
            report.to,
            duration(report.sending_ms * 1e3),
            report.rate_fps
        ),
        format!("answered   {} ({} ok)", report.answered, report.ok),
    ];
    if let Some(correct) = report.correct {
        lines.push(format!("right      {correct}, wrong {}", report.wrong()));
    }
    lines.extend(troubles(report).into_iter().map(|(what, text)| format!("{what:<10} {text}")));
    if report.ok > 0 {
        lines.push(format!("latency    {}", spectrum(&report.latency_us)));
        lines.push(format!("response   {}", spectrum(&report.response_us)));
        let medians = report.stages.parts().map(|(name, part)| format!("{name} {}", duration(part.p50)));
        lines.push(format!("medians    {}", medians.join(", ")));
    }
    lines.join("\n")
}

fn spectrum(percentiles: &Percentiles) -> String {
    let Percentiles { p50, p90, p99, p99_9, max, .. } = *percentiles;
    let values = [("p50", p50), ("p90", p90), ("p99", p99), ("p99.9", p99_9), ("max", max)];
    values.map(|(name, value)| format!("{name} {}", duration(value))).join("  ")
}

/// What is only of interest if it happened.
fn troubles(report: &SendReport) -> Vec<(&'static str, String)> {
    let reasons = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
    };
    let unsent = &report.unsent;
    let dropped = &report.kernel_dropped;
    let simulated = &report.simulated;
    let unsent_text =
        format!("{} window full, {} no room in the kernel, {} too late", unsent.window, unsent.no_room, unsent.late);
    let refused = "times the other host said that nobody listens";
    let bad = report.bad_reply_cause.as_deref().unwrap_or("-");
    let late_text = format!(
        "the sender began frames {} late at p90, {} at most, which is part of the latency",
        duration(report.lateness_us.p90),
        duration(report.lateness_us.max)
    );
    let rows = [
        (unsent.total() > 0, "unsent", unsent_text),
        (!report.dropped.is_empty(), "dropped", reasons(&report.dropped)),
        (!report.bad_request.is_empty(), "refused", reasons(&report.bad_request)),
        (report.quarantined > 0, "quarantine", format!("{} frames made stages crash", report.quarantined)),
        (
            report.unavailable > 0,
            "no service",
            format!("{} frames: the pipeline cannot serve at present", report.unavailable),
        ),
        (
            report.unanswered > 0,
            "unanswered",
            format!("{}, {} of them answered too late", report.unanswered, report.late),
        ),
        (report.duplicates > 0, "duplicates", format!("{} second replies", report.duplicates)),
        (report.retried > 0, "retried", format!("{} frames took more than one attempt", report.retried)),
        (
            dropped.requests.unwrap_or(0) > 0,
            "overflow",
            format!("{} datagrams at the pipeline's socket", dropped.requests.unwrap_or(0)),
        ),
        (
            dropped.replies.unwrap_or(0) > 0,
            "overflow",
            format!("{} datagrams at this sender's socket", dropped.replies.unwrap_or(0)),
        ),
        (
            simulated.lost + simulated.reordered + simulated.duplicated > 0,
            "simulated",
            format!(
                "{} datagrams lost, {} reordered, {} duplicated",
                simulated.lost, simulated.reordered, simulated.duplicated
            ),
        ),
        (report.refused > 0, "unheard", format!("{} {refused}", report.refused)),
        (
            report.bad_replies > 0,
            "bad",
            format!("{} datagrams are no valid replies, the last: {bad}", report.bad_replies),
        ),
        (report.lateness_us.p90 > 1_000.0, "late", late_text),
    ];
    rows.into_iter().filter(|row| row.0).map(|(_, what, text)| (what, text)).collect()
}
