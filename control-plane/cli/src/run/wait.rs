//! Waiting for a run to end.
//!
//! Invariant: a run is queued once. When the connection breaks while it is waited for, only the question is
//! asked again.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use muster_client::{ClientError, Request, Rest};
use muster_wire::admin::v1::run::Run;

use super::{PATH, at};
use crate::{escape::escaped, failure::Failure};

/// How long the control plane is asked to wait before it answers.
const SPAN: &str = "30s";
/// The same while a person sees that the run is queued: the answer comes at the end of the run or of this time, and the
/// run may have begun.
const LOOK: &str = "2s";
/// How long that answer may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// How often the question is asked again when no control plane can be reached.
const ATTEMPTS: u32 = 10;
/// Between two questions: longer after failures, and never none, should the control plane answer without waiting.
const PAUSE: Duration = Duration::from_millis(200);

/// Whether a run does not go on from this state.
pub(crate) fn is_final(run: &Run) -> bool {
    !matches!(run.state.as_str(), "queued" | "running")
}

/// Waits until `run` has ended; with `progress` a terminal shows that.
pub(crate) async fn until_final(rest: &Rest, run: Run, progress: bool) -> Result<Run, Failure> {
    let spinner = if progress {
        spinner()
    } else {
        ProgressBar::hidden()
    };
    let id = run.id;
    let ended = tokio::select! {
        ended = ask(rest, run, &spinner) => ended,
        _ = tokio::signal::ctrl_c() => Err(Failure::failed(
            "run-not-awaited",
            format!("The run {id} goes on; see muster run show {id}, or end it with muster run cancel {id}."),
        )),
    };
    spinner.finish_and_clear();
    ended
}

async fn ask(rest: &Rest, mut run: Run, spinner: &ProgressBar) -> Result<Run, Failure> {
    let (mut failed, mut pause) = (0, Duration::ZERO);
    let seen = !spinner.is_hidden();
    while !is_final(&run) {
        spinner.set_message(format!("run {} is {}", run.id, escaped(&run.state)));
        tokio::time::sleep(pause).await;
        let request = at(Request::get(PATH), run.id)
            .query("wait", if seen && run.state == "queued" { LOOK } else { SPAN })
            .deadline(DEADLINE);
        match rest.call(request).await {
            Ok(newer) => (run, failed) = (newer, 0),
            Err(error) if is_passing(&error) && failed < ATTEMPTS => failed += 1,
            Err(error) => {
                return Err(Failure::failed(
                    "run-not-awaited",
                    format!(
                        "{} The run {id} goes on; see muster run show {id}.",
                        as_sentence(&Failure::from(error).sentence()),
                        id = run.id
                    ),
                ));
            }
        }
        pause = PAUSE * (failed * failed + 1);
    }
    Ok(run)
}

/// Whether the same question may be answered later.
pub(super) fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. }
        | ClientError::AllUnreachable(_)
        | ClientError::Broken { .. }
        | ClientError::Late { .. } => true,
        ClientError::Refused { problem, .. } => matches!(problem.status, 429 | 502..=504),
        _ => false,
    }
}

/// Draws on standard error, and only where that is a terminal.
fn spinner() -> ProgressBar {
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// `text` with a full stop, so that another sentence may follow.
fn as_sentence(text: &str) -> String {
    format!("{}.", text.trim_end_matches('.'))
}
