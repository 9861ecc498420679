//! Requests of the agent: each becomes a clone of the engine with a user of its own.

use std::{
    fs::File,
    os::fd::{AsFd as _, OwnedFd},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::{Pid, PidfdFlags, WaitOptions},
};

use super::engine::Engine;
use crate::{
    failure::{Attempt as _, Failure},
    kernel::{
        identity::{self, Map},
        signals,
    },
    link::{FromEngine, ToEngine, Walls},
    packet,
    protocol::{FromLauncher, Limits, RUN_DESCRIPTORS, Start, ToLauncher},
};

/// The only user that a run sees.
const INSIDE: u32 = 1000;

/// How long a run may take from its last word to the end of its last process.
const LEAVING: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// What requests are answered with.
pub(super) struct Serving {
    walls: Walls,
    most: Limits,
    memory_group: bool,
    own_ids: bool,
    kills: Option<File>,
    /// One place for each id that a run may have, until all of the run is gone.
    slots: Vec<Option<Living>>,
    /// Runs that are over and gave their id to another before the agent was told.
    over: Vec<u64>,
    /// Why the engine can fork no more, once it could not.
    spent: Option<String>,
}

/// A run that has an id.
struct Living {
    /// Process 1 of the run; the kernel ends it after all others of its namespace.
    process: OwnedFd,
    /// What the agent calls it; nothing for the self-test.
    run: Option<u64>,
}

/// Whether to go on.
enum Turn {
    Next,
    Over,
}

impl Serving {
    pub(super) fn new(start: &Start, walls: Walls, memory_group: bool, kills: Option<File>) -> Self {
        let slots = start.ids.map_or(0, |ids| ids.count - 1);
        Self {
            walls,
            most: start.limits,
            memory_group,
            own_ids: start.ids.is_some(),
            kills,
            slots: (0..slots).map(|_| None).collect(),
            over: Vec::new(),
            spent: None,
        }
    }

    pub(super) fn kills(&self) -> Option<&File> {
        self.kills.as_ref()
    }

    pub(super) fn walls(&self) -> &Walls {
        &self.walls
    }

    pub(super) fn most(&self) -> Limits {
        self.most
    }

