//! Payloads, on connections of their own: opaque bytes, named by their digest.

use axum::{
    body::Body as AxumBody,
    extract::State,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt as _;
use http::{StatusCode, header};
use muster_app::{Content, Error};
use muster_ids::{Digest, RunId};
use serde::Deserialize;
use tokio_util::io::ReaderStream;

use super::{BackEnd, FromNode};
use crate::http::{
    Failure,
    extract::{Params, Path},
};

/// Which run a blob belongs to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    run: RunId,
    fence: Option<i64>,
}

/// An input.
pub(super) async fn download(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Path(digest): Path<String>,
    Params(of): Params<Of>,
) -> Result<Response, Failure> {
    let content = state.app.input_for_node(node, of.run, &parse(&digest)?).await?;
    Ok(stream(content, "application/octet-stream"))
}

/// An output.
pub(super) async fn upload(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Path(digest): Path<String>,
    Params(of): Params<Of>,
    body: AxumBody,
) -> Result<StatusCode, Failure> {
    let fence = of
        .fence
        .ok_or_else(|| Failure(Error::invalid("the query needs the fence of the claim")))?;
    let mut writer = state
        .app
        .output_writer(node, of.run, fence, parse(&digest)?)
        .await?;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk =
            chunk.map_err(|error| Failure(Error::invalid(format!("the upload broke off: {error}"))))?;
        writer.write(&chunk).await.map_err(muster_app::blob_failure)?;
    }
    writer.finish().await.map_err(muster_app::blob_failure)?;
    Ok(StatusCode::NO_CONTENT)
}

/// The bytes of a run as a response.
pub(in crate::http) fn stream(content: Content, content_type: &'static str) -> Response {
    let (length, body) = match content {
        Content::Small(bytes) => (bytes.len().to_string(), AxumBody::from(bytes)),
        Content::Blob(reader) => (
            reader.size.to_string(),
            AxumBody::from_stream(ReaderStream::new(reader.file)),
        ),
    };
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        ],
        [(header::CONTENT_LENGTH, length)],
        body,
    )
        .into_response()
}

fn parse(text: &str) -> Result<Digest, Failure> {
    text.parse()
        .map_err(|error: muster_ids::DigestError| Failure(Error::invalid(error.to_string())))
}
