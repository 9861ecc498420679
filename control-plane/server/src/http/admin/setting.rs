//! Trust settings.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        setting::{Setting, SettingInfo},
    },
};
use serde::Deserialize;

use crate::http::{
    Failure,
    extract::{Body, Params, User},
};

/// Every setting, with its default and where it is set.
#[utoipa::path(get, path = "/api/v1/settings", tag = "settings", params(PageQuery), responses((status = 200, body = Page<SettingInfo>), (status = 401, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<SettingInfo>>, Failure> {
    Ok(Json(app.list_settings(&caller, &query).await?))
}

/// Set a value at one scope.
#[utoipa::path(put, path = "/api/v1/settings", tag = "settings", request_body = Setting, responses((status = 200, body = Setting), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set(
    State(app): State<App>,
    User(caller): User,
    Body(wanted): Body<Setting>,
) -> Result<Json<Setting>, Failure> {
    Ok(Json(app.set_setting(&caller, &wanted).await?))
}

/// Which value to remove.
#[derive(Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// The documented name.
    name: String,
    /// `all`, `site:NAME`, `pool:NAME` or `node:NAME`.
    scope: String,
}

/// Remove what is set at one scope.
#[utoipa::path(delete, path = "/api/v1/settings", tag = "settings", params(Which), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn remove(
    State(app): State<App>,
    User(caller): User,
    Params(which): Params<Which>,
) -> Result<StatusCode, Failure> {
    app.remove_setting(&caller, &which.name, &which.scope).await?;
    Ok(StatusCode::NO_CONTENT)
}
