//! A blob on its way in.

use std::{
    fs::{self, File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::Arc,
};

use aws_lc_rs::digest::{Context, SHA256};
use muster_daemon::file::write_point;
use muster_ids::Digest;
use rustix::fs::OFlags;

use super::{Blob, BlobError, Inner, bits, blocking, sync};

/// Bytes collected before they go to the file: fewer trips to the threads that may block.
const BUFFER: usize = 256 * 1024;

/// A blob on its way in. Dropping it before [`BlobWriter::finish`] leaves nothing.
pub struct BlobWriter {
    inner: Arc<Inner>,
    /// Not there before there is something to write: a small blob is made in one step.
    temporary: Option<Temporary>,
    limit: u64,
    expected: Option<Digest>,
    size: u64,
    context: Context,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for BlobWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlobWriter")
            .field("size", &self.size)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// A file that goes away unless it was renamed.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
    file: Option<File>,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if self.file.is_some() && fs::remove_file(&self.path).is_err() {
            tracing::debug!(path = %self.path.display(), "an interrupted upload stays until the next start");
        }
    }
}

impl BlobWriter {
    pub(super) fn begin(inner: Arc<Inner>, limit: u64, expected: Option<Digest>) -> Self {
        Self {
            inner,
            temporary: None,
            limit,
            expected,
            size: 0,
            context: Context::new(&SHA256),
            buffer: Vec::new(),
        }
    }

    /// Takes the next bytes. After an error the blob is lost; drop it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.size = self
            .size
            .saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.size > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.context.update(bytes);
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.flush().await?;
        }
        Ok(())
    }

    /// Checks the digest and keeps the blob; when this returns, it is on the disk.
    pub async fn finish(self) -> Result<Blob, BlobError> {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        let digest = Digest::from_bytes(bytes);
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(BlobError::WrongDigest {
                expected,
                found: digest,
            });
        }
        let (inner, mut temporary, buffer) = (self.inner, self.temporary, self.buffer);
        blocking(move || append(&inner, &mut temporary, &buffer)?.keep(&inner, &digest)).await?;
        Ok(Blob {
            digest,
            size: self.size,
        })
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        let inner = Arc::clone(&self.inner);
        let (mut temporary, mut buffer) = (self.temporary.take(), std::mem::take(&mut self.buffer));
        (self.temporary, self.buffer) = blocking(move || {
            append(&inner, &mut temporary, &buffer)?;
            buffer.clear();
            Ok((temporary, buffer))
        })
        .await?;
        Ok(())
    }
}

/// Writes `bytes` to the end of the file, which is made if it is not there.
fn append<'a>(
    inner: &Inner,
    temporary: &'a mut Option<Temporary>,
    bytes: &[u8],
) -> Result<&'a mut Temporary, BlobError> {
    let temporary = match temporary {
        Some(temporary) => temporary,
        None => temporary.insert(Temporary::make(inner.temporary())?),
    };
    if let Some(file) = &mut temporary.file {
        file.write_all(bytes)
            .map_err(BlobError::io("write", &temporary.path))?;
    }
    Ok(temporary)
}

impl Temporary {
    fn make(path: PathBuf) -> Result<Self, BlobError> {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(bits(OFlags::NOFOLLOW))
            .open(&path)
            .map_err(BlobError::io("make", &path))?;
        write_point("server.blob", "created");
        Ok(Self {
            path,
            file: Some(file),
        })
    }

    /// Gives it its name.
    fn keep(&mut self, inner: &Inner, digest: &Digest) -> Result<(), BlobError> {
        write_point("server.blob", "written");
        if let Some(file) = &self.file {
            file.sync_all().map_err(BlobError::io("sync", &self.path))?;
        }
        write_point("server.blob", "synced");
        let path = inner.path(digest);
        // Over an equal file, if there is one: the content is the same.
        fs::rename(&self.path, &path).map_err(BlobError::io("rename to", &path))?;
        self.file = None;
        write_point("server.blob", "renamed");
        sync(path.parent().unwrap_or(&inner.kept))?;
        write_point("server.blob", "settled");
        Ok(())
    }
}
