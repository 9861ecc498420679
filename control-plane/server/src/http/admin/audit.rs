//! The audit log.

use axum::{Json, extract::State};
use muster_app::App;
use muster_wire::{
    Problem,
    admin::v1::{
        Page, PageQuery,
        audit::{AuditRow, AuditVerification},
    },
};

use crate::http::{
    Failure,
    extract::{Params, User},
};

/// The log, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(PageQuery), responses((status = 200, body = Page<AuditRow>), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(app): State<App>,
    User(caller): User,
    Params(query): Params<PageQuery>,
) -> Result<Json<Page<AuditRow>>, Failure> {
    Ok(Json(app.list_audit(&caller, &query).await?))
}

/// Check every row of the log.
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "audit", responses((status = 200, body = AuditVerification), (status = 403, body = Problem)))]
pub(super) async fn verify(
    State(app): State<App>,
    User(caller): User,
) -> Result<Json<AuditVerification>, Failure> {
    Ok(Json(app.verify_audit(&caller).await?))
}
