//! The rows: one table for people, one file for programs.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

use anyhow::Context as _;
use serde::Serialize;

use crate::sample::median;

/// One measurement, as `summary.json` has it.
#[derive(Serialize)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) better: &'static str,
    pub(crate) peer: Option<&'static str>,
    pub(crate) peer_value: Option<f64>,
    /// Ours divided by the peer's.
    pub(crate) ratio: Option<f64>,
}

impl Row {
    /// A measurement without a peer, of which less is better.
    pub(crate) fn alone(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self {
            name,
            value: rounded(value),
            unit,
            better: "lower",
            peer: None,
            peer_value: None,
            ratio: None,
        }
    }

    /// How often something is done in a second.
    pub(crate) fn rate(name: &'static str, value: f64) -> Self {
        Self {
            better: "higher",
            ..Self::alone(name, value, "1/s")
        }
    }

    /// Rates of the same rounds, ours and a peer's.
    pub(crate) fn rates_beside(name: &'static str, ours: &[f64], peer: &'static str, theirs: &[f64]) -> Self {
        Self {
            better: "higher",
            unit: "1/s",
            ..Self::beside(name, ours, peer, theirs)
        }
    }

    /// Times of the same rounds, ours and a peer's, in milliseconds.
    pub(crate) fn beside(name: &'static str, ours: &[f64], peer: &'static str, theirs: &[f64]) -> Self {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs);
        Self {
            peer: Some(peer),
            peer_value: Some(rounded(median(theirs.to_vec()))),
            ratio: Some(fine(median(ratios.collect()))),
            ..Self::alone(name, median(ours.to_vec()), "ms")
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// With as many places as a ratio needs that is a thousandth.
fn fine(value: f64) -> f64 {
    (value * 1_000_000.0).round() / 1_000_000.0
}

/// Writes the file and prints the table.
pub(crate) fn publish(file: &Path, rows: &[Row]) -> anyhow::Result<()> {
    let folder = file.parent().context("the results have no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let mut json = serde_json::to_string_pretty(rows)?;
    json.push('\n');
    fs::write(file, json).with_context(|| format!("write {}", file.display()))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", machine())?;
    writeln!(
        out,
        "{:<28} {:>10} {:<4} {:>10} {:>7}  peer",
        "row", "value", "unit", "peer's", "ratio"
    )?;
    for row in rows {
        let shown = |number: Option<f64>| {
            number.map_or_else(
                || "-".to_owned(),
                |number| match number {
                    small if small > 0.0 && small < 0.1 => format!("{small:.5}"),
                    number => format!("{number:.2}"),
                },
            )
        };
        writeln!(
            out,
            "{:<28} {:>10} {:<4} {:>10} {:>7}  {}",
            row.name,
            shown(Some(row.value)),
            row.unit,
            shown(row.peer_value),
            shown(row.ratio),
            row.peer.unwrap_or("-")
        )?;
    }
    writeln!(out, "written to {}", file.display())?;
    Ok(())
}

/// What the numbers depend on most.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let about_processors = read("/proc/cpuinfo");
    let model = about_processors
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |line| {
            line.trim_start_matches([' ', '\t', ':'])
        });
    let release = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores ({model}), Linux {}, load {}",
        release.trim(),
        load.split(' ').next().unwrap_or("unknown")
    )
}

/// Tells a person how far it is.
pub(crate) fn note(words: &str) {
    let _ = writeln!(io::stderr(), "{words}");
}

/// Why there are no results.
pub(crate) fn complain(words: &str) {
    let _ = writeln!(io::stderr(), "benchmarks: {words}");
}
