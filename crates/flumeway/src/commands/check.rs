//! `flumeway check`: what a configuration comes to on this machine.

use std::path::PathBuf;

use config::{MachineFacts, ModelFacts, Pipeline, Plan};
use flumeway::failure::{ExitStatus, Failure};
use supervisor::StartError;

use super::check_ingress::Ingress;
use crate::output;

const LONG_ABOUT: &str = "\
Read a configuration, check every value, and print what it comes to on this machine: processes and cores, rings, memory, \
and what the machine lacks. No pipeline is started; flumeway-infer is asked for the network's shapes, and each stage's executable for its memory layout.";

/// Validate a configuration and print the plan.
#[derive(Debug, clap::Args)]
#[command(long_about = LONG_ABOUT, after_help = "Examples:\n  flumeway check pipeline.toml\n  flumeway check pipeline.toml --json")]
pub(crate) struct Args {
    /// The configuration
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Print the plan as one line of JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn execute(args: &Args) -> Result<ExitStatus, Failure> {
    let mut pipeline = Pipeline::load(&args.config)?;
    let (model, missing) = model_facts(&mut pipeline)?;
    if missing.is_none() {
        supervisor::check_layouts(&pipeline.supervisor.bin_dir)?;
    }
    let plan = config::plan(&pipeline, &MachineFacts::detect(), &model)?;
    let ingress = Ingress::examine(&pipeline);
    print(&plan, &pipeline, &ingress, missing.as_deref(), args.json)?;
    if let Some(problem) = ingress.problem() {
        output::error(&problem);
    }
    Ok(if plan.can_start() && ingress.can_start() { ExitStatus::Success } else { ExitStatus::Environment })
}

/// The networks' shapes; if there is no executable to ask, none, and why.
fn model_facts(pipeline: &mut Pipeline) -> Result<(Vec<ModelFacts>, Option<String>), Failure> {
    match supervisor::settle_models(pipeline) {
        Ok((_, facts)) => Ok((facts, None)),
        Err(error @ StartError::Binary { .. }) => {
            Ok((vec![ModelFacts::default(); pipeline.all_models().len()], Some(error.to_string())))
        }
        Err(error) => Err(not_started(pipeline, error)),
    }
}

/// Why a pipeline does not start; what the engine says of the network, with the line that names it.
pub(super) fn not_started(pipeline: &Pipeline, error: StartError) -> Failure {
    match error {
        // The file was readable when the configuration was read, so the engine's word is about what is in it.
        StartError::Model { number, said } => {
            let remedy = "name a network that the engine can run";
            let key = if number == 0 { "infer.model".to_owned() } else { format!("model.{number}.file") };
            pipeline.error_at(&key, &format!(": {said}"), remedy).into()
        }
        error => error.into(),
    }
}

fn print(
    plan: &Plan,
    pipeline: &Pipeline,
    ingress: &Ingress,
    missing: Option<&str>,
    is_json: bool,
) -> Result<(), Failure> {
    if !is_json {
        output::line(plan.to_string().trim_end());
        output::line(format_args!("\n{}", ingress.text(pipeline)));
        if let Some(missing) = missing {
            output::line(format_args!(
                "\nThe network's sizes are not known and not part of the memory above: {missing}"
            ));
        }
        return Ok(());
    }
    let mut value = serde_json::to_value(plan).map_err(|error| Failure::environment(format!("no JSON: {error}")))?;
    value["ok"] = (plan.can_start() && ingress.can_start()).into();
    value["ingress"] = ingress.json(pipeline);
    if let Some(problem) = ingress.problem() {
        value["error"] = problem.into();
    }
    value["model_unknown"] = missing.into();
    output::line(value);
    Ok(())
}
