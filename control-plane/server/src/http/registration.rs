//! The registration listener: join messages, nothing else.
//!
//! It has a state type of its own, so that no handler of another listener can be put here by mistake.
//! Whatever is not a join message gets the same bare answer.

use std::time::Duration;

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{HeaderMap, StatusCode, header};
use muster_app::App;
use muster_wire::node::v1::join::{HELLO_PATH, HelloReply, MAX_MESSAGE, POLL_PATH, REVEAL_PATH};

use super::{
    error::Failure,
    extract::{From, Raw},
};

/// A join message of at most 32 KiB comes within this time.
const DEADLINE: Duration = Duration::from_secs(15);

/// The longest text that is looked up as a token.
const MAX_TOKEN: usize = 1024;
/// The most texts of one request that are looked up as tokens.
const MOST_SECRETS: usize = 4;

/// What join messages need, and no more than that.
#[derive(Clone)]
pub struct Registration(App);

impl Registration {
    /// Over these use cases.
    pub fn new(app: App) -> Self {
        Self(app)
    }
}

/// The routes of the registration listener.
pub fn router(state: Registration) -> Router {
    Router::new()
        .route(HELLO_PATH, post(hello))
        .route(REVEAL_PATH, post(reveal))
        .route(POLL_PATH, post(poll))
        .fallback(|| async { StatusCode::NOT_FOUND })
        .method_not_allowed_fallback(|| async { StatusCode::NOT_FOUND })
        .layer(DefaultBodyLimit::max(MAX_MESSAGE))
        .layer(middleware::from_fn_with_state(state.clone(), no_secrets))
        .layer(middleware::from_fn(deadline))
        .with_state(state)
}

/// A message that is not whole by then is not waited for.
async fn deadline(request: Request, next: Next) -> Response {
    match tokio::time::timeout(DEADLINE, next.run(request)).await {
        Ok(response) => response,
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Join messages carry no secret of a person. Whoever sends one here has shown it to everybody on the way: the session
/// ends, and the request is answered as everything is that is no join message.
async fn no_secrets(
    State(Registration(app)): State<Registration>,
    From(peer): From,
    request: Request,
    next: Next,
) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::AUTHORIZATION) && !headers.contains_key(header::COOKIE) {
        return next.run(request).await;
    }
    let source = peer.address.ip();
    if let Err(error) = app.leaked(&secrets(headers), source).await {
        tracing::error!(%error, %source, "a secret came over the plain port and could not be looked up");
    }
    StatusCode::NOT_FOUND.into_response()
}

/// What in these headers could be the token of a session: a few at the most, whatever somebody sends.
pub fn secrets(headers: &HeaderMap) -> Vec<&str> {
    let texts = |name| {
        headers
            .get_all(name)
            .into_iter()
            .filter_map(|value| value.to_str().ok())
    };
    let tokens = texts(header::AUTHORIZATION).filter_map(|text| Some(text.split_once(' ')?.1));
    let cookies = texts(header::COOKIE)
        .flat_map(|text| text.split(';'))
        .filter_map(|cookie| Some(cookie.split_once('=')?.1));
    tokens
        .chain(cookies)
        .map(str::trim)
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
        .take(MOST_SECRETS)
        .collect()
}

async fn hello(
    State(Registration(app)): State<Registration>,
    From(peer): From,
    Raw(message): Raw,
) -> Result<Json<HelloReply>, Failure> {
    Ok(Json(app.join_hello(&message, peer.address.ip()).await?))
}

async fn reveal(
    State(Registration(app)): State<Registration>,
    From(peer): From,
    headers: HeaderMap,
    Raw(message): Raw,
) -> Result<Response, Failure> {
    Ok(envelope(
        app.join_reveal(&message, peer.address.ip(), &host(&headers))
            .await?,
    ))
}

async fn poll(
    State(Registration(app)): State<Registration>,
    From(peer): From,
    headers: HeaderMap,
    Raw(message): Raw,
) -> Result<Response, Failure> {
    Ok(envelope(
        app.join_poll(&message, peer.address.ip(), &host(&headers))
            .await?,
    ))
}

fn envelope(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// The host by which the node came, without the port. It only fills addresses that the node is told, so a
/// node that lies about it harms itself.
pub fn host(headers: &HeaderMap) -> String {
    let host = headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let authority = host.parse::<http::uri::Authority>();
    authority
        .map(|authority| authority.host().to_owned())
        .unwrap_or_default()
}
