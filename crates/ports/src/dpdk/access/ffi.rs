//! Calls of libdpdk's classifier and of its rules for ports.
//!
//! Why unsafe: the library is C. What makes these sound: a handle is made here alone and freed once; arrays are as long as the
//! calls say; the library reads them during the call alone.

use super::super::ffi::{Port, errno};
use dpdk_sys as sys;
use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;

pub(super) use sys::{fw_flow_rule as FlowRule, fw_match as Match};

/// Most keys of a call.
pub(super) const KEYS: usize = sys::FW_KEYS as usize;
/// Where the fields lie in a key.
pub(super) const PROTOCOL: usize = sys::FW_KEY_PROTOCOL as usize;
pub(super) const SOURCE: usize = sys::FW_KEY_SOURCE as usize;
pub(super) const DESTINATION: usize = sys::FW_KEY_DESTINATION as usize;
pub(super) const PORTS: usize = sys::FW_KEY_PORTS as usize;
pub(super) const VLAN: usize = sys::FW_KEY_VLAN as usize;

/// What a packet is classified by.
pub(super) type Key = [u8; sys::FW_KEY as usize];

/// Longest message of a port.
const MESSAGE: usize = 128;

/// Rules of one family in the library's form.
#[derive(Debug)]
pub(super) struct Acl(NonNull<sys::rte_acl_ctx>);

// SAFETY: needed because a thread of its own builds the classifier and hands it over. The library ties it to no thread: it is
// plain memory that nobody else has.
unsafe impl Send for Acl {}

impl Acl {
    /// Builds a classifier of `rules`, at least one; its name is no other's.
    pub(super) fn build(name: &CStr, ipv6: bool, rules: &[Match], max_bytes: usize) -> Result<Self, c_int> {
        // SAFETY: a string that ends in zero, and as many rules as it says.
        let acl = unsafe { sys::fw_acl_create(name.as_ptr(), ipv6, rules.as_ptr(), rules.len() as u32, max_bytes) };
        NonNull::new(acl).map(Self).ok_or_else(errno)
    }

    /// For each of the first `count` keys the number of the first rule that matches, plus 1, or 0.
    #[inline]
    pub(super) fn classify(&self, keys: &[Key; KEYS], found: &mut [u32; KEYS], count: usize) {
        let count = count.min(KEYS) as u32;
        // SAFETY: both arrays have `KEYS` places. The library fails on a wrong count of categories alone.
        unsafe { sys::fw_acl_classify(self.0.as_ptr(), keys.as_ptr(), found.as_mut_ptr(), count) };
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        // SAFETY: made by `build`, freed once.
        unsafe { sys::fw_acl_free(self.0.as_ptr()) };
    }
}

/// What a rule asks of a packet's headers.
#[cfg(test)]
pub(super) fn describe(rule: &FlowRule) -> Vec<sys::fw_flow_item> {
    let mut items = [sys::fw_flow_item::default(); sys::FW_FLOW_ITEMS as usize];
    // SAFETY: a rule, and room for the most headers.
    let count = unsafe { sys::fw_flow_describe(rule, items.as_mut_ptr()) };
    items[..count as usize].to_vec()
}

/// A rule that a port has taken. It stays there until [`Flow::destroy`], [`flush`], or the port's end.
#[derive(Debug)]
pub(super) struct Flow(NonNull<sys::rte_flow>, Port);

impl Flow {
    /// Has the port drop what matches. The error is the port's message, if it has one.
    pub(super) fn create(port: Port, rule: &FlowRule) -> Result<Self, (c_int, String)> {
        let mut message = [0 as c_char; MESSAGE];
        // SAFETY: a rule, and room for the message of the length that is said.
        let flow = unsafe { sys::fw_flow_create(port.number(), rule, message.as_mut_ptr(), MESSAGE) };
        let refused = || (errno(), super::super::ffi::chars(&message));
        NonNull::new(flow).map(|flow| Self(flow, port)).ok_or_else(refused)
    }

    /// Packets that it has dropped, if the port tells.
    pub(super) fn hits(&self) -> Option<u64> {
        let mut hits = 0;
        // SAFETY: the handle is the port's until it is destroyed, which consumes it; a place for the number.
        (unsafe { sys::fw_flow_hits(self.1.number(), self.0.as_ptr(), &raw mut hits) } == 0).then_some(hits)
    }

    /// Takes the rule away. An error: the port keeps it.
    pub(super) fn destroy(self) -> Result<(), Self> {
        // SAFETY: as above; the handle ends here, unless the rule is still there.
        let rc = unsafe { sys::fw_flow_destroy(self.1.number(), self.0.as_ptr()) };
        if rc == 0 { Ok(()) } else { Err(self) }
    }
}

/// Takes all rules of a port away. Their handles mean nothing any more then, so they are consumed; the port keeps those that are left.
pub(super) fn flush(port: Port, flows: &mut Vec<Flow>) {
    // SAFETY: takes a number.
    if unsafe { sys::fw_flow_flush(port.number()) } == 0 {
        flows.clear();
    }
}
