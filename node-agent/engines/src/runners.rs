//! The runners: programs in R and Python that are part of this crate and are shown inside the jail.
//!
//! Invariant: what a launcher mounts is byte for byte what was compiled in; every start verifies it.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock},
};

use muster_ids::Digest;

use crate::launcher::locked;

/// A runner's text and name.
pub(crate) struct Runner {
    /// Its file name, in the folder and in the jail.
    pub(crate) name: &'static str,
    /// Its text.
    pub(crate) text: &'static str,
    /// Of the text, once somebody has asked.
    digest: OnceLock<Digest>,
}

/// Runs data functions in R, and in the language of the original where R stands in.
pub(crate) static R: Runner = Runner {
    name: "runner.R",
    text: concat!(
        "local({\n",
        include_str!("../runners/r/inputs.R"),
        include_str!("../runners/r/outputs.R"),
        include_str!("../runners/r/restricted.R"),
        include_str!("../runners/r/terr_utils.R"),
        include_str!("../runners/r/runner.R"),
        "}, envir = new.env(parent = baseenv()))\n"
    ),
    digest: OnceLock::new(),
};

/// Runs data functions in Python.
pub(crate) static PYTHON: Runner = Runner {
    name: "runner.py",
    text: concat!(
        include_str!("../runners/python/inputs.py"),
        include_str!("../runners/python/outputs.py"),
        include_str!("../runners/python/watch.py"),
        include_str!("../runners/python/runner.py"),
    ),
    digest: OnceLock::new(),
};

impl Runner {
    /// Of its text.
    pub(crate) fn digest(&self) -> &Digest {
        self.digest.get_or_init(|| Digest::of(self.text.as_bytes()))
    }

    /// The runner's file below `folder`, written again unless it is exactly what it should be.
    pub(crate) fn install(&self, folder: &Path) -> io::Result<PathBuf> {
        static WRITING: Mutex<()> = Mutex::new(());
        let _alone = locked(&WRITING);
        let path = folder.join(self.name);
        let genuine = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file())
            && fs::read(&path).is_ok_and(|bytes| bytes == self.text.as_bytes());
        if !genuine {
            fs::create_dir_all(folder)?;
            let beside = folder.join(format!(".{}.new", self.name));
            match fs::remove_file(&beside) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            fs::write(&beside, self.text)?;
            // Runs have other user ids than the agent.
            fs::set_permissions(&beside, fs::Permissions::from_mode(0o444))?;
            fs::rename(&beside, &path)?;
        }
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_runner_is_written_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = PYTHON.install(folder.path()).expect("written");
        fs::remove_file(&path).expect("removed");
        fs::write(&path, "print('something else')").expect("changed");
        PYTHON.install(folder.path()).expect("written again");
        assert_eq!(fs::read_to_string(&path).expect("read"), PYTHON.text);
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o444
        );
    }
}
