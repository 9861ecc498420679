//! Data functions, by name or identifier.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        function::{Function, FunctionPolicy, RegisterQuery, SetFunctionPolicy, TrustFunction, Untrusted},
        stamp::Stamp,
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

/// Save a function, or a new version of the one of this name, which stays where it is. Saving never trusts.
#[utoipa::path(post, path = "/api/v1/functions", tag = "functions", params(RegisterQuery), request_body = FunctionDefinition,
    responses((status = 200, body = Function), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn register(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<RegisterQuery>,
    Body(definition): Body<FunctionDefinition>,
) -> Result<Json<Function>, Failure> {
    let folder = query.folder.as_deref();
    Ok(Json(app.register_function(&caller, definition, folder).await?))
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

/// Remove the stamps of a function: one's own, or as an administrator all.
#[utoipa::path(post, path = "/api/v1/functions/{function}/untrust", tag = "functions", params(("function" = String, Path)),
    responses((status = 200, body = Untrusted), (status = 403, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn untrust(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
) -> Result<Json<Untrusted>, Failure> {
    Ok(Json(app.untrust_function(&caller, &function).await?))
}

/// What the unrestricted runs of a function may use at the most, where administrators have said so.
#[utoipa::path(get, path = "/api/v1/functions/{function}/policy", tag = "functions", params(("function" = String, Path)), responses((status = 200, body = FunctionPolicy), (status = 404, body = Problem)))]
pub(super) async fn policy(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
) -> Result<Json<FunctionPolicy>, Failure> {
    Ok(Json(app.function_policy(&caller, &function).await?))
}

/// Set what the unrestricted runs of a function may use at the most. For administrators.
#[utoipa::path(put, path = "/api/v1/functions/{function}/policy", tag = "functions", params(("function" = String, Path)), request_body = SetFunctionPolicy,
    responses((status = 200, body = FunctionPolicy), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn set_policy(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
    Body(wanted): Body<SetFunctionPolicy>,
) -> Result<Json<FunctionPolicy>, Failure> {
    Ok(Json(
        app.set_function_policy(&caller, &function, &wanted.policy)
            .await?,
    ))
}

/// Remove the policy of a function. For administrators.
#[utoipa::path(delete, path = "/api/v1/functions/{function}/policy", tag = "functions", params(("function" = String, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn clear_policy(
    State(app): State<App>,
    User(caller): User,
    Path(function): Path<String>,
) -> Result<StatusCode, Failure> {
    app.clear_function_policy(&caller, &function).await?;
    Ok(StatusCode::NO_CONTENT)
}
