//! What a request carries: bytes and files, sent piece by piece.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt as _, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::body::Frame;
use tokio::{
    fs::File,
    io::AsyncReadExt as _,
    sync::{Notify, mpsc},
};

/// The body of a request on its way.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How much of a file is read at once.
const CHUNK: usize = 64 * 1024;

/// A part of a request's content.
pub(crate) enum Piece {
    Bytes(Bytes),
    /// Exactly this many bytes from where the file stands.
    File(File, u64),
    /// Whatever comes, until the other half is dropped; the whole content.
    Stream(mpsc::Receiver<Bytes>),
}

impl Piece {
    /// In bytes, where it is known.
    pub(crate) fn length(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::File(_, length) => Some(*length),
            Self::Stream(_) => None,
        }
    }
}

/// What is known of a request's content while it is sent.
#[derive(Default)]
pub(crate) struct Progress {
    /// Notified whenever some of a larger content is taken.
    pub(crate) taken: Notify,
    /// Why the content could not be read. HTTP/2 would not tell.
    failure: Mutex<Option<io::Error>>,
}

impl Progress {
    /// Why the content could not be read, if so.
    pub(crate) fn failure(&self) -> Option<io::Error> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&self, error: io::Error) -> io::Error {
        let kind = error.kind();
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        kind.into()
    }
}

/// The body made of `pieces`.
pub(crate) fn body(mut pieces: Vec<Piece>, progress: Arc<Progress>) -> Body {
    match pieces.pop() {
        None => Empty::new().map_err(|never| match never {}).boxed_unsync(),
        Some(Piece::Bytes(bytes)) if pieces.is_empty() => {
            Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
        }
        Some(Piece::Stream(mut stream)) if pieces.is_empty() => {
            let frames = stream::poll_fn(move |context| stream.poll_recv(context));
            StreamBody::new(frames.map(|bytes| Ok(Frame::data(bytes)))).boxed_unsync()
        }
        Some(last) => {
            pieces.push(last);
            let pieces = pieces.into_iter();
            let frames = stream::try_unfold(
                (pieces, None, progress),
                |(mut pieces, file, progress)| async move {
                    progress.taken.notify_one();
                    let mut current = file;
                    loop {
                        if let Some((mut file, rest)) = current.take().filter(|(_, rest)| *rest > 0) {
                            let chunk = read(&mut file, rest)
                                .await
                                .map_err(|error| progress.failed(error))?;
                            let rest = rest - chunk.len() as u64;
                            return Ok(Some((Frame::data(chunk), (pieces, Some((file, rest)), progress))));
                        }
                        match pieces.next() {
                            None => return Ok(None),
                            Some(Piece::Bytes(bytes)) if bytes.is_empty() => {}
                            Some(Piece::Bytes(bytes)) => {
                                return Ok(Some((Frame::data(bytes), (pieces, None, progress))));
                            }
                            Some(Piece::File(file, length)) => current = Some((file, length)),
                            // A request has one stream or none (`Request::stream`).
                            Some(Piece::Stream(_)) => {}
                        }
                    }
                },
            );
            StreamBody::new(frames).boxed_unsync()
        }
    }
}

async fn read(file: &mut File, rest: u64) -> io::Result<Bytes> {
    let mut chunk = BytesMut::with_capacity(usize::try_from(rest).unwrap_or(CHUNK).min(CHUNK));
    file.take(rest).read_buf(&mut chunk).await?;
    if chunk.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the file became shorter while it was sent",
        ));
    }
    Ok(chunk.freeze())
}
