//! The tx process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::run(arena::StageKind::Tx, tx::Tx::prepare)
}
