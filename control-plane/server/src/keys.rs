//! Keys of this control plane on disk: the only file that knows their paths.
//!
//! ```text
//! keys/master.key                      seals the others, unless the master key lies elsewhere
//! keys/root.pem                        the roots that are accepted now, for people and their programs
//! keys/<16 digits of the root>/        one authority: root.key, issuing.key, policy.key, sealed, with certificates
//! keys/front-end.key, .pem, .names     the front end's own, where the collective issued it; the key is sealed
//! ```
//!
//! Invariant: no private key lies on disk unsealed; files are 0600 in folders of 0700 and are written whole or not at
//! all. Which authority is active stands in the database; a folder that it does not name is of no effect.

mod older;
mod root_key;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use muster_app::{
    Error,
    authority::{AuthorityKeys, NewAuthority},
};
use muster_daemon::{
    file::{self, Access},
    random::Random,
    seal::{self, MasterKey},
    secret::SecretFile,
};
use muster_ids::Digest;
use muster_pki::{CertificateDer, KeyUse, Roots, Signer, SoftwareSigner, pem};
use zeroize::Zeroizing;

use crate::{
    config::Config,
    pkcs11::{Pkcs11Signer, TokenKey},
};

pub use root_key::RootKeyFile;

/// Larger than any file here.
const MAX_FILE: u64 = 64 * 1024;
/// Where the master key lies unless it lies elsewhere.
const MASTER: &str = "master.key";

/// The folder of keys, with the key that opens them.
pub struct Keys {
    folder: PathBuf,
    master: MasterKey,
    random: Random,
    /// Where an issuing key is that is no file.
    token: Option<TokenKey>,
}

impl Keys {
    /// Whether `init` has been here; an error where this user may not look.
    pub fn exist(state_dir: &Path) -> anyhow::Result<bool> {
        folder(state_dir).try_exists().with_context(|| {
            format!(
                "{} cannot be looked into; run this as the user of the service",
                state_dir.display()
            )
        })
    }

