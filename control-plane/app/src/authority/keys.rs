//! Where the private keys of authorities are kept: the one door between use cases and files, or a device.

use std::sync::Arc;

use muster_ids::Digest;
use muster_pki::Signer;
use zeroize::Zeroizing;

use super::NewAuthority;
use crate::Error;

/// Keeps the keys of authorities, each under the fingerprint of its root.
pub trait AuthorityKeys: Send + Sync {
    /// Keeps the keys of a new authority durably. Nobody refers to them yet; kept twice is kept once.
    fn store(&self, new: &NewAuthority) -> Result<(), Error>;

    /// The key of the root; `None` where it was taken away, since nothing but a rotation, a new epoch and the renewal
    /// of the intermediate needs it.
    fn root(&self, root: &Digest) -> Result<Option<Arc<dyn Signer>>, Error>;

    /// The key of the issuing intermediate.
    fn issuing(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error>;

    /// The policy key.
    fn policy(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error>;

    /// `key` for the database, sealed so that it opens under this name only.
    fn seal(&self, name: &str, key: &[u8]) -> Vec<u8>;

    /// The key that was sealed under this name.
    fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error>;

    /// Destroys the keys of an authority that was revoked.
    fn forget(&self, root: &Digest) -> Result<(), Error>;
}

/// The root's key, or the sentence that says what is missing. `what` needs it.
pub(crate) fn root_key(
    keys: &dyn AuthorityKeys,
    root: &Digest,
    what: &str,
) -> Result<Arc<dyn Signer>, Error> {
    keys.root(root)?.ok_or_else(|| {
        Error::conflict(
            "root-key-missing",
            format!(
                "{what} is signed by the key of the root {root}, and that key is not here; bring it back with muster-server root-key import FILE, and take it away again afterwards"
            ),
        )
    })
}
