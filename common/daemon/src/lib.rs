//! What both daemons need to be good citizens of a machine, and nothing that they decide.
//!
//! Invariant: the effects that make programs hard to test have their one home here: the environment
//! ([`environment`]), clocks ([`Clock`]), random numbers ([`Random`]) and durable files ([`file`]). Everything
//! else in the workspace takes them as parameters.

#![forbid(unsafe_code)]

pub mod backoff;
pub mod clock;
pub mod config;
pub mod descriptors;
mod escape;
pub mod fault;
pub mod file;
pub mod lock;
pub mod log;
pub mod metrics;
pub mod random;
pub mod seal;
pub mod secret;
pub mod shutdown;
pub mod systemd;
pub mod usage;
pub mod watch;

pub use backoff::Backoff;
pub use clock::Clock;
pub use lock::FolderLock;
pub use random::Random;

/// The environment of this process as text, for [`config::Reader::open`]. Bytes that are not UTF-8 become
/// U+FFFD, which the reader refuses where it matters.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().map(|(name, value)| {
        (
            name.to_string_lossy().into_owned(),
            value.to_string_lossy().into_owned(),
        )
    })
}
