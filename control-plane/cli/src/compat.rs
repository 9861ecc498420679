//! `muster compat`: the documented administration commands under their own names.
//!
//! Invariant: nothing is accepted and ignored. A command works as documented, or it is refused with what to use.

mod certificate;
mod code_entities;
mod code_trust;
mod code_trust_report;
mod commands;
mod fetch;
mod find;
mod group;
mod group_file;
mod license;
mod node;
mod re_sign;
mod script;
mod signing;
mod user;

use clap::{Args, Parser, error::ErrorKind};
use serde::Serialize;

use crate::{context::Context, escape::escaped, failure::Failure, table, trust};
use commands::{COMMANDS, Documented};

/// The documented administration commands under their own names
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster compat --list\n  muster compat list-nodes\n\n\
                  A command that does not work yet is refused, with the command of muster that does the same, if there is one.\n\
                  Two are not documented: unblock-code-trust takes the options of block-code-trust, explain-code-trust those of muster trust explain."
)]
pub(crate) struct Compat {
    /// List all documented commands: works, partly (what is missing) or not yet
    #[arg(long)]
    list: bool,
    /// A documented command with its options
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        required_unless_present = "list",
        conflicts_with = "list"
    )]
    command: Vec<String>,
}

/// A line of the list, for programs.
#[derive(Serialize)]
struct Line {
    command: &'static str,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'static str>,
}

/// The options that every documented command with a database had. None can be taken over.
#[derive(Debug, Args)]
struct Common {
    /// Refused: this program reads no database
    #[arg(short = 'b', long, value_name = "FILE")]
    bootstrap_config: Option<String>,
    /// Refused: no password is given on a command line
    #[arg(short = 't', long, value_name = "PASSWORD")]
    tool_password: Option<String>,
    /// Refused: the session holds what the control plane is known by
    #[arg(short = 'k', long, value_name = "FILE")]
    keystore_file: Option<String>,
}

impl Common {
    /// Nothing is accepted and ignored.
    fn check(&self) -> Result<(), Failure> {
        let refused = if self.bootstrap_config.is_some() {
            "-b, --bootstrap-config is not taken: this program asks a running control plane; name it with --server, or log in with muster login"
        } else if self.tool_password.is_some() {
            "-t, --tool-password is not taken: a password on a command line is seen by others; log in with muster login --password-file FILE, or at its prompt"
        } else if self.keystore_file.is_some() {
            "-k, --keystore-file is not taken: the control plane is known by its CA; log in with muster login --ca-file FILE or --ca-fingerprint"
        } else {
            return Ok(());
        };
        Err(Failure::usage(refused))
    }
}

/// The options of a documented command, or its help, which is then all there is to do.
fn options<T: Parser>(arguments: &[String]) -> Result<Option<T>, Failure> {
    let name = arguments.first().map_or("", String::as_str);
    options_of(&format!("muster compat {name}"), arguments)
}

/// The same of a command that is called `name`.
fn options_of<T: Parser>(name: &str, arguments: &[String]) -> Result<Option<T>, Failure> {
    let mut command = T::command().bin_name(name);
    if command.get_after_help().is_none() {
        command = command.after_help(
            "The global options of muster, such as --server and --output json, may stand here as well.",
        );
    }
    let parsed = command
        .try_get_matches_from_mut(arguments)
        .and_then(|matches| T::from_arg_matches(&matches));
    match parsed {
        Ok(options) => Ok(Some(options)),
        Err(error) if !error.use_stderr() => {
            // That nobody listens any more is nothing more to tell.
            let _ = error.print();
            Ok(None)
        }
        Err(error) => {
            let text = error.to_string();
            let said = text.split("\n\n").next().unwrap_or_default();
            let said: Vec<&str> = said.split_whitespace().collect();
            let said = said.join(" ");
            let said = said.strip_prefix("error: ").unwrap_or(&said);
            Err(Failure::usage(
                if error.kind() == ErrorKind::MissingRequiredArgument {
                    format!("{said}; {name} --help shows what may stand in place of it")
                } else {
                    said.to_owned()
                },
            ))
        }
    }
}

