//! One connection of a run to the broker: what it asks for, in HTTP, and the bytes afterwards.
//!
//! ```text
//! CONNECT host:port        ──dial──> 200, then bytes both ways until one side is silent for too long
//! GET http://host:port/…   ──dial──> the request with a path, the answer back; then the next one
//! anything else            ──> 400          not listed ──> 403         no answer ──> 502          no turn ──> 503, 503
//! ```
//!
//! Invariant: nothing of a request but its destination is acted on, and no more of it is kept than one buffer.

use std::{
    convert::Infallible,
    io::ErrorKind,
    sync::{Arc, Mutex},
    time::Duration,
};

use http_body_util::{Either, Full};
use hyper::{
    Method, Request, Response, StatusCode, Uri, Version,
    body::{Bytes, Incoming},
    client,
    ext::ReasonPhrase,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    server,
    service::service_fn,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes},
    net::TcpStream,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    Policy, Refusals,
    dial::{Refusal, Wanted, dial},
    rules::Host,
    watch::{Seen, Watched},
};
use crate::launcher::locked;

/// A request's head that is not complete by then never will be; it also bounds the pause before the next one.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// The longest head of a request or an answer, in bytes.
const LONGEST_HEAD: usize = 32 * 1024;
/// Kept of a stream in each direction, in bytes.
const BUFFER: usize = 8 * 1024;
/// Headers that speak of the connection to the broker, not of what is asked for (RFC 9110, 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const ALSO_OF_THE_CONNECTION: [&str; 2] = ["keep-alive", "proxy-connection"];

type Body = Either<Full<Bytes>, Incoming>;

/// What belongs to one connection.
struct Conversation {
    policy: Arc<Policy>,
    refusals: Arc<Refusals>,
    seen: Arc<Seen>,
    /// What the connection becomes when its answer is out.
    tunnel: Mutex<Option<(OnUpgrade, Watched<TcpStream>)>>,
    /// Drives the connection to where the last request went.
    upstream: Mutex<Option<AbortOnDropHandle<()>>>,
}

/// Serves one connection until it is over or silent for too long.
pub(super) async fn serve<S>(stream: S, policy: Arc<Policy>, refusals: Arc<Refusals>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let seen = Arc::new(Seen::new());
    let stream = Watched::new(stream, Arc::clone(&seen));
    let conversation = Arc::new(Conversation {
        policy,
        refusals,
        seen: Arc::clone(&seen),
        tunnel: Mutex::default(),
        upstream: Mutex::default(),
    });
    tokio::select! {
        () = converse(stream, conversation) => {}
        () = seen.until_silent() => {}
    }
}

async fn converse<S>(stream: Watched<S>, conversation: Arc<Conversation>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let conversation = Arc::clone(&conversation);
        async move { Ok::<_, Infallible>(conversation.answer(request).await) }
    });
    let served = server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    let tunnel = locked(&conversation.tunnel).take();
    if let (Ok(()), Some((upgrade, mut upstream))) = (served, tunnel)
        && let Ok(client) = upgrade.await
    {
        // How a tunnel ends is the affair of those at its ends.
        let _ = copy_bidirectional_with_sizes(&mut TokioIo::new(client), &mut upstream, BUFFER, BUFFER).await;
    }
}

impl Conversation {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let answered = if request.method() == Method::CONNECT {
            self.tunnel(request).await
        } else {
            self.forward(request).await
        };
        answered.unwrap_or_else(Refused::into_response)
    }

    async fn tunnel(&self, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        let wanted = destination(request.uri(), None)?;
        let upstream = self.dial(&wanted).await?;
        *locked(&self.tunnel) = Some((upgrade::on(request), upstream));
        Ok(Response::new(nothing()))
    }

    async fn forward(&self, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        if request.uri().scheme_str() != Some("http") {
            return Err(Refused::unasked());
        }
        let wanted = destination(request.uri(), Some(80))?;
        let request = relayed(request)?;
        let stream = self.dial(&wanted).await?;
        let lost = |error: hyper::Error| {
            let why = format!("{wanted} broke off: {error}");
            Refused(StatusCode::BAD_GATEWAY, why)
        };
        let (mut sender, connection) = client::conn::http1::Builder::new()
            .max_buf_size(LONGEST_HEAD)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(lost)?;
        let driving = tokio::spawn(async move {
            // Its errors reach whoever reads the answer.
            let _ = connection.await;
        });
        // The one before has ended: its answer was read to the end before this request was.
        *locked(&self.upstream) = Some(AbortOnDropHandle::new(driving));
        let (mut head, body) = sender.send_request(request).await.map_err(lost)?.into_parts();
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            let why = format!("{wanted} changed the protocol unasked");
            return Err(Refused(StatusCode::BAD_GATEWAY, why));
        }
        if head.headers.contains_key(header::TRANSFER_ENCODING) {
            head.headers.remove(header::CONTENT_LENGTH);
        }
        strip(&mut head.headers);
        head.version = Version::HTTP_11;
        Ok(Response::from_parts(head, Either::Right(body)))
    }

    async fn dial(&self, wanted: &Wanted) -> Result<Watched<TcpStream>, Refused> {
        let dialed = dial(&self.policy, wanted).await;
        if let Err(Refusal::NotListed(_) | Refusal::Inward { .. }) = &dialed {
            tracing::debug!(%wanted, "the broker refused a run");
            self.refusals.add(wanted.to_string());
        }
        let stream = dialed?;
        // Both ends send what they have; waiting for more would only add to their pauses. An old kernel may refuse.
        let _ = stream.set_nodelay(true);
        Ok(Watched::new(stream, Arc::clone(&self.seen)))
    }
}

