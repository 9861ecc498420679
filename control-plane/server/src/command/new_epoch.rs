//! `muster-server new-epoch`: makes a database that was put back the present one.

use std::process::ExitCode;

use anyhow::Context as _;
use muster_app::{authority, epoch};
use muster_daemon::{clock::Clock, lock::FolderLock, random::Random};

use super::{open_store, say};
use crate::{config::Config, keys::Keys};

/// Begins an epoch above that of the database and above `above`.
pub async fn run(config: &Config, above: u64) -> anyhow::Result<ExitCode> {
    let _lock = FolderLock::acquire(&config.state_dir)
        .context("a new epoch begins while the control plane is stopped")?;
    let store = open_store(config, false).await?;
    store.schema().await?.check()?;
    let keys = Keys::open(config)?;
    let (root, root_key) = authority::active_root(&store, &keys, "a new epoch").await?;
    let (clock, random) = (Clock::system(), Random::system());
    let begun = epoch::begin(
        &store,
        (&root, &*root_key),
        keys.master_key(),
        above,
        &clock,
        &random,
    )
    .await?;
    store.close().await;
    say(&format!(
        "Epoch {} began; the database that was put back was of epoch {}.",
        begun.to.epoch, begun.from.epoch
    ));
    say(&format!(
        "Void: {} waiting join requests, {} join tokens. Ended: {} sessions.",
        begun.joins, begun.tokens, begun.sessions
    ));
    say(
        "Next: muster-server serve. Each node hands in what it knows and works on; nodes that joined or renewed after the backup are unknown and join again.",
    );
    Ok(ExitCode::SUCCESS)
}
