//! `muster`: the command line for administrators, script authors and automation.
//!
//! Invariant: it decides nothing. Each command is one or two calls of the REST API; what is shown on a terminal
//! is escaped, what is written as JSON is what the control plane said.

#![forbid(unsafe_code)]

mod audit;
mod authority;
mod certificate;
mod cli;
mod compat;
mod connect;
mod context;
mod csv;
mod escape;
mod failure;
mod function;
mod generate;
mod group;
mod item_file;
mod join;
mod join_token;
mod library;
mod license;
mod list;
mod node;
mod output;
mod pattern;
mod place;
mod policy;
mod profile;
mod run;
mod session;
mod setting;
mod status;
mod table;
mod terminal;
mod trust;
mod user;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{cli::Cli, context::Context, failure::Failure, output::Format};

fn main() -> ExitCode {
    let arguments = cli::arranged(std::env::args_os().collect());
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return failure::usage(&error, Format::wanted(&arguments)),
    };
    let format = cli.options.output;
    let context = Context::new(cli.options);
    // A question blocks only this thread: connections are kept alive on the other one meanwhile.
    let done = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("system", format!("cannot start: {error}")))
        .and_then(|runtime| runtime.block_on(cli::run(&context, cli.command)));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(format),
    }
}