/// Lists the documented commands, or does one.
pub(crate) async fn run(context: &Context, arguments: &Compat) -> Result<(), Failure> {
    if arguments.list {
        return list(context);
    }
    let name = arguments.command.first().map_or("", String::as_str);
    let command = &arguments.command;
    match name {
        "list-nodes" => return node::list(context, command).await,
        "untrust-node" => return node::untrust(context, command).await,
        "delete-node" => return node::delete(context, command).await,
        "list-certificates" => return certificate::list(context, command).await,
        "reset-trust" => return certificate::reset(context, command).await,
        "add-code-trust" => return code_trust::add(context, command).await,
        "remove-code-trust" => return code_trust::remove(context, command).await,
        "block-code-trust" => return code_trust::block(context, command).await,
        "unblock-code-trust" => return code_trust::unblock(context, command).await,
        "revoke-code-signing-certificate" => return code_trust::revoke(context, command).await,
        "list-code-entities" => return code_entities::list(context, command).await,
        // The documentation spells it both ways.
        "show-code-trust" | "show-codetrust" => return code_trust_report::show(context, command).await,
        "list-code-signing-certificates" => return signing::certificates(context, command).await,
        "list-code-signing-root-certificates" => return signing::roots(context, command).await,
        "export-code-signing-root-certificate" => return signing::export(context, command).await,
        "import-code-signing-certificate" => return signing::import(context, command).await,
        "remove-code-signing-root-certificate" => return signing::remove_root(context, command).await,
        "reset-code-trust" => return signing::reset(context, command).await,
        "re-sign-mod" => return re_sign::run(context, command).await,
        "explain-code-trust" => return explain(context, command).await,
        "trust" => return script::trust(context, command).await,
        "untrust" => return script::untrust(context, command).await,
        "find-analysis-scripts" => return find::find(context, command).await,
        "set-license" => return license::set(context, command).await,
        "remove-license" => return license::remove(context, command).await,
        "list-licenses" => return license::list(context, command).await,
        "list-obsolete-licenses" => return license::list_obsolete(context, command).await,
        "delete-obsolete-licenses" => return license::delete_obsolete(context, command).await,
        "add-member" => return group::add(context, command).await,
        "remove-member" => return group::remove(context, command).await,
        "copy-group-membership" => return group::copy(context, command).await,
        "list-groups" => return group::list(context, command).await,
        "export-groups" => return group_file::export(context, command).await,
        "import-groups" => return group_file::import(context, command).await,
        "enable-user" => return group::enable(context, command).await,
        "delete-user" => return user::delete(context, command).await,
        "delete-disabled-users" => return user::delete_disabled(context, command).await,
        _ => {}
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => Err(Failure::failed("not-yet", refusal(command))),
        None => Err(Failure::usage(format!(
            "\"{}\" is not a documented command; muster compat --list shows all",
            escaped(name)
        ))),
    }
}

/// `explain-code-trust`, which the documented commands lack: with the options of `muster trust explain`.
async fn explain(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let rest = arguments.iter().skip(1).cloned();
    let native: Vec<String> = ["trust", "explain"]
        .map(str::to_owned)
        .into_iter()
        .chain(rest)
        .collect();
    match options_of::<trust::Trust>("muster trust", &native)? {
        Some(parsed) => trust::run(context, parsed.command).await,
        None => Ok(()),
    }
}

fn refusal(command: &Documented) -> String {
    match command.instead {
        Some(instead) => format!(
            "{} does not work under its documented name yet; use muster {instead}",
            command.name
        ),
        None => format!(
            "{} does not work yet: this version has nothing that does the same",
            command.name
        ),
    }
}

fn list(context: &Context) -> Result<(), Failure> {
    let lines: Vec<_> = COMMANDS
        .iter()
        .map(|command| Line {
            command: command.name,
            state: command.state.text(),
            instead: command.instead,
        })
        .collect();
    context.show(&lines, || {
        table::rows(
            ["command", "state", "instead"],
            lines.iter().map(|line| {
                let instead = line
                    .instead
                    .map_or_else(table::dash, |instead| format!("muster {instead}"));
                [line.command.to_owned(), line.state.clone(), instead]
            }),
            "",
            context.colour,
        )
    })
}
