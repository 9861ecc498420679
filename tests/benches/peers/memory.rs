//! What idle processes keep in memory, as the kernel counts it.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context as _, ensure};

use crate::sample::number;

/// A process that used no processor time for this long is idle …
const QUIET: Duration = Duration::from_secs(3);
/// … and has this long to become so.
const PATIENCE: Duration = Duration::from_mins(2);
/// The heartbeat and the pings every ten seconds may cost one tick of 10 ms.
const TICKS: u64 = 1;

/// Waits until none of the processes uses the processor.
pub(crate) async fn until_idle(processes: &[u32]) -> anyhow::Result<()> {
    let mut waited = Duration::ZERO;
    let used = |processes: &[u32]| {
        processes
            .iter()
            .map(|pid| ticks(*pid))
            .sum::<anyhow::Result<u64>>()
    };
    let mut before = used(processes)?;
    loop {
        tokio::time::sleep(QUIET).await;
        let now = used(processes)?;
        if now - before <= TICKS {
            return Ok(());
        }
        waited += QUIET;
        ensure!(
            waited < PATIENCE,
            "the processes {processes:?} do not become idle: {} ticks in {} s",
            now - before,
            QUIET.as_secs()
        );
        before = now;
    }
}

/// The resident memory of a process, in MiB.
pub(crate) fn resident_mb(pid: u32) -> anyhow::Result<f64> {
    field_mb(&format!("/proc/{pid}/status"), "VmRSS:")
}

/// The memory of all that a process started, in MiB; pages that several share count once in all.
pub(crate) fn descendants_mb(pid: u32) -> anyhow::Result<f64> {
    let parents = parents()?;
    let below = |process: u32| {
        std::iter::successors(parents.get(&process), |parent| parents.get(parent))
            .any(|parent| *parent == pid)
    };
    parents
        .keys()
        .filter(|process| below(**process))
        .map(|process| field_mb(&format!("/proc/{process}/smaps_rollup"), "Pss:"))
        .sum()
}

/// Who started whom.
fn parents() -> anyhow::Result<BTreeMap<u32, u32>> {
    let mut parents = BTreeMap::new();
    for entry in fs::read_dir("/proc").context("read /proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // A process that has ended since is none.
        if let Ok(parent) = stat_field(pid, 1) {
            parents.insert(pid, u32::try_from(parent)?);
        }
    }
    Ok(parents)
}

/// User and system time of a process, in ticks.
pub(crate) fn ticks(pid: u32) -> anyhow::Result<u64> {
    Ok(stat_field(pid, 11)? + stat_field(pid, 12)?)
}

/// A number of /proc/PID/stat, counted from the state, which follows the name in brackets.
fn stat_field(pid: u32, index: usize) -> anyhow::Result<u64> {
    let stat =
        fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("look at process {pid}"))?;
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let field = fields.split(' ').nth(index).context("/proc/PID/stat is short")?;
    Ok(field.parse()?)
}

/// A line such as `VmRSS:  1234 kB`.
fn field_mb(path: &str, field: &str) -> anyhow::Result<f64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let size = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .with_context(|| format!("{path} has a line {field}"))?;
    Ok(number(size.trim().parse()?) / 1024.0)
}
