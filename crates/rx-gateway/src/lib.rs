//! rx-gateway: receives packets, assembles frames, admits them, and dissolves them when they come home.
//!
//! It alone builds and takes apart frames, counts them (through the journal, see [`arena::gateway`]) and holds the free
//! buffers. Its private tables are conveniences: after a death the successor rebuilds all of them from owner words,
//! roles and descriptors ([`recover`]).
#![forbid(unsafe_code)]

mod access;
mod assembly;
mod backlog;
mod books;
mod device;
mod driver;
mod gateway;
mod neighbours;
mod packet;
mod policy;
mod poll_mode;
mod recover;
mod streams;
#[cfg(test)]
mod testing;

pub use gateway::RxGateway;
