//! A build with them.

use ::stage::{Context, Stop};
use config::{Auto, Driver, Pipeline};
use ports::TxPort;
use ports::dpdk::{DpdkTx, Eal, EalOptions, TxOptions};

/// The library's environment in this process.
#[derive(Debug)]
pub(crate) struct Environment(Option<Eal>);

/// Brings it up, without any device: the predecessor may still drive that.
pub(crate) fn prepare(pipeline: &Pipeline) -> Result<Environment, Stop> {
    if pipeline.ingress.driver != Driver::Dpdk {
        return Ok(Environment(None));
    }
    let dpdk = &pipeline.dpdk;
    let options = EalOptions {
        prefix: format!("flumeway-tx-{}", std::process::id()),
        core: None,
        memory_mib: dpdk.eal_memory_mib,
        devices: dpdk.tx.iter().map(ToString::to_string).collect(),
        arguments: dpdk.eal_args.clone(),
    };
    Eal::init(&options).map(|eal| Environment(Some(eal))).map_err(|e| Stop::Environment(e.to_string()))
}

/// Opens the port.
pub(crate) fn open(pipeline: &Pipeline, environment: &Environment, cx: &Context) -> Result<Box<dyn TxPort>, Stop> {
    let dpdk = &pipeline.dpdk;
    let Some((eal, name)) = environment.0.as_ref().zip(dpdk.tx.as_ref()) else {
        return Err(Stop::Configuration("[dpdk] tx names no port; add one".to_owned()));
    };
    let options = TxOptions {
        device: name.to_string(),
        descriptors: dpdk.tx_descriptors as u16,
        mtu: match dpdk.mtu {
            Auto::Fixed(mtu) => Some(mtu as u16),
            Auto::Auto(_) => None,
        },
    };
    let port = DpdkTx::open(eal, &options, &cx.arena, cx.me).map_err(|e| refused(&e))?;
    Ok(Box::new(port))
}

fn refused(error: &ports::PortError) -> Stop {
    let text = error.to_string();
    if error.is_of_this_process() { Stop::Again(text) } else { Stop::Environment(text) }
}
