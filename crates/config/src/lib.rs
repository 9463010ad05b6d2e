//! The configuration of a pipeline: `pipeline.toml` to a checked [`Pipeline`] to a printable [`Plan`].
//!
//! - [`Pipeline::load`] reads the file, fills in every default, reads the small files that it names (labels, keys), and
//!   checks each value. A mistake is a [`ConfigError`] with file, line, column and what to write instead. A key that
//!   nobody knows is a mistake.
//! - [`Topology`] says which processes there are and on which cores they run.
//! - [`plan`] puts it together with [`MachineFacts`] and [`ModelFacts`]: processes, rings, memory, and what the machine
//!   lacks.
//! - [`diff`] tells what of a changed configuration can be applied to a running pipeline.
//!
//! `deploy/pipeline.toml` is the reference with every key; `docs/CONFIGURATION.md` explains them.

#![forbid(unsafe_code)]

mod acl;
mod af_xdp;
mod dpdk;
mod dpdk_device;
mod dpdk_fit;
mod error;
mod facts;
mod files;
mod general;
mod ingress;
mod mac_key;
mod memory;
mod model;
mod pipeline;
mod plan;
mod plan_notes;
mod plan_ports;
mod plan_rings;
mod plan_text;
mod post;
mod prefix;
mod reader;
mod reload;
mod replay;
mod stages;
mod stream;
mod suggest;
mod supervisor;
mod topology;
mod value;

pub use acl::{AclAction, AclRule, MAX_ACL_RULES, PortRange, Protocol, Rate};
pub use af_xdp::{AfXdp, DeviceFacts, Neighbour, XdpMode, ZeroCopy};
pub use dpdk::{Dpdk, DpdkIdle, FlowRules, LinkAddress, Offloads, StaticNeighbour};
pub use dpdk_device::DpdkDevice;
pub use error::{ConfigError, Origin};
pub use facts::{DType, DescribeError, MachineFacts, ModelFacts, TensorFacts};
pub use general::{Cores, General, PinnedCores, Profile, Wait};
pub use ingress::{Driver, Ingress, Limits, MAX_DATAGRAM_BYTES, REQUEST_HEADER_BYTES};
pub use mac_key::MacKey;
pub use memory::{Arena, BUFFER_STRIDE_BYTES, Hugepages, Rings};
pub use model::{DEFAULT_MODEL, MAX_MODELS, Model, Network, Shadow};
pub use pipeline::{Pipeline, known_keys};
pub use plan::{
    FrameCost, Level, Note, Plan, Process, REGION_ALIGN_BYTES, ReceiveBuffer, Region, plan, resolve_slots, slot_bytes,
};
pub use plan_ports::PlannedPort;
pub use plan_rings::{Carries, Ring, rings};
pub use post::{BoxForm, BoxUnits, Post, PostKind, ScoreActivation};
pub use prefix::{Prefix, PrefixError};
pub use reload::{LIVE_KEYS, Reload, diff};
pub use replay::{AtEnd, Replay, Speed};
pub use stages::{Color, Engine, Infer, Jpeg, Layout, Picture, Precision, Preprocess, Resize, RxGateway, Spread};
pub use stream::{Policy, ReplyTo, Stream, StreamId};
pub use supervisor::{StageUser, Supervisor, default_bin_dir, default_control_socket};
pub use topology::{Instance, InstanceKind, Topology};
pub use value::{Auto, AutoWord};
