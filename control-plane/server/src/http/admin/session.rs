//! Sessions.

use axum::{Json, extract::State};
use http::{StatusCode, request::Parts};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::session::{Login, Session, WhoAmI},
};

use crate::http::{
    Failure,
    extract::{Body, From, User, bearer},
};

/// Begin a session with a password.
#[utoipa::path(post, path = "/api/v1/sessions", tag = "sessions", security(()), request_body = Login,
    responses((status = 200, body = Session), (status = 401, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn log_in(
    State(app): State<App>,
    From(peer): From,
    Body(login): Body<Login>,
) -> Result<Json<Session>, Failure> {
    Ok(Json(app.log_in(login, &peer.address.ip().to_string()).await?))
}

/// Who am I?
#[utoipa::path(get, path = "/api/v1/sessions/current", tag = "sessions", responses((status = 200, body = WhoAmI), (status = 401, body = Problem)))]
pub(super) async fn who_am_i(State(app): State<App>, User(caller): User) -> Result<Json<WhoAmI>, Failure> {
    Ok(Json(app.who_am_i(&caller).await?))
}

/// End the session.
#[utoipa::path(delete, path = "/api/v1/sessions/current", tag = "sessions", responses((status = 204), (status = 401, body = Problem)))]
pub(super) async fn log_out(
    State(app): State<App>,
    User(caller): User,
    parts: Parts,
) -> Result<StatusCode, Failure> {
    app.log_out(&caller, bearer(&parts)?).await?;
    Ok(StatusCode::NO_CONTENT)
}
