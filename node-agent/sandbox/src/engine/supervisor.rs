//! Process 1 of a run: builds its private folders, forks the payload, enforces the wall time, sends the outputs.
//!
//! It ends when the agent hangs up, and then the kernel ends everything in its process namespace. It is a copy of the
//! engine, so nobody may look into it, it runs no handler of the engine, and it locks itself before the payload goes on.
//! The wall time begins when the payload has its run, which may be long after the fork, and always before its script.
//! A payload that stays has several runs, one after the other; then the agent says when each is over and when it begins.

use std::{
    fs::File,
    io::Write as _,
    os::fd::{AsRawFd, OwnedFd},
    path::Path,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    fs::{CWD, Mode as FileMode, OFlags},
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, WaitOptions, WaitStatus},
    time::{ClockId, clock_gettime},
};

use super::{Given, Run, outputs, payload};
use crate::{
    failure::{Attempt as _, Failure},
    frame,
    kernel::{cgroup, identity, landlock, mounts, process, process::Side, seccomp, signals},
    packet, policy,
    protocol::{Exit, Limits, Mode, Programs, Supervised, ToSupervisor},
};

/// The one user that a run sees itself as.
const INSIDE: u32 = 1000;
/// Descriptors are lifted above this number, out of the way of fixed ones.
const ABOVE: i32 = 64;

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
    /// What the payload was given comes here, once.
    list: Option<OwnedFd>,
    given: Option<Given>,
    /// When the wall time is over; not before there is a run.
    deadline: Option<u64>,
    children: OwnedFd,
    scratch: OwnedFd,
    kills: File,
    kills_before: u64,
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
    private_folders(&run)?;
    let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let scratch = rustix::fs::openat(CWD, payload::SCRATCH, open, FileMode::empty())
        .attempt("open the scratch folder")
        .and_then(|scratch| process::lifted(&scratch, ABOVE))?;
    identity::drop_capabilities()?;
    let (list, sender) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .attempt("make a pair of sockets")?;
    let kills = File::from(process::lifted(&run.kills, ABOVE)?);
    let kills_before = cgroup::kill_count(&kills);
    let children = signals::children()?;
    let Side::Parent(payload) = process::fork()? else {
        drop((list, children, scratch, kills));
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
        list: Some(process::lifted(&list, ABOVE)?),
        given: None,
        deadline: None,
        children: process::lifted(&children, ABOVE)?,
        scratch,
        kills,
        kills_before,
        payload,
        limits: run.limits,
    };
    drop((list, children));
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
    let list = watch.list.as_ref().map(AsRawFd::as_raw_fd);
    let kept: Vec<i32> = kept
        .into_iter()
        .chain(list)
        .chain([watch.kills.as_raw_fd()])
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
        let (status, timed_out) = self.wait()?;
        // The payload is gone; what it started goes too.
        signals::kill_everyone();
        while rustix::io::retry_on_intr(|| rustix::process::wait(WaitOptions::empty())).is_ok() {}
        // It may have ended before its word was read.
        self.hear()?;
        let (cpu_ms, peak_bytes) = process::used_by_children()?;
        let end = End {
            status,
            timed_out: timed_out || cpu_ms >= self.limits.cpu_seconds.saturating_mul(1000),
            out_of_memory: cgroup::kill_count(&self.kills) > self.kills_before,
        };
        self.say(&Supervised::Ended {
            exit: end.exit(),
            cpu_ms,
            peak_bytes,
        })?;
        let list = self.given.take().map(|given| given.outputs).unwrap_or_default();
        outputs::send(&self.supervisor, &self.scratch, &list, self.limits.output_bytes)?;
        self.say(&Supervised::Done)
    }

    fn say(&self, message: &Supervised) -> Result<(), Failure> {
        frame::write(outputs::Socket(&self.supervisor), message).attempt("tell the agent")
    }

    /// The payload waits until its supervisor is locked.
    fn let_payload_go(&self) -> Result<(), Failure> {
        let list = self.list.iter();
        list.map(outputs::Socket)
            .try_for_each(|mut list| list.write_all(b"!"))
            .attempt("let the payload go on")
    }

    /// What the payload was given, told before its script starts; nothing when it never came so far.
    fn hear(&mut self) -> Result<(), Failure> {
        let Some(list) = self.list.take() else {
            return Ok(());
        };
        let given =
            frame::read::<Given>(outputs::Socket(&list)).attempt("read what the payload was given")?;
        if let Some(given) = given {
            self.limits = self.limits.least(given.limits);
            self.kills_before = cgroup::kill_count(&self.kills);
            self.deadline = Some(now_ms().saturating_add(self.limits.wall_ms));
            self.given = Some(given);
            self.say(&Supervised::Begun)?;
            // It may be dead; only now can its script start.
            let _ = outputs::Socket(&list).write_all(b"!");
        }
        Ok(())
    }

    /// What the agent says of a payload that stays. It is the one that this process serves, and is believed.
    fn obey(&mut self) -> Result<(), Failure> {
        let said = frame::read(outputs::Socket(&self.supervisor)).attempt("hear the agent")?;
        match said {
            None => process::leave(0),
            Some(ToSupervisor::Collect) => {
                // No run, no time: nothing of the session goes on before its next run, and files hold still.
                signals::hold_everyone(true);
                self.deadline = None;
                let cpu_ms = process::used_by(self.payload)?;
                self.say(&Supervised::Stays { cpu_ms })?;
                let list = self.given.take().map(|given| given.outputs).unwrap_or_default();
                outputs::send(&self.supervisor, &self.scratch, &list, self.limits.output_bytes)?;
                self.say(&Supervised::Done)
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
                signals::hold_everyone(false);
                self.say(&Supervised::Begun)
            }
        }
    }

    /// Until the payload has ended, by itself or killed for its wall time.
    fn wait(&mut self) -> Result<(WaitStatus, bool), Failure> {
        let (mut timed_out, mut reaped) = (false, false);
        loop {
            let timeout = if reaped {
                // There may be more to reap, and nothing tells of it any more.
                Some(timespec(0))
            } else {
                let deadline = self.deadline.filter(|_| !timed_out);
                deadline.map(|deadline| timespec(deadline.saturating_sub(now_ms())))
            };
            // Without its list, which would tell of the other end's hang-up for ever, the last place is not looked at.
            let mut polled = [
                PollFd::new(&self.supervisor, PollFlags::RDHUP | PollFlags::IN),
                PollFd::new(&self.children, PollFlags::IN),
                PollFd::new(self.list.as_ref().unwrap_or(&self.children), PollFlags::IN),
            ];
            let places = if self.list.is_some() { 3 } else { 2 };
            match rustix::event::poll(&mut polled[..places], timeout.as_ref()) {
                Err(rustix::io::Errno::INTR) => {}
                other => {
                    other.attempt("wait for the payload")?;
                }
            }
            let [hung_up, _, given] = polled.map(|one| one.revents());
            if !hung_up.difference(PollFlags::IN).is_empty() {
                // The agent hung up: leaving ends everything in the namespace.
                process::leave(0);
            }
            if !hung_up.is_empty() {
                self.obey()?;
            }
            if !given.is_empty() {
                self.hear()?;
            }
            // Compared each time, since a payload can see to it that there is always something to wake up for.
            if !timed_out && self.deadline.is_some_and(|deadline| now_ms() >= deadline) {
                timed_out = true;
                signals::kill_everyone();
            }
            signals::drain(&self.children);
            // One child a turn, lest a payload that gives us children for ever keeps us from the clock and the agent.
            reaped = match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.payload => return Ok((status, timed_out)),
                other => matches!(other, Ok(Some(_))),
            };
        }
    }
}

/// What is known about the end of a payload.
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
