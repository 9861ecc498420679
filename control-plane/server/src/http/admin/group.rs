//! Groups and licenses.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        group::{
            CreateGroup, Group, GroupsImported, HeldLicense, HeldQuery, ImportGroups, License, LicenseSet,
            SetLicense,
        },
    },
};

use super::{place::parse, user};
use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// All groups.
#[utoipa::path(get, path = "/api/v1/groups", tag = "groups", params(PageQuery), responses((status = 200, body = Page<Group>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Group>>, Failure> {
    Ok(Json(app.list_groups(&caller, &query).await?))
}

/// Make a group.
#[utoipa::path(post, path = "/api/v1/groups", tag = "groups", request_body = CreateGroup, responses((status = 200, body = Group), (status = 409, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateGroup>,
) -> Result<Json<Group>, Failure> {
    Ok(Json(app.create_group(&caller, new.name).await?))
}

/// Make groups, and memberships of groups and users, as far as they are not there: all of them or none.
#[utoipa::path(post, path = "/api/v1/group-imports", tag = "groups", request_body = ImportGroups, responses((status = 200, body = GroupsImported), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn import(
    State(app): State<App>,
    User(caller): User,
    Body(wanted): Body<ImportGroups>,
) -> Result<Json<GroupsImported>, Failure> {
    Ok(Json(app.import_groups(&caller, &wanted).await?))
}

/// One group.
#[utoipa::path(get, path = "/api/v1/groups/{name}", tag = "groups", params(("name" = String, Path)), responses((status = 200, body = Group), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<Json<Group>, Failure> {
    Ok(Json(app.show_group(&caller, &parse(&name)?).await?))
}

/// Delete a group that is not built in.
#[utoipa::path(delete, path = "/api/v1/groups/{name}", tag = "groups", params(("name" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    app.delete_group(&caller, &parse(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put a user into a group.
#[utoipa::path(put, path = "/api/v1/groups/{name}/members/{user}", tag = "groups", params(("name" = String, Path), ("user" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn add_member(
    State(app): State<App>,
    User(caller): User,
    Path((name, member)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.add_member(&caller, &parse(&name)?, &user::parse(&member)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a user out of a group.
#[utoipa::path(delete, path = "/api/v1/groups/{name}/members/{user}", tag = "groups", params(("name" = String, Path), ("user" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove_member(
    State(app): State<App>,
    User(caller): User,
    Path((name, member)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.remove_member(&caller, &parse(&name)?, &user::parse(&member)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Put a group into another, from which it inherits.
#[utoipa::path(put, path = "/api/v1/groups/{name}/parents/{parent}", tag = "groups", params(("name" = String, Path), ("parent" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn add_parent(
    State(app): State<App>,
    User(caller): User,
    Path((name, parent)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.add_parent(&caller, &parse(&name)?, &parse(&parent)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a group out of another.
#[utoipa::path(delete, path = "/api/v1/groups/{name}/parents/{parent}", tag = "groups", params(("name" = String, Path), ("parent" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn remove_parent(
    State(app): State<App>,
    User(caller): User,
    Path((name, parent)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.remove_parent(&caller, &parse(&name)?, &parse(&parent)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Have a group give these features of a license, and no others of it.
#[utoipa::path(put, path = "/api/v1/groups/{name}/licenses", tag = "licenses", params(("name" = String, Path)), request_body = SetLicense, responses((status = 200, body = LicenseSet), (status = 404, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    Body(wanted): Body<SetLicense>,
) -> Result<Json<LicenseSet>, Failure> {
    Ok(Json(app.set_license(&caller, &parse(&name)?, &wanted).await?))
}

/// The license features of a group: its own, or with `include_inherited` all that its members have by it.
#[utoipa::path(get, path = "/api/v1/groups/{name}/licenses", tag = "licenses", params(("name" = String, Path), HeldQuery), responses((status = 200, body = [HeldLicense]), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn licenses_of_group(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
    Params(query): Params<HeldQuery>,
) -> Result<Json<Vec<HeldLicense>>, Failure> {
    Ok(Json(app.group_licenses(&caller, &parse(&name)?, &query).await?))
}

/// The license features that a user has, each with the nearest group that gives it.
#[utoipa::path(get, path = "/api/v1/users/{name}/licenses", tag = "licenses", params(("name" = String, Path)), responses((status = 200, body = [HeldLicense]), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn licenses_of_user(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<Json<Vec<HeldLicense>>, Failure> {
    Ok(Json(app.user_licenses(&caller, &user::parse(&name)?).await?))
}

/// Give a group a license feature.
#[utoipa::path(put, path = "/api/v1/groups/{name}/licenses/{feature}", tag = "licenses", params(("name" = String, Path), ("feature" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn grant(
    State(app): State<App>,
    User(caller): User,
    Path((name, feature)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.set_feature(&caller, &parse(&name)?, &feature, true).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take a license feature from a group.
#[utoipa::path(delete, path = "/api/v1/groups/{name}/licenses/{feature}", tag = "licenses", params(("name" = String, Path), ("feature" = String, Path)), responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Path((name, feature)): Path<(String, String)>,
) -> Result<StatusCode, Failure> {
    app.set_feature(&caller, &parse(&name)?, &feature, false).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The license features that exist, and the groups that give them.
#[utoipa::path(get, path = "/api/v1/licenses", tag = "licenses", params(PageQuery), responses((status = 200, body = Page<License>), (status = 403, body = Problem)))]
pub(super) async fn licenses(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<License>>, Failure> {
    Ok(Json(app.list_licenses(&caller, &query).await?))
}
