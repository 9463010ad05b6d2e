//! What tx must know of each stream: its key, and how many status replies it may get.

use config::{Pipeline, Stream, StreamId};
use std::collections::HashMap;
use wire::MacKey;

/// One stream's entry.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) key: Option<MacKey>,
    per_s: u32,
    left: u32,
    second_ns: u64,
}

impl Rule {
    fn new(stream: &Stream) -> Self {
        Self {
            key: stream.mac_key.as_ref().map(|k| MacKey::from_bytes(k.bytes())),
            per_s: stream.reply_on_drop_per_s,
            left: stream.reply_on_drop_per_s,
            second_ns: 0,
        }
    }

    /// Whether one more status reply may go out in this second.
    pub(crate) fn allow_status(&mut self, now_ns: u64) -> bool {
        if now_ns.wrapping_sub(self.second_ns) >= 1_000_000_000 {
            self.second_ns = now_ns;
            self.left = self.per_s;
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

/// All entries.
#[derive(Debug)]
pub(crate) struct Rules {
    own: HashMap<u32, Rule>,
    default: Rule,
}

impl Rules {
    pub(crate) fn new(pipeline: &Pipeline) -> Self {
        let own = pipeline.streams.iter().filter_map(|s| match s.id {
            StreamId::Id(id) => Some((id, Rule::new(s))),
            StreamId::Default => None,
        });
        Self { own: own.collect(), default: Rule::new(&pipeline.default_stream) }
    }

    pub(crate) fn of(&mut self, stream: u32) -> &mut Rule {
        if self.own.is_empty() { &mut self.default } else { self.own.get_mut(&stream).unwrap_or(&mut self.default) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_rationed_by_the_second() {
        let mut stream = Pipeline::default_with(config::Engine::Null).default_stream;
        stream.reply_on_drop_per_s = 2;
        let mut rule = Rule::new(&stream);
        let s = 1_000_000_000;
        let allowed: Vec<_> = [s, s + 1, s + 2, 2 * s - 1, 2 * s].iter().map(|t| rule.allow_status(*t)).collect();
        assert_eq!(allowed, [true, true, false, false, true]);
    }
}
