//! Certificates, revoking them, and what others need to verify them: for that, nobody logs in.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::header;
use muster_app::{App, Error};
use muster_wire::{
    Problem,
    admin::v1::{
        Page,
        certificate::{
            Certificate, CertificateQuery, ResetTrust, RevokeCertificate, RevokedCertificates, TrustReset,
        },
    },
};

use crate::http::{
    Failure,
    extract::{Body, Params, Path, User},
};

/// Certificates, by serial number; in the state `pending` those that join requests ask for.
#[utoipa::path(get, path = "/api/v1/certificates", tag = "certificates", params(CertificateQuery), responses((status = 200, body = Page<Certificate>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<CertificateQuery>,
) -> Result<Json<Page<Certificate>>, Failure> {
    Ok(Json(app.list_certificates(&caller, query).await?))
}

/// One certificate, whole.
#[utoipa::path(get, path = "/api/v1/certificates/{serial}", tag = "certificates", params(("serial" = String, Path)), responses((status = 200, body = Certificate), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(app): State<App>,
    User(caller): User,
    Path(serial): Path<String>,
) -> Result<Json<Certificate>, Failure> {
    Ok(Json(app.show_certificate(&caller, &serial).await?))
}

/// Revoke a certificate, all of its holder for its key, or all of its holder; connections opened with them are cut.
#[utoipa::path(post, path = "/api/v1/certificates/{serial}/revoke", tag = "certificates", params(("serial" = String, Path)), request_body = RevokeCertificate,
    responses((status = 200, body = RevokedCertificates), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub(super) async fn revoke(
    State(app): State<App>,
    User(caller): User,
    Path(serial): Path<String>,
    Body(request): Body<RevokeCertificate>,
) -> Result<Json<RevokedCertificates>, Failure> {
    Ok(Json(app.revoke_certificate(&caller, &serial, &request).await?))
}

/// Revoke every certificate and untrust every node.
#[utoipa::path(post, path = "/api/v1/certificates/reset", tag = "certificates", request_body = ResetTrust, responses((status = 200, body = TrustReset), (status = 403, body = Problem)))]
pub(super) async fn reset(
    State(app): State<App>,
    User(caller): User,
    Body(request): Body<ResetTrust>,
) -> Result<Json<TrustReset>, Failure> {
    Ok(Json(app.reset_trust(&caller, &request).await?))
}

/// The revocation list, for everybody (RFC 5280, DER).
#[utoipa::path(get, path = "/api/v1/authority/crl", tag = "authority", security(()), responses((status = 200, content_type = "application/pkix-crl"), (status = 503, body = Problem)))]
pub(super) async fn crl(State(app): State<App>) -> Result<Response, Failure> {
    let list = app.revocation_list().ok_or_else(not_yet)?;
    Ok(([(header::CONTENT_TYPE, "application/pkix-crl")], list.der.clone()).into_response())
}

/// The revocation list, for everybody (PEM).
#[utoipa::path(get, path = "/api/v1/authority/crl.pem", tag = "authority", security(()), responses((status = 200, content_type = "application/x-pem-file"), (status = 503, body = Problem)))]
pub(super) async fn crl_pem(State(app): State<App>) -> Result<Response, Failure> {
    let list = app.revocation_list().ok_or_else(not_yet)?;
    Ok(as_pem(muster_pki::pem::write_crl(&list.der)))
}

/// The roots and the issuing certificate, for everybody (PEM).
#[utoipa::path(get, path = "/api/v1/authority/certificates.pem", tag = "authority", security(()), responses((status = 200, content_type = "application/x-pem-file")))]
pub(super) async fn authority_pem(State(app): State<App>) -> Response {
    as_pem(app.authority_pem())
}

fn as_pem(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/x-pem-file")], text).into_response()
}

fn not_yet() -> Failure {
    Failure(Error::Unavailable {
        detail:
            "no revocation list was made yet; ask again in a moment, and see the log of the control plane"
                .to_owned(),
        source: None,
    })
}
