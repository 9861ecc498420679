//! The engine's process: started without any right, heard on its link and on its start-up output.

use std::{collections::BTreeMap, fs::File, os::fd::OwnedFd};

use rustix::{
    event::{PollFd, PollFlags},
    process::{Pid, WaitOptions, WaitStatus},
};

use crate::{
    failure::{Attempt as _, Failure},
    kernel::{
        identity,
        process::{self, Side},
        signals,
    },
    link::{FromEngine, KILLS, LINK},
    packet,
};

/// How much of the start-up output is kept, in bytes.
const TAIL: usize = 4096;

/// What an engine's process does.
pub(super) enum Entry<'a> {
    /// It executes a program.
    Program(&'a [String], &'a BTreeMap<String, String>),
    /// It goes on in this program; for the self-test.
    Function(fn() -> i32),
}

/// A running engine.
pub(super) struct Engine {
    pub(super) pid: Pid,
    pub(super) link: OwnedFd,
    /// Its standard output and error.
    pub(super) output: OwnedFd,
    tail: Vec<u8>,
}

impl Engine {
    /// Starts it as the jail's user 0 without capabilities, with the standard streams, the link and the counter of
    /// memory kills as its only descriptors.
    pub(super) fn start(entry: &Entry<'_>, kills: Option<&File>) -> Result<Self, Failure> {
        let (link, theirs) = packet::pair()?;
        let (output, input) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt("make a pipe")?;
        let Side::Parent(pid) = process::fork()? else {
            let failure = match become_engine(&theirs, &input, kills) {
                Ok(()) => match entry {
                    Entry::Program(command, environment) => {
                        let environment: Vec<_> = environment
                            .iter()
                            .map(|(name, value)| (name.clone(), value.clone()))
                            .collect();
                        process::execute(command.first().map_or("", String::as_str), command, &environment)
                    }
                    Entry::Function(function) => process::leave(function()),
                },
                Err(failure) => failure,
            };
            super::complain(&failure);
            process::leave(127)
        };
        rustix::io::ioctl_fionbio(&output, true).attempt("read the engine's output")?;
        Ok(Self {
            pid,
            link,
            output,
            tail: Vec::new(),
        })
    }

    /// Waits until it has preloaded. An engine that ends before is refused with the last that it wrote.
    pub(super) fn until_ready(&mut self, outside: &OwnedFd) -> Result<(), Failure> {
        loop {
            let mut polled = [
                PollFd::new(&self.link, PollFlags::IN),
                PollFd::new(&self.output, PollFlags::IN),
                PollFd::new(outside, PollFlags::RDHUP),
            ];
            match rustix::event::poll(&mut polled, None) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other.attempt("wait for the engine")?,
            };
            let [link, output, outside] = polled.map(|one| one.revents());
            if !outside.is_empty() {
                return Err(Failure::rule("the launcher is gone"));
            }
            // All output before the end is read before the end is believed.
            if output.contains(PollFlags::IN) {
                self.listen();
            } else if !link.is_empty() {
                return match packet::receive::<FromEngine>(&self.link)? {
                    Some((FromEngine::Ready, _)) => Ok(()),
                    Some(_) => Err(Failure::rule("the engine spoke out of turn")),
                    None => Err(self.last_words()),
                };
            } else if !output.is_empty() {
                return Err(self.last_words());
            }
        }
    }

    /// Takes what it wrote, so that it never waits; the last part is kept.
    pub(super) fn listen(&mut self) {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = rustix::io::read(&self.output, &mut bytes) {
            self.tail.extend_from_slice(&bytes[..count]);
            let surplus = self.tail.len().saturating_sub(TAIL);
            self.tail.drain(..surplus);
        }
    }

    /// Why it ended before its time.
    pub(super) fn last_words(&mut self) -> Failure {
        let status =
            rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(self.pid), WaitOptions::empty()));
        self.listen();
        let how = match status {
            Ok(Some((_, status))) => in_words(status),
            _ => "ended".to_owned(),
        };
        let said = String::from_utf8_lossy(&self.tail);
        let said = said.trim();
        if said.is_empty() {
            Failure::rule(format!("the engine {how} before it was ready, without a word"))
        } else {
            Failure::rule(format!("the engine {how} before it was ready; it wrote: {said}"))
        }
    }
}

fn become_engine(link: &OwnedFd, output: &OwnedFd, kills: Option<&File>) -> Result<(), Failure> {
    identity::die_with_parent()?;
    let null = process::null()?;
    // Lifted first, since a fixed number may be in use by one of the others.
    let link = process::lifted(link, 100)?;
    let output = process::lifted(output, 100)?;
    let kills = match kills {
        Some(file) => rustix::io::fcntl_dupfd_cloexec(file, 100).attempt("copy a descriptor")?,
        None => process::lifted(&null, 100)?,
    };
    process::place(&null, 0, false)?;
    process::place(&output, 1, false)?;
    process::place(&output, 2, false)?;
    // The numbers may hold descriptors of the launcher, which this process gives up.
    process::place(&link, LINK, false)?;
    process::place(&kills, KILLS, false)?;
    process::close_all_but(&[LINK, KILLS])?;
    std::mem::forget((null, link, output, kills));
    signals::pristine()?;
    std::env::set_current_dir("/").attempt("enter the root")?;
    identity::drop_capabilities()?;
    // Programs start dumpable; a function of this one is made so, for its clone's id maps.
    identity::set_dumpable(true)
}

fn in_words(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("left with code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}
