//! Process 1 of a run: builds its private folders, forks the payload, enforces the wall time, sends the outputs.
//!
//! ```text
//! payload: given its run ──> the script ──> says that it is at its end      or ends otherwise, or is killed
//!                                              │                                │
//! here:                      kills all, sends the outputs, leaves       kills all, waits for all, sends the outputs, leaves
//! ```
//!
//! It ends when the agent hangs up, and then the kernel ends everything in its process namespace. It is a copy of the
//! engine, so nobody may look into it, it runs no handler of the engine, and it locks itself before the payload goes on.
//! The wall time begins when the payload has its run, which may be long after the fork, and always before its script.
//! A payload that stays has several runs, one after the other; then the agent says when each is over and when it begins.

mod held;

use std::{
    fs::File,
    io::{BufWriter, Read as _, Seek as _, Write as _},
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{CWD, Mode as FileMode, OFlags},
    process::{Pid, WaitOptions, WaitStatus},
    time::{ClockId, clock_gettime},
};

use super::{Given, Run, outputs, payload};
use crate::{
    failure::{Attempt as _, Failure},
    frame,
    kernel::{cgroup, identity, landlock, mounts, process, process::Side, seccomp, signals, status::Status},
    packet, policy,
    protocol::{Exit, Limits, Mode, Programs, Supervised},
};

/// The one user that a run sees itself as.
const INSIDE: u32 = 1000;
/// Descriptors are lifted above this number, out of the way of fixed ones.
const ABOVE: i32 = 64;
/// A run whose peak is this large, in bytes, has a result only when its memory is free again.
const LARGE: u64 = 256 << 20;
/// Without waiting.
const NOW: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Supervises one run to its end and leaves; returns in the payload only.
pub(super) fn run(run: Run, gate: &OwnedFd) {
    let Ok(stderr) = process::lifted(&run.stderr, ABOVE) else {
        process::leave(1)
    };
    match begin(run, gate, &stderr) {
        Ok(None) => {}
        Ok(Some(watch)) => {
            drop(stderr);
            process::leave(i32::from(watch.until_over().is_err()))
        }
        Err(failure) => {
            // The last place where somebody may read it.
            let _ = writeln!(
                File::from(stderr),
                "the run could not be set up: {}",
                failure.in_words()
            );
            process::leave(1)
        }
    }
}

struct Watch {
    supervisor: OwnedFd,
    /// What the payload was given comes here, and then whatever it says is that it is at its end.
    link: Option<OwnedFd>,
    given: Option<Given>,
    /// Whether it has said what it was given.
    told: bool,
    /// The payload's own, as long as it lives.
    status: Option<Status>,
    /// Of this process namespace: its last number is that of the process or thread that was begun last.
    load: File,
    /// When the wall time is over; not before there is a run.
    deadline: Option<u64>,
    /// Whether the payload was stopped until its next run.
    held: bool,
    children: OwnedFd,
    scratch: OwnedFd,
    kills: File,
    kills_before: u64,
    /// Processor time of the payload before it had its run, in milliseconds.
    cpu_before: u64,
    payload: Pid,
    limits: Limits,
}

/// `None` in the payload.
fn begin(run: Run, gate: &OwnedFd, stderr: &OwnedFd) -> Result<Option<Watch>, Failure> {
    // Nothing may be done before the launcher has written the id map.
    if packet::receive::<()>(gate)?.is_none() {
        return Err(Failure::rule("the launcher did not write the id map"));
    }
    identity::become_id(INSIDE)?;
    identity::die_with_parent()?;
    // A process group reaches across process namespaces: what a run sends to its own must not reach the engine's.
    rustix::process::setsid().attempt("leave the engine's process group")?;
    identity::set_dumpable(false)?;
    // Of the jail, since that of a restricted run has nothing but processes.
    let load = rustix::fs::openat(
        CWD,
        "/proc/loadavg",
        OFlags::RDONLY | OFlags::CLOEXEC,
        FileMode::empty(),
    )
    .attempt("open /proc/loadavg")
    .and_then(|load| process::lifted(&load, ABOVE))?;
    private_folders(&run)?;
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let scratch = rustix::fs::openat(CWD, payload::SCRATCH, open, FileMode::empty())
        .attempt("open the scratch folder")
        .and_then(|scratch| process::lifted(&scratch, ABOVE))?;
    identity::drop_capabilities()?;
    let (link, sender) = packet::pair()?;
    let kills = File::from(process::lifted(&run.kills, ABOVE)?);
    let kills_before = cgroup::kill_count(&kills);
    let children = signals::children()?;
    let Side::Parent(payload) = process::fork()? else {
        drop((link, children, scratch, kills, load));
        let begun = payload::begin(run, &sender);
        if begun.is_err() {
            // A supervisor that sees this end closed leaves, and would take the payload along before it has said why.
            std::mem::forget(sender);
        }
        return begun.map(|()| None);
    };
    drop(sender);
    let watch = Watch {
        supervisor: process::lifted(&run.supervisor, ABOVE)?,
        link: Some(process::lifted(&link, ABOVE)?),
        given: None,
        told: false,
        status: None,
        load: File::from(load),
        deadline: None,
        held: false,
        children: process::lifted(&children, ABOVE)?,
        scratch,
        kills,
        kills_before,
        cpu_before: 0,
        payload,
        limits: run.limits,
    };
    drop((link, children));
    lock(run, &watch, stderr)?;
    Ok(Some(watch))
}

