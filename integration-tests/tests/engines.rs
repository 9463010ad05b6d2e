//! Engines, models and batches through the real binaries: which engine is taken, which model answers, and what a batch changes.

#[path = "engines/crashing.rs"]
mod crashing;

use integration_tests::client::{Client, Frame, values};
use integration_tests::pipeline::{Pipeline, folder};
use integration_tests::traffic::{ELEMENTS, assert_right, config, tensor_of};
use serde_json::Value;
use std::process::{Command, Output};
use wire::{Encoding, ResultView, Status};

/// The bundled network.
fn roadside() -> String {
    integration_tests::root().join("models/roadside.onnx").display().to_string()
}

/// A frame for it: 96 x 96 gray pixels as rgb8, a ramp that begins at `seed`.
fn picture(seed: u8) -> Vec<u8> {
    (0..96_usize * 96).flat_map(|i| [(i as u8).wrapping_add(seed); 3]).collect()
}

fn ask(client: &mut Client, id: u64, bytes: &[u8]) {
    client.send(id, &Frame { encoding: Encoding::Rgb8, width: 96, height: 96, bytes });
    client.receive_until(id as usize + 1);
    assert_eq!(client.answer(id).status, Status::Ok, "frame {id}");
}

fn flumeway(arguments: &[&str]) -> Output {
    Command::new(integration_tests::shipped().join("flumeway")).args(arguments).output().expect("run flumeway")
}

fn rows(list: &Value) -> &[Value] {
    list.as_array().map(Vec::as_slice).expect("a list")
}

#[test]
fn every_engine_is_listed_with_its_version_or_why_not() {
    let json = |arguments: &[&str]| -> Value {
        let output = flumeway(arguments);
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    };
    let list = json(&["engines", "--json"]);
    let names: Vec<_> = rows(&list["engines"]).iter().map(|engine| engine["engine"].as_str().unwrap_or("")).collect();
    assert_eq!(names, ["rten", "tract", "onnxruntime", "openvino", "tensorrt", "armnn"]);
    for engine in rows(&list["engines"]) {
        let usable = engine["usable"] == true;
        assert!(!usable || engine["version"].is_string() && !rows(&engine["devices"]).is_empty(), "{engine}");
        assert!(usable || engine["note"].as_str().is_some_and(|note| note.len() > 10), "{engine}");
    }
    assert_eq!(list["engines"][0]["usable"], true, "rten is built in");
    let measured = json(&["engines", "--model", &roadside(), "--json"]);
    let table = &measured["measured"];
    assert_eq!(table["reference"], "rten");
    for row in rows(&table["candidates"]) {
        let agrees = row["disagreement"].as_f64().is_some_and(|part| part <= 0.02);
        assert!(row["reason"].is_string() || agrees && row["p50_us"].as_f64().is_some_and(|us| us > 0.0), "{row}");
    }
    let fastest = rows(&table["candidates"]).iter().filter(|row| row["reason"].is_null());
    let fastest = fastest.min_by(|a, b| a["p50_us"].as_f64().unwrap().total_cmp(&b["p50_us"].as_f64().unwrap()));
    assert_eq!(table["chosen"], fastest.expect("rten at least")["engine"]);
    let text = String::from_utf8_lossy(&flumeway(&["engines", "--model", &roadside()]).stdout).into_owned();
    assert!(text.contains("p50 us") && text.contains("chosen"), "{text}");
}

#[test]
fn the_chosen_engine_is_remembered() {
    let cache = folder("engine-cache");
    let text = format!("[infer]\nmodel = \"{}\"\ncache_dir = \"{}\"\n", roadside(), cache.display());
    let start = |name: &str| {
        let pipeline = Pipeline::start(name, &text);
        let mut client = Client::new(pipeline.listen(), 1);
        (0..5).for_each(|id| ask(&mut client, id, &picture(id as u8)));
        pipeline.assert_whole();
        let status = pipeline.status();
        assert_eq!(pipeline.stop().0, 0);
        status["models"][0].clone()
    };
    let (first, second) = (start("choice-1"), start("choice-2"));
    let remembered = std::fs::read_to_string(cache.join("engines.json"));
    std::fs::remove_dir_all(&cache).expect("the test's own folder");
    assert_eq!((&first["remembered"], &second["remembered"]), (&Value::Bool(false), &Value::Bool(true)));
    assert_eq!(first["chosen_from"], second["chosen_from"]);
    assert_ne!(first["engine"], "auto", "{first}");
    assert!(remembered.expect("the file of choices").contains("\"chosen\""));
}

#[test]
fn a_model_that_is_not_the_one_meant_is_refused() {
    let dir = folder("checksum");
    let path = dir.join("pipeline.toml");
    let wrong = format!("[infer]\nmodel = \"{}\"\nsha256 = \"{}\"\n", roadside(), "0".repeat(64));
    std::fs::write(&path, wrong).expect("a configuration");
    let output = flumeway(&["check", &path.display().to_string()]);
    std::fs::remove_dir_all(&dir).expect("the test's own folder");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("has the SHA-256") && said.contains("correct the checksum"), "{said}");
}

