//! Which driver packets come by.

use crate::poll_mode::Environment;
use config::{AtEnd, Driver, Pipeline, Speed};
use ports::RxPort;
use ports::af_xdp::{AfXdpRx, RxOptions};
use ports::replay::{self, ReplayRx};
use ports::udp::{UdpRx, VECTOR};
use stage::{Context, Stop};

/// Burst of the kernel's socket beside a driver of links: little comes there.
const SOCKET_BURST: usize = 32;
/// Bursts of the ring that one call to the driver may bring: under load one call empties what came during the last turn.
const BURSTS: usize = 4;

/// Most packets of one call to the driver.
pub(crate) fn burst(pipeline: &Pipeline) -> usize {
    (pipeline.rings.burst as usize * BURSTS).clamp(1, VECTOR)
}

/// Opens the driver's receiving side on what this process inherited.
pub(crate) fn open(pipeline: &Pipeline, environment: &Environment, cx: &mut Context) -> Result<Box<dyn RxPort>, Stop> {
    let fds = std::mem::take(&mut cx.port);
    let failed = |e: ports::PortError| Stop::Environment(e.to_string());
    if pipeline.ingress.driver == Driver::Dpdk {
        return crate::poll_mode::open(pipeline, environment, cx);
    }
    if pipeline.ingress.driver == Driver::Replay {
        let rx = ReplayRx::attach(fds, &replay_options(pipeline), &cx.arena, cx.me).map_err(failed)?;
        return Ok(Box::new(rx));
    }
    let device = pipeline.device.as_ref().filter(|_| pipeline.ingress.driver == Driver::AfXdp);
    let Some(device) = device else {
        return Ok(Box::new(UdpRx::attach(fds, burst(pipeline)).map_err(failed)?));
    };
    let geometry = cx.arena.geometry();
    let queues = device.queues_of(cx.instance.number.into(), geometry.gateways.into());
    // Half of the buffers at most wait in the device's rings: frames in flight need the others.
    let share = geometry.home_range(cx.me.id).len() as u32 / 2 / queues.len().max(1) as u32;
    let options = RxOptions {
        ring_size: pipeline.af_xdp.ring_size,
        depth: share.min(pipeline.af_xdp.ring_size),
        verify_checksums: pipeline.af_xdp.verify_checksums,
        busy_poll: pipeline.af_xdp.busy_poll_us > 0,
        burst: SOCKET_BURST,
        queues,
    };
    Ok(Box::new(AfXdpRx::attach(fds, &options, &cx.arena, cx.me).map_err(failed)?))
}

fn replay_options(pipeline: &Pipeline) -> replay::RxOptions {
    replay::RxOptions {
        speed: match pipeline.replay.speed {
            Speed::Recorded => replay::Speed::Recorded,
            Speed::Max => replay::Speed::Max,
            Speed::PerS(packets) => replay::Speed::PerSecond(packets),
        },
        follow: pipeline.replay.at_end == AtEnd::Wait,
        listen: pipeline.ingress.listen,
        burst: burst(pipeline),
    }
}
