//! The stream under an HTTP connection, which remembers why it broke.
//!
//! HTTP/2 keeps only a word of an error of its stream, so the reason that helps a person (a refused
//! certificate, above all, which TLS 1.3 reports after the handshake) is kept here.

use std::{
    io,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::client::TlsStream;

use crate::error::Fault;

/// The first fault of a connection, shared with its requests.
pub(crate) type Faults = Arc<OnceLock<Fault>>;

pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

pub(crate) struct Wire {
    pub(crate) stream: Stream,
    pub(crate) faults: Faults,
}

impl Wire {
    fn noted<T>(&self, result: io::Result<T>) -> io::Result<T> {
        result.inspect_err(|error| {
            // Only the first counts: what follows a broken connection are complaints that it is broken.
            let _ = self.faults.set(Fault::of_io(error));
        })
    }
}

macro_rules! inner {
    ($self:expr, $stream:ident => $call:expr) => {
        match &mut $self.stream {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
        }
    };
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(inner!(self, stream => Pin::new(stream).poll_read(cx, buffer)));
        Poll::Ready(self.noted(result))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = ready!(inner!(self, stream => Pin::new(stream).poll_write(cx, bytes)));
        Poll::Ready(self.noted(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(inner!(self, stream => Pin::new(stream).poll_flush(cx)));
        Poll::Ready(self.noted(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(inner!(self, stream => Pin::new(stream).poll_write_vectored(cx, slices)));
        Poll::Ready(self.noted(result))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
