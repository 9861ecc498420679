//! One process at a time in a state folder.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, OFlags, flock},
    io::Errno,
};

/// Why a folder could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works there.
    #[error("{} is in use by {}; stop that program first", folder.display(), holder.as_deref().unwrap_or("another process"))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// The program and id of the process, if they can be told.
        holder: Option<String>,
    },
    /// The system refused.
    #[error("cannot lock the folder {}", folder.display())]
    System {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The exclusive right to a folder, until it is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct FolderLock {
    /// The file stays when the lock is gone: a file that comes and goes could be locked twice under one name.
    _file: File,
}

impl FolderLock {
    /// Takes the lock or says who has it; never waits.
    pub fn acquire(folder: &Path) -> Result<Self, LockError> {
        let system = |source| LockError::System {
            folder: folder.to_owned(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
            .open(folder.join("lock"))
            .map_err(system)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    holder: holder(&file),
                });
            }
            Err(error) => return Err(system(error.into())),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(system)?;
        Ok(Self { _file: file })
    }
}

/// `muster-node (process 123)`, from the id in the lock file.
fn holder(file: &File) -> Option<String> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    let id: u32 = text.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{id}/comm")).ok()?;
    Some(format!("{} (process {id})", crate::escape::escaped(name.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_with_the_holder_and_the_third_succeeds_after_the_first_is_gone() {
        let folder = tempfile::tempdir().expect("folder");
        let first = FolderLock::acquire(folder.path()).expect("free");
        let error = FolderLock::acquire(folder.path()).expect_err("held").to_string();
        assert!(
            error.contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
        drop(first);
        FolderLock::acquire(folder.path()).expect("free again");
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = FolderLock::acquire(Path::new("/nonexistent/muster")).expect_err("missing");
        assert_eq!(error.to_string(), "cannot lock the folder /nonexistent/muster");
    }
}
