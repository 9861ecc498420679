//! State folders of before keys were sealed: one authority, its keys as PEM beside the master key.
//!
//! Invariant: at every moment, also after a crash, either the old files or the sealed ones are complete; the old ones go
//! last.

use anyhow::Context as _;
use muster_app::authority::first;
use muster_daemon::file::{self, Access};
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation, authorize},
};
use muster_pki::{CertificateDer, pem};
use muster_store::{Draft, Store};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Keys, MAX_FILE, short};

impl Keys {
    /// Takes over what a version before this one kept: seals the keys, tells the database of the authority.
    pub async fn adopt(&self, store: &Store, now: i64) -> anyhow::Result<()> {
        self.seal_front_end()?;
        if !self.folder.join("issuing.key").exists() {
            return Ok(());
        }
        let certificate = |name: &str| -> anyhow::Result<CertificateDer<'static>> {
            let path = self.folder.join(name);
            let bytes = file::read(&path, Access::Guarded, MAX_FILE)?;
            pem::certificates(&bytes)
                .with_context(|| format!("{} cannot be used", path.display()))?
                .into_iter()
                .next()
                .with_context(|| format!("{} holds no certificate", path.display()))
        };
        let (root, issuing, policy) = (
            certificate("root.pem")?,
            certificate("issuing.pem")?,
            certificate("policy.pem")?,
        );
        let fingerprint = Digest::of(&root);
        let place = short(&fingerprint);
        file::create_folder(&self.folder.join(&place))?;
        for (name, list) in [
            ("root.pem", vec![&root]),
            ("issuing.pem", vec![&issuing]),
            ("policy.pem", vec![&policy, &issuing]),
        ] {
            self.write(&place, name, pem::write_certificates(list).as_bytes())?;
        }
        for name in ["root.key", "issuing.key", "policy.key"] {
            if let Some(key) = self.unsealed(name)? {
                self.seal(&place, name, &key)?;
            }
        }
        if store.authorities().await?.is_empty() {
            let authorized = authorize(&Caller::System, Operation::Maintain)?;
            let mut tx = store.begin(&authorized).await?;
            tx.authority_insert(&first(&root, &issuing, &policy, now)).await?;
            tx.certificates_adopt(&fingerprint).await?;
            let detail = json!({ "root": fingerprint.to_string() });
            tx.commit(
                Draft::new(Event::AuthorityRecorded, fingerprint.to_string(), detail),
                now,
            )
            .await?;
        }
        for name in [
            "root.key",
            "policy.key",
            "policy.pem",
            "issuing.pem",
            "issuing.key",
        ] {
            file::remove(&self.folder.join(name))?;
        }
        tracing::info!("the keys of the authority were sealed");
        Ok(())
    }

    fn seal_front_end(&self) -> anyhow::Result<()> {
        if let Some(key) = self.unsealed("front-end.key")? {
            self.seal("", "front-end.key", &key)?;
        }
        Ok(())
    }

    /// The private key of a PEM file; `None` where there is none, or a sealed one.
    fn unsealed(&self, name: &str) -> anyhow::Result<Option<Zeroizing<Vec<u8>>>> {
        let path = self.folder.join(name);
        let bytes = match file::read(&path, Access::Private, MAX_FILE) {
            Ok(bytes) => Zeroizing::new(bytes),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        if muster_daemon::seal::is_sealed(&bytes) {
            return Ok(None);
        }
        let key = pem::private_key(&bytes).with_context(|| format!("{} cannot be used", path.display()))?;
        Ok(Some(Zeroizing::new(key.secret_der().to_vec())))
    }
}
