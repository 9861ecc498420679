//! What an unrestricted run may see, reach and start: the policy that is in force for it.
//!
//! Invariant: nothing is allowed that is not named here, and two runs share a launcher only when their policies have
//! one digest. A restricted run has no policy: its walls are always the same.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use muster_ids::Digest;
use muster_sandbox::protocol::{Limits, Mount, Network, Programs};
use serde::Serialize;

/// What the kernel shows of itself and of others' processes.
const KERNELS: [&str; 3] = ["/proc", "/sys", "/dev"];

/// Everything that unrestricted code gets beyond the jail's own folders and the system's programs and libraries.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct RunPolicy {
    /// Paths of the host that it may read, shown under the same path.
    pub read: Vec<PathBuf>,
    /// Paths of the host that it may read and write, shown under the same path.
    pub write: Vec<PathBuf>,
    /// What the node's own file shows under another path; empty where a policy is set.
    pub shown: Vec<Mount>,
    /// The network.
    pub network: NetworkPolicy,
    /// Programs that it may start.
    pub programs: Programs,
    /// The folder of a package set on the host, which does not change any more.
    pub packages: Option<PathBuf>,
    /// At most these; the node's own hold as well.
    pub limits: Option<Limits>,
}

/// The network of an unrestricted run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkPolicy {
    /// None at all.
    #[default]
    None,
    /// These destinations, through a broker that resolves and connects.
    Brokered(BTreeSet<Destination>),
    /// The host's.
    Host,
}

/// Where a brokered run may connect to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Destination {
    /// A name or address; `*.example.com` stands for every name that ends so.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl RunPolicy {
    /// By which launchers are told apart.
    pub fn digest(&self) -> Digest {
        // Paths that are no text cannot be written as JSON; they come from policies and settings, which are text.
        Digest::of(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// The network of the launcher.
    pub(crate) fn launcher_network(&self) -> Network {
        match self.network {
            NetworkPolicy::None => Network::None,
            NetworkPolicy::Brokered(_) => Network::Brokered,
            NetworkPolicy::Host => Network::Host,
        }
    }

    /// What of the host the jail shows, by its real paths. An error is one sentence: nothing of the policy is left out in
    /// silence, and nothing shows what `guarded` names.
    pub(crate) fn mounts(&self, guarded: &[PathBuf]) -> Result<Vec<Mount>, String> {
        let same = |writable| {
            move |path: &PathBuf| Mount {
                source: path.clone(),
                target: path.clone(),
                writable,
                by_policy: true,
            }
        };
        let read = self.read.iter().map(same(false));
        let write = self.write.iter().map(same(true));
        read.chain(write)
            .chain(self.shown.iter().cloned())
            .map(|mount| {
                let source = unguarded(&mount.source, guarded)?;
                Ok(Mount { source, ..mount })
            })
            .collect()
    }
}

/// The real place of a path, which is neither in nor around anything that runs must not see.
fn unguarded(path: &Path, guarded: &[PathBuf]) -> Result<PathBuf, String> {
    let real = fs::canonicalize(path).map_err(|error| {
        format!(
            "{} cannot be shown to runs as their policy says: {error}; make it on this node, or take it out of the policy",
            path.display()
        )
    })?;
    let kernels = KERNELS.iter().map(PathBuf::from);
    // One that does not exist cannot be shown.
    let ours = guarded.iter().filter_map(|own| fs::canonicalize(own).ok());
    match kernels
        .chain(ours)
        .find(|own| real.starts_with(own) || own.starts_with(&real))
    {
        None => Ok(real),
        Some(own) => Err(format!(
            "{} cannot be shown to runs, because {} is not for them; name the folders that they need in the policy",
            path.display(),
            own.display()
        )),
    }
}
