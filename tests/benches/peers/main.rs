//! The benchmarks: the product beside its peers, in one run on one machine.
//!
//! Invariant: a ratio compares times of the same round, and rounds rotate their order, so that whatever else the
//! machine does falls on both sides alike. docs/reference/benchmarks.md says what each row means.

#![forbid(unsafe_code)]

mod collective;
mod jail;
mod memory;
mod programs;
mod report;
mod runs;
mod sample;
mod spawn;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::programs::Programs;

/// Rounds of each jail comparison, and runs of each function.
const ROUNDS: usize = 30;

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    jail: bool,
    collective: bool,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let outcome = if arguments.peek().is_some_and(|first| first == spawn::ARGUMENT) {
        spawn::main(arguments.skip(1))
    } else {
        wanted(arguments).and_then(|wanted| measure(&wanted))
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report::complain(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// `--rounds N`, `--only jail|collective`; cargo adds `--bench`.
fn wanted(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        rounds: ROUNDS,
        jail: true,
        collective: true,
    };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--bench" => {}
            "--rounds" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                wanted.rounds = number
                    .filter(|number| *number > 0)
                    .context("--rounds takes a number of at least 1")?;
            }
            "--only" => match arguments.next().as_deref() {
                Some("jail") => wanted.collective = false,
                Some("collective") => wanted.jail = false,
                _ => bail!("--only takes jail or collective"),
            },
            other => bail!("{other:?} is no option; there are --rounds N and --only jail|collective"),
        }
    }
    Ok(wanted)
}

fn measure(wanted: &Wanted) -> anyhow::Result<()> {
    let programs = Programs::beside_this_one()?;
    let mut rows = Vec::new();
    if wanted.jail {
        rows.extend(jail::rows(&programs, wanted.rounds)?);
    }
    if wanted.collective {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(runs::rows(&programs, wanted.rounds))?);
    }
    report::publish(&programs.summary(), &rows)
}
