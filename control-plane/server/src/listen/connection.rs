//! One connection: its handshake, its requests, its end.

use std::{
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::{Router, body::Body, response::IntoResponse as _};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Limited};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use muster_app::Error;
use muster_pki::tls::peer;
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::{
    GRACE, Peer, Transport,
    activity::{Activity, Answer, Counted, Overdue},
    gate::Place,
    limits::Pace,
};
use crate::http::Failure;

/// A TLS handshake must be over by then.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A peer that was refused in the handshake has closed by then.
const LINGER: Duration = Duration::from_secs(1);
/// A peer that does not answer HTTP/2 pings is gone after interval and time-out. Whatever it sends counts as an answer;
/// a node that is silent is noticed long before by what it does not say, and a shorter interval wakes each of
/// thousands of connections between two heartbeats.
const PING: Duration = Duration::from_secs(45);
/// How long the answer to a ping may take.
const PONG: Duration = Duration::from_secs(15);

/// Why a connection ended otherwise than in order.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What the connections of a listener have in common.
pub(super) struct Manner {
    pub(super) transport: Transport,
    pub(super) router: Router,
    pub(super) pace: Pace,
    /// Handshakes that may be computed at the same time.
    pub(super) turns: Semaphore,
}

/// Serves a connection to its end.
pub(super) async fn run(
    stream: std::net::TcpStream,
    mut who: Peer,
    place: Place,
    manner: Arc<Manner>,
    stop: CancellationToken,
) -> Result<(), BoxError> {
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let cut = who.cut.clone();
    let shaken = match &manner.transport {
        Transport::Plain => {
            return serve(stream, who, place, Builder::http1_only, &manner, stop).await;
        }
        Transport::Tls(config) | Transport::MutualTls(config) => tokio::select! {
            // Boxed: it is gone when the connection begins to wait for years.
            shaken = Box::pin(handshake(stream, config, &manner.turns)) => shaken?,
            // Its place was needed.
            () = cut.cancelled() => return Ok(()),
        },
    };
    if matches!(manner.transport, Transport::MutualTls(_)) {
        let certificates = shaken.get_ref().1.peer_certificates().unwrap_or_default();
        who.certificate = Some(peer(certificates)?);
    }
    serve(shaken, who, place, std::convert::identity, &manner, stop).await
}

async fn handshake(
    stream: TcpStream,
    config: &ArcSwap<ServerConfig>,
    turns: &Semaphore,
) -> Result<TlsStream<TcpStream>, BoxError> {
    let accept = TlsAcceptor::from(config.load_full())
        .accept(stream)
        .into_fallible();
    match tokio::time::timeout(HANDSHAKE, in_turn(turns, accept)).await? {
        Ok(shaken) => Ok(shaken),
        Err((error, stream)) => {
            linger(stream).await;
            Err(error.into())
        }
    }
}

/// Lets a refused peer hear why: it may have sent a request already, and closing on unread bytes resets the connection,
/// which takes the alert with it.
async fn linger(mut stream: TcpStream) {
    let rest = async {
        let _ = stream.shutdown().await;
        let mut unread = [0; 1024];
        for _ in 0..64 {
            let Ok(1..) = stream.read(&mut unread).await else {
                return;
            };
        }
    };
    let _ = tokio::time::timeout(LINGER, rest).await;
}

