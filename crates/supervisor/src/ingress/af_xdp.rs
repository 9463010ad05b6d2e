//! What `[af_xdp]` asks for, and what its filter has counted over several access lists.

use config::{Auto, Pipeline, XdpMode, ZeroCopy};
use ports::PortError;
use ports::af_xdp::{Choice, Options};
use ports::xdp::{Counters, Interface};

/// What `[af_xdp]` asks for, with the interface found if it is to be.
pub(super) fn options(pipeline: &Pipeline) -> Result<Options, PortError> {
    let wanted = &pipeline.af_xdp;
    let interface = match &wanted.interface {
        Auto::Fixed(name) => name.clone(),
        Auto::Auto(_) => Interface::with_address(pipeline.ingress.listen.ip())?
            .ok_or(PortError::WhichInterface { listen: pipeline.ingress.listen })?,
    };
    let choice = |auto, require| match (auto, require) {
        (true, _) => Choice::Auto,
        (false, true) => Choice::Require,
        (false, false) => Choice::Off,
    };
    Ok(Options {
        interface,
        queues: match &wanted.queues {
            Auto::Fixed(queues) => Some(queues.clone()),
            Auto::Auto(_) => None,
        },
        native: choice(wanted.mode == XdpMode::Auto, wanted.mode == XdpMode::Native),
        zero_copy: choice(wanted.zero_copy == ZeroCopy::Auto, wanted.zero_copy == ZeroCopy::Require),
        ring_size: wanted.ring_size,
        need_wakeup: wanted.need_wakeup,
        busy_poll: (wanted.busy_poll_us > 0).then_some((wanted.busy_poll_us, wanted.busy_poll_budget)),
        listen: pipeline.ingress.listen,
    })
}

/// `auto` puts a program on an interface only if the configuration names it.
pub(super) fn chosen(pipeline: &Pipeline) -> Result<Options, String> {
    match &pipeline.af_xdp.interface {
        Auto::Fixed(_) => options(pipeline).map_err(|e| e.to_string()),
        Auto::Auto(_) => Err("[af_xdp] interface does not name one".to_owned()),
    }
}

pub(super) fn sum(a: &Counters, b: &Counters) -> Counters {
    let hits = b.hits.iter().enumerate().map(|(n, hits)| hits + a.hits.get(n).copied().unwrap_or(0));
    Counters {
        redirected: a.redirected + b.redirected,
        no_socket: a.no_socket + b.no_socket,
        denied: a.denied + b.denied,
        limited: a.limited + b.limited,
        fragments: a.fragments + b.fragments,
        policy_hits: a.policy_hits + b.policy_hits,
        hits: hits.collect(),
    }
}

/// What the totals begin with under a new list: a rule that stays, stays with its hits, wherever it stands now.
pub(super) fn carry(before: &Counters, counted: &Counters, old: &Pipeline, new: &Pipeline) -> Counters {
    let mut total = sum(before, counted);
    let hits_of = |rule| {
        let at = old.ingress.acl.iter().position(|o| o == rule)?;
        total.hits.get(at).copied()
    };
    let hits = new.ingress.acl.iter().map(|rule| hits_of(rule).unwrap_or(0)).collect();
    total.hits = hits;
    total
}
