//! The plan and the comparison of configurations, with known answers.

use config::{
    AclAction, AclRule, Auto, Engine, Hugepages, Level, MachineFacts, ModelFacts, Pipeline, Policy, Profile, StreamId,
    TensorFacts, Topology, diff, plan, resolve_slots, slot_bytes,
};

fn machine() -> MachineFacts {
    MachineFacts { cpus: vec![0, 1], hugepages_free_2m: 10, memory_available_bytes: 4 << 30, rmem_max_bytes: 212_992 }
}

/// MobileNet-V2's sizes.
fn model() -> [ModelFacts; 1] {
    [ModelFacts {
        input_bytes: 602_112,
        output_bytes: 4000,
        inputs: vec![TensorFacts::f32([1, 3, 224, 224])],
        outputs: vec![TensorFacts::f32([1, 1000])],
        sha256: String::new(),
    }]
}

fn pipeline() -> Pipeline {
    Pipeline::default_with(Engine::Null)
}

#[test]
fn the_plan_as_text() {
    let text = plan(&pipeline(), &machine(), &model()).unwrap().to_string();
    assert_eq!(text, include_str!("golden/plan.txt"), "\n{text}");
}

#[test]
fn the_plan_as_json() {
    let plan = plan(&pipeline(), &machine(), &model()).unwrap();
    let json = serde_json::to_value(&plan).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["slots"], 110);
    assert_eq!(json["processes"][3], serde_json::json!({"name": "infer.0", "executable": "flumeway-infer", "core": 1}));
    assert_eq!(
        json["rings"][1],
        serde_json::json!({"from": "preprocess.0", "to": "infer.0", "carries": "frames",
            "capacity": 8192, "high_watermark": 6144, "low_watermark": 2048})
    );
    assert_eq!(
        json["memory"][1],
        serde_json::json!({"name": "packets", "bytes": 64 << 20, "holds": "16384 buffers of 4096 bytes"})
    );
    assert_eq!(json["notes"][0]["level"], "advice");
    assert!(!serde_json::to_string(&plan).unwrap().contains('\n'));
}

#[test]
fn automatic_slots() {
    let with = |profile, input_bytes, output_bytes| {
        let model = [ModelFacts { input_bytes, output_bytes, ..ModelFacts::default() }];
        resolve_slots(&pipeline().with_profile(profile), &model)
    };
    // 64 MiB / (602112 + 4032): the output rounded up to 64.
    assert_eq!(with(Profile::Default, 602_112, 4000), 110);
    assert_eq!(with(Profile::Default, 1024, 64), 8192, "at most");
    assert_eq!(with(Profile::Default, 16 << 20, 64), 32, "at least");
    assert_eq!(with(Profile::Small, 602_112, 4000), 27);
    assert_eq!(with(Profile::Small, 1024, 64), 1024, "a ring's entries");
    assert_eq!(with(Profile::Small, 16 << 20, 64), 8, "at least");
    let mut fixed = pipeline();
    fixed.arena.slots = Auto::Fixed(5);
    assert_eq!(resolve_slots(&fixed, &model()), 5);
    fixed.arena.max_input_bytes = 1_000_000;
    assert_eq!(slot_bytes(&fixed, &model()), (1_000_000, 4032));
}

#[test]
fn what_the_machine_lacks_is_noted() {
    let levels = |pipeline: &Pipeline, machine: &MachineFacts| -> Vec<Level> {
        plan(pipeline, machine, &model()).unwrap().notes.iter().map(|note| note.level).collect()
    };
    let ample = MachineFacts {
        cpus: (0..8).collect(),
        hugepages_free_2m: 1000,
        memory_available_bytes: 4 << 30,
        rmem_max_bytes: 16 << 20,
    };
    assert_eq!(levels(&pipeline(), &ample), [Level::Advice], "only the MTU");
    let poor = MachineFacts { memory_available_bytes: 50 << 20, hugepages_free_2m: 0, ..ample.clone() };
    let plan_of_poor = plan(&pipeline(), &poor, &model()).unwrap();
    assert!(!plan_of_poor.can_start());
    assert_eq!(plan_of_poor.notes[0].message, "the arena takes 138 MiB, and 50 MiB are available");
    let mut strict = pipeline();
    strict.arena.hugepages = Hugepages::Require;
    let few = MachineFacts { hugepages_free_2m: 68, ..ample.clone() };
    let plan_of_strict = plan(&strict, &few, &model()).unwrap();
    assert!(!plan_of_strict.can_start());
    assert_eq!(
        plan_of_strict.notes[0].remedy,
        "run: deploy/host-setup hugepages $(($(cat /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages) + 1)) --apply"
    );
    assert!(plan(&strict, &MachineFacts { hugepages_free_2m: 69, ..ample.clone() }, &model()).unwrap().can_start());
    // Hugepages that suffice do not come out of the available memory.
    assert!(
        plan(&pipeline(), &MachineFacts { memory_available_bytes: 0, ..ample.clone() }, &model()).unwrap().can_start()
    );
    strict.arena.hugepages = Hugepages::Off;
    assert!(!plan(&strict, &MachineFacts { memory_available_bytes: 0, ..ample }, &model()).unwrap().can_start());
}

