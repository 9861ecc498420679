//! How long a locked child of the launcher takes, beside the plainest start of a program and beside bubblewrap.

use std::path::Path;

use anyhow::Context as _;

use crate::{
    programs::Programs,
    report::{Row, note},
    sample::{median, number},
    spawn,
};

/// Starts in one batch of one contender.
const BATCH: &str = "20";
/// The program that does nothing.
const NOTHING: &str = "/bin/true";
/// Like isolation: all namespaces, a root of its own that can only be read, /proc, /dev and /tmp of its own.
const BUBBLEWRAP: [&str; 24] = [
    "/usr/bin/bwrap",
    "--unshare-all",
    "--die-with-parent",
    "--new-session",
    "--ro-bind",
    "/usr",
    "/usr",
    "--symlink",
    "usr/bin",
    "/bin",
    "--symlink",
    "usr/lib",
    "/lib",
    "--symlink",
    "usr/lib64",
    "/lib64",
    "--proc",
    "/proc",
    "--dev",
    "/dev",
    "--tmpfs",
    "/tmp",
    "--",
    NOTHING,
];

/// Three contenders in each round, each first, second and third equally often.
pub(crate) fn rows(programs: &Programs, rounds: usize) -> anyhow::Result<Vec<Row>> {
    note(&format!("jail: {rounds} rounds"));
    let this = std::env::current_exe().context("find this program")?;
    let jail = programs.jail()?;
    let mut bubblewrap = vec![spawn::ARGUMENT, BATCH];
    bubblewrap.extend(BUBBLEWRAP);
    let contenders: [(&Path, Vec<&str>); 3] = [
        (&jail, vec!["--bench-spawn", BATCH]),
        (&this, vec![spawn::ARGUMENT, BATCH, NOTHING]),
        (&this, bubblewrap),
    ];
    let mut times = [const { Vec::new() }; 3];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let which = (round + turn) % contenders.len();
            let (program, arguments) = &contenders[which];
            let samples = spawn::batch(program, arguments)?.samples_us;
            times[which].push(median(samples.into_iter().map(number).collect()) / 1000.0);
        }
    }
    let [jail, plain, bubblewrap] = times;
    Ok(vec![
        Row::beside("jail_start_vs_spawn", &jail, "posix_spawn /bin/true", &plain),
        Row::beside("jail_start_vs_bwrap", &jail, "bwrap /bin/true", &bubblewrap),
    ])
}
