//! One run after its fork: hands the order in, takes reports, prints and outputs out, and judges how it ended.
//!
//! ```text
//! control     stage + inputs ──>   <── Locked, Finished       (the payload's word, about its own run only)
//! supervisor                       <── Started, Ended, outputs, Done
//! stdout, stderr                   <── bytes, capped
//! ```
//!
//! A child of a session stays: after `Finished` the supervisor is asked for the outputs, and later told of the next run.
//!
//! Invariant: whatever the payload says or sends, the supervisor's word decides whether it lives and how it ended;
//! an overstep that was reported wins over every other ending. After the supervisor's last word nothing of the run
//! counts any more: its processes are killed, and nobody waits for the last of them but who gives away their user id.

mod again;
mod hear;
mod words;

use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use muster_sandbox::protocol::{Exit, Limits, Stage, StagedFile, Supervised, ToSupervisor};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader, BufWriter},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Data, Outcome, OutputFile, Printed, RunEnding, RunOrder, frame, launcher::RunSockets, live::Stream, order,
};

use self::{
    hear::{Said, keep, listen},
    words::tamed,
};

/// After the supervisor's own deadline: it must have told us by then.
const GRACE: Duration = Duration::from_secs(10);
/// A run that was cut off may take so long to end, and to close what it prints to.
const DRAIN: Duration = Duration::from_secs(5);
/// Read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// Outputs that are kept in memory until they are written together, in bytes.
const SMALL: u64 = 1 << 20;
/// Kept of a message of the run, in bytes: runners say no more, and an outcome must fit into one request.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// What the supervisor said.
#[derive(Default)]
struct Watched {
    begun: bool,
    ended: Option<(Exit, u64, u64)>,
    /// The payload lives on; milliseconds of CPU time since its fork.
    stays: Option<u64>,
    delivered: Vec<Option<u64>>,
    /// Index and reason of the first output that was not sent.
    withheld: Vec<(usize, String)>,
    done: bool,
}

/// Why the agent stopped to listen to the supervisor.
enum Stop {
    Over(io::Result<()>),
    Cancelled,
    Late,
}

/// The child was gone before its supervisor let the script start: nothing of the run was executed.
pub(crate) struct NeverBegan;

