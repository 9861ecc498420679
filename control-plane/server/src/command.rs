//! The commands that end.

pub mod config;
pub mod doctor;
pub mod init;
pub mod migrate;
pub mod reset_admin;

use muster_store::{Store, StoreConfig};
use secrecy::ExposeSecret as _;

use crate::config::Config;

/// The database of this configuration.
pub(crate) async fn open_store(config: &Config, create: bool) -> anyhow::Result<Store> {
    let store = StoreConfig {
        create_if_missing: create,
        ..StoreConfig::new(config.database_url.expose_secret())
    };
    Ok(Store::open(&store).await?)
}

/// A line for a person.
#[expect(clippy::print_stdout, reason = "this is where a program speaks to a person")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}
