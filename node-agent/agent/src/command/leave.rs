//! `leave`: asks, tells the control plane, forgets.

use std::process::ExitCode;

use muster_agent::{credentials::Credentials, home::Home, leave};

use super::{Context, Failure, ask, is_terminal, note};

pub(super) async fn leave(context: &Context, yes: bool, force: bool) -> Result<ExitCode, Failure> {
    let home = Home::open(&context.state_dir).map_err(|error| Failure::of("state-folder", &error))?;
    let _lock = home.lock().map_err(|error| Failure::of("in-use", &error))?;
    leave::check(&home, force).map_err(|error| Failure::of("unacknowledged-runs", &error))?;
    if !yes {
        if !is_terminal() {
            return Err(Failure::new(
                "not-asked",
                "there is no terminal to ask on; use --yes to leave without being asked",
            ));
        }
        if !ask("Leave the collective and forget the key of this node?") {
            return Err(Failure::new("not-wanted", "the node stays as it is"));
        }
    }
    // An unusable identity must not keep a node from leaving.
    let credentials = Credentials::peek(&home).unwrap_or_else(|error| {
        note(&muster_agent::sentence(&error));
        None
    });
    if let Err(error) = leave::tell(
        credentials.as_ref(),
        &context.config,
        &context.clock,
        &context.random,
    )
    .await
    {
        note(&format!(
            "The control plane could not be told ({error}); have an administrator delete this node there."
        ));
    }
    leave::forget(&home).map_err(|error| Failure::of("leave", &error))?;
    note("This node has left.");
    Ok(ExitCode::SUCCESS)
}
