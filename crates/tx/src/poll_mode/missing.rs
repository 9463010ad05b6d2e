//! A build without them.

use ::stage::{Context, Stop};
use config::{Driver, Pipeline};
use ports::TxPort;

/// Nothing.
#[derive(Debug)]
pub(crate) struct Environment;

pub(crate) fn prepare(pipeline: &Pipeline) -> Result<Environment, Stop> {
    if pipeline.ingress.driver == Driver::Dpdk { Err(refused()) } else { Ok(Environment) }
}

pub(crate) fn open(_: &Pipeline, _: &Environment, _: &Context) -> Result<Box<dyn TxPort>, Stop> {
    Err(refused())
}

fn refused() -> Stop {
    let missing = "this build of flumeway-tx has no DPDK; build with the feature dpdk";
    Stop::Configuration(format!("[ingress] driver = \"dpdk\": {missing}"))
}
