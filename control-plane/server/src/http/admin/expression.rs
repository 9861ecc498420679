//! Inline expressions.

use axum::{extract::State, response::Response};
use http::HeaderMap;
use muster_app::{App, Error};
use muster_wire::{
    Problem,
    admin::v1::run::{EvaluateExpression, Run},
};

use super::run::{Wait, answer, idempotency_key, patience, receive, settle};
use crate::http::{
    Failure,
    extract::{Form, Params, User},
};

/// Evaluate an expression in TERR's language, restricted whatever is trusted: parts `request` (JSON) and
/// `input:<name>` (files, each a column). It is a run like others, without a function.
#[utoipa::path(post, path = "/api/v1/expressions", tag = "runs", params(Wait),
    request_body(content = EvaluateExpression, content_type = "multipart/form-data"),
    responses((status = 200, body = Run, description = "The run has ended"), (status = 202, body = Run, description = "The run waits or runs"), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub(super) async fn evaluate(
    State(app): State<App>,
    User(caller): User,
    Params(wait): Params<Wait>,
    headers: HeaderMap,
    Form(multipart): Form,
) -> Result<Response, Failure> {
    let wait = patience(wait.wait.as_deref())?;
    let idempotency_key = idempotency_key(&headers)?;
    let (request, files) = receive::<EvaluateExpression>(&app, &caller, None, multipart).await?;
    let request = request.ok_or_else(|| Error::invalid("the part request with the expression is missing"))?;
    let ends = app.store().wake_listener();
    let run = app
        .evaluate_expression(&caller, request, files, idempotency_key)
        .await?;
    Ok(answer(settle(&app, &caller, run, wait, ends).await?))
}