/// Executes the order on a forked child. One that `stays` is given back when the run has succeeded, for the next run of
/// its session.
pub(crate) async fn execute(
    order: &RunOrder,
    limits: Limits,
    printed_bytes: usize,
    sockets: RunSockets,
    stays: bool,
    cancel: &CancellationToken,
) -> Result<(RunEnding, Option<RunSockets>), NeverBegan> {
    let began = Instant::now();
    let RunSockets {
        control,
        supervisor,
        mut stdout,
        mut stderr,
        locked,
        used_ms,
    } = sockets;
    let (from_payload, mut to_payload) = control.into_split();
    let (mut from_supervisor, mut to_supervisor) = supervisor.into_split();
    let (mut said, mut watched) = (Said::default(), Watched::default());
    said.locked = locked;
    if used_ms.is_some() {
        if !again::begin(order, limits, &mut from_supervisor, &mut to_supervisor).await {
            return Err(NeverBegan);
        }
        watched.begun = true;
    }
    let (mut out, mut err) = (Printed::default(), Printed::default());
    // All that counts has been said and printed.
    let over = CancellationToken::new();
    let (mut staged, mut stop) = (None, None);
    {
        let staging = async {
            let limits = used_ms.is_none().then_some(limits);
            let result = tokio::select! {
                biased;
                result = stage(order, limits, stays, &mut to_payload) => result,
                () = over.cancelled() => Err(io::ErrorKind::BrokenPipe.into()),
            };
            if result.is_err() {
                // The payload must not wait for what never comes.
                let _ = to_payload.shutdown().await;
            }
            staged = Some(result);
        };
        let reporting = async {
            listen(&from_payload, order, stays, &mut said, &over).await;
            if stays && said.overstep.is_none() && said.succeeded() {
                // It may have ended; its supervisor says so.
                let _ = frame::write(&mut to_supervisor, &ToSupervisor::Collect).await;
            }
        };
        let printing = async {
            let (shown, complained) = ((&order.live, Stream::Stdout), (&order.live, Stream::Stderr));
            tokio::join!(
                keep(&mut stdout, printed_bytes, &mut out, shown, &over),
                keep(&mut stderr, printed_bytes, &mut err, complained, &over)
            );
        };
        let watching = async {
            let watch = watch(order, limits, &mut from_supervisor, &mut watched);
            let at_last = tokio::select! {
                result = watch => Stop::Over(result),
                () = cancel.cancelled() => Stop::Cancelled,
                () = tokio::time::sleep(Duration::from_millis(limits.wall_ms) + GRACE) => Stop::Late,
            };
            let lives = matches!(at_last, Stop::Over(Ok(()))) && watched.stays.is_some();
            if !lives {
                // Hanging up ends whatever still lives in the jail of this run.
                let _ = rustix::net::shutdown(from_supervisor.as_ref(), rustix::net::Shutdown::Both);
            }
            stop = Some(at_last);
            if watched.done {
                over.cancel();
            }
        };
        let rest = async { tokio::join!(staging, reporting, printing) };
        tokio::pin!(rest);
        tokio::pin!(watching);
        tokio::select! {
            _ = &mut rest => watching.await,
            () = &mut watching => { let _ = timeout(DRAIN, rest).await; }
        }
    }
    let stop = stop.unwrap_or(Stop::Late);
    let wall_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let gone = !watched.begun && watched.ended.is_none() && matches!(stop, Stop::Over(Ok(())));
    if gone && said.finished.is_none() && !own_fault(staged.as_ref()) {
        return Err(NeverBegan);
    }
    let staged = staged.unwrap_or(Ok(()));
    let mut outcome = judge(order, &said, &watched, &stop, &staged);
    if let Outcome::JailRefused { why } = &mut outcome {
        // A supervisor that cannot build the run's walls says so where the run would print.
        let complaint = String::from_utf8_lossy(&err.bytes);
        if !complaint.trim().is_empty() {
            *why = format!("{why} (it said: {})", tamed(complaint.trim(), LONGEST_MESSAGE));
        }
    }
    let (outputs, schema) = if outcome == Outcome::Succeeded {
        taken(order, &watched)
    } else {
        (Vec::new(), None)
    };
    let (all_ms, peak_bytes) = match (watched.ended, watched.stays) {
        (Some((_, cpu_ms, peak_bytes)), _) => (cpu_ms, peak_bytes),
        (None, stays) => (stays.unwrap_or(0), 0),
    };
    let cpu_ms = all_ms.saturating_sub(used_ms.unwrap_or(0));
    let kept = (watched.stays.is_some() && outcome == Outcome::Succeeded).then(|| {
        let (control, supervisor) = (
            from_payload.reunite(to_payload),
            from_supervisor.reunite(to_supervisor),
        );
        Some(RunSockets {
            control: control.ok()?,
            supervisor: supervisor.ok()?,
            stdout,
            stderr,
            locked: true,
            used_ms: Some(all_ms),
        })
    });
    let ending = RunEnding {
        outcome,
        mode: order.mode,
        stdout: out,
        stderr: err,
        outputs,
        schema,
        cpu_ms,
        wall_ms,
        peak_bytes,
        memory_bytes: limits.memory_bytes,
        shared_memory: false,
        limits_degraded: Vec::new(),
        oversteps: said.traced,
        network_refused: Vec::new(),
        session_run: 0,
    };
    Ok((ending, kept.flatten()))
}

/// Whether the stage was not sent for a reason of ours, such as an input that is gone, and not for want of a reader.
fn own_fault(staged: Option<&io::Result<()>>) -> bool {
    let lost = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    matches!(staged, Some(Err(error)) if !lost.contains(&error.kind()))
}

