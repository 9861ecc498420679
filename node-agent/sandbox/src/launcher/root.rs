//! The jail's root: what of the host it shows, and what is its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Attempt as _, Failure},
    kernel::mounts::{self, Tree, Use},
    policy,
    protocol::{Mode, Start},
};

/// Where the root is put together, in the jail's own mount namespace.
const WORKSHOP: &str = "/tmp";
/// Size of the root itself: folders and links.
const ROOT_BYTES: u64 = 1024 * 1024;
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Parts of the host, cloned while this process still has the launcher's rights to files.
pub(super) struct Parts {
    trees: Vec<(PathBuf, Tree)>,
    links: Vec<(PathBuf, PathBuf)>,
    writable: Vec<PathBuf>,
    mode: Mode,
}

/// Which paths of the finished jail may be read, and which written.
pub(super) struct Shown {
    pub(super) readable: Vec<PathBuf>,
    pub(super) writable: Vec<PathBuf>,
}

impl Parts {
    /// Clones what the policy shows and what the agent asked for.
    pub(super) fn collect(start: &Start) -> Result<Self, Failure> {
        mounts::make_private()?;
        let mut parts = Self {
            trees: Vec::new(),
            links: Vec::new(),
            writable: Vec::new(),
            mode: start.mode,
        };
        for path in policy::shown(start.mode).iter().map(Path::new) {
            match fs::read_link(path) {
                // Links of the root folder (/bin, /lib) stay links; a file's link is followed to the file.
                Ok(destination) if path.parent() == Some(Path::new("/")) => {
                    parts.links.push((path.to_owned(), destination));
                }
                _ => parts.add(path, path, Use::Read, false)?,
            }
        }
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            parts.add(&path, &path, Use::Device, true)?;
        }
        let mut wanted: Vec<_> = start.mounts.iter().collect();
        // A folder before what is mounted within it.
        wanted.sort_by_key(|mount| mount.target.components().count());
        for mount in wanted {
            let usage = if mount.writable { Use::Write } else { Use::Read };
            parts.add(&mount.source, &mount.target, usage, true)?;
            if mount.writable {
                parts.writable.push(mount.target.clone());
            }
        }
        Ok(parts)
    }

    fn add(&mut self, source: &Path, target: &Path, usage: Use, needed: bool) -> Result<(), Failure> {
        match Tree::clone_of(source, usage)? {
            Some(tree) => self.trees.push((target.to_owned(), tree)),
            None if needed => return Err(Failure::rule(format!("{} does not exist", source.display()))),
            None => {}
        }
        Ok(())
    }

    /// Puts the root together and makes it the root; the host's is gone afterwards.
    pub(super) fn enter(self) -> Result<Shown, Failure> {
        let root = Path::new(WORKSHOP);
        mounts::temporary(root, ROOT_BYTES, 4096, "0755", true)?;
        let inside = |path: &Path| root.join(path.strip_prefix("/").unwrap_or(path));
        for folder in ["proc", "dev", "tmp", "scratch"] {
            mounts::make_folder(&root.join(folder), 0o755)?;
        }
        for (at, destination) in &self.links {
            mounts::link(destination, &inside(at))?;
        }
        for (target, tree) in &self.trees {
            tree.attach(&inside(target))?;
        }
        for (name, destination) in [
            ("fd", "/proc/self/fd"),
            ("stdin", "fd/0"),
            ("stdout", "fd/1"),
            ("stderr", "fd/2"),
        ] {
            mounts::link(Path::new(destination), &root.join("dev").join(name))?;
        }
        mounts::make_folder(&root.join("dev/shm"), 0o755)?;
        mounts::processes(&root.join("proc"), true)?;
        mounts::temporary(
            &root.join("tmp"),
            policy::ENGINE_TEMPORARY_BYTES,
            16384,
            "0700",
            true,
        )?;
        mounts::enter_root(root)?;
        mounts::seal_root()?;
        Ok(Shown {
            readable: self.readable()?,
            writable: self.writable,
        })
    }

    /// Unrestricted code reads whatever is there; restricted code the top folders but the process file system,
    /// devices and the engine's temporary folder.
    fn readable(&self) -> Result<Vec<PathBuf>, Failure> {
        if self.mode == Mode::Unrestricted {
            return Ok(vec![PathBuf::from("/")]);
        }
        let mut readable = Vec::new();
        for entry in fs::read_dir("/").attempt("list the jail's root")? {
            let entry = entry.attempt("list the jail's root")?;
            let ours = ["proc", "dev", "tmp", "scratch"]
                .iter()
                .any(|name| entry.file_name() == *name);
            let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if !ours && !link {
                readable.push(entry.path());
            }
        }
        Ok(readable)
    }
}
