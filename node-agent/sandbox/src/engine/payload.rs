//! The payload of a run: between its fork and its end.
//!
//! ```text
//! begun (streams, limits) ──> the runner reseeds ──> lock() : Landlock, seccomp, verified ──> waits ──> staged ──> the script ──> leave()
//!                                                                                  as long as nobody has a run for it
//! ```
//!
//! Invariant: the script is received after the lock was verified, never before; the limits of a run hold before its
//! files are received. After its last word a payload executes nothing any more: it waits to be killed.

use std::{
    fs::{self, File},
    io::BufReader,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    time::{ClockId, clock_gettime},
};

use super::{Given, Run, stage, stays};
use crate::{
    failure::{Attempt as _, Failure},
    frame,
    kernel::{identity, landlock, limits, process, seccomp, signals, status::Status},
    link::Walls,
    packet, policy,
    protocol::{Limits, Mode, Report},
};

/// The folder that a run may write, as the run sees it.
pub(super) const SCRATCH: &str = "/scratch";
/// The control socket in a payload: far above what languages count on, and closed when a program starts.
const CONTROL: i32 = 250;
/// The payload's end of its link to the supervisor: what it was given, and that it is at its end. Whatever a script
/// writes there is its own end.
const SUPERVISOR: i32 = 251;
/// The longest message of a report, in bytes.
const LONGEST_MESSAGE: usize = 64 * 1024;
/// The longest text of a progress message, in bytes.
const LONGEST_PROGRESS: usize = 1024;
/// Progress messages at once, and the milliseconds that each further one takes to be earned.
const BURST: u64 = 20;
const EVERY_MS: u64 = 50;
/// The longest name of an overstep, in bytes.
const LONGEST_OVERSTEP: usize = 256;
/// The longest list of outputs, in bytes: it must fit into a packet, and into a socket's buffer, since it may be read
/// when all is over.
const LONGEST_LIST: usize = 32 * 1024;

/// What a payload still has before it.
static UNLOCKED: Mutex<Option<Unlocked>> = Mutex::new(None);

/// Whether the supervisor knows of the run, and may be told of its end.
static GIVEN: AtomicBool = AtomicBool::new(false);

struct Unlocked {
    walls: Walls,
    supervisor: OwnedFd,
    limits: Limits,
    address_space: bool,
}

/// Arranges descriptors and limits, and waits until the supervisor has locked itself.
pub(super) fn begin(run: Run, supervisor: &OwnedFd) -> Result<(), Failure> {
    let Run {
        control,
        supervisor: not_mine,
        stdout,
        stderr,
        kills,
        limits,
        address_space,
        walls,
        before,
    } = run;
    drop((not_mine, kills));
    // Lifted first, since a fixed number may be in use by one of the others.
    let (control, supervisor) = (process::lifted(&control, 300)?, process::lifted(supervisor, 300)?);
    let (stdout, stderr) = (process::lifted(&stdout, 300)?, process::lifted(&stderr, 300)?);
    process::place(&process::null()?, 0, false)?;
    process::place(&stdout, 1, false)?;
    process::place(&stderr, 2, false)?;
    process::place(&control, CONTROL, true)?;
    process::place(&supervisor, SUPERVISOR, true)?;
    drop((control, supervisor, stdout, stderr));
    let supervisor = process::inherited(SUPERVISOR)?;
    // The languages look into /proc/self; nobody else sees this process.
    identity::set_dumpable(true)?;
    // If memory runs out, the payload dies and not the engine.
    fs::write("/proc/self/oom_score_adj", "1000").attempt("offer the payload when memory runs out")?;
    std::env::set_current_dir(SCRATCH).attempt("enter the scratch folder")?;
    limits::apply(&limits, address_space)?;
    process::reseed()?;
    wait_for(&supervisor)?;
    signals::restore(&before)?;
    *UNLOCKED.lock().map_err(|_| poisoned())? = Some(Unlocked {
        walls,
        supervisor,
        limits,
        address_space,
    });
    Ok(())
}

/// Whether nobody has a run for this process yet, and there is time to prepare for one.
pub(crate) fn is_idle() -> bool {
    let (control, now) = (
        control(),
        Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        },
    );
    matches!(
        poll(&mut [PollFd::new(&control, PollFlags::IN)], Some(&now)),
        Ok(0)
    )
}

