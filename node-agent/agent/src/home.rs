//! Where everything of a node lies on disk; no other file knows a path.
//!
//! Invariant: the state folder can be entered by this user only, and whoever holds its lock is the only process
//! that writes there.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use muster_daemon::{
    FolderLock,
    file::{self, FileError},
    lock::LockError,
};

/// The state folder unless told otherwise.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/muster/node";
/// The configuration file unless told otherwise.
pub const DEFAULT_CONFIG: &str = "/etc/muster/node.toml";

/// Why the state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It cannot be made or entered.
    #[error("cannot use the state folder of this node")]
    Folder(#[from] FileError),
    /// Others can look into it.
    #[error("the state folder {} has mode {mode:04o}, so others could look into it; run chmod 0700 {}", path.display(), path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is not there.
    #[error("there is no state folder {}; run muster-node join URL first, or name the folder with --state-dir", .0.display())]
    Missing(PathBuf),
    /// Another process works there.
    #[error("cannot work on the state of this node")]
    Lock(#[from] LockError),
}

/// The state folder of one node.
#[derive(Debug, Clone)]
pub struct Home(PathBuf);

impl Home {
    /// Makes the folder where it is missing.
    pub fn create(root: &Path) -> Result<Self, HomeError> {
        file::create_folder(root)?;
        Self::open(root)
    }

    /// The folder, which must exist.
    pub fn open(root: &Path) -> Result<Self, HomeError> {
        let metadata = fs::metadata(root).map_err(|source| {
            if source.kind() == io::ErrorKind::NotFound {
                HomeError::Missing(root.to_owned())
            } else {
                HomeError::Folder(FileError::System {
                    attempt: "examine",
                    path: root.to_owned(),
                    source,
                })
            }
        })?;
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(HomeError::Open {
                path: root.to_owned(),
                mode,
            });
        }
        Ok(Self(root.to_owned()))
    }

    /// The sole right to change anything here; also removes what crashed writers left unfinished.
    pub fn lock(&self) -> Result<FolderLock, HomeError> {
        let lock = FolderLock::acquire(&self.0)?;
        file::sweep(&self.0)?;
        Ok(lock)
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// Key, join and membership.
    pub fn identity(&self) -> PathBuf {
        self.0.join("identity.json")
    }

    /// The trust state as it was last verified.
    pub fn trust_state(&self) -> PathBuf {
        self.0.join("trust-state.json")
    }

    /// What `muster-node status` shows of a running agent.
    pub fn status(&self) -> PathBuf {
        self.0.join("status.json")
    }

    /// That a control plane refused this node as revoked.
    pub fn revoked(&self) -> PathBuf {
        self.0.join("revoked.json")
    }

    /// Runs that the control plane does not know to have ended.
    pub fn spool(&self) -> PathBuf {
        self.0.join("spool")
    }

    /// Where the engines' runners are written.
    pub fn runners(&self) -> PathBuf {
        self.0.join("runners")
    }

    /// Package sets, and what they are built of for a moment.
    pub fn packages(&self) -> PathBuf {
        self.0.join("packages")
    }

    /// Damaged identities that were moved aside.
    pub fn quarantined(&self) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.0) else {
            return Vec::new();
        };
        let mut found: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| {
                path.file_name()
                    .is_some_and(|name| name.as_encoded_bytes().starts_with(b"identity.json.damaged-"))
            })
            .collect();
        found.sort();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_others_can_enter_is_refused_with_the_cure() {
        let outer = tempfile::tempdir().expect("folder");
        let root = outer.path().join("node");
        let home = Home::create(&root).expect("made");
        assert_eq!(
            fs::metadata(home.root()).expect("there").permissions().mode() & 0o7777,
            0o700
        );
        fs::set_permissions(&root, fs::Permissions::from_mode(0o750)).expect("changed");
        let error = Home::open(&root).expect_err("open to the group").to_string();
        assert!(
            error.contains("has mode 0750") && error.contains("chmod 0700"),
            "{error}"
        );
    }

    #[test]
    fn a_missing_folder_is_said_and_not_made() {
        let outer = tempfile::tempdir().expect("folder");
        let root = outer.path().join("node");
        let error = Home::open(&root).expect_err("missing").to_string();
        assert!(error.contains("muster-node join"), "{error}");
        assert!(!root.exists());
    }

    #[test]
    fn two_processes_cannot_work_there_at_once() {
        let outer = tempfile::tempdir().expect("folder");
        let home = Home::create(&outer.path().join("node")).expect("made");
        let held = home.lock().expect("free");
        assert!(matches!(
            home.lock(),
            Err(HomeError::Lock(LockError::Held { .. }))
        ));
        drop(held);
        home.lock().expect("free again");
    }
}
