//! For senders: one frame into its datagrams.

use crate::error::BuildError;
use crate::fragment::{FragmentError, FragmentPlan};
use crate::header::header_len;
use crate::mac::MacKey;
use crate::request::RequestHeader;

/// Cuts one frame into datagrams, in order or by number (to send one again).
#[derive(Debug, Clone)]
pub struct Fragmenter<'a> {
    template: RequestHeader,
    frame: &'a [u8],
    plan: FragmentPlan,
    mac_key: Option<&'a MacKey>,
    next: u16,
}

impl<'a> Fragmenter<'a> {
    /// Plans the datagrams of `frame`, of at most `max_datagram` bytes each (the path's MTU less 28 for IPv4 and UDP, 48
    /// for IPv6). `template` says everything but the fragment, which is set for each datagram.
    pub fn new(
        template: RequestHeader,
        frame: &'a [u8],
        max_datagram: usize,
        mac_key: Option<&'a MacKey>,
    ) -> Result<Self, FragmentError> {
        if frame.is_empty() {
            return Err(FragmentError::Empty);
        }
        let plan = FragmentPlan::new(frame.len(), max_datagram, header_len(mac_key.is_some()))?;
        Ok(Self { template, frame, plan, mac_key, next: 0 })
    }

    /// How the frame is cut.
    pub const fn plan(&self) -> FragmentPlan {
        self.plan
    }

    /// Writes the next datagram into `out` and returns its length in bytes; `None` after the last.
    pub fn next_into(&mut self, out: &mut [u8]) -> Option<Result<usize, BuildError>> {
        let written = self.write_fragment(self.next, out)?;
        self.next += u16::from(written.is_ok());
        Some(written)
    }

    /// Writes datagram `index` into `out` and returns its length in bytes; `None` beyond the last.
    pub fn write_fragment(&self, index: u16, out: &mut [u8]) -> Option<Result<usize, BuildError>> {
        let fragment = self.plan.fragment(index)?;
        let start = fragment.offset as usize;
        let payload = self.frame.get(start..start + fragment.len as usize)?;
        Some(RequestHeader { fragment, ..self.template }.write(out, payload, self.mac_key))
    }
}
