//! The control connection: one long response of lines, and small requests beside it.

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Json,
    body::{Body as AxumBody, Bytes},
    extract::{FromRequest as _, Request, State},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use muster_app::Error;
use muster_ids::{NodeId, PoolId, SiteId};
use muster_store::Topic;
use muster_wire::node::v1::{
    PROTOCOLS,
    control::{ControlMessage, OpenControl, ReceiptCertificate, ReceiptKey},
    epoch::Known,
    renew::{Renew, Renewed},
};
use serde::Deserialize;
use tokio::{
    sync::{Semaphore, mpsc},
    time::Instant,
};
use tokio_stream::{StreamExt as _, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;

use super::{BackEnd, FromCertificate, FromNode, cut_soon, presence::Heard, too_many};
use crate::http::{
    Failure,
    extract::{Body, From, Params},
};

/// Seconds between heartbeats (protocols.md 5).
const HEARTBEAT_SECONDS: u64 = 10;
/// Between beacons (protocols.md 3). One goes out with the answer to a heartbeat, as every third does: nothing wakes up
/// for it alone, and it answers the newest challenge.
const BEACON: Duration = Duration::from_secs(30);
/// How much earlier than that a heartbeat may come, or how much later it is waited for.
const SLACK: Duration = Duration::from_secs(4);
/// Lines that wait for a slow node before its connection is given up.
const BACKLOG: usize = 64;
/// Reports that are read at once: each may be large, and all nodes come when an epoch begins.
const REPORTS: usize = 16;
/// The first version of the protocol in which changes of the trust state come with their hint.
const WITH_CHANGES: u32 = 5;
/// The longest challenge or nonce.
const MAX_NONCE: usize = 64;

/// Opens the stream.
pub(super) async fn open(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    From(peer): From,
    Body(open): Body<OpenControl>,
) -> Result<Response, Failure> {
    let common = PROTOCOLS
        .into_iter()
        .rev()
        .find(|version| open.protocols.contains(version));
    let Some(protocol) = common else {
        return Err(Failure(Error::conflict(
            "protocol-version",
            format!(
                "this control plane speaks the versions {PROTOCOLS:?} of the node protocol, and the node {:?}; update the older of the two",
                open.protocols
            ),
        )));
    };
    check_nonce(&open.challenge).map_err(Failure)?;
    check_nonce(&open.boot_nonce).map_err(Failure)?;
    let report_known = state.app.meet(node, open.trust.as_ref()).await?;
    let Some(place) = state.connections.stream(node) else {
        return Err(Failure(too_many("control streams")));
    };
    let heard = {
        let address = peer.address.ip();
        state
            .presence
            .open(node, &open.boot_nonce, address, state.app.clock().boot())
    };
    alone(&state, node, heard).await.map_err(Failure)?;
    let now = state.app.clock().boot();
    state.connections.set_challenge(node, open.challenge, now);
    let (lines, stream) = mpsc::channel(BACKLOG);
    let (cut, boot_nonce) = (peer.cut.clone(), open.boot_nonce);
    tokio::spawn(async move {
        let presence = state.presence.clone();
        speak(state, node, (protocol, report_known), cut, lines).await;
        presence.close(node, &boot_nonce);
        drop(place);
    });
    let body = AxumBody::from_stream(ReceiverStream::new(stream).map(Ok::<_, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], body).into_response())
}

/// Refuses an agent while another one speaks for its node, and raises the alarm when both are there.
pub(super) async fn alone(state: &BackEnd, node: NodeId, heard: Heard) -> Result<(), Error> {
    match heard {
        Heard::Alone => Ok(()),
        Heard::Contested(address) => {
            // The first agent is in the right, whatever becomes of the alarm.
            if let Err(error) = state.app.duplicate_node(node, address).await {
                tracing::error!(node.id = %node, error = %error, "an alarm could not be recorded");
            }
            Ok(())
        }
        Heard::Elsewhere => Err(Error::conflict(
            "node-elsewhere",
            "another agent with the identity of this node is connected; if this machine is a copy of another one, run muster-node leave on it and let it join as a node of its own",
        )),
    }
}

