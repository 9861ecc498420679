//! Status and authority.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        authority::{Authority, Rotate},
        status::Status,
    },
};

use crate::http::{
    Failure,
    extract::{Body, User},
};

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

/// Takes one step of a rotation of the certificate authority.
#[utoipa::path(post, path = "/api/v1/authority/rotation", tag = "authority", request_body = Rotate, responses((status = 200, body = Authority), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn rotate(
    State(app): State<App>,
    User(caller): User,
    Body(rotate): Body<Rotate>,
) -> Result<Json<Authority>, Failure> {
    Ok(Json(app.rotate_authority(&caller, &rotate).await?))
}
