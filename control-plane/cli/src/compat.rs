//! `muster compat`: the documented administration commands under their own names.
//!
//! Invariant: nothing is accepted and ignored. A command works as documented, or it is refused with what to use.

mod commands;

use clap::Args;
use serde::Serialize;

use crate::{context::Context, escape::escaped, failure::Failure, table};
use commands::{COMMANDS, Documented};

/// The documented administration commands under their own names
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster compat --list\n  muster compat list-nodes\n\n\
                  A command that does not work yet is refused, with the command of muster that does the same, if there is one."
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
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    instead: Option<&'static str>,
}

/// What a command's feature is like in this version. None of the documented names is implemented yet.
const NOT_YET: &str = "not yet";

/// Lists the documented commands, or does one.
pub(crate) fn run(context: &Context, arguments: &Compat) -> Result<(), Failure> {
    if arguments.list {
        return list(context);
    }
    let name = arguments.command.first().map_or("", String::as_str);
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => Err(Failure::failed("not-yet", refusal(command))),
        None => Err(Failure::usage(format!(
            "\"{}\" is not a documented command; muster compat --list shows all",
            escaped(name)
        ))),
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
            state: NOT_YET,
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
                [line.command.to_owned(), line.state.to_owned(), instead]
            }),
            "",
            context.colour,
        )
    })
}
