//! Signs of life of nodes: each a request of its own, or a line of one request that never ends.
//!
//! Invariant: a line is authorized like a request, against the node and the certificate as the database has them now.
//! Lines cost a third of what requests do, and of a fleet at rest nothing else is left (docs/adr/0032).

use axum::{
    Json,
    body::{Body, BodyDataStream, Bytes},
    extract::{Request, State},
    response::{IntoResponse as _, Response},
};
use bytes::BytesMut;
use futures_util::{StreamExt as _, stream::try_unfold};
use http::header;
use muster_app::{Error, renewal::Shown};
use muster_wire::node::v1::control::{Heartbeat, HeartbeatReply};

use super::{BackEnd, FromCertificate, admit, control, presence::Heard};
use crate::{
    http::{
        Failure,
        extract::{self, From},
    },
    listen::{BoxError, Peer},
};

/// The longest line, in bytes; the same as for a request.
const MAX_LINE: usize = super::MAX_BODY;

/// One heartbeat.
pub(super) async fn one(
    State(state): State<BackEnd>,
    FromCertificate(shown): FromCertificate,
    From(peer): From,
    extract::Body(beat): extract::Body<Heartbeat>,
) -> Result<Json<HeartbeatReply>, Failure> {
    heard(&state, &shown, &peer, beat)
        .await
        .map(Json)
        .map_err(Failure)
}

/// Heartbeats as lines, for as long as the node speaks. A line goes back where there is something to say.
pub(super) async fn lines(State(state): State<BackEnd>, From(peer): From, request: Request) -> Response {
    let lines = Lines {
        body: request.into_body().into_data_stream(),
        rest: Bytes::new(),
    };
    let replies = try_unfold((lines, state, peer), async |(mut lines, state, peer)| {
        while let Some(line) = lines.next().await? {
            // Boxed: it is large and short, and thousands of these streams only wait.
            match Box::pin(reply(&state, &peer, &line)).await {
                Ok(None) => {}
                Ok(Some(reply)) => return Ok(Some((reply, (lines, state, peer)))),
                Err(error) => {
                    tracing::debug!(peer = %peer.address, error = %error, "a heartbeat ends its stream");
                    return Err(error.into());
                }
            }
        }
        Ok::<_, BoxError>(None)
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    (kind, Body::from_stream(replies)).into_response()
}

async fn reply(state: &BackEnd, peer: &Peer, line: &[u8]) -> Result<Option<Bytes>, Error> {
    let beat: Heartbeat = muster_app::object(line)
        .map_err(|error| Error::invalid(format!("a line is no heartbeat: {error}")))?;
    let shown = match admit(state, peer, false).await {
        Ok(shown) => shown,
        // Too many are looked up at this moment; the next line comes soon.
        Err(Error::TooMany { .. }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let reply = heard(state, &shown, peer, beat).await?;
    if reply == HeartbeatReply::default() {
        return Ok(None);
    }
    let mut line = serde_json::to_vec(&reply).map_err(Error::bug)?;
    line.push(b'\n');
    Ok(Some(line.into()))
}

/// What the node is like, and what it works on.
async fn heard(
    state: &BackEnd,
    shown: &Shown,
    peer: &Peer,
    beat: Heartbeat,
) -> Result<HeartbeatReply, Error> {
    control::check_nonce(&beat.challenge)?;
    let (address, now) = (peer.address.ip(), state.app.clock().boot());
    let heard: Heard = state.presence.beat(shown.node, &beat.boot_nonce, address, now);
    control::alone(state, shown.node, heard).await?;
    state
        .connections
        .set_challenge(shown.node, beat.challenge.clone(), now);
    state.app.heartbeat(shown, beat).await
}

/// The body of a request, line by line. Between two lines it holds nothing.
struct Lines {
    body: BodyDataStream,
    rest: Bytes,
}

impl Lines {
    /// The next line without its end; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        let mut searched = 0;
        loop {
            let end = self.rest[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.rest.split_to(searched + end);
                self.rest = self.rest.split_off(1);
                return Ok(Some(line));
            }
            searched = self.rest.len();
            if searched > MAX_LINE {
                return Err(format!("a heartbeat is longer than {MAX_LINE} bytes").into());
            }
            match self.body.next().await.transpose()? {
                None if self.rest.is_empty() => return Ok(None),
                None => return Err("the stream of heartbeats ends within a line".into()),
                Some(more) if self.rest.is_empty() => self.rest = more,
                Some(more) => {
                    let mut both = BytesMut::with_capacity(searched + more.len());
                    both.extend_from_slice(&self.rest);
                    both.extend_from_slice(&more);
                    self.rest = both.freeze();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use proptest::prelude::*;

    use super::*;

    /// The lines of a body that comes in these parts, and whether it ends in order.
    fn split(parts: Vec<Bytes>) -> (Vec<Bytes>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.expect("a runtime").block_on(async {
            let body = Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)));
            let mut lines = Lines {
                body: body.into_data_stream(),
                rest: Bytes::new(),
            };
            let mut found = Vec::new();
            loop {
                match lines.next().await {
                    Ok(Some(line)) => found.push(line),
                    Ok(None) => return (found, true),
                    Err(_) => return (found, false),
                }
            }
        })
    }

    #[test]
    fn a_line_without_end_is_not_kept_for_ever() {
        let part = Bytes::from(vec![b'x'; 64 * 1024]);
        let (found, in_order) = split(vec![part; MAX_LINE / (64 * 1024) + 2]);
        assert!(found.is_empty() && !in_order);
        assert_eq!(
            split(vec![Bytes::from("one\ntw")]),
            (vec![Bytes::from("one")], false)
        );
    }

    proptest! {
        #[test]
        fn where_the_bytes_are_cut_does_not_matter(lines in proptest::collection::vec("[a-z]{0,8}", 0..20), cut in 1_usize..7) {
            let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
            let parts = text.as_bytes().chunks(cut).map(Bytes::copy_from_slice).collect();
            let (found, in_order) = split(parts);
            prop_assert!(in_order);
            prop_assert_eq!(found, lines.into_iter().map(Bytes::from).collect::<Vec<_>>());
        }
    }
}