/// Sends the description and the inputs. A child that stayed has its limits.
async fn stage(
    order: &RunOrder,
    limits: Option<Limits>,
    stays: bool,
    control: &mut OwnedWriteHalf,
) -> io::Result<()> {
    let mut files = Vec::new();
    let mut sources: Vec<(Box<dyn AsyncRead + Unpin + Send + '_>, u64)> = Vec::new();
    for (index, input) in order.inputs.iter().enumerate() {
        let (source, size): (Box<dyn AsyncRead + Unpin + Send>, u64) = match &input.data {
            None => continue,
            Some(Data::Bytes(bytes)) => (Box::new(bytes.as_slice()), bytes.len() as u64),
            Some(Data::File(path)) => {
                let file = File::open(path).await?;
                let size = file.metadata().await?.len();
                (Box::new(file), size)
            }
        };
        files.push(StagedFile {
            path: order::input_path(index),
            size,
        });
        sources.push((source, size));
    }
    let stage = Stage {
        files,
        outputs: order.output_paths(),
        limits,
        stays,
        run: order.describe()?,
    };
    // The payload wakes up with what there is: small inputs are there together with their description.
    let mut control = BufWriter::with_capacity(PIECE, control);
    frame::write(&mut control, &stage).await?;
    for (source, size) in sources {
        let copied = tokio::io::copy(&mut source.take(size), &mut control).await?;
        if copied != size {
            return Err(io::Error::other("an input became shorter while it was read"));
        }
    }
    control.flush().await
}

/// Follows the supervisor until it has nothing more to say.
async fn watch(
    order: &RunOrder,
    limits: Limits,
    supervisor: &mut OwnedReadHalf,
    watched: &mut Watched,
) -> io::Result<()> {
    watched.delivered = vec![None; order.outputs.len() + 1];
    let mut supervisor = BufReader::new(supervisor);
    let mut room = limits.output_bytes;
    let (mut small, mut kept) = (Vec::new(), 0);
    while let Some(event) = frame::read::<Supervised>(&mut supervisor).await? {
        match event {
            Supervised::Started => {}
            Supervised::Begun => watched.begun = true,
            Supervised::Ended {
                exit,
                cpu_ms,
                peak_bytes,
            } => {
                watched.ended = Some((exit, cpu_ms, peak_bytes));
            }
            Supervised::Stays { cpu_ms } => watched.stays = Some(cpu_ms),
            Supervised::Output { index, size } => {
                let index = index as usize;
                let known = watched.delivered.get(index).is_some_and(Option::is_none);
                room = room.checked_sub(size).filter(|_| known).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "an output that was not agreed on")
                })?;
                let path = output_file(&order.folder, index);
                let mut content = (&mut supervisor).take(size);
                let copied = if kept + size <= SMALL {
                    kept += size;
                    let mut bytes = Vec::new();
                    content.read_to_end(&mut bytes).await?;
                    small.push((path, bytes));
                    small.last().map_or(0, |(_, bytes)| bytes.len() as u64)
                } else {
                    let mut file = File::create_new(path).await?;
                    let copied = tokio::io::copy(&mut content, &mut file).await?;
                    file.flush().await?;
                    copied
                };
                if copied != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                watched.delivered[index] = Some(size);
            }
            Supervised::NoOutput { index, why } => watched.withheld.push((index as usize, why)),
            Supervised::Done => {
                // Together, since each trip to a thread that may block costs as much as a small file.
                tokio::task::spawn_blocking(move || {
                    small.iter().try_for_each(|(path, bytes)| create(path, bytes))
                })
                .await??;
                watched.done = true;
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Writes a new file.
fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    std::fs::File::create_new(path)?.write_all(bytes)
}

/// Where output `index` is kept; the last one is the schema.
fn output_file(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("output-{index}"))
}

