//! `muster-server migrate`.

use std::process::ExitCode;

use super::{open_store, say};
use crate::config::Config;

/// Brings the database to the schema of this program.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    let store = open_store(config, false).await?;
    let schema = store.migrate().await?;
    say(&format!("The database has schema {}.", schema.current));
    store.close().await;
    Ok(ExitCode::SUCCESS)
}