/// Locks this process for good, then waits for the run and receives it into the scratch folder.
pub(crate) fn lock(mode: &str) -> Result<(), Failure> {
    let Some(Unlocked {
        walls,
        supervisor,
        limits,
        address_space,
    }) = UNLOCKED.lock().map_err(|_| poisoned())?.take()
    else {
        return Err(Failure::rule(
            "only a payload that is not locked yet can be locked",
        ));
    };
    let named = match walls.mode {
        Mode::Restricted => "restricted",
        Mode::Unrestricted => "unrestricted",
    };
    if mode != named {
        return Err(Failure::rule(format!(
            "the runner asks for mode {mode:?}, but this jail is {named}"
        )));
    }
    // A file that the engine holds open has one position and one set of flags for all its siblings.
    process::close_all_but(&[CONTROL, SUPERVISOR])?;
    // One of its own for the supervisor, which may open nothing of this process: an open file has one position.
    // A locked process sends no descriptors.
    packet::send(&supervisor, &(), &[Status::open()?.as_fd()])?;
    let mut status = Status::open()?;
    let mut own = vec![Path::new(SCRATCH), Path::new("/tmp")];
    if walls.mode == Mode::Unrestricted {
        own.push(Path::new("/dev/shm"));
    }
    landlock::restrict_payload(&walls, &own)?;
    seccomp::install(policy::payload(walls.mode, &walls.programs))?;
    status.demand_lock()?;
    drop(status);
    report(&Report::Locked)?;
    // Nothing follows the files, so nothing is taken that somebody else would read.
    let mut control = BufReader::new(File::from(copy_of(control())?));
    let stage = stage::receive(&mut control)?;
    stays::note(stage.stays);
    let limits = lowered(limits, stage.limits, address_space)?;
    let outputs = stage::unpack(stage, &mut control, Path::new(SCRATCH))?;
    let bytes: usize = outputs.iter().map(|output| output.len() + 3).sum();
    if bytes > LONGEST_LIST {
        return Err(Failure::rule("the list of outputs is too long"));
    }
    let given =
        serde_json::to_vec(&Given { outputs, limits }).map_err(|error| Failure::rule(error.to_string()))?;
    // One packet.
    rustix::io::retry_on_intr(|| rustix::io::write(&supervisor, &given))
        .attempt("tell the supervisor of the run")?;
    wait_for(&supervisor)?;
    // Open to the end under its fixed number.
    std::mem::forget(supervisor);
    GIVEN.store(true, Ordering::Relaxed);
    Ok(())
}

/// Until the supervisor says that it goes on.
fn wait_for(supervisor: impl AsFd) -> Result<(), Failure> {
    let mut go = [0];
    let told = rustix::io::retry_on_intr(|| rustix::io::read(&supervisor, &mut go));
    match told.attempt("wait for the supervisor")? {
        1 => Ok(()),
        _ => Err(Failure::rule("the supervisor is gone")),
    }
}

/// The limits of the run that has come: of each the smaller, and in force.
fn lowered(made_with: Limits, wanted: Option<Limits>, address_space: bool) -> Result<Limits, Failure> {
    let Some(wanted) = wanted else {
        return Ok(made_with);
    };
    let limits = made_with.least(wanted);
    if limits.scratch_bytes < made_with.scratch_bytes {
        return Err(Failure::rule(
            "a scratch folder does not become smaller; such a run needs a fork of its own",
        ));
    }
    if limits == made_with {
        return Ok(limits);
    }
    // Memory below what was counted on before the fork is held to one process at a time.
    limits::apply(
        &limits,
        address_space || limits.memory_bytes < made_with.memory_bytes,
    )?;
    Ok(limits)
}

/// Tells the agent how far the script is, unless it was told too often just now. What cannot be told is not told.
pub(crate) fn progress(fraction: f64, text: &str) {
    static BUDGET: Mutex<Budget> = Mutex::new(Budget {
        left: BURST,
        at_ms: 0,
    });
    // Held while it is sent, so that threads do not mix their frames.
    let Ok(mut budget) = BUDGET.try_lock() else { return };
    let now = clock_gettime(ClockId::Monotonic);
    let now_ms =
        u64::try_from(now.tv_sec).unwrap_or(0) * 1000 + u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000_000;
    if !budget.take(now_ms) {
        return;
    }
    let text = text[..text.floor_char_boundary(LONGEST_PROGRESS)].to_owned();
    let _ = report(&Report::Progress {
        millionths: millionths(fraction),
        text,
    });
}

