//! What a run prints, while it goes on and afterwards, as one pair of streams.
//!
//! A place is a number of bytes in each stream, so it means the same before and after the end: until then the pieces
//! that its node sends are read, from then on what its outcome holds, and after that whatever came later.
//!
//! Invariant: a node adds to runs that it holds only; a run is read by its user and by administrators.

use std::io::SeekFrom;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::{Digest, NodeId, RunId};
use muster_model::{
    permission::{Caller, Operation},
    run::{RunState, Stream},
};
use muster_store::{NewOutput, Piece, ProgressRow, RunRow};
use muster_wire::{
    admin::v1::run::RunLogs,
    node::v1::{
        outcome::{Captured, Ending},
        output::{MAX_OUTPUT, MAX_PRINTED, MAX_RUNS, MAX_TEXT, Output, OutputReply, Printed, Progress},
    },
};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::{Content, to_json};
use crate::{App, Error};

/// Bytes of one stream in one answer.
const MOST_BYTES: u64 = 128 * 1024;
/// Pieces in one answer; each has at most [`MAX_PRINTED`] bytes.
const MOST_PIECES: u32 = 6;
const MILLION: f64 = 1_000_000.0;

/// A place in both streams of a run, and how it stood when it was there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogPlace {
    stdout: u64,
    stderr: u64,
    standing: String,
}

impl LogPlace {
    /// The place that an answer gave.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let parts: Vec<&str> = text.split('.').collect();
        let number = |text: &str| text.parse::<u64>().ok().filter(|number| *number < 1 << 62);
        match parts.as_slice() {
            [stdout, stderr, standing] if standing.len() <= 16 => number(stdout).zip(number(stderr)),
            _ => None,
        }
        .map(|(stdout, stderr)| Self {
            stdout,
            stderr,
            standing: parts[2].to_owned(),
        })
        .ok_or_else(|| Error::invalid("after is not a place that an answer gave; leave it out to begin anew"))
    }

    /// The place as it travels.
    fn text(&self) -> String {
        format!("{}.{}.{}", self.stdout, self.stderr, self.standing)
    }

    /// Whether an answer says more than what is known here already.
    pub fn is_news(&self, logs: &RunLogs) -> bool {
        logs.complete || !logs.printed.is_empty() || logs.next != self.text()
    }

    fn of(&mut self, stream: Stream) -> &mut u64 {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// What of a piece lies beyond this place, which moves to its end.
    fn take(&mut self, stream: Stream, begins: u64, bytes: &[u8]) -> Option<Printed> {
        let place = self.of(stream);
        let known = usize::try_from(place.saturating_sub(begins)).unwrap_or(usize::MAX);
        let rest = bytes.get(known..).filter(|rest| !rest.is_empty())?;
        let offset = begins.max(*place);
        *place = offset + rest.len() as u64;
        Some(Printed {
            stream: stream.to_string(),
            offset,
            data: STANDARD.encode(rest),
        })
    }
}

impl App {
    /// Keeps the end of what the runs of a node print.
    pub async fn take_output(&self, node: NodeId, output: &Output) -> Result<OutputReply, Error> {
        self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let runs = accepted(output)?;
        let not_held = self.store().run_output_add(node, &runs, self.now()).await?;
        Ok(OutputReply { not_held })
    }

    /// What a run has printed since `place`, for who may see the run.
    pub async fn run_logs(&self, caller: &Caller, id: RunId, place: &LogPlace) -> Result<RunLogs, Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        let (queued_before, progress) = self.standing(&row).await?;
        let mut place = place.clone();
        let mut printed = Vec::new();
        let mut whole = true;
        let ending: Option<Ending> = row
            .ending
            .as_deref()
            .map(serde_json::from_str)
            .transpose()
            .map_err(Error::bug)?;
        let (stdout, stderr) = ending.map_or((None, None), |ending| (ending.stdout, ending.stderr));
        for (stream, captured) in [(Stream::Stdout, stdout), (Stream::Stderr, stderr)] {
            let Some(captured) = captured else { continue };
            if let Some(bytes) = self.of_outcome(id, &captured, *place.of(stream)).await? {
                let begins = *place.of(stream);
                printed.extend(place.take(stream, begins, &bytes));
            }
            whole &= *place.of(stream) >= captured.blob.size;
        }
        if whole {
            let places = (place.stdout, place.stderr);
            for piece in self.store().run_output(id, places, MOST_PIECES).await? {
                printed.extend(place.take(piece.stream, piece.begins, &piece.bytes));
            }
        }
        let stands = to_json(&(row.run.state.as_str(), queued_before, &progress))?;
        Digest::of(stands.as_bytes()).hex()[..16].clone_into(&mut place.standing);
        Ok(RunLogs {
            state: row.run.state.to_string(),
            queued_before,
            progress,
            complete: row.run.state.is_final() && printed.is_empty(),
            printed,
            next: place.text(),
        })
    }

    /// How many runs wait before one that waits, and what the script of one that does not has said last.
    pub(super) async fn standing(&self, row: &RunRow) -> Result<(Option<u64>, Option<Progress>), Error> {
        if row.run.state == RunState::Queued {
            return Ok((Some(self.store().queued_before(row).await?), None));
        }
        let progress = self.store().run_progress(row.run.id).await?;
        Ok((None, progress.map(shown)))
    }

    /// Bytes of a stream that an outcome holds, from `from` on.
    async fn of_outcome(&self, run: RunId, captured: &Captured, from: u64) -> Result<Option<Vec<u8>>, Error> {
        if from >= captured.blob.size {
            return Ok(None);
        }
        let mut reader = match self.content(run, &captured.blob).await? {
            Content::Small(bytes) => {
                let from = usize::try_from(from).unwrap_or(usize::MAX);
                return Ok(Some(bytes.get(from..).unwrap_or_default().to_vec()));
            }
            Content::Blob(reader) => reader,
        };
        let failed = |error: std::io::Error| Error::Unavailable {
            detail: "what the run has printed cannot be read".to_owned(),
            source: Some(Box::new(error)),
        };
        let mut bytes = Vec::new();
        reader.file.seek(SeekFrom::Start(from)).await.map_err(failed)?;
        let mut part = reader.file.take(MOST_BYTES);
        part.read_to_end(&mut bytes).await.map_err(failed)?;
        Ok(Some(bytes))
    }
}

