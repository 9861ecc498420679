//! Blobs: inputs, outputs and logs of runs as files named by their digest, `sha256/ab/cdef…`.
//!
//! Invariant: a file under its final name is whole, has that digest and is on the disk. It gets there by being
//! written under `tmp`, synced, renamed, and its folder synced. Symbolic links are refused everywhere.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::UNIX_EPOCH,
};

use muster_ids::Digest;
use rustix::fs::OFlags;
use tokio::task::spawn_blocking;

mod writer;

pub use writer::BlobWriter;

/// Why a blob could not be kept or given.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// More bytes came than were announced or are allowed.
    #[error("the upload is larger than {limit} bytes; send less or ask for a higher limit")]
    TooLarge {
        /// The most that is taken.
        limit: u64,
    },
    /// The bytes are not those that were announced.
    #[error("the upload has the digest {found} and was announced as {expected}; send it again")]
    WrongDigest {
        /// As announced.
        expected: Digest,
        /// As computed.
        found: Digest,
    },
    /// A symbolic link or something else stands where a folder of ours should be.
    #[error("{path} is not a folder; blobs are kept in real folders only")]
    NotAFolder {
        /// Where.
        path: String,
    },
    /// The file system refused.
    #[error("the blob folder cannot be used: {attempt} {path}")]
    Io {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl BlobError {
    fn io(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io {
            attempt,
            path,
            source,
        }
    }
}

/// A blob that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blob {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
}

/// A kept blob with its age, for those who clean up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// In bytes.
    pub size: u64,
    /// When it was last written, in milliseconds since 1970.
    pub modified_at: i64,
}

/// A blob to be read.
#[derive(Debug)]
pub struct BlobReader {
    /// In bytes.
    pub size: u64,
    /// At its begin.
    pub file: tokio::fs::File,
}

/// The folder of blobs. Copies share it.
#[derive(Debug, Clone)]
pub struct BlobStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// `…/sha256`.
    kept: PathBuf,
    /// `…/tmp`.
    temporary: PathBuf,
    /// Distinguishes temporary files of this process.
    next: AtomicU64,
    /// Held for as long as the folder is open; only its holder removes temporary files.
    _lock: File,
}

impl BlobStore {
    /// Opens the folder `root`, making it when it is missing, and removes what interrupted uploads have left unless
    /// another process has the folder open.
    pub async fn open(root: &Path) -> Result<Self, BlobError> {
        let root = root.to_owned();
        blocking(move || open(&root)).await
    }

    /// Begins a blob of at most `limit` bytes. Whoever knows its digest before gives it as `expected`.
    pub fn writer(&self, limit: u64, expected: Option<Digest>) -> BlobWriter {
        BlobWriter::begin(self.inner.clone(), limit, expected)
    }

    /// The blob of this digest.
    pub async fn open_blob(&self, digest: &Digest) -> Result<Option<BlobReader>, BlobError> {
        let path = self.inner.path(digest);
        blocking(move || {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = match OpenOptions::new()
                .read(true)
                .custom_flags(bits(flags))
                .open(&path)
            {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(BlobError::io("open", &path)(error)),
            };
            let size = file.metadata().map_err(BlobError::io("look at", &path))?.len();
            Ok(Some(BlobReader {
                size,
                file: tokio::fs::File::from_std(file),
            }))
        })
        .await
    }

    /// Whether the blob of this digest is kept.
    pub async fn exists(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.inner.path(digest);
        blocking(move || match fs::symlink_metadata(&path) {
            Ok(metadata) => Ok(metadata.is_file()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BlobError::io("look at", &path)(error)),
        })
        .await
    }

    /// Removes the blob of this digest; false when there is none. Those who read it now read on.
    pub async fn remove(&self, digest: &Digest) -> Result<bool, BlobError> {
        let path = self.inner.path(digest);
        blocking(move || match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(BlobError::io("remove", &path)(error)),
        })
        .await
    }

    /// The blobs whose digest begins with the byte `first`: a 256th of all, in no order.
    pub async fn list(&self, first: u8) -> Result<Vec<BlobInfo>, BlobError> {
        let prefix = format!("{first:02x}");
        let folder = self.inner.kept.join(&prefix);
        blocking(move || list(&folder, &prefix)).await
    }
}

impl Inner {
    fn path(&self, digest: &Digest) -> PathBuf {
        let hex = digest.hex();
        let (folder, rest) = hex.split_at(2);
        self.kept.join(folder).join(rest)
    }

    /// A name under `tmp` that this process has not used.
    fn temporary(&self) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.temporary.join(format!("{}-{number}", std::process::id()))
    }
}

fn open(root: &Path) -> Result<BlobStore, BlobError> {
    let (kept, temporary) = (root.join("sha256"), root.join("tmp"));
    for folder in [root, &kept, &temporary] {
        folder_of_ours(folder)?;
    }
    for first in 0..=u8::MAX {
        folder_of_ours(&kept.join(format!("{first:02x}")))?;
    }
    for folder in [&kept, root] {
        sync(folder)?;
    }
    let path = root.join("lock");
    let lock = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(bits(OFlags::NOFOLLOW))
        .open(&path)
        .map_err(BlobError::io("open", &path))?;
    if lock.try_lock().is_ok() {
        for entry in fs::read_dir(&temporary).map_err(BlobError::io("read", &temporary))? {
            let path = entry.map_err(BlobError::io("read", &temporary))?.path();
            fs::remove_file(&path).map_err(BlobError::io("remove", &path))?;
        }
    }
    let inner = Inner {
        kept,
        temporary,
        next: AtomicU64::new(0),
        _lock: lock,
    };
    Ok(BlobStore {
        inner: Arc::new(inner),
    })
}

/// What is named in the folder survives a power cut after this.
fn sync(folder: &Path) -> Result<(), BlobError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(BlobError::io("sync", folder))
}

/// Makes the folder, 0700, or accepts it when it is a real folder.
fn folder_of_ours(path: &Path) -> Result<(), BlobError> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = fs::symlink_metadata(path).map_err(BlobError::io("look at", path))?;
            if metadata.is_dir() {
                return Ok(());
            }
            Err(BlobError::NotAFolder {
                path: path.display().to_string(),
            })
        }
        Err(error) => Err(BlobError::io("make", path)(error)),
    }
}

fn list(folder: &Path, prefix: &str) -> Result<Vec<BlobInfo>, BlobError> {
    let mut blobs = Vec::new();
    for entry in fs::read_dir(folder).map_err(BlobError::io("read", folder))? {
        let entry = entry.map_err(BlobError::io("read", folder))?;
        let name = entry.file_name();
        let digest = name
            .to_str()
            .and_then(|rest| format!("sha256:{prefix}{rest}").parse().ok());
        let (Some(digest), Ok(metadata)) = (digest, entry.metadata()) else {
            continue;
        };
        if metadata.is_file() {
            blobs.push(BlobInfo {
                digest,
                size: metadata.len(),
                modified_at: modified_at(&metadata),
            });
        }
    }
    Ok(blobs)
}

fn modified_at(metadata: &fs::Metadata) -> i64 {
    let age = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    age.and_then(|age| i64::try_from(age.as_millis()).ok())
        .unwrap_or(0)
}

fn bits(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// File systems block; the threads that serve connections must not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BlobError> + Send + 'static,
) -> Result<T, BlobError> {
    spawn_blocking(work).await.unwrap_or_else(|error| {
        let attempt = "finish the work on";
        Err(BlobError::Io {
            attempt,
            path: "a blob".into(),
            source: io::Error::other(error),
        })
    })
}
