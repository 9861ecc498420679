//! Runs that the control plane does not know to have ended, on disk.
//!
//! ```text
//!   claimed ──► spool/<run>-<fence>/claim.json ──► blobs/<digest> … ──► outcome.json ──► acknowledged: removed
//!                    │
//!                    └─ the agent ended here ──► reported as failed after its next start
//! ```
//!
//! Invariant: from the claim to the acknowledgement there is always either a claim or an outcome on disk, so each
//! claimed run is reported with exactly one outcome, however often it is sent. Both begin with their digest, and
//! what a power cut has left unfinished is none: without an outcome the claim counts, without a claim nothing was started.

use std::{
    fs::{self, DirBuilder, File},
    io::{self, Read as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use aws_lc_rs::digest::{Context, SHA256};
use muster_daemon::file::{self, Access, FileError, crash_point};
use muster_ids::{Digest, RunId};
use muster_wire::node::v1::{control::Claimed, outcome::Outcome, run::RunGrant};
use serde::{Deserialize, Serialize};

use crate::sentence;

/// The longest claim or outcome, in bytes; a grant has at most 1 MiB.
const MAX_FILE: u64 = 8 * 1024 * 1024;

/// How the names of folders begin that are no longer needed.
const DONE: &str = "done-";

/// Why the spool does not work.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file could not be read or written.
    #[error("cannot keep the results of a run")]
    File(#[from] FileError),
    /// A folder could not be read, made or removed.
    #[error("cannot {attempt} {} in the spool of this node", path.display())]
    Folder {
        /// What was attempted.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What is there is not what was written.
    #[error("{} is damaged; move it away, and tell the administrator that the run {run} has no result", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The run.
        run: String,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// A claimed run as the agent needs it after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Claim {
    /// What was granted; it was verified when it came.
    pub grant: RunGrant,
    /// Digest of the grant's signed bytes.
    pub digest: Digest,
    /// When it was claimed, milliseconds since 1970, UTC.
    pub claimed_at: i64,
}

/// How far a run is.
#[derive(Debug, Clone)]
pub enum Progress {
    /// Claimed, without an outcome.
    InFlight(Box<Claim>),
    /// Ended, to be reported.
    Ended(Box<Outcome>),
}

/// One run of the spool.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The run.
    pub run: RunId,
    /// The claim's fence.
    pub fence: i64,
    /// How far it is.
    pub progress: Progress,
}

/// The spool of one node.
#[derive(Debug, Clone)]
pub struct Spool(PathBuf);

impl Spool {
    /// The spool in `folder`, which is made where it is missing; removes what was acknowledged already.
    pub fn open(folder: &Path) -> Result<Self, SpoolError> {
        file::create_folder(folder)?;
        let spool = Self(folder.to_owned());
        for (path, name) in spool.folders()? {
            if name.starts_with(DONE) {
                remove_tree(&path)?;
            } else {
                file::sweep(&path)?;
                if let Some((run, fence)) = parse(&name) {
                    spool.settle_end(run, fence)?;
                }
                // A claim that was not finished was never started; its name alone must not keep the lease alive.
                if matches!(progress(&path, &name), Ok(None)) {
                    remove_tree(&path)?;
                }
            }
        }
        Ok(spool)
    }

    /// Stores that a run was claimed; nothing of it may be started before. What cannot be stored is not claimed: nothing of
    /// it stays, for its name alone would keep the lease alive.
    pub fn claim(&self, claim: &Claim) -> Result<(), SpoolError> {
        let (run, fence) = (claim.grant.run, claim.grant.fence);
        self.store(claim).inspect_err(|_| {
            if let Err(error) = self.remove(run, fence) {
                tracing::error!(%run, error = %sentence(&error), "a claim that was not stored cannot be removed");
            }
        })
    }

    fn store(&self, claim: &Claim) -> Result<(), SpoolError> {
        let folder = self.folder(claim.grant.run, claim.grant.fence);
        // The sync of the claim settles their names too.
        Self::make(&folder.join("blobs"))?;
        let path = folder.join("claim.json");
        // Named before it is synced: one write of the file system's journal serves both.
        file::place(&path, &sealed(claim), 0o600, "run.claim")?;
        file::settle(&path, "run.claim")?;
        crash_point("run.claimed");
        Ok(())
    }

    /// Where the blobs of a claimed run are put, each under its [`Digest::hex`].
    pub fn blobs(&self, run: RunId, fence: i64) -> PathBuf {
        self.folder(run, fence).join("blobs")
    }

    /// The file of one blob.
    pub fn blob(&self, run: RunId, fence: i64, digest: &Digest) -> PathBuf {
        self.blobs(run, fence).join(digest.hex())
    }

    /// Stores bytes as a blob, durably.
    pub fn put(&self, run: RunId, fence: i64, bytes: &[u8]) -> Result<Digest, SpoolError> {
        let digest = Digest::of(bytes);
        file::write(&self.blob(run, fence, &digest), bytes, 0o600, "run.blob")?;
        Ok(digest)
    }

    /// Takes over a finished file as a blob, without holding it in memory; durable after [`settle`](Self::settle).
    /// Blocks while it reads.
    pub fn adopt(&self, run: RunId, fence: i64, path: &Path) -> Result<(Digest, u64), SpoolError> {
        let failed = failed("take over", path);
        let (digest, size) = digest_of_file(path).map_err(&failed)?;
        fs::rename(path, self.blob(run, fence, &digest)).map_err(&failed)?;
        Ok((digest, size))
    }

    /// The whole of a small finished file, which stays where it is.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, SpoolError> {
        fs::read(path).map_err(failed("take over", path))
    }

    /// Makes the blobs durable that were taken over.
    pub fn settle<'a>(
        &self,
        run: RunId,
        fence: i64,
        blobs: impl IntoIterator<Item = &'a Digest>,
    ) -> Result<(), SpoolError> {
        let mut any = false;
        let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
        for digest in blobs {
            let path = self.blob(run, fence, digest);
            sync(&path).map_err(failed("settle", &path))?;
            any = true;
        }
        if any {
            let folder = self.blobs(run, fence);
            sync(&folder).map_err(failed("settle", &folder))?;
        }
        Ok(())
    }

    /// Where the inputs of a run lie and its engine works.
    pub fn work(&self, run: RunId, fence: i64) -> Result<PathBuf, SpoolError> {
        let folder = self.folder(run, fence).join("work");
        // After a crash nobody misses it.
        Self::make(&folder)?;
        Ok(folder)
    }

    /// Makes a folder of a run.
    fn make(folder: &Path) -> Result<(), SpoolError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|source| SpoolError::Folder {
            attempt: "make",
            path: folder.to_owned(),
            source,
        })
    }

    /// Stores how a run ended, after its blobs.
    pub fn end(&self, run: RunId, outcome: &Outcome) -> Result<(), SpoolError> {
        self.note_end(run, outcome)?;
        self.settle_end(run, outcome.fence)
    }

    /// Notes how a run ended; no crash of this process undoes it, and [`settle_end`](Self::settle_end) makes it survive
    /// one of the machine.
    pub fn note_end(&self, run: RunId, outcome: &Outcome) -> Result<(), SpoolError> {
        let path = self.outcome(run, outcome.fence);
        file::place(&path, &sealed(outcome), 0o600, "run.outcome")?;
        crash_point("run.spooled");
        Ok(())
    }

    /// Makes durable how a run ended, unless that was acknowledged meanwhile.
    pub fn settle_end(&self, run: RunId, fence: i64) -> Result<(), SpoolError> {
        Ok(file::settle(&self.outcome(run, fence), "run.outcome")?)
    }

    fn outcome(&self, run: RunId, fence: i64) -> PathBuf {
        self.folder(run, fence).join("outcome.json")
    }

    /// Gives up what a run has left here, outputs and logs, so that there is room to say so. Its claim stays.
    pub fn discard(&self, run: RunId, fence: i64) -> Result<(), SpoolError> {
        let folder = self.folder(run, fence);
        for part in ["work", "blobs"] {
            remove_tree(&folder.join(part))?;
        }
        Ok(())
    }

    /// Forgets a run: it was acknowledged, or handed back unstarted.
    pub fn remove(&self, run: RunId, fence: i64) -> Result<(), SpoolError> {
        let folder = self.folder(run, fence);
        let done = self.0.join(format!("{DONE}{run}-{fence}"));
        // In one step: half a removal must not look like a run in flight.
        match fs::rename(&folder, &done) {
            Ok(()) => remove_tree(&done),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(SpoolError::Folder {
                attempt: "remove",
                path: folder,
                source,
            }),
        }
    }

    /// All runs, the oldest first.
    pub fn entries(&self) -> Result<Vec<Entry>, SpoolError> {
        let mut entries = Vec::new();
        for (path, name) in self.folders()? {
            let Some((run, fence)) = parse(&name) else {
                continue;
            };
            if let Some(progress) = progress(&path, &name)? {
                entries.push(Entry { run, fence, progress });
            }
        }
        entries.sort_by_key(|entry| (entry.run, entry.fence));
        Ok(entries)
    }

    /// The run of this claim as it is on disk now.
    pub fn entry(&self, run: RunId, fence: i64) -> Result<Option<Entry>, SpoolError> {
        let mut entries = self.entries()?.into_iter();
        Ok(entries.find(|entry| (entry.run, entry.fence) == (run, fence)))
    }

    /// The claims that the control plane should keep for this node.
    pub fn claims(&self) -> Vec<Claimed> {
        let folders = self.folders().unwrap_or_default();
        folders
            .iter()
            .filter_map(|(_, name)| parse(name))
            .map(|(run, fence)| Claimed { run, fence })
            .collect()
    }

    /// Whether nothing is left to report.
    pub fn is_empty(&self) -> bool {
        self.claims().is_empty()
    }

    fn folder(&self, run: RunId, fence: i64) -> PathBuf {
        self.0.join(format!("{run}-{fence}"))
    }

    fn folders(&self) -> Result<Vec<(PathBuf, String)>, SpoolError> {
        let failed = |source| SpoolError::Folder {
            attempt: "list",
            path: self.0.clone(),
            source,
        };
        let mut folders = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().into_string() {
                folders.push((entry.path(), name));
            }
        }
        Ok(folders)
    }
}

