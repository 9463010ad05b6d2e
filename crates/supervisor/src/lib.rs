//! The supervisor: owns the memory, the sockets and the policy; touches no frame on the hot path.
//!
//! It starts the stage processes, learns of a death from its pidfd, hands what the dead one held to its successor, and
//! activates that. Everything happens in one thread and one `poll` loop that never waits for a child; what takes time is
//! a state of an instance and a timer.
//!
//! ```text
//!            spawn, ACTIVE           seen in its page            DRAIN ordered
//! (nothing) ---------------> Starting ------------> Active ---------------------> Draining
//!     ^                          |                    |                              | PARKED, or dead
//!     | delay is over            | pidfd: dead        | pidfd: dead                  v
//!  Backoff <--------------- reap, classify, blame, sweep ----> Starting      next incarnation, or Stopped
//!                                |
//!                                v too many deaths of its own doing
//!                              Parked(reason) --- `ctl restart` ---> Starting
//! ```
//!
//! Forbidden: ACTIVE(n + 1) before n is reaped or has stored PARKED(n), and before its sweep; ACTIVE with a number that
//! was used before; inferring a death from silence (silence leads to SIGKILL, and that to a readable pidfd).
//!
//! | file | what it holds |
//! |---|---|
//! | `spawn` | starting a stage process, signal masks: the only unsafe code |
//! | `process`, `ask` | a running process; short questions to a binary (`--layout`, `--describe`) |
//! | `holdings` | arena, doorbells, configuration document: what stages inherit |
//! | `ingress` | the drivers' privileged half: which is taken, sockets, XDP program, access list |
//! | `neighbours` | where on the link replies go that do not go back |
//! | `instance`, `policy`, `death` | state of an instance; restart delays and limits; what a death was |
//! | `bury`, `blame`, `quarantine`, `recovery` | what happens at a death, and the record of it |
//! | `patrol`, `repair` | damage to shared memory that nobody died of, and repairs that need several stages dead at once |
//! | `watch`, `orders`, `requests`, `reload` | timers; restart, drain and stop; the control socket's commands |
//! | `control`, `report` | the control socket; its answers |

#![deny(unsafe_code)]

mod ask;
mod await_ports;
mod blame;
mod bury;
mod choice;
mod control;
mod death;
mod dpdk;
mod error;
mod holdings;
mod ingress;
mod instance;
mod models;
mod neighbours;
mod options;
mod orders;
mod patrol;
mod policy;
mod process;
mod quarantine;
mod recovery;
mod reload;
mod repair;
mod report;
mod requests;
mod run;
mod spawn;
mod start;
mod stop;
#[cfg(test)]
mod testing;
mod watch;

pub use ask::{check_layouts, describe};
pub use choice::{Choice, choose_engine, engines, measure_engines, settle_models};
pub use dpdk::DeviceError;
pub use error::{RunError, StartError};
pub use ingress::{Examined, examine};
pub use options::{Exit, Options, StopHandle};
pub use report::{audit_json, ledger_json, status_json};
pub use start::Supervisor;
