//! Listeners: accept, TLS, HTTP, and an orderly end.
//!
//! Invariants: a peer that does not finish its handshake or its request headers in time is dropped; the number
//! of connections of each listener is bounded; one bad connection never stops the accept loop.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Extension, Router, extract::Request, middleware};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use muster_pki::{Facts, tls::peer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// A TLS handshake must be over by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// The headers of a request must have come by then, those of the first one counted from the handshake.
const HEADERS: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 10_000 });
/// A peer that does not answer HTTP/2 pings is gone after interval and time-out.
const PING: Duration = Duration::from_secs(10);
/// How long open requests may take when the process ends.
pub const GRACE: Duration = Duration::from_secs(5);

/// Numbers connections.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// Who is at the other end of a connection.
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// Its certificate, on the back end.
    pub certificate: Option<Facts>,
    /// Cancelled to cut the connection.
    pub cut: CancellationToken,
    /// Counts the connections of this process.
    pub number: u64,
    /// Told when the connection has ended.
    ended: Option<Ended>,
}

/// Told when a connection has ended.
pub type Ended = Arc<dyn Fn(&Peer) + Send + Sync>;

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer")
            .field("address", &self.address)
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            ended(self);
        }
    }
}

/// How a listener speaks.
#[derive(Clone)]
pub enum Transport {
    /// Plain HTTP/1.1.
    Plain,
    /// TLS with the configuration of the moment.
    Tls(Arc<ArcSwap<ServerConfig>>),
    /// TLS that demands a certificate of the collective.
    MutualTls(Arc<ArcSwap<ServerConfig>>),
}

/// One listener.
pub struct Listener {
    /// The name in logs.
    pub name: &'static str,
    /// The socket.
    pub socket: TcpListener,
    /// How it speaks.
    pub transport: Transport,
    /// What it answers.
    pub router: Router,
    /// How many connections it holds at once.
    pub connections: usize,
    /// Told when a connection has ended.
    pub ended: Option<Ended>,
}

impl Listener {
    /// Serves until `stop`, then lets open requests finish within [`GRACE`].
    pub async fn run(self, stop: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.connections));
        let tasks = TaskTracker::new();
        loop {
            let Ok(slot) = slots.clone().acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = stop.cancelled() => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, or a peer that was gone before it was accepted.
                    tracing::warn!(listener = self.name, error = %error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let (transport, router, stop, name) = (
                self.transport.clone(),
                self.router.clone(),
                stop.clone(),
                self.name,
            );
            let peer = Peer {
                address,
                certificate: None,
                cut: CancellationToken::new(),
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                ended: self.ended.clone(),
            };
            tasks.spawn(async move {
                if let Err(error) = connection(stream, peer, transport, router, stop).await {
                    tracing::debug!(listener = name, peer = %address, error = %error, "connection ended");
                }
                drop(slot);
            });
        }
        tasks.close();
        if tokio::time::timeout(GRACE + Duration::from_secs(1), tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(listener = self.name, "connections were still open at the end");
        }
    }
}

async fn connection(
    stream: TcpStream,
    mut who: Peer,
    transport: Transport,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    match transport {
        Transport::Plain => serve(stream, who, Builder::http1_only, router, stop).await,
        Transport::Tls(config) => {
            let tls = handshake(stream, &config).await?;
            serve(tls, who, std::convert::identity, router, stop).await
        }
        Transport::MutualTls(config) => {
            let tls = handshake(stream, &config).await?;
            let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
            who.certificate = Some(peer(certificates)?);
            serve(tls, who, std::convert::identity, router, stop).await
        }
    }
}

async fn handshake(
    stream: TcpStream,
    config: &ArcSwap<ServerConfig>,
) -> Result<tokio_rustls::server::TlsStream<TcpStream>, Box<dyn std::error::Error + Send + Sync>> {
    let acceptor = TlsAcceptor::from(config.load_full());
    Ok(tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??)
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: Peer,
    versions: fn(Builder<TokioExecutor>) -> Builder<TokioExecutor>,
    router: Router,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let cut = peer.cut.clone();
    let asked = CancellationToken::new();
    let noted = asked.clone();
    let router = router
        .layer(Extension(Arc::new(peer)))
        .layer(middleware::map_request(move |request: Request| {
            noted.cancel();
            std::future::ready(request)
        }));
    let service = TowerToHyperService::new(router);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        .max_concurrent_streams(64)
        .max_header_list_size(16 * 1024);
    let connection = versions(builder)
        .serve_connection(TokioIo::new(stream), service)
        .into_owned();
    tokio::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        // A node that lost its right to speak is not asked to finish its sentence.
        () = cut.cancelled() => return Ok(()),
        // The limits of HTTP begin only once it is known which version the peer speaks.
        () = silence(&asked) => return Err("no request came".into()),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        ended = tokio::time::timeout(GRACE, connection.as_mut()) => ended.unwrap_or(Ok(())),
        () = cut.cancelled() => Ok(()),
    }
}

/// Ends when no request has come in time.
async fn silence(asked: &CancellationToken) {
    if tokio::time::timeout(HEADERS, asked.cancelled()).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    /// Serves one connection, says `words` on it, and reads until the server closes it.
    async fn said(words: &[u8]) -> Vec<u8> {
        let (mut client, server) = tokio::io::duplex(4096);
        let peer = Peer {
            address: SocketAddr::from(([127, 0, 0, 1], 1)),
            certificate: None,
            cut: CancellationToken::new(),
            number: 0,
            ended: None,
        };
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let served = serve(
            server,
            peer,
            std::convert::identity,
            router,
            CancellationToken::new(),
        );
        let (_, heard) = tokio::join!(served, async {
            client.write_all(words).await.expect("taken");
            let mut heard = Vec::new();
            client.read_to_end(&mut heard).await.expect("closed");
            heard
        });
        heard
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed_whatever_it_begins_with() {
        for words in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HTTP/1.1\r\n"] {
            let closed = tokio::time::timeout(Duration::from_secs(30), said(words)).await;
            assert!(closed.is_ok(), "{words:?}");
        }
    }

    #[tokio::test]
    async fn a_request_is_answered() {
        let heard = said(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n").await;
        assert!(heard.ends_with(b"here"));
    }
}
