//! One launcher: a `muster-jail` process with a preloaded engine, which forks a child for each run.
//!
//! ```text
//! start ──Ready──> serving ──NotForked, end of connection──> failed
//!   └──Refused, deadline──> (error)
//! ```
//!
//! Invariant: dropping the last handle closes the connection, and with it everything in the jail ends.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io,
    os::{
        fd::AsFd as _,
        unix::{fs::FileTypeExt as _, net::UnixStream as StdUnixStream},
    },
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use muster_sandbox::protocol::{FromLauncher, Limits, Report, Start, ToLauncher};
use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::{
    io::AsyncReadExt as _,
    net::{UnixStream, unix::pipe},
    process::Child,
    sync::{Notify, oneshot},
    time::{Instant, timeout},
};

use crate::{
    Standing,
    broker::{Broker, Policy},
    connection::Connection,
    frame,
    ids::Slot,
    program,
};

/// A launcher that has not preloaded by then never will.
const START_DEADLINE: Duration = Duration::from_mins(1);
/// A fork takes milliseconds; a launcher that is silent for so long is broken.
const FORK_DEADLINE: Duration = Duration::from_secs(20);
/// Kept of what the launcher and its engine print, in bytes, for the error when they do not start.
const LOG_TAIL: usize = 4096;

/// A launcher that said it is ready.
pub(crate) struct Launcher {
    connection: Arc<Connection>,
    forks: Arc<Forks>,
    next_run: AtomicU64,
    /// Runs that were given to a child.
    begun: AtomicU64,
    /// Each run that goes on holds one more.
    going: Arc<()>,
    born: Instant,
    /// What the launcher cannot enforce.
    pub(crate) degraded: Vec<String>,
    own_ids: bool,
    landlock_abi: u32,
    /// Behind the door of its jail, as long as there may be runs in it.
    broker: Option<Broker>,
}

/// Runs that wait for the launcher's answer, and those that live.
#[derive(Default)]
struct Forks {
    waiting: Mutex<HashMap<u64, oneshot::Sender<Result<(), String>>>>,
    /// The id of each run, where runs have ids of their own, until the last process that has it is gone: long after the
    /// result, as processes count.
    living: Mutex<HashMap<u64, Slot>>,
    failed: AtomicBool,
}

/// The agent's ends of a run's descriptors.
pub(crate) struct RunSockets {
    /// To and from the payload.
    pub(crate) control: UnixStream,
    /// From the run's pid 1; closing it ends the run.
    pub(crate) supervisor: UnixStream,
    /// What the run prints.
    pub(crate) stdout: pipe::Receiver,
    /// What the run complains.
    pub(crate) stderr: pipe::Receiver,
    /// Whether the payload has said that it is locked.
    pub(crate) locked: bool,
    /// Milliseconds of CPU time that former runs of its session have used; absent before its first run.
    pub(crate) used_ms: Option<u64>,
}

impl RunSockets {
    /// Waits until the payload says that it is locked. An error is one sentence.
    pub(crate) async fn until_locked(&mut self) -> Result<(), String> {
        match frame::read::<Report>(&mut self.control).await {
            Ok(Some(Report::Locked)) => {
                self.locked = true;
                Ok(())
            }
            Ok(Some(Report::Finished { message, .. })) => Err(message),
            Ok(Some(Report::Progress { .. } | Report::Overstep { .. })) => {
                Err("a fork spoke out of turn".to_owned())
            }
            Ok(None) => Err("a fork ended before it was locked".to_owned()),
            Err(error) => Err(format!("a fork cannot be understood: {error}")),
        }
    }

    /// Whether more than half of the CPU time of its session is left: the next run is not to be ended for the former ones.
    pub(crate) fn has_time(&self, limits: Limits) -> bool {
        let used_ms = self.used_ms.unwrap_or(0);
        used_ms.saturating_mul(2) < limits.cpu_seconds.saturating_mul(1000)
    }

