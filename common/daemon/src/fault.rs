//! What tests break in a program that runs: the clock of its machine, and messages on their way to it.
//!
//! Nothing of it is there unless the feature `crash-points` is on, which no package has.

use std::{path::PathBuf, sync::OnceLock};

/// How wrong the machine's wall clock is, milliseconds: what the file says that `MUSTER_WALL_CLOCK_OFF` names, read each
/// time, so that the clock of a program that runs can be set.
pub(crate) fn wall_clock_off() -> i64 {
    static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
    if !cfg!(feature = "crash-points") {
        return 0;
    }
    let file = FILE.get_or_init(|| std::env::var_os("MUSTER_WALL_CLOCK_OFF").map(PathBuf::from));
    let text = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

/// Whether messages of this kind do not arrive: `MUSTER_LOST` is `kind`.
pub fn is_lost(kind: &str) -> bool {
    cfg!(feature = "crash-points") && std::env::var_os("MUSTER_LOST").is_some_and(|lost| lost == kind)
}
