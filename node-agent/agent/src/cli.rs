//! The command line of `muster-node`; completions and the man page are made from it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use muster_ids::{Digest, Name};

use crate::{capability::Capability, config, home};

/// The agent of a Muster node: joins a collective, and runs the data functions that it is granted.
#[derive(Debug, Parser)]
#[command(name = "muster-node", version, max_term_width = 100)]
pub struct Cli {
    /// The configuration file [default: /etc/muster/node.toml, which may be missing].
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The state folder [default: node.state_dir of the configuration, or /var/lib/muster/node].
    #[arg(long, global = true, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// How results are written.
    #[arg(long, global = true, value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How results are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: one JSON object on standard output, also for errors.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Ask a control plane to let this node in; shows the code to be approved, and waits.
    Join(JoinArguments),
    /// Confirm that the control plane is the right one, after comparing its CA fingerprint.
    Confirm {
        /// The fingerprint that muster-server init printed; without it the command shows the one to compare and asks.
        #[arg(long, value_name = "sha256:…")]
        ca_fingerprint: Option<Digest>,
    },
    /// Run the agent until it is told to stop.
    Run,
    /// Show how this node is.
    Status,
    /// Look for what would keep this node from working.
    Doctor,
    /// Leave the collective, and forget key, trust state and results.
    Leave {
        /// Do not ask.
        #[arg(long)]
        yes: bool,
        /// Also throw away results that the control plane does not have.
        #[arg(long)]
        force: bool,
    },
}

/// What to ask for.
#[derive(Debug, Args)]
pub struct JoinArguments {
    /// Registration listeners of the collective, for example http://control:9080.
    #[arg(value_name = "URL", value_parser = registration)]
    pub registration: Vec<String>,
    /// What to offer: TERR, R or PYTHON; may be repeated [default: what is installed].
    #[arg(long, value_name = "NAME")]
    pub capability: Vec<Capability>,
    /// The name to ask for [default: that of this host].
    #[arg(long)]
    pub name: Option<Name>,
    /// The pool to ask for.
    #[arg(long)]
    pub pool: Option<Name>,
    /// The site to ask for.
    #[arg(long)]
    pub site: Option<Name>,
    /// A root certificate of the collective, by its fingerprint; may be repeated.
    #[arg(long, value_name = "sha256:…")]
    pub ca_fingerprint: Vec<Digest>,
    /// A file with a join token.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl Cli {
    /// The configuration file, and whether it must exist.
    pub fn config_file(&self) -> (PathBuf, bool) {
        match &self.config {
            Some(file) => (file.clone(), true),
            None => (home::DEFAULT_CONFIG.into(), false),
        }
    }
}

/// A URL as it was given, if it is that of a registration listener.
fn registration(url: &str) -> Result<String, String> {
    config::registration_address(url).map(|_| url.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_join_takes_everything_that_the_reference_names() {
        let pin = Digest::of(b"root").to_string();
        let cli = Cli::try_parse_from([
            "muster-node",
            "join",
            "http://a:9080",
            "http://b",
            "--capability",
            "r",
            "--capability",
            "TERR",
            "--name",
            "terr01",
            "--pool",
            "p",
            "--site",
            "s",
            "--ca-fingerprint",
            &pin,
            "--token-file",
            "/t",
            "--state-dir",
            "/x",
        ])
        .expect("valid");
        let Command::Join(join) = cli.command else {
            panic!("not a join")
        };
        assert_eq!(join.registration.len(), 2);
        assert_eq!(join.capability, [Capability::R, Capability::Terr]);
        assert_eq!(join.ca_fingerprint[0].to_string(), pin);
        assert_eq!(cli.state_dir.as_deref(), Some(std::path::Path::new("/x")));
    }

    #[test]
    fn wrong_usage_ends_with_2() {
        for arguments in [
            &["muster-node"][..],
            &["muster-node", "join", "https://a"],
            &["muster-node", "join", "http://a", "--capability", "JULIA"],
            &["muster-node", "status", "--output", "xml"],
        ] {
            let error = Cli::try_parse_from(arguments).expect_err("wrong");
            assert_eq!(error.exit_code(), 2, "{arguments:?}");
        }
    }
}
