//! The operations listener, on a loopback address only: `/healthz`, `/readyz`, `/metrics`.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::{agent::Agent, link::LinkState, metrics};

/// How long a request's head may take.
const HEAD: Duration = Duration::from_secs(10);
/// Connections at a time; nobody but a monitor on this machine comes here.
const CONNECTIONS: usize = 16;

/// Begins to listen.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves as long as the agent works.
pub async fn serve(agent: Arc<Agent>, listener: TcpListener) {
    let room = Arc::new(tokio::sync::Semaphore::new(CONNECTIONS));
    loop {
        let Ok(seat) = Arc::clone(&room).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the operations listener cannot accept a connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let agent = Arc::clone(&agent);
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = answer(&agent, &request);
                async move { Ok::<_, Infallible>(response) }
            });
            // What a monitor does wrong is its own affair.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(seat);
        });
    }
}

fn answer(agent: &Agent, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    match request.uri().path() {
        "/healthz" => text(StatusCode::OK, "text/plain", "ok\n"),
        "/readyz" => match &*agent.link.borrow() {
            LinkState::Connected(_) => text(StatusCode::OK, "text/plain", "ready\n"),
            LinkState::Connecting => text(
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "not connected yet\n",
            ),
            LinkState::Lost(why) | LinkState::Revoked(why) => {
                text(StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{why}\n"))
            }
        },
        "/metrics" => text(
            StatusCode::OK,
            muster_daemon::metrics::CONTENT_TYPE,
            metrics::text(agent),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "only /healthz, /readyz and /metrics are here\n",
        ),
    }
}

fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
