//! Package sets: built from locked lists outside of runs, and immutable afterwards.
//!
//! ```text
//! list ──ready──> lists/<key> ──names──> sets/<digest of the tree> ──shown read-only──> runs
//!   └──build──> [work/fetched, from an index] ──> work/files, verified ──a run in the jail──> an archive ──> work/tree ──renamed──> sets/<digest>
//! ```
//!
//! The key is the digest of language, version of the engine and list; the set is named by its content, so that lists
//! that come to the same share it. `work` is emptied by the next build: a crash leaves whole sets or none, and a set that
//! was not written to the disk in time is found out when a launcher starts with it ([`verify`]).
//!
//! Invariant: nothing reads a file of a source before its SHA-256 was found in the list, nothing of a source is executed
//! outside of the jail, and what stands below `sets` never changes. A set that is in use is not removed.

mod build;
mod error;
mod fetch;
mod source;
mod tar;
mod tree;

use std::{
    collections::{BTreeSet, HashMap},
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, Weak},
    time::{Duration, SystemTime},
};

use muster_ids::{Digest, PackageLanguage, PackageList};
use rustix::fs::{Nsecs, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, futimens};
use tokio::sync::Mutex as AsyncMutex;
use tokio_util::sync::CancellationToken;

pub use self::error::PackagesError;
use crate::{Destination, Engines, launcher::locked};

/// Where the jail shows a set.
pub(crate) const SHOWN: &str = "/muster/set";

/// What a node does with the archive that a build hands out: files below `target`, an empty folder. Gives their bytes.
/// Public for those who send nonsense.
pub fn unpacked(archive: impl io::Read, target: &Path, most_bytes: u64) -> io::Result<u64> {
    tar::unpack(archive, target, most_bytes)
}

/// Where package sets come from and how much of them is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackagesConfig {
    /// Where they are kept. Nobody but the agent writes there, and the launcher can read it.
    pub folder: PathBuf,
    /// Folders with wheels, source packages of R and packages of Debian.
    pub sources: Vec<PathBuf>,
    /// Addresses of indexes of Python packages (`https://pypi.org/simple`), for what the folders lack.
    pub indexes: Vec<String>,
    /// The hosts of the indexes, and those that they refer to.
    pub index_hosts: BTreeSet<Destination>,
    /// The most sets.
    pub sets: usize,
    /// The most bytes of all sets together.
    pub total_bytes: u64,
    /// The most bytes of one set, and of the files that it is made of.
    pub set_bytes: u64,
    /// How long a build may take.
    pub patience: Duration,
}

/// What a set is built for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The packages.
    pub list: &'a PackageList,
    /// The version of the engine, `3.11.7`: a set is for one version.
    pub version: &'a str,
}

impl Wanted<'_> {
    fn key(&self) -> Digest {
        Digest::of_framed(&[
            b"muster-package-key/1",
            self.list.language().name().as_bytes(),
            self.version.as_bytes(),
            self.list.digest().as_bytes(),
        ])
    }

    fn engine(&self) -> String {
        let name = match self.list.language() {
            PackageLanguage::Python => "Python",
            PackageLanguage::R => "R",
        };
        format!("{name} {}", self.version)
    }
}

/// A set that is there; not removed as long as one of these lives.
#[derive(Debug, Clone)]
pub struct PackageSet {
    /// The digest of its tree: the same wherever the same list was built for the same engine.
    pub digest: Digest,
    /// The tree.
    pub folder: PathBuf,
    _held: Arc<()>,
}

/// The package sets of this node.
#[derive(Debug, Default)]
pub struct PackageSets {
    building: AsyncMutex<()>,
    held: Mutex<HashMap<PathBuf, Weak<()>>>,
}

impl PackageSets {
    /// The set for `wanted`, where it was built before.
    pub fn ready(&self, config: &PackagesConfig, wanted: &Wanted<'_>) -> Option<PackageSet> {
        let named = fs::read_to_string(entry(config, wanted)).ok()?;
        let digest = named.trim().parse().ok()?;
        self.hold(config, digest)
    }

