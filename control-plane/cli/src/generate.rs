//! Completions and manual pages, from the definition of the command line.

use std::path::PathBuf;

use clap::{Args, CommandFactory as _, ValueEnum};

use crate::{cli::Cli, context::Context, failure::Failure, output};

/// A shell.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Shell {
    /// GNU Bash
    Bash,
    /// Z shell
    Zsh,
    /// fish
    Fish,
}

/// Print a completion script for a shell
#[derive(Args)]
#[command(
    after_help = "Example:\n  muster completions bash > ~/.local/share/bash-completion/completions/muster"
)]
pub(crate) struct Completions {
    /// For which shell
    shell: Shell,
}

/// Write the manual pages into a folder
#[derive(Args)]
pub(crate) struct Man {
    /// An existing folder
    folder: PathBuf,
}

/// Prints a completion script.
pub(crate) fn completions(arguments: &Completions) -> Result<(), Failure> {
    let mut script = Vec::new();
    let shell = match arguments.shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    clap_complete::generate(shell, &mut Cli::command(), "muster", &mut script);
    output::bytes(&script)
}

/// Writes one page a command.
pub(crate) fn manual(context: &Context, arguments: &Man) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), &arguments.folder).map_err(|error| {
        Failure::failed(
            "file",
            format!(
                "cannot write the manual pages to {} ({error}); name an existing folder",
                arguments.folder.display()
            ),
        )
    })?;
    context.done(&format!(
        "Wrote the manual pages to {}.",
        arguments.folder.display()
    ))
}
