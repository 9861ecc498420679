//! The trust state on disk: the signed head with all entries, verified again whenever it is read.

use std::{error::Error, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_code_trust::StateVersion;
use muster_daemon::file::{self, Access, FileError};
use muster_wire::node::v1::{
    Envelope,
    trust_state::{TrustHead, TrustStateReply},
};

use super::Held;

/// The longest state, in bytes; the entries of a large collective have some MiB.
const MAX_FILE: u64 = 256 * 1024 * 1024;

/// What is stored; `None` where there is nothing readable.
pub(super) fn read(path: &Path) -> Option<TrustStateReply> {
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

/// The version that a stored state claims, without verification: it can only make the node stricter.
pub(super) fn claimed_version(reply: &TrustStateReply) -> Option<StateVersion> {
    let payload = STANDARD.decode(reply.head.get("payload")?.as_str()?).ok()?;
    let head: TrustHead = serde_json::from_slice(&payload).ok()?;
    Some(super::version(&head.version))
}

/// Stores a state with the head that signs it.
pub(super) fn write(path: &Path, head: &Envelope, held: &Held) -> Result<(), FileError> {
    let entries = held
        .state
        .pairs()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let reply = TrustStateReply {
        head: head.clone(),
        entries: Some(entries),
        changes: None,
    };
    let bytes = serde_json::to_vec(&reply).expect("every map has text for keys");
    file::write(path, &bytes, 0o600, "trust.state")
}

/// An error with its causes in one line.
pub(super) fn chain(error: &dyn Error) -> String {
    crate::sentence(error)
}