/// What the folder of a run holds; `None` where the claim itself was not finished: then nothing was started.
fn progress(folder: &Path, name: &str) -> Result<Option<Progress>, SpoolError> {
    if let Some(outcome) = read(&folder.join("outcome.json"), name)? {
        return Ok(Some(Progress::Ended(Box::new(outcome))));
    }
    let claim: Option<Claim> = read(&folder.join("claim.json"), name)?;
    Ok(claim.map(|claim| Progress::InFlight(Box::new(claim))))
}

/// As JSON, behind its digest.
fn sealed(value: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("every map of a claim or an outcome has text for keys");
    [Digest::of(&json).hex().as_bytes(), b"\n", &json].concat()
}

/// The JSON in a file that is whole.
fn finished(bytes: &[u8]) -> Option<&[u8]> {
    // Agents of before wrote it without a digest, and named it once it was synced.
    if bytes.starts_with(b"{") {
        return Some(bytes);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    let (digest, json) = (&bytes[..end], &bytes[end + 1..]);
    (Digest::of(json).hex().as_bytes() == digest).then_some(json)
}

fn read<T: serde::de::DeserializeOwned>(path: &Path, run: &str) -> Result<Option<T>, SpoolError> {
    let bytes = match file::read(path, Access::Private, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let Some(json) = finished(&bytes) else {
        tracing::warn!(path = %path.display(), "not finished before the machine went down");
        return Ok(None);
    };
    serde_json::from_slice(json)
        .map(Some)
        .map_err(|source| SpoolError::Damaged {
            path: path.to_owned(),
            run: run.to_owned(),
            source,
        })
}

/// The error of a step that the system refused.
fn failed(attempt: &'static str, path: &Path) -> impl Fn(io::Error) -> SpoolError {
    move |source| SpoolError::Folder {
        attempt,
        path: path.to_owned(),
        source,
    }
}

fn parse(name: &str) -> Option<(RunId, i64)> {
    let (run, fence) = name.rsplit_once('-')?;
    Some((run.parse().ok()?, fence.parse().ok()?))
}

fn digest_of_file(path: &Path) -> io::Result<(Digest, u64)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut chunk = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        size += count as u64;
        context.update(&chunk[..count]);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok((Digest::from_bytes(digest), size))
}

fn remove_tree(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_dir_all(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(SpoolError::Folder {
            attempt: "remove",
            path: path.to_owned(),
            source,
        }),
    }
}

#[cfg(test)]
mod tests;
