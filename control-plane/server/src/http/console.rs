//! `/` of the front end: the console, until it exists a sentence.

use axum::{Router, routing::get};

/// The routes of the console.
pub fn router() -> Router {
    Router::new().route("/", get(|| async {
        "Muster control plane. There is no web console yet; use the command line (muster login) or the REST API (/api/v1/openapi.json).\n"
    }))
}