    /// The keys of this configuration.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let folder = folder(&config.state_dir);
        let secret = config
            .master_key
            .clone()
            .unwrap_or_else(|| SecretFile::at(folder.join(MASTER)));
        let master = secret.read_key().with_context(
            || "the master key of the control plane cannot be read; restore it, or say in [keys] master_key_file where it is",
        )?;
        Ok(Self {
            folder,
            master,
            random: Random::system(),
            token: config.issuing_key.clone(),
        })
    }

    /// The folder of a new collective; with a new master key, unless there is one or it lies elsewhere.
    pub fn create(config: &Config) -> anyhow::Result<Self> {
        let (folder, random) = (folder(&config.state_dir), Random::system());
        file::create_folder(&folder)?;
        if config.master_key.is_none() && !folder.join(MASTER).exists() {
            let master = Zeroizing::new(random.bytes::<32>());
            let keys = Self {
                folder,
                master,
                random,
                token: None,
            };
            keys.write("", "master.key", keys.master.as_slice())?;
            return Ok(keys);
        }
        Self::open(config)
    }

    /// What encrypts the small secrets in the database.
    pub fn master_key(&self) -> &MasterKey {
        &self.master
    }

    /// Writes the roots that are accepted now to where people look for them.
    pub fn write_roots(&self, roots: &Roots) -> anyhow::Result<()> {
        let pem = pem::write_certificates(roots.certificates());
        let path = self.folder.join("root.pem");
        let same = file::read(&path, Access::Any, MAX_FILE).is_ok_and(|before| before == pem.as_bytes());
        if !same {
            self.write("", "root.pem", pem.as_bytes())?;
        }
        Ok(())
    }

    /// The front end's certificates and key that the collective issued for these names, if they are here.
    pub fn front_end(&self, names: &str) -> Option<(Vec<CertificateDer<'static>>, SoftwareSigner)> {
        let kept = file::read(&self.folder.join("front-end.names"), Access::Private, MAX_FILE);
        if kept.ok()? != names.as_bytes() {
            return None;
        }
        let chain = file::read(&self.folder.join("front-end.pem"), Access::Any, MAX_FILE).ok()?;
        let key = self.read_sealed("front-end.key").ok()??;
        Some((
            pem::certificates(&chain).ok()?,
            SoftwareSigner::from_pkcs8(&key, KeyUse::Tls).ok()?,
        ))
    }

    /// Keeps the front end's certificates and key.
    pub fn keep_front_end(
        &self,
        names: &str,
        chain: &[CertificateDer<'static>],
        key: &SoftwareSigner,
    ) -> anyhow::Result<()> {
        self.seal("", "front-end.key", &key.to_pkcs8()?)?;
        self.write("", "front-end.pem", pem::write_certificates(chain).as_bytes())?;
        self.write("", "front-end.names", names.as_bytes())
    }

    /// The one place that makes the signer of an issuing intermediate.
    fn issuing_signer(&self, root: &Digest) -> anyhow::Result<Arc<dyn Signer>> {
        match (self.read_sealed(&named(root, "issuing.key"))?, &self.token) {
            (Some(key), _) => Ok(Arc::new(SoftwareSigner::from_pkcs8(&key, KeyUse::Authority)?)),
            (None, Some(token)) => {
                let signer = Pkcs11Signer::open(token);
                Ok(Arc::new(signer.with_context(
                    || "the issuing key in the PKCS#11 token cannot be used",
                )?))
            }
            (None, None) => anyhow::bail!(self.missing(root, "issuing.key")),
        }
    }

    /// The issuing key in the file of an authority, with the file.
    pub fn issuing_file(&self, root: &Digest) -> anyhow::Result<(PathBuf, SoftwareSigner)> {
        let name = named(root, "issuing.key");
        let key = self.read_sealed(&name)?;
        let key = key.with_context(|| self.missing(root, "issuing.key"))?;
        let signer = SoftwareSigner::from_pkcs8(&key, KeyUse::Authority)?;
        Ok((self.folder.join(name), signer))
    }

    fn policy_signer(&self, root: &Digest) -> anyhow::Result<Arc<dyn Signer>> {
        let key = self.read_sealed(&named(root, "policy.key"))?;
        let key = key.with_context(|| self.missing(root, "policy.key"))?;
        Ok(Arc::new(SoftwareSigner::from_pkcs8(&key, KeyUse::Policy)?))
    }

    fn root_signer(&self, root: &Digest) -> anyhow::Result<Option<Arc<dyn Signer>>> {
        let Some(key) = self.read_sealed(&named(root, "root.key"))? else {
            return Ok(None);
        };
        Ok(Some(Arc::new(SoftwareSigner::from_pkcs8(
            &key,
            KeyUse::Authority,
        )?)))
    }

    fn keep(&self, new: &NewAuthority) -> anyhow::Result<()> {
        let place = short(&new.fingerprint());
        file::create_folder(&self.folder.join(&place))?;
        let certificates = |list: &[&CertificateDer<'static>]| pem::write_certificates(list.iter().copied());
        let policy = certificates(&[&new.policy, &new.issuing]);
        self.write(&place, "root.pem", certificates(&[&new.root]).as_bytes())?;
        self.write(&place, "issuing.pem", certificates(&[&new.issuing]).as_bytes())?;
        self.write(&place, "policy.pem", policy.as_bytes())?;
        self.seal(&place, "root.key", &new.root_key)?;
        self.seal(&place, "issuing.key", &new.issuing_key)?;
        self.seal(&place, "policy.key", &new.policy_key)
    }

    fn destroy(&self, root: &Digest) -> anyhow::Result<()> {
        for name in ["root.key", "issuing.key", "policy.key"] {
            file::remove(&self.folder.join(named(root, name)))?;
        }
        Ok(())
    }

    fn missing(&self, root: &Digest, name: &str) -> String {
        format!(
            "the authority's key {} is missing; restore the folder of keys and the database from the same backup",
            self.folder.join(named(root, name)).display()
        )
    }

    /// The secret in the sealed file `name`; `None` where there is no such file.
    fn read_sealed(&self, name: &str) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.folder.join(name);
        let sealed = match file::read(&path, Access::Private, MAX_FILE) {
            Ok(sealed) => sealed,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let opened = seal::open(&self.master, name, &sealed).with_context(|| {
            format!(
                "the key {} cannot be opened with this master key; give the one that it was sealed under, in keys/master.key, [keys] master_key_file or the credential muster-master-key",
                path.display()
            )
        })?;
        Ok(Some(opened))
    }

    /// Writes the file `name` in the folder `place` of an authority, or beside these folders, sealed under its path.
    fn seal(&self, place: &str, name: &str, key: &[u8]) -> anyhow::Result<()> {
        let sealed = seal::seal(&self.master, &path(place, name), key, &self.random);
        self.write(place, name, &sealed)
    }

    /// Writes a file that only this account may read.
    fn write(&self, place: &str, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.folder.join(path(place, name));
        file::write(&path, bytes, 0o600, &format!("server.{name}"))?;
        Ok(())
    }
}

impl AuthorityKeys for Keys {
    fn store(&self, new: &NewAuthority) -> Result<(), Error> {
        self.keep(new).map_err(|error| unavailable(&error))
    }

    fn root(&self, root: &Digest) -> Result<Option<Arc<dyn Signer>>, Error> {
        self.root_signer(root).map_err(|error| unavailable(&error))
    }

    fn issuing(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error> {
        self.issuing_signer(root).map_err(|error| unavailable(&error))
    }

    fn policy(&self, root: &Digest) -> Result<Arc<dyn Signer>, Error> {
        self.policy_signer(root).map_err(|error| unavailable(&error))
    }

    fn seal(&self, name: &str, key: &[u8]) -> Vec<u8> {
        seal::seal(&self.master, name, key, &self.random)
    }

    fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        seal::open(&self.master, name, sealed).map_err(|error| {
            unavailable(&anyhow::Error::new(error).context(format!(
                "the key {name} of the database cannot be opened with this master key; give the one that it was sealed under"
            )))
        })
    }

    fn forget(&self, root: &Digest) -> Result<(), Error> {
        self.destroy(root).map_err(|error| unavailable(&error))
    }
}

fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("keys")
}

/// What the folder of an authority is called.
fn short(root: &Digest) -> String {
    root.hex()[..16].to_owned()
}

/// The path of a file of an authority: also what it is sealed as.
fn named(root: &Digest, name: &str) -> String {
    path(&short(root), name)
}

fn path(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}/{name}")
    }
}

fn unavailable(error: &anyhow::Error) -> Error {
    Error::Unavailable {
        detail: format!("{error:#}"),
        source: None,
    }
}

#[cfg(test)]
mod tests;
