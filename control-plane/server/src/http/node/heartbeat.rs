//! Signs of life of nodes: each a request of its own, or a line of one request that never ends.
//!
//! Invariant: a line is authorized like a request, against the node and the certificate as the database has them now.
//! Lines cost a third of what requests do, and of a fleet at rest nothing else is left (docs/adr/0032).

use std::time::Duration;

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
use tokio::time::{Instant, timeout_at};

use super::{BackEnd, FromCertificate, FromNode, admit, control, presence::Heard, too_many};
use crate::{
    http::{
        Failure,
        extract::{self, From},
    },
    listen::{BoxError, Peer},
};

/// The longest line, in bytes; the same as for a request.
const MAX_LINE: usize = super::MAX_BODY;

/// Claims of one heartbeat: many times what a node has slots.
const MOST_CLAIMS: usize = 1024;
/// How long a line may take from its first byte to its end.
const LINE: Duration = Duration::from_secs(30);

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
pub(super) async fn lines(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    From(peer): From,
    request: Request,
) -> Result<Response, Failure> {
    let Some(place) = state.connections.heartbeats(node) else {
        return Err(Failure(too_many("streams of heartbeats")));
    };
    let lines = Lines {
        body: request.into_body().into_data_stream(),
        rest: BytesMut::new(),
    };
    let replies = try_unfold(
        (lines, state, peer, place),
        async |(mut lines, state, peer, place)| {
            while let Some(line) = lines.next().await? {
                // Boxed: it is large and short, and thousands of these streams only wait.
                match Box::pin(reply(&state, &peer, &line)).await {
                    Ok(None) => {}
                    Ok(Some(reply)) => return Ok(Some((reply, (lines, state, peer, place)))),
                    Err(error) => {
                        tracing::debug!(peer = %peer.address, error = %error, "a heartbeat ends its stream");
                        return Err(error.into());
                    }
                }
            }
            Ok::<_, BoxError>(None)
        },
    );
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(replies)).into_response())
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
    if beat.running.len() > MOST_CLAIMS {
        return Err(Error::invalid(format!(
            "a node works on at most {MOST_CLAIMS} claims"
        )));
    }
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
    rest: BytesMut,
}

impl Lines {
    /// The next line without its end; `None` after the last.
    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        let (mut searched, mut until) = (0, None);
        loop {
            let end = self.rest[searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let mut line = self.rest.split_to(searched + end + 1);
                line.truncate(searched + end);
                if self.rest.is_empty() {
                    self.rest = BytesMut::new();
                }
                return Ok(Some(line.freeze()));
            }
            searched = self.rest.len();
            if searched > MAX_LINE {
                return Err(format!("a heartbeat is longer than {MAX_LINE} bytes").into());
            }
            let more = if searched == 0 {
                self.body.next().await
            } else {
                let until = *until.get_or_insert_with(|| Instant::now() + LINE);
                timeout_at(until, self.body.next())
                    .await
                    .map_err(|_| "the rest of a heartbeat did not come in time")?
            };
            match more.transpose()? {
                None if searched == 0 => return Ok(None),
                None => return Err("the stream of heartbeats ends within a line".into()),
                Some(more) => self.rest.extend_from_slice(&more),
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
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        runtime.expect("a runtime").block_on(async {
            let body = Body::from_stream(stream::iter(parts.into_iter().map(Ok::<_, Infallible>)));
            let mut lines = Lines {
                body: body.into_data_stream(),
                rest: BytesMut::new(),
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
