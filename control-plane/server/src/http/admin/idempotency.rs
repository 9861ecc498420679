//! `Idempotency-Key` on writes: the same request under the same key is answered as before.
//!
//! Runs bring their key into their own transaction (`app/run/submit.rs`). Requests with a password have none: not
//! even a digest of them may be kept. Nor has the making of a join token, whose answer holds a secret.

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts as _, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, Method, StatusCode, header};
use muster_app::{App, Error, idempotency::Repetition};
use muster_ids::Digest;

use super::MAX_BODY;
use crate::http::{Failure, extract::User};

/// Carries a write with a key out at most once.
pub(super) async fn once(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get("idempotency-key").cloned();
    let path = request.uri().path();
    let own = path.ends_with("/runs")
        || path.ends_with("/password")
        || matches!(
            path,
            "/api/v1/sessions" | "/api/v1/users" | "/api/v1/join-tokens" | "/api/v1/expressions"
        );
    match key {
        Some(key) if request.method() != Method::GET && !own => {
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
