//! The configuration's streams, as rx-gateway looks them up for each packet.

use arena::meta::Address;
use config::{Pipeline, Policy, ReplyTo, Stream, StreamId};
use std::collections::HashMap;
use std::net::IpAddr;
use wire::MacKey;

/// Row number of the default entry.
pub(crate) const DEFAULT: u16 = u16::MAX;

/// One entry, ready to use.
#[derive(Debug)]
pub(crate) struct Rule {
    stream: Stream,
    pub(crate) key: Option<MacKey>,
}

impl Rule {
    fn new(stream: &Stream) -> Self {
        Self { key: stream.mac_key.as_ref().map(|k| MacKey::from_bytes(k.bytes())), stream: stream.clone() }
    }

    pub(crate) fn admits(&self, ip: IpAddr) -> bool {
        self.stream.admits(ip)
    }

    pub(crate) fn policy(&self) -> Policy {
        self.stream.policy
    }

    pub(crate) fn backlog(&self) -> usize {
        self.stream.backlog as usize
    }

    pub(crate) fn reply_on_drop(&self) -> bool {
        self.stream.reply_on_drop
    }

    /// The frame's own budget, or the stream's where it has none, in nanoseconds; 0 = none.
    pub(crate) fn budget_ns(&self, own_us: u32) -> u64 {
        u64::from(if own_us == 0 { self.stream.deadline_us } else { own_us }) * 1_000
    }

    pub(crate) fn reply_to(&self, sender: Address) -> Address {
        match self.stream.reply_to {
            ReplyTo::Sender => sender,
            ReplyTo::None => Address::NONE,
            ReplyTo::Address(a) => Address::new(a),
        }
    }
}

/// All entries.
#[derive(Debug)]
pub(crate) struct Rules {
    by_id: HashMap<u32, u16>,
    own: Vec<Rule>,
    default: Rule,
}

impl Rules {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let mut by_id = HashMap::new();
        let mut own = Vec::new();
        for stream in &pipeline.streams {
            if let StreamId::Id(id) = stream.id {
                by_id.insert(id, own.len() as u16);
                own.push(Rule::new(stream));
            }
        }
        Self { by_id, own, default: Rule::new(&pipeline.default_stream) }
    }

    /// The entry that rules a stream.
    #[inline]
    pub(crate) fn row(&self, stream: u32) -> u16 {
        if self.by_id.is_empty() { DEFAULT } else { self.by_id.get(&stream).copied().unwrap_or(DEFAULT) }
    }

    /// An entry by its row.
    #[inline]
    pub(crate) fn get(&self, row: u16) -> &Rule {
        self.own.get(row as usize).unwrap_or(&self.default)
    }
}
