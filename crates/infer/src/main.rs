//! The infer process; with `--describe` it says what a pipeline's model takes and gives, and ends.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--describe") {
        return infer::describe();
    }
    stage::run(arena::StageKind::Infer, infer::Infer::prepare)
}
