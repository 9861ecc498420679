//! The only place that starts processes: an engine that is asked for its version, and `muster-jail`.
//!
//! No hook runs between fork and exec, so that the standard library uses posix_spawn and a large agent does not
//! pay for copying its page tables.

use std::{io, os::fd::OwnedFd, path::Path, process::Stdio, time::Duration};

use tokio::process::{Child, Command};

/// A version that takes longer is no version.
const PATIENCE: Duration = Duration::from_secs(30);

#[expect(
    clippy::disallowed_methods,
    reason = "this module is where engines' processes are started"
)]
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().kill_on_drop(true);
    command
}

/// What `program` prints when it is run with these arguments; an error says why there is nothing.
pub(crate) async fn output(
    program: &Path,
    arguments: &[&str],
    environment: &[(String, String)],
) -> Result<String, String> {
    let running = command(program)
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .output();
    let output = tokio::time::timeout(PATIENCE, running)
        .await
        .map_err(|_| {
            format!(
                "{} did not answer within {} s",
                program.display(),
                PATIENCE.as_secs()
            )
        })?
        .map_err(|error| format!("{} cannot be executed: {error}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!(
            "{} ended with {}: {}",
            program.display(),
            output.status,
            said.trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Starts the launcher with its connection as standard input and an empty environment.
pub(crate) fn spawn_jail(program: &Path, connection: OwnedFd) -> io::Result<Child> {
    command(program)
        .stdin(Stdio::from(connection))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
}
