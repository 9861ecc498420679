//! Pools and sites.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::{App, Error};
use muster_ids::Name;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        place::{CreatePlace, Place},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// All pools.
#[utoipa::path(get, path = "/api/v1/pools", tag = "pools", params(PageQuery), responses((status = 200, body = Page<Place>), (status = 403, body = Problem)))]
pub(super) async fn list_pools(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Place>>, Failure> {
    Ok(Json(app.list_pools(&caller, &query).await?))
}

/// Make a pool.
#[utoipa::path(post, path = "/api/v1/pools", tag = "pools", request_body = CreatePlace, responses((status = 200, body = Place), (status = 409, body = Problem)))]
pub(super) async fn create_pool(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreatePlace>,
) -> Result<Json<Place>, Failure> {
    Ok(Json(app.create_pool(&caller, new.name).await?))
}

/// Delete a pool that nothing needs.
#[utoipa::path(delete, path = "/api/v1/pools/{name}", tag = "pools", params(("name" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete_pool(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    app.delete_pool(&caller, &parse(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// All sites.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", params(PageQuery), responses((status = 200, body = Page<Place>), (status = 403, body = Problem)))]
pub(super) async fn list_sites(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Place>>, Failure> {
    Ok(Json(app.list_sites(&caller, &query).await?))
}

/// Make a site.
#[utoipa::path(post, path = "/api/v1/sites", tag = "sites", request_body = CreatePlace, responses((status = 200, body = Place), (status = 409, body = Problem)))]
pub(super) async fn create_site(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreatePlace>,
) -> Result<Json<Place>, Failure> {
    Ok(Json(app.create_site(&caller, new.name).await?))
}

/// Delete a site that nothing needs.
#[utoipa::path(delete, path = "/api/v1/sites/{name}", tag = "sites", params(("name" = String, Path)), responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete_site(
    State(app): State<App>,
    User(caller): User,
    Path(name): Path<String>,
) -> Result<StatusCode, Failure> {
    app.delete_site(&caller, &parse(&name)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A name in a path.
pub(super) fn parse(text: &str) -> Result<Name, Failure> {
    text.parse()
        .map_err(|error: muster_ids::NameError| Failure(Error::invalid(error.to_string())))
}
