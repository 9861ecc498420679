//! Files that survive a crash, and files that are read only if nobody else could have written or read them.
//!
//! Invariant of [`write`]: at every moment, also after a crash of the process or the machine, the path holds
//! either the whole old content or the whole new content. The way there is a new file in the same folder,
//! synced, renamed over the old one, folder synced. Each step is a *named write point* ([`WRITE_POINTS`]) at
//! which a crash test can kill the process.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::OFlags;

/// The points of one [`write`], in order. The full name of a point is the name given to `write`, a dot and
/// one of these.
pub const WRITE_POINTS: [&str; 5] = ["created", "written", "synced", "renamed", "settled"];

/// The end of the names of files that are not finished; a crash leaves them behind.
const UNFINISHED: &str = ".muster-new";

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refused.
    #[error("cannot {attempt} {}", path.display())]
    System {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A symbolic link, which could lead anywhere.
    #[error("{} is a symbolic link; put the file itself there", .0.display())]
    Link(PathBuf),
    /// A folder, device or pipe.
    #[error("{} is not a regular file", .0.display())]
    Kind(PathBuf),
    /// Others may read or write it.
    #[error("{} has mode {mode:04o}, so others could have read or changed it; run chmod {wanted:04o} {}, and replace its content if it is a secret", path.display(), path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The widest permission bits that it may have.
        wanted: u32,
    },
    /// It belongs to another user.
    #[error("{} belongs to user id {owner}; it must belong to root or to user id {wanted}, who runs this program", path.display())]
    Owner {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Whose it should be.
        wanted: u32,
    },
    /// More bytes than it can rightly have.
    #[error("{} is longer than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The most bytes that are read.
        limit: u64,
    },
}

impl FileError {
    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::System { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Whether there is no room for it: the disk, the quota or the limit of the process is used up.
    pub fn is_full_disk(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        matches!(self, Self::System { source, .. }
            if matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge))
    }
}

/// Who else may have access to a file that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Nobody: mode 0600 or tighter, owned by root or this process's user. For keys and secrets.
    Private,
    /// A file that systemd passed: as [`Access::Private`], but the group's read bit may be set, because there
    /// it is the mask of the access list by which systemd lets the service's own user in.
    Credential,
    /// Everybody may read, nobody else may write. For what decides and is not secret.
    Guarded,
    /// No demands, and symbolic links are followed. For what an administrator writes.
    Any,
}

impl Access {
    fn widest(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Credential => 0o640,
            Self::Guarded => 0o755,
            Self::Any => 0o7777,
        }
    }
}

