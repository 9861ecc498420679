//! The command line as a whole: global options and nouns. Help, completions and manual pages come from here.

use std::{ffi::OsString, path::PathBuf};

use clap::{Parser, Subcommand};
use muster_client::Endpoint;
use muster_ids::Digest;

use crate::{
    audit, authority, certificate, compat, context::Context, failure::Failure, function, generate, group,
    join, join_token, library, license, node, output::Format, place, policy, run, session, setting, status,
    trust, user,
};

/// Administers a Muster collective, runs its data functions, and asks what is trusted.
#[derive(Parser)]
#[command(
    name = "muster",
    version,
    after_help = "Begin with:\n  muster login https://HOST:8443\n  muster status\n\n\
                  Exit codes: 0 done; 1 refused or failed (also a run that did not succeed); 2 wrong usage.\n\
                  Environment: MUSTER_TOKEN_FILE names a file of mode 0600 with a token, for automation; NO_COLOR turns colour off."
)]
pub(crate) struct Cli {
    /// Options of all commands.
    #[command(flatten)]
    pub(crate) options: Options,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of all commands.
#[derive(clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Options {
    /// The control plane [default: the one of the last login]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<Endpoint>,
    /// How results are written: a table for people, or JSON (a list is one array) for programs
    #[arg(long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,
    /// Trust the control plane by the CA certificates in this PEM file
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "ca_fingerprint")]
    pub(crate) ca_file: Option<PathBuf>,
    /// Trust the control plane by this SHA-256 fingerprint of its CA, or of its own certificate (sha256:…)
    #[arg(long, global = true, value_name = "DIGEST")]
    pub(crate) ca_fingerprint: Vec<Digest>,
    /// Folder of the session file [default: $XDG_CONFIG_HOME/muster, else ~/.config/muster]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) profile_dir: Option<PathBuf>,
}

/// The global options, as they are written.
const GLOBAL: [&str; 5] = [
    "--server",
    "--output",
    "--ca-file",
    "--ca-fingerprint",
    "--profile-dir",
];

/// `arguments` with the global options that stand behind a documented command put before it: everything behind its name
/// is read by the command itself. No documented option has the name of a global one.
pub(crate) fn arranged(arguments: Vec<OsString>) -> Vec<OsString> {
    // How many arguments a global option takes with its value.
    let takes = |argument: &OsString| {
        let text = argument.to_str()?;
        let name = text.split('=').next()?;
        GLOBAL.contains(&name).then(|| if name == text { 2 } else { 1 })
    };
    let mut compat = 1;
    while let Some(taken) = arguments.get(compat).and_then(takes) {
        compat += taken;
    }
    if arguments.get(compat).is_none_or(|noun| noun != "compat") {
        return arguments;
    }
    let mut rest = arguments.into_iter().collect::<std::collections::VecDeque<_>>();
    let mut before: Vec<_> = rest.drain(..compat).collect();
    let mut behind = Vec::new();
    while let Some(argument) = rest.pop_front() {
        if argument == "--" {
            behind.push(argument);
            behind.extend(rest.drain(..));
        } else if let Some(taken) = takes(&argument) {
            before.push(argument);
            before.extend(rest.drain(..(taken - 1).min(rest.len())));
        } else {
            behind.push(argument);
        }
    }
    before.extend(behind);
    before
}

