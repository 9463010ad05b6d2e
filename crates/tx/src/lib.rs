//! tx: turns results into replies and sends them, from the request's own head buffer.
#![forbid(unsafe_code)]

mod answer;
mod neighbour;
mod poll_mode;
pub mod post;
mod posted;
mod reply;
mod rules;
mod stage;

pub use stage::Tx;
