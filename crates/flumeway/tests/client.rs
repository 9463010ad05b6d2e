//! The client against a stand-in for a pipeline: every frame accounted for, whatever the other side does.

mod common;

use std::time::Duration;

use common::{Act, StandIn};
use flumeway::client::{
    Answer, Impairments, Observer, RunError, SendPlan, Silent, generate_images, generate_tensors, run,
};
use wire::{BadRequestReason, DropReason, Encoding, MacKey, ResultView, Status};

fn plan(stand_in: &StandIn, count: u64) -> SendPlan {
    let frames = generate_tensors(64, 4, 1).unwrap();
    SendPlan {
        count,
        rate_fps: 1_000.0,
        timeout: Duration::from_millis(300),
        ..SendPlan::new(stand_in.address, frames)
    }
}

#[test]
fn every_frame_is_answered() {
    let stand_in = StandIn::start(None, |_| Act::Answer { class: 0 });
    let mut plan = SendPlan { streams: 3, first_stream_id: 10, deadline_us: 5_000, ..plan(&stand_in, 200) };
    plan.frames.iter_mut().for_each(|frame| frame.expected_class = Some(0));
    let report = run(&plan, &mut Silent).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.sent, report.answered, report.correct, report.unanswered), (200, 200, Some(200), 0));
    assert_eq!((report.latency_us.count, report.stages.infer.p50, report.stages.total.max), (200, 1_234.0, 2_000.0));
    // A busy machine makes the sender late, never early: 199 intervals of 1 ms.
    assert!(report.sending_ms >= 199.0, "{} ms", report.sending_ms);
    let seen = stand_in.finish();
    assert_eq!(seen.frames, (0..200).collect::<Vec<_>>());
    assert!(seen.streams.iter().all(|(frame, stream)| *stream == 10 + (frame % 3) as u32));
    assert!(seen.headers.iter().all(|header| header.deadline_us == 5_000));
}

#[test]
fn what_the_pipeline_says_is_counted_under_its_name() {
    let stand_in = StandIn::start(None, |id| match id % 5 {
        0 => Act::Status(Status::Dropped(DropReason::Deadline)),
        1 => Act::Status(Status::BadRequest(BadRequestReason::DecodeFailed)),
        2 => Act::Status(Status::Quarantined),
        3 => Act::Status(Status::Unavailable),
        _ => Act::Repeat(3),
    });
    let report = run(&plan(&stand_in, 50), &mut Silent).unwrap();
    assert_eq!((report.answered, report.ok, report.quarantined, report.unavailable), (50, 10, 10, 10));
    assert_eq!(report.dropped.get("deadline"), Some(&10));
    assert_eq!(report.bad_request.get("decode-failed"), Some(&10));
    assert_eq!((report.duplicates, report.latency_us.count), (20, 10), "statuses have no latency");
    assert!(!report.is_complete() && !report.is_sound());
}

#[test]
fn silence_and_lateness_are_told_apart() {
    let stand_in = StandIn::start(None, |id| match id {
        3 => Act::Ignore,
        9 => Act::Late(Duration::from_millis(120)),
        _ => Act::Answer { class: 0 },
    });
    let plan = SendPlan { timeout: Duration::from_millis(60), rate_fps: 50.0, ..plan(&stand_in, 20) };
    let report = run(&plan, &mut Silent).unwrap();
    assert!(report.unanswered >= 2 && report.late >= 1, "{report:?}");
    assert_eq!(report.sent, report.answered + report.unanswered);
    assert!(!report.is_complete() && report.is_sound());
}

#[test]
fn garbage_and_foreign_replies_are_never_answers() {
    let stand_in = StandIn::start(None, |id| if id == 5 { Act::Garbage } else { Act::Answer { class: 0 } });
    let report = run(&plan(&stand_in, 10), &mut Silent).unwrap();
    assert_eq!((report.answered, report.unanswered, report.bad_replies), (9, 1, 2));
    assert!(report.bad_reply_cause.unwrap().contains("session"));
}

#[test]
fn wrong_classes_are_wrong() {
    let stand_in = StandIn::start(None, |id| Act::Answer { class: (id % 4) as u32 });
    let mut plan = plan(&stand_in, 40);
    plan.frames.iter_mut().for_each(|frame| frame.expected_class = Some(2));
    let report = run(&plan, &mut Silent).unwrap();
    assert_eq!((report.correct, report.wrong(), report.is_complete(), report.is_sound()), (Some(10), 30, false, false));
}

#[test]
fn the_window_keeps_an_open_loop_from_flooding_and_says_so() {
    let stand_in = StandIn::start(None, |_| Act::Ignore);
    let report = run(&SendPlan { window: Some(4), ..plan(&stand_in, 50) }, &mut Silent).unwrap();
    assert_eq!((report.sent, report.unsent.window, report.unanswered), (4, 46, 4));
    assert_eq!(stand_in.finish().frames, [0, 1, 2, 3]);
}