/// What a node sent, within its bounds.
fn accepted(output: &Output) -> Result<Vec<NewOutput>, Error> {
    let too_much = || Error::invalid("one request carries at most 256 runs and 256 KiB of what they printed");
    if output.runs.len() > MAX_RUNS {
        return Err(too_much());
    }
    let mut room = MAX_OUTPUT;
    let mut runs = Vec::with_capacity(output.runs.len());
    for run in &output.runs {
        let mut pieces = Vec::with_capacity(run.printed.len());
        for printed in &run.printed {
            let bytes = STANDARD
                .decode(&printed.data)
                .map_err(|_| Error::invalid("the data of a stream must be base64"))?;
            if bytes.is_empty() || bytes.len() > MAX_PRINTED || printed.offset >= 1 << 62 {
                return Err(Error::invalid("a piece of a stream has 1 byte to 64 KiB"));
            }
            room = room.checked_sub(bytes.len()).ok_or_else(too_much)?;
            pieces.push(Piece {
                stream: printed.stream.parse().map_err(Error::invalid)?,
                begins: printed.offset,
                bytes,
            });
        }
        runs.push(NewOutput {
            run: run.run,
            fence: run.fence,
            pieces,
            progress: run.progress.as_ref().map(kept).transpose()?,
        });
    }
    Ok(runs)
}

/// A message as its row has it.
fn kept(progress: &Progress) -> Result<ProgressRow, Error> {
    if progress.text.len() > MAX_TEXT || progress.text.chars().any(char::is_control) {
        return Err(Error::invalid(
            "the text of a progress message is one line of at most 1,024 bytes",
        ));
    }
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and a million")]
    let millionths = |fraction: f64| (fraction.clamp(0.0, 1.0) * MILLION).round() as i64;
    Ok(ProgressRow {
        millionths: progress
            .fraction
            .filter(|fraction| fraction.is_finite())
            .map(millionths),
        words: progress.text.clone(),
    })
}

/// A row as people see it.
fn shown(row: ProgressRow) -> Progress {
    let fraction = row.millionths.and_then(|number| i32::try_from(number).ok());
    Progress {
        fraction: fraction.map(|number| f64::from(number) / MILLION),
        text: row.words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_overlap_are_told_once_and_gaps_are_seen() {
        let mut place = LogPlace::parse("2.0.").expect("a place");
        let mut take = |begins, bytes: &[u8]| {
            place
                .take(Stream::Stdout, begins, bytes)
                .map(|piece| (piece.offset, STANDARD.decode(piece.data).expect("base64")))
        };
        assert_eq!(take(0, b"abcd"), Some((2, b"cd".to_vec())));
        assert_eq!(take(0, b"abcd"), None);
        assert_eq!(take(3, b"de"), Some((4, b"e".to_vec())));
        assert_eq!(take(9, b"j"), Some((9, b"j".to_vec())));
        assert_eq!(place, LogPlace::parse("10.0.").expect("a place"));
    }

    #[test]
    fn a_place_is_one_that_an_answer_gave() {
        for text in [
            "",
            "1",
            "1.2",
            "1.2.3.4",
            "-1.0.a",
            "a.b.c",
            "99999999999999999999.0.",
            "1.2.12345678901234567",
        ] {
            assert!(LogPlace::parse(text).is_err(), "{text}");
        }
        let place = LogPlace::parse("7.8.abc").expect("a place");
        assert_eq!(place.text(), "7.8.abc");
    }

    #[test]
    fn what_a_node_sends_is_bounded() {
        let id = RunId::new(1, [1; 10]);
        let run = |bytes: usize, stream: &str, text: &str| muster_wire::node::v1::output::RunOutput {
            run: id,
            fence: 1,
            printed: vec![Printed {
                stream: stream.to_owned(),
                offset: 0,
                data: STANDARD.encode(vec![b'x'; bytes]),
            }],
            progress: Some(Progress {
                fraction: Some(f64::INFINITY),
                text: text.to_owned(),
            }),
        };
        let output = |runs| Output { runs };
        let good = accepted(&output(vec![run(MAX_PRINTED, "stderr", "half")])).expect("good");
        assert_eq!(
            good[0].progress,
            Some(ProgressRow {
                millionths: None,
                words: "half".into()
            })
        );
        for bad in [
            vec![run(MAX_PRINTED + 1, "stdout", "")],
            vec![run(0, "stdout", "")],
            vec![run(1, "stdlog", "")],
            vec![run(1, "stdout", "two\nlines")],
            vec![run(1, "stdout", &"x".repeat(MAX_TEXT + 1))],
            vec![run(MAX_PRINTED, "stdout", ""); 5],
            vec![run(1, "stdout", ""); MAX_RUNS + 1],
        ] {
            assert!(accepted(&output(bad)).is_err());
        }
    }
}
