//! Status and authority.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{authority::Authority, status::Status},
};

use crate::http::{Failure, extract::User};

/// What needs attention now.
#[utoipa::path(get, path = "/api/v1/status", tag = "status", responses((status = 200, body = Status), (status = 401, body = Problem)))]
pub(super) async fn status(State(app): State<App>, User(caller): User) -> Result<Json<Status>, Failure> {
    Ok(Json(app.status(&caller).await?))
}

/// The certificate authority.
#[utoipa::path(get, path = "/api/v1/authority", tag = "authority", responses((status = 200, body = Authority), (status = 401, body = Problem)))]
pub(super) async fn authority(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<Authority>, Failure> {
    Ok(Json(app.show_authority(&caller).await?))
}