    /// Whether its supervisor still holds its end.
    pub(crate) fn alive(&self) -> bool {
        let mut polled = [PollFd::new(&self.supervisor, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(rustix::event::poll(&mut polled, Some(&now)), Ok(0))
    }
}

impl Launcher {
    /// Builds the jail and preloads the engine; `ended` is told when it fails later. An error is one sentence.
    /// `destinations` are those of a jail whose network is brokered.
    pub(crate) async fn start(
        jail: &Path,
        start: Start,
        destinations: Option<Arc<Policy>>,
        ended: Arc<Notify>,
    ) -> Result<Self, String> {
        let (connection, mut process) = reach(jail)?;
        let log = Arc::new(Mutex::new(VecDeque::new()));
        if let Some(stderr) = process.as_mut().and_then(|process| process.stderr.take()) {
            tokio::spawn(keep_log(stderr, Arc::clone(&log)));
        }
        let hello = async {
            connection.send(&ToLauncher::Start(start), &[]).await?;
            connection.receive().await
        };
        let why = match timeout(START_DEADLINE, hello).await {
            Ok(Ok(Some((
                FromLauncher::Ready {
                    landlock_abi,
                    degraded,
                    own_ids,
                },
                door,
            )))) => {
                let broker = match (door, destinations) {
                    (Some(door), Some(destinations)) => {
                        let broker = Broker::behind(door, destinations);
                        Some(broker.map_err(|error| format!("its network cannot be brokered: {error}"))?)
                    }
                    (None, None) => None,
                    _ => return Err("the launcher built another network than it was asked for".to_owned()),
                };
                let connection = Arc::new(connection);
                let forks = Arc::new(Forks::default());
                tokio::spawn(answers(
                    Arc::clone(&connection),
                    process,
                    Arc::clone(&forks),
                    ended,
                ));
                return Ok(Self {
                    connection,
                    forks,
                    next_run: AtomicU64::new(1),
                    begun: AtomicU64::new(0),
                    going: Arc::default(),
                    born: Instant::now(),
                    degraded,
                    own_ids,
                    landlock_abi,
                    broker,
                });
            }
            Ok(Ok(Some((FromLauncher::Refused { why }, _)))) => why,
            Ok(Ok(Some(_))) => "the launcher answered out of turn".to_owned(),
            Ok(Ok(None)) => "the launcher ended before it was ready".to_owned(),
            Ok(Err(error)) => format!("the connection to the launcher broke: {error}"),
            Err(_) => format!("the engine was not ready within {} s", START_DEADLINE.as_secs()),
        };
        // Whatever the launcher or the engine printed is the only trace of a start that failed.
        if let Some(process) = &mut process {
            let _ = timeout(Duration::from_secs(1), process.wait()).await;
        }
        let said = locked(&log).iter().copied().collect::<Vec<u8>>();
        let said = String::from_utf8_lossy(&said);
        Err(if said.trim().is_empty() || said.contains(&why) {
            why
        } else {
            format!("{why} (it said: {})", said.trim())
        })
    }

    /// What it said of its jail.
    pub(crate) fn standing(&self) -> Standing {
        Standing {
            degraded: self.degraded.clone(),
            own_ids: self.own_ids,
            landlock_abi: self.landlock_abi,
        }
    }

    /// Whether it will fork no more.
    pub(crate) fn failed(&self) -> bool {
        self.forks.failed.load(Ordering::Acquire)
    }

    /// A child of it was found dead; the others need not be tried.
    pub(crate) fn fail(&self) {
        self.forks.failed.store(true, Ordering::Release);
    }

    /// Since it became ready.
    pub(crate) fn age(&self) -> Duration {
        self.born.elapsed()
    }

    /// Forks that were asked of it.
    pub(crate) fn forks(&self) -> u64 {
        self.next_run.load(Ordering::Relaxed) - 1
    }

    /// Runs that its children were given.
    pub(crate) fn runs(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// A child is given a run. To be held as long as it goes on.
    pub(crate) fn going(&self) -> Arc<()> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.going)
    }

    /// Runs that go on.
    pub(crate) fn count_going(&self) -> usize {
        Arc::strong_count(&self.going) - 1
    }

    /// How many destinations its broker has refused.
    pub(crate) fn count_refused(&self) -> u64 {
        self.broker.as_ref().map_or(0, Broker::count_refused)
    }

    /// Which those were since the count was `since`.
    pub(crate) fn refused_since(&self, since: u64) -> BTreeSet<String> {
        let broker = self.broker.as_ref();
        broker
            .map(|broker| broker.refused_since(since))
            .unwrap_or_default()
    }

    /// Forks a child for one run. After an error nothing of the run was executed, and the launcher has failed.
    pub(crate) async fn fork(&self, limits: Limits, slot: Option<Slot>) -> Result<RunSockets, String> {
        let forked = self.try_fork(limits, slot).await;
        if forked.is_err() {
            self.forks.failed.store(true, Ordering::Release);
        }
        forked
    }

    async fn try_fork(&self, limits: Limits, slot: Option<Slot>) -> Result<RunSockets, String> {
        let broken = |error: io::Error| format!("the run's sockets cannot be made: {error}");
        let (control, their_control) = stream_pair().map_err(broken)?;
        let (supervisor, their_supervisor) = stream_pair().map_err(broken)?;
        let (stdout, their_stdout) = pipe_pair().map_err(broken)?;
        let (stderr, their_stderr) = pipe_pair().map_err(broken)?;

        let run = self.next_run.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        locked(&self.forks.waiting).insert(run, sender);
        let number = slot.as_ref().map(Slot::number);
        if let Some(slot) = slot {
            locked(&self.forks.living).insert(run, slot);
        }
        let descriptors = [
            their_control.as_fd(),
            their_supervisor.as_fd(),
            their_stdout.as_fd(),
            their_stderr.as_fd(),
        ];
        let asked = ToLauncher::Run {
            run,
            limits,
            slot: number,
        };
        let sent = self.connection.send(&asked, &descriptors).await;
        // The reader drops all senders when the launcher is gone, but perhaps before this one was there.
        if let Err(error) = sent {
            locked(&self.forks.waiting).remove(&run);
            locked(&self.forks.living).remove(&run);
            return Err(format!("the launcher is gone: {error}"));
        }
        let answered = timeout(FORK_DEADLINE, answer).await;
        locked(&self.forks.waiting).remove(&run);
        match answered {
            Ok(Ok(Ok(()))) => Ok(RunSockets {
                control,
                supervisor,
                stdout,
                stderr,
                locked: false,
                used_ms: None,
            }),
            Ok(Ok(Err(why))) => Err(why),
            Ok(Err(_)) => Err("the launcher ended".to_owned()),
            Err(_) => Err(format!(
                "the launcher did not fork within {} s",
                FORK_DEADLINE.as_secs()
            )),
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // The launcher ends all below it and then itself; whoever reads its answers sees it out.
        self.connection.hang_up();
    }
}

/// A launcher of our own when `jail` is a program, or the one that is started behind it when it is a socket.
fn reach(jail: &Path) -> Result<(Connection, Option<Child>), String> {
    let is_socket = std::fs::metadata(jail).is_ok_and(|found| found.file_type().is_socket());
    if is_socket {
        let connection = Connection::to(jail).map_err(|error| {
            format!(
                "the launcher's socket {} does not answer: {error}",
                jail.display()
            )
        })?;
        return Ok((connection, None));
    }
    let (connection, theirs) =
        Connection::pair().map_err(|error| format!("no socket for the launcher: {error}"))?;
    let process = program::spawn_jail(jail, theirs)
        .map_err(|error| format!("the launcher {} cannot be executed: {error}", jail.display()))?;
    Ok((connection, Some(process)))
}

/// Hands each answer to the run that waits for it. To the end of the launcher: no id of a run is given away while there
/// may be a process that has it. `_process` is killed with the runtime; absent when another process started it.
async fn answers(
    connection: Arc<Connection>,
    _process: Option<Child>,
    forks: Arc<Forks>,
    ended: Arc<Notify>,
) {
    loop {
        let (run, answer) = match connection.receive().await {
            Ok(Some((FromLauncher::Forked { run }, _))) => (run, Ok(())),
            Ok(Some((FromLauncher::NotForked { run, why }, _))) => {
                locked(&forks.living).remove(&run);
                (run, Err(why))
            }
            Ok(Some((FromLauncher::Over { run }, _))) => {
                locked(&forks.living).remove(&run);
                continue;
            }
            other => {
                tracing::debug!(?other, "a launcher ended");
                break;
            }
        };
        if let Some(waiting) = locked(&forks.waiting).remove(&run) {
            let _ = waiting.send(answer);
        }
    }
    forks.failed.store(true, Ordering::Release);
    locked(&forks.waiting).clear();
    // The launcher closes its end after the last process of its jail.
    locked(&forks.living).clear();
    ended.notify_one();
}

/// Logs what the launcher and its engine print, and keeps the end of it.
async fn keep_log(mut stderr: tokio::process::ChildStderr, log: Arc<Mutex<VecDeque<u8>>>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        tracing::debug!(text = %String::from_utf8_lossy(&buffer[..count]), "a launcher printed");
        let mut log = locked(&log);
        log.extend(&buffer[..count]);
        let surplus = log.len().saturating_sub(LOG_TAIL);
        log.drain(..surplus);
    }
}

fn stream_pair() -> io::Result<(UnixStream, StdUnixStream)> {
    let (ours, theirs) = StdUnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs))
}

fn pipe_pair() -> io::Result<(pipe::Receiver, io::PipeWriter)> {
    let (ours, theirs) = io::pipe()?;
    Ok((pipe::Receiver::from_owned_fd(ours.into())?, theirs))
}

/// None of the guarded values can be left half-changed by a panic.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