/// Tells the node what it should know until one of both is gone.
async fn speak(
    state: BackEnd,
    node: NodeId,
    welcome: (u32, bool),
    cut: CancellationToken,
    lines: mpsc::Sender<Bytes>,
) {
    state.metrics.nodes_connected.inc();
    tracing::info!(node.id = %node, "node connected");
    let ended = tokio::select! {
        ended = conversation(&state, node, welcome, &lines) => ended,
        () = cut.cancelled() => Ok(()),
        () = lines.closed() => Ok(()),
    };
    // A stream that the node itself closed is no reason to cut the requests beside it.
    if let Err(error) = ended
        && !lines.is_closed()
    {
        tracing::warn!(node.id = %node, error = %error, "control connection given up");
        cut.cancel();
    }
    state.metrics.nodes_connected.dec();
    tracing::info!(node.id = %node, "node disconnected");
}

async fn conversation(
    state: &BackEnd,
    node: NodeId,
    (protocol, report_known): (u32, bool),
    lines: &mpsc::Sender<Bytes>,
) -> Result<(), Error> {
    let mut wake = state.app.store().wake_listener();
    let heard = state.connections.heard(node);
    let mut told = Told {
        protocol,
        trust: None,
        place: None,
    };
    send(
        lines,
        &ControlMessage::Welcome {
            protocol,
            heartbeat_seconds: HEARTBEAT_SECONDS,
            report_known,
        },
    )
    .await?;
    // Boxed: it is large and short, and thousands of these tasks only wait.
    Box::pin(told.placement(state, node, lines)).await?;
    let mut topics = BTreeSet::new();
    let mut last = None::<Instant>;
    loop {
        if last.is_none_or(|last| last.elapsed() + SLACK >= BEACON) {
            last = Some(Instant::now());
            let due = state.app.clock().boot() + BEACON.saturating_sub(SLACK);
            state.connections.wake_from(node, due);
            Box::pin(beacon(state, node, lines)).await?;
            topics = BTreeSet::from(EVERYTHING);
        }
        if !topics.is_empty() {
            Box::pin(told.news(state, node, lines, &topics)).await?;
        }
        let since = last.map(|last| last.elapsed()).unwrap_or_default();
        topics = tokio::select! {
            () = heard.notified() => BTreeSet::new(),
            () = tokio::time::sleep((BEACON + SLACK).saturating_sub(since)) => BTreeSet::new(),
            topics = wake.next() => match topics {
                Some(topics) => topics,
                None => return Ok(()),
            },
        };
    }
}

/// What a node hears of with every beacon, although nothing hinted at it: hints can be lost.
const EVERYTHING: [Topic; 3] = [Topic::Trust, Topic::Nodes, Topic::Work];

/// What a node was told last.
struct Told {
    protocol: u32,
    trust: Option<u64>,
    place: Option<(PoolId, SiteId)>,
}

impl Told {
    /// Tells what is new in `topics`.
    async fn news(
        &mut self,
        state: &BackEnd,
        node: NodeId,
        lines: &mpsc::Sender<Bytes>,
        topics: &BTreeSet<Topic>,
    ) -> Result<(), Error> {
        if topics.contains(&Topic::Nodes) {
            self.placement(state, node, lines).await?;
        }
        if topics.contains(&Topic::Trust) {
            let with_changes = self.protocol >= WITH_CHANGES;
            if let Some(hint) = state.app.trust_hint(node, self.trust, with_changes).await? {
                self.trust = Some(hint.number);
                send_line(lines, hint.line).await?;
            }
        }
        if topics.contains(&Topic::Work) {
            for (run, fence) in state.app.cancelled_claims(node).await? {
                send(lines, &ControlMessage::Cancel { run, fence }).await?;
            }
            if let Some(place) = self.place
                && state.app.work_waits(place).await?
            {
                send(lines, &ControlMessage::RunAvailable).await?;
            }
        }
        Ok(())
    }

