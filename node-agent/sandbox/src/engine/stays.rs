//! A payload that stays: when its run has succeeded, it waits for the next one of the same session.
//!
//! ```text
//! staged ── the script ── succeeded(): Finished ── waits ── tidies, staged anew ── the script ── …
//!                              └── its stage did not say that it stays, or the agent hung up: leaves
//! ```
//!
//! Invariant: it stays the process that it is: user, mode, walls and limits are those of its lock. Every other ending of a
//! run is the end of the payload.

use std::{
    fs::File,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    payload::{self, SCRATCH},
    stage,
};
use crate::{
    failure::{Attempt as _, Failure},
    frame,
    kernel::process,
    protocol::{Report, Stage},
};

/// Whether the run at hand is not the last one.
static STAYS: AtomicBool = AtomicBool::new(false);

/// What the stage of the run says.
pub(super) fn note(stays: bool) {
    STAYS.store(stays, Ordering::Relaxed);
}

/// Tells the agent that the run has succeeded. Comes back with the next one in the scratch folder, or never.
pub(crate) fn succeeded() -> Result<(), Failure> {
    if !STAYS.load(Ordering::Relaxed) {
        payload::leave("succeeded", "", 0);
    }
    payload::report(&Report::Finished {
        ending: "succeeded".to_owned(),
        message: String::new(),
    })?;
    let control = File::from(payload::copy_of(payload::control())?);
    let next: Option<Stage> = frame::read(&control).attempt("wait for the next run")?;
    let Some(next) = next else { process::leave(0) };
    note(next.stays);
    let scratch = Path::new(SCRATCH);
    stage::tidy(scratch)?;
    stage::unpack(next, &control, scratch).map(drop)
}