/// What to do.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// What needs attention now: joins, nodes, runs, expiries, problems
    Status,
    /// Log in at a control plane and remember it
    Login(session::Login),
    /// End the session
    Logout,
    /// Who is logged in, with groups and license features
    Whoami,
    /// Nodes that ask to join
    #[command(subcommand)]
    Join(join::Command),
    /// Secrets that let nodes in without a person
    #[command(subcommand)]
    JoinToken(join_token::Command),
    /// Nodes of the collective
    #[command(subcommand)]
    Node(node::Command),
    /// Certificates that the collective issued
    #[command(subcommand)]
    Cert(certificate::Command),
    /// The certificate authority of the collective
    #[command(subcommand)]
    Ca(authority::Command),
    /// Users of the built-in directory
    #[command(subcommand)]
    User(user::Command),
    /// Groups, their members and what they inherit
    #[command(subcommand)]
    Group(group::Command),
    /// License features that groups give to their members
    #[command(subcommand)]
    License(license::Command),
    /// Settings that loosen or tighten trust, for all, a site, a pool or a node
    #[command(subcommand)]
    Setting(setting::Command),
    /// Pools: nodes that share work
    #[command(subcommand)]
    Pool(place::Command),
    /// Sites: parts of the collective whose nodes and runs stay together
    #[command(subcommand)]
    Site(place::Command),
    /// Folders of the library, what is in them, and who may read and write it
    #[command(subcommand)]
    Library(library::Command),
    /// Data functions: register, run, trust
    #[command(subcommand)]
    Function(function::Command),
    /// Runs of data functions
    #[command(subcommand)]
    Run(run::Command),
    /// What is trusted, and why something may run
    #[command(subcommand)]
    Trust(trust::Command),
    /// Test trust rules without a server
    #[command(subcommand)]
    Policy(policy::Command),
    /// The audit log
    #[command(subcommand)]
    Audit(audit::Command),
    /// The documented administration commands under their own names
    Compat(compat::Compat),
    /// Print a completion script for a shell
    Completions(generate::Completions),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(generate::Man),
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::Status => status::run(context).await,
        Command::Login(arguments) => session::login(context, arguments).await,
        Command::Logout => session::logout(context).await,
        Command::Whoami => session::whoami(context).await,
        Command::Join(command) => join::run(context, command).await,
        Command::JoinToken(command) => join_token::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Cert(command) => certificate::run(context, command).await,
        Command::Ca(command) => authority::run(context, command).await,
        Command::User(command) => user::run(context, command).await,
        Command::Group(command) => group::run(context, command).await,
        Command::License(command) => license::run(context, command).await,
        Command::Setting(command) => setting::run(context, command).await,
        Command::Pool(command) => place::run(context, place::Kind::Pool, command).await,
        Command::Site(command) => place::run(context, place::Kind::Site, command).await,
        Command::Library(command) => library::run(context, command).await,
        Command::Function(command) => function::run(context, command).await,
        Command::Run(command) => run::run(context, command).await,
        Command::Trust(command) => trust::run(context, command).await,
        Command::Policy(command) => policy::run(context, command),
        Command::Audit(command) => audit::run(context, command).await,
        Command::Compat(arguments) => compat::run(context, &arguments).await,
        Command::Completions(arguments) => generate::completions(&arguments),
        Command::Man(arguments) => generate::manual(context, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn global_options_may_stand_behind_a_documented_command_too() {
        let arranged = |line: &str| {
            let arguments = line.split(' ').map(OsString::from).collect();
            let arranged: Vec<_> = arranged(arguments)
                .into_iter()
                .map(|argument| argument.into_string().expect("text"))
                .collect();
            arranged.join(" ")
        };
        for (given, read) in [
            (
                "muster compat list-nodes --output json",
                "muster --output json compat list-nodes",
            ),
            (
                "muster --server s compat trust -n --output=json -i x --profile-dir d",
                "muster --server s --output=json --profile-dir d compat trust -n -i x",
            ),
            (
                "muster compat trust -- --output",
                "muster compat trust -- --output",
            ),
            ("muster compat trust --output", "muster --output compat trust"),
            ("muster node list --output json", "muster node list --output json"),
            (
                "muster --profile-dir compat status",
                "muster --profile-dir compat status",
            ),
            ("muster", "muster"),
        ] {
            assert_eq!(arranged(given), read, "{given}");
        }
        let global: Vec<_> = Cli::command()
            .get_arguments()
            .filter(|argument| argument.is_global_set())
            .filter_map(|argument| Some(format!("--{}", argument.get_long()?)))
            .collect();
        assert_eq!(global, GLOBAL);
    }

    #[test]
    fn the_definition_is_consistent_and_every_command_explains_itself() {
        let mut command = Cli::command();
        command.build();
        command.clone().debug_assert();
        let mut open = vec![command];
        while let Some(command) = open.pop() {
            assert!(
                command.get_about().is_some(),
                "{} has no help",
                command.get_name()
            );
            for argument in command.get_arguments() {
                assert!(
                    argument.get_help().is_some(),
                    "{} of {} has no help",
                    argument.get_id(),
                    command.get_name()
                );
            }
            open.extend(
                command
                    .get_subcommands()
                    .filter(|sub| sub.get_name() != "help")
                    .cloned(),
            );
        }
    }
}
