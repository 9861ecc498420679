//! Scenarios of like products, by their numbers: what goes wrong when machines join and when they run what was granted,
//! and what must happen then.
//!
//! Each number has exactly one test, named `join_NN_` or `sandbox_NN_` and its sentence.

mod approval;
mod certificates;
mod contact;
mod fleet;
mod flood;
mod intake;
mod life;
mod middle;
mod renewal;
mod rotation;
mod storage;
