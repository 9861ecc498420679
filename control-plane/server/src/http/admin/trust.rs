//! Stamps, blocks, trust entries, revocations and explanations.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        signing::VerifiedItem,
        stamp::{Stamp, StampQuery},
        trust::{
            Block, CodeEntity, CreateBlock, CreateRevocation, ExplainQuery, Explanation, OpenItem,
            Revocation, TrustItem, TrustSigner, TrustedItem, TrustedSigner,
        },
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// The stamps on what the caller can read.
#[utoipa::path(get, path = "/api/v1/trust/stamps", tag = "trust", params(StampQuery), responses((status = 200, body = Page<Stamp>), (status = 404, body = Problem)))]
pub(super) async fn stamps(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<StampQuery>,
) -> Result<Json<Page<Stamp>>, Failure> {
    Ok(Json(app.list_stamps(&caller, &query).await?))
}

/// What would happen if a user ran a function, or what a library item holds, or opened a mod of the library, now, and why.
#[utoipa::path(get, path = "/api/v1/trust/explain", tag = "trust", params(ExplainQuery), responses((status = 200, body = Explanation), (status = 404, body = Problem)))]
pub(super) async fn explain(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<ExplainQuery>,
) -> Result<Json<Explanation>, Failure> {
    Ok(Json(app.explain(&caller, &query).await?))
}

/// Say that an item is opened, or that the person who was asked about it declined; questions and refusals are audited.
#[utoipa::path(post, path = "/api/v1/trust/openings", tag = "trust", request_body = OpenItem,
    responses((status = 200, body = VerifiedItem), (status = 401, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn open(
    State(app): State<App>,
    User(caller): User,
    Body(asked): Body<OpenItem>,
) -> Result<Json<VerifiedItem>, Failure> {
    Ok(Json(app.open_item(&caller, &asked).await?))
}

/// What nobody may trust or use.
#[utoipa::path(get, path = "/api/v1/trust/blocks", tag = "trust", params(PageQuery), responses((status = 200, body = Page<Block>), (status = 403, body = Problem)))]
pub(super) async fn blocks(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Block>>, Failure> {
    Ok(Json(app.list_blocks(&caller, &query).await?))
}

/// Block an item, a user or a certificate.
#[utoipa::path(post, path = "/api/v1/trust/blocks", tag = "trust", request_body = CreateBlock, responses((status = 200, body = Block), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn block(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateBlock>,
) -> Result<Json<Block>, Failure> {
    Ok(Json(app.create_block(&caller, &new).await?))
}

/// Lift a block.
#[utoipa::path(delete, path = "/api/v1/trust/blocks/{id}", tag = "trust", params(("id" = String, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn unblock(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    app.delete_block(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The signers that are trusted, as far as the caller may know.
#[utoipa::path(get, path = "/api/v1/trust/signers", tag = "trust", params(PageQuery), responses((status = 200, body = Page<TrustedSigner>), (status = 401, body = Problem)))]
pub(super) async fn signers(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<TrustedSigner>>, Failure> {
    Ok(Json(app.list_signers(&caller, &query).await?))
}

/// Trust a signer in a role.
#[utoipa::path(post, path = "/api/v1/trust/signers", tag = "trust", request_body = TrustSigner, responses((status = 200, body = TrustedSigner), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn trust_signer(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<TrustSigner>,
) -> Result<Json<TrustedSigner>, Failure> {
    Ok(Json(app.trust_signer(&caller, &new).await?))
}

/// Withdraw trust in a signer.
#[utoipa::path(delete, path = "/api/v1/trust/signers/{id}", tag = "trust", params(("id" = String, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn withdraw_signer(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    app.withdraw_signer(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The versions of items that are trusted, as far as the caller may know.
#[utoipa::path(get, path = "/api/v1/trust/items", tag = "trust", params(PageQuery), responses((status = 200, body = Page<TrustedItem>), (status = 401, body = Problem)))]
pub(super) async fn items(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<TrustedItem>>, Failure> {
    Ok(Json(app.list_items(&caller, &query).await?))
}

/// Trust one version of an item.
#[utoipa::path(post, path = "/api/v1/trust/items", tag = "trust", request_body = TrustItem, responses((status = 200, body = TrustedItem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn trust_item(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<TrustItem>,
) -> Result<Json<TrustedItem>, Failure> {
    Ok(Json(app.trust_item(&caller, &new).await?))
}

/// Withdraw trust in a version of an item.
#[utoipa::path(delete, path = "/api/v1/trust/items/{id}", tag = "trust", params(("id" = String, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn withdraw_item(
    State(app): State<App>,
    User(caller): User,
    Path(id): Path<String>,
) -> Result<StatusCode, Failure> {
    app.withdraw_item(&caller, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Contents that are known here: versions of items of the library, and what was signed.
#[utoipa::path(get, path = "/api/v1/trust/entities", tag = "trust", params(PageQuery), responses((status = 200, body = Page<CodeEntity>), (status = 403, body = Problem)))]
pub(super) async fn entities(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<CodeEntity>>, Failure> {
    Ok(Json(app.list_code_entities(&caller, &query).await?))
}

/// The times of signatures that are void; users see their own.
#[utoipa::path(get, path = "/api/v1/trust/revocations", tag = "trust", params(PageQuery), responses((status = 200, body = Page<Revocation>), (status = 401, body = Problem)))]
pub(super) async fn revocations(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<Revocation>>, Failure> {
    Ok(Json(app.list_revocations(&caller, &query).await?))
}

/// Make what a user signed from a moment on invalid.
#[utoipa::path(post, path = "/api/v1/trust/revocations", tag = "trust", request_body = CreateRevocation, responses((status = 200, body = Revocation), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<CreateRevocation>,
) -> Result<Json<Revocation>, Failure> {
    Ok(Json(app.create_revocation(&caller, &new).await?))
}
