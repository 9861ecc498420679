//! Errors become HTTP here and nowhere else (docs/reference/errors.md lists the kinds).

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use muster_app::Error;
use muster_wire::problem::{KIND_PREFIX, MEDIA_TYPE, Problem};

/// Why a request was not answered as asked.
#[derive(Debug)]
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let (status, kind, title) = classify(&error);
        if status.is_server_error() {
            let cause = std::error::Error::source(&error).map(chain);
            tracing::error!(problem = kind, detail = %error, cause, "request failed");
        }
        let mut response = problem(status, kind, title, error.to_string());
        if let Error::TooMany { retry_after, .. } | Error::QueueFull { retry_after, .. } = error {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(retry_after));
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// A problem document.
pub(super) fn problem(status: StatusCode, kind: &str, title: &str, detail: String) -> Response {
    let problem = Problem {
        kind: format!("{KIND_PREFIX}{kind}"),
        title: title.to_owned(),
        status: status.as_u16(),
        detail,
        instance: None,
    };
    let mut response = (status, Json(problem)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

fn classify(error: &Error) -> (StatusCode, &'static str, &'static str) {
    match error {
        Error::Invalid { kind, .. } => (StatusCode::UNPROCESSABLE_ENTITY, kind, "The request is not valid"),
        Error::Unauthenticated { .. } => (StatusCode::UNAUTHORIZED, "unauthenticated", "Log in first"),
        Error::Denied { kind, .. } => (StatusCode::FORBIDDEN, kind, "Not allowed"),
        Error::NotFound { .. } => (StatusCode::NOT_FOUND, "not-found", "There is no such thing"),
        Error::Conflict { kind, .. } => (StatusCode::CONFLICT, kind, "Not possible as things stand"),
        Error::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too many requests"),
        Error::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue-full", "Too many runs wait"),
        Error::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable", "Not possible now"),
        Error::Bug { .. } => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "The control plane failed",
        ),
    }
}

fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