    /// The set for `wanted`, built now unless it is there. `engines` are those of the node; `forget` is asked to end
    /// launchers that wait with a set that is about to be removed.
    pub async fn build(
        &self,
        config: &PackagesConfig,
        engines: &Engines,
        wanted: &Wanted<'_>,
        forget: impl Fn(&Path),
        cancel: &CancellationToken,
    ) -> Result<PackageSet, PackagesError> {
        let _alone = tokio::select! {
            alone = self.building.lock() => alone,
            () = cancel.cancelled() => return Err(PackagesError::Cancelled),
        };
        if let Some(set) = self.ready(config, wanted) {
            return Ok(set);
        }
        let work = config.folder.join("work");
        let built = build::build(config, engines, wanted, &work, cancel).await;
        let set = match built {
            Ok((digest, bytes)) => self.keep(config, wanted, digest, bytes, &forget),
            Err(error) => Err(error),
        };
        // Whatever is left is removed by the next build at the latest.
        let _ = tokio::task::spawn_blocking(move || tree::remove(&work)).await;
        set
    }

    /// Puts the tree of a build in its place.
    fn keep(
        &self,
        config: &PackagesConfig,
        wanted: &Wanted<'_>,
        digest: Digest,
        bytes: u64,
        forget: &dyn Fn(&Path),
    ) -> Result<PackageSet, PackagesError> {
        let place = set_folder(config, &digest);
        let stored = |path: &Path| {
            let path = path.to_owned();
            move |source| PackagesError::Store { path, source }
        };
        if !place.exists() {
            self.make_room(config, bytes, forget)?;
            let sets = config.folder.join("sets");
            make_folder(&sets).map_err(stored(&sets))?;
            fs::rename(config.folder.join("work/tree"), &place).map_err(stored(&place))?;
            // A folder can be renamed only while it can be written.
            tree::seal(&place).map_err(stored(&place))?;
            fs::write(size_file(&place), bytes.to_string()).map_err(stored(&place))?;
        }
        let lists = config.folder.join("lists");
        let entry = entry(config, wanted);
        make_folder(&lists)
            .and_then(|()| {
                let beside = entry.with_extension("new");
                fs::write(&beside, digest.to_string())?;
                fs::rename(&beside, &entry)
            })
            .map_err(stored(&entry))?;
        tracing::info!(set = %digest, bytes, engine = wanted.engine(), "built a package set");
        self.hold(config, digest).ok_or(PackagesError::Store {
            path: place,
            source: io::ErrorKind::NotFound.into(),
        })
    }

    /// The set of this digest, if it is there; it counts as used now.
    fn hold(&self, config: &PackagesConfig, digest: Digest) -> Option<PackageSet> {
        let folder = set_folder(config, &digest);
        let mut held = locked(&self.held);
        if !folder.is_dir() {
            return None;
        }
        held.retain(|_, others| others.strong_count() > 0);
        let token = held.get(&folder).and_then(Weak::upgrade).unwrap_or_default();
        held.insert(folder.clone(), Arc::downgrade(&token));
        // For the order of removal only.
        let now = Timestamps {
            last_access: whenever(UTIME_OMIT),
            last_modification: whenever(UTIME_NOW),
        };
        let _ = fs::File::open(&folder).map(|opened| futimens(&opened, &now));
        Some(PackageSet {
            digest,
            folder,
            _held: token,
        })
    }

    /// Removes sets, the least recently used first, until one more of `bytes` fits.
    fn make_room(
        &self,
        config: &PackagesConfig,
        bytes: u64,
        forget: &dyn Fn(&Path),
    ) -> Result<(), PackagesError> {
        if bytes > config.total_bytes {
            return Err(PackagesError::NoRoom);
        }
        let mut sets = kept(config);
        sets.sort_by_key(|set| set.used);
        let mut total: u64 = sets.iter().map(|set| set.bytes).sum();
        let mut count = sets.len();
        for set in sets {
            if count < config.sets && total + bytes <= config.total_bytes {
                break;
            }
            let held = locked(&self.held);
            if held
                .get(&set.folder)
                .is_some_and(|others| others.strong_count() > 0)
            {
                continue;
            }
            // Nobody can take it again from here on.
            let aside = config.folder.join("work").join(format!("old-{count}"));
            let moved = aside_to(&set.folder, &aside);
            drop(held);
            if let Err(source) = moved {
                return Err(PackagesError::Store {
                    path: set.folder,
                    source,
                });
            }
            forget(&set.folder);
            tracing::info!(folder = %set.folder.display(), "removed a package set that was not used");
            count -= 1;
            total -= set.bytes;
        }
        if count < config.sets && total + bytes <= config.total_bytes {
            forget_lists(config);
            Ok(())
        } else {
            Err(PackagesError::NoRoom)
        }
    }
}

