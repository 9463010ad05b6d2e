//! Answers to neighbours: whole frames that rx-gateway has written ([`arena::descriptor::ANSWER`]), sent by the driver of links as
//! they are, but for the hardware address that they come from.
//!
//! Each is sent at most once: what a dead predecessor had in hand goes home unsent. Whoever asked asks again, and a frame that
//! brings tx down cannot do so twice.

use crate::stage::{BATCH, Live};
use ::stage::{Context, Stop};
use arena::Held;
use arena::counters::TxCounter;
use arena::descriptor::DataRange;
use arena::killpoint::{KillPoint, reach};
use arena::meta::{Address, Link};
use ports::{Datagram, SendOutcome};
use wire::packet::source_mac_mut;

/// An answer on its way out.
#[derive(Debug)]
pub(crate) struct Answer {
    head: Held,
    seq: u32,
    link: Link,
    /// Where the frame lies in the head's buffer.
    frame: DataRange,
}

impl Answer {
    fn datagram<'a>(&'a self, cx: &'a Context) -> Datagram<'a> {
        let (from, len) = (usize::from(self.frame.offset), usize::from(self.frame.len));
        Datagram {
            head: &self.head,
            seq: self.seq,
            last: true,
            first: cx.arena.packet(&self.head).get(from..from + len).unwrap_or_default(),
            second: &[],
            to: Address::NONE,
            from: Address::NONE,
            offset: self.frame.offset,
            link: Some(self.link),
        }
    }
}

impl Live {
    /// Takes an answer up.
    pub(crate) fn begin_answer(&mut self, cx: &Context, mut head: Held) -> Result<(), Stop> {
        if cx.table.of(&head).is_settled() {
            return self.go_home(cx, head);
        }
        let Ok((meta, place)) = cx.arena.record(head.index()) else {
            cx.page.add(TxCounter::Damaged as usize, 1);
            return self.go_home(cx, head);
        };
        let frame = place.data;
        let (from, len) = (usize::from(frame.offset), usize::from(frame.len));
        let source = cx.arena.packet_mut(&mut head).get_mut(from..from + len).and_then(source_mac_mut);
        let (Some(device), Some(link), Some(source)) = (&self.device, meta.link, source) else {
            return self.refuse_answer(cx, head);
        };
        // An answer is as long as its question, which came by a port that may take longer frames.
        if len > device.port.max_frame() {
            return self.refuse_answer(cx, head);
        }
        if let Some(mac) = device.port.link_address() {
            *source = mac;
        }
        let seq = cx.table.of(&head).owner().seq;
        self.answers.push_back(Answer { head, seq, link, frame });
        Ok(())
    }

    /// It cannot be sent.
    fn refuse_answer(&mut self, cx: &Context, head: Held) -> Result<(), Stop> {
        cx.page.add(TxCounter::LinkRefused as usize, 1);
        self.go_home(cx, head)
    }

    /// Hands answers to the device, the oldest first; they are few.
    pub(crate) fn send_answers(&mut self, cx: &Context) -> Result<usize, Stop> {
        let n = self.answers.len().min(BATCH);
        let (Some(device), Some(first)) = (&mut self.device, self.answers.front()) else { return Ok(0) };
        let n = n.min(device.port.burst());
        let mut datagrams = [first.datagram(cx); BATCH];
        let mut outcomes = [SendOutcome::Later; BATCH];
        for (datagram, answer) in datagrams.iter_mut().zip(self.answers.iter().take(n)) {
            *datagram = answer.datagram(cx);
        }
        let sent = device.port.send(&datagrams[..n], &mut outcomes[..n]);
        sent.map_err(|e| Stop::Environment(e.to_string()))?;
        self.held_up = outcomes[..n].contains(&SendOutcome::Later);
        let mut done = 0;
        for outcome in &outcomes[..n] {
            let Some(answer) = self.answers.pop_front() else { break };
            if *outcome == SendOutcome::Later {
                self.answers.push_back(answer);
                continue;
            }
            let Answer { head, .. } = answer;
            match outcome {
                SendOutcome::Later | SendOutcome::Failed => self.refuse_answer(cx, head)?,
                SendOutcome::Sent => {
                    cx.page.add(TxCounter::LinkAnswers as usize, 1);
                    self.go_home(cx, head)?;
                }
                SendOutcome::Posted => {
                    cx.page.add(TxCounter::LinkAnswers as usize, 1);
                    // The device's until it is reaped.
                    head.release();
                }
            }
            done += 1;
        }
        if let Some(device) = &mut self.device {
            device.port.recorded();
        }
        Ok(done)
    }

    /// Sends a head home of which nothing more is owed to anybody.
    pub(crate) fn go_home(&mut self, cx: &Context, head: Held) -> Result<(), Stop> {
        cx.table.of(&head).settle();
        reach(KillPoint::FateRecorded);
        let home = cx.arena.geometry().home_number(head.index());
        self.homes[usize::from(home)].push_roomy(head)
    }
}

#[cfg(test)]
mod tests;
