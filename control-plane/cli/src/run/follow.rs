//! What a run writes, also while it runs.
//!
//! Invariant: each byte is printed once and in its place. What is not kept any more is said on standard error.

use std::{io::IsTerminal as _, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{Request, Rest};
use muster_ids::RunId;
use muster_wire::{
    admin::v1::run::RunLogs,
    node::v1::output::{Printed, Progress},
};

use super::{PATH, at, wait};
use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    output::{self, Format},
    table,
};

/// How long the control plane is asked to wait before it answers.
const SPAN: &str = "30s";
/// How long that answer may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// How often the question is asked again when no control plane can be reached.
const ATTEMPTS: u32 = 10;
/// Between two questions after a failure.
const PAUSE: Duration = Duration::from_millis(200);

/// Prints what is there now.
pub(super) async fn so_far(context: &Context, rest: &Rest, run: RunId) -> Result<(), Failure> {
    let gather = context.options.output == Format::Json;
    let (mut streams, mut gathered) = (Streams::of_this_process(), [Vec::new(), Vec::new()]);
    let mut after = None;
    loop {
        let logs: RunLogs = rest.call(question(run, after.as_deref())).await?;
        if logs.printed.is_empty() {
            break;
        }
        for printed in &logs.printed {
            if gather {
                gathered[usize::from(printed.stream == "stderr")].extend(bytes(printed)?);
            } else {
                streams.print(printed)?;
            }
        }
        after = Some(logs.next);
    }
    if gather {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        return output::json(
            &serde_json::json!({ "stdout": text(&gathered[0]), "stderr": text(&gathered[1]) }),
        );
    }
    streams.finish()
}

