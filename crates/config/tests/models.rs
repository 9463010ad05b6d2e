//! Several networks, and the manifests beside them.

mod common;

use common::Folder;
use config::{Color, Engine, ModelFacts, Pipeline, PostKind, Resize, TensorFacts};

fn load(folder: &Folder, text: &str) -> Result<Pipeline, String> {
    Pipeline::from_toml_str(text, folder.path(), "pipeline.toml").map_err(|error| error.to_string())
}

fn folder(name: &str) -> Folder {
    let folder = Folder::new(name);
    for file in ["a.onnx", "b.onnx", "c.onnx"] {
        folder.file(file, "any", 0o644);
    }
    folder.file("labels/c.txt", "one\ntwo", 0o644);
    folder
}

const TWO: &str = "[infer]\nmodel = \"a.onnx\"\n[[model]]\nname = \"b\"\nfile = \"b.onnx\"\n";

#[test]
fn streams_name_their_network() {
    let folder = folder("streams");
    let text = format!("{TWO}[[stream]]\nid = \"default\"\nmodel = \"b\"\n[[stream]]\nid = 3\nmodel = \"default\"");
    let pipeline = load(&folder, &text).unwrap();
    let number = |stream: u32| pipeline.model_number(&pipeline.stream(stream).model);
    assert_eq!([number(0), number(3), number(4)], [Some(1), Some(0), Some(1)]);
    let error = load(&folder, &format!("{TWO}[[stream]]\nid = 3\nmodel = \"c\"")).unwrap_err();
    assert_eq!(
        error,
        "pipeline.toml:8:9: [[stream]] id = 3: model = \"c\" is no model of this pipeline; write one of default, b, or add a [[model]]"
    );
}

#[test]
fn names_are_unique_and_files_there() {
    let folder = folder("names");
    let twice = load(&folder, &format!("{TWO}[[model]]\nname = \"b\"\nfile = \"c.onnx\"")).unwrap_err();
    assert!(twice.contains("[[model]] 2: name = \"b\" is taken"), "{twice}");
    let default = load(&folder, &TWO.replace("\"b\"", "\"default\"")).unwrap_err();
    assert!(default.contains("is taken"), "{default}");
    let nameless = load(&folder, &TWO.replace("name = \"b\"\n", "")).unwrap_err();
    assert!(nameless.contains("[[model]] 1: name = \"\" is no name"), "{nameless}");
    let gone = load(&folder, &TWO.replace("b.onnx", "gone.onnx")).unwrap_err();
    assert!(gone.starts_with("pipeline.toml:5:8: [[model]] 1: file") && gone.contains("No such file"), "{gone}");
    let missing = load(&folder, &TWO.replace("file = \"b.onnx\"\n", "")).unwrap_err();
    assert!(missing.contains("[[model]] 1: file is missing, and engine \"auto\" cannot do without"), "{missing}");
    let unknown = load(&folder, &format!("{TWO}threads = 2")).unwrap_err();
    assert!(unknown.contains("[[model]] 1: threads is not a known key"), "{unknown}");
    let digest = load(&folder, &format!("{TWO}sha256 = \"ABC\"")).unwrap_err();
    assert!(digest.contains("[[model]] 1: sha256 = \"ABC\" is no SHA-256"), "{digest}");
}

#[test]
fn a_manifest_says_what_the_configuration_does_not() {
    let folder = folder("manifest");
    let digest = "0".repeat(64);
    folder.file(
        "c.toml",
        &format!("[model]\nsha256 = \"{digest}\"\nscale = 1\nlabels = \"labels/c.txt\"\ntop_k = 3"),
        0o644,
    );
    folder.file("a.toml", "[model]\nresize = \"bilinear-antialias\"\nkind = \"tensor\"", 0o644);
    let text = "[infer]\nmodel = \"a.onnx\"\n[post]\nkind = \"classes\"\n[[model]]\nname = \"c\"\nfile = \"c.onnx\"\ntop_k = 7";
    let pipeline = load(&folder, text).unwrap();
    let [a, c] = &pipeline.all_models()[..] else { panic!("two networks") };
    assert_eq!((a.picture.resize, a.post.kind), (Resize::BilinearAntialias, PostKind::Classes));
    assert_eq!((c.sha256.as_str(), c.picture.scale, c.post.top_k), (digest.as_str(), 1.0, 7));
    assert_eq!(c.post.label_names, ["one", "two"]);
    assert_eq!(c.engine, Engine::Auto, "as [infer] has it");
    let run = Pipeline::for_model(folder.path().join("c.onnx")).unwrap();
    assert_eq!((run.infer.sha256.as_str(), run.post.top_k, run.post.label_names.len()), (digest.as_str(), 3, 2));
}

