//! The root's key, taken away and brought back: nothing but rotations, new epochs and renewals of the intermediate
//! needs it.

use std::path::Path;

use anyhow::Context as _;
use muster_daemon::file::{self, Access};
use muster_ids::Digest;
use muster_pki::{AuthorityFacts, KeyUse, Signer as _, SoftwareSigner, pem};
use muster_store::Authority;
use zeroize::Zeroizing;

use super::{Keys, MAX_FILE, named, short};

/// What became of the file with the root's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootKeyFile {
    /// It is still among the keys.
    Kept,
    /// It is only where it was exported to.
    Removed,
}

impl Keys {
    /// Writes the key of `root` as PEM (PKCS#8) to `to`, which must not exist; with `remove`, takes it away from here.
    pub fn export_root(&self, root: &Digest, to: &Path, remove: bool) -> anyhow::Result<RootKeyFile> {
        let name = named(root, "root.key");
        let key = self
            .read_sealed(&name)?
            .with_context(|| format!("the key of the root {root} is not here: it was taken away before"))?;
        anyhow::ensure!(
            !to.exists(),
            "{} exists already; give the name of a new file",
            to.display()
        );
        file::write(
            to,
            pem::write_private_key(&key).as_bytes(),
            0o600,
            "root-key.export",
        )?;
        if !remove {
            return Ok(RootKeyFile::Kept);
        }
        file::remove(&self.folder.join(name))?;
        Ok(RootKeyFile::Removed)
    }

    /// Seals the key in `from` (PEM) among the keys of the authority whose root has it; which root that is.
    pub fn import_root(&self, authorities: &[Authority], from: &Path) -> anyhow::Result<Digest> {
        let bytes = Zeroizing::new(file::read(from, Access::Private, MAX_FILE)?);
        let key = pem::private_key(&bytes).with_context(|| format!("{} cannot be used", from.display()))?;
        let signer = SoftwareSigner::from_pkcs8(key.secret_der(), KeyUse::Authority)?;
        let mine = |authority: &&Authority| {
            authority.standing.state.is_accepted()
                && AuthorityFacts::of(&authority.root)
                    .is_ok_and(|facts| facts.public_key == *signer.public_key())
        };
        let root = authorities
            .iter()
            .find(mine)
            .with_context(|| format!("{} is not the key of a root of this collective", from.display()))?
            .standing
            .root;
        self.seal(&short(&root), "root.key", &signer.to_pkcs8()?)?;
        Ok(root)
    }
}