fn private_folders(run: &Run) -> Result<(), Failure> {
    let unrestricted = run.walls.mode == Mode::Unrestricted;
    let scratch = Path::new(payload::SCRATCH);
    let processes = Path::new("/proc");
    mounts::processes(processes, unrestricted)?;
    mounts::temporary(
        scratch,
        run.limits.scratch_bytes,
        policy::SCRATCH_FILES,
        "0700",
        run.walls.programs == Programs::All,
    )?;
    // One file system for all that a run writes, so that one size bounds it.
    let temporary = scratch.join("tmp");
    mounts::make_folder(&temporary, 0o700)?;
    mounts::bind(&temporary, Path::new("/tmp"))?;
    if unrestricted {
        mounts::bind(&temporary, Path::new("/dev/shm"))?;
    }
    Ok(())
}

/// The supervisor keeps its own descriptors, and may do only what it still has to.
fn lock(run: Run, watch: &Watch, stderr: &OwnedFd) -> Result<(), Failure> {
    let abi = run.walls.abi;
    signals::reset()?;
    let null = process::null()?;
    for number in 0..=2 {
        process::place(&null, number, false)?;
    }
    let kept = [stderr, &watch.supervisor, &watch.children, &watch.scratch].map(AsRawFd::as_raw_fd);
    let link = watch.link.as_ref().map(AsRawFd::as_raw_fd);
    let kept: Vec<i32> = kept
        .into_iter()
        .chain(link)
        .chain([watch.kills.as_raw_fd(), watch.load.as_raw_fd()])
        .collect();
    // Closed by number below, so their owners must not close them again.
    std::mem::forget((run, null));
    process::close_all_but(&kept)?;
    landlock::restrict_supervisor(abi, Path::new(payload::SCRATCH))?;
    seccomp::install(policy::supervisor())
}

