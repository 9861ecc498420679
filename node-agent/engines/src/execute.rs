//! One run after its fork: hands the order in, takes reports, prints and outputs out, and judges how it ended.
//!
//! ```text
//! control     stage + inputs ──>   <── Locked, Finished       (the payload's word, about its own run only)
//! supervisor                       <── Started, Ended, outputs, Done
//! stdout, stderr                   <── bytes, capped
//! ```
//!
//! Invariant: whatever the payload says or sends, the supervisor's word decides whether it lives and how it ended;
//! an overstep that was reported wins over every other ending.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use muster_sandbox::protocol::{Exit, Limits, Report, Stage, StagedFile, Supervised};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Data, Outcome, OutputFile, Printed, RunEnding, RunOrder, frame,
    launcher::RunSockets,
    live::{Live, Progress, Stream},
    order::{self, SCHEMA_PATH},
};

/// After the supervisor's own deadline: it must have told us by then.
const GRACE: Duration = Duration::from_secs(10);
/// What is left in pipes after the last process is gone is there at once.
const DRAIN: Duration = Duration::from_secs(5);
/// Reports that a payload may send besides progress; a well-behaved runner sends two, and of a traced run each
/// overstep once.
const MOST_REPORTS: usize = 64 + MOST_OVERSTEPS;
/// Oversteps that are kept.
const MOST_OVERSTEPS: usize = 1000;
/// Kept of the name of an overstep, in bytes.
const LONGEST_OVERSTEP: usize = 256;
/// After each progress message: whoever sends more waits, and costs the agent no more than this.
const PROGRESS_PAUSE: Duration = Duration::from_millis(20);
/// Kept of a progress message, in bytes.
const LONGEST_PROGRESS: usize = 1024;
/// Kept of a message of the run, in bytes: runners say no more, and an outcome must fit into one request.
const LONGEST_MESSAGE: usize = 64 * 1024;

/// What the payload said.
#[derive(Default)]
struct Said {
    locked: bool,
    overstep: Option<String>,
    traced: Vec<String>,
    finished: Option<(String, String)>,
}