/// A word to the system in place of a time.
fn whenever(word: Nsecs) -> Timespec {
    Timespec {
        tv_sec: 0,
        tv_nsec: word,
    }
}

/// A set on the disk.
struct Kept {
    folder: PathBuf,
    used: SystemTime,
    bytes: u64,
}

fn kept(config: &PackagesConfig) -> Vec<Kept> {
    let entries = fs::read_dir(config.folder.join("sets"))
        .into_iter()
        .flatten()
        .flatten();
    entries
        .filter_map(|entry| {
            let folder = entry.path();
            let about = entry.metadata().ok().filter(fs::Metadata::is_dir)?;
            let noted = fs::read_to_string(size_file(&folder)).ok();
            // After a crash nobody noted it.
            let bytes = noted.and_then(|text| text.parse().ok());
            let bytes = bytes.or_else(|| Some(tree::digest(&folder).ok()?.1)).unwrap_or(0);
            Some(Kept {
                used: about.modified().unwrap_or(SystemTime::UNIX_EPOCH),
                folder,
                bytes,
            })
        })
        .collect()
}

/// Removes what names sets that are gone, and the sizes of such.
fn forget_lists(config: &PackagesConfig) {
    let there: BTreeSet<String> = kept(config)
        .iter()
        .filter_map(|set| Some(set.folder.file_name()?.to_str()?.to_owned()))
        .collect();
    let entries = |name: &str| {
        fs::read_dir(config.folder.join(name))
            .into_iter()
            .flatten()
            .flatten()
    };
    for entry in entries("lists") {
        let named = fs::read_to_string(entry.path()).unwrap_or_default();
        let digest: Option<Digest> = named.trim().parse().ok();
        if digest.is_none_or(|digest| !there.contains(&digest.hex())) {
            let _ = fs::remove_file(entry.path());
        }
    }
    for entry in entries("sets") {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.strip_suffix(".size").is_some_and(|set| !there.contains(set)) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Whether what a launcher is about to show is still what was built. One that was changed is taken away, so that it is
/// built again by whoever needs it next. Blocks. An error is one sentence.
pub(crate) fn verify(folder: &Path) -> Result<(), String> {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let found = tree::digest(folder);
    match &found {
        Ok((digest, _)) if digest.hex() == name => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !folder.exists() => {
            return Err(format!(
                "the package set {name} is not there any more; run the function again"
            ));
        }
        _ => {}
    }
    let found = found.map_or_else(|error| error.to_string(), |(digest, _)| digest.to_string());
    let aside = folder.with_extension("changed");
    let removed = tree::remove(&aside)
        .and_then(|()| aside_to(folder, &aside))
        .and_then(|()| tree::remove(&aside));
    let after = match removed {
        Ok(()) => "it was removed and is built again by the next run".to_owned(),
        Err(error) => format!("remove it, which the agent cannot: {error}"),
    };
    Err(format!(
        "the package set {} was changed after it was built (found: {found}); {after}",
        folder.display()
    ))
}

/// Renames a set, for which it must be writable for a moment.
fn aside_to(folder: &Path, aside: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if let Some(parent) = aside.parent() {
        make_folder(parent)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    fs::rename(folder, aside)
}

fn set_folder(config: &PackagesConfig, digest: &Digest) -> PathBuf {
    config.folder.join("sets").join(digest.hex())
}

fn size_file(set: &Path) -> PathBuf {
    set.with_extension("size")
}

fn entry(config: &PackagesConfig, wanted: &Wanted<'_>) -> PathBuf {
    config.folder.join("lists").join(wanted.key().hex())
}

/// A folder that the users of runs may enter, whatever the agent's mask is.
fn make_folder(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests;
