//! The engine's side: from "preloaded" to a locked payload.
//!
//! ```text
//! engine: serve() ── ready ── waits ── checks itself ── clone ──> run's process 1 ── fork ──> payload
//!            ^                                  │                  supervisor.rs              payload.rs: serve() returns
//!            └──────────────────────────────────┘                  until all is over          lock() ── the script ── leave()
//!                                                                                              a session: ^── succeeded() ──┘
//! ```
//!
//! Invariant: the engine forks only while it has one thread, no foreign descriptor and no shared memory to write to.

mod outputs;
mod payload;
mod stage;
mod stays;
mod supervisor;

use std::{
    io::Read,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    sync::Mutex,
};

pub(crate) use payload::{is_idle, leave, lock, open_beside_its_own, overstep, progress};
pub(crate) use stays::succeeded;

use crate::{
    failure::{Attempt as _, Failure},
    kernel::{
        identity,
        process::{self, Side},
        signals::{self, Before},
        status,
    },
    link::{FromEngine, KILLS, LINK, ToEngine, Walls},
    packet,
    protocol::Limits,
};

/// Why [`serve`] returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// This process is the payload of a run.
    Payload,
    /// The launcher is gone; nothing will be asked for any more.
    Abandoned,
}

/// What a payload tells its supervisor once it has its run, before the script starts.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
struct Given {
    outputs: Vec<String>,
    /// At most those of the fork.
    limits: Limits,
}

/// The link to the launcher, claimed by the first call.
static LAUNCHER: Mutex<Option<Launcher>> = Mutex::new(None);

struct Launcher {
    link: OwnedFd,
    kills: OwnedFd,
    before: Before,
}

/// One run, as the engine hands it to its copy.
struct Run {
    control: OwnedFd,
    supervisor: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
    kills: OwnedFd,
    limits: Limits,
    address_space: bool,
    walls: Walls,
    before: Before,
}

/// What a payload does with what comes on its control socket: files into `scratch`, and the outputs that are wanted.
/// Public for those who send nonsense.
pub fn staged(mut control: impl Read, scratch: &Path) -> Result<Vec<String>, Failure> {
    let stage = stage::receive(&mut control)?;
    stage::unpack(stage, control, scratch)
}

/// Forks payloads as the launcher asks. Returns once in each payload, and in the engine when it is no longer needed.
///
/// From here on there are runs, and none of them may look into the engine.
pub(crate) fn serve() -> Result<Role, Failure> {
    identity::set_dumpable(false)?;
    serve_as_copy()
}

/// As [`serve`] for an engine that is no program of its own but a copy of the launcher, for the self-test: to the kernel
/// it belongs to the host, and nobody in the jail could write the id maps of its clones unless it is dumpable.
pub(crate) fn serve_as_copy() -> Result<Role, Failure> {
    let mut launcher = LAUNCHER
        .lock()
        .map_err(|_| Failure::rule("the link to the launcher broke before"))?;
    if launcher.is_none() {
        let (link, kills) = (process::inherited(LINK)?, process::inherited(KILLS)?);
        for descriptor in [&link, &kills] {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::CLOEXEC)
                .attempt("keep the link from programs")?;
        }
        *launcher = Some(Launcher {
            link,
            kills,
            before: signals::reap_silently()?,
        });
    }
    let Some(known) = launcher.as_ref() else {
        return Ok(Role::Abandoned);
    };
    packet::send(&known.link, &FromEngine::Ready, &[])?;
    loop {
        let Some((message, descriptors)) = packet::receive::<ToEngine>(&known.link)? else {
            return Ok(Role::Abandoned);
        };
        let ToEngine::Fork {
            limits,
            address_space,
            walls,
        } = message;
        match fork(known, descriptors, limits, address_space, walls) {
            Ok(Side::Parent(_)) => {}
            Ok(Side::Child) => {
                // The link is the engine's; a payload must not have it.
                drop(launcher.take());
                return Ok(Role::Payload);
            }
            Err(failure) => packet::send(
                &known.link,
                &FromEngine::Failed {
                    why: failure.in_words(),
                },
                &[],
            )?,
        }
    }
}

fn fork(
    launcher: &Launcher,
    descriptors: Vec<OwnedFd>,
    limits: Limits,
    address_space: bool,
    walls: Walls,
) -> Result<Side, Failure> {
    let mut ours: Vec<i32> = descriptors.iter().map(std::os::fd::AsRawFd::as_raw_fd).collect();
    ours.extend([launcher.link.as_raw_fd(), launcher.kills.as_raw_fd()]);
    status::demand_forkable(&ours)?;
    let [control, supervisor, stdout, stderr, gate]: [OwnedFd; 5] = descriptors
        .try_into()
        .map_err(|_| Failure::rule("a run comes with four descriptors and its gate"))?;
    let kills = rustix::io::fcntl_dupfd_cloexec(&launcher.kills, 0).attempt("copy a descriptor")?;
    let namespaces = libc::CLONE_NEWUSER | libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::CLONE_NEWIPC;
    let run = Run {
        control,
        supervisor,
        stdout,
        stderr,
        kills,
        limits,
        address_space,
        walls,
        before: launcher.before,
    };
    match process::clone_into(namespaces)? {
        Side::Child => {
            // Only the payload comes back from here.
            supervisor::run(run, &gate);
            Ok(Side::Child)
        }
        Side::Parent(pid) => {
            let cloned = FromEngine::Cloned {
                pid: pid.as_raw_nonzero().get(),
            };
            packet::send(&launcher.link, &cloned, &[])?;
            Ok(Side::Parent(pid))
        }
    }
}