#[test]
fn an_access_list_that_changes_nothing_is_noted() {
    let messages = |rules: &[AclRule], policy| {
        let mut pipeline = pipeline();
        pipeline.ingress.acl = rules.to_vec();
        pipeline.ingress.acl_policy = policy;
        pipeline.validate().unwrap();
        let notes = plan(&pipeline, &machine(), &model()).unwrap().notes;
        notes.iter().filter(|note| note.message.contains("access list")).count()
    };
    let (allow, deny) = (AclRule::all(AclAction::Allow), AclRule::all(AclAction::Deny));
    let limited = AclRule { rate_pps: Some(10), ..allow.clone() };
    assert_eq!(messages(&[], AclAction::Allow), 0);
    assert_eq!(messages(&[allow.clone(), allow.clone()], AclAction::Allow), 1);
    assert_eq!(messages(std::slice::from_ref(&allow), AclAction::Deny), 0);
    assert_eq!(messages(&[allow.clone(), deny], AclAction::Allow), 0);
    assert_eq!(messages(&[allow, limited], AclAction::Allow), 0, "a rate is a bound");
}

#[test]
fn the_small_profile_fits_a_board_with_2_gb() {
    let small = pipeline().with_profile(Profile::Small);
    small.validate().unwrap();
    let board = MachineFacts { memory_available_bytes: 1 << 30, ..machine() };
    let plan = plan(&small, &board, &model()).unwrap();
    assert!(plan.can_start());
    assert!(plan.memory_bytes <= 64 << 20, "{}", plan.memory_bytes);
}

#[test]
fn a_model_that_does_not_fit_is_an_error_with_its_key() {
    let mut tight = pipeline();
    tight.arena.max_input_bytes = 1024;
    assert_eq!(
        plan(&tight, &machine(), &model()).unwrap_err().to_string(),
        "[arena] max_input_bytes = 1024 is less than the 602112 bytes of the model's inputs; \
         write 602112 or more, or 0 to take the model's"
    );
    let mut eager = pipeline();
    eager.limits.max_heads = Auto::Fixed(111);
    assert_eq!(plan(&eager, &machine(), &model()).unwrap_err().key, "limits.max_heads");
}

#[test]
fn resolving_fixes_what_was_automatic_and_still_validates() {
    let mut resolved = pipeline();
    let topology = Topology::new(&resolved, &[0, 1]).unwrap();
    resolved.resolve(&topology, &model()).unwrap();
    assert_eq!((resolved.arena.slots, resolved.limits.max_heads), (Auto::Fixed(110), Auto::Fixed(110)));
    assert_eq!((resolved.arena.max_input_bytes, resolved.arena.max_output_bytes), (602_112, 4032));
    assert_eq!(resolved.general.spin_us, Auto::Fixed(0));
    assert_eq!(Pipeline::from_json(resolved.to_json().as_bytes()).unwrap(), resolved);
}

#[test]
fn watermarks_keep_their_order_in_the_smallest_ring() {
    let mut rings = pipeline().rings;
    for (high, low) in [(1, 0), (2, 1), (75, 25), (100, 99)] {
        (rings.high_watermark_percent, rings.low_watermark_percent) = (high, low);
        for capacity in [64, 65536] {
            assert!(rings.low_watermark(capacity) < rings.high_watermark(capacity));
            assert!(rings.high_watermark(capacity) <= capacity);
        }
    }
}

#[test]
fn a_reload_applies_streams_and_names_what_needs_a_restart() {
    let old = Pipeline::from_toml_str(
        "[infer]\nengine = \"null\"\n[[stream]]\nid = 7\n[[stream]]\nid = 8\n",
        std::path::Path::new("/"),
        "old",
    )
    .unwrap();
    assert!(diff(&old, &old.clone()).is_empty());
    let mut new = old.clone();
    new.default_stream.policy = Policy::DropOldest;
    new.streams[0].deadline_us = 5000;
    new.streams[1].id = StreamId::Id(9);
    new.limits.assembly_timeout_ms = 100;
    new.rings.capacity = 4096;
    new.arena.slots = Auto::Fixed(9);
    new.ingress.listen = "[::]:9000".parse().unwrap();
    new.infer.instances = 2;
    let reload = diff(&old, &new);
    let applied = [
        "limits.assembly_timeout_ms: 200 -> 100",
        "stream.default.policy: \"pause\" -> \"drop-oldest\"",
        "stream.7.deadline_us: 0 -> 5000",
        "stream.9: added",
        "stream.8: removed, the default entry holds",
    ];
    assert_eq!(reload.applied, applied);
    let needs_restart = [
        "arena.slots: \"auto\" -> 9",
        "infer.instances: 1 -> 2",
        "ingress.listen: \"0.0.0.0:9000\" -> \"[::]:9000\"",
        "rings.capacity: 8192 -> 4096",
    ];
    assert_eq!(reload.needs_restart, needs_restart);
}