/// Three networks: classes, the same network's raw output, and an echo, each with streams of its own; and the choice changes live.
#[test]
fn streams_go_through_the_networks_they_name() {
    let text = format!(
        "[infer]\nmodel = \"{0}\"\nengine = \"rten\"\nnull_input_elements = {ELEMENTS}\nnull_output_elements = {ELEMENTS}\n\
         [[model]]\nname = \"raw\"\nfile = \"{0}\"\nkind = \"tensor\"\n\
         [[model]]\nname = \"echo\"\nengine = \"null\"\nkind = \"tensor\"\n\
         [[stream]]\nid = 2\nmodel = \"raw\"\n[[stream]]\nid = 3\nmodel = \"echo\"\n",
        roadside()
    );
    let pipeline = Pipeline::start("networks", &text);
    let mut clients: Vec<Client> = (1..=3).map(|stream| Client::new(pipeline.listen(), stream)).collect();
    let (mut classes, mut raw) = (Vec::new(), Vec::new());
    for id in 0..40 {
        ask(&mut clients[0], id, &picture(id as u8));
        ask(&mut clients[1], id, &picture(id as u8));
        clients[2].send_tensor(id, &tensor_of(id));
        let ResultView::Classes(mut best) = clients[0].answer(id).reply.result().expect("a result") else {
            panic!("stream 1 gets classes")
        };
        classes.push(best.next().expect("a class").class as usize);
        let ResultView::Tensor(tensor) = clients[1].answer(id).reply.result().expect("a result") else {
            panic!("stream 2 gets the tensor")
        };
        raw.push(tensor.elements().collect::<Vec<f32>>());
    }
    clients[2].receive_until(40);
    (0..40).for_each(|id| assert_right(&clients[2], id));
    for (class, scores) in classes.iter().zip(&raw) {
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).expect("scores");
        assert_eq!(*class, best, "both streams saw the same picture and network");
    }
    let status = pipeline.status();
    let names: Vec<_> = rows(&status["models"]).iter().map(|model| &model["name"]).collect();
    assert_eq!(names, ["default", "raw", "echo"]);
    pipeline.assert_whole();

    let changed = std::fs::read_to_string(pipeline.dir().join("pipeline.toml")).expect("its configuration");
    let path = pipeline.dir().join("changed.toml");
    std::fs::write(&path, changed.replace("id = 2\nmodel = \"raw\"", "id = 2\nmodel = \"echo\"")).expect("write");
    let answer = pipeline.order(&serde_json::json!({"command": "reload", "config": path}));
    assert_eq!(answer["applied"][0], "stream.2.model: \"raw\" -> \"echo\"", "{answer}");
    integration_tests::pipeline::wait_until("the stages to have taken it over", || {
        let status = pipeline.status();
        rows(&status["stages"]).iter().all(|stage| stage["config_generation"] == answer["config_generation"])
    });
    clients[1].send_tensor(40, &tensor_of(40));
    clients[1].receive_until(41);
    assert_right(&clients[1], 40);
    pipeline.assert_whole();
}

/// An engine whose runs take the same time for one frame or eight: batches are what keeps up.
#[test]
fn frames_of_several_streams_are_computed_together() {
    let text = config("delay", "")
        .replace("[infer]\n", "[infer]\ndelay_us = 4000\nmax_batch = 8\nmax_wait_us = 100000\nmax_in_flight = 8\n");
    let pipeline = Pipeline::start("batches", &text);
    let mut clients: Vec<Client> = (0..4).map(|stream| Client::new(pipeline.listen(), stream)).collect();
    for id in 0..100 {
        for client in &mut clients {
            client.send_tensor(id, &tensor_of(id));
        }
    }
    for client in &mut clients {
        client.receive_until(100);
        (0..100).for_each(|id| assert_right(client, id));
    }
    pipeline.assert_whole();
    let (frames, submits) = (pipeline.counter("infer.0", "frames"), pipeline.counter("infer.0", "submits"));
    assert_eq!(frames, 400);
    // Frames come faster than they are computed, or wait 100 ms: only the last batch of a pause may be small.
    assert!(submits < 100, "{submits} submits for {frames} frames");
}

#[test]
fn a_lone_frame_waits_no_longer_than_it_may() {
    let text =
        config("null", "").replace("[infer]\n", "[infer]\nmax_batch = 8\nmax_wait_us = 20000\nmax_in_flight = 8\n");
    let pipeline = Pipeline::start("lone", &text);
    let mut client = Client::new(pipeline.listen(), 0);
    for id in 0..20 {
        client.send_tensor(id, &tensor_of(id));
        // Its answer comes without any other frame.
        client.receive_until(id as usize + 1);
        assert_right(&client, id);
    }
    assert_eq!(values(&client.answer(0).bytes), tensor_of(0));
    pipeline.assert_whole();
    assert_eq!(pipeline.counter("infer.0", "submits"), 20);
}

/// Batches and a death in the middle of one: every frame is answered, once.
#[test]
fn a_batch_that_dies_with_its_process_is_done_again() {
    let text = config("delay", "")
        .replace("[infer]\n", "[infer]\ndelay_us = 20000\nmax_batch = 8\nmax_wait_us = 5000\nmax_in_flight = 16\n");
    let pipeline = Pipeline::start("batch-kill", &text);
    let mut client = Client::new(pipeline.listen(), 0);
    for id in 0..200 {
        client.send_tensor(id, &tensor_of(id));
        client.receive();
        if id % 50 == 25 {
            let before = pipeline.stage("infer.0")["incarnation"].as_u64().expect("a number");
            pipeline.kill_9("infer.0");
            pipeline.wait_incarnation("infer.0", before);
        }
    }
    client.receive_until(200);
    (0..200).for_each(|id| assert_right(&client, id));
    let ledger = pipeline.assert_whole();
    assert_eq!(ledger["answered"], 200, "{ledger}");
}
