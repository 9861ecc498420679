//! What one connection does: its requests under way, and when it has been silent, slow or greedy for too long.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
    time::{Instant, timeout_at},
};

use super::{
    gate::Place,
    limits::{GRACE, Pace},
};

/// Why a connection is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Overdue {
    /// No request, or not all of a message, came in time.
    #[error("no whole request came in time")]
    Silent,
    /// It sends slower than anybody does who means it.
    #[error("the peer sends too slowly")]
    Slow,
    /// It has made all the requests, or sent all the bytes, that one connection may.
    #[error("the connection was used up")]
    Spent,
    /// Nothing was asked for a long time.
    #[error("the connection was idle")]
    Idle,
}

/// The activity of one connection.
pub(super) struct Activity {
    pace: Pace,
    place: Place,
    read: AtomicU64,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    under_way: usize,
    requests: u64,
    /// Since when the peer is waited for, and what it had sent by then.
    since: Instant,
    before: u64,
}

impl Activity {
    pub(super) fn new(pace: Pace, place: Place) -> Arc<Self> {
        Arc::new(Self {
            pace,
            place,
            read: AtomicU64::new(0),
            state: Mutex::new(State {
                under_way: 0,
                requests: 0,
                since: Instant::now(),
                before: 0,
            }),
            changed: Notify::new(),
        })
    }

    /// A request is there; it is under way until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.lock();
        state.requests += 1;
        state.under_way += 1;
        if state.under_way == 1 {
            self.place.settle();
            self.changed.notify_one();
        }
        drop(state);
        UnderWay(self.clone())
    }

    fn end(&self) {
        let mut state = self.lock();
        state.under_way -= 1;
        if state.under_way == 0 {
            state.since = Instant::now();
            state.before = self.read.load(Ordering::Relaxed);
            self.place.wait_again(state.since);
            self.changed.notify_one();
        }
    }

    /// Waits until the connection should end.
    pub(super) async fn overdue(&self) -> Overdue {
        loop {
            match self.look(Instant::now()) {
                Ok(None) => self.changed.notified().await,
                Ok(Some(next)) => drop(timeout_at(next, self.changed.notified()).await),
                Err(overdue) => return overdue,
            }
        }
    }

    /// Whether it is overdue, else when to look again; `None` leaves that to the next change.
    fn look(&self, now: Instant) -> Result<Option<Instant>, Overdue> {
        let state = self.lock();
        if state.under_way > 0 {
            return Ok(None);
        }
        let read = self.read.load(Ordering::Relaxed);
        if state.requests >= self.pace.requests || read >= self.pace.bytes {
            return Err(Overdue::Spent);
        }
        let (limit, overdue) = if state.requests == 0 {
            (self.pace.first, Overdue::Silent)
        } else {
            (self.pace.idle, Overdue::Idle)
        };
        let end = state.since + limit;
        if now >= end {
            return Err(overdue);
        }
        if self.pace.rate == 0 {
            return Ok(Some(end));
        }
        let waited = now.saturating_duration_since(state.since);
        let sent = u128::from(read - state.before);
        if waited >= GRACE && sent * 1000 < u128::from(self.pace.rate) * waited.as_millis() {
            return Err(Overdue::Slow);
        }
        Ok(Some(end.min(now + GRACE)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is not answered to its end.
pub(super) struct UnderWay(Arc<Activity>);

impl UnderWay {
    /// Whether no request may follow on this connection.
    pub(super) fn is_last(&self) -> bool {
        self.0.lock().requests >= self.0.pace.requests
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The body of an answer, which is under way until it is sent or given up.
pub(super) struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl Answer {
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self {
            body,
            _under_way: under_way,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose bytes from the peer are counted.
pub(super) struct Counted<S> {
    stream: S,
    activity: Arc<Activity>,
}

impl<S> Counted<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let more = buffer.filled().len().saturating_sub(before) as u64;
        self.activity.read.fetch_add(more, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }
}
