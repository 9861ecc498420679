//! The trust state on disk: the signed head with all entries, verified again whenever it is read.

use std::{collections::BTreeMap, error::Error, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::{Line, StateVersion};
use muster_daemon::file::{self, Access, FileError};
use muster_wire::node::v1::{
    Envelope,
    epoch::KnownState,
    trust_state::{TrustHead, TrustStateReply},
};
use serde::{Deserialize, Serialize};

use super::Held;

/// The longest state, in bytes; the entries of a large collective have some MiB.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What is stored.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Stored {
    /// The signed head.
    head: Envelope,
    /// The state that it signs.
    entries: BTreeMap<String, String>,
    /// The bump that led to its epoch.
    #[serde(default)]
    bump: Option<Envelope>,
    /// The lines that were seen, oldest first.
    #[serde(default)]
    pub(super) lines: Vec<Line>,
}

/// [`Stored`] as it is written: a state may have many entries, and is written with every change.
#[derive(Serialize)]
struct Storing<'a> {
    head: &'a Envelope,
    entries: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bump: Option<&'a Envelope>,
    lines: &'a [Line],
}

impl Stored {
    /// As it came, to be verified again.
    pub(super) fn reply(&self) -> TrustStateReply {
        TrustStateReply {
            head: self.head.clone(),
            entries: Some(self.entries.clone()),
            changes: None,
            bump: None,
        }
    }

    /// The version that it claims, without verification: it can only make the node stricter.
    pub(super) fn claimed_version(&self) -> Option<StateVersion> {
        let payload = STANDARD.decode(self.head.get("payload")?.as_str()?).ok()?;
        let head: TrustHead = serde_json::from_slice(&payload).ok()?;
        Some(super::version(&head.version))
    }

    /// As it is handed in when an epoch begins.
    pub(super) fn known(self) -> KnownState {
        KnownState {
            head: self.head,
            entries: self.entries,
        }
    }

    /// The bump that led to its epoch.
    pub(super) fn bump(&self) -> Option<Envelope> {
        self.bump.clone()
    }
}

/// What is stored; `None` where there is nothing readable.
pub(super) fn read(path: &Path) -> Option<Stored> {
    let bytes = match file::read(path, Access::Private, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.is_not_found() => return None,
        Err(error) => {
            tracing::warn!(error = %chain(&error), "the stored trust state cannot be read; it will be fetched");
            return None;
        }
    };
    serde_json::from_slice(&bytes)
        .inspect_err(|error| tracing::warn!(%error, "the stored trust state is damaged; it will be fetched"))
        .ok()
}

/// Stores a state with the head that signs it, the bump that led to its epoch, and the lines that were seen.
pub(super) fn write(
    path: &Path,
    head: &Envelope,
    held: &Held,
    bump: Option<&Envelope>,
    lines: &[Line],
) -> Result<(), FileError> {
    let entries = held.state.pairs().collect();
    let stored = Storing {
        head,
        entries,
        bump,
        lines,
    };
    let bytes = serde_json::to_vec(&stored).expect("every map has text for keys");
    file::write(path, &bytes, 0o600, "trust.state")
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    crate::sentence(error)
}
