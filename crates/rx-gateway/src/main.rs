//! The rx-gateway process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    stage::run(arena::StageKind::RxGateway, rx_gateway::RxGateway::prepare)
}
