//! Stamps and explanations.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::trust::{ExplainQuery, Explanation, Stamp},
};

use crate::http::{
    Failure,
    extract::{Params, User},
};

/// All stamps.
#[utoipa::path(get, path = "/api/v1/trust/stamps", tag = "trust", responses((status = 200, body = [Stamp]), (status = 401, body = Problem)))]
pub(super) async fn stamps(State(app): State<App>, User(caller): User) -> Result<Json<Vec<Stamp>>, Failure> {
    Ok(Json(app.list_stamps(&caller).await?))
}

/// What would happen if a user ran a function now, and why.
#[utoipa::path(get, path = "/api/v1/trust/explain", tag = "trust", params(ExplainQuery), responses((status = 200, body = Explanation), (status = 404, body = Problem)))]
pub(super) async fn explain(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<ExplainQuery>,
) -> Result<Json<Explanation>, Failure> {
    Ok(Json(app.explain(&caller, &query).await?))
}