/// From 0 to a million; nothing when it is no number.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "between 0 and a million"
)]
fn millionths(fraction: f64) -> Option<u32> {
    (!fraction.is_nan()).then(|| (fraction.clamp(0.0, 1.0) * 1_000_000.0).round() as u32)
}

/// How many messages may be sent now.
struct Budget {
    left: u64,
    at_ms: u64,
}

impl Budget {
    fn take(&mut self, now_ms: u64) -> bool {
        let earned = now_ms.saturating_sub(self.at_ms) / EVERY_MS;
        self.left = (self.left + earned).min(BURST);
        self.at_ms += earned * EVERY_MS;
        let may = self.left > 0;
        self.left -= u64::from(may);
        may
    }
}

/// Tells the agent of an overstep. Whether it hears is its own affair: the run goes on.
pub(crate) fn overstep(what: &str) {
    let what = what[..what.floor_char_boundary(LONGEST_OVERSTEP)].to_owned();
    let _ = report(&Report::Overstep { what });
}

/// Sends the last word and ends without running anything of the engine's: killed by the supervisor, which takes the
/// outputs at once and need not wait until the memory is given back. `code` is left with where nobody is there to kill.
pub(crate) fn leave(ending: &str, message: &str, code: i32) -> ! {
    let ending = cut(ending).to_owned();
    let message = cut(message).to_owned();
    // The agent may be gone; the code says it as well.
    let _ = report(&Report::Finished { ending, message });
    if GIVEN.load(Ordering::Relaxed) {
        let supervisor = process::fixed(SUPERVISOR);
        let told = rustix::io::retry_on_intr(|| rustix::io::write(supervisor, b"."));
        // The supervisor says nothing any more: this returns when it is gone, or when the script has closed the link.
        while told.is_ok() && matches!(rustix::io::read(supervisor, &mut [0]), Ok(1..) | Err(Errno::INTR)) {}
    }
    process::leave(code)
}

/// For the self-test: whether a locked payload has descriptors that are not its own.
pub(crate) fn open_beside_its_own() -> Option<&'static str> {
    let own = [CONTROL, SUPERVISOR];
    let found = (3..1024).any(|number| !own.contains(&number) && process::is_open(number));
    found.then_some("a descriptor that is not the run's")
}

pub(super) fn report(report: &Report) -> Result<(), Failure> {
    frame::write(File::from(copy_of(control())?), report).attempt("report to the agent")
}

pub(super) fn control() -> BorrowedFd<'static> {
    process::fixed(CONTROL)
}

pub(super) fn copy_of(descriptor: impl AsFd) -> Result<OwnedFd, Failure> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, 0).attempt("use the control socket")
}

/// At most [`LONGEST_MESSAGE`] bytes, ending between two characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST_MESSAGE)]
}

fn poisoned() -> Failure {
    Failure::rule("an earlier step broke off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_cut_between_characters() {
        let long = "é".repeat(LONGEST_MESSAGE);
        assert_eq!(cut(&long).len(), LONGEST_MESSAGE);
        assert!(cut(&format!("a{long}")).len() < LONGEST_MESSAGE);
        assert_eq!(cut("short"), "short");
    }

    #[test]
    fn progress_is_told_in_bursts_and_then_at_a_steady_rate() {
        let mut budget = Budget {
            left: BURST,
            at_ms: 0,
        };
        let mut told = |now| (0..100).filter(|_| budget.take(now)).count() as u64;
        assert_eq!(told(1_000_000), BURST);
        assert_eq!(told(1_000_000 + EVERY_MS - 1), 0);
        assert_eq!(told(1_000_000 + 3 * EVERY_MS), 3);
        assert_eq!(told(9_000_000), BURST);
    }

    #[test]
    fn a_fraction_is_between_nothing_and_all_or_unknown() {
        let of = [0.25, -3.0, 7.0, f64::INFINITY, f64::NAN].map(millionths);
        assert_eq!(
            of,
            [Some(250_000), Some(0), Some(1_000_000), Some(1_000_000), None]
        );
    }

    #[test]
    fn only_a_payload_can_be_locked() {
        assert!(lock("restricted").is_err());
    }
}
