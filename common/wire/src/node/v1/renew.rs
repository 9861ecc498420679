//! Renewal of a node's certificate, over the back end.

use serde::{Deserialize, Serialize};

/// `POST`: [`Renew`], answered by [`Renewed`].
pub const RENEW_PATH: &str = "/node/v1/renew";

/// Asks for the next certificate of the node that the connection belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renew {
    /// PKCS#10, base64 of DER, for a key that this node has never used before. It is stored before it is asked for:
    /// the same key is always answered with the same certificate.
    pub csr: String,
    /// The generation of the certificate that the connection was opened with, as the node knows it.
    pub generation: u64,
}

/// The next certificate. It counts from its first use; until then the one before stays as good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Renewed {
    /// Leaf first, base64 of DER.
    pub chain: Vec<String>,
    /// Its generation.
    pub generation: u64,
}