#[test]
fn rate_0_never_exceeds_its_window() {
    let stand_in = StandIn::start(None, |_| Act::Answer { class: 0 });
    let report = run(&SendPlan { rate_fps: 0.0, window: Some(8), ..plan(&stand_in, 5_000) }, &mut Silent).unwrap();
    assert!(report.is_complete(), "{report:?}");
    assert_eq!((report.sent, report.kernel_dropped.replies.unwrap_or(0)), (5_000, 0));
}

#[test]
fn large_frames_are_cut_paced_and_answered_with_large_results() {
    let stand_in = StandIn::start(None, |_| Act::Tensor(2_000));
    let frames = generate_images(Encoding::Rgb8, 320, 240, 2, 1).unwrap();
    let plan = SendPlan { count: 6, rate_fps: 20.0, ..SendPlan::new(stand_in.address, frames) };
    let mut last = Last::default();
    let report = run(&plan, &mut last).unwrap();
    assert!(report.is_complete(), "{report:?}");
    // 230 400 bytes in datagrams of 1 280: 180 for each frame.
    assert_eq!(report.datagrams.sent, 6 * 180);
    // Spread over 50 ms, a frame's last datagram is due 49.7 ms after its first; how much later it is answered is the machine's.
    let (latency, response) = (report.latency_us, report.response_us);
    assert!(latency.p50 >= 49_700.0, "{latency:?}");
    assert!((latency.mean - response.mean - 49_722.2).abs() < 1.0, "{latency:?} {response:?}");
    assert_eq!(last.0, (0..2_000).map(|element| element as f32).collect::<Vec<_>>());
}

/// The tensor of the last answer.
#[derive(Default)]
struct Last(Vec<f32>);

impl Observer for Last {
    fn on_answer(&mut self, answer: &Answer<'_>) {
        if let ResultView::Tensor(tensor) = &answer.result {
            self.0 = tensor.elements().collect();
        }
    }
}

#[test]
fn simulated_faults_reach_the_other_side_as_counted() {
    let stand_in = StandIn::start(None, |_| Act::Answer { class: 0 });
    let frames = generate_images(Encoding::Gray8, 160, 120, 2, 1).unwrap();
    let plan = SendPlan {
        count: 100,
        rate_fps: 500.0,
        timeout: Duration::from_millis(200),
        impairments: Impairments { loss_percent: 2.0, reorder_percent: 10.0, duplicate_percent: 10.0 },
        ..SendPlan::new(stand_in.address, frames)
    };
    let report = run(&plan, &mut Silent).unwrap();
    let seen = stand_in.finish();
    let simulated = report.simulated;
    assert!(simulated.lost > 5 && simulated.reordered > 50 && simulated.duplicated > 50, "{simulated:?}");
    // 19 200 bytes are 15 datagrams.
    assert_eq!(seen.datagrams, 100 * 15 - simulated.lost + simulated.duplicated);
    assert_eq!(report.datagrams.sent, seen.datagrams);
    assert!(seen.out_of_order > 20, "{}", seen.out_of_order);
    assert_eq!((report.sent, report.unanswered), (100, 100 - report.ok), "a lost datagram makes a frame unanswered");
    assert!(report.unanswered > 0 && report.ok > 50);
}

#[test]
fn keys_are_used_in_both_directions() {
    let key = MacKey::from_bytes(&[7; 32]);
    let stand_in = StandIn::start(Some(key.clone()), |_| Act::Answer { class: 0 });
    let report = run(&SendPlan { mac_key: Some(key), ..plan(&stand_in, 20) }, &mut Silent).unwrap();
    assert!(report.is_complete(), "{report:?}");
}

#[test]
fn nobody_listening_is_an_error_and_not_a_report() {
    let address = std::net::UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let frames = generate_tensors(64, 1, 1).unwrap();
    let plan = SendPlan { count: 5, timeout: Duration::from_millis(100), ..SendPlan::new(address, frames) };
    let error = run(&plan, &mut Silent).unwrap_err();
    assert!(matches!(error, RunError::NobodyListens { .. }), "{error}");
    assert!(error.to_string().contains("flumeway run"));
}

/// 20 000 small frames a second, the promise of `send`; the other side answers each from a second thread on the same machine.
#[test]
fn twenty_thousand_frames_a_second() {
    let stand_in = StandIn::start(None, |_| Act::Answer { class: 0 });
    let report = run(&SendPlan { rate_fps: 20_000.0, ..plan(&stand_in, 20_000) }, &mut Silent).unwrap();
    println!("rate {} lateness {:?} latency {:?}", report.rate_fps, report.lateness_us, report.latency_us);
    // A machine shared with other work may be late for a moment; none may be missing without being counted.
    assert_eq!(report.sent + report.unsent.total(), 20_000);
    assert_eq!(report.sent, report.answered + report.unanswered);
    assert_eq!(report.bad_replies, 0);
}
