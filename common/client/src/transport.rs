//! How connections come about: TCP, TLS, the HTTP handshake, and the next control plane if one fails.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::TlsConnector;

use crate::{
    Connection, Endpoint,
    connection::{Sender, Shared},
    error::{ClientError, Fault},
    wire::{Faults, Stream, Wire},
};

/// What a call may take at most.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For finding the address and connecting, and again for the TLS handshake.
    pub connect: Duration,
    /// The longest time in which sending makes no progress, and for the whole of an answer that is not a
    /// stream; of a stream or download, for its head and between two parts of a download.
    pub deadline: Duration,
    /// The longest answer that is not a download, in bytes.
    pub answer: usize,
    /// The longest line of a stream of lines, in bytes.
    pub line: usize,
    /// How often an HTTP/2 connection is pinged, and how long the reply may take.
    pub ping: Duration,
}

impl Default for Limits {
    /// 10 s to connect and between pings, 30 s for an answer of 8 MiB; lines of 1 MiB.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            deadline: Duration::from_secs(30),
            answer: 8 * 1024 * 1024,
            line: 1024 * 1024,
            ping: Duration::from_secs(10),
        }
    }
}

/// Makes connections with one TLS configuration or without TLS. After a certificate was renewed, a new
/// transport is made.
#[derive(Debug, Clone)]
pub struct Transport {
    tls: Option<TlsConfig>,
    limits: Limits,
}

#[derive(Clone)]
struct TlsConfig(Arc<ClientConfig>);

impl std::fmt::Debug for TlsConfig {
    /// The configuration can hold a private key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TlsConfig")
    }
}

/// Headers of an answer: 64 KiB and 64 of them are many times what a control plane sends.
const MAX_HEADERS: usize = 64;
const MAX_HEADER_BYTES: usize = 64 * 1024;
const MAX_HEADER_LIST: u32 = 64 * 1024;

/// What the other side may send unasked on one stream and on one connection: bounds the memory of an agent, and
/// still fills a 1 Gbit/s line at 8 ms.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// What one request may have waiting to be sent.
const SEND_BUFFER: usize = 128 * 1024;

impl Transport {
    /// For `https` endpoints. If `config` names no protocols (ALPN), HTTP/2 and HTTP/1.1 are offered.
    pub fn tls(mut config: Arc<ClientConfig>, limits: Limits) -> Self {
        if config.alpn_protocols.is_empty() {
            Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        }
        Self {
            tls: Some(TlsConfig(config)),
            limits,
        }
    }

    /// For `http` endpoints, over HTTP/1.1.
    pub fn plain(limits: Limits) -> Self {
        Self { tls: None, limits }
    }

    /// Connects to `endpoint`. With TLS 1.3 a client certificate that the other side refuses shows only when
    /// the first request fails.
    pub async fn connect(&self, endpoint: &Endpoint) -> Result<Connection, ClientError> {
        self.try_connect(endpoint)
            .await
            .map_err(|fault| ClientError::Unreachable {
                endpoint: endpoint.to_string(),
                fault,
            })
    }

    /// Connects to the first of `endpoints` that can be reached, each tried once from the one at `start`
    /// (modulo their number) on. With a random `start` the load spreads.
    pub async fn connect_any(&self, endpoints: &[Endpoint], start: usize) -> Result<Connection, ClientError> {
        let mut errors = Vec::new();
        let begin = start
            .checked_rem(endpoints.len())
            .ok_or(ClientError::NoEndpoint)?;
        for endpoint in endpoints[begin..].iter().chain(&endpoints[..begin]) {
            match self.connect(endpoint).await {
                Ok(connection) => return Ok(connection),
                Err(error) => errors.push(error),
            }
        }
        Err(if errors.len() == 1 {
            errors.remove(0)
        } else {
            ClientError::AllUnreachable(errors)
        })
    }

    /// As [`Self::connect_any`], again and again: after each round without success `wait` is shown the error
    /// and says how long to wait, or gives up with `None`.
    pub async fn connect_until(
        &self,
        endpoints: &[Endpoint],
        start: usize,
        mut wait: impl FnMut(&ClientError) -> Option<Duration>,
    ) -> Result<Connection, ClientError> {
        loop {
            let error = match self.connect_any(endpoints, start).await {
                Ok(connection) => return Ok(connection),
                Err(error) => error,
            };
            match wait(&error) {
                Some(span) => tokio::time::sleep(span).await,
                None => return Err(error),
            }
        }
    }

