//! The protocol from outside: known answers, wrong input, round trips, and both sides of a client.

mod clients;
mod documentation;
mod golden;
mod replies;
mod requests;
mod samples;
