//! Every system call that builds the jail or locks a run, in the order in which a run meets them.
//!
//! 1. `process`: clone, fork, execute, signals, descriptors
//! 2. `cgroup`: memory and process limits of the whole jail, from outside
//! 3. `identity`: id maps, users, capabilities, dumping
//! 4. `mounts`: the jail's root, the run's private folders
//! 5. `network`: that there is none, or one door
//! 6. `limits`: what one process may use
//! 7. `landlock`: which files
//! 8. `seccomp`: which calls
//! 9. `status`: what the kernel says about it all
//! 10. `attacks`: what the launcher tries against its own jail
//!
//! Invariant: everything unsafe of the product stands below this module or in `abi`, with its reason.

#![expect(
    unsafe_code,
    reason = "system calls that no safe interface covers; each block says why it is sound"
)]

pub(crate) mod attacks;
pub(crate) mod cgroup;
pub(crate) mod identity;
pub(crate) mod landlock;
pub(crate) mod limits;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod process;
pub(crate) mod seccomp;
pub(crate) mod signals;
pub(crate) mod status;
