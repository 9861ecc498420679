//! Nodes, by name or identifier.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, StatePageQuery,
        node::{Node, PatchNode, UntrustNode},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// All nodes, by name.
#[utoipa::path(get, path = "/api/v1/nodes", tag = "nodes", params(StatePageQuery), responses((status = 200, body = Page<Node>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<StatePageQuery>,
) -> Result<Json<Page<Node>>, Failure> {
    Ok(Json(app.list_nodes(&caller, &query).await?))
}

/// One node.
#[utoipa::path(get, path = "/api/v1/nodes/{node}", tag = "nodes", params(("node" = String, Path)), responses((status = 200, body = Node), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(node): Path<String>,
) -> Result<Json<Node>, Failure> {
    Ok(Json(app.show_node(&caller, &node).await?))
}

/// Change scheduling, pool or site.
#[utoipa::path(patch, path = "/api/v1/nodes/{node}", tag = "nodes", params(("node" = String, Path)), request_body = PatchNode,
    responses((status = 200, body = Node), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn patch(
    State(app): State<App>,
    User(caller): User,
    Path(node): Path<String>,
    Body(patch): Body<PatchNode>,
) -> Result<Json<Node>, Failure> {
    Ok(Json(app.patch_node(&caller, &node, &patch).await?))
}

/// Take the node's right to speak; its connections are cut.
#[utoipa::path(post, path = "/api/v1/nodes/{node}/untrust", tag = "nodes", params(("node" = String, Path)), request_body = UntrustNode,
    responses((status = 200, body = Node), (status = 404, body = Problem)))]
pub(super) async fn untrust(
    State(app): State<App>,
    User(caller): User,
    Path(node): Path<String>,
    Body(untrust): Body<UntrustNode>,
) -> Result<Json<Node>, Failure> {
    Ok(Json(app.untrust_node(&caller, &node, &untrust).await?))
}

/// Delete a node that was untrusted.
#[utoipa::path(delete, path = "/api/v1/nodes/{node}", tag = "nodes", params(("node" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn delete(
    State(app): State<App>,
    User(caller): User,
    Path(node): Path<String>,
) -> Result<StatusCode, Failure> {
    app.delete_node(&caller, &node).await?;
    Ok(StatusCode::NO_CONTENT)
}
