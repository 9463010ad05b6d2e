//! The preprocess process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::run(arena::StageKind::Preprocess, preprocess::Preprocess::prepare)
}
