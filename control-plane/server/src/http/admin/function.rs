//! Data functions, by name or identifier.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        function::{Function, TrustFunction},
        trust::Stamp,
    },
    function::FunctionDefinition,
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// The library's functions, by name.
#[utoipa::path(get, path = "/api/v1/functions", tag = "functions", params(PageQuery), responses((status = 200, body = Page<Function>), (status = 401, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Function>>, Failure> {
    Ok(Json(app.list_functions(&caller, &query).await?))
}

/// Save a function, or a new version of the one of this name. Saving never trusts.
#[utoipa::path(post, path = "/api/v1/functions", tag = "functions", request_body = FunctionDefinition,
    responses((status = 200, body = Function), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn register(
    State(app): State<App>,
    User(caller): User,
    Body(definition): Body<FunctionDefinition>,
) -> Result<Json<Function>, Failure> {
    Ok(Json(app.register_function(&caller, definition).await?))
}

/// One function.
#[utoipa::path(get, path = "/api/v1/functions/{function}", tag = "functions", params(("function" = String, Path)), responses((status = 200, body = Function), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
) -> Result<Json<Function>, Failure> {
    Ok(Json(app.show_function(&caller, &function).await?))
}

/// Trust the content with this digest, which must be the current one.
#[utoipa::path(post, path = "/api/v1/functions/{function}/trust", tag = "functions", params(("function" = String, Path)), request_body = TrustFunction,
    responses((status = 200, body = Stamp), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn trust(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
    Body(trusted): Body<TrustFunction>,
) -> Result<Json<Stamp>, Failure> {
    Ok(Json(
        app.trust_function(&caller, &function, &trusted.digest).await?,
    ))
}

/// Remove every stamp of a function.
#[utoipa::path(post, path = "/api/v1/functions/{function}/untrust", tag = "functions", params(("function" = String, Path)),
    responses((status = 200, description = "How many stamps were removed"), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn untrust(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
) -> Result<Json<serde_json::Value>, Failure> {
    let removed = app.untrust_function(&caller, &function).await?;
    Ok(Json(serde_json::json!({ "removed": removed })))
}
