//! What a run prints and says while it goes on, held for whoever passes it on.
//!
//! Invariant: at most [`HELD`] bytes of each stream and one message are held, however much a run prints and however
//! slowly they are taken; what is taken was printed in this order, and its place says what is missing.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use crate::launcher::locked;

/// The newest bytes of a stream that are held.
const HELD: usize = 64 * 1024;

/// What a run shows. Copies share it.
#[derive(Clone, Default)]
pub struct Live(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    streams: [Tail; 2],
    progress: Option<Progress>,
    /// How often something was said.
    said: u64,
}

/// The end of a stream.
#[derive(Default)]
struct Tail {
    bytes: VecDeque<u8>,
    /// Bytes that were printed in all.
    ends: u64,
}

/// Where a run prints to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// How far a script says it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// From 0 to a million, where it is known.
    pub millionths: Option<u32>,
    /// One line without control characters.
    pub text: String,
}

/// What was not acknowledged yet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Pieces of both streams.
    pub pieces: Vec<Piece>,
    /// The last message.
    pub progress: Option<Progress>,
    said: u64,
}

/// A piece of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Which stream.
    pub stream: Stream,
    /// Its place in it.
    pub begins: u64,
    /// What was printed.
    pub bytes: Vec<u8>,
}

impl News {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.progress.is_none()
    }

    /// How many bytes.
    pub fn size(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }
}

impl Live {
    /// The run prints.
    pub(crate) fn prints(&self, stream: Stream, bytes: &[u8]) {
        locked(&self.0).streams[stream as usize].push(bytes);
    }

    /// The script says how far it is.
    pub(crate) fn says(&self, progress: Progress) {
        let mut shown = locked(&self.0);
        shown.progress = Some(progress);
        shown.said += 1;
    }

    /// What was not acknowledged yet: the oldest bytes first, at most `most` of each stream.
    pub fn news(&self, most: usize) -> News {
        let shown = locked(&self.0);
        let pieces = [Stream::Stdout, Stream::Stderr]
            .into_iter()
            .filter_map(|stream| shown.streams[stream as usize].piece(stream, most));
        News {
            pieces: pieces.collect(),
            progress: shown.progress.clone(),
            said: shown.said,
        }
    }

    /// Somebody else has `news` now.
    pub fn acknowledge(&self, news: &News) {
        let mut shown = locked(&self.0);
        for piece in &news.pieces {
            let until = piece.begins + piece.bytes.len() as u64;
            shown.streams[piece.stream as usize].forget(until);
        }
        if shown.said == news.said {
            shown.progress = None;
        }
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Live")
    }
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.ends += bytes.len() as u64;
        let newest = &bytes[bytes.len().saturating_sub(HELD)..];
        let surplus = (self.bytes.len() + newest.len()).saturating_sub(HELD);
        self.bytes.drain(..surplus);
        self.bytes.extend(newest);
    }

    fn begins(&self) -> u64 {
        self.ends - self.bytes.len() as u64
    }

    fn piece(&self, stream: Stream, most: usize) -> Option<Piece> {
        let bytes: Vec<u8> = self.bytes.iter().take(most).copied().collect();
        (!bytes.is_empty()).then(|| Piece {
            stream,
            begins: self.begins(),
            bytes,
        })
    }

    fn forget(&mut self, until: u64) {
        let count = usize::try_from(until.saturating_sub(self.begins())).unwrap_or(usize::MAX);
        self.bytes.drain(..count.min(self.bytes.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(live: &Live, most: usize) -> Vec<(Stream, u64, Vec<u8>)> {
        let news = live.news(most);
        news.pieces
            .into_iter()
            .map(|piece| (piece.stream, piece.begins, piece.bytes))
            .collect()
    }

    #[test]
    fn what_is_acknowledged_is_not_told_again() {
        let live = Live::default();
        live.prints(Stream::Stdout, b"one");
        live.prints(Stream::Stderr, b"two");
        let first = live.news(2);
        assert_eq!(pieces(&live, 2)[0], (Stream::Stdout, 0, b"on".to_vec()));
        live.prints(Stream::Stdout, b"three");
        live.acknowledge(&first);
        live.acknowledge(&first);
        let expected = [
            (Stream::Stdout, 2, b"ethree".to_vec()),
            (Stream::Stderr, 2, b"o".to_vec()),
        ];
        assert_eq!(pieces(&live, 99), expected);
    }

    #[test]
    fn however_much_is_printed_only_the_end_is_held() {
        let live = Live::default();
        for _ in 0..1000 {
            live.prints(Stream::Stdout, &[b'x'; 10_000]);
        }
        live.prints(Stream::Stdout, &vec![b'y'; 2 * HELD]);
        live.prints(Stream::Stdout, b"z");
        let news = pieces(&live, usize::MAX);
        assert_eq!(news.len(), 1);
        let (_, begins, bytes) = &news[0];
        assert_eq!(bytes.len(), HELD);
        assert_eq!(*begins, 10_000_000 + 2 * HELD as u64 + 1 - HELD as u64);
        assert!(bytes.ends_with(b"yz") && bytes[0] == b'y');
        assert!(locked(&live.0).streams[0].bytes.capacity() <= 4 * HELD);
    }

    #[test]
    fn the_last_message_counts_and_a_newer_one_is_not_lost() {
        let live = Live::default();
        let say = |text: &str| {
            live.says(Progress {
                millionths: None,
                text: text.to_owned(),
            });
        };
        say("a");
        let news = live.news(1);
        say("b");
        live.acknowledge(&news);
        let news = live.news(1);
        assert_eq!(news.progress.as_ref().map(|said| said.text.as_str()), Some("b"));
        live.acknowledge(&news);
        assert!(live.news(1).is_empty());
    }
}
