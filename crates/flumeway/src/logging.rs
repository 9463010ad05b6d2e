//! Log lines on standard error.

use std::io::IsTerminal;

use flumeway::failure::Failure;
use tracing_subscriber::EnvFilter;

/// The variable that stages take their filter from; they inherit it from `flumeway run`.
const VARIABLE: &str = "FLUMEWAY_LOG";

/// Starts logging at `filter`, or as the environment says, or at `default`.
pub(crate) fn start(filter: Option<&str>, default: &str) -> Result<(), Failure> {
    let variable = std::env::var(VARIABLE).ok();
    let (origin, given) = match (filter, variable.as_deref()) {
        (Some(filter), _) => ("--log", filter),
        (None, Some(filter)) => (VARIABLE, filter),
        (None, None) => ("the default", default),
    };
    let filter = EnvFilter::try_new(given).map_err(|error| {
        Failure::usage(format!("{origin} {given:?} is no filter: {error}; write error, warn, info or TARGET=LEVEL"))
    })?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| Failure::environment(format!("logging cannot be started: {error}")))
}