    async fn try_connect(&self, endpoint: &Endpoint) -> Result<Connection, Fault> {
        let config = match (&self.tls, endpoint.is_tls()) {
            (Some(config), true) => Some(config),
            (None, false) => None,
            (None, true) => {
                return Err(Fault::new(
                    "it is an https address",
                    "use the http address of the registration port here",
                ));
            }
            (Some(_), false) => {
                return Err(Fault::new(
                    "it is an http address",
                    "use https, nothing is sent in the clear",
                ));
            }
        };
        let tcp = self.tcp(endpoint).await?;
        // Requests are small and someone waits for each.
        tcp.set_nodelay(true).map_err(|error| Fault::of_io(&error))?;
        let (tcp, socket) = twice(tcp).map_err(|error| Fault::of_io(&error))?;
        let faults = Faults::default();
        let (stream, http2, peer) = match config {
            None => (Stream::Plain(tcp), false, Vec::new()),
            Some(TlsConfig(config)) => {
                let name = ServerName::try_from(endpoint.host().to_owned()).map_err(|_| {
                    Fault::new(
                        "its name cannot stand in a certificate",
                        "use a name of letters, digits and dashes, or an address",
                    )
                })?;
                let handshake = TlsConnector::from(Arc::clone(config)).connect(name, tcp);
                let tls = timeout(self.limits.connect, handshake)
                    .await
                    .map_err(|_| {
                        Fault::new(
                            "the TLS handshake is not answered",
                            "check that muster-server runs there",
                        )
                    })?
                    .map_err(|error| Fault::of_io(&error))?;
                let negotiated = tls.get_ref().1;
                let http2 = negotiated.alpn_protocol() == Some(b"h2");
                let peer = negotiated
                    .peer_certificates()
                    .unwrap_or_default()
                    .iter()
                    .map(|der| der.clone().into_owned())
                    .collect();
                (Stream::Tls(Box::new(tls)), http2, peer)
            }
        };
        let wire = Wire {
            stream,
            faults: Arc::clone(&faults),
        };
        self.http(endpoint, wire, socket, http2, peer).await
    }

    /// Tries each address of the host, the remaining time shared among those that remain.
    async fn tcp(&self, endpoint: &Endpoint) -> Result<TcpStream, Fault> {
        let unanswered = || Fault::of_io(&std::io::ErrorKind::TimedOut.into());
        let end = Instant::now() + self.limits.connect;
        let addresses: Vec<SocketAddr> =
            timeout_at(end, tokio::net::lookup_host((endpoint.host(), endpoint.port())))
                .await
                .map_err(|_| Fault::new("its name cannot be resolved in time", "check the name service"))?
                .map_err(|error| Fault::of_name(&error))?
                .collect();
        let mut fault = Fault::new(
            "its name has no address",
            "check the spelling and the name service",
        );
        for (tried, address) in addresses.iter().enumerate() {
            let remaining = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
            let share = end.saturating_duration_since(Instant::now()) / remaining;
            match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(tcp)) => return Ok(tcp),
                Ok(Err(error)) => fault = Fault::of_io(&error),
                Err(_) => fault = unanswered(),
            }
        }
        Err(fault)
    }

    async fn http(
        &self,
        endpoint: &Endpoint,
        wire: Wire,
        socket: std::net::TcpStream,
        http2: bool,
        peer: Vec<CertificateDer<'static>>,
    ) -> Result<Connection, Fault> {
        let faults = Arc::clone(&wire.faults);
        let io = TokioIo::new(wire);
        let (closing, closed) = watch::channel(false);
        let ended = {
            let faults = Arc::clone(&faults);
            move |result: hyper::Result<()>| {
                if let Err(error) = result {
                    let _ = faults.set(Fault::of_http(&error));
                }
                let _ = closing.send(true);
            }
        };
        let failed = |error: hyper::Error| faults.get().cloned().unwrap_or_else(|| Fault::of_http(&error));
        let sender = if http2 {
            let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(self.limits.ping)
                .keep_alive_timeout(self.limits.ping)
                .keep_alive_while_idle(true)
                .max_header_list_size(MAX_HEADER_LIST)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_send_buf_size(SEND_BUFFER);
            let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
            tokio::spawn(async move { ended(connection.await) });
            Sender::Http2(sender)
        } else {
            let mut builder = hyper::client::conn::http1::Builder::new();
            builder.max_headers(MAX_HEADERS).max_buf_size(MAX_HEADER_BYTES);
            let (sender, connection) = builder.handshake(io).await.map_err(failed)?;
            tokio::spawn(async move { ended(connection.await) });
            Sender::Http1(Arc::new(tokio::sync::Mutex::new(sender)))
        };
        let shared = Shared {
            endpoint: endpoint.clone(),
            limits: self.limits.clone(),
            peer,
            faults,
            closed,
            socket,
        };
        Ok(Connection::new(shared, sender))
    }
}

/// A second handle of the same socket beside the first.
fn twice(tcp: TcpStream) -> std::io::Result<(TcpStream, std::net::TcpStream)> {
    let socket = tcp.into_std()?;
    let second = socket.try_clone()?;
    Ok((TcpStream::from_std(socket)?, second))
}
