//! The program `muster-jail`: builds one jail, starts one engine in it, and forks runs as the agent asks.
//!
//! ```text
//! keeper (outside, watches)            removes the control group even when the launcher is killed
//!   launcher (outside)                 reads Start, makes the group, writes id maps, drops capabilities, watches
//!     jail's process 1 (inside)        root, self-test, engine, requests; writes the runs' id maps
//! ```
//!
//! Everything inside ends with the jail's process 1, which ends with the launcher, which ends with the connection.
//! Invariant: the agent hears `Ready` only from a jail that passed its own attacks.

mod engine;
mod ids;
mod jail;
mod keeper;
mod root;
mod self_test;
mod serve;
mod start;

use std::{
    ffi::OsString,
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags},
    process::{Pid, PidfdFlags, Signal, WaitOptions},
};

use crate::{
    failure::{Attempt as _, Failure},
    kernel::{
        cgroup::Group,
        identity::{self, Map},
        process::{self, Side},
    },
    packet,
    protocol::{FromLauncher, Network, Start, ToLauncher},
};

/// What the launcher tells the jail's process 1 when it is mapped and limited.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Go {
    degraded: Vec<String>,
    memory_group: bool,
}

/// Serves the connection on standard input until it ends. Returns the exit code: 0 after a hang-up of the agent.
pub fn run() -> i32 {
    let connection = match connection() {
        Ok(connection) => connection,
        Err(failure) => {
            complain(&failure);
            return 1;
        }
    };
    match launch(&connection) {
        Ok(code) => code,
        Err(failure) => {
            complain(&failure);
            // The agent may be gone already.
            let _ = packet::send(
                &connection,
                &FromLauncher::Refused {
                    why: failure.in_words(),
                },
                &[],
            );
            1
        }
    }
}

/// The standard input as connection; nothing else stays open, and no environment stays in memory.
fn connection() -> Result<OwnedFd, Failure> {
    if std::env::vars_os().next().is_some() {
        let arguments: Vec<String> = std::env::args_os()
            .map(OsString::into_string)
            .collect::<Result<_, _>>()
            .unwrap_or_default();
        return Err(process::execute("/proc/self/exe", &arguments, &[]));
    }
    process::close_all_but(&[])?;
    let connection = process::lifted(&process::inherited(0)?, 10)?;
    process::place(&process::null()?, 0, false)?;
    rustix::net::sockopt::socket_type(&connection)
        .attempt("use standard input as a socket; muster-jail is started by the agent or by systemd")?;
    Ok(connection)
}

/// What the agent asked for in a packet, if it is something that a launcher does. Public for those who send nonsense.
pub fn asked(packet: &[u8]) -> Result<ToLauncher, Failure> {
    let message = packet::parse(packet)?;
    if let ToLauncher::Start(start) = &message {
        start::check(start)?;
    }
    Ok(message)
}

fn launch(connection: &OwnedFd) -> Result<i32, Failure> {
    let start = match packet::receive::<ToLauncher>(connection)? {
        None => return Ok(0),
        Some((ToLauncher::Start(start), _)) => start,
        Some(_) => return Err(Failure::rule("the first message must be start")),
    };
    identity::set_dumpable(false)?;
    start::check(&start)?;
    let mut group = Group::create(
        std::process::id(),
        start.limits.memory_bytes,
        start.limits.processes,
    );
    let keeper = keeper::watch(&group)?;
    let outcome = enclosed(connection, &start, &mut group);
    // Whatever happened: the jail is dead, and the group goes before this process does.
    keeper.finish();
    outcome
}

fn enclosed(connection: &OwnedFd, start: &Start, group: &mut Group) -> Result<i32, Failure> {
    let (outside, inside) = packet::pair()?;
    let kills = group.kills();
    let mut namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    if start.network != Network::Host {
        namespaces |= libc::CLONE_NEWNET;
    }
    // The maps are files of the new process, which are root's unless it is dumpable.
    identity::set_dumpable(true)?;
    let Side::Parent(pid) = process::clone_into(namespaces)? else {
        drop(outside);
        process::leave(jail::run(connection, &inside, start, kills));
    };
    drop(inside);
    let jail = Jail { pid };
    let watched = rustix::process::pidfd_open(pid, PidfdFlags::empty()).attempt("watch the jail")?;
    map(pid, start)?;
    identity::set_dumpable(false)?;
    if let Err(failure) = group.enter(pid) {
        complain(&failure);
        (group.memory, group.processes) = (false, false);
    }
    identity::give_up_capabilities()?;
    packet::send(
        &outside,
        &Go {
            degraded: degraded(group),
            memory_group: group.memory,
        },
        &[],
    )?;
    let hung_up = watch(connection, &watched)?;
    let status = jail.end();
    match status {
        Some(code) => Ok(code),
        None if hung_up => Ok(0),
        None => Err(Failure::rule("the jail's process 1 was killed")),
    }
}

/// The jail's process 1; it and all below it end with this value.
struct Jail {
    pid: Pid,
}

impl Jail {
    /// Kills it if it still lives and waits until its whole process namespace is empty. Its exit code, if it left.
    fn end(self) -> Option<i32> {
        let code = Self::kill(self.pid);
        std::mem::forget(self);
        code
    }

    fn kill(pid: Pid) -> Option<i32> {
        // It may have ended by itself; it is not reaped yet, so the number is still its own.
        let _ = rustix::process::kill_process(pid, Signal::KILL);
        let reaped = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        reaped.ok().flatten().and_then(|(_, status)| status.exit_status())
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        Self::kill(self.pid);
    }
}

/// With ids of its own the jail's users are none of the host's; without, the only one is ours.
fn map(pid: Pid, start: &Start) -> Result<(), Failure> {
    if let Some(ids) = start.ids {
        let map = Map {
            inside: 0,
            outside: ids.first,
            count: ids.count,
        };
        return identity::write_maps(pid, map, map, false);
    }
    let one = |outside| Map {
        inside: 0,
        outside,
        count: 1,
    };
    let users = one(rustix::process::geteuid().as_raw());
    let groups = one(rustix::process::getegid().as_raw());
    identity::write_maps(pid, users, groups, true)
}

fn degraded(group: &Group) -> Vec<String> {
    let mut missing = Vec::new();
    if !group.memory {
        missing.push(
            "no control group for memory: the address space of each process is limited instead".to_owned(),
        );
    }
    if !group.processes {
        missing.push("no control group for processes: each run's user is limited instead".to_owned());
    }
    missing
}

/// Until the agent hangs up (true) or the jail ends (false).
fn watch(connection: &OwnedFd, jail: &OwnedFd) -> Result<bool, Failure> {
    loop {
        let mut polled = [
            PollFd::new(connection, PollFlags::RDHUP),
            PollFd::new(jail, PollFlags::IN),
        ];
        match rustix::event::poll(&mut polled, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.attempt(format!("watch connection {}", connection.as_raw_fd()))?,
        };
        if !polled[1].revents().is_empty() {
            return Ok(false);
        }
        if !polled[0].revents().is_empty() {
            return Ok(true);
        }
    }
}

fn complain(failure: &Failure) {
    use std::io::Write as _;
    // Standard error is the agent's log or the journal; without it nobody listens.
    let _ = writeln!(std::io::stderr(), "muster-jail: {}", failure.in_words());
}
