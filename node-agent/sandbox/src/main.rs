//! `muster-jail`: started by the node agent or by systemd with a packet socket as standard input.

use std::{io::Write as _, path::PathBuf, process::ExitCode};

use muster_lock::{Failure, bench, launcher, protocol::FromLauncher};

const HELP: &str = "muster-jail builds the jail in which data functions run.

It is started by muster-node, or by systemd through muster-jail.socket, and speaks on standard input.

Usage: muster-jail [--self-test | --version | --help]

  --self-test   Build a jail, attack it, run once in it; say what holds. Exits with 0 if it stands, else with 1.
  --version     Print the version.
  --help        Print this.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        None => return code(launcher::run()),
        Some(bench::ENGINE_ARGUMENT) => return code(bench::engine()),
        Some("--version") => Ok(format!("muster-jail {}\n", env!("CARGO_PKG_VERSION"))),
        Some("--help") => Ok(HELP.to_owned()),
        Some("--self-test") => this_program()
            .and_then(|program| bench::self_test(&program))
            .map(in_words),
        // Not in the help: the benchmarks of the source tree call it.
        Some("--bench-spawn") => {
            let count = arguments
                .next()
                .and_then(|count| count.parse().ok())
                .unwrap_or(100);
            this_program()
                .and_then(|program| bench::spawn(&program, count))
                .map(|samples| format!("{{\"samples_us\":{samples:?}}}\n"))
        }
        Some(other) => Err(Failure::rule(format!(
            "{other:?} is no option of muster-jail; see --help"
        ))),
    };
    // A closed standard stream is the caller's wish.
    match outcome {
        Ok(words) => {
            let _ = std::io::stdout().write_all(words.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "muster-jail: {}", failure.in_words());
            ExitCode::FAILURE
        }
    }
}

fn code(code: i32) -> ExitCode {
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn this_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::rule(format!("cannot find this program: {error}")))
}

fn in_words(ready: FromLauncher) -> String {
    match ready {
        FromLauncher::Ready {
            landlock_abi,
            degraded,
            own_ids,
        } => {
            let mut words = format!("The jail stands: Landlock version {landlock_abi}");
            words.push_str(if own_ids {
                ", a user of its own for each run.\n"
            } else {
                ", one user for all runs.\n"
            });
            for one in degraded {
                words.push_str("Limits are degraded: ");
                words.push_str(&one);
                words.push_str(".\n");
            }
            words
        }
        other => format!("{other:?}\n"),
    }
}
