//! The agent's end of a launcher, blocking: for the self-test, the benchmark and tests. The agent has its own, async.

use std::{
    fs::File,
    io::{self, Read, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
};

use crate::{
    failure::{Attempt as _, Failure},
    frame, packet,
    protocol::{Exit, FromLauncher, IdRange, Limits, Report, Stage, Start, Supervised, ToLauncher},
};

/// Host ids for a jail started by root outside of packages: above all that systemd's containers use, in no registry.
pub const SPARE_IDS: IdRange = IdRange {
    first: 0x7000_0000,
    count: 65,
};

/// Ids that this process can give to a jail: a spare range as root, none as anybody else.
pub fn spare_ids() -> Option<IdRange> {
    rustix::process::geteuid().is_root().then_some(SPARE_IDS)
}

/// A launcher that was started; dropping it closes the connection, which ends it and all below it.
#[derive(Debug)]
pub struct Launcher {
    connection: Option<OwnedFd>,
    /// Absent where another process started the launcher.
    child: Option<Child>,
}

impl Launcher {
    /// Starts `program` and sends the first message.
    #[expect(
        clippy::disallowed_methods,
        reason = "this crate is where processes are started"
    )]
    pub fn start(program: &Path, start: Start) -> Result<Self, Failure> {
        Self::start_by(Command::new(program), start)
    }

    /// As [`Launcher::start`], with a command that changes the user first, for example.
    pub fn start_by(mut command: Command, start: Start) -> Result<Self, Failure> {
        let (connection, theirs) = packet::pair()?;
        let child = command
            .stdin(Stdio::from(theirs))
            .env_clear()
            .spawn()
            .attempt(format!("start {}", command.get_program().to_string_lossy()))?;
        drop(command);
        packet::send(&connection, &ToLauncher::Start(start), &[])?;
        Ok(Self {
            connection: Some(connection),
            child: Some(child),
        })
    }

    /// Has another process start the launcher, as systemd does behind `socket`, and sends the first message.
    pub fn behind(socket: &Path, start: Start) -> Result<Self, Failure> {
        let connection = packet::connect(socket)?;
        packet::send(&connection, &ToLauncher::Start(start), &[])?;
        Ok(Self {
            connection: Some(connection),
            child: None,
        })
    }

    /// The launcher's process id; 0 where another process started it.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// The next message; `None` when the launcher has ended. That a run is over is passed over.
    pub fn receive(&self) -> Result<Option<FromLauncher>, Failure> {
        loop {
            match self.next()? {
                Some(FromLauncher::Over { .. }) => {}
                other => return Ok(other),
            }
        }
    }

    /// Waits until the launcher says that this run is over; no other answer may be awaited.
    pub fn until_over(&self, run: u64) -> Result<(), Failure> {
        loop {
            match self.next()? {
                Some(FromLauncher::Over { run: over }) if over == run => return Ok(()),
                Some(FromLauncher::Over { .. }) => {}
                other => return Err(Failure::rule(format!("the launcher said {other:?}"))),
            }
        }
    }

    fn next(&self) -> Result<Option<FromLauncher>, Failure> {
        let Some(connection) = &self.connection else {
            return Ok(None);
        };
        Ok(packet::receive(connection)?.map(|(message, _)| message))
    }

    /// Waits for the jail to stand.
    pub fn until_ready(&self) -> Result<FromLauncher, Failure> {
        self.until_open().map(|(ready, _)| ready)
    }

    /// As [`Launcher::until_ready`], with the socket on which runs knock where the network is brokered.
    pub fn until_open(&self) -> Result<(FromLauncher, Option<TcpListener>), Failure> {
        let Some(connection) = &self.connection else {
            return Err(Failure::rule("the connection is closed"));
        };
        match packet::receive(connection)? {
            Some((ready @ FromLauncher::Ready { .. }, doors)) => {
                Ok((ready, doors.into_iter().next().map(TcpListener::from)))
            }
            Some((FromLauncher::Refused { why }, _)) => Err(Failure::Rule(why)),
            Some((other, _)) => Err(Failure::rule(format!(
                "the launcher said {other:?} before it was ready"
            ))),
            None => Err(Failure::rule("the launcher ended without a word")),
        }
    }

    /// Asks for a run. Its first answer comes by [`Launcher::receive`].
    pub fn ask(&self, run: u64, limits: Limits) -> Result<Run, Failure> {
        let (control, their_control) = UnixStream::pair().attempt("make a pair of sockets")?;
        let (supervisor, their_supervisor) = UnixStream::pair().attempt("make a pair of sockets")?;
        let (stdout, their_stdout) = io::pipe().attempt("make a pipe")?;
        let (stderr, their_stderr) = io::pipe().attempt("make a pipe")?;
        let connection = self
            .connection
            .as_ref()
            .ok_or_else(|| Failure::rule("the connection is closed"))?;
        packet::send(
            connection,
            &ToLauncher::Run {
                run,
                limits,
                slot: None,
            },
            &[
                their_control.as_fd(),
                their_supervisor.as_fd(),
                their_stdout.as_fd(),
                their_stderr.as_fd(),
            ],
        )?;
        Ok(Run {
            control,
            supervisor,
            stdout: stdout.into(),
            stderr: stderr.into(),
        })
    }

    /// Asks for a run and waits until it is forked.
    pub fn run(&self, run: u64, limits: Limits) -> Result<Run, Failure> {
        let asked = self.ask(run, limits)?;
        match self.receive()? {
            Some(FromLauncher::Forked { run: forked }) if forked == run => Ok(asked),
            Some(FromLauncher::NotForked { why, .. }) => Err(Failure::Rule(why)),
            other => Err(Failure::rule(format!("the launcher answered {other:?}"))),
        }
    }

    /// Hangs up and waits until the launcher, and with it everything in the jail, is gone. How it ended is known of
    /// a child only; another's is not waited for.
    pub fn close(mut self) -> Result<Option<ExitStatus>, Failure> {
        self.connection = None;
        let ended = self.child.as_mut().map(Child::wait).transpose();
        ended.attempt("wait for the launcher")
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.connection = None;
        // Closed already, or it ends now; a launcher that does not would hang the caller, which is a bug to see.
        let _ = self.child.as_mut().map(Child::wait);
    }
}

