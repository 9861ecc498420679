//! Process 1 of the jail: takes its place, builds the root, attacks it, starts the engine, serves.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use super::{
    Go,
    engine::{Engine, Entry},
    root::{self, Parts},
    self_test,
    serve::Serving,
};
use crate::{
    failure::{Attempt as _, Failure},
    kernel::{identity, landlock, network, signals},
    link::Walls,
    packet,
    protocol::{FromLauncher, Network, Start},
};

/// Runs to the jail's end. The exit code: 0 when the agent or the launcher hung up, 1 after telling the agent why.
pub(super) fn run(connection: &OwnedFd, outside: &OwnedFd, start: &Start, kills: Option<File>) -> i32 {
    match build_and_serve(connection, outside, start, kills) {
        Ok(()) => 0,
        Err(failure) => {
            super::complain(&failure);
            let _ = packet::send(
                connection,
                &FromLauncher::Refused {
                    why: failure.in_words(),
                },
                &[],
            );
            1
        }
    }
}

fn build_and_serve(
    connection: &OwnedFd,
    outside: &OwnedFd,
    start: &Start,
    kills: Option<File>,
) -> Result<(), Failure> {
    let Some((
        Go {
            degraded,
            memory_group,
        },
        _,
    )) = packet::receive::<Go>(outside)?
    else {
        return Ok(());
    };
    let abi = landlock::version()?;
    // Still with the launcher's rights to files: the agent's folders may be closed to the jail's users.
    let parts = Parts::collect(start)?;
    identity::become_id(0)?;
    identity::die_with_parent()?;
    identity::set_dumpable(false)?;
    // No terminal, no process group of the agent.
    rustix::process::setsid().attempt("begin a session of its own")?;
    rustix::system::sethostname(b"jail").attempt("name the jail")?;
    let door = match start.network {
        Network::Host => None,
        Network::None => {
            network::demand_empty()?;
            None
        }
        Network::Brokered => {
            network::demand_empty()?;
            // Before there is anybody who could take its place.
            Some(network::door()?)
        }
    };
    // Whatever mask the unit has: the root is for each user of the jail, and what trusted code writes into a folder of
    // the host is for more than the user of its run. A run's own folder is closed by its mode.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let shown = parts.enter()?;
    let walls = Walls {
        mode: start.mode,
        programs: root::resolved(&start.programs),
        abi,
        readable: shown.readable,
        writable: shown.writable,
    };
    let mut serving = Serving::new(start, walls, memory_group, kills);
    // Children are reaped by name until serving begins.
    self_test::attack(&mut serving, outside)?;
    let ready = FromLauncher::Ready {
        landlock_abi: u32::try_from(abi).unwrap_or(0),
        degraded,
        own_ids: start.ids.is_some(),
    };
    if start.command.is_empty() {
        return packet::send(connection, &ready, &[]);
    }
    let mut engine = Engine::start(
        &Entry::Program(&start.command, &start.environment),
        serving.kills(),
    )?;
    engine.until_ready(outside)?;
    root::close_programs(&serving.walls().programs)?;
    let children = signals::children()?;
    let beside: Vec<_> = door.iter().map(|door| door.as_fd()).collect();
    packet::send(connection, &ready, &beside)?;
    drop(door);
    serving.serve(connection, outside, &children, engine)
}
