//! The access list at a poll-mode driver: the library's classifier against the matcher in software, and what ports take of it.
//!
//! The library runs without any device, on hugepages (`sysctl -w vm.nr_hugepages=64`); a test at a device of its own says what that
//! needs.
#![cfg(feature = "dpdk")]

mod agree;
#[path = "../af_xdp/net.rs"]
mod net;
mod offload;
mod port;
#[path = "../../../acl/tests/random/mod.rs"]
mod random;
#[path = "../common/skip.rs"]
mod skip;
