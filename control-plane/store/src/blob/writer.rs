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
    temporary: Temporary,
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
    pub(super) async fn begin(
        inner: Arc<Inner>,
        limit: u64,
        expected: Option<Digest>,
    ) -> Result<Self, BlobError> {
        let path = inner.temporary();
        let temporary = blocking(move || {
            let file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .custom_flags(bits(OFlags::NOFOLLOW))
                .open(&path)
                .map_err(BlobError::io("make", &path))?;
            write_point("server.blob", "created");
            Ok(Temporary {
                path,
                file: Some(file),
            })
        })
        .await?;
        let context = Context::new(&SHA256);
        Ok(Self {
            inner,
            temporary,
            limit,
            expected,
            size: 0,
            context,
            buffer: Vec::new(),
        })
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
    pub async fn finish(mut self) -> Result<Blob, BlobError> {
        self.flush().await?;
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.context.finish().as_ref());
        let digest = Digest::from_bytes(bytes);
        if let Some(expected) = self.expected.filter(|expected| *expected != digest) {
            return Err(BlobError::WrongDigest {
                expected,
                found: digest,
            });
        }
        let (inner, temporary) = (self.inner, self.temporary);
        blocking(move || keep(&inner, temporary, &digest)).await?;
        Ok(Blob {
            digest,
            size: self.size,
        })
    }

    async fn flush(&mut self) -> Result<(), BlobError> {
        let Some(file) = &self.temporary.file else {
            return Ok(());
        };
        let path = self.temporary.path.clone();
        let mut file = file.try_clone().map_err(BlobError::io("write", &path))?;
        let buffer = std::mem::take(&mut self.buffer);
        self.buffer = blocking(move || {
            file.write_all(&buffer).map_err(BlobError::io("write", &path))?;
            let mut buffer = buffer;
            buffer.clear();
            Ok(buffer)
        })
        .await?;
        Ok(())
    }
}

fn keep(inner: &Inner, mut temporary: Temporary, digest: &Digest) -> Result<(), BlobError> {
    write_point("server.blob", "written");
    if let Some(file) = &temporary.file {
        file.sync_all().map_err(BlobError::io("sync", &temporary.path))?;
    }
    write_point("server.blob", "synced");
    let path = inner.path(digest);
    // Over an equal file, if there is one: the content is the same.
    fs::rename(&temporary.path, &path).map_err(BlobError::io("rename to", &path))?;
    temporary.file = None;
    write_point("server.blob", "renamed");
    sync(path.parent().unwrap_or(&inner.kept))?;
    write_point("server.blob", "settled");
    Ok(())
}
