//! The main job through the real binaries: frames in, answers out, everything accounted for.

use integration_tests::client::{Client, Frame, values};
use integration_tests::pipeline::{Pipeline, wait_until};
use integration_tests::traffic::{ELEMENTS, assert_right, config, steady, tensor_of};
use serde_json::json;
use wire::{BadRequestReason, Encoding, MacKey, Status};

#[test]
fn tensors_in_answers_out() {
    let pipeline = Pipeline::start("basics", &config("null", ""));
    let mut client = Client::new(pipeline.listen(), 7);
    steady(&mut client, 0..500, 1_000, |_| {});
    client.receive_until(500);
    for id in 0..500 {
        assert_eq!(client.replies[&id].len(), 1, "frame {id} has one reply");
        assert_right(&client, id);
    }
    let ledger = pipeline.assert_whole();
    assert_eq!((&ledger["received"], &ledger["answered"]), (&json!(500), &json!(500)), "{ledger}");
    assert_eq!(ledger["packets"]["fragment"], 500, "{ledger}");
    // An aligned tensor in one packet is read where it lies.
    assert_eq!(pipeline.counter("preprocess.0", "tensors_in_place"), 500);
    assert_eq!(pipeline.counter("preprocess.0", "copies"), 0);
    let (code, last) = pipeline.stop();
    assert_eq!(code, 0, "{last}");
}

#[test]
fn large_tensors_travel_in_fragments_both_ways() {
    let elements = 30_000_usize;
    let text = format!(
        "[infer]\nengine = \"null\"\nnull_input_elements = {elements}\nnull_output_elements = {elements}\n[post]\nkind = \"tensor\"\n\
         [limits]\nmax_reply_bytes = 1000000\n"
    );
    let pipeline = Pipeline::start("fragments", &text);
    let mut client = Client::new(pipeline.listen(), 1);
    for id in 0..20 {
        let tensor: Vec<f32> = (0..elements).map(|i| (id * 1000 + i) as f32).collect();
        client.send_tensor(id as u64, &tensor);
        client.receive_until(id + 1);
        assert_eq!(values(&client.answer(id as u64).bytes), tensor);
    }
    pipeline.assert_whole();
    assert_eq!(pipeline.counter("preprocess.0", "copies"), 20, "a gathered tensor is moved once");
}

#[test]
fn several_instances_share_the_work() {
    let more = "[preprocess]\ninstances = 2\nspread = \"stream\"\n";
    let text = config("null", more).replace("[infer]\n", "[infer]\ninstances = 2\n");
    let pipeline = Pipeline::start("instances", &text);
    let mut clients: Vec<Client> = (0..4).map(|s| Client::new(pipeline.listen(), s)).collect();
    for id in 0..200 {
        for client in &mut clients {
            client.send_tensor(id, &tensor_of(id));
            client.receive();
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
    for client in &mut clients {
        client.receive_until(200);
        (0..200).for_each(|id| assert_right(client, id));
    }
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 800);
    let done = |s: &str| pipeline.counter(s, "frames");
    assert_eq!(done("preprocess.0") + done("preprocess.1"), 800);
    assert!(done("preprocess.0") > 0 && done("preprocess.1") > 0, "streams are spread");
    assert!(done("infer.0") > 0 && done("infer.1") > 0, "frames are spread");
}

#[test]
fn copies_of_frames_are_recognised() {
    let pipeline = Pipeline::start("duplicates", &config("null", ""));
    let mut client = Client::new(pipeline.listen(), 3);
    for id in 0..40 {
        client.send_tensor(id, &tensor_of(id));
    }
    client.receive_until(40);
    pipeline.settle();
    for id in 0..40 {
        client.send_tensor(id, &tensor_of(id));
    }
    wait_until("copies to be counted", || pipeline.ledger()["packets"]["duplicate"] == 40);
    client.receive();
    assert!((0..40).all(|id| client.replies[&id].len() == 1), "a copy is not answered again");
    // Another session is another sender.
    client.session += 1;
    let before = client.replies.len();
    client.send_tensor(1_000, &tensor_of(1_000));
    client.receive_until(before + 1);
    pipeline.assert_whole();
}

#[test]
fn strangers_and_noise_are_counted_and_refused() {
    let key = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let dir = integration_tests::pipeline::folder("key");
    let file = dir.join("key");
    std::fs::write(&file, key).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let more = format!(
        "[limits]\nmax_streams = 3\n[[stream]]\nid = 5\nsources = [\"10.0.0.0/8\"]\n[[stream]]\nid = 6\nmac_key_file = {file:?}\n"
    );
    let pipeline = Pipeline::start("strangers", &config("null", &more));
    let mut stranger = Client::new(pipeline.listen(), 5);
    stranger.send_tensor(1, &tensor_of(1));
    let mut unsigned = Client::new(pipeline.listen(), 6);
    unsigned.send_tensor(1, &tensor_of(1));
    let mut signed = Client::new(pipeline.listen(), 6);
    signed.key = Some(MacKey::from_hex(key).unwrap());
    signed.session += 1;
    signed.send_tensor(2, &tensor_of(2));
    signed.receive_until(1);
    assert_right(&signed, 2);
    signed.send_raw(b"hello");
    let mut damaged =
        signed.datagrams(3, &Frame { encoding: Encoding::TensorF32, width: 0, height: 0, bytes: &[0; 64] });
    damaged[0][130] ^= 1;
    signed.send_raw(&damaged[0]);
    for stream in 10..14 {
        Client::new(pipeline.listen(), stream).send_tensor(1, &tensor_of(1));
    }
    wait_until("all verdicts", || {
        let p = &pipeline.ledger()["packets"];
        p["refused_source"] == 1
            && p["refused_mac"] == 1
            && p["checksum"] == 1
            && p["malformed"] == 1
            && p["too_many_streams"] == 2
    });
    assert!(stranger.receive() + unsigned.receive() == 0, "they get no answer");
    pipeline.assert_whole();
    let _ = std::fs::remove_dir_all(dir);
}

#[test]
fn bad_requests_are_answered_with_their_reason() {
    let pipeline = Pipeline::start("bad-requests", &config("null", ""));
    let mut client = Client::new(pipeline.listen(), 1);
    client.send_tensor(1, &[1.0; ELEMENTS + 1]);
    client.send(2, &Frame { encoding: Encoding::Jpeg, width: 0, height: 0, bytes: b"no jpeg" });
    client.send(3, &Frame { encoding: Encoding::Rgb8, width: 2, height: 2, bytes: &[0; 12] });
    client.receive_until(3);
    let status = |id| client.answer(id).status;
    assert_eq!(status(1), Status::BadRequest(BadRequestReason::WrongSize));
    assert_eq!(status(2), Status::BadRequest(BadRequestReason::UnsupportedEncoding), "this model takes no pictures");
    assert_eq!(status(3), Status::BadRequest(BadRequestReason::UnsupportedEncoding));
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["bad_request"]["wrong-size"], 1, "{ledger}");
    assert_eq!(ledger["bad_request"]["unsupported-encoding"], 2, "{ledger}");
}
