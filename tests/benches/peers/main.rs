//! The benchmarks: the product beside its peers, in one run on one machine.
//!
//! Invariant: a ratio compares times of the same round, and rounds rotate their order, so that whatever else the
//! machine does falls on both sides alike. docs/reference/benchmarks.md says what each row means.

#![forbid(unsafe_code)]

mod approve;
mod cancel;
mod collective;
mod decide;
mod engines;
mod fleet;
mod jail;
mod memory;
mod programs;
mod propagation;
mod rate;
mod report;
mod revocation;
mod runs;
mod sample;
mod spawn;

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::programs::Programs;

/// Rounds of each jail comparison, and runs of each function.
const ROUNDS: usize = 30;

/// Nodes of the fleet.
const NODES: usize = 5_000;

/// What the command line asks for.
struct Wanted {
    rounds: usize,
    nodes: usize,
    /// One of [`PARTS`], or all of them.
    only: Option<String>,
}

/// The parts that can be measured by themselves.
const PARTS: [&str; 10] = [
    "decide",
    "jail",
    "engines",
    "collective",
    "rate",
    "cancel",
    "fleet",
    "revocation",
    "propagation",
    "approve",
];

impl Wanted {
    fn wants(&self, part: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == part)
    }
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).peekable();
    let outcome = if arguments.peek().is_some_and(|first| first == spawn::ARGUMENT) {
        spawn::main(arguments.skip(1))
    } else if arguments
        .peek()
        .is_some_and(|first| first == propagation::ARGUMENT)
    {
        propagation::subscribe(arguments.skip(1))
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

/// `--rounds N`, `--nodes N` and `--only` one of [`PARTS`]; cargo adds `--bench`.
fn wanted(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Wanted> {
    let mut wanted = Wanted {
        rounds: ROUNDS,
        nodes: NODES,
        only: None,
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
            "--nodes" => {
                let number = arguments.next().and_then(|number| number.parse().ok());
                wanted.nodes = number
                    .filter(|number| *number > 0)
                    .context("--nodes takes a number of at least 1")?;
            }
            "--only" => {
                wanted.only = arguments.next();
                if !wanted.only.as_deref().is_some_and(|only| PARTS.contains(&only)) {
                    bail!("--only takes one of {}", PARTS.join(", "));
                }
            }
            other => {
                bail!(
                    "{other:?} is no option; there are --rounds N, --nodes N and --only {}",
                    PARTS.join("|")
                )
            }
        }
    }
    Ok(wanted)
}

fn measure(wanted: &Wanted) -> anyhow::Result<()> {
    let programs = Programs::beside_this_one()?;
    let mut rows = Vec::new();
    // First: what a trust state takes is read off this process, before anything else has used its memory.
    if wanted.wants("decide") {
        rows.extend(decide::rows(wanted.rounds)?);
    }
    if wanted.wants("jail") {
        rows.extend(jail::rows(&programs, wanted.rounds)?);
    }
    if wanted.wants("collective") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(runs::rows(&programs, wanted.rounds))?);
    }
    if wanted.wants("engines") {
        let runtime = tokio::runtime::Runtime::new()?;
        rows.extend(runtime.block_on(engines::rows(&programs, wanted.rounds))?);
    }
    if wanted.wants("rate") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(rate::rows(&programs))?);
    }
    if wanted.wants("cancel") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(cancel::rows(&programs))?);
    }
    if wanted.wants("fleet") {
        let runtime = tokio::runtime::Runtime::new()?;
        rows.extend(runtime.block_on(fleet::rows(wanted.nodes))?);
    }
    if wanted.wants("revocation") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(revocation::rows())?);
    }
    if wanted.wants("propagation") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(propagation::rows(wanted.rounds))?);
    }
    if wanted.wants("approve") {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        rows.extend(runtime.block_on(approve::rows(&programs))?);
    }
    report::publish(&programs.summary(), &rows)
}