/// The agent's ends of one run.
#[derive(Debug)]
pub struct Run {
    /// Stage out, reports in.
    pub control: UnixStream,
    /// Events of the run's process 1; closing it ends the run.
    pub supervisor: UnixStream,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// All that is known about a run that has ended.
#[derive(Debug)]
pub struct Outcome {
    /// What the payload said, in order.
    pub reports: Vec<Report>,
    /// How it ended; `None` when its process 1 never said.
    pub exit: Option<Exit>,
    /// User and system time in milliseconds.
    pub cpu_ms: u64,
    /// The largest resident size of one process in bytes.
    pub peak_bytes: u64,
    /// The outputs in the order of the stage: bytes, or why not.
    pub outputs: Vec<Result<Vec<u8>, String>>,
    /// Whether the last frame was `Done`.
    pub complete: bool,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Run {
    /// Sends the stage and the bytes of its files.
    pub fn stage(&self, stage: &Stage, bytes: &[u8]) -> Result<(), Failure> {
        frame::write(&self.control, stage)
            .and_then(|()| (&self.control).write_all(bytes))
            .attempt("send the stage")
    }

    /// Reads everything until the run is over.
    pub fn finish(self) -> Result<Outcome, Failure> {
        let Self {
            control,
            supervisor,
            stdout,
            stderr,
        } = self;
        thread::scope(|scope| {
            let stdout = scope.spawn(|| text(stdout));
            let stderr = scope.spawn(|| text(stderr));
            let reports = scope.spawn(move || {
                let mut reports = Vec::new();
                while let Ok(Some(report)) = frame::read(&control) {
                    reports.push(report);
                }
                reports
            });
            let (exit, (cpu_ms, peak_bytes), outputs, complete) = supervised(&supervisor)?;
            let broken = || Failure::rule("a reading thread ended early");
            Ok(Outcome {
                reports: reports.join().map_err(|_| broken())?,
                exit,
                cpu_ms,
                peak_bytes,
                outputs,
                complete,
                stdout: stdout.join().map_err(|_| broken())?,
                stderr: stderr.join().map_err(|_| broken())?,
            })
        })
    }
}

type Ended = (Option<Exit>, (u64, u64), Vec<Result<Vec<u8>, String>>, bool);

fn supervised(supervisor: &UnixStream) -> Result<Ended, Failure> {
    let (mut exit, mut used, mut outputs, mut complete) = (None, (0, 0), Vec::new(), false);
    while let Some(event) = frame::read(supervisor).attempt("read what the supervisor says")? {
        match event {
            Supervised::Started | Supervised::Begun | Supervised::Stays { .. } => {}
            Supervised::Ended {
                exit: how,
                cpu_ms,
                peak_bytes,
            } => (exit, used) = (Some(how), (cpu_ms, peak_bytes)),
            Supervised::Output { size, .. } => {
                let mut bytes = Vec::new();
                supervisor
                    .take(size)
                    .read_to_end(&mut bytes)
                    .attempt("read an output")?;
                outputs.push(Ok(bytes));
            }
            Supervised::NoOutput { why, .. } => outputs.push(Err(why)),
            Supervised::Done => complete = true,
        }
    }
    Ok((exit, used, outputs, complete))
}

fn text(descriptor: OwnedFd) -> String {
    let mut bytes = Vec::new();
    // What was read before an error is what there is.
    let _ = File::from(descriptor).read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}
