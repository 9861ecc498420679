//! The keeper: a small process outside the jail that removes the control group when the launcher has ended, however.

use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    thread,
    time::Duration,
};

use rustix::{
    process::{Pid, WaitOptions},
    thread::CapabilitySet,
};

use crate::{
    failure::{Attempt as _, Failure},
    kernel::{
        cgroup::Group,
        identity,
        process::{self, Side},
        signals,
    },
};

/// How often and how long it tries: the kernel needs a moment to take dying processes out of a group.
const PAUSE: Duration = Duration::from_millis(5);
const TRIES: u32 = 2000;

/// The launcher's hold on its keeper.
pub(super) struct Keeper(Option<(Pid, OwnedFd)>);

/// Starts the keeper, if there is a group to keep.
pub(super) fn watch(group: &Group) -> Result<Keeper, Failure> {
    if !group.exists() {
        return Ok(Keeper(None));
    }
    let (end, life) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt("make a pipe for the keeper")?;
    let Side::Parent(pid) = process::fork()? else {
        // Its own copy would keep it waiting for ever.
        drop(life);
        process::leave(keep(group, &end));
    };
    Ok(Keeper(Some((pid, life))))
}

impl Keeper {
    /// Lets the keeper do its work and waits for it. Nothing is alive in the group any more.
    pub(super) fn finish(self) {
        if let Some((pid, life)) = self.0 {
            drop(life);
            let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(pid), WaitOptions::empty()));
        }
    }
}

fn keep(group: &Group, end: &OwnedFd) -> i32 {
    // A terminal's interrupt ends the launcher, and then this process is needed.
    let quiet = signals::pristine()
        .and_then(|()| rustix::process::setsid().attempt("leave the terminal").map(drop))
        .and_then(|()| identity::set_dumpable(false))
        .and_then(|()| process::place(&process::null()?, 1, false))
        .and_then(|()| process::place(&process::null()?, 2, false))
        .and_then(|()| process::close_all_but(&[end.as_raw_fd()]))
        .and_then(|()| identity::keep_capabilities(CapabilitySet::DAC_OVERRIDE));
    // Root may not write into the hierarchies of version 1 without that one capability.
    if quiet.is_err() {
        return 1;
    }
    // The launcher never writes: this ends with its life.
    let _ = rustix::io::retry_on_intr(|| rustix::io::read(end, &mut [0]));
    for _ in 0..TRIES {
        if group.remove() {
            return 0;
        }
        thread::sleep(PAUSE);
    }
    1
}
