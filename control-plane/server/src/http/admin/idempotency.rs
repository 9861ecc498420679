//! `Idempotency-Key` on writes: the same request under the same key is answered as before.
//!
//! Runs bring their key into their own transaction (`app/run/submit.rs`). Requests with a password take none: not
//! even a digest of them may be kept. Nor does the making of a join token, whose answer holds a secret.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use muster_app::{App, Error, idempotency::Repetition};
use muster_ids::Digest;

use super::MAX_BODY;
use crate::http::{Failure, extract::User};

/// The name of the header, as it is written.
pub(super) const HEADER_NAME: &str = "Idempotency-Key";

/// The name of the header.
pub(super) const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// Why the operation takes no key, where it takes none though it writes.
pub(super) fn impossible(method: &Method, path: &str) -> Option<&'static str> {
    match (method.as_str(), path) {
        ("POST", "/api/v1/sessions" | "/api/v1/users") | ("PUT", "/api/v1/users/{name}/password") => Some(
            "this takes no Idempotency-Key: the request may hold a password, of which nothing is kept; send it without, and \
             look before you send it again",
        ),
        ("POST", "/api/v1/join-tokens") => Some(
            "this takes no Idempotency-Key: the answer holds a secret, which is not kept; send it without, and revoke a \
             token whose secret did not reach you",
        ),
        _ => None,
    }
}

/// Whether the operation takes a key.
pub(super) fn is_taken(method: &Method, path: &str) -> bool {
    !matches!(*method, Method::GET | Method::HEAD) && impossible(method, path).is_none()
}

/// Whether runs keep the key themselves.
fn is_of_a_run(path: &str) -> bool {
    matches!(path, "/api/v1/functions/{function}/runs" | "/api/v1/expressions")
}

/// Carries a write with a key out at most once.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get(HEADER).cloned();
    let path = request.extensions().get::<MatchedPath>().cloned();
    match (key, path) {
        (Some(key), Some(path))
            if is_taken(request.method(), path.as_str()) && !is_of_a_run(path.as_str()) =>
        {
            match guarded(&app, &key, request, next).await {
                Ok(response) => response,
                Err(refused) => refused,
            }
        }
        _ => next.run(request).await,
    }
}

async fn guarded(app: &App, key: &HeaderValue, request: Request, next: Next) -> Result<Response, Response> {
    let failed = |error: Error| Failure(error).into_response();
    let key = key
        .to_str()
        .map_err(|_| failed(Error::invalid("an Idempotency-Key has printable characters only")))?;
    let (mut parts, body) = request.into_parts();
    let User(caller) = User::from_request_parts(&mut parts, app).await?;
    let body = to_bytes(body, MAX_BODY).await.map_err(|_| {
        failed(Error::invalid(
            "the body of the request cannot be read or is too long",
        ))
    })?;
    let digest = Digest::of_framed(&[
        parts.method.as_str().as_bytes(),
        parts.uri.to_string().as_bytes(),
        &body,
    ]);
    match app.begin_once(&caller, key, digest).await.map_err(failed)? {
        Repetition::Answered { status, body } => {
            let status = StatusCode::from_u16(status).map_err(|error| failed(Error::bug(error)))?;
            let mut response = (status, body).into_response();
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Ok(response)
        }
        Repetition::New => {
            let response = next.run(Request::from_parts(parts, Body::from(body))).await;
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX)
                .await
                .map_err(|error| failed(Error::bug(error)))?;
            let text = String::from_utf8_lossy(&body);
            app.end_once(&caller, key, parts.status.as_u16(), &text)
                .await
                .map_err(failed)?;
            Ok(Response::from_parts(parts, Body::from(body)))
        }
    }
}