/// Drives `work` so that only as many of its kind compute at the same time as there are turns, first come, first
/// served. Whoever waits for its peer holds no turn.
async fn in_turn<T>(turns: &Semaphore, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    loop {
        let turn = turns.acquire().await;
        let polled = poll_fn(|context| Poll::Ready(work.as_mut().poll(context))).await;
        drop(turn);
        if let Poll::Ready(done) = polled {
            return done;
        }
        // Whatever wakes `work` wakes this task.
        let mut woken = false;
        poll_fn(|_| {
            if std::mem::replace(&mut woken, true) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// Speaks HTTP until the peer, the limits or `stop` end it.
///
/// What it needs is put together before the future exists, which would keep room for every part on its way: that is
/// 6 KiB a connection, and a fleet has thousands.
pub(super) fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    peer: Peer,
    place: Place,
    versions: fn(Builder<TokioExecutor>) -> Builder<TokioExecutor>,
    manner: &Manner,
    stop: CancellationToken,
) -> impl Future<Output = Result<(), BoxError>> + Send + use<S> {
    let (cut, pace) = (peer.cut.clone(), manner.pace);
    let activity = Activity::new(pace, place);
    let stream = Counted::new(stream, activity.clone());
    let peer = Arc::new(peer);
    let service = {
        let (router, activity) = (manner.router.clone(), activity.clone());
        service_fn(move |request: Request<Incoming>| {
            answer(request, peer.clone(), router.clone(), activity.clone(), pace)
        })
    };
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(pace.first)
        .max_buf_size(pace.header)
        .max_headers(64);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_concurrent_streams(64)
        .max_header_list_size(16 * 1024);
    let mut connection = Box::pin(
        versions(builder)
            .serve_connection(TokioIo::new(stream), service)
            .into_owned(),
    );
    async move {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            // A node that lost its right to speak is not asked to finish its sentence.
            () = cut.cancelled() => return Ok(()),
            overdue = activity.overdue() => match overdue {
                // It asked before and may ask again elsewhere: it is told.
                Overdue::Idle => connection.as_mut().graceful_shutdown(),
                overdue => return Err(overdue.into()),
            },
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            ended = tokio::time::timeout(GRACE, connection.as_mut()) => ended.unwrap_or(Ok(())),
            () = cut.cancelled() => Ok(()),
        }
    }
}

async fn answer(
    request: Request<Incoming>,
    peer: Arc<Peer>,
    mut router: Router,
    activity: Arc<Activity>,
    pace: Pace,
) -> Result<Response<Answer>, Infallible> {
    let (request, under_way) = match pace.message {
        None => {
            let under_way = activity.begin();
            (Ok(request.map(Body::new)), under_way)
        }
        Some(most) => {
            // Until it is whole, this connection may have to give way.
            let (parts, body) = request.into_parts();
            let body = whole(body, most, pace.first).await;
            let request = body.map(|body| Request::from_parts(parts, Body::from(body)));
            (request, activity.begin())
        }
    };
    let (refused, last) = (request.is_err(), under_way.is_last());
    let mut response = match request {
        Ok(mut request) => {
            request.extensions_mut().insert(peer);
            // A router is always ready and never fails.
            let Ok(response) = router.call(request).await;
            response
        }
        Err(refusal) => Failure(Error::invalid(refusal)).into_response(),
    };
    if last || refused {
        // What else this peer sends is not read.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
    }
    Ok(response.map(|body| Answer::new(body, under_way)))
}

/// A body of at most `most` bytes that has come in time.
async fn whole(body: Incoming, most: usize, within: Duration) -> Result<Bytes, String> {
    let collected = tokio::time::timeout(within, Limited::new(body, most).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) => Err(format!("the body of the request cannot be read: {error}")),
        Err(_) => Err(format!(
            "the body of the request did not come within {} seconds",
            within.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use http::StatusCode;

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream},
        time::timeout,
    };

    use super::{
        super::{gate::Gate, limits::Limits},
        *,
    };

    const SOMEBODY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Serves one connection under `limits`; its client end, and what became of it.
    fn connected(limits: Limits) -> (DuplexStream, tokio::task::JoinHandle<Result<(), BoxError>>) {
        let (client, server) = tokio::io::duplex(4096);
        let cut = CancellationToken::new();
        let (place, _) = Gate::new(limits.room)
            .enter(1, SOMEBODY, &cut, tokio::time::Instant::now())
            .expect("room");
        let peer = Peer {
            address: SocketAddr::new(SOMEBODY, 1),
            certificate: None,
            cut,
            number: 1,
            ended: None,
        };
        let manner = Manner {
            transport: Transport::Plain,
            router: Router::new().route("/", axum::routing::any(|| async { "here" })),
            pace: limits.pace,
            turns: Semaphore::new(1),
        };
        let served = tokio::spawn(async move {
            let stop = CancellationToken::new();
            serve(server, peer, place, std::convert::identity, &manner, stop).await
        });
        (client, served)
    }

    /// What the server says to `words` until it closes.
    async fn heard(limits: Limits, words: &[u8]) -> String {
        let (mut client, _) = connected(limits);
        // A server that has heard enough takes no more.
        let _ = client.write_all(words).await;
        let mut heard = Vec::new();
        let read = timeout(PATIENCE, client.read_to_end(&mut heard)).await;
        read.expect("closed in time").expect("read");
        String::from_utf8_lossy(&heard).into_owned()
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed_whatever_it_begins_with() {
        for words in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n\r\nSM", b"GET / HTTP/1.1\r\n"] {
            heard(Limits::front_end(8), words).await;
        }
    }

    #[tokio::test]
    async fn a_request_is_answered() {
        let said = heard(
            Limits::front_end(8),
            b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n",
        );
        assert!(said.await.ends_with("here"));
    }

    #[tokio::test]
    async fn an_http_2_connection_that_asks_nothing_any_more_is_told_and_closed() {
        let (client, served) = connected(Limits::front_end(8));
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(client))
                .await
                .expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = Request::get("http://here/").body(http_body_util::Empty::<Bytes>::new());
        let answer = sender
            .send_request(request.expect("a request"))
            .await
            .expect("answered");
        assert_eq!(answer.status(), StatusCode::OK);
        drop(answer);
        // The client keeps it open, and its side is told rather than torn off.
        let ended = timeout(PATIENCE, connection).await.expect("closed in time");
        ended.expect("no panic").expect("an orderly end");
        drop(served.await.expect("no panic"));
    }

    #[tokio::test]
    async fn a_message_longer_than_a_join_message_is_refused_unread() {
        for head in ["Content-Length: 10000000", "Transfer-Encoding: chunked"] {
            let mut words = format!("POST / HTTP/1.1\r\nHost: here\r\n{head}\r\n\r\n").into_bytes();
            for _ in 0..200 {
                words.extend_from_slice(b"400\r\n");
                words.resize(words.len() + 0x400, b'x');
                words.extend_from_slice(b"\r\n");
            }
            let said = heard(Limits::registration(8), &words).await;
            assert!(said.starts_with("HTTP/1.1 422"), "{head}: {said}");
        }
    }

    #[tokio::test]
    async fn headers_longer_than_their_limit_are_refused() {
        let words = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1024 * 1024));
        let said = heard(Limits::registration(8), words.as_bytes()).await;
        assert!(said.starts_with("HTTP/1.1 431"), "{said}");
    }

    #[tokio::test]
    async fn whoever_trickles_is_cut_before_the_message_could_be_whole() {
        let (mut client, served) = connected(Limits::registration(8));
        let words = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n\r\n".repeat(4);
        let mut pause = tokio::time::interval(Duration::from_millis(20));
        let trickled = async {
            for byte in &words {
                pause.tick().await;
                if client.write_all(&[*byte]).await.is_err() {
                    break;
                }
            }
        };
        let (ended, ()) = tokio::join!(served, trickled);
        let error = ended.expect("no panic").expect_err("cut");
        assert_eq!(error.downcast_ref(), Some(&Overdue::Slow));
    }

    #[tokio::test]
    async fn a_connection_of_the_plain_port_is_used_up_after_some_messages() {
        let (mut client, served) = connected(Limits::registration(8));
        let mut answers = Vec::new();
        for _ in 0..100 {
            if client
                .write_all(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
                .await
                .is_err()
            {
                break;
            }
        }
        client.read_to_end(&mut answers).await.expect("read");
        let answered = String::from_utf8_lossy(&answers).matches("HTTP/1.1 200").count();
        assert_eq!(answered, 16);
        drop(served.await.expect("no panic"));
    }

    #[tokio::test]
    async fn work_takes_turns_and_whoever_waits_holds_none() {
        let turns = Semaphore::new(1);
        let stalled = in_turn(&turns, std::future::pending::<()>());
        let quick = in_turn(&turns, async {
            tokio::task::yield_now().await;
            7
        });
        let done = tokio::select! {
            biased;
            () = stalled => 0,
            done = quick => done,
        };
        assert_eq!(done, 7);
    }
}
