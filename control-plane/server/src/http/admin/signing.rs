//! Signatures of items, certificates of signers, and the roots that signatures may lead to.

use axum::{Json, extract::State};
use http::StatusCode;
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        signing::{
            AllowedIssuers, CodeTrustReset, ImportCertificate, ImportedCertificate, RevokeSigningCertificate,
            SignItem, SignedItem, SigningCertificate, SigningCertificateQuery, SigningRoot, StampTime,
            TimeStamp, VerifiedItem, VerifyItem,
        },
        trust::Revocation,
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// Sign one version of an item.
#[utoipa::path(post, path = "/api/v1/trust/signatures", tag = "trust", request_body = SignItem, responses((status = 200, body = SignedItem), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn sign(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<SignItem>,
) -> Result<Json<SignedItem>, Failure> {
    Ok(Json(app.sign_item(&caller, &new).await?))
}

/// What holds of the signature of an item, and what would come of it.
#[utoipa::path(post, path = "/api/v1/trust/signatures/verify", tag = "trust", request_body = VerifyItem, responses((status = 200, body = VerifiedItem), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn verify(
    State(app): State<App>,
    User(caller): User,
    Body(asked): Body<VerifyItem>,
) -> Result<Json<VerifiedItem>, Failure> {
    Ok(Json(app.verify_item(&caller, &asked).await?))
}

/// Stamp the time of a signature that was made elsewhere.
#[utoipa::path(post, path = "/api/v1/trust/time-stamps", tag = "trust", request_body = StampTime, responses((status = 200, body = TimeStamp), (status = 401, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn stamp_time(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<StampTime>,
) -> Result<Json<TimeStamp>, Failure> {
    Ok(Json(app.stamp_time(&caller, &new).await?))
}

/// The roots that signatures may lead to.
#[utoipa::path(get, path = "/api/v1/trust/roots", tag = "trust", params(PageQuery), responses((status = 200, body = Page<SigningRoot>), (status = 401, body = Problem)))]
pub(super) async fn roots(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<SigningRoot>>, Failure> {
    Ok(Json(app.list_signing_roots(&caller, &query).await?))
}

/// The collective's own root, made now if nobody has needed it before.
#[utoipa::path(post, path = "/api/v1/trust/roots/internal", tag = "trust", responses((status = 200, body = SigningRoot), (status = 403, body = Problem)))]
pub(super) async fn own_root(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<SigningRoot>, Failure> {
    Ok(Json(app.own_signing_root(&caller).await?))
}

/// Remove an imported root.
#[utoipa::path(delete, path = "/api/v1/trust/roots/{fingerprint}", tag = "trust", params(("fingerprint" = String, Path)), responses((status = 204), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn remove_root(
    State(app): State<App>,
    User(caller): User,
    Path(fingerprint): Path<String>,
) -> Result<StatusCode, Failure> {
    app.remove_signing_root(&caller, &fingerprint).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// From where certificates of issuers may be fetched by whoever imports one.
#[utoipa::path(get, path = "/api/v1/trust/allowed-issuers", tag = "trust", responses((status = 200, body = AllowedIssuers), (status = 401, body = Problem)))]
pub(super) async fn allowed_issuers(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<AllowedIssuers>, Failure> {
    Ok(Json(app.allowed_issuers(&caller).await?))
}

/// Certificates of signers: issued here, or imported.
#[utoipa::path(get, path = "/api/v1/trust/certificates", tag = "trust", params(SigningCertificateQuery), responses((status = 200, body = Page<SigningCertificate>), (status = 403, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn certificates(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<SigningCertificateQuery>,
) -> Result<Json<Page<SigningCertificate>>, Failure> {
    Ok(Json(app.list_signing_certificates(&caller, &query).await?))
}

/// Import a root, or the certificate of a signer, of another authority.
#[utoipa::path(post, path = "/api/v1/trust/certificates", tag = "trust", request_body = ImportCertificate, responses((status = 200, body = ImportedCertificate), (status = 403, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn import(
    State(app): State<App>,
    User(caller): User,
    Body(new): Body<ImportCertificate>,
) -> Result<Json<ImportedCertificate>, Failure> {
    Ok(Json(app.import_signing_certificate(&caller, &new).await?))
}

/// Revoke a certificate that was issued to a user: what it signed from a moment until now is void.
#[utoipa::path(post, path = "/api/v1/trust/certificates/{number}/revoke", tag = "trust", params(("number" = String, Path)), request_body = RevokeSigningCertificate, responses((status = 200, body = Revocation), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Path(number): Path<String>,
    Body(asked): Body<RevokeSigningCertificate>,
) -> Result<Json<Revocation>, Failure> {
    Ok(Json(
        app.revoke_signing_certificate(&caller, &number, &asked).await?,
    ))
}

/// Make the code-signing root anew and delete all certificates that it has issued.
#[utoipa::path(post, path = "/api/v1/trust/reset", tag = "trust", responses((status = 200, body = CodeTrustReset), (status = 403, body = Problem)))]
pub(super) async fn reset(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<CodeTrustReset>, Failure> {
    Ok(Json(app.reset_code_trust(&caller).await?))
}
