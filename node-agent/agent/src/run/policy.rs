//! The policy of an unrestricted run as it is in force here.
//!
//! Invariant: it is no wider than the granted one, no wider than what the node's own trust state says, and, where the
//! node's file says so, no wider than that file. Only where nobody set a policy the file itself is it.

use std::{collections::BTreeSet, sync::Arc};

use muster_code_trust::{HostPath, NetworkClass, Place, PolicyLimits, ProgramList, RunPolicy, TrustState};
use muster_engines::{Destination, Limits, NetworkPolicy, Programs};
use muster_ids::Digest;

use super::admit::Admitted;
use crate::config::{Config, Shown};

const MIB: u64 = 1024 * 1024;

/// What a run is given.
#[derive(Debug, Clone)]
pub struct InForce {
    /// For the engines.
    pub policy: Arc<muster_engines::RunPolicy>,
    /// Of the policy that was set; absent where the node's own file is it.
    pub digest: Option<Digest>,
}

/// The policy of an admitted run. `own` is what the node's file gives where nobody set a policy.
pub fn in_force(
    admitted: &Admitted,
    state: &TrustState,
    place: &Place,
    config: &Config,
    own: &Arc<muster_engines::RunPolicy>,
) -> InForce {
    let here = state.policy_at(place, admitted.grant.function);
    let granted = admitted.policy.as_ref();
    let Some(set) = granted
        .into_iter()
        .chain(&here)
        .cloned()
        .reduce(|one, two| one.both(&two))
    else {
        return InForce {
            policy: match admitted.grant.network.as_str() {
                "host" => Arc::clone(own),
                _ => Arc::new(muster_engines::RunPolicy {
                    network: NetworkPolicy::None,
                    ..muster_engines::RunPolicy::clone(own)
                }),
            },
            digest: None,
        };
    };
    let policy = if config.unrestricted.at_most {
        set.both(&most(config))
    } else {
        set
    };
    InForce {
        digest: Some(policy.digest()),
        policy: Arc::new(for_engines(&policy)),
    }
}

/// What trusted runs get here as long as no function has a policy of its own and no grant says less.
pub fn without_function(
    state: Option<&TrustState>,
    place: &Place,
    config: &Config,
    own: &Arc<muster_engines::RunPolicy>,
) -> Arc<muster_engines::RunPolicy> {
    match state.and_then(|state| state.policy_at(place, None)) {
        None => Arc::clone(own),
        Some(set) if config.unrestricted.at_most => Arc::new(for_engines(&set.both(&most(config)))),
        Some(set) => Arc::new(for_engines(&set)),
    }
}

/// The node's file as a policy: what it shows, wherever, and its network.
fn most(config: &Config) -> RunPolicy {
    let unrestricted = &config.unrestricted;
    // A path that no policy can name cannot be in both.
    let paths = |shown: &[Shown]| -> BTreeSet<HostPath> {
        let text = shown.iter().filter_map(|shown| shown.source.to_str());
        text.filter_map(|path| path.parse().ok()).collect()
    };
    let network = if unrestricted.network_host {
        NetworkClass::Host
    } else {
        NetworkClass::None
    };
    RunPolicy::at_most(
        paths(&unrestricted.readable),
        paths(&unrestricted.writable),
        network,
    )
}

fn for_engines(policy: &RunPolicy) -> muster_engines::RunPolicy {
    let paths = |paths: &BTreeSet<HostPath>| paths.iter().map(|path| path.as_str().into()).collect();
    muster_engines::RunPolicy {
        read: paths(policy.read()),
        write: paths(policy.write()),
        network: match policy.network() {
            NetworkClass::None => NetworkPolicy::None,
            NetworkClass::Host => NetworkPolicy::Host,
            NetworkClass::Brokered(to) => {
                let one = |one: &muster_code_trust::Destination| Destination {
                    host: one.host().to_owned(),
                    port: one.port(),
                };
                NetworkPolicy::Brokered(to.iter().map(one).collect())
            }
        },
        programs: match policy.programs() {
            ProgramList::All => Programs::All,
            ProgramList::None => Programs::None,
            ProgramList::Listed(listed) => {
                Programs::Listed(listed.iter().map(|path| path.as_str().into()).collect())
            }
        },
        limits: (*policy.limits() != PolicyLimits::default()).then(|| limits(policy.limits())),
        ..muster_engines::RunPolicy::default()
    }
}

/// What is not named does not limit.
fn limits(wanted: &PolicyLimits) -> Limits {
    let most = |value: Option<u64>, unit: u64| value.map_or(u64::MAX, |value| value.saturating_mul(unit));
    Limits {
        memory_bytes: most(wanted.memory_mib, MIB),
        processes: u32::try_from(most(wanted.processes, 1)).unwrap_or(u32::MAX),
        open_files: u32::MAX,
        scratch_bytes: most(wanted.scratch_mib, MIB),
        cpu_seconds: most(wanted.cpu_seconds, 1),
        wall_ms: most(wanted.wall_seconds, 1000),
        output_bytes: most(wanted.output_mib, MIB),
    }
}

#[cfg(test)]
mod tests;
