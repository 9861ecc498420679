//! The jail: what runs other people's code, and the walls around it.
//!
//! ```text
//! agent ──connection──> launcher ──clone──> jail's process 1 ──exec──> engine ──clone──> run's process 1 ──fork──> payload
//!                       keeps watch         new root, id maps          preloads          limits, outputs           locked
//! ```
//!
//! * [`protocol`]: what these say to each other. [`client`]: the agent's end, blocking.
//! * [`launcher`]: the program `muster-jail`. [`abi`]: the seven functions that engines call (`libmuster_lock.so`).
//! * `kernel`: every system call that builds or locks, in the order in which a run meets them.
//! * `policy`: seccomp programs, shown paths and fixed limits, compiled from `node-agent/policies`.
//!
//! Invariant: code of a run executes only in a process that verified its own lock; whatever cannot be built or
//! verified ends the run or the launcher, never loosens it.

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!(
    "the seccomp compiler knows the system calls of x86_64 and aarch64 Linux; add a table to build/syscalls.rs"
);

pub mod abi;
pub mod bench;
pub mod client;
mod engine;
mod failure;
pub mod frame;
mod kernel;
pub mod launcher;
mod link;
mod packet;
mod policy;
pub mod protocol;

pub use engine::staged;
pub use failure::Failure;
