//! Types that cross a process boundary: `admin` between people's programs and the control plane, `node` between
//! nodes and the control plane.
//!
//! Invariants: types only, no logic; every message refuses unknown fields, so that a new restriction can never
//! be ignored by an old reader; a released version of a type does not change, a new version gets a new module.

#![forbid(unsafe_code)]

pub mod admin;
pub mod function;
pub mod node;
pub mod problem;

pub use problem::Problem;
