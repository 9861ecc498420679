//! The join token of a node: in a private file, read when it is needed and kept nowhere else.

use muster_daemon::secret::{SecretError, SecretFile};
use muster_ids::Digest;
use muster_pki::join::{JoinToken, TokenError};

use crate::config::Join;

/// Why a token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// The file.
    #[error("cannot read the join token (--token-file, join.token_file)")]
    File(#[from] SecretError),
    /// Its content.
    #[error("cannot use the join token in {}", .path.display())]
    Token {
        /// Which file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: TokenError,
    },
    /// Two proofs that contradict each other.
    #[error(
        "the join token is for another collective than the one that join.ca_fingerprint (--ca-fingerprint) pins; one of both is wrong"
    )]
    OtherCa,
}

/// The token in `file`.
pub(super) fn read(file: &SecretFile) -> Result<JoinToken, TokenFileError> {
    use std::str::FromStr as _;
    let bytes = file.read_bytes()?;
    let text = std::str::from_utf8(&bytes).map_err(|_| TokenError);
    text.and_then(JoinToken::from_str)
        .map_err(|source| TokenFileError::Token {
            path: file.path().to_owned(),
            source,
        })
}

/// What proves the control plane to this node: its pins, its token, or those that both name.
pub fn pins(join: &Join) -> Result<Vec<Digest>, TokenFileError> {
    let Some(file) = &join.token_file else {
        return Ok(join.ca_fingerprint.clone());
    };
    let token = read(file)?;
    let mut pins = token.roots().to_vec();
    if !join.ca_fingerprint.is_empty() {
        pins.retain(|root| join.ca_fingerprint.contains(root));
        if pins.is_empty() {
            return Err(TokenFileError::OtherCa);
        }
    }
    Ok(pins)
}