impl Watch {
    fn until_over(mut self) -> Result<(), Failure> {
        self.say(&Supervised::Started)?;
        self.let_payload_go()?;
        let last = self.wait()?;
        // Of one process all is known while it lives. What others used is known when they are reaped.
        let known = match last {
            Last::Word if self.is_alone() => self.used(),
            _ => None,
        };
        // What is large is given back before the result is known: the next run of this launcher may need that memory.
        let known = known.filter(|(_, peak_bytes)| *peak_bytes < LARGE);
        if known.is_some() {
            // The result goes first.
            process::last_in_line(self.payload);
        }
        // Nothing of the run executes its own code any more, and what it started goes too.
        signals::kill_everyone();
        let (cpu_ms, peak_bytes) = if let Some(known) = known {
            known
        } else {
            while rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty())).is_ok() {}
            process::used_by_children()?
        };
        let exit = match last {
            Last::Word => Exit::Finished,
            Last::Status { status, timed_out } => End {
                status,
                timed_out: timed_out || cpu_ms >= self.limits.cpu_seconds.saturating_mul(1000),
                out_of_memory: cgroup::kill_count(&self.kills) > self.kills_before,
            }
            .exit(),
        };
        // The run's own: a child that waits is busy before.
        let cpu_ms = cpu_ms.saturating_sub(self.cpu_before);
        let list = self.given.take().map(|given| given.outputs).unwrap_or_default();
        let event = Supervised::Ended {
            exit,
            cpu_ms,
            peak_bytes,
        };
        self.tell_all(&event, &list)?;
        process::last_in_line(rustix::process::getpid());
        Ok(())
    }

    /// How the run ended, and its outputs. As one piece where it is small, so that the agent wakes up once.
    fn tell_all(&self, event: &Supervised, list: &[String]) -> Result<(), Failure> {
        let mut said = BufWriter::with_capacity(outputs::PIECE, outputs::Socket(&self.supervisor));
        let tell = "tell the agent";
        frame::write(&mut said, event).attempt(tell)?;
        outputs::send(&mut said, &self.scratch, list, self.limits.output_bytes)?;
        frame::write(&mut said, &Supervised::Done).attempt(tell)?;
        said.flush().attempt(tell)
    }

    /// Goes through what will be done with a run, so that the memory which that changes is this process's own by then.
    fn rehearse(&mut self) -> Option<()> {
        let given = serde_json::to_vec(&Given {
            outputs: vec!["outputs/0".to_owned()],
            limits: self.limits,
        });
        let given: Given = serde_json::from_slice(&given.ok()?).ok()?;
        cgroup::kill_count(&self.kills);
        self.is_alone();
        let (cpu_ms, peak_bytes) = self.used()?;
        let exit = Exit::Finished;
        let mut said = BufWriter::with_capacity(outputs::PIECE, std::io::sink());
        frame::write(
            &mut said,
            &Supervised::Ended {
                exit,
                cpu_ms,
                peak_bytes,
            },
        )
        .ok()?;
        outputs::send(&mut said, &self.scratch, &given.outputs, 0).ok()?;
        frame::write(&mut said, &Supervised::Done).ok()
    }

    /// Whether the payload is the only process that the run ever had: no number was given to another.
    fn is_alone(&mut self) -> bool {
        let mut text = String::new();
        let read = self
            .load
            .rewind()
            .and_then(|()| self.load.read_to_string(&mut text));
        let last = text
            .split_whitespace()
            .next_back()
            .and_then(|last| last.parse().ok());
        read.is_ok() && last == Some(self.payload.as_raw_nonzero().get())
    }

    /// Milliseconds and bytes that the payload has used; nothing when it is gone.
    fn used(&mut self) -> Option<(u64, u64)> {
        let peak_bytes = self.status.as_mut()?.peak_bytes()?;
        Some((process::used_by(self.payload).ok()?, peak_bytes))
    }

    fn say(&self, message: &Supervised) -> Result<(), Failure> {
        frame::write(outputs::Socket(&self.supervisor), message).attempt("tell the agent")
    }

    /// The payload waits until its supervisor is locked.
    fn let_payload_go(&self) -> Result<(), Failure> {
        let link = self.link.iter();
        link.map(outputs::Socket)
            .try_for_each(|mut link| link.write_all(b"!"))
            .attempt("let the payload go on")
    }

    /// What the payload says: before it is locked its status, then what it was given, before its script starts; then
    /// that it is at its end (true). Only the first two are the library's word for sure: the last is a byte, which a
    /// script can send too.
    fn hear(&mut self) -> Result<bool, Failure> {
        let Some(link) = self.link.take() else {
            return Ok(false);
        };
        if self.told {
            // Descriptors that somebody sends along are closed by the kernel. After its end the link tells nothing.
            let heard = rustix::io::retry_on_intr(|| rustix::io::read(&link, &mut [0]));
            let word = heard.is_ok_and(|count| count > 0);
            self.link = word.then_some(link);
            return Ok(word);
        }
        if self.status.is_none() {
            if let Some(((), descriptors)) = packet::receive(&link)? {
                let status = descriptors.into_iter().next();
                let status = status.ok_or_else(|| Failure::rule("the payload showed no status"))?;
                self.status = Some(Status::of_another(status.into()));
                self.link = Some(link);
                // The payload is being locked meanwhile.
                self.rehearse();
            }
        } else if let Some((given, _)) = packet::receive::<Given>(&link)? {
            self.limits = self.limits.least(given.limits);
            self.kills_before = cgroup::kill_count(&self.kills);
            self.cpu_before = process::used_by(self.payload).unwrap_or(0);
            self.deadline = Some(now_ms().saturating_add(self.limits.wall_ms));
            self.given = Some(given);
            self.told = true;
            self.say(&Supervised::Begun)?;
            // It may be dead; only now can its script start.
            let _ = outputs::Socket(&link).write_all(b"!");
            self.link = Some(link);
        }
        Ok(false)
    }

    /// Whether the payload said that it is at its end before it ended. What else it said is heard as well.
    fn heard_its_end(&mut self) -> Result<bool, Failure> {
        loop {
            let Some(link) = &self.link else {
                return Ok(false);
            };
            let mut polled = [PollFd::new(link, PollFlags::IN)];
            match rustix::event::poll(&mut polled, Some(&NOW)) {
                Err(rustix::io::Errno::INTR) => continue,
                Ok(0) | Err(_) => return Ok(false),
                Ok(_) => {}
            }
            if self.hear()? {
                return Ok(true);
            }
        }
    }

    /// Until the payload says that it is at its end, or has ended, by itself or killed for its wall time.
    fn wait(&mut self) -> Result<Last, Failure> {
        let (mut timed_out, mut reaped) = (false, false);
        loop {
            let timeout = if reaped {
                // There may be more to reap, and nothing tells of it any more.
                Some(timespec(0))
            } else {
                let deadline = self.deadline.filter(|_| !timed_out);
                deadline.map(|deadline| timespec(deadline.saturating_sub(now_ms())))
            };
            // Without its link, which would tell of the other end's hang-up for ever, the last place is not looked at.
            let mut polled = [
                PollFd::new(&self.supervisor, PollFlags::RDHUP | PollFlags::IN),
                PollFd::new(&self.children, PollFlags::IN),
                PollFd::new(self.link.as_ref().unwrap_or(&self.children), PollFlags::IN),
            ];
            let places = if self.link.is_some() { 3 } else { 2 };
            match rustix::event::poll(&mut polled[..places], timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    other.attempt("wait for the payload")?;
                }
            }
            let [hung_up, _, spoke] = polled.map(|one| one.revents());
            if !hung_up.difference(PollFlags::IN).is_empty() {
                // The agent hung up: leaving ends everything in the namespace.
                process::leave(0);
            }
            if !hung_up.is_empty()
                && let Some(last) = self.obey()?
            {
                return Ok(last);
            }
            // Not if it was killed for its time before.
            if !spoke.is_empty() && self.hear()? && !timed_out {
                return Ok(Last::Word);
            }
            // Compared each time, since a payload can see to it that there is always something to wake up for.
            if !timed_out && self.deadline.is_some_and(|deadline| now_ms() >= deadline) {
                timed_out = true;
                signals::kill_everyone();
            }
            signals::drain(&self.children);
            // One child a turn, lest a payload that gives us children for ever keeps us from the clock and the agent.
            let mut look = WaitOptions::NOHANG;
            look.set(WaitOptions::CONTINUED, self.held);
            reaped = match rustix::process::wait(look) {
                // It has no run, and nobody let it go on.
                Ok(Some((pid, status))) if pid == self.payload && status.continued() => {
                    return Ok(Last::Word);
                }
                Ok(Some((pid, status))) if pid == self.payload => {
                    // Its word may lie there, and then its status does not count.
                    let word = self.heard_its_end()? && !timed_out;
                    return Ok(if word {
                        Last::Word
                    } else {
                        Last::Status { status, timed_out }
                    });
                }
                other => matches!(other, Ok(Some(_))),
            };
        }
    }
}

/// The last that is known of a payload.
enum Last {
    /// It said that it is at its end.
    Word,
    /// It ended.
    Status { status: WaitStatus, timed_out: bool },
}

/// What is known about a payload that ended without a word.
struct End {
    status: WaitStatus,
    timed_out: bool,
    out_of_memory: bool,
}

impl End {
    fn exit(&self) -> Exit {
        const CPU_TIME_EXCEEDED: i32 = libc::SIGXCPU;
        match (self.status.exit_status(), self.status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (_, Some(CPU_TIME_EXCEEDED)) => Exit::TimedOut,
            (_, Some(libc::SIGKILL)) if self.timed_out => Exit::TimedOut,
            (_, Some(libc::SIGKILL)) if self.out_of_memory => Exit::OutOfMemory,
            (_, signal) => Exit::Signal(signal.unwrap_or(0)),
        }
    }
}

/// Milliseconds on the monotonic clock, for deadlines only.
fn now_ms() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000
}

fn timespec(ms: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX),
        // Rounded up by one, so that a wait never ends just before its time.
        tv_nsec: i64::try_from(ms % 1000).unwrap_or(0) * 1_000_000 + 999_999,
    }
}