/// Prints what is there and what comes until the run has ended. For programs: each answer as one line of JSON.
pub(super) async fn follow(context: &Context, rest: &Rest, run: RunId) -> Result<(), Failure> {
    let json = context.options.output == Format::Json;
    let (mut streams, mut said) = (Streams::of_this_process(), String::new());
    let (mut after, mut failed) = (None, 0);
    loop {
        let request = question(run, after.as_deref())
            .query("wait", SPAN)
            .deadline(DEADLINE);
        let logs: RunLogs = match rest.call(request).await {
            Ok(logs) => logs,
            Err(error) if wait::is_passing(&error) && failed < ATTEMPTS => {
                failed += 1;
                tokio::time::sleep(PAUSE * failed * failed).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        failed = 0;
        if json {
            let line = serde_json::to_string(&logs).map_err(|error| {
                Failure::failed("output", format!("cannot write the result as JSON ({error})"))
            })?;
            output::line(&line)?;
        } else {
            logs.printed
                .iter()
                .try_for_each(|printed| streams.print(printed))?;
            let stands = standing(&logs);
            if !stands.is_empty() && stands != said {
                output::complain(&format!("[{stands}]"));
                said = stands;
            }
        }
        if logs.complete {
            if json {
                return Ok(());
            }
            streams.finish()?;
            output::complain(&escaped(&format!(
                "(the run {run} is {}; see muster run show {run})",
                logs.state
            )));
            return Ok(());
        }
        after = Some(logs.next);
    }
}

fn question(run: RunId, after: Option<&str>) -> Request {
    let request = at(Request::get(PATH), run).segment("logs");
    match after {
        Some(after) => request.query("after", after),
        None => request,
    }
}

/// How a run that goes on stands, in one line; empty when nothing is to be said.
fn standing(logs: &RunLogs) -> String {
    match (logs.queued_before, &logs.progress) {
        (Some(before), _) => place(before),
        (_, Some(said)) if logs.state == "running" => escaped(&progress(said)),
        _ => String::new(),
    }
}

/// A place in a queue.
pub(super) fn place(before: u64) -> String {
    match before {
        0 => "next in its queue".to_owned(),
        1 => "1 run before it in its queue".to_owned(),
        more => format!("{more} runs before it in its queue"),
    }
}

/// How far a script says it is.
pub(super) fn progress(progress: &Progress) -> String {
    let share = progress
        .fraction
        .map(|fraction| format!("{:.0} %", fraction.clamp(0.0, 1.0) * 100.0));
    match (share, progress.text.as_str()) {
        (Some(share), "") => share,
        (Some(share), text) => format!("{share}: {text}"),
        (None, text) => text.to_owned(),
    }
}

fn bytes(printed: &Printed) -> Result<Vec<u8>, Failure> {
    STANDARD.decode(&printed.data).map_err(|error| {
        Failure::failed(
            "unexpected-answer",
            format!("the control plane sent a piece of a log that is not base64 ({error}); update the older of the two"),
        )
    })
}

/// Where standard output and standard error of a run go.
struct Streams([Stream; 2]);

/// One of them.
struct Stream {
    /// Bytes that were printed.
    at: u64,
    /// Escaped, since a terminal obeys what it is sent.
    terminal: bool,
    /// The begin of a character whose end has not come.
    begun: Vec<u8>,
}

impl Streams {
    fn of_this_process() -> Self {
        let stream = |terminal| Stream {
            at: 0,
            terminal,
            begun: Vec::new(),
        };
        Self([
            stream(std::io::stdout().is_terminal()),
            stream(std::io::stderr().is_terminal()),
        ])
    }

    fn print(&mut self, printed: &Printed) -> Result<(), Failure> {
        let errors = printed.stream == "stderr";
        let stream = &mut self.0[usize::from(errors)];
        let bytes = bytes(printed)?;
        if printed.offset > stream.at {
            let missing = table::size(printed.offset - stream.at);
            output::complain(&format!(
                "({missing} of its standard {} are not kept)",
                if errors { "error" } else { "output" }
            ));
        }
        stream.at = printed.offset + bytes.len() as u64;
        write(errors, &stream.harmless(&bytes))
    }

    /// What was held back is all there is.
    fn finish(&mut self) -> Result<(), Failure> {
        for (errors, stream) in [false, true].into_iter().zip(&mut self.0) {
            let rest = std::mem::take(&mut stream.begun);
            write(errors, String::from_utf8_lossy(&rest).as_bytes())?;
        }
        Ok(())
    }
}

impl Stream {
    fn harmless(&mut self, bytes: &[u8]) -> Vec<u8> {
        if !self.terminal {
            return bytes.to_vec();
        }
        self.begun.extend_from_slice(bytes);
        // At most three bytes of a character wait for the fourth.
        let whole = match std::str::from_utf8(&self.begun) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            _ => self.begun.len(),
        };
        let rest = self.begun.split_off(whole);
        let whole = std::mem::replace(&mut self.begun, rest);
        escaped_lines(&String::from_utf8_lossy(&whole)).into_bytes()
    }
}

fn write(errors: bool, bytes: &[u8]) -> Result<(), Failure> {
    if errors {
        output::complain_bytes(bytes);
        Ok(())
    } else {
        output::bytes(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_come_in_pieces_are_shown_whole() {
        let mut stream = Stream {
            at: 0,
            terminal: true,
            begun: Vec::new(),
        };
        let text = "Ärzte \u{1b}[2J 解析\n";
        let mut shown = Vec::new();
        for byte in text.as_bytes() {
            shown.extend(stream.harmless(&[*byte]));
        }
        assert_eq!(String::from_utf8(shown).expect("text"), "Ärzte \\u{1b}[2J 解析\n");
        assert!(stream.begun.is_empty());
    }

    #[test]
    fn progress_and_places_are_told_in_words() {
        let of = |fraction, text: &str| {
            progress(&Progress {
                fraction,
                text: text.to_owned(),
            })
        };
        assert_eq!(of(Some(0.405), "fitting"), "40 %: fitting");
        assert_eq!(
            (of(Some(7.0), ""), of(None, "fitting")),
            ("100 %".into(), "fitting".into())
        );
        assert_eq!(place(1), "1 run before it in its queue");
    }
}
