//! The operations listener: health and metrics.

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::{StatusCode, header};
use muster_app::App;

use crate::metrics::Metrics;

/// What the operations listener looks at.
#[derive(Clone)]
pub struct Operations {
    /// The use cases.
    pub app: App,
    pub(crate) metrics: Arc<Metrics>,
}

/// The routes of the operations listener.
pub fn router(state: Operations) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(state)
}

async fn ready(State(state): State<Operations>) -> (StatusCode, &'static str) {
    match state.app.store().ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            tracing::warn!(error = %error, "not ready");
            (StatusCode::SERVICE_UNAVAILABLE, "the database does not answer\n")
        }
    }
}

async fn metrics(State(state): State<Operations>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, muster_daemon::metrics::CONTENT_TYPE)],
        state.metrics.text(),
    )
}
