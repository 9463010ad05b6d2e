//! The tx process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("--drivers") {
        println!("{}", ports::drivers());
        return ExitCode::SUCCESS;
    }
    stage::run(arena::StageKind::Tx, tx::Tx::prepare)
}
