//! Who this node is: its key, and how far its join is, in one file.
//!
//! ```text
//!   (no file) ──new──► Joining ──issued, CA proved──────► Trusted ──certificate over──► Joining (same key)
//!                        │  ▲ └──issued, CA not proved──► Unconfirmed ──confirm──► Trusted
//!                        │  └── a new exchange
//!                        └──rejected──► Rejected
//!
//!   Trusted ──key made──► Trusted, with the next key ──certificate for it──► Trusted, under that key
//! ```
//!
//! Invariant: at every moment, also after a crash, the file holds one whole state that the node was in, readable
//! by its owner only. A damaged file is moved aside and said; it never becomes a new identity by itself.

mod form;
mod stage;

use std::{fmt, fs, path::PathBuf};

use muster_daemon::file::{self, Access, FileError, crash_point};
use muster_ids::Digest;
use muster_pki::{KeyError, KeyUse, Signer as _, SoftwareSigner};
use zeroize::Zeroizing;

use crate::home::Home;

pub use stage::{Exchange, Joining, Member, Rejected, Stage};

/// The longest identity, in bytes. Real ones have a few KiB; an offer has at most 32 KiB.
const MAX_FILE: u64 = 512 * 1024;

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The file cannot be read or written, or others could have.
    #[error("cannot use the identity of this node")]
    File(#[from] FileError),
    /// The file is not what was written.
    #[error("the identity of this node was damaged ({why}) and was moved to {}; put a backup of it back in place, or run muster-node join to join anew", moved.display())]
    Damaged {
        /// What is wrong.
        why: String,
        /// Where it lies now.
        moved: PathBuf,
    },
    /// It is damaged and cannot be moved aside.
    #[error("the identity of this node is damaged ({why}) and cannot be moved aside from {}", path.display())]
    Stuck {
        /// What is wrong.
        why: String,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It was written by a later version.
    #[error("the identity {} has format {found}, which this version does not know; update muster-node", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// No key could be made.
    #[error("cannot make a key for this node")]
    Key(#[from] KeyError),
    /// No request could be made.
    #[error("cannot make a certificate request for this node")]
    Request(#[from] muster_pki::csr::RequestError),
}

impl CredentialsError {
    /// Whether there was no room for a change: the old state stands, and the same change may work later.
    pub fn is_full_disk(&self) -> bool {
        matches!(self, Self::File(error) if error.is_full_disk())
    }
}

/// The key of a node and its stage, as they are on disk.
pub struct Credentials {
    path: PathBuf,
    key: SoftwareSigner,
    stage: Stage,
    next: Option<Next>,
}

/// The key that a renewal asks a certificate for. It is on disk before it is asked for, so that a crash never makes
/// this node ask with another one.
pub struct Next {
    /// The key.
    pub key: SoftwareSigner,
    /// The request (PKCS#10 DER) that is sent until it is answered.
    pub csr: Vec<u8>,
    /// When the key was made, milliseconds since 1970, UTC.
    pub begun: i64,
}

impl Credentials {
    /// Makes a new key and stores it with a join that has not begun yet.
    pub fn create(home: &Home, joining: Joining) -> Result<Self, CredentialsError> {
        let credentials = Self {
            path: home.identity(),
            key: SoftwareSigner::generate(KeyUse::Tls)?,
            stage: Stage::Joining(joining),
            next: None,
        };
        credentials.store("join.key")?;
        Ok(credentials)
    }

    /// What is on disk; `None` where nothing is. A damaged file is moved aside under a name that `now_ms` is
    /// part of.
    pub fn load(home: &Home, now_ms: i64) -> Result<Option<Self>, CredentialsError> {
        Self::read(home).map_err(|problem| match problem {
            Problem::Refused(error) => error,
            Problem::Damaged(why) => {
                let path = home.identity();
                let moved = path.with_file_name(format!("identity.json.damaged-{now_ms}"));
                match fs::rename(&path, &moved) {
                    Ok(()) => CredentialsError::Damaged { why, moved },
                    Err(source) => CredentialsError::Stuck { why, path, source },
                }
            }
        })
    }

    /// What is on disk, for a program that only looks: a damaged file stays where it is.
    pub fn peek(home: &Home) -> Result<Option<Self>, CredentialsError> {
        Self::read(home).map_err(|problem| match problem {
            Problem::Refused(error) => error,
            Problem::Damaged(why) => CredentialsError::Damaged {
                why,
                moved: home.identity(),
            },
        })
    }

    fn read(home: &Home) -> Result<Option<Self>, Problem> {
        let path = home.identity();
        let bytes = match file::read(&path, Access::Private, MAX_FILE) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error @ FileError::TooLong { .. }) => return Err(Problem::Damaged(error.to_string())),
            Err(error) => return Err(Problem::Refused(error.into())),
        };
        let read = match form::read(&bytes) {
            Ok(content) => content,
            Err(form::FormError::Version(found)) => {
                return Err(Problem::Refused(CredentialsError::Version { path, found }));
            }
            Err(error) => return Err(Problem::Damaged(error.to_string())),
        };
        let signer = |key: &[u8]| {
            SoftwareSigner::from_pkcs8(key, KeyUse::Tls).map_err(|error| Problem::Damaged(error.to_string()))
        };
        let next = match read.next {
            Some((key, csr, begun)) => Some(Next {
                key: signer(&key)?,
                csr,
                begun,
            }),
            None => None,
        };
        Ok(Some(Self {
            path,
            key: signer(&read.key)?,
            stage: read.stage,
            next,
        }))
    }

    /// The key.
    pub fn key(&self) -> &SoftwareSigner {
        &self.key
    }

    /// What people compare: the digest of the public key.
    pub fn fingerprint(&self) -> Digest {
        self.key.public_key().fingerprint()
    }

    /// How far the join is.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    /// The membership that may be used, if there is one.
    pub fn trusted(&self) -> Option<&Member> {
        match &self.stage {
            Stage::Trusted(member) => Some(member),
            _ => None,
        }
    }

    /// The key that is to be certified next, while a renewal is under way.
    pub fn next(&self) -> Option<&Next> {
        self.next.as_ref()
    }

    /// Makes the next key at `now_ms` and stores it; the one that is there already is kept.
    pub async fn begin_renewal(&mut self, now_ms: i64) -> Result<(), CredentialsError> {
        if self.next.is_some() {
            return Ok(());
        }
        let key = SoftwareSigner::generate(KeyUse::Tls)?;
        let csr = muster_pki::csr::request(&key).await?;
        self.next = Some(Next {
            key,
            csr,
            begun: now_ms,
        });
        self.store("renew.key").inspect_err(|_| self.next = None)
    }

    /// Stores that the next key was certified as `member`, and goes over to it. Without a renewal under way nothing
    /// happens. When this fails, key and membership stay as they were, here and on disk.
    pub fn finish_renewal(&mut self, member: Member) -> Result<(), CredentialsError> {
        let Some(next) = self.next.take() else {
            return Ok(());
        };
        let begun = next.begun;
        let csr = next.csr;
        let key = std::mem::replace(&mut self.key, next.key);
        let stage = std::mem::replace(&mut self.stage, Stage::Trusted(member));
        self.store("renew.certificate").inspect_err(|_| {
            let next = std::mem::replace(&mut self.key, key);
            self.stage = stage;
            self.next = Some(Next {
                key: next,
                csr,
                begun,
            });
        })
    }

    /// Stores that the membership has other roots; a renewal that is under way goes on.
    pub fn exchange_roots(&mut self, member: Member) -> Result<(), CredentialsError> {
        let before = std::mem::replace(&mut self.stage, Stage::Trusted(member));
        self.store("roots").inspect_err(|_| self.stage = before)
    }

    /// Goes over to `stage` durably, and forgets a renewal that was under way. `name` begins the names of the write points; the point `name.stored`
    /// follows them. When this fails, the old stage stays, here and on disk.
    pub fn advance(&mut self, stage: Stage, name: &str) -> Result<(), CredentialsError> {
        let before = std::mem::replace(&mut self.stage, stage);
        let next = self.next.take();
        self.store(name).inspect_err(|_| {
            self.stage = before;
            self.next = next;
        })
    }

    fn store(&self, name: &str) -> Result<(), CredentialsError> {
        let next = match &self.next {
            Some(next) => Some((next.key.to_pkcs8()?, next)),
            None => None,
        };
        let next = next.as_ref().map(|(key, next)| (key.as_slice(), *next));
        let bytes = form::write(&self.key.to_pkcs8()?, &self.stage, next);
        file::write(&self.path, &bytes, 0o600, name)?;
        crash_point(&format!("{name}.stored"));
        Ok(())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("fingerprint", &self.fingerprint())
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

enum Problem {
    /// Nothing is wrong with the content as far as is known.
    Refused(CredentialsError),
    /// The content is not what was written.
    Damaged(String),
}

#[cfg(test)]
mod tests;
