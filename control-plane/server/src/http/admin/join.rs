//! Join requests.

use axum::{Json, extract::State};
use muster_app::{App, Error};
use muster_ids::JoinId;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery, StatePageQuery,
        join::{ApproveJoin, ApproveRenewals, ApprovedRenewals, Join, MatchJoin, RejectJoin},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// The queue, oldest first.
#[utoipa::path(get, path = "/api/v1/joins", tag = "joins", params(StatePageQuery), responses((status = 200, body = Page<Join>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<StatePageQuery>,
) -> Result<Json<Page<Join>>, Failure> {
    Ok(Json(app.list_joins(&caller, &query).await?))
}

/// Which waiting request has this code? Nothing is changed.
#[utoipa::path(post, path = "/api/v1/joins/match", tag = "joins", request_body = MatchJoin,
    responses((status = 200, body = Join), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn find(
    State(app): State<App>,
    User(caller): User,
    Body(wanted): Body<MatchJoin>,
) -> Result<Json<Join>, Failure> {
    Ok(Json(app.match_join(&caller, &wanted.code).await?))
}

/// The waiting requests of known nodes whose certificates have ended: they can be approved without a code.
#[utoipa::path(get, path = "/api/v1/joins/renewals", tag = "joins", params(PageQuery), responses((status = 200, body = Page<Join>), (status = 403, body = Problem)))]
pub(super) async fn renewals(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Join>>, Failure> {
    Ok(Json(app.list_renewals(&caller, &query).await?))
}

/// Approve renewals of known nodes, all that are named.
#[utoipa::path(post, path = "/api/v1/joins/renewals/approve", tag = "joins", request_body = ApproveRenewals,
    responses((status = 200, body = ApprovedRenewals), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn approve_renewals(
    State(app): State<App>,
    User(caller): User,
    Body(approval): Body<ApproveRenewals>,
) -> Result<Json<ApprovedRenewals>, Failure> {
    Ok(Json(app.approve_renewals(&caller, &approval).await?))
}

/// One request.
#[utoipa::path(get, path = "/api/v1/joins/{id}", tag = "joins", params(("id" = String, Path)), responses((status = 200, body = Join), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
) -> Result<Json<Join>, Failure> {
    Ok(Json(app.show_join(&caller, parse(&id)?).await?))
}

/// Approve with the code or the full fingerprint, as the node shows them.
#[utoipa::path(post, path = "/api/v1/joins/{id}/approve", tag = "joins", params(("id" = String, Path)), request_body = ApproveJoin,
    responses((status = 200, body = Join), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn approve(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
    Body(approval): Body<ApproveJoin>,
) -> Result<Json<Join>, Failure> {
    Ok(Json(app.approve_join(&caller, parse(&id)?, &approval).await?))
}

/// Reject.
#[utoipa::path(post, path = "/api/v1/joins/{id}/reject", tag = "joins", params(("id" = String, Path)), request_body = RejectJoin,
    responses((status = 200, body = Join), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn reject(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
    Body(rejection): Body<RejectJoin>,
) -> Result<Json<Join>, Failure> {
    Ok(Json(app.reject_join(&caller, parse(&id)?, &rejection).await?))
}

fn parse(text: &str) -> Result<JoinId, Failure> {
    text.parse()
        .map_err(|error: muster_ids::IdError| Failure(Error::invalid(error.to_string())))
}
