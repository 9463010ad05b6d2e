//! The access list in this stage: for packets that no XDP program has held against it.

use acl::{List, Packet};
use arena::counters::Verdict;
use config::Pipeline;
use ports::{Received, Standing};
use stage::Stop;

/// UDP's protocol number (RFC 768).
const UDP: u8 = 17;

/// The list, and what it has decided.
pub(crate) struct Access {
    list: List,
    trivial: bool,
}

impl Access {
    pub(crate) fn new(pipeline: &Pipeline) -> Result<Self, Stop> {
        let list = List::new(&pipeline.ingress.acl, pipeline.ingress.acl_policy);
        let list = list.map_err(|e| Stop::Configuration(e.to_string()))?;
        Ok(Self { trivial: list.is_trivial(), list })
    }

    /// Why the packet may not come in, if it may not; and the counter of the rule that decided, if any did.
    #[inline]
    pub(crate) fn refuses(&mut self, packet: &Received, now_ns: u64) -> (Option<Verdict>, Option<usize>) {
        match packet.standing {
            Standing::Filtered => return (None, None),
            Standing::Fragment => return (Some(Verdict::IpFragment), None),
            Standing::Malformed => return (Some(Verdict::Headers), None),
            Standing::Elsewhere | Standing::Other => return (Some(Verdict::Elsewhere), None),
            Standing::Unfiltered | Standing::Matched(_) if self.trivial => return (None, None),
            Standing::Unfiltered | Standing::Matched(_) => {}
        }
        let (Some(peer), Some(local)) = (packet.peer.get(), packet.local.get()) else {
            return (Some(Verdict::Headers), None);
        };
        let outer = packet.link.map_or(0, |l| l.tags[0]);
        let question = Packet {
            source: peer.ip(),
            destination: local.ip(),
            source_port: peer.port(),
            port: local.port(),
            vlan: (outer != 0).then_some(outer as u16 & 0x0fff),
            protocol: UDP,
        };
        let decision = match packet.standing {
            Standing::Matched(rule) => self.list.judge(&question, rule, now_ns),
            _ => self.list.decide(&question, now_ns),
        };
        let verdict = match decision.verdict {
            acl::Verdict::Allowed => None,
            acl::Verdict::Denied => Some(Verdict::Denied),
            acl::Verdict::Limited => Some(Verdict::Limited),
        };
        (verdict, Some(decision.rule.map_or(arena::gateway::ACL_CELLS - 1, usize::from)))
    }
}