    /// Until the agent or the launcher hangs up, or the engine cannot go on.
    pub(super) fn serve(
        mut self,
        connection: &OwnedFd,
        outside: &OwnedFd,
        children: &OwnedFd,
        mut engine: Engine,
    ) -> Result<(), Failure> {
        loop {
            let mut polled = vec![
                PollFd::new(connection, PollFlags::IN | PollFlags::RDHUP),
                PollFd::new(outside, PollFlags::RDHUP),
                PollFd::new(children, PollFlags::IN),
                PollFd::new(&engine.output, PollFlags::IN),
            ];
            let living = self.slots.iter().flatten();
            polled.extend(living.map(|living| PollFd::new(&living.process, PollFlags::IN)));
            match rustix::event::poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.attempt("wait for requests")?,
            };
            let [asked, outside, ended, wrote] = [0, 1, 2, 3].map(|place| polled[place].revents());
            let some_over = polled[4..].iter().any(|one| !one.revents().is_empty());
            drop(polled);
            if !outside.is_empty() || asked.intersects(PollFlags::RDHUP | PollFlags::HUP | PollFlags::ERR) {
                return Ok(());
            }
            if wrote.contains(PollFlags::IN) {
                engine.listen();
            }
            if !ended.is_empty() {
                signals::drain(children);
                if reap(engine.pid) {
                    return Err(Failure::rule("the engine ended"));
                }
            }
            if some_over {
                for slot in &mut self.slots {
                    if let Some(living) = slot.take_if(|living| over(&living.process)) {
                        self.over.extend(living.run);
                    }
                }
            }
            self.tell_over(connection);
            if asked.contains(PollFlags::IN)
                && let Turn::Over = self.answer(connection, &engine)?
            {
                return Ok(());
            }
        }
    }

    fn answer(&mut self, connection: &OwnedFd, engine: &Engine) -> Result<Turn, Failure> {
        let (run, limits, slot, descriptors) = match packet::receive::<ToLauncher>(connection)? {
            None => return Ok(Turn::Over),
            Some((ToLauncher::Run { run, limits, slot }, descriptors)) => (run, limits, slot, descriptors),
            Some((ToLauncher::Start(_), _)) => return Err(Failure::rule("the agent said start twice")),
        };
        let forked = self.fork(engine, limits, (slot, Some(run)), &descriptors);
        // Before it is known that the id has a new owner.
        self.tell_over(connection);
        match forked {
            Ok(()) => {
                packet::send(connection, &FromLauncher::Forked { run }, &[])?;
                Ok(Turn::Next)
            }
            Err(failure) => {
                let why = failure.in_words();
                packet::send(connection, &FromLauncher::NotForked { run, why }, &[])?;
                // The runs that there are go on: nobody loses their work because another came too late.
                Ok(Turn::Next)
            }
        }
    }

    fn tell_over(&mut self, connection: &OwnedFd) {
        for run in self.over.drain(..) {
            // An agent that is gone is seen as such when the next message is waited for.
            let _ = packet::send(connection, &FromLauncher::Over { run }, &[]);
        }
    }

    /// Has the engine fork one run, and gives the run its user: that of the slot, where the agent chose one.
    pub(super) fn fork(
        &mut self,
        engine: &Engine,
        limits: Limits,
        (slot, run): (Option<u32>, Option<u64>),
        descriptors: &[OwnedFd],
    ) -> Result<(), Failure> {
        if descriptors.len() != RUN_DESCRIPTORS.len() {
            return Err(Failure::rule(format!(
                "a run comes with the descriptors {RUN_DESCRIPTORS:?}"
            )));
        }
        if let Some(why) = &self.spent {
            return Err(Failure::rule(why.clone()));
        }
        within(&limits, &self.most)?;
        let slot = self.free_slot(slot)?;
        let cloned = self.cloned(engine, limits, (slot, run), descriptors);
        if let Err(failure) = &cloned {
            // An engine that failed once would fail again.
            self.spent = Some(failure.in_words());
        }
        cloned
    }

    /// Has the engine clone itself, and writes the clone's id map.
    fn cloned(
        &mut self,
        engine: &Engine,
        limits: Limits,
        (slot, run): (Option<usize>, Option<u64>),
        descriptors: &[OwnedFd],
    ) -> Result<(), Failure> {
        let message = ToEngine::Fork {
            limits,
            // A run that may use less than the group is held to it one process at a time.
            address_space: !self.memory_group || limits.memory_bytes < self.most.memory_bytes,
            walls: self.walls.clone(),
        };
        // Dropped before it is opened, it ends the clone.
        let (gate, opener) = packet::pair()?;
        let passed: Vec<_> = descriptors.iter().chain([&gate]).map(OwnedFd::as_fd).collect();
        packet::send(&engine.link, &message, &passed)?;
        drop(gate);
        let pid = match packet::receive::<FromEngine>(&engine.link)? {
            Some((FromEngine::Cloned { pid }, _)) => Pid::from_raw(pid),
            Some((FromEngine::Failed { why }, _)) => return Err(Failure::Rule(why)),
            Some((FromEngine::Ready, _)) => return Err(Failure::rule("the engine spoke out of turn")),
            None => return Err(Failure::rule("the engine ended")),
        };
        let pid = pid.ok_or_else(|| Failure::rule("the engine named no process"))?;
        let watched = rustix::process::pidfd_open(pid, PidfdFlags::empty()).attempt("watch the run")?;
        let outside = match slot {
            Some(slot) => u32::try_from(slot).unwrap_or(u32::MAX) + 1,
            None => 0,
        };
        let map = Map {
            inside: INSIDE,
            outside,
            count: 1,
        };
        // With a single id the denial of setgroups is inherited.
        identity::write_maps(pid, map, map, false)?;
        if let Some(slot) = slot {
            let process = watched;
            let before = self.slots[slot].replace(Living { process, run });
            self.over.extend(before.and_then(|before| before.run));
        }
        packet::send(&opener, &(), &[])
    }

    /// A slot whose run is gone with all its processes; `None` where runs have no ids of their own.
    ///
    /// A run says that it is done a moment before its process namespace is taken down, so a full house waits for
    /// that moment before it sends anybody away.
    fn free_slot(&mut self, wanted: Option<u32>) -> Result<Option<usize>, Failure> {
        if !self.own_ids {
            return Ok(None);
        }
        let all = 0..self.slots.len();
        let among = match wanted.map(usize::try_from) {
            None => all,
            Some(Ok(slot)) if all.contains(&slot) => slot..slot + 1,
            Some(_) => return Err(Failure::rule("a run asks for an id that the jail does not have")),
        };
        let is_free = |slot: &usize| {
            self.slots[*slot]
                .as_ref()
                .is_none_or(|living| over(&living.process))
        };
        if let Some(free) = among.clone().find(is_free) {
            return Ok(Some(free));
        }
        let mut polled: Vec<_> = self.slots[among.clone()]
            .iter()
            .flatten()
            .map(|living| PollFd::new(&living.process, PollFlags::IN))
            .collect();
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut polled, Some(&LEAVING)))
            .attempt("see which runs are over")?;
        let free = polled.iter().position(|one| !one.revents().is_empty());
        let taken = among.len();
        free.map(|free| Some(among.start + free))
            .ok_or_else(|| Failure::rule(format!("all {taken} ids for runs are in use")))
    }
}

/// Whether the process has ended; process 1 of a namespace ends after all others in it.
fn over(process: &OwnedFd) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut polled, Some(&now)).is_ok_and(|count| count > 0)
}

/// Reaps what has ended, orphans of the engine too. Whether the engine is among them.
fn reap(engine: Pid) -> bool {
    let mut ended = false;
    while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
        ended |= pid == engine;
    }
    ended
}

/// A run may use at most what the whole jail may.
fn within(limits: &Limits, most: &Limits) -> Result<(), Failure> {
    let pairs = [
        ("memory_bytes", limits.memory_bytes, most.memory_bytes),
        ("processes", limits.processes.into(), most.processes.into()),
        ("open_files", limits.open_files.into(), most.open_files.into()),
        ("scratch_bytes", limits.scratch_bytes, most.scratch_bytes),
        ("cpu_seconds", limits.cpu_seconds, most.cpu_seconds),
        ("wall_ms", limits.wall_ms, most.wall_ms),
        ("output_bytes", limits.output_bytes, most.output_bytes),
    ];
    match pairs.iter().find(|(_, wanted, most)| wanted > most) {
        Some((name, wanted, most)) => Err(Failure::rule(format!(
            "the run's {name} of {wanted} is above the jail's {most}"
        ))),
        None => Ok(()),
    }
}
