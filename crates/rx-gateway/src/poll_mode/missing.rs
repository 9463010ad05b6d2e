//! A build without them.

use config::{Driver, Pipeline};
use ports::RxPort;
use stage::{Context, Stop};

/// Nothing.
#[derive(Debug)]
pub(crate) struct Environment;

#[cfg(test)]
impl Environment {
    /// What there is.
    pub(crate) fn none() -> Self {
        Self
    }
}

pub(crate) fn prepare(pipeline: &Pipeline) -> Result<Environment, Stop> {
    if pipeline.ingress.driver == Driver::Dpdk { Err(refused()) } else { Ok(Environment) }
}

pub(crate) fn open(_: &Pipeline, _: &Environment, _: &mut Context) -> Result<Box<dyn RxPort>, Stop> {
    Err(refused())
}

fn refused() -> Stop {
    let missing = "this build of flumeway-rx-gateway has no DPDK; build with the feature dpdk";
    Stop::Configuration(format!("[ingress] driver = \"dpdk\": {missing}"))
}
