//! Preferences of groups, and what of them holds for a user.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::preference::{Preference, SetPreference},
};

use super::{place::parse, user};
use crate::http::{
    Failure,
    extract::{Body, Path, User},
};

/// The preferences that a group gives to its members.
#[utoipa::path(get, path = "/api/v1/groups/{name}/preferences", tag = "preferences", params(("name" = String, Path)), responses((status = 200, body = [Preference]), (status = 404, body = Problem)))]
pub(super) async fn of_group(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<Json<Vec<Preference>>, Failure> {
    Ok(Json(app.group_preferences(&caller, &parse(&name)?).await?))
}

/// The preferences that hold for a user, with the groups that set them.
#[utoipa::path(get, path = "/api/v1/users/{name}/preferences", tag = "preferences", params(("name" = String, Path)), responses((status = 200, body = [Preference]), (status = 404, body = Problem)))]
pub(super) async fn of_user(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<Json<Vec<Preference>>, Failure> {
    let name = user::parse(&name)?;
    Ok(Json(app.user_preferences(&caller, &name).await?))
}

/// Set a preference of a group.
#[utoipa::path(put, path = "/api/v1/groups/{name}/preferences/{preference}", tag = "preferences", params(("name" = String, Path), ("preference" = String, Path)), request_body = SetPreference,
    responses((status = 204), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set(
    State(app): State<App>,
    User(caller): User,
    Path((name, preference)): Path<(String, String)>,
    Body(wanted): Body<SetPreference>,
) -> Result<StatusCode, Failure> {
    let name = parse(&name)?;
    app.set_preference(&caller, &name, &preference, Some(&wanted.value))
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Clear a preference of a group: what it inherits holds again, or the default.
#[utoipa::path(delete, path = "/api/v1/groups/{name}/preferences/{preference}", tag = "preferences", params(("name" = String, Path), ("preference" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn clear(
    State(app): State<App>,
    User(caller): User,
    Path((name, preference)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.set_preference(&caller, &parse(&name)?, &preference, None)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a parent of a group go before its others where preferences differ.
#[utoipa::path(put, path = "/api/v1/groups/{name}/parents/{parent}/primary", tag = "preferences", params(("name" = String, Path), ("parent" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn set_primary(
    State(app): State<App>,
    User(caller): User,
    Path((name, parent)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.set_primary(&caller, &parse(&name)?, &parse(&parent)?, true)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let no parent of a group go before the others any more.
#[utoipa::path(delete, path = "/api/v1/groups/{name}/parents/{parent}/primary", tag = "preferences", params(("name" = String, Path), ("parent" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn clear_primary(
    State(app): State<App>,
    User(caller): User,
    Path((name, parent)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.set_primary(&caller, &parse(&name)?, &parse(&parent)?, false)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}
