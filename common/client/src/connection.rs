//! One connection, on which requests are made; over HTTP/2 many at once.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn};
use muster_ids::Digest;
use muster_wire::{Problem, problem};
use rustls_pki_types::CertificateDer;
use serde::de::DeserializeOwned;
use tokio::{
    io::AsyncWrite,
    sync::{Mutex, watch},
    time::timeout,
};

use crate::{
    Endpoint, Limits, Lines, Request,
    body::{Body, Piece, Progress, body},
    download,
    error::{ClientError, Fault},
    wire::Faults,
};

/// The longest problem document, in bytes.
const MAX_PROBLEM: usize = 64 * 1024;

/// How long the reason of a broken connection is waited for after a request on it has failed.
const REASON: Duration = Duration::from_millis(200);

/// A connection to one control plane. Clones share it; it ends when all clones, streams and downloads on it are
/// gone, or by [`Connection::close`].
#[derive(Clone)]
pub struct Connection {
    shared: Arc<Shared>,
    sender: Sender,
}

pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) limits: Limits,
    pub(crate) peer: Vec<CertificateDer<'static>>,
    pub(crate) faults: Faults,
    pub(crate) closed: watch::Receiver<bool>,
    /// The same socket as the connection's own: shutting it down ends whatever waits for it.
    pub(crate) socket: std::net::TcpStream,
}

#[derive(Clone)]
pub(crate) enum Sender {
    /// One request after the other.
    Http1(Arc<Mutex<conn::http1::SendRequest<Body>>>),
    Http2(conn::http2::SendRequest<Body>),
}

/// A successful answer (status 2xx), whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    request: String,
}

impl Answer {
    /// The body as JSON; an empty one stands for `null`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ClientError> {
        let text: &[u8] = if self.body.is_empty() { b"null" } else { &self.body };
        serde_json::from_slice(text).map_err(|error| ClientError::Unexpected {
            request: self.request.clone(),
            reason: error.to_string(),
        })
    }
}

impl Connection {
    pub(crate) fn new(shared: Shared, sender: Sender) -> Self {
        Self {
            shared: Arc::new(shared),
            sender,
        }
    }

    /// To whom.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// The certificates that the other side showed, its own first; none without TLS.
    pub fn peer_certificates(&self) -> &[CertificateDer<'static>] {
        &self.shared.peer
    }

    /// Whether it has ended, so that every request on it would fail.
    pub fn is_closed(&self) -> bool {
        *self.shared.closed.borrow()
    }

    /// Waits until it has ended, for whatever reason; a dead peer is noticed by pings (HTTP/2).
    pub async fn closed(&self) {
        self.shared.closed().await;
    }

    /// Cuts it at once, together with everything that is under way on it.
    pub fn close(&self) {
        // An error means that it is closed already.
        let _ = self.shared.socket.shutdown(std::net::Shutdown::Both);
    }

    /// Sends a request and takes the whole answer. An answer outside 2xx is [`ClientError::Refused`].
    pub async fn send(&self, request: Request) -> Result<Answer, ClientError> {
        let deadline = request.deadline.unwrap_or(self.shared.limits.deadline);
        let (response, request) = self.begin(request).await?;
        let (parts, body) = response.into_parts();
        let limit = self.shared.limits.answer;
        let whole = self.shared.collect(body, &parts.headers, limit, &request);
        let body = timeout(deadline, whole).await.map_err(|_| ClientError::Late {
            request: request.clone(),
            waited: deadline,
        })??;
        Ok(Answer {
            status: parts.status,
            headers: parts.headers,
            body,
            request,
        })
    }

    /// Sends a request whose answer is a stream of lines without end. The other requests of an HTTP/2
    /// connection go on beside it; on HTTP/1.1 they wait until the stream is dropped.
    pub async fn lines(&self, request: Request) -> Result<Lines, ClientError> {
        let (response, request) = self.begin(request).await?;
        Ok(Lines::new(
            response.into_body(),
            Arc::clone(&self.shared),
            request,
        ))
    }

    /// Sends a request and writes the content of the answer to `into` as it comes, at most `limit` bytes. It is
    /// good only if this returns its length: then its digest is `expected`.
    pub async fn download(
        &self,
        request: Request,
        into: &mut (impl AsyncWrite + Unpin),
        expected: Digest,
        limit: u64,
    ) -> Result<u64, ClientError> {
        let deadline = request.deadline.unwrap_or(self.shared.limits.deadline);
        let (response, request) = self.begin(request).await?;
        download::run(
            &self.shared,
            response,
            into,
            download::Wanted {
                expected,
                limit,
                deadline,
                request,
            },
        )
        .await
    }