#[test]
fn a_wrong_manifest_is_named_with_its_line() {
    let folder = folder("wrong-manifest");
    let manifest = |text: &str| {
        folder.file("a.toml", text, 0o644);
        load(&folder, "[infer]\nmodel = \"a.onnx\"").unwrap_err()
    };
    let path = folder.path().join("a.toml").display().to_string();
    assert!(
        manifest("[model]\nmeans = 1")
            .starts_with(&format!("{path}:2:1: [model] means is not a known key; write mean"))
    );
    assert!(manifest("[model]\nstd = [0, 1, 1]").starts_with(&format!("{path}:2:7: [model] std")));
    assert!(manifest("[modell]\n").starts_with(&format!("{path}:1:2: [modell] is no table")));
    assert!(manifest("[model").contains("no valid TOML"));
}

#[test]
fn slots_fit_the_largest_and_autos_are_settled_for_each() {
    let folder = folder("resolve");
    let mut pipeline = load(&folder, TWO).unwrap();
    let gray = ModelFacts {
        input_bytes: 3136,
        output_bytes: 40,
        inputs: vec![TensorFacts::f32([1, 1, 28, 28])],
        outputs: vec![TensorFacts::f32([1, 10])],
        sha256: String::new(),
    };
    let faces = ModelFacts {
        input_bytes: 921_600,
        output_bytes: 106_112,
        inputs: vec![TensorFacts::f32([1, 3, 240, 320])],
        outputs: vec![TensorFacts::f32([1, 4420, 4]), TensorFacts::f32([1, 4420, 2])],
        sha256: String::new(),
    };
    let facts = [gray, faces];
    let topology = config::Topology::new(&pipeline, &[0, 1]).unwrap();
    pipeline.resolve(&topology, &facts).unwrap();
    assert_eq!((pipeline.arena.max_input_bytes, pipeline.arena.max_output_bytes), (921_600, 106_112));
    let [first, second] = &pipeline.networks[..] else { panic!("two networks") };
    assert_eq!((first.model.picture.color, first.model.post.kind), (Color::Gray, PostKind::Classes));
    assert_eq!((second.model.picture.color, second.model.post.kind), (Color::Rgb, PostKind::Detections));
    assert_eq!((second.model.post.scores_output, second.model.post.boxes_output), (1, 0));
    let handed_over = Pipeline::from_json(pipeline.to_json().as_bytes()).unwrap();
    assert_eq!(handed_over, pipeline);
    let only = pipeline.with_only(1);
    assert_eq!((only.infer.model, only.models.len(), only.networks.len()), (Some(folder.path().join("b.onnx")), 0, 0));
}

#[test]
fn a_changed_model_needs_a_restart_and_a_streams_choice_does_not() {
    let folder = folder("reload");
    let old = load(&folder, TWO).unwrap();
    let other = load(&folder, &TWO.replace("b.onnx", "c.onnx")).unwrap();
    assert!(config::diff(&old, &other).needs_restart[0].starts_with("model: changed"));
    let routed = load(&folder, &format!("{TWO}[[stream]]\nid = \"default\"\nmodel = \"b\"")).unwrap();
    assert_eq!(config::diff(&old, &routed).applied, ["stream.default.model: \"default\" -> \"b\""]);
    let scaled = load(&folder, &format!("{TWO}[preprocess]\nscale = 2")).unwrap();
    assert!(config::diff(&old, &scaled).needs_restart[0].starts_with("preprocess.scale: "), "its own key is named");
}
