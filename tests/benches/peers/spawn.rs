//! Programs started one after the other by a small process: this program called as a helper of itself.
//!
//! What a start costs can depend on the size of the process that asks for it, so the peers are not started by the
//! process that measures the rest.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::sample::now_us;

/// The first argument of the helper; then come how often, and the command.
pub(crate) const ARGUMENT: &str = "--spawn";

/// What a batch prints; `muster-jail --bench-spawn` prints the same.
#[derive(Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) samples_us: Vec<u64>,
}

/// The helper: starts the command and waits for it, as often as it is told, and once before.
pub(crate) fn main(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let count: u32 = arguments
        .next()
        .and_then(|count| count.parse().ok())
        .context("say how often")?;
    let command: Vec<String> = arguments.collect();
    once(&command)?;
    let samples_us = (0..count).map(|_| once(&command)).collect::<Result<_, _>>()?;
    serde_json::to_writer(std::io::stdout(), &Batch { samples_us })?;
    std::io::stdout().flush()?;
    Ok(())
}

/// Without a hook between fork and exec, the standard library uses posix_spawn.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts the peers")]
fn once(command: &[String]) -> anyhow::Result<u64> {
    let (program, arguments) = command.split_first().context("say which program")?;
    let mut command = Command::new(program);
    command.args(arguments);
    let before = now_us();
    let status = command.status().with_context(|| format!("start {program}"))?;
    let after = now_us();
    ensure!(status.success(), "{program} ended with {status}");
    Ok(after - before)
}

/// Runs a program that prints a batch, and takes the batch.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
pub(crate) fn batch(program: &std::path::Path, arguments: &[&str]) -> anyhow::Result<Batch> {
    let output = Command::new(program)
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("start {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}",
        program.display(),
        output.status
    );
    serde_json::from_slice(&output.stdout).with_context(|| format!("read what {} printed", program.display()))
}
