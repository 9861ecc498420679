//! The jail's root and a run's private folders.
//!
//! Invariant: what comes from the host is cloned with its new attributes before it is attached, so there is no
//! moment at which it is visible and writable.

use std::{
    ffi::CString,
    fs,
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::fs::{DirBuilderExt as _, symlink},
    },
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    mount::{MountFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags},
};

use crate::failure::{Attempt, Failure};

/// A part of the host's tree that is attached nowhere yet.
pub(crate) struct Tree {
    descriptor: OwnedFd,
    folder: bool,
}

/// How a cloned tree may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Read and execute.
    Read,
    /// Write too.
    Write,
    /// Read, never execute.
    Data,
    /// Read and write, never execute.
    WritableData,
    /// One device node.
    Device,
}

impl Use {
    fn attributes(self) -> u64 {
        let never = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV;
        match self {
            Self::Read => never | libc::MOUNT_ATTR_RDONLY,
            Self::Write => never,
            Self::Data => never | libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOEXEC,
            Self::WritableData => never | libc::MOUNT_ATTR_NOEXEC,
            Self::Device => libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NOEXEC,
        }
    }
}

/// Whether links on the way to a place are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// As everywhere.
    Follow,
    /// Refused: somebody may have made one since the place was looked at.
    Refuse,
}

impl Tree {
    /// Clones what is at `source`, with everything mounted below it. `None` when there is nothing.
    pub(crate) fn clone_of(source: &Path, usage: Use, links: Links) -> Result<Option<Self>, Failure> {
        let flags =
            OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
        let cloned = match links {
            Links::Follow => rustix::mount::open_tree(CWD, source, flags),
            Links::Refuse => without_links(source)
                .and_then(|place| rustix::mount::open_tree(place, "", flags | OpenTreeFlags::AT_EMPTY_PATH)),
        };
        let descriptor = match cloned {
            Err(rustix::io::Errno::NOENT) => return Ok(None),
            other => other.attempt(format!("show {} in the jail", source.display()))?,
        };
        let folder = rustix::fs::fstat(&descriptor)
            .map(|about| rustix::fs::FileType::from_raw_mode(about.st_mode).is_dir())
            .attempt(format!("look at {}", source.display()))?;
        let tree = Self { descriptor, folder };
        set_attributes(&tree.descriptor, usage.attributes(), 0)
            .attempt(format!("restrict the jail's view of {}", source.display()))?;
        Ok(Some(tree))
    }

    /// Lets programs of it be executed, wherever it was cloned from.
    pub(crate) fn executable(&self) -> Result<(), Failure> {
        set_attributes(&self.descriptor, 0, libc::MOUNT_ATTR_NOEXEC).attempt("let a program be executed")
    }

    /// Attaches it at `target`, which is made.
    pub(crate) fn attach(&self, target: &Path, links: Links) -> Result<(), Failure> {
        let attempt = || format!("make {} in the jail", target.display());
        if self.folder {
            make_folder(target, 0o755)?;
        } else {
            if let Some(parent) = target.parent() {
                make_folder(parent, 0o755)?;
            }
            if !target.exists() {
                fs::File::create(target).attempt(attempt())?;
            }
        }
        let from = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        match links {
            Links::Follow => rustix::mount::move_mount(&self.descriptor, "", CWD, target, from),
            Links::Refuse => without_links(target).and_then(|place| {
                let both = from | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
                rustix::mount::move_mount(&self.descriptor, "", place, "", both)
            }),
        }
        .attempt(attempt())
    }
}

/// The place of this absolute path, if no part of it is a link. Step by step: units refuse openat2.
fn without_links(path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut place = rustix::fs::openat(CWD, "/", flags, Mode::empty())?;
    for part in path.components().skip(1) {
        place = rustix::fs::openat(&place, part.as_os_str(), flags, Mode::empty())?;
        let about = rustix::fs::fstat(&place)?;
        if rustix::fs::FileType::from_raw_mode(about.st_mode).is_symlink() {
            return Err(rustix::io::Errno::LOOP);
        }
    }
    Ok(place)
}

/// Makes a folder and its parents; one that is there is left as it is.
pub(crate) fn make_folder(path: &Path, mode: u32) -> Result<(), Failure> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .attempt(format!("make the folder {} in the jail", path.display()))
}

/// Makes a link as the host has it.
pub(crate) fn link(destination: &Path, at: &Path) -> Result<(), Failure> {
    symlink(destination, at).attempt(format!("make the link {} in the jail", at.display()))
}

/// No change of mounts here reaches the host, nor the other way round.
pub(crate) fn make_private() -> Result<(), Failure> {
    rustix::mount::mount_change(
        "/",
        rustix::mount::MountPropagationFlags::PRIVATE | rustix::mount::MountPropagationFlags::REC,
    )
    .attempt("make the mounts private")
}

/// Mounts an empty file system in memory with a size in bytes and a number of files.
pub(crate) fn temporary(
    target: &Path,
    bytes: u64,
    files: u64,
    mode: &str,
    execute: bool,
) -> Result<(), Failure> {
    let data = CString::new(format!("size={bytes},nr_inodes={files},mode={mode}"))
        .map_err(|_| Failure::rule("options with a zero byte"))?;
    let flags = MountFlags::NOSUID
        | MountFlags::NODEV
        | if execute {
            MountFlags::empty()
        } else {
            MountFlags::NOEXEC
        };
    rustix::mount::mount("tmpfs", target, "tmpfs", flags, data.as_c_str())
        .attempt(format!("mount a temporary file system on {}", target.display()))
}

/// Mounts the processes of the own namespace. `all` shows the machine's figures too.
pub(crate) fn processes(target: &Path, all: bool) -> Result<(), Failure> {
    let options = if all {
        c"hidepid=invisible"
    } else {
        c"hidepid=invisible,subset=pid"
    };
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", target, "proc", flags, options)
        .attempt(format!("mount the process file system on {}", target.display()))
}

/// Shows a folder of the jail at a second place.
pub(crate) fn bind(source: &Path, target: &Path) -> Result<(), Failure> {
    rustix::mount::mount_bind(source, target).attempt(format!(
        "show {} at {}",
        source.display(),
        target.display()
    ))
}

/// Makes `root` the root of everything and lets go of the old one.
pub(crate) fn enter_root(root: &Path) -> Result<(), Failure> {
    std::env::set_current_dir(root).attempt("enter the jail's root")?;
    // Both arguments alike: the old root is then mounted over the new one and taken away at once.
    rustix::process::pivot_root(".", ".").attempt("exchange the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).attempt("let go of the host's root")?;
    std::env::set_current_dir("/").attempt("enter the jail's root")
}

/// Nothing can be made in the root from now on; file systems mounted below it keep their own attributes.
pub(crate) fn seal_root() -> Result<(), Failure> {
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount_remount("/", flags, c"").attempt("make the jail's root read-only")
}

fn set_attributes(tree: &OwnedFd, attributes: u64, cleared: u64) -> std::io::Result<()> {
    let wanted = libc::mount_attr {
        attr_set: attributes,
        attr_clr: cleared,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    // SAFETY: the path is an empty C string, and the kernel reads `size_of::<mount_attr>()` bytes from `wanted`.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error())
    }
}
