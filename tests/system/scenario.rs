//! Scenarios of like products, by their numbers: what goes wrong when machines join and when they run what was granted,
//! and what must happen then.
//!
//! Each number has exactly one test, named `join_NN_`, `sandbox_NN_` or `trust_NN_` and its sentence.

mod approval;
mod certificates;
mod changed;
mod comeback;
mod contact;
mod copies;
mod fleet;
mod flood;
mod intake;
mod life;
mod middle;
mod queue;
mod renewal;
mod rotation;
mod storage;
mod withdrawn;
