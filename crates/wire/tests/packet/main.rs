//! Packet headers from outside: known answers, another implementation in both directions, wrong input, answers.

mod agreement;
mod answers;
mod checksum;
mod golden;
mod neighbours;
mod refusals;
mod samples;
