//! The infer process; asked a question, it answers and ends.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    infer::answer().unwrap_or_else(|| stage::run(arena::StageKind::Infer, infer::Infer::prepare))
}
