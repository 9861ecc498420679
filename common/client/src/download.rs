//! Content that is written where it belongs while it comes, and checked on the way.

use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use http::Response;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use muster_ids::Digest;
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};

use crate::{
    connection::{Shared, announced},
    error::ClientError,
};

/// What the content must be.
pub(crate) struct Wanted {
    pub(crate) expected: Digest,
    pub(crate) limit: u64,
    /// The longest time without any content.
    pub(crate) deadline: Duration,
    /// The name of the request.
    pub(crate) request: String,
}

/// Writes the content of `response` and returns its length.
pub(crate) async fn run(
    shared: &Shared,
    response: Response<Incoming>,
    into: &mut (impl AsyncWrite + Unpin),
    wanted: Wanted,
) -> Result<u64, ClientError> {
    let Wanted {
        expected,
        limit,
        deadline,
        request,
    } = wanted;
    let too_long = || ClientError::TooLong {
        request: request.clone(),
        limit,
    };
    let store = |source| ClientError::Store {
        request: request.clone(),
        source,
    };
    if announced(response.headers()).is_some_and(|length| length > limit) {
        return Err(too_long());
    }
    let mut body = response.into_body();
    let mut context = Context::new(&SHA256);
    let mut length = 0;
    loop {
        let frame = match timeout(deadline, body.frame()).await {
            Err(_) => {
                return Err(ClientError::Late {
                    request,
                    waited: deadline,
                });
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => return Err(shared.broken(&error, request).await),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len() as u64;
        if length > limit {
            return Err(too_long());
        }
        context.update(&data);
        into.write_all(&data).await.map_err(store)?;
    }
    into.flush().await.map_err(store)?;
    let mut found = [0; 32];
    found.copy_from_slice(context.finish().as_ref());
    let found = Digest::from_bytes(found);
    if found == expected {
        Ok(length)
    } else {
        Err(ClientError::Damaged {
            request,
            expected,
            found,
        })
    }
}
