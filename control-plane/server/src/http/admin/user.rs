//! Users.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::{App, Error};
use muster_ids::UserName;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        user::{CreateUser, DeleteUser, DisabledUser, PatchUser, SetPassword, User as WireUser},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// All users, by name.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(PageQuery), responses((status = 200, body = Page<WireUser>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<WireUser>>, Failure> {
    Ok(Json(app.list_users(&caller, &query).await?))
}

/// Make a user.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = CreateUser, responses((status = 200, body = WireUser), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateUser>,
) -> Result<Json<WireUser>, Failure> {
    Ok(Json(app.create_user(&caller, new).await?))
}

/// One user.
#[utoipa::path(get, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path)), responses((status = 200, body = WireUser), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<Json<WireUser>, Failure> {
    Ok(Json(app.show_user(&caller, &parse(&name)?).await?))
}

/// Disable or enable a user.
#[utoipa::path(patch, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path)), request_body = PatchUser,
    responses((status = 200, body = WireUser), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    Body(patch): Body<PatchUser>,
) -> Result<Json<WireUser>, Failure> {
    Ok(Json(app.patch_user(&caller, &parse(&name)?, &patch).await?))
}

/// Delete a user for ever: the name is free for another account, which has nothing of this one.
#[utoipa::path(delete, path = "/api/v1/users/{name}", tag = "users", params(("name" = String, Path), DeleteUser),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    Params(query): Params<DeleteUser>,
) -> Result<StatusCode, Failure> {
    app.delete_user(&caller, &parse(&name)?, &query).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Disabled users, by name, with what speaks for keeping them.
#[utoipa::path(get, path = "/api/v1/users/disabled", tag = "users", params(PageQuery), responses((status = 200, body = Page<DisabledUser>), (status = 403, body = Problem)))]
pub(super) async fn disabled(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<DisabledUser>>, Failure> {
    Ok(Json(app.list_disabled_users(&caller, &query).await?))
}

/// Set a password; the user's sessions end.
#[utoipa::path(put, path = "/api/v1/users/{name}/password", tag = "users", params(("name" = String, Path)), request_body = SetPassword,
    responses((status = 204), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_password(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    Body(new): Body<SetPassword>,
) -> Result<StatusCode, Failure> {
    app.set_password(&caller, &parse(&name)?, new).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user name in a path.
pub(super) fn parse(text: &str) -> Result<UserName, Failure> {
    text.parse()
        .map_err(|error: muster_ids::NameError| Failure(Error::invalid(error.to_string())))
}