    /// Sends a request and waits for the head of a successful answer; also returns the request's name.
    async fn begin(&self, request: Request) -> Result<(Response<Incoming>, String), ClientError> {
        let name = format!("{} {}{}", request.method, self.shared.endpoint, request.path);
        let deadline = request.deadline.unwrap_or(self.shared.limits.deadline);
        let late = || ClientError::Late {
            request: name.clone(),
            waited: deadline,
        };
        let progress = Arc::new(Progress::default());
        let message = self.message(request, Arc::clone(&progress))?;
        let response = {
            let mut sending = std::pin::pin!(self.transmit(message));
            loop {
                tokio::select! {
                    response = &mut sending => break response,
                    () = progress.taken.notified() => {}
                    () = tokio::time::sleep(deadline) => return Err(late()),
                }
            }
        };
        let response = match response {
            Ok(response) => response,
            Err(error) => {
                return Err(match progress.failure() {
                    Some(source) => ClientError::Read {
                        request: name,
                        source,
                    },
                    None => self.shared.broken(&error, name).await,
                });
            }
        };
        if response.status().is_success() {
            return Ok((response, name));
        }
        let refused = self.shared.refusal(response, name.clone());
        Err(timeout(deadline, refused).await.unwrap_or_else(|_| late()))
    }

    fn message(&self, request: Request, progress: Arc<Progress>) -> Result<http::Request<Body>, ClientError> {
        let name = format!("{} {}", request.method, request.path);
        let invalid = |reason: String| ClientError::Invalid {
            request: name.clone(),
            reason,
        };
        if let Some(reason) = request.wrong {
            return Err(invalid(reason));
        }
        let endpoint = &self.shared.endpoint;
        let target = match self.sender {
            Sender::Http1(_) => request.path,
            Sender::Http2(_) => format!("{endpoint}{}", request.path),
        };
        let target: Uri = target
            .parse()
            .map_err(|error| invalid(format!("its path is not valid ({error})")))?;
        // Nothing is announced for nothing, nor for what has no end yet.
        let length: Option<u64> = request.content.iter().map(Piece::length).sum();
        let length = length.filter(|_| !request.content.is_empty());
        let mut message = http::Request::new(body(request.content, progress));
        *message.method_mut() = request.method;
        *message.uri_mut() = target;
        *message.headers_mut() = request.headers;
        let headers = message.headers_mut();
        if matches!(self.sender, Sender::Http1(_)) {
            let host = endpoint
                .authority()
                .parse()
                .map_err(|_| invalid("its host is not valid".to_owned()))?;
            headers.insert(header::HOST, host);
        }
        if let Some(length) = length {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        Ok(message)
    }

    async fn transmit(&self, message: http::Request<Body>) -> hyper::Result<Response<Incoming>> {
        match &self.sender {
            Sender::Http1(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await?;
                sender.send_request(message).await
            }
            Sender::Http2(sender) => {
                let mut sender = sender.clone();
                sender.ready().await?;
                sender.send_request(message).await
            }
        }
    }
}

impl Shared {
    pub(crate) async fn closed(&self) {
        // An error means that the task is gone, which is the same.
        let _ = self.closed.clone().wait_for(|closed| *closed).await;
    }

    /// The error of a request that failed with `error`. What the connection itself knows says more.
    pub(crate) async fn broken(&self, error: &hyper::Error, request: String) -> ClientError {
        let of_http = Fault::of_http(error);
        if of_http == Fault::cut() {
            let _ = timeout(REASON, self.closed()).await;
        }
        let fault = self.faults.get().cloned().unwrap_or(of_http);
        ClientError::Broken { request, fault }
    }

    async fn refusal(&self, response: Response<Incoming>, request: String) -> ClientError {
        let (parts, body) = response.into_parts();
        let retry_after = parts
            .headers
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok());
        let documented = parts
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(problem::MEDIA_TYPE.as_bytes()));
        let document = match self.collect(body, &parts.headers, MAX_PROBLEM, &request).await {
            Ok(bytes) if documented => serde_json::from_slice::<Problem>(&bytes).ok(),
            // The status says enough, however the rest of the answer fared.
            _ => None,
        };
        let problem = document.unwrap_or_else(|| {
            let title = parts
                .status
                .canonical_reason()
                .unwrap_or("Unknown status")
                .to_owned();
            let detail = format!(
                "{} answered \"{title}\" without saying why; check that a control plane listens there",
                self.endpoint
            );
            Problem {
                kind: "about:blank".to_owned(),
                title,
                status: parts.status.as_u16(),
                detail,
                instance: None,
            }
        });
        ClientError::Refused {
            request,
            problem: Box::new(problem),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    /// The whole of `body`, at most `limit` bytes.
    async fn collect(
        &self,
        mut body: Incoming,
        headers: &HeaderMap,
        limit: usize,
        request: &str,
    ) -> Result<Bytes, ClientError> {
        let too_long = || ClientError::TooLong {
            request: request.to_owned(),
            limit: limit as u64,
        };
        let announced = announced(headers);
        if announced.is_some_and(|length| length > limit as u64) {
            return Err(too_long());
        }
        let mut bytes = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = match frame {
                Ok(frame) => frame,
                Err(error) => return Err(self.broken(&error, request.to_owned()).await),
            };
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > limit {
                    return Err(too_long());
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes.freeze())
    }
}

/// The length that the header of an answer announces.
pub(crate) fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
