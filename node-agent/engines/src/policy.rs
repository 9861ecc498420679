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
/// The kinds of file systems of the kernel, which can be mounted elsewhere too.
const KERNELS_KINDS: [&str; 10] = [
    "proc",
    "sysfs",
    "devtmpfs",
    "devpts",
    "cgroup",
    "cgroup2",
    "debugfs",
    "tracefs",
    "securityfs",
    "bpf",
];

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
    /// The folder of a package set on the host, which does not change any more. The one part that a restricted run has,
    /// too.
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
    /// silence, nothing shows what `guarded` names, and nothing lets a run write what engines have `loaded`.
    pub(crate) fn mounts(&self, guarded: &[PathBuf], loaded: &[PathBuf]) -> Result<Vec<Mount>, String> {
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
        // Policies are compared by the paths that they name; whoever may change a link must not widen one.
        let named = read.chain(write).map(|mount| (mount, Links::Refuse));
        let shown = self.shown.iter().cloned();
        named
            .chain(shown.map(|mount| (mount, Links::Follow)))
            .map(|(mount, links)| {
                let source = unguarded(&mount, links, guarded, loaded)?;
                Ok(Mount { source, ..mount })
            })
            .collect()
    }
}

/// Whether a path may lead elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Links {
    Follow,
    Refuse,
}

/// The real place of what a mount shows, which is neither in nor around anything that runs must not see or change.
fn unguarded(
    mount: &Mount,
    links: Links,
    guarded: &[PathBuf],
    loaded: &[PathBuf],
) -> Result<PathBuf, String> {
    let named = mount.source.display();
    let real = fs::canonicalize(&mount.source).map_err(|error| {
        format!(
            "{named} cannot be shown to runs as their policy says: {error}; make it on this node, or take it out of the policy"
        )
    })?;
    let touches = |own: &Path| real.starts_with(own) || own.starts_with(&real);
    let kernels = KERNELS.iter().map(PathBuf::from);
    // One that does not exist cannot be shown.
    let ours = guarded.iter().filter_map(|own| fs::canonicalize(own).ok());
    if let Some(own) = kernels.chain(ours).find(|own| touches(own)) {
        return Err(format!(
            "{named} cannot be shown to runs, because {} is not for them; name the folders that they need in the policy",
            own.display()
        ));
    }
    if links == Links::Refuse && real != mount.source {
        return Err(format!(
            "{named} cannot be shown to runs, because it leads to {0}; name {0} in the policy",
            real.display()
        ));
    }
    // What is not there yet could be made, and a link on the way to it replaced.
    let code = |own: &&PathBuf| touches(own) || fs::canonicalize(own).is_ok_and(|own| touches(&own));
    if mount.writable
        && let Some(own) = loaded.iter().find(code)
    {
        return Err(format!(
            "{named} cannot be shown to runs for writing, because engines load {} before they are locked; name another folder in the policy",
            own.display()
        ));
    }
    if mount.by_policy {
        let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|error| {
            format!("{named} cannot be shown to runs, because /proc/self/mountinfo cannot be read: {error}; mount /proc")
        })?;
        if let Some((at, kind)) = kernels_own(&mounts, &real) {
            return Err(format!(
                "{named} cannot be shown to runs, because the kernel's file system {kind} is mounted on {}; name folders beside it in the policy",
                at.display()
            ));
        }
    }
    Ok(real)
}

/// A file system of the kernel that `real` lies on, or that is mounted at or below it: where, and which.
fn kernels_own<'a>(mounts: &'a str, real: &Path) -> Option<(PathBuf, &'a str)> {
    let all: Vec<(PathBuf, &str)> = mounts.lines().filter_map(mounted).collect();
    let within = all.iter().filter(|(at, _)| at.starts_with(real));
    // Of several at one place the last is on top.
    let under = all.iter().filter(|(at, _)| real.starts_with(at));
    let under = under.max_by_key(|(at, _)| at.components().count());
    within
        .chain(under)
        .find(|(_, kind)| KERNELS_KINDS.contains(kind))
        .cloned()
}

/// Where one line of `mountinfo` has what kind of file system mounted (proc(5)).
fn mounted(line: &str) -> Option<(PathBuf, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let at = before.split(' ').nth(4)?;
    let unescaped = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(at.to_owned(), |at, (escape, plain)| at.replace(escape, plain));
    Some((unescaped.into(), after.split(' ').next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_of_the_kernel_is_found_wherever_it_is_mounted() {
        let mounts = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
            30 22 0:5 / /srv/a\\040chroot/proc rw,nosuid shared:1 - proc proc rw\n\
            31 22 8:2 / /srv/over rw - proc proc rw\n\
            32 22 8:2 / /srv/over/data rw master:1 - ext4 /dev/sda2 rw\n";
        let found = |path: &str| kernels_own(mounts, Path::new(path)).map(|(_, kind)| kind);
        for path in ["/srv", "/srv/a chroot", "/srv/a chroot/proc/1", "/srv/over/1"] {
            assert_eq!(found(path), Some("proc"), "{path}");
        }
        for path in ["/opt", "/srv/a", "/srv/over/data", "/srv/over/data/x"] {
            assert_eq!(found(path), None, "{path}");
        }
    }
}
