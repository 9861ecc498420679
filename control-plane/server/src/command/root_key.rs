//! `muster-server root-key`: the root's key is needed seldom and may lie elsewhere in between.

use std::{path::Path, process::ExitCode};

use muster_app::authority;
use muster_ids::Digest;

use super::{open_store, say};
use crate::{
    config::Config,
    keys::{Keys, RootKeyFile},
};

/// Writes the key of the active root, or of `root`, to a file.
pub async fn export(
    config: &Config,
    to: &Path,
    root: Option<Digest>,
    remove: bool,
) -> anyhow::Result<ExitCode> {
    let keys = Keys::open(config)?;
    let store = open_store(config, false).await?;
    let active = authority::load(&store, &keys).await?.root;
    store.close().await;
    let root = root.unwrap_or(active);
    let kept = keys.export_root(&root, to, remove)?;
    say(&format!(
        "The key of the root {root} is in {}: whoever has it can make control planes and nodes.",
        to.display()
    ));
    if kept == RootKeyFile::Removed {
        say(
            "It is no longer in the state directory. Rotations, new epochs and the renewal of the intermediate need it back: muster-server root-key import FILE.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes the key back among the others.
pub async fn import(config: &Config, from: &Path) -> anyhow::Result<ExitCode> {
    let keys = Keys::open(config)?;
    let store = open_store(config, false).await?;
    let authorities = store.authorities().await?;
    store.close().await;
    let root = keys.import_root(&authorities, from)?;
    say(&format!("The key of the root {root} is back."));
    Ok(ExitCode::SUCCESS)
}
