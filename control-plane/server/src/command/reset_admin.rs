//! `muster-server reset-admin`: whoever may write the state directory may administrate.

use std::process::ExitCode;

use muster_daemon::random::Random;
use muster_ids::UserName;
use secrecy::ExposeSecret as _;

use super::{open_store, say};
use crate::{config::Config, serve};

/// Gives the administrator a new password and puts it into a file.
pub async fn run(config: &Config, administrator: &UserName) -> anyhow::Result<ExitCode> {
    let store = open_store(config, false).await?;
    let app = serve::app(config, store.clone()).await?;
    let password = Random::system().token(18);
    let path = super::init::write_password(&config.state_dir, password.expose_secret())?;
    app.reset_admin(administrator, password).await?;
    store.close().await;
    say(&format!(
        "{administrator} has a new password, in {path}; all sessions of this user ended."
    ));
    Ok(ExitCode::SUCCESS)
}
