//! How long a connection has been silent.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

/// A run may compute for long between two questions; what it leaves open ends with it.
const LONGEST_SILENCE: Duration = Duration::from_mins(10);
/// Once one side has nothing more to say. It may be a run that is over.
const LONGEST_SILENCE_OF_ONE: Duration = Duration::from_secs(30);

/// When a byte last went either way.
#[derive(Debug)]
pub(super) struct Seen {
    born: Instant,
    /// Milliseconds since then.
    at: AtomicU64,
    /// Whether one side has ended.
    one_ended: AtomicBool,
}

impl Seen {
    pub(super) fn new() -> Self {
        Self {
            born: Instant::now(),
            at: AtomicU64::new(0),
            one_ended: AtomicBool::new(false),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn moved(&self, bytes: usize) {
        if bytes > 0 {
            self.at.store(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns when nothing has moved for too long.
    pub(super) async fn until_silent(&self) {
        loop {
            let silent = Duration::from_millis(self.now().saturating_sub(self.at.load(Ordering::Relaxed)));
            let most = if self.one_ended.load(Ordering::Relaxed) {
                LONGEST_SILENCE_OF_ONE
            } else {
                LONGEST_SILENCE
            };
            let left = most.saturating_sub(silent);
            if left.is_zero() {
                return;
            }
            // An end in between shortens what is left.
            tokio::time::sleep(left.min(LONGEST_SILENCE_OF_ONE)).await;
        }
    }
}

/// A stream whose bytes are seen.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    seen: Arc<Seen>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, seen: Arc<Seen>) -> Self {
        Self { stream, seen }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let read = buffer.filled().len() - before;
        self.seen.moved(read);
        if read == 0 && buffer.remaining() > 0 {
            self.seen.one_ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.seen.moved(written);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
