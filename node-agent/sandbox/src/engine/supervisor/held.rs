//! Between two runs of a session: its payload is stopped, or there is no session.
//!
//! Invariant: nothing of a session executes between its runs. SIGSTOP alone does not see to that: processes can let each
//! other go on, and a timer can send SIGCONT. So only a payload stays that is alone, without another process or thread
//! ever, and that was seen stopped; one that goes on before its next run is killed.

use rustix::{
    event::{PollFd, PollFlags},
    process::WaitOptions,
};

use super::{Last, Watch, now_ms, timespec};
use crate::{
    engine::{Given, outputs},
    failure::{Attempt as _, Failure},
    frame,
    kernel::{cgroup, process, signals},
    protocol::{Supervised, ToSupervisor},
};

/// How long a payload may take to stop, in milliseconds: a moment, unless it is deep in the kernel.
const STOPS_WITHIN_MS: u64 = 100;

impl Watch {
    /// What the agent says of a payload that stays. It is the one that this process serves, and is believed. The last
    /// of the payload if it cannot stay.
    pub(super) fn obey(&mut self) -> Result<Option<Last>, Failure> {
        let said = frame::read(outputs::Socket(&self.supervisor)).attempt("hear the agent")?;
        match said {
            None => process::leave(0),
            Some(ToSupervisor::Collect) => {
                // No run, no time: nothing of the session goes on before its next run, and files hold still.
                signals::hold_everyone(true);
                self.deadline = None;
                if let Some(last) = self.until_stopped()? {
                    return Ok(Some(last));
                }
                self.held = true;
                let cpu_ms = process::used_by(self.payload)?.saturating_sub(self.cpu_before);
                let list = self.given.take().map(|given| given.outputs).unwrap_or_default();
                let event = Supervised::Stays { cpu_ms };
                self.tell_all(&event, &list)?;
            }
            Some(ToSupervisor::Begin {
                outputs,
                wall_ms,
                output_bytes,
            }) => {
                self.limits.output_bytes = output_bytes;
                self.kills_before = cgroup::kill_count(&self.kills);
                self.deadline = Some(now_ms().saturating_add(wall_ms));
                let limits = self.limits;
                self.given = Some(Given { outputs, limits });
                self.held = false;
                signals::hold_everyone(false);
                self.say(&Supervised::Begun)?;
            }
        }
        Ok(None)
    }

    /// Until the payload is seen stopped, and alone; otherwise its last: it has said that it is at its end.
    fn until_stopped(&mut self) -> Result<Option<Last>, Failure> {
        let latest = now_ms().saturating_add(STOPS_WITHIN_MS);
        loop {
            let look = WaitOptions::NOHANG | WaitOptions::UNTRACED;
            let seen = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.payload), look));
            match seen.attempt("see the payload stopped")? {
                // What is stopped starts no other any more.
                Some((_, status)) if status.stopped() => {
                    return Ok((!self.is_alone()).then_some(Last::Word));
                }
                Some((_, status)) => {
                    let timed_out = false;
                    return Ok(Some(Last::Status { status, timed_out }));
                }
                None => {}
            }
            let left = latest.saturating_sub(now_ms());
            if left == 0 {
                return Ok(Some(Last::Word));
            }
            let mut polled = [PollFd::new(&self.children, PollFlags::IN)];
            // However that ends, the next look tells.
            let _ = rustix::event::poll(&mut polled, Some(&timespec(left)));
            signals::drain(&self.children);
        }
    }
}
