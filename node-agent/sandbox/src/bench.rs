//! The smallest engine, and with it the self-test on request and the benchmark of a run that returns at once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    client::{self, Launcher},
    engine::{self, Role},
    failure::{Attempt as _, Failure},
    frame,
    kernel::process,
    protocol::{FromLauncher, Limits, Mode, Mount, Network, Programs, Stage, Start, Supervised},
};

/// Where the program shows itself in its own jail.
const INSIDE: &str = "/opt/muster-jail";
/// The argument that makes it an engine.
pub const ENGINE_ARGUMENT: &str = "--engine";

const LIMITS: Limits = Limits {
    memory_bytes: 256 * 1024 * 1024,
    processes: 64,
    open_files: 256,
    scratch_bytes: 16 * 1024 * 1024,
    cpu_seconds: 10,
    wall_ms: 10_000,
    output_bytes: 1024 * 1024,
};

/// The engine: payloads lock themselves and leave. Returns the exit code.
pub fn engine() -> i32 {
    match engine::serve() {
        Ok(Role::Payload) => match engine::lock("restricted") {
            // Without a last word, after which it would be killed: what is measured goes on to the end of the process.
            Ok(()) => process::leave(0),
            Err(failure) => engine::leave("script_error", &failure.in_words(), 1),
        },
        Ok(Role::Abandoned) => 0,
        Err(_) => 1,
    }
}

/// Builds a jail with the smallest engine and runs once. What the launcher said when it was ready.
pub fn self_test(program: &Path) -> Result<FromLauncher, Failure> {
    let launcher = Launcher::start(program, start(program))?;
    let ready = launcher.until_ready()?;
    once(&launcher, 0)?;
    launcher.close()?;
    Ok(ready)
}

/// Microseconds of `count` runs, each from the request to the end of a locked payload that returns at once.
pub fn spawn(program: &Path, count: u64) -> Result<Vec<u64>, Failure> {
    let launcher = Launcher::start(program, start(program))?;
    launcher.until_ready()?;
    // The first one pays for memory that later ones find ready.
    once(&launcher, 0)?;
    let samples = (1..=count)
        .map(|run| once(&launcher, run))
        .collect::<Result<_, _>>()?;
    launcher.close()?;
    Ok(samples)
}

fn once(launcher: &Launcher, number: u64) -> Result<u64, Failure> {
    let run = serde_json::value::to_raw_value(&()).map_err(|error| Failure::rule(error.to_string()))?;
    let stage = Stage {
        files: Vec::new(),
        outputs: Vec::new(),
        limits: None,
        stays: false,
        run,
    };
    let before = now_us();
    let run = launcher.ask(number, LIMITS)?;
    run.stage(&stage, &[])?;
    loop {
        match frame::read(&run.supervisor).attempt("read what the supervisor says")? {
            Some(Supervised::Ended { exit, .. }) => {
                let after = now_us();
                if exit != crate::protocol::Exit::Code(0) {
                    return Err(Failure::rule(format!("the run ended with {exit:?}")));
                }
                return match launcher.receive()? {
                    Some(FromLauncher::Forked { .. }) => Ok(after - before),
                    other => Err(Failure::rule(format!("the launcher answered {other:?}"))),
                };
            }
            Some(_) => {}
            None => {
                return Err(match launcher.receive()? {
                    Some(FromLauncher::NotForked { why, .. }) => Failure::Rule(why),
                    _ => Failure::rule(format!("the run broke off: {}", run.finish()?.stderr.trim())),
                });
            }
        }
    }
}

fn start(program: &Path) -> Start {
    Start {
        command: vec![INSIDE.to_owned(), ENGINE_ARGUMENT.to_owned()],
        environment: BTreeMap::new(),
        mode: Mode::Restricted,
        network: Network::None,
        programs: Programs::None,
        mounts: vec![Mount {
            source: program.to_owned(),
            target: PathBuf::from(INSIDE),
            writable: false,
            by_policy: false,
        }],
        ids: client::spare_ids(),
        limits: LIMITS,
    }
}

fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1000
}
