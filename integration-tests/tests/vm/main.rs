//! DPDK on PCI devices, in a machine of its own: `make test-vm`. Not part of a plain `cargo test` (see the manifest).

mod binding;
mod flood;
mod flow;
mod guest;
mod host_setup;
mod pipeline;
mod restarts;
mod wrong_input;
