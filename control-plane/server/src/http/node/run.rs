//! Claims and outcomes.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use muster_app::Error;
use muster_ids::RunId;
use muster_wire::node::v1::{
    outcome::Outcome,
    output::{Output, OutputReply},
    run::{Claim, PutBack},
};

use super::{BackEnd, FromNode};
use crate::http::{
    Failure,
    extract::{Body, Path},
};

/// The oldest run that fits, or 204.
pub(super) async fn claim(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Body(claim): Body<Claim>,
) -> Result<Response, Failure> {
    Ok(match state.app.claim_run(node, &claim).await? {
        Some(granted) => Json(granted).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

/// Hands a run back unstarted.
pub(super) async fn put_back(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Path(run): Path<String>,
    Body(back): Body<PutBack>,
) -> Result<StatusCode, Failure> {
    state.app.put_back_run(node, parse(&run)?, &back).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What runs print while they go on.
pub(super) async fn output(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Body(output): Body<Output>,
) -> Result<Json<OutputReply>, Failure> {
    Ok(Json(state.app.take_output(node, &output).await?))
}

/// How a run ended.
pub(super) async fn outcome(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Path(run): Path<String>,
    Body(outcome): Body<Outcome>,
) -> Result<Json<serde_json::Value>, Failure> {
    state.app.complete_run(node, parse(&run)?, outcome).await?;
    Ok(Json(serde_json::json!({})))
}

/// The identifier of a run in a path.
pub(super) fn parse(text: &str) -> Result<RunId, Failure> {
    text.parse()
        .map_err(|error: muster_ids::IdError| Failure(Error::invalid(error.to_string())))
}
