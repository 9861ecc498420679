//! Keys and certificates of this control plane on disk: the only file that knows their paths.
//!
//! Invariant: private keys are 0600 in a 0700 folder and are written whole or not at all. The root's key is
//! not needed while the control plane runs; it may be kept elsewhere.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use muster_app::{authority::Authority, init::NewAuthority};
use muster_daemon::{
    file::{self, Access},
    random::Random,
};
use muster_pki::{
    AuthorityFacts, CertificateDer, Facts, KeyUse, Roots, Signer, SoftwareSigner, Subject, pem,
};
use zeroize::Zeroizing;

/// Larger than any file here.
const MAX_FILE: u64 = 64 * 1024;

/// The folder of keys.
#[derive(Debug, Clone)]
pub struct Keys {
    folder: PathBuf,
}

impl Keys {
    /// The keys below the state directory.
    pub fn below(state_dir: &Path) -> Self {
        Self {
            folder: state_dir.join("keys"),
        }
    }

    /// Whether there is a folder of keys.
    pub fn exist(&self) -> bool {
        self.folder.exists()
    }

    /// Where the front end's own certificate and key are kept when the collective issues them.
    pub fn front_end(&self) -> (PathBuf, PathBuf) {
        (
            self.folder.join("front-end.pem"),
            self.folder.join("front-end.key"),
        )
    }

    /// Stores a new authority and a new master key, replacing what an interrupted `init` left.
    pub fn store(&self, new: &NewAuthority, random: &Random) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        file::create_folder(&self.folder)?;
        let certificates = |list: &[&CertificateDer<'static>]| pem::write_certificates(list.iter().copied());
        self.write("root.pem", certificates(&[&new.root]).as_bytes())?;
        self.write("root.key", pem::write_private_key(&new.root_key).as_bytes())?;
        self.write("issuing.pem", certificates(&[&new.issuing]).as_bytes())?;
        self.write("issuing.key", pem::write_private_key(&new.issuing_key).as_bytes())?;
        self.write(
            "policy.pem",
            certificates(&[&new.policy, &new.issuing]).as_bytes(),
        )?;
        self.write("policy.key", pem::write_private_key(&new.policy_key).as_bytes())?;
        let master = Zeroizing::new(random.bytes::<32>());
        self.write("master.key", master.as_slice())?;
        Ok(master)
    }

    /// The authority as it was stored.
    pub fn authority(&self) -> anyhow::Result<Authority> {
        let roots = Arc::new(Roots::new(self.certificates("root.pem")?)?);
        let intermediate = self.certificates("issuing.pem")?.pop().with_context(|| {
            format!(
                "{} holds no certificate",
                self.folder.join("issuing.pem").display()
            )
        })?;
        let policy_chain = self.certificates("policy.pem")?;
        let facts = Facts::of(policy_chain.first().context("policy.pem holds no certificate")?)?;
        let Subject::Policy(control_plane) = facts.id.subject else {
            anyhow::bail!(
                "{} is not a policy certificate",
                self.folder.join("policy.pem").display()
            );
        };
        Ok(Authority {
            control_plane,
            roots,
            intermediate,
            issuing: Arc::new(self.signer("issuing.key", KeyUse::Authority)?),
            policy_chain,
            policy: Arc::new(self.signer("policy.key", KeyUse::Policy)?),
        })
    }

    /// The root certificates, for fingerprints.
    pub fn roots(&self) -> anyhow::Result<Roots> {
        Ok(Roots::new(self.certificates("root.pem")?)?)
    }

    /// The newest root with its key, where the key was not taken elsewhere.
    pub fn root(&self) -> anyhow::Result<(CertificateDer<'static>, Arc<dyn Signer>)> {
        let signer = self.signer("root.key", KeyUse::Authority)?;
        let roots = self.certificates("root.pem")?;
        let root = roots
            .into_iter()
            .find(|root| AuthorityFacts::of(root).is_ok_and(|facts| facts.public_key == *signer.public_key()))
            .with_context(|| {
                format!(
                    "{} is the key of no root in root.pem",
                    self.folder.join("root.key").display()
                )
            })?;
        Ok((root, Arc::new(signer)))
    }

    /// What encrypts the small secrets in the database.
    pub fn master_key(&self) -> anyhow::Result<Zeroizing<[u8; 32]>> {
        let path = self.folder.join("master.key");
        let bytes = Zeroizing::new(file::read(&path, Access::Private, MAX_FILE)?);
        let key = <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| {
            anyhow::anyhow!("{} must hold 32 bytes; restore it from a backup", path.display())
        })?;
        Ok(Zeroizing::new(key))
    }

    /// Writes a file that only this account may read.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        file::write(&path, bytes, 0o600, &format!("server.{name}"))?;
        Ok(path)
    }

    fn certificates(&self, name: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
        let path = self.folder.join(name);
        let bytes = file::read(&path, Access::Guarded, MAX_FILE)
            .with_context(|| "the keys of the control plane cannot be read; run muster-server init first")?;
        pem::certificates(&bytes).with_context(|| format!("{} cannot be used", path.display()))
    }

    fn signer(&self, name: &str, key_use: KeyUse) -> anyhow::Result<SoftwareSigner> {
        let path = self.folder.join(name);
        let bytes = Zeroizing::new(file::read(&path, Access::Private, MAX_FILE)?);
        let key = pem::private_key(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(SoftwareSigner::from_pkcs8(key.secret_der(), key_use)?)
    }
}
