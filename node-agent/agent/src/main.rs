//! `muster-node`: the node agent and its commands.

#![forbid(unsafe_code)]

mod command;

use std::process::ExitCode;

use clap::Parser as _;
use muster_agent::cli::{Cli, Output};
use tokio::runtime::{Builder, Runtime};

use crate::command::Failure;

/// Two threads, so that reading a large result does not hold up a cancel; few more for files, with small stacks,
/// because the agent is to be small while it waits.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(8)
        .thread_keep_alive(std::time::Duration::from_secs(5))
        .enable_all()
        .build()
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return command::usage(&error),
    };
    let output = cli.output;
    let result = runtime()
        .map_err(|error| Failure::of("system", &error))
        .and_then(|runtime| runtime.block_on(command::run(cli)));
    match result {
        Ok(code) => code,
        Err(failure) => {
            command::complain(&failure, output == Output::Json);
            ExitCode::from(failure.exit)
        }
    }
}
