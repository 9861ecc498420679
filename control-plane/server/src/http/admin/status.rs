//! Status, authority, certificates.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        authority::{Authority, Certificate},
        status::Status,
    },
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

/// Certificates that were issued.
#[utoipa::path(get, path = "/api/v1/certificates", tag = "authority", responses((status = 200, body = [Certificate]), (status = 403, body = Problem)))]
pub(super) async fn certificates(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<Vec<Certificate>>, Failure> {
    Ok(Json(app.list_certificates(&caller).await?))
}
