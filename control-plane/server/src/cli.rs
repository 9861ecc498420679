//! The command line of `muster-server`.

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use muster_ids::{Digest, UserName};

use crate::{command, config::Config};

/// The control plane of a Muster collective.
#[derive(Debug, Parser)]
#[command(name = "muster-server", version, about, propagate_version = true)]
pub struct Cli {
    /// Configuration file; /etc/muster/server.toml when it exists.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// State directory, in place of the configured one.
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a collective: database, certificate authority, first administrator.
    Init {
        /// The first administrator.
        #[arg(long, default_value = "admin@SPOTFIRE")]
        administrator: UserName,
    },
    /// Run the control plane.
    Serve,
    /// Bring the database to the schema of this program.
    Migrate,
    /// Put the issuing key into the PKCS#11 token of [authority]; the token alone signs with it once the file is gone.
    ImportIssuingKey,
    /// Make an older database that was put back the present one: a new epoch, signed with the root's key.
    NewEpoch {
        /// The highest epoch that nodes know, where it is above that of the database; nodes name it.
        #[arg(long, value_name = "EPOCH", default_value_t = 0)]
        above: u64,
    },
    /// Look for problems; each finding is one sentence with its cure.
    Doctor,
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Take the root's key away, or bring it back.
    #[command(subcommand)]
    RootKey(RootKeyCommand),
    /// Print the description of the REST API (OpenAPI 3.1).
    #[command(hide = true)]
    Openapi,
    /// Give an administrator a new password, on the machine itself.
    ResetAdmin {
        /// The administrator; made when missing.
        #[arg(long, default_value = "admin@SPOTFIRE")]
        administrator: UserName,
    },
}

/// What to do with the root's key, which only rotations, new epochs and the renewal of the intermediate need.
#[derive(Debug, Subcommand)]
pub enum RootKeyCommand {
    /// Write it to a new file, as PEM that is not encrypted.
    Export {
        /// The file.
        file: PathBuf,
        /// Another root than the active one.
        #[arg(long, value_name = "FINGERPRINT")]
        root: Option<Digest>,
        /// Take it away from the state directory.
        #[arg(long)]
        remove: bool,
    },
    /// Bring it back.
    Import {
        /// The file.
        file: PathBuf,
    },
}

/// What to do with the configuration.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print every setting with its value and origin; secrets are not shown.
    Show,
}

/// Runs the command of the process's arguments. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    if matches!(cli.command, Command::Openapi) {
        // Printed by the build; it needs no configuration.
        command::say(crate::http::admin::openapi().trim_end());
        return Ok(ExitCode::SUCCESS);
    }
    let config = match Config::read(
        cli.config.as_deref(),
        cli.state_dir.as_deref(),
        muster_daemon::environment(),
    ) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors.into());
            return Ok(ExitCode::from(2));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        if matches!(
            cli.command,
            Command::Serve
                | Command::Migrate
                | Command::ResetAdmin { .. }
                | Command::NewEpoch { .. }
                | Command::ImportIssuingKey
                | Command::RootKey(_)
        ) {
            command::require_collective(&config)?;
        }
        match cli.command {
            Command::Init { administrator } => command::init::run(&config, &administrator).await,
            Command::Serve => crate::serve::run(config).await,
            Command::Migrate => command::migrate::run(&config).await,
            Command::ImportIssuingKey => command::import_issuing_key::run(&config).await,
            Command::NewEpoch { above } => command::new_epoch::run(&config, above).await,
            Command::Doctor => command::doctor::run(&config).await,
            Command::Config(ConfigCommand::Show) => command::config::show(&config),
            Command::RootKey(RootKeyCommand::Export { file, root, remove }) => {
                command::root_key::export(&config, &file, root, remove).await
            }
            Command::RootKey(RootKeyCommand::Import { file }) => {
                command::root_key::import(&config, &file).await
            }
            // Answered above.
            Command::Openapi => Ok(ExitCode::SUCCESS),
            Command::ResetAdmin { administrator } => command::reset_admin::run(&config, &administrator).await,
        }
    })
}

/// One readable sentence on standard error: what was attempted and why it failed.
#[expect(clippy::print_stderr, reason = "this is where a program speaks to a person")]
fn complain(error: &anyhow::Error) {
    let mut sentence = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if !sentence.contains(&text) {
            if !sentence.is_empty() {
                sentence.push_str(": ");
            }
            sentence.push_str(&text);
        }
    }
    eprintln!("muster-server: {sentence}");
}
