//! The policies of `node-agent/policies`, compiled in (see `build.rs`).

use crate::protocol::{Mode, Programs};

#[allow(
    clippy::unreadable_literal,
    reason = "numbers for the kernel, written by the build script"
)]
mod compiled {
    include!(concat!(env!("OUT_DIR"), "/policies.rs"));
}

pub(crate) use compiled::{ENGINE_TEMPORARY_BYTES, SCRATCH_FILES, STACK_BYTES};

/// A seccomp program: code, jump if true, jump if false, operand.
pub(crate) type Program = &'static [(u16, u8, u8, u32)];

/// What a payload may call.
pub(crate) fn payload(mode: Mode, programs: &Programs) -> Program {
    match (mode, programs) {
        (Mode::Restricted, _) => compiled::RESTRICTED,
        (Mode::Unrestricted, Programs::None) => compiled::NO_PROGRAMS,
        (Mode::Unrestricted, Programs::Listed(_)) => compiled::LISTED_PROGRAMS,
        (Mode::Unrestricted, Programs::All) => compiled::UNRESTRICTED,
    }
}

/// What a run's process 1 may call.
pub(crate) fn supervisor() -> Program {
    compiled::SUPERVISOR
}

/// Paths of the host that the jail shows read-only where they exist.
pub(crate) fn shown(mode: Mode) -> &'static [&'static str] {
    match mode {
        Mode::Restricted => compiled::RESTRICTED_SHOWN,
        Mode::Unrestricted => compiled::UNRESTRICTED_SHOWN,
    }
}

#[cfg(test)]
mod tests;
