//! How the node runs a language: which engines there are, launchers that wait with everything preloaded, and one
//! run from its order to its ending.
//!
//! ```text
//! launcher of (engine, mode, policy, packages) ──fork──> locked child that waits ─┐
//! RunOrder ──Engines::run─────────────────────────────────────────────────────────┴──> run ──> RunEnding
//! ```
//!
//! Invariant: inputs, outputs and what a run prints are opaque bytes here. They are parsed by the runners inside
//! the jail; this side counts, caps and stores them.

#![forbid(unsafe_code)]

mod broker;
mod config;
mod connection;
mod ending;
mod engine;
mod execute;
pub mod frame;
mod ids;
mod launcher;
mod live;
mod look;
mod order;
mod packages;
mod plan;
mod policy;
mod pool;
mod program;
mod runners;
mod sessions;
mod stock;

pub use broker::brokers_answer;
pub use config::{EnginesConfig, Recycle, Service, Services, default_limits};
pub use ending::{Cure, Outcome, OutputFile, Printed, RunEnding};
pub use engine::{Engine, EngineKind, Missing, Probe, UnknownEngine, probe};
pub use live::{Live, News, Piece, Progress, Stream};
pub use look::look;
pub use muster_sandbox::protocol::{IdRange, JAILS_OWN, Limits, Mode, Mount, Network, Programs};
pub use order::{Data, Format, Input, OutputSpec, RunOrder, Shape};
pub use packages::{PackageSet, PackageSets, PackagesConfig, PackagesError, Wanted, unpacked};
pub use policy::{Destination, NetworkPolicy, RunPolicy};
pub use pool::{Engines, EnginesError, Standing, Waiting};
pub use sessions::Pruning;