    /// Tells the node where it is, unless it knows.
    async fn placement(
        &mut self,
        state: &BackEnd,
        node: NodeId,
        lines: &mpsc::Sender<Bytes>,
    ) -> Result<(), Error> {
        let (pool, site) = state.app.placement(node).await?;
        if self.place.replace((pool, site)) == Some((pool, site)) {
            return Ok(());
        }
        let (pool, site) = (pool.to_string(), site.to_string());
        send(lines, &ControlMessage::Placement { pool, site }).await
    }
}

async fn beacon(state: &BackEnd, node: NodeId, lines: &mpsc::Sender<Bytes>) -> Result<(), Error> {
    let Some(challenge) = state.connections.challenge(node) else {
        return Ok(());
    };
    let envelope = state.app.beacon(node, &challenge).await?;
    send(lines, &ControlMessage::Beacon { envelope }).await
}

async fn send(lines: &mpsc::Sender<Bytes>, message: &ControlMessage) -> Result<(), Error> {
    let mut line = serde_json::to_vec(message).map_err(Error::bug)?;
    line.push(b'\n');
    send_line(lines, line.into()).await
}

async fn send_line(lines: &mpsc::Sender<Bytes>, line: Bytes) -> Result<(), Error> {
    // A node that does not read for this long is not there.
    match lines.send_timeout(line, Duration::from_secs(30)).await {
        Ok(()) => Ok(()),
        Err(_) => Err(Error::Unavailable {
            detail: "the node does not read its control connection".to_owned(),
            source: None,
        }),
    }
}

/// The next certificate of the node.
pub(super) async fn renew(
    State(state): State<BackEnd>,
    FromCertificate(shown): FromCertificate,
    Body(request): Body<Renew>,
) -> Result<Json<Renewed>, Failure> {
    Ok(Json(state.app.renew(&shown, &request).await?))
}

/// What the node knows of earlier epochs.
pub(super) async fn known(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    request: Request,
) -> Result<StatusCode, Response> {
    static TURNS: Semaphore = Semaphore::const_new(REPORTS);
    let _turn = TURNS.acquire().await;
    let Body(known) = Body::<Known>::from_request(request, &state).await?;
    let united = state.app.unite(node, known).await;
    united.map_err(|error| Failure(error).into_response())?;
    Ok(StatusCode::NO_CONTENT)
}

/// A certificate for the key that signs receipts.
pub(super) async fn receipt_key(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Body(request): Body<ReceiptKey>,
) -> Result<Json<ReceiptCertificate>, Failure> {
    Ok(Json(state.app.certify_receipt_key(node, &request).await?))
}

/// The node leaves. It hears that it has left; its other connections are cut by the change itself.
pub(super) async fn leave(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    From(peer): From,
) -> Result<StatusCode, Failure> {
    state.connections.forget(node, peer.number);
    state.app.leave(node).await?;
    cut_soon(&peer);
    Ok(StatusCode::NO_CONTENT)
}

/// Which part of the trust state.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Since {
    since: Option<u64>,
    incarnation: Option<String>,
}

/// The trust state, or what changed in it.
pub(super) async fn trust_state(
    State(state): State<BackEnd>,
    FromNode(node): FromNode,
    Params(query): Params<Since>,
) -> Result<Response, Failure> {
    let ours = state.app.incarnation().to_string();
    let since = query
        .since
        .filter(|_| query.incarnation.is_none_or(|theirs| theirs == ours));
    let reply = state.app.trust_state_for_node(node, since).await?;
    Ok(Json(&*reply).into_response())
}

pub(super) fn check_nonce(text: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > MAX_NONCE {
        return Err(Error::invalid("the field challenge must hold 32 bytes in base64"));
    }
    Ok(())
}
