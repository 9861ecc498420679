//! `muster-server import-issuing-key`: puts the issuing key into the configured PKCS#11 token.

use std::process::ExitCode;

use anyhow::Context as _;
use muster_app::authority;
use muster_daemon::lock::FolderLock;
use muster_pki::Signer as _;

use super::{open_store, say};
use crate::{config::Config, keys::Keys, pkcs11::Pkcs11Signer};

/// Imports the key, and looks whether the token signs with it.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let _lock = FolderLock::acquire(&config.state_dir)
        .context("the issuing key moves while the control plane is stopped")?;
    let key = config.issuing_key.as_ref().context(
        "no token is configured; set pkcs11_module, pkcs11_token and pkcs11_pin_file in [authority]",
    )?;
    let store = open_store(config, false).await?;
    let keys = Keys::open(config)?;
    let root = authority::load(&store, &keys).await?.root;
    store.close().await;
    let (file, software) = keys.issuing_file(&root)?;
    Pkcs11Signer::import(key, &software)?;
    let signer = Pkcs11Signer::open(key)?;
    anyhow::ensure!(
        signer.public_key() == software.public_key(),
        "the token shows another public key than the one that was put in; do not use this token"
    );
    say(&format!(
        "The token \"{}\" holds the issuing key as \"{}\".",
        key.token, key.label
    ));
    say(&format!(
        "Next: keep a copy of {} offline and delete it here; muster-server serve uses the token.",
        file.display()
    ));
    Ok(ExitCode::SUCCESS)
}