/// Reads a whole file of at most `limit` bytes after checking the opened file against `access`.
pub fn read(path: &Path, access: Access, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |attempt| {
        move |source| FileError::System {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    // Not blocking: opening a pipe that somebody put there must not hang the program.
    let mut flags = OFlags::NONBLOCK;
    if access != Access::Any {
        flags |= OFlags::NOFOLLOW;
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(|error| {
            if error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error()) && access != Access::Any {
                FileError::Link(path.to_owned())
            } else {
                failed("open")(error)
            }
        })?;
    let metadata = file.metadata().map_err(failed("examine"))?;
    if !metadata.is_file() {
        return Err(FileError::Kind(path.to_owned()));
    }
    let mode = metadata.mode() & 0o7777;
    if mode & !access.widest() != 0 {
        return Err(FileError::Mode {
            path: path.to_owned(),
            mode,
            wanted: mode & access.widest(),
        });
    }
    let user = rustix::process::geteuid().as_raw();
    if access != Access::Any && ![0, user].contains(&metadata.uid()) {
        return Err(FileError::Owner {
            path: path.to_owned(),
            owner: metadata.uid(),
            wanted: user,
        });
    }
    if metadata.len() > limit {
        return Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    // Room to spare, so that reading does not move a secret and leave a copy behind.
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 64);
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(failed("read"))?;
    if bytes.len() as u64 > limit {
        return Err(FileError::TooLong {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Replaces `path` durably by `bytes` with exactly the permission bits `mode`. `name` begins the names of the
/// write points, for example `join.credentials`.
pub fn write(path: &Path, bytes: &[u8], mode: u32, name: &str) -> Result<(), FileError> {
    replace(path, mode, name, |file| {
        put(file, bytes, mode, name)?;
        file.sync_all()?;
        write_point(name, "synced");
        Ok(())
    })?;
    sync_folder_of(path).map_err(|source| FileError::System {
        attempt: "settle the name of",
        path: path.to_owned(),
        source,
    })?;
    write_point(name, "settled");
    Ok(())
}

/// Puts a new file with `bytes` at `path`, in one step for every other process, but not on the disk yet: after a power
/// cut it may be missing, short or empty, so its reader must be able to tell. [`settle`] makes it durable. The write
/// points are the first two of [`write`] and "renamed".
pub fn place(path: &Path, bytes: &[u8], mode: u32, name: &str) -> Result<(), FileError> {
    replace(path, mode, name, |file| put(file, bytes, mode, name))
}

/// Makes durable what [`place`] put at `path`, its name included. One that was removed meanwhile needs nothing. The
/// write points are "synced" and "settled".
pub fn settle(path: &Path, name: &str) -> Result<(), FileError> {
    let failed = |source| FileError::System {
        attempt: "settle",
        path: path.to_owned(),
        source,
    };
    let settled = File::open(path).and_then(|file| {
        file.sync_all()?;
        write_point(name, "synced");
        sync_folder_of(path)
    });
    match settled {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        settled => settled.map_err(failed)?,
    }
    write_point(name, "settled");
    Ok(())
}

/// Removes `path` durably; one that does not exist is already removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::System {
        attempt: "remove",
        path: path.to_owned(),
        source,
    };
    match fs::remove_file(path) {
        Ok(()) => sync_folder_of(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Makes a folder, with its parents, that only this user can enter; an existing one must be a folder of this
/// user or root into which nobody else can write.
pub fn create_folder(path: &Path) -> Result<(), FileError> {
    let failed = |attempt| {
        move |source| FileError::System {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(failed("create the folder"))?;
    let metadata = fs::metadata(path).map_err(failed("examine"))?;
    let user = rustix::process::geteuid().as_raw();
    if ![0, user].contains(&metadata.uid()) {
        return Err(FileError::Owner {
            path: path.to_owned(),
            owner: metadata.uid(),
            wanted: user,
        });
    }
    let mode = metadata.mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(FileError::Mode {
            path: path.to_owned(),
            mode,
            wanted: mode & !0o022,
        });
    }
    sync_folder_of(path).map_err(failed("settle the name of"))
}

/// How many bytes the file system of `path` has, and how many of them this user may still use; `None` where the system
/// does not say.
pub fn space(path: &Path) -> Option<(u64, u64)> {
    let found = rustix::fs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Some((bytes(found.f_blocks), bytes(found.f_bavail)))
}

/// Removes what crashed writes left unfinished in `folder`. Only the holder of the folder's lock may call it.
pub fn sweep(folder: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::System {
        attempt: "sweep",
        path: folder.to_owned(),
        source,
    };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry
            .file_name()
            .as_encoded_bytes()
            .ends_with(UNFINISHED.as_bytes())
        {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    Ok(())
}

/// Kills this process with SIGKILL if `MUSTER_CRASH_AT` is `name`: a crash that nothing can tidy up after. It is
/// spared as often as `MUSTER_CRASH_SPARED` says before. Does nothing unless the feature `crash-points` is on.
pub fn crash_point(name: &str) {
    #[cfg(feature = "crash-points")]
    if std::env::var_os("MUSTER_CRASH_AT").is_some_and(|wanted| wanted == name) && !is_spared() {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
    let _ = name;
}

/// Whether the process passes its point once more.
#[cfg(feature = "crash-points")]
fn is_spared() -> bool {
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let spared = std::env::var_os("MUSTER_CRASH_SPARED")
        .and_then(|times| times.to_str()?.parse().ok())
        .unwrap_or(0);
    PASSED.fetch_add(1, Ordering::Relaxed) < spared
}

/// The point `step` of the write `name`; see [`crash_point`].
pub fn write_point(name: &str, step: &str) {
    if cfg!(feature = "crash-points") {
        crash_point(&format!("{name}.{step}"));
    }
}

/// Gives `path` to a new file that `fill` has filled beside it.
fn replace(
    path: &Path,
    mode: u32,
    name: &str,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    let failed = |attempt| {
        move |source| FileError::System {
            attempt,
            path: path.to_owned(),
            source,
        }
    };
    let (mut file, unfinished) = create_beside(path, mode).map_err(failed("create a new file beside"))?;
    let result = fill(&mut file).and_then(|()| fs::rename(&unfinished, path));
    if result.is_err() {
        // The error that counts is the first; what stays behind is swept later.
        let _ = fs::remove_file(&unfinished);
    }
    result.map_err(failed("write"))?;
    write_point(name, "renamed");
    Ok(())
}

fn put(file: &mut File, bytes: &[u8], mode: u32, name: &str) -> io::Result<()> {
    write_point(name, "created");
    // The process's umask may have taken bits away.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    write_point(name, "written");
    Ok(())
}

/// A new, empty file in the folder of `path`, under a name that no other writer uses.
fn create_beside(path: &Path, mode: u32) -> io::Result<(File, PathBuf)> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut options = OpenOptions::new();
    options
        .write(true)
        .create_new(true)
        .mode(mode)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    loop {
        let mut unfinished = OsString::from(".");
        unfinished.push(name);
        unfinished.push(format!(
            ".{}.{}{UNFINISHED}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        let unfinished = path.with_file_name(unfinished);
        match options.open(&unfinished) {
            // Left by a crashed process of the same id: take the next name.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            result => return result.map(|file| (file, unfinished)),
        }
    }
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests;