fn judge(order: &RunOrder, said: &Said, watched: &Watched, stop: &Stop, staged: &io::Result<()>) -> Outcome {
    if let Some(what) = &said.overstep {
        return Outcome::RestrictedCall { what: what.clone() };
    }
    if matches!(stop, Stop::Cancelled) {
        return Outcome::Cancelled;
    }
    let refused = |why: String| Outcome::JailRefused { why };
    if watched.stays.is_some() && watched.ended.is_none() {
        return match stop {
            Stop::Over(Ok(())) if watched.done => missing_output(order, watched),
            Stop::Over(Err(error)) => refused(format!("its outputs could not be stored: {error}")),
            _ => refused("its outputs did not all arrive".to_owned()),
        };
    }
    let Some((exit, ..)) = watched.ended else {
        return match (stop, staged) {
            (Stop::Late, _) => Outcome::TimedOut,
            (_, Err(error)) => refused(format!("its inputs could not be handed in: {error}")),
            (Stop::Over(Err(error)), _) => refused(format!("its supervisor cannot be understood: {error}")),
            _ => refused("its jail ended before the run did".to_owned()),
        };
    };
    match exit {
        Exit::TimedOut => return Outcome::TimedOut,
        Exit::OutOfMemory => return Outcome::OutOfMemory,
        Exit::Signal(signal) => return Outcome::Signalled { signal },
        Exit::Code(_) | Exit::Finished => {}
    }
    if !said.locked || !watched.begun {
        let why = match (staged, &said.finished) {
            // A payload that ended before it read everything says itself why.
            (Err(error), _) if error.kind() != io::ErrorKind::BrokenPipe => {
                format!("its inputs could not be handed in: {error}")
            }
            (_, Some((_, message))) => message.clone(),
            (_, None) => "it ended before it was locked in".to_owned(),
        };
        return refused(why);
    }
    match (&said.finished, exit) {
        (Some((ending, _)), Exit::Finished | Exit::Code(0)) if ending == "succeeded" => match stop {
            Stop::Over(Ok(())) if watched.done => missing_output(order, watched),
            Stop::Over(Err(error)) => refused(format!("its outputs could not be stored: {error}")),
            _ => refused("its outputs did not all arrive".to_owned()),
        },
        (Some((ending, message)), _) if ending == "script_error" => Outcome::ScriptError {
            message: message.clone(),
        },
        // R's own way out would do what its parent is to do at its end.
        (Some((ending, message)), Exit::Finished) if ending == "exited" => Outcome::Exited {
            code: message.parse().unwrap_or(1),
        },
        (_, Exit::Code(code)) => Outcome::Exited { code },
        // It said so where a script can write, and not what a runner says.
        (_, Exit::Finished) => Outcome::Exited { code: 0 },
        _ => refused("its ending is not known".to_owned()),
    }
}

fn missing_output(order: &RunOrder, watched: &Watched) -> Outcome {
    let outputs = order.outputs.iter().enumerate();
    match outputs
        .clone()
        .find(|(index, _)| watched.delivered[*index].is_none())
    {
        None => Outcome::Succeeded,
        Some((index, output)) => {
            let why = watched.withheld.iter().find(|(withheld, _)| *withheld == index);
            let why = why.map_or("missing", |(_, why)| why.as_str());
            Outcome::ScriptError {
                message: format!("Output {}: {why}", output.name),
            }
        }
    }
}

fn taken(order: &RunOrder, watched: &Watched) -> (Vec<OutputFile>, Option<PathBuf>) {
    let outputs = order.outputs.iter().enumerate().filter_map(|(index, output)| {
        let size = watched.delivered[index]?;
        Some(OutputFile {
            name: output.name.clone(),
            path: output_file(&order.folder, index),
            size,
        })
    });
    let schema = watched.delivered.last().copied().flatten();
    (
        outputs.collect(),
        schema.map(|_| output_file(&order.folder, order.outputs.len())),
    )
}

#[cfg(test)]
mod tests;
