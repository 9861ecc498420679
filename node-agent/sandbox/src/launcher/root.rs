//! The jail's root: what of the host it shows, and what is its own.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    failure::{Attempt as _, Failure},
    kernel::mounts::{self, Links, Tree, Use},
    policy,
    protocol::{Mode, Programs, Start},
};

/// Where the root is put together, in the jail's own mount namespace.
const WORKSHOP: &str = "/tmp";
/// Size of the root itself: folders and links.
const ROOT_BYTES: u64 = 1024 * 1024;
/// What loads a program that is linked dynamically; the kernel asks for the right to execute it as well.
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
/// Where the host keeps programs.
const PROGRAM_FOLDERS: [&str; 8] = [
    "/bin",
    "/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/usr/games",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
];
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];

/// Parts of the host, cloned while this process still has the launcher's rights to files.
pub(super) struct Parts {
    trees: Vec<(PathBuf, Tree, Links)>,
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
                _ => parts.add((path, path), Use::Read, Links::Follow, false)?,
            }
        }
        for name in DEVICES {
            let path = Path::new("/dev").join(name);
            parts.add((&path, &path), Use::Device, Links::Follow, true)?;
        }
        let mut wanted: Vec<_> = start.mounts.iter().collect();
        // A folder before what is mounted within it.
        wanted.sort_by_key(|mount| mount.target.components().count());
        for mount in wanted {
            let data = mount.by_policy && start.programs != Programs::All;
            let usage = match (mount.writable, data) {
                (false, false) => Use::Read,
                (true, false) => Use::Write,
                (false, true) => Use::Data,
                (true, true) => Use::WritableData,
            };
            let links = if mount.by_policy {
                Links::Refuse
            } else {
                Links::Follow
            };
            parts.add((&mount.source, &mount.target), usage, links, true)?;
            if mount.writable {
                parts.writable.push(mount.target.clone());
            }
        }
        Ok(parts)
    }

    fn add(
        &mut self,
        (source, target): (&Path, &Path),
        usage: Use,
        links: Links,
        needed: bool,
    ) -> Result<(), Failure> {
        match Tree::clone_of(source, usage, links)? {
            Some(tree) => self.trees.push((target.to_owned(), tree, links)),
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
        for (target, tree, links) in &self.trees {
            tree.attach(&inside(target), *links)?;
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

/// The programs as Landlock must know them: real paths of the jail. What is not there cannot be executed either.
pub(super) fn resolved(programs: &Programs) -> Programs {
    match programs {
        Programs::Listed(listed) => {
            let loaders = LOADERS.iter().map(Path::new);
            let named = listed.iter().map(PathBuf::as_path).chain(loaders);
            Programs::Listed(named.filter_map(|path| fs::canonicalize(path).ok()).collect())
        }
        other => other.clone(),
    }
}

/// From now on the folders of programs are data, except for `listed`: the kernel's loader of programs, which may be
/// executed, maps nothing from there. The engine is loaded already.
pub(super) fn close_programs(programs: &Programs) -> Result<(), Failure> {
    let Programs::Listed(listed) = programs else {
        return Ok(());
    };
    let mut open = Vec::new();
    for path in listed {
        if let Some(tree) = Tree::clone_of(path, Use::Read, Links::Refuse)? {
            tree.executable()?;
            open.push((path, tree));
        }
    }
    for folder in PROGRAM_FOLDERS.iter().map(Path::new) {
        let link = fs::symlink_metadata(folder).is_ok_and(|found| found.is_symlink());
        if !link && let Some(tree) = Tree::clone_of(folder, Use::Data, Links::Refuse)? {
            tree.attach(folder, Links::Refuse)?;
        }
    }
    open.iter()
        .try_for_each(|(path, tree)| tree.attach(path, Links::Refuse))
}
