//! A real server on a port of its own, with whatever a client must bear.

use std::{
    convert::Infallible,
    io,
    net::TcpListener as StdListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::extract::{FromRequest as _, Multipart};
use bytes::Bytes;
use futures_util::stream;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use muster_client::{Endpoint, Limits, Transport};
use muster_ids::Digest;
use rustls::{ClientConfig, RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// How long a test waits for what must happen.
pub(crate) const GENEROUS: Duration = Duration::from_secs(30);

/// What `/blob` holds.
pub(crate) fn blob() -> Vec<u8> {
    (0..3_000_000_u32).map(|number| number.to_le_bytes()[1]).collect()
}

/// A certificate that is its own root.
pub(crate) struct Identity {
    pub(crate) certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

impl Identity {
    pub(crate) fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        Self {
            certificate: made.cert.der().clone(),
            key,
        }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("a root");
        Arc::new(roots)
    }

    /// A transport that trusts this certificate only.
    pub(crate) fn transport(&self, limits: Limits) -> Transport {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Transport::tls(Arc::new(config), limits)
    }

    /// A server's configuration; with `nodes_only` it wants a certificate that this one signed.
    fn acceptor(&self, nodes_only: bool, protocols: &[&[u8]]) -> TlsAcceptor {
        let builder = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions");
        let builder = if nodes_only {
            let verifier = WebPkiClientVerifier::builder_with_provider(self.roots(), provider())
                .build()
                .expect("a verifier");
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let mut config = builder
            .with_single_cert(vec![self.certificate.clone()], self.key.clone_key())
            .expect("a configuration");
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

pub(crate) struct Server {
    pub(crate) endpoint: Endpoint,
    connections: Arc<Mutex<Vec<AbortHandle>>>,
    accepted: Arc<AtomicUsize>,
    /// Lines and parts that `/lines` sends; an error cuts the stream.
    pub(crate) lines: mpsc::UnboundedSender<io::Result<Bytes>>,
}

impl Server {
    pub(crate) fn plain() -> Self {
        Self::start(StdListener::bind("127.0.0.1:0").expect("a port"), None)
    }

    pub(crate) fn tls(identity: &Identity) -> Self {
        Self::start(
            StdListener::bind("127.0.0.1:0").expect("a port"),
            Some(identity.acceptor(false, &[b"h2", b"http/1.1"])),
        )
    }

    pub(crate) fn tls_http1(identity: &Identity) -> Self {
        Self::start(
            StdListener::bind("127.0.0.1:0").expect("a port"),
            Some(identity.acceptor(false, &[b"http/1.1"])),
        )
    }

    pub(crate) fn for_nodes_only(identity: &Identity) -> Self {
        Self::start(
            StdListener::bind("127.0.0.1:0").expect("a port"),
            Some(identity.acceptor(true, &[b"h2"])),
        )
    }

    pub(crate) fn start(listener: StdListener, tls: Option<TlsAcceptor>) -> Self {
        listener.set_nonblocking(true).expect("not blocking");
        let port = listener.local_addr().expect("an address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let endpoint = format!("{scheme}://localhost:{port}")
            .parse()
            .expect("an endpoint");
        let listener = TcpListener::from_std(listener).expect("a listener");
        let (lines, receiver) = mpsc::unbounded_channel();
        let receiver = Arc::new(tokio::sync::Mutex::new(receiver));
        let (connections, accepted) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (handles, count) = (Arc::clone(&connections), Arc::clone(&accepted));
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (tls, receiver) = (tls.clone(), Arc::clone(&receiver));
                let task = tokio::spawn(async move {
                    match tls {
                        None => serve(tcp, receiver).await,
                        Some(acceptor) => {
                            if let Ok(tls) = acceptor.accept(tcp).await {
                                serve(tls, receiver).await;
                            }
                        }
                    }
                });
                handles.lock().expect("no panic").push(task.abort_handle());
            }
        });
        Self {
            endpoint,
            connections,
            accepted,
            lines,
        }
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Cuts all connections.
    pub(crate) fn cut(&self) {
        for connection in self.connections.lock().expect("no panic").drain(..) {
            connection.abort();
        }
    }

    /// Another way to this server, on which nothing passes any more once it is told to freeze.
    pub(crate) async fn through_a_cable(&self) -> (Endpoint, Arc<Notify>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let endpoint = format!(
            "https://localhost:{}",
            listener.local_addr().expect("an address").port()
        );
        let freeze = Arc::new(Notify::new());
        let (frozen, port) = (Arc::clone(&freeze), self.endpoint.port());
        tokio::spawn(async move {
            let (mut near, _) = listener.accept().await.expect("a client");
            let mut far = TcpStream::connect(("127.0.0.1", port)).await.expect("the server");
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                () = frozen.notified() => std::future::pending().await,
            }
        });
        (endpoint.parse().expect("an endpoint"), freeze)
    }
}

/// A port where nobody listens.
pub(crate) fn nobody(scheme: &str) -> Endpoint {
    let listener = StdListener::bind("127.0.0.1:0").expect("a port");
    format!(
        "{scheme}://localhost:{}",
        listener.local_addr().expect("an address").port()
    )
    .parse()
    .expect("an endpoint")
}

type LineReceiver = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<io::Result<Bytes>>>>;

async fn serve(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, lines: LineReceiver) {
    let service = service_fn(move |request| {
        let lines = Arc::clone(&lines);
        async move { Ok::<_, Infallible>(answer(request, lines).await) }
    });
    // A client that goes away is no error of a test.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await;
}

async fn answer(request: Request<Incoming>, lines: LineReceiver) -> Response<Body> {
    match request.uri().path() {
        "/echo" => echo(request).await,
        "/problem" => {
            let problem = json!({
                "type": "urn:muster:problem:name-taken", "title": "The name is taken", "status": 409,
                "detail": "a node terr01 exists\u{1b}[2J; take another name", "pool": "default",
            });
            let mut response = json_answer(StatusCode::CONFLICT, &problem);
            response.headers_mut().insert(
                header::CONTENT_TYPE,
                "application/problem+json".parse().expect("a header"),
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, "7".parse().expect("a header"));
            response
        }
        "/gateway" => {
            let mut response = Response::new(full("<html>Bad Gateway</html>"));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
        "/never" => std::future::pending().await,
        "/head-only" => Response::new(stream_body(stream::pending())),
        "/endless" => Response::new(stream_body(stream::repeat_with(|| Ok(vec![b'x'; 65536].into())))),
        "/announced" => {
            let mut response = Response::new(stream_body(stream::pending()));
            response
                .headers_mut()
                .insert(header::CONTENT_LENGTH, 1_000_000_000_u64.into());
            response
        }
        "/headers" => {
            let mut response = Response::new(full("{}"));
            response
                .headers_mut()
                .insert("x-large", "y".repeat(200_000).parse().expect("a header"));
            response
        }
        "/lines" => {
            let lines = stream::unfold(lines, |lines| async move {
                let line = lines.lock().await.recv().await?;
                Some((line, lines))
            });
            Response::new(stream_body(lines))
        }
        "/half" => {
            let parts = [
                Ok(Bytes::from_static(b"{\"half\":")),
                Err(io::ErrorKind::Other.into()),
            ];
            Response::new(stream_body(stream::iter(parts)))
        }
        "/upload" => {
            let body = request
                .into_body()
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            match body {
                Ok(body) => json_answer(
                    StatusCode::OK,
                    &json!({ "length": body.len(), "digest": Digest::of(&body) }),
                ),
                Err(_) => json_answer(StatusCode::BAD_REQUEST, &json!(null)),
            }
        }
        "/blob" => Response::new(full(blob())),
        "/form" => form(request).await,
        _ => json_answer(StatusCode::NOT_FOUND, &json!(null)),
    }
}

async fn echo(request: Request<Incoming>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let text = |name: &str| {
        parts
            .headers
            .get(name)
            .map(|value| value.to_str().expect("text").to_owned())
    };
    let echo = json!({
        "method": parts.method.as_str(), "query": parts.uri.query(), "version": format!("{:?}", parts.version),
        "authorization": text("authorization"), "key": text("idempotency-key"), "type": text("content-type"),
        "body": String::from_utf8_lossy(&body),
    });
    json_answer(StatusCode::OK, &echo)
}

async fn form(request: Request<Incoming>) -> Response<Body> {
    let mut form = Multipart::from_request(request.map(axum::body::Body::new), &())
        .await
        .expect("a form");
    let mut parts = Vec::new();
    while let Some(field) = form.next_field().await.expect("a field") {
        let (name, file, kind) = (
            field.name().map(str::to_owned),
            field.file_name().map(str::to_owned),
            field.content_type().map(str::to_owned),
        );
        let content = field.bytes().await.expect("content");
        parts.push(json!({ "name": name, "file": file, "type": kind, "length": content.len(), "digest": Digest::of(&content) }));
    }
    json_answer(StatusCode::ACCEPTED, &json!(parts))
}

fn json_answer(status: StatusCode, value: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(full(value.to_string()));
    *response.status_mut() = status;
    response
}

fn full(content: impl Into<Bytes>) -> Body {
    Full::new(content.into())
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn stream_body(parts: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static) -> Body {
    use futures_util::StreamExt as _;
    StreamBody::new(parts.map(|part| part.map(Frame::data))).boxed_unsync()
}
