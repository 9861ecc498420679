//! The commands that end.

pub mod config;
pub mod doctor;
pub mod import_issuing_key;
pub mod init;
pub mod migrate;
pub mod new_epoch;
pub mod reset_admin;
pub mod root_key;

use std::io::{self, Write as _};

use muster_store::{Store, StoreConfig};
use secrecy::ExposeSecret as _;

use crate::{config::Config, keys::Keys};

/// The database of this configuration.
pub(crate) async fn open_store(config: &Config, create: bool) -> anyhow::Result<Store> {
    let store = StoreConfig {
        create_if_missing: create,
        ..StoreConfig::new(config.database_url.expose_secret())
    };
    Ok(Store::open(&store).await?)
}

/// Says what to do where `init` has never been.
pub(crate) fn require_collective(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        Keys::exist(&config.state_dir)?,
        "there is no collective in {}; run muster-server init first, or name its folder with --state-dir",
        config.state_dir.display()
    );
    Ok(())
}

/// A line for a person. A reader who has left does not stop a command; where the line is lost, that is said.
#[expect(clippy::print_stderr, reason = "this is where a program speaks to a person")]
pub(crate) fn say(line: &str) {
    if let Err(error) = writeln!(io::stdout(), "{line}")
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        eprintln!("muster-server: standard output takes no more: {error}; it would have said: {line}");
    }
}
