//! Listeners: accept, TLS, HTTP, and an orderly end.
//!
//! Invariants: accepting never waits for a peer; what strangers can take is bounded for each listener apart, in all and
//! by source ([`gate`]), and for each connection in time, rate, requests and bytes ([`limits`]); one bad connection
//! never stops the accept loop.

mod activity;
mod connection;
mod gate;
mod limits;
mod workers;

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use hyper_util::server::conn::auto::Builder;
use muster_pki::Facts;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::Semaphore,
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{connection::BoxError, limits::Limits, workers::Workers};
use self::{connection::Manner, gate::Gate};
use crate::metrics::ListenerMetrics;

/// How long open requests may take when the process ends.
pub const GRACE: Duration = Duration::from_secs(5);
/// Connections that the kernel holds until they are accepted: a fleet that comes back at once fits.
const BACKLOG: u32 = 8_192;
/// What a peer of the plain port hears when there is no room; nodes obey `Retry-After`.
const BUSY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

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
    /// What it grants.
    pub limits: Limits,
    /// What it counts.
    pub metrics: ListenerMetrics,
    /// Told when a connection has ended.
    pub ended: Option<Ended>,
}

/// A socket that listens on `address`.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A restart must not wait for connections of the process before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Listener {
    /// Serves until `stop`, then lets open requests finish within [`GRACE`].
    pub async fn run(self, workers: Arc<Workers>, stop: CancellationToken) {
        let gate = Gate::new(self.limits.room);
        // Half of the processors shake hands; the others go on with those who have.
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let manner = Arc::new(Manner {
            transport: self.transport,
            router: self.router,
            pace: self.limits.pace,
            turns: Semaphore::new((processors / 2).max(1)),
        });
        let tasks = TaskTracker::new();
        loop {
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
            let (number, cut) = (NEXT.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
            let Ok((place, displaced)) = gate.enter(number, address.ip(), &cut, Instant::now()) else {
                self.metrics.refused.inc();
                turn_away(&stream, &manner.transport);
                continue;
            };
            self.metrics.displaced.inc_by(u64::from(displaced));
            let peer = Peer {
                address,
                certificate: None,
                cut,
                number,
                ended: self.ended.clone(),
            };
            let (manner, stop, name, open) =
                (manner.clone(), stop.clone(), self.name, self.metrics.open.clone());
            // The runtime that accepted it lets go of it, so that another one can wait for it.
            let Ok(stream) = stream.into_std() else { continue };
            let serve = async move {
                open.inc();
                if let Err(error) = connection::run(stream, peer, place, manner, stop).await {
                    tracing::debug!(listener = name, peer = %address, error = %error, "connection ended");
                }
                open.dec();
            };
            tasks.spawn_on(serve, workers.next());
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

/// Serves one connection of the plain port with nobody beside it, over any stream, to its end.
pub async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    limits: Limits,
    router: Router,
) -> Result<(), BoxError> {
    let address = SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 1));
    let (number, cut) = (NEXT.fetch_add(1, Ordering::Relaxed), CancellationToken::new());
    let (place, _) = Gate::new(limits.room)
        .enter(number, address.ip(), &cut, Instant::now())
        .map_err(|_| "there is no room for a single connection")?;
    let peer = Peer {
        address,
        certificate: None,
        cut,
        number,
        ended: None,
    };
    let manner = Manner {
        transport: Transport::Plain,
        router,
        pace: limits.pace,
        turns: Semaphore::new(1),
    };
    let stop = CancellationToken::new();
    connection::serve(stream, peer, place, Builder::http1_only, &manner, stop).await
}

/// A plain peer is told when to come back; behind TLS nothing can be said before the handshake.
fn turn_away(stream: &TcpStream, transport: &Transport) {
    if matches!(transport, Transport::Plain) {
        // A new socket has room for it; a peer that is gone needs no answer.
        let _ = stream.try_write(BUSY);
    }
}
