//! What a run says and prints, from its first word to what lies in its sockets and pipes when it is over.
//!
//! Invariant: what is kept of a stranger's words is bounded, and harms no run but its own.

use std::{io, time::Duration};

use muster_sandbox::protocol::Report;
use rustix::net::RecvFlags;
use tokio::{
    io::AsyncReadExt as _,
    net::unix::{OwnedReadHalf, pipe},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    LONGEST_MESSAGE, PIECE,
    words::{one_line, tamed},
};
use crate::{
    Printed, RunOrder, frame,
    live::{Live, Progress, Stream},
};

/// What a pipe or socket holds at the most, in bytes: the kernel's `fs.pipe-max-size`, twice.
const HELD: usize = 2 << 20;
/// Reports that a payload may send besides progress; a well-behaved runner sends two, and of a traced run each
/// overstep once.
const MOST_REPORTS: usize = 64 + MOST_OVERSTEPS;
/// Oversteps that are kept.
const MOST_OVERSTEPS: usize = 1000;
/// Kept of the name of an overstep, in bytes.
const LONGEST_OVERSTEP: usize = 256;
/// After each progress message: whoever sends more waits, and costs the agent no more than this.
const PROGRESS_PAUSE: Duration = Duration::from_millis(20);

/// What the payload said.
#[derive(Default)]
pub(super) struct Said {
    pub(super) locked: bool,
    pub(super) overstep: Option<String>,
    pub(super) traced: Vec<String>,
    pub(super) finished: Option<(String, String)>,
}

/// Takes the payload's reports until it hangs up or talks nonsense, which only harms its own run, or until all is over.
/// Of one that stays, until it has finished.
pub(super) async fn listen(
    control: &OwnedReadHalf,
    order: &RunOrder,
    stays: bool,
    said: &mut Said,
    over: &CancellationToken,
) {
    let (mut heard, mut reports) = (Vec::new(), 0);
    let mut piece = vec![0; PIECE];
    loop {
        while let Some(report) = frame::first::<Report>(&mut heard) {
            // Progress is paced instead.
            reports += usize::from(!matches!(report, Ok(Report::Progress { .. })));
            let Ok(report) = report else { return };
            if reports > MOST_REPORTS {
                return;
            }
            if let Report::Progress { .. } = report {
                let _ = timeout(PROGRESS_PAUSE, over.cancelled()).await;
            }
            said.hear(report, order);
            if stays && said.succeeded() {
                return;
            }
        }
        let ended = tokio::select! {
            biased;
            read = receive(control, &mut piece) => match read {
                Ok(count @ 1..) => {
                    heard.extend_from_slice(&piece[..count]);
                    false
                }
                _ => return,
            },
            () = over.cancelled() => true,
        };
        if ended {
            // What it said before its end lies there, whether the runtime has been told of it or not.
            let flags = RecvFlags::DONTWAIT;
            let before = heard.len();
            while heard.len() < before + HELD
                && let Ok((count @ 1.., _)) = rustix::net::recv(control.as_ref(), &mut piece[..], flags)
            {
                heard.extend_from_slice(&piece[..count]);
            }
            if heard.len() == before {
                return;
            }
        }
    }
}

/// What has come, at least a byte unless it is the end.
async fn receive(control: &OwnedReadHalf, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        control.readable().await?;
        match control.try_read(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            other => return other,
        }
    }
}

impl Said {
    pub(super) fn succeeded(&self) -> bool {
        let finished = self.finished.as_ref();
        finished.is_some_and(|(ending, _)| ending == "succeeded")
    }

    fn hear(&mut self, report: Report, order: &RunOrder) {
        match report {
            Report::Locked => self.locked = true,
            Report::Overstep { what } => {
                let what = tamed(&what, LONGEST_OVERSTEP);
                if order.traced() && self.traced.len() < MOST_OVERSTEPS && !self.traced.contains(&what) {
                    self.traced.push(what);
                }
            }
            Report::Finished { ending, message } if ending == "restricted_call" => {
                self.overstep.get_or_insert(tamed(&message, LONGEST_MESSAGE));
            }
            Report::Finished { ending, message } => {
                self.finished
                    .get_or_insert((ending, tamed(&message, LONGEST_MESSAGE)));
            }
            Report::Progress { millionths, text } => order.live.says(Progress {
                millionths: millionths.map(|number| number.min(1_000_000)),
                text: one_line(&text),
            }),
        }
    }
}

/// Keeps the head of a stream, shows its end while it goes on, and counts the rest.
pub(super) async fn keep(
    stream: &mut pipe::Receiver,
    most: usize,
    printed: &mut Printed,
    (live, which): (&Live, Stream),
    over: &CancellationToken,
) {
    let mut buffer = vec![0; PIECE];
    let mut take = |bytes: &[u8]| {
        let room = most.saturating_sub(printed.bytes.len());
        live.prints(which, bytes);
        printed.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        printed.truncated |= bytes.len() > room;
        printed.total += bytes.len() as u64;
    };
    loop {
        tokio::select! {
            biased;
            read = stream.read(&mut buffer) => match read {
                Ok(count @ 1..) => take(&buffer[..count]),
                _ => return,
            },
            () = over.cancelled() => break,
        }
    }
    // What was printed before the end lies in the pipe, whether the runtime has been told of it or not.
    for _ in 0..HELD / PIECE {
        match rustix::io::read(&*stream, &mut buffer) {
            Ok(count @ 1..) => take(&buffer[..count]),
            _ => return,
        }
    }
}