/// What the supervisor said.
#[derive(Default)]
struct Watched {
    begun: bool,
    ended: Option<(Exit, u64, u64)>,
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

/// Executes the order on a forked child.
pub(crate) async fn execute(
    order: &RunOrder,
    limits: Limits,
    printed_bytes: usize,
    sockets: RunSockets,
    cancel: &CancellationToken,
) -> Result<RunEnding, NeverBegan> {
    let began = Instant::now();
    let RunSockets {
        control,
        mut supervisor,
        stdout,
        stderr,
        locked,
        slot: _slot,
    } = sockets;
    let (mut from_payload, mut to_payload) = control.into_split();
    let (mut said, mut watched) = (Said::default(), Watched::default());
    said.locked = locked;
    let (mut out, mut err) = (Printed::default(), Printed::default());
    let (mut staged, mut stop) = (None, None);
    {
        let staging = async {
            let result = stage(order, limits, &mut to_payload).await;
            if result.is_err() {
                // The payload must not wait for what never comes.
                let _ = to_payload.shutdown().await;
            }
            staged = Some(result);
        };
        let reporting = listen(&mut from_payload, order, &mut said);
        let printing = async {
            tokio::join!(
                keep(stdout, printed_bytes, &mut out, (&order.live, Stream::Stdout)),
                keep(stderr, printed_bytes, &mut err, (&order.live, Stream::Stderr))
            );
        };
        let watching = async {
            let watch = watch(order, limits, &mut supervisor, &mut watched);
            let over = tokio::select! {
                result = watch => Stop::Over(result),
                () = cancel.cancelled() => Stop::Cancelled,
                () = tokio::time::sleep(Duration::from_millis(limits.wall_ms) + GRACE) => Stop::Late,
            };
            // Hanging up ends whatever still lives in the jail of this run.
            drop(supervisor);
            stop = Some(over);
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
    let (cpu_ms, peak_bytes) = watched
        .ended
        .map_or((0, 0), |(_, cpu_ms, peak_bytes)| (cpu_ms, peak_bytes));
    Ok(RunEnding {
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
    })
}

/// Whether the stage was not sent for a reason of ours, such as an input that is gone, and not for want of a reader.
fn own_fault(staged: Option<&io::Result<()>>) -> bool {
    let lost = [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset];
    matches!(staged, Some(Err(error)) if !lost.contains(&error.kind()))
}

/// Sends the description and the inputs.
async fn stage(order: &RunOrder, limits: Limits, control: &mut OwnedWriteHalf) -> io::Result<()> {
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
    let outputs = (0..order.outputs.len())
        .map(order::output_path)
        .chain([SCHEMA_PATH.to_owned()])
        .collect();
    frame::write(
        control,
        &Stage {
            files,
            outputs,
            limits: Some(limits),
            run: order.describe()?,
        },
    )
    .await?;
    for (source, size) in sources {
        let copied = tokio::io::copy(&mut source.take(size), control).await?;
        if copied != size {
            return Err(io::Error::other("an input became shorter while it was read"));
        }
    }
    control.flush().await
}

/// Takes the payload's reports until it hangs up or talks nonsense, which only harms its own run.
async fn listen(control: &mut OwnedReadHalf, order: &RunOrder, said: &mut Said) {
    let mut reports = 0;
    while reports < MOST_REPORTS {
        reports += 1;
        match frame::read::<Report>(control).await {
            Ok(Some(Report::Locked)) => said.locked = true,
            Ok(Some(Report::Overstep { what })) => {
                let what = tamed(&what, LONGEST_OVERSTEP);
                if order.traced() && said.traced.len() < MOST_OVERSTEPS && !said.traced.contains(&what) {
                    said.traced.push(what);
                }
            }
            Ok(Some(Report::Finished { ending, message })) if ending == "restricted_call" => {
                said.overstep.get_or_insert(tamed(&message, LONGEST_MESSAGE));
            }
            Ok(Some(Report::Finished { ending, message })) => {
                said.finished
                    .get_or_insert((ending, tamed(&message, LONGEST_MESSAGE)));
            }
            Ok(Some(Report::Progress { millionths, text })) => {
                reports -= 1;
                order.live.says(Progress {
                    millionths: millionths.map(|number| number.min(1_000_000)),
                    text: one_line(&text),
                });
                tokio::time::sleep(PROGRESS_PAUSE).await;
            }
            Ok(None) | Err(_) => break,
        }
    }
}

/// A stranger's words as one line.
fn one_line(words: &str) -> String {
    let kept = &words[..words.floor_char_boundary(LONGEST_PROGRESS)];
    let line: String = kept
        .chars()
        .map(|one| if one.is_control() { ' ' } else { one })
        .collect();
    line.trim().to_owned()
}

/// A stranger's words for people: cut, and without characters that steer a terminal.
fn tamed(words: &str, most: usize) -> String {
    let shown = |one: char| !one.is_control() || matches!(one, '\n' | '\t');
    words[..words.floor_char_boundary(most)]
        .chars()
        .map(|one| {
            if shown(one) {
                one
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}

/// Keeps the head of a stream, shows its end while it goes on, and counts the rest.
async fn keep(
    mut stream: impl AsyncRead + Unpin,
    most: usize,
    printed: &mut Printed,
    (live, which): (&Live, Stream),
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = stream.read(&mut buffer).await {
        let room = most.saturating_sub(printed.bytes.len());
        live.prints(which, &buffer[..count]);
        printed.bytes.extend_from_slice(&buffer[..count.min(room)]);
        printed.truncated |= count > room;
        printed.total += count as u64;
    }
}

/// Follows the supervisor until it has nothing more to say.
async fn watch(
    order: &RunOrder,
    limits: Limits,
    supervisor: &mut UnixStream,
    watched: &mut Watched,
) -> io::Result<()> {
    watched.delivered = vec![None; order.outputs.len() + 1];
    let mut supervisor = BufReader::new(supervisor);
    let mut room = limits.output_bytes;
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
            Supervised::Output { index, size } => {
                let index = index as usize;
                let known = watched.delivered.get(index).is_some_and(Option::is_none);
                room = room.checked_sub(size).filter(|_| known).ok_or_else(|| {
                    io::Error::new(io::ErrorKind::InvalidData, "an output that was not agreed on")
                })?;
                let mut file = File::create_new(output_file(&order.folder, index)).await?;
                let copied = tokio::io::copy(&mut (&mut supervisor).take(size), &mut file).await?;
                if copied != size {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.flush().await?;
                watched.delivered[index] = Some(size);
            }
            Supervised::NoOutput { index, why } => watched.withheld.push((index as usize, why)),
            Supervised::Done => {
                watched.done = true;
                return Ok(());
            }
        }
    }
    Ok(())
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
        Exit::Code(_) => {}
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
        (Some((ending, _)), Exit::Code(0)) if ending == "succeeded" => match stop {
            Stop::Over(Ok(())) if watched.done => missing_output(order, watched),
            Stop::Over(Err(error)) => refused(format!("its outputs could not be stored: {error}")),
            _ => refused("its outputs did not all arrive".to_owned()),
        },
        (Some((ending, message)), _) if ending == "script_error" => Outcome::ScriptError {
            message: message.clone(),
        },
        (_, Exit::Code(code)) => Outcome::Exited { code },
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
