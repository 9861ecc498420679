//! `muster-server init`: makes a collective.

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use muster_app::{
    authority::{AuthorityKeys as _, create_authority},
    init::init_database,
};
use muster_daemon::{clock::Clock, file, lock::FolderLock, random::Random};
use muster_ids::UserName;
use muster_pki::Roots;
use secrecy::ExposeSecret as _;

use super::{open_store, say};
use crate::{config::Config, keys::Keys};

/// Bytes of chance in the first password.
const PASSWORD_BYTES: usize = 18;

/// The last file that it writes.
const SAMPLE: &str = "server.toml.sample";
const THERE: &str = "this database holds a collective already; nothing was changed. For a new password of the administrator use muster-server reset-admin";

/// Makes database, authority and first administrator; says the fingerprint that nodes pin.
pub async fn run(config: &Config, administrator: &UserName) -> anyhow::Result<ExitCode> {
    file::create_folder(&config.state_dir)
        .with_context(|| "the state directory cannot be made; give another with --state-dir")?;
    let _lock = FolderLock::acquire(&config.state_dir)?;
    if Keys::exist(&config.state_dir)? && config.state_dir.join(SAMPLE).exists() {
        // It was finished here: what is missing now was lost, or is looked for in the wrong place.
        let store = open_store(config, false).await;
        let there = match &store {
            Ok(store) => store.collective().await.is_ok_and(|found| found.is_some()),
            Err(_) => false,
        };
        anyhow::ensure!(
            there,
            "the keys of a collective are in {}, but its database is not where [database] url says; bring it back, or name another --state-dir for a new collective. Nothing was changed",
            config.state_dir.display()
        );
        anyhow::bail!(THERE);
    }
    let store = open_store(config, true).await?;
    store.migrate().await?;
    anyhow::ensure!(store.collective().await?.is_none(), THERE);
    let (clock, random) = (Clock::system(), Random::system());
    let keys = Keys::create(config)?;
    let authority = create_authority(&clock, &random).await?;
    keys.store(&authority)?;
    let roots = Roots::new(vec![authority.root.clone()])?;
    keys.write_roots(&roots)?;
    let password = random.token(PASSWORD_BYTES);
    let password_file = write_password(&config.state_dir, password.expose_secret())?;
    init_database(
        &store,
        &authority,
        keys.master_key(),
        administrator,
        password,
        &clock,
        &random,
    )
    .await?;
    store.close().await;
    let sample = write_sample(&config.state_dir)?;
    say(&format!(
        "The collective {} was made in {}.",
        authority.collective,
        config.state_dir.display()
    ));
    for fingerprint in roots.fingerprints() {
        say(&format!("CA fingerprint: {fingerprint}"));
    }
    say(&format!(
        "Administrator:  {administrator}, password in {password_file}"
    ));
    say(&format!("Sample configuration: {sample}"));
    say(&format!(
        "Next: muster-server serve; muster login https://HOST:{}; on a node: muster-node join http://HOST:{} --ca-fingerprint …",
        config.front_end.port(),
        config.registration.port()
    ));
    Ok(ExitCode::SUCCESS)
}

/// The file that holds the administrator's password until somebody logs in and changes it.
pub(super) fn write_password(state_dir: &Path, password: &str) -> anyhow::Result<String> {
    let path = state_dir.join("admin-password");
    file::write(
        &path,
        format!("{password}\n").as_bytes(),
        0o600,
        "server.admin-password",
    )?;
    Ok(path.display().to_string())
}

fn write_sample(state_dir: &Path) -> anyhow::Result<String> {
    let path = state_dir.join(SAMPLE);
    file::write(&path, Config::sample().as_bytes(), 0o644, "server.sample")?;
    Ok(path.display().to_string())
}
