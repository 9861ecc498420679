//! The back end: nodes, known by their certificates.
//!
//! Invariant: every request is authorized anew against the node and the certificate as the database has them
//! now; a connection whose node lost its right to speak is cut.

mod blob;
pub mod connections;
mod control;
mod heartbeat;
pub mod presence;
mod run;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use http::{Request, request::Parts};
use muster_app::{App, Error, renewal::Shown};
use muster_ids::NodeId;
use muster_pki::Subject;
use muster_wire::node::v1::{
    control::{CONTROL_PATH, HEARTBEAT_PATH, HEARTBEATS_PATH, LEAVE_PATH, RECEIPT_KEY_PATH},
    epoch::{KNOWN_PATH, MAX_KNOWN},
    output::OUTPUT_PATH,
    renew::RENEW_PATH,
    run::{BLOBS_PATH, CLAIM_PATH, RUNS_PATH},
    trust_state::TRUST_STATE_PATH,
};
use tokio::sync::Semaphore;

use self::{connections::Connections, presence::Presence};
use super::{Failure, extract::From};
use crate::{listen::Peer, metrics::Metrics};

pub(in crate::http) use self::blob::stream;

/// How long the last answer on a connection may take to go out.
const LAST_WORD: Duration = Duration::from_millis(200);
/// When a node with too many connections may try again: lost ones are noticed by then.
const RETRY_SECONDS: u64 = 30;
/// Requests whose right is looked up in the database at the same time. More than that are put off: a database that does
/// not keep up is not helped by a queue, and a node that waits in one does not know it.
pub const LOOKUPS: usize = 512;
/// Seconds after which a node that was put off may come back, at the least.
const PUT_OFF: u64 = 2;
/// The largest JSON body that a node sends; blobs stream past this limit.
const MAX_BODY: usize = 1024 * 1024;

/// What the back end works with.
#[derive(Clone)]
pub struct BackEnd {
    /// The use cases.
    pub app: App,
    /// Live connections of nodes.
    pub connections: Arc<Connections>,
    /// Which agent speaks for each node.
    pub presence: Arc<Presence>,
    pub(crate) metrics: Arc<Metrics>,
    /// See [`LOOKUPS`].
    pub(crate) lookups: Arc<Semaphore>,
}

/// The routes of the back end.
pub fn router(state: BackEnd) -> Router {
    Router::new()
        .route(CONTROL_PATH, post(control::open))
        .route(HEARTBEAT_PATH, post(heartbeat::one))
        .route(HEARTBEATS_PATH, post(heartbeat::lines))
        .route(RECEIPT_KEY_PATH, post(control::receipt_key))
        .route(RENEW_PATH, post(control::renew))
        .route(LEAVE_PATH, post(control::leave))
        .route(TRUST_STATE_PATH, get(control::trust_state))
        .route(CLAIM_PATH, post(run::claim))
        .route(OUTPUT_PATH, post(run::output))
        .route(&format!("{RUNS_PATH}/{{run}}/put-back"), post(run::put_back))
        .route(&format!("{RUNS_PATH}/{{run}}/outcome"), post(run::outcome))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .route(
            KNOWN_PATH,
            post(control::known).layer(DefaultBodyLimit::max(MAX_KNOWN)),
        )
        .route(&format!("{BLOBS_PATH}/{{digest}}"), get(blob::download))
        .route(
            &format!("{BLOBS_PATH}/{{digest}}"),
            put(blob::upload).layer(DefaultBodyLimit::disable()),
        )
        .fallback(|| async {
            Failure(Error::NotFound {
                detail: "there is no such address on the back end".to_owned(),
            })
        })
        .layer(middleware::from_fn_with_state(state.clone(), authorize))
        .with_state(state)
}

/// The certificate behind a request that was authorized.
#[derive(Debug, Clone)]
struct Authenticated(Shown);

/// Admits a request only while the node and its certificate hold.
async fn authorize(
    State(state): State<BackEnd>,
    From(peer): From,
    mut request: Request<axum::body::Body>,
    next: Next,
) -> Response {
    let renews = request.uri().path() == RENEW_PATH;
    match admit(&state, &peer, renews).await {
        Ok(shown) => {
            request.extensions_mut().insert(Authenticated(shown));
            next.run(request).await
        }
        Err(error) => Failure(error).into_response(),
    }
}

/// The certificate behind a connection, while its node may speak with it; `renews` tells whether it asks for the next
/// one. A connection that is denied is cut.
async fn admit(state: &BackEnd, peer: &Peer, renews: bool) -> Result<Shown, Error> {
    let admitted = match peer.certificate.as_ref().map(|facts| {
        (
            facts.id.subject,
            facts.serial.to_string(),
            facts.validity.not_after_ms(),
        )
    }) {
        Some((Subject::Node(node), serial, until)) => {
            if state.connections.register(node, &serial, peer.number, &peer.cut) {
                match state.lookups.try_acquire() {
                    Ok(_lookup) => state.app.admit_node(node, &serial, until, renews).await,
                    Err(_) => Err(Error::TooMany {
                        detail: "too many nodes speak at once; the node tries again by itself".to_owned(),
                        // Not all of them at the same moment.
                        retry_after: PUT_OFF + peer.number % PUT_OFF,
                    }),
                }
            } else {
                cut_soon(peer);
                Err(too_many("connections"))
            }
        }
        _ => Err(Error::denied("the back end is for nodes")),
    };
    match &admitted {
        Ok(shown) => state.app.node_seen(shown.node),
        Err(Error::Denied { .. }) => {
            state.metrics.node_requests_refused.inc();
            cut_soon(peer);
        }
        Err(_) => {}
    }
    admitted
}

/// A node that has more of `what` than any agent needs.
fn too_many(what: &str) -> Error {
    Error::TooMany {
        detail: format!(
            "this node has too many {what} open already; end the other agent with its certificate, or restart it"
        ),
        retry_after: RETRY_SECONDS,
    }
}

/// The answer still goes out over this connection, and nothing else.
fn cut_soon(peer: &Peer) {
    let cut = peer.cut.clone();
    tokio::spawn(async move {
        tokio::time::sleep(LAST_WORD).await;
        cut.cancel();
    });
}

/// The authenticated node, in handlers.
struct FromNode(NodeId);

/// The certificate that it has shown, in handlers.
struct FromCertificate(Shown);

impl FromRequestParts<BackEnd> for FromNode {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &BackEnd) -> Result<Self, Response> {
        let FromCertificate(shown) = FromCertificate::from_request_parts(parts, state).await?;
        Ok(Self(shown.node))
    }
}

impl FromRequestParts<BackEnd> for FromCertificate {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &BackEnd) -> Result<Self, Response> {
        match parts.extensions.get::<Authenticated>() {
            Some(Authenticated(shown)) => Ok(Self(shown.clone())),
            None => {
                Err(Failure(Error::bug("a handler of the back end without authorization")).into_response())
            }
        }
    }
}
