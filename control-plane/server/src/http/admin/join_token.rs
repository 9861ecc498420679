//! Join tokens.

use axum::{Json, extract::State};
use muster_app::{App, Error};
use muster_ids::TokenId;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, StatePageQuery,
        join_token::{CreateJoinToken, JoinToken, NewJoinToken, RevokeJoinToken},
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// All tokens, newest first.
#[utoipa::path(get, path = "/api/v1/join-tokens", tag = "join-tokens", params(StatePageQuery), responses((status = 200, body = Page<JoinToken>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<StatePageQuery>,
) -> Result<Json<Page<JoinToken>>, Failure> {
    Ok(Json(app.list_join_tokens(&caller, &query).await?))
}

/// Make a token. The answer holds its secret, this once; so there is no `Idempotency-Key` here.
#[utoipa::path(post, path = "/api/v1/join-tokens", tag = "join-tokens", request_body = CreateJoinToken,
    responses((status = 200, body = NewJoinToken), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn create(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateJoinToken>,
) -> Result<Json<NewJoinToken>, Failure> {
    Ok(Json(app.create_join_token(&caller, &new).await?))
}

/// One token.
#[utoipa::path(get, path = "/api/v1/join-tokens/{id}", tag = "join-tokens", params(("id" = String, Path)), responses((status = 200, body = JoinToken), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
) -> Result<Json<JoinToken>, Failure> {
    Ok(Json(app.show_join_token(&caller, parse(&id)?).await?))
}

/// Take a token back; the nodes that it has let in stay.
#[utoipa::path(post, path = "/api/v1/join-tokens/{id}/revoke", tag = "join-tokens", params(("id" = String, Path)), request_body = RevokeJoinToken,
    responses((status = 200, body = JoinToken), (status = 404, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
    Body(revocation): Body<RevokeJoinToken>,
) -> Result<Json<JoinToken>, Failure> {
    Ok(Json(
        app.revoke_join_token(&caller, parse(&id)?, &revocation).await?,
    ))
}

fn parse(text: &str) -> Result<TokenId, Failure> {
    text.parse()
        .map_err(|error: muster_ids::IdError| Failure(Error::invalid(error.to_string())))
}
