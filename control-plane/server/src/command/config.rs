//! `muster-server config show`.

use std::process::ExitCode;

use super::say;
use crate::config::Config;

/// Prints every setting with its value and where it came from.
pub fn show(config: &Config) -> anyhow::Result<ExitCode> {
    for setting in &config.settings {
        say(&setting.to_string());
    }
    Ok(ExitCode::SUCCESS)
}
