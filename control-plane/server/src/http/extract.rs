//! What handlers take out of a request; whatever is wrong with it becomes a problem document.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Body as BodyStream,
    extract::{FromRequest, FromRequestParts, Multipart, Query, Request, rejection::QueryRejection},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, header, request::Parts};
use muster_app::{App, Error};
use muster_model::permission::Caller;
use serde::de::DeserializeOwned;

use super::{error::Failure, late_end::LateEnd};
use crate::listen::Peer;

/// The longest value of an `Authorization` header that is looked at.
const MAX_TOKEN: usize = 1024;

/// A body of JSON comes within this time; uploads of runs have their own way.
const BODY: Duration = Duration::from_mins(2);

/// A body as it is.
pub(super) struct Raw(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Raw {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        tokio::time::timeout(BODY, Bytes::from_request(request, state))
            .await
            .map_err(|_| refused("the body of the request did not come within two minutes".to_owned()))?
            .map(Self)
            .map_err(|rejection| {
                let why = if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    "it is longer than this address takes".to_owned()
                } else {
                    rejection.body_text()
                };
                refused(format!("the body of the request cannot be read: {why}"))
            })
    }
}

/// A JSON body of type `T`, whole and without unknown fields.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let Raw(bytes) = Raw::from_request(request, state).await?;
        muster_app::object(&bytes).map(Self).map_err(|error| {
            refused(format!(
                "the body of the request is not what this address takes: {error}"
            ))
        })
    }
}

/// A body of parts.
pub(super) struct Form(pub(super) Multipart);

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let request = request.map(|body| BodyStream::from_stream(LateEnd::new(body.into_data_stream())));
        Multipart::from_request(request, state)
            .await
            .map(Self)
            .map_err(|rejection| {
                refused(format!(
                    "the body of the request must be a form (multipart/form-data): {}",
                    rejection.body_text()
                ))
            })
    }
}

/// The variable parts of the path.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        axum::extract::Path::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Path(path)| Self(path))
            .map_err(|rejection| {
                refused(format!(
                    "the path of the request is not valid: {}",
                    rejection.body_text()
                ))
            })
    }
}

/// Query parameters of type `T`.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Response> {
        Query::from_request_parts(parts, state)
            .await
            .map(|Query(query)| Self(query))
            .map_err(|rejection: QueryRejection| {
                refused(format!(
                    "the query of the request is not valid: {}",
                    rejection.body_text()
                ))
            })
    }
}

/// The user behind the bearer token, with the rights of this moment.
pub(super) struct User(pub(super) Caller);

impl FromRequestParts<App> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let token = bearer(parts).map_err(IntoResponse::into_response)?;
        app.caller_of(token)
            .await
            .map(Self)
            .map_err(|error| Failure(error).into_response())
    }
}

/// The bearer token of a request.
pub(super) fn bearer(parts: &Parts) -> Result<&str, Failure> {
    parts
        .headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .filter(|token| !token.is_empty() && token.len() <= MAX_TOKEN)
        .ok_or_else(|| {
            Failure(Error::Unauthenticated {
                detail: "this needs a session; log in with muster login and send its token as Authorization: Bearer"
                    .to_owned(),
            })
        })
}

/// Who is at the other end of the connection.
pub(super) struct From(pub(super) Arc<Peer>);

impl<S: Send + Sync> FromRequestParts<S> for From {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        parts
            .extensions
            .get::<Arc<Peer>>()
            .cloned()
            .map(Self)
            .ok_or_else(|| Failure(Error::bug("a request without a peer")).into_response())
    }
}

fn refused(detail: String) -> Response {
    Failure(Error::invalid(detail)).into_response()
}
