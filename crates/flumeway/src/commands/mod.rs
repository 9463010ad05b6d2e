//! The commands, one file each.

pub(crate) mod check;
mod check_ingress;
pub(crate) mod ctl;
mod ctl_text;
pub(crate) mod demo;
pub(crate) mod engines;
pub(crate) mod run;
pub(crate) mod send;
mod send_args;
mod send_text;