/// Host and port of a request; `port` is what holds where it names none.
fn destination(uri: &Uri, port: Option<u16>) -> Result<Wanted, Refused> {
    let named = uri.authority().and_then(|authority| {
        let host = Host::parse(authority.host())?;
        let port = match authority.port() {
            Some(_) => authority.port_u16(),
            // `host:` has an empty port.
            None => port,
        };
        Some(Wanted { host, port: port? })
    });
    named
        .filter(|wanted| wanted.port != 0)
        .ok_or_else(Refused::unasked)
}

/// The request as the destination is to see it: with a path, its own host, and nothing of the way here.
fn relayed(request: Request<Incoming>) -> Result<Request<Incoming>, Refused> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    // Without whatever came before the host's name.
    let authority = head.uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = HeaderValue::from_str(host).map_err(|_| Refused::unasked())?;
    head.uri = path.parse().map_err(|_| Refused::unasked())?;
    strip(&mut head.headers);
    // The length is counted anew with the body.
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::EXPECT);
    head.headers.insert(header::HOST, host);
    head.version = Version::HTTP_11;
    head.extensions.clear();
    Ok(Request::from_parts(head, body))
}

/// Removes what speaks of one connection only, also what `Connection` names.
fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OF_THE_CONNECTION) {
        headers.remove(name);
    }
    for name in ALSO_OF_THE_CONNECTION {
        headers.remove(name);
    }
}

/// An answer of the broker itself.
struct Refused(StatusCode, String);

impl Refused {
    fn unasked() -> Self {
        let why = "this is the broker of a jail: it takes CONNECT host:port, and requests with a whole http:// address";
        Self(StatusCode::BAD_REQUEST, why.to_owned())
    }

    /// With the sentence as reason, because that is what many clients show.
    fn into_response(self) -> Response<Body> {
        let Self(status, why) = self;
        let mut response = Response::new(Either::Left(Full::from(format!("{why}\n"))));
        *response.status_mut() = status;
        let plain = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, plain);
        if let Ok(reason) = ReasonPhrase::try_from(why) {
            response.extensions_mut().insert(reason);
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let without_answer = |kind| match kind {
            ErrorKind::ResourceBusy => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_GATEWAY,
        };
        let status = match &refusal {
            Refusal::NotListed(_) | Refusal::Inward { .. } => StatusCode::FORBIDDEN,
            Refusal::Unresolved(_, error) => without_answer(error.kind()),
            Refusal::Doubtful(_, missing) => without_answer(missing.kind()),
            Refusal::Unreachable(..) => StatusCode::BAD_GATEWAY,
        };
        Self(status, refusal.to_string())
    }
}

fn nothing() -> Body {
    Either::Left(Full::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_had_no_turn_may_come_again() {
        for (kind, status) in [
            (ErrorKind::ResourceBusy, StatusCode::SERVICE_UNAVAILABLE),
            (ErrorKind::TimedOut, StatusCode::BAD_GATEWAY),
        ] {
            let host = Host::parse("data.example.com").expect("a host");
            let refusal = Refusal::Unresolved(Wanted { host, port: 443 }, kind.into());
            let Refused(said, why) = refusal.into();
            assert_eq!(said, status);
            assert!(
                why.starts_with("data.example.com:443 cannot be resolved"),
                "{why}"
            );
        }
    }
}
