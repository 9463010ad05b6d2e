//! The access list at a poll-mode driver: the library's classifier against the matcher in software, and what ports take of it.
//!
//! The library runs without any device, on hugepages (`sysctl -w vm.nr_hugepages=64`); a test at a device of its own says what that
//! needs.
#![cfg(feature = "dpdk")]

mod agree;
#[path = "../af_xdp/net.rs"]
mod net;
mod offload;
#[path = "../../../acl/tests/random/mod.rs"]
mod random;
#[path = "../common/skip.rs"]
mod skip;

use ports::dpdk::{DpdkError, Eal, EalOptions};
use skip::skipped;
use std::sync::OnceLock;

/// The environment of this process, or why there is none.
fn eal() -> Option<&'static Eal> {
    static EAL: OnceLock<Result<Eal, DpdkError>> = OnceLock::new();
    let prefix = format!("flumeway-access-{}", std::process::id());
    let eal = EAL.get_or_init(|| Eal::init(&EalOptions { prefix, ..EalOptions::default() }));
    match eal {
        Ok(eal) => Some(eal),
        Err(error @ DpdkError::NoHugePages { .. }) => {
            skipped(&error.to_string());
            None
        }
        Err(error) => panic!("{error}"),
    }
}
