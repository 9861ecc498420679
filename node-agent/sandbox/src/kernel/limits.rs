//! What one process of a run may use.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    failure::{Attempt, Failure},
    policy,
    protocol::Limits,
};

/// Sets the limits of this process and of all that it starts.
pub(crate) fn apply(limits: &Limits, address_space: bool) -> Result<(), Failure> {
    // One more than asked for: the run's process 1 has the same user.
    set(Resource::Nproc, u64::from(limits.processes) + 1, 0)?;
    set(Resource::Nofile, u64::from(limits.open_files), 0)?;
    set(Resource::Fsize, limits.scratch_bytes, 0)?;
    set(Resource::Core, 0, 0)?;
    set(Resource::Stack, policy::STACK_BYTES, 0)?;
    // The soft limit sends SIGXCPU, the hard one a second later kills.
    set(Resource::Cpu, limits.cpu_seconds.max(1), 1)?;
    if address_space {
        set(Resource::As, limits.memory_bytes, 0)?;
    }
    Ok(())
}

fn set(resource: Resource, wanted: u64, above: u64) -> Result<(), Failure> {
    // A limit that is lower already stays: raising it would need a capability.
    let ceiling = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit {
        current: Some(wanted.min(ceiling)),
        maximum: Some(wanted.saturating_add(above).min(ceiling)),
    };
    let attempt = || format!("limit {resource:?} to {wanted}");
    setrlimit(resource, limit).attempt(attempt())?;
    if getrlimit(resource) == limit {
        Ok(())
    } else {
        Err(Failure::rule(format!(
            "cannot {}: it stayed as it was",
            attempt()
        )))
    }
}
