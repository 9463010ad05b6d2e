//! A build with them.

use crate::device;
use arena::counters::RxCounter;
use arena::sync::Ordering;
use config::{Auto, DpdkIdle, Driver, Offloads, Pipeline};
use ports::RxPort;
use ports::dpdk::{Before, DpdkRx, Eal, EalOptions, Filter, FlowRules, Idle, RxOptions};
use stage::{Context, Stop};

/// The library's environment in this process.
#[derive(Debug)]
pub(crate) struct Environment(Option<Eal>);

#[cfg(test)]
impl Environment {
    /// For ports that are none of the library's.
    pub(crate) fn none() -> Self {
        Self(None)
    }
}

/// Brings it up, without any device: the predecessor may still drive that.
pub(crate) fn prepare(pipeline: &Pipeline) -> Result<Environment, Stop> {
    if pipeline.ingress.driver != Driver::Dpdk {
        return Ok(Environment(None));
    }
    let dpdk = &pipeline.dpdk;
    let options = EalOptions {
        prefix: format!("flumeway-rx-{}", std::process::id()),
        core: None,
        memory_mib: dpdk.eal_memory_mib,
        devices: dpdk.rx.iter().map(ToString::to_string).collect(),
        arguments: dpdk.eal_args.clone(),
    };
    Eal::init(&options).map(|eal| Environment(Some(eal))).map_err(|e| Stop::Environment(e.to_string()))
}

/// Opens this gateway's port.
pub(crate) fn open(pipeline: &Pipeline, environment: &Environment, cx: &mut Context) -> Result<Box<dyn RxPort>, Stop> {
    let dpdk = &pipeline.dpdk;
    let found = environment.0.as_ref().zip(dpdk.rx.get(usize::from(cx.instance.number)));
    let Some((eal, name)) = found else {
        return Err(Stop::Configuration("[dpdk] rx names no port for this rx-gateway; add one".to_owned()));
    };
    let page = cx.arena.gateway(cx.me.id);
    let packets =
        page.map_or(0, |p| p.packets.iter().fold(0_u64, |sum, c| sum.wrapping_add(c.load(Ordering::Relaxed))));
    let base = cx.page.counter(RxCounter::LinkBase as usize);
    let listen = pipeline.ingress.listen;
    let options = RxOptions {
        device: name.to_string(),
        queues: dpdk.queues as u16,
        descriptors: dpdk.rx_descriptors as u16,
        burst: dpdk.burst as usize,
        cache: dpdk.pool_cache,
        mtu: match dpdk.mtu {
            Auto::Fixed(mtu) => Some(mtu as u16),
            Auto::Auto(_) => None,
        },
        promiscuous: dpdk.promiscuous,
        verify_checksums: dpdk.verify_checksums,
        offloads: dpdk.offloads == Offloads::Auto,
        idle: match dpdk.idle {
            DpdkIdle::Auto => Idle::Auto,
            DpdkIdle::Interrupt => Idle::Interrupt,
            DpdkIdle::Sleep => Idle::Sleep,
        },
        idle_sleep_us: dpdk.idle_sleep_us,
        flow_rules: match dpdk.flow_rules {
            config::FlowRules::Auto => FlowRules::Auto,
            config::FlowRules::Off => FlowRules::Off,
            config::FlowRules::Require => FlowRules::Require,
        },
        filter: Filter { addresses: dpdk.addresses(listen.ip()), port: listen.port() },
        depth: cx.arena.geometry().home_range(cx.me.id).len() as u32 * 3 / 4,
        before: Before {
            link_base: base.checked_sub(1),
            packets,
            lost: cx.page.counter(RxCounter::LostInDevice as usize),
            told: [RxCounter::DeviceMissed, RxCounter::DeviceErrors].map(|c| cx.page.counter(c as usize)).iter().sum(),
        },
    };
    let port = DpdkRx::open(eal, &options, &cx.arena, cx.me).map_err(|e| refused(&e))?;
    device::set(cx.page, RxCounter::LinkBase, port.link_base().map_or(0, |base| base.wrapping_add(1)));
    Ok(Box::new(port))
}

fn refused(error: &ports::PortError) -> Stop {
    let text = error.to_string();
    if error.is_of_this_process() { Stop::Again(text) } else { Stop::Environment(text) }
}
