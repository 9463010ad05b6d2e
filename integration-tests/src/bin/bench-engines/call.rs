//! An engine call inside infer against the library's own call on the same input: `submit` and `poll` with areas as the arena has them, against the
//! plainest program that binds its tensors once. Both in one process, by turns, on one core: `crates/engines/examples/call_overhead*`.

use crate::report::Report;
use anyhow::{Context as _, Result, bail};
use benches::figures::Required;
use benches::machine;
use benches::statistics::median;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;

const ROUNDS: usize = 5;
const PAIRS: &str = "200";
const REQUIRED: Required = Required::AtMost(1.03);
const MODELS: [(&str, &str); 3] =
    [("mobilenetv2-fp32", "fp32"), ("mobilenetv2-int8-qdq", "int8"), ("ultraface-rfb-320", "ultraface")];

/// Both libraries on the three reference models: the median of the rounds' ratios of medians.
pub fn measure(report: &mut Report) -> Result<()> {
    machine::pin(*machine::cores().last().context("a core")?)?;
    for engine in ["onnxruntime", "openvino"] {
        for (model, short) in MODELS {
            let outcome = match integration_tests::shared() {
                None => Err("the reference models are missing".to_owned()),
                Some(shared) => rounds(report, engine, short, &shared.join(format!("models/{model}.onnx")))
                    .map_err(|e| format!("{e:#}")),
            };
            report.add(&format!("call_{engine}_{short}_ratio"), outcome, REQUIRED);
        }
    }
    Ok(())
}

fn rounds(report: &mut Report, engine: &str, short: &str, model: &Path) -> Result<f64> {
    let rounds: Vec<Value> = (0..ROUNDS).map(|_| one_round(engine, model)).collect::<Result<_>>()?;
    let numbers = |key: &str| rounds.iter().map(|round| round[key].as_f64().unwrap_or(f64::NAN)).collect::<Vec<_>>();
    let ratio = median(&numbers("ratio"));
    println!(
        "{engine} {short}: the library's call p50 {:.0} us, ours {:.0} us; ratios {:.3?}",
        median(&numbers("direct_us")),
        median(&numbers("ours_us")),
        numbers("ratio")
    );
    report.keep(&format!("call_{engine}_{short}"), json!(rounds));
    Ok(ratio)
}

/// Both print a line of JSON last.
fn one_round(engine: &str, model: &Path) -> Result<Value> {
    let examples = integration_tests::target().join("release/examples");
    let mut command = if engine == "openvino" {
        let mut command = Command::new(examples.join("call_overhead_openvino"));
        command.arg(library()?);
        command
    } else {
        let mut command = Command::new(examples.join("call_overhead"));
        command.arg(engine);
        command
    };
    let output = command.arg(model).arg(PAIRS).output().context("run the example; `make bench-engines` builds it")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| format!("the example printed {last:?}"))
}

fn library() -> Result<PathBuf> {
    let folder = integration_tests::target().join("engines/openvino");
    let files = std::fs::read_dir(&folder).with_context(|| format!("{}: make engines", folder.display()))?;
    let named =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libopenvino_c.so"));
    files.filter_map(|entry| Some(entry.ok()?.path())).find(named).context("no libopenvino_c.so: make engines")
}
