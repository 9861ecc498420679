//! The back end of a control plane: mutual TLS, the control stream, runs and blobs, with what it saw.

use std::{
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::stream;
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    server::conn::http2,
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use muster_code_trust::{Entry, StateVersion, TrustState};
use muster_ids::{Digest, Incarnation, RunId};
use muster_pki::{
    Envelope, KeyUse, PayloadType, Role, SoftwareSigner, Subject,
    tls::{Credential, back_end_server},
};
use muster_wire::{
    function::FunctionDefinition,
    node::v1::{
        beacon::Beacon,
        control::{
            CONTROL_PATH, ControlMessage, HEARTBEAT_PATH, Heartbeat, HeartbeatReply, LEAVE_PATH, OpenControl,
            RECEIPT_KEY_PATH, ReceiptCertificate, ReceiptKey,
        },
        outcome::{Outcome, Statement},
        renew::{RENEW_PATH, Renew, Renewed},
        run::{Arguments, BLOBS_PATH, CLAIM_PATH, Claim, Granted, PutBack, RUNS_PATH, RunGrant},
        trust_state::{TRUST_STATE_PATH, TrustChange, TrustHead, TrustStateReply, TrustVersion},
    },
};
use tokio::{net::TcpListener, sync::mpsc};

use crate::fixture::Collective;

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// What was seen, and what waits.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) heartbeats: Vec<Heartbeat>,
    /// Grants to give out, without the parts that only a claim can tell.
    queue: VecDeque<(RunGrant, FunctionDefinition)>,
    pub(crate) blobs: BTreeMap<Digest, Vec<u8>>,
    /// Every outcome that was sent, also repeated ones.
    pub(crate) outcomes: Vec<(RunId, Outcome)>,
    pub(crate) put_back: Vec<(RunId, PutBack)>,
    pub(crate) statements: Vec<Statement>,
    pub(crate) left: bool,
    /// How often the trust state was asked for.
    pub(crate) fetched: usize,
    pub(crate) last_grant: Option<serde_json::Value>,
    streams: Vec<mpsc::UnboundedSender<ControlMessage>>,
    stop: Vec<RunId>,
    /// What the answers to heartbeats say of the certificate.
    pub(crate) renew_within: Option<u64>,
    /// The key that was certified for each generation of the node, and the answer.
    pub(crate) renewed: BTreeMap<u64, (Digest, Renewed)>,
    /// How often a generation was asked for with a second key.
    pub(crate) other_keys: usize,
    /// Control streams that were opened, and how many of them while another was open.
    pub(crate) opened: usize,
    pub(crate) overlapped: usize,
    /// Whether the next renewals stay without an answer.
    pub(crate) renews_not: bool,
}

impl Log {
    /// How many control streams are open.
    pub(crate) fn open(&self) -> usize {
        self.streams.iter().filter(|stream| !stream.is_closed()).count()
    }
}

/// The back end of one control plane.
pub(crate) struct BackEnd {
    pub(crate) collective: Arc<Collective>,
    pub(crate) address: SocketAddr,
    state: Mutex<TrustState>,
    number: AtomicU64,
    /// Whether beacons are sent.
    pub(crate) beacons: AtomicBool,
    pub(crate) revoked: AtomicBool,
    log: Mutex<Log>,
}

impl BackEnd {
    pub(crate) async fn start(collective: Arc<Collective>, entries: Vec<Entry>) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let this = Arc::new(Self {
            address: listener.local_addr().expect("bound"),
            state: Mutex::new(TrustState::from_entries(entries)),
            number: 7.into(),
            beacons: true.into(),
            revoked: false.into(),
            log: Mutex::default(),
            collective,
        });
        let key = SoftwareSigner::generate(KeyUse::Tls).expect("key");
        let subject = Subject::ControlPlane(this.collective.control_plane);
        let chain = this
            .collective
            .certify(subject, muster_pki::Signer::public_key(&key));
        let credential = Credential::new(chain, &key).expect("a pair");
        let server = Arc::clone(&this);
        let is_revoked = Arc::new(move |_: &_, _: &_| server.revoked.load(Ordering::SeqCst));
        let now = Arc::new(|| muster_daemon::Clock::system().unix_ms());
        let tls =
            back_end_server(&credential, Arc::new(this.collective.roots()), is_revoked, now).expect("TLS");
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(tls));
        let server = Arc::clone(&this);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (server, acceptor) = (Arc::clone(&server), acceptor.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else {
                        return;
                    };
                    let service = service_fn(move |request| {
                        let server = Arc::clone(&server);
                        async move { Ok::<_, Infallible>(server.answer(request).await) }
                    });
                    let _ = http2::Builder::new(TokioExecutor::new())
                        .timer(TokioTimer::new())
                        .serve_connection(TokioIo::new(stream), service)
                        .await;
                });
            }
        });
        this
    }

    pub(crate) fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().expect("no panic")
    }

    /// Queues a run; node, nonce, trust state and times are filled in when it is claimed.
    pub(crate) fn offer(&self, grant: RunGrant, definition: FunctionDefinition) {
        self.log().queue.push_back((grant, definition));
        self.say(&ControlMessage::RunAvailable);
    }

    pub(crate) fn say(&self, message: &ControlMessage) {
        self.log()
            .streams
            .retain(|stream| stream.send(message.clone()).is_ok());
    }

    /// Adds an entry; the number of the state that comes of it.
    fn change(&self, entry: &Entry) -> u64 {
        let mut state = self.state.lock().expect("no panic");
        let mut pairs: BTreeMap<String, String> = state
            .pairs()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        pairs.insert(entry.key(), entry.value());
        *state = TrustState::from_pairs(pairs).expect("entries");
        // Two, so that the digest of the state before does not matter.
        self.number.fetch_add(2, Ordering::SeqCst) + 2
    }

    /// Adds an entry and announces it.
    pub(crate) fn trust(&self, entry: &Entry) {
        let number = self.change(entry);
        self.say(&ControlMessage::Trust { number, reply: None });
    }

    /// Adds an entry and tells it with its hint; what it tells is not what it has signed unless it `fits`.
    pub(crate) fn trust_at_once(&self, entry: &Entry, fits: bool) {
        let number = self.change(entry);
        let head = TrustHead {
            version: self.version(),
            requires: Vec::new(),
        };
        let changes = vec![TrustChange {
            number,
            key: entry.key(),
            value: fits.then(|| entry.value()),
        }];
        let reply = TrustStateReply {
            bump: None,
            head: self.collective.signed(PayloadType::TrustState, &head),
            entries: None,
            changes: Some(changes),
        };
        let reply = Some(Box::new(reply));
        self.say(&ControlMessage::Trust { number, reply });
    }

    /// Waits until `look` finds something in what was seen.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl FnMut(&Log) -> Option<T>) -> T {
        tokio::time::timeout(crate::node::GENEROUS, async {
            loop {
                if let Some(found) = look(&self.log()) {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("never seen: {what}"))
    }

    pub(crate) fn version(&self) -> TrustVersion {
        let number = self.number.load(Ordering::SeqCst);
        let version = StateVersion {
            incarnation: Incarnation::new(1, [1; 10]),
            epoch: 1,
            number,
            digest: self.state.lock().expect("no panic").digest(),
            previous: Digest::of(b"the state before"),
        };
        muster_agent::trust::wire_version(&version)
    }

    fn beacon(&self, challenge: String) -> ControlMessage {
        let beacon = Beacon {
            version: self.version(),
            issued: muster_daemon::Clock::system().unix_ms(),
            time_to_live: 90,
            challenge,
        };
        ControlMessage::Beacon {
            envelope: self.collective.signed(PayloadType::Beacon, &beacon),
        }
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return problem(400, "no-body");
        };
        if self.revoked.load(Ordering::SeqCst) {
            return problem(403, "denied");
        }
        let path = parts.uri.path();
        self.route(&parts.method, path, &body.to_bytes())
            .unwrap_or_else(|why| panic!("{} {path} is not as the protocol says: {why}", parts.method))
    }

    fn route(&self, method: &Method, path: &str, body: &[u8]) -> serde_json::Result<Response<Body>> {
        let parts: Vec<&str> = path.split('/').collect();
        Ok(match (method, path) {
            (&Method::POST, CONTROL_PATH) => self.control(serde_json::from_slice(body)?),
            (&Method::POST, HEARTBEAT_PATH) => self.heartbeat(serde_json::from_slice(body)?),
            (&Method::POST, RECEIPT_KEY_PATH) => self.receipt_key(&serde_json::from_slice(body)?),
            (&Method::POST, LEAVE_PATH) => {
                self.log().left = true;
                json(&serde_json::json!({}))
            }
            (&Method::POST, RENEW_PATH) => self.renew(&serde_json::from_slice(body)?),
            (&Method::GET, TRUST_STATE_PATH) => {
                self.log().fetched += 1;
                json(&self.trust_state())
            }
            (&Method::POST, CLAIM_PATH) => self.claim(&serde_json::from_slice(body)?),
            (&Method::POST, _) if path.starts_with(RUNS_PATH) => {
                let run: RunId = parts[4].parse().expect("a run");
                if parts[5] == "put-back" {
                    self.log().put_back.push((run, serde_json::from_slice(body)?));
                } else {
                    self.outcome(run, serde_json::from_slice(body)?);
                }
                json(&serde_json::json!({}))
            }
            (&Method::GET, _) if path.starts_with(BLOBS_PATH) => {
                let digest = parts[4].parse().expect("a digest");
                let blob = self.log().blobs.get(&digest).cloned();
                blob.map_or_else(|| problem(404, "no-blob"), |blob| Response::new(whole(blob)))
            }
            (&Method::PUT, _) if path.starts_with(BLOBS_PATH) => {
                let digest = parts[4].parse().expect("a digest");
                assert_eq!(Digest::of(body), digest, "a blob is what its name says");
                self.log().blobs.insert(digest, body.to_vec());
                json(&serde_json::json!({}))
            }
            _ => problem(404, "no-path"),
        })
    }

    fn control(&self, open: OpenControl) -> Response<Body> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let welcome = ControlMessage::Welcome {
            protocol: 1,
            heartbeat_seconds: 1,
            report_known: false,
        };
        sender.send(welcome).expect("open");
        if self.beacons.load(Ordering::SeqCst) {
            sender.send(self.beacon(open.challenge)).expect("open");
        }
        let mut log = self.log();
        log.opened += 1;
        log.overlapped += usize::from(log.open() > 0);
        log.streams.push(sender);
        drop(log);
        let lines = stream::unfold(receiver, |mut receiver| async {
            let message = receiver.recv().await?;
            let line = format!("{}\n", serde_json::to_string(&message).expect("JSON"));
            Some((Ok(Frame::data(Bytes::from(line))), receiver))
        });
        Response::new(StreamBody::new(lines).boxed_unsync())
    }

    fn heartbeat(&self, heartbeat: Heartbeat) -> Response<Body> {
        if self.beacons.load(Ordering::SeqCst) {
            self.say(&self.beacon(heartbeat.challenge.clone()));
        }
        let mut log = self.log();
        log.heartbeats.push(heartbeat);
        json(&HeartbeatReply {
            stop: log.stop.clone(),
            renew_within: log.renew_within,
        })
    }

    /// Names a run in the answers to heartbeats.
    pub(crate) fn stop(&self, run: RunId) {
        self.log().stop.push(run);
    }

    /// The same key gets the same certificate; a node that asks with another one is two nodes.
    fn renew(&self, ask: &Renew) -> Response<Body> {
        let csr = STANDARD.decode(&ask.csr).expect("base64");
        let key = muster_pki::csr::public_key(&csr).expect("a request");
        let generation = ask.generation + 1;
        let mut log = self.log();
        if log.renews_not {
            return problem(503, "unavailable");
        }
        let (known, renewed) = log.renewed.entry(generation).or_insert_with(|| {
            let chain = self.collective.certify(Subject::Node(self.collective.node), &key);
            let chain = chain.iter().map(|der| STANDARD.encode(der)).collect();
            (key.fingerprint(), Renewed { chain, generation })
        });
        let (same, reply) = (*known == key.fingerprint(), json(renewed));
        log.other_keys += usize::from(!same);
        reply
    }

    fn receipt_key(&self, ask: &ReceiptKey) -> Response<Body> {
        let csr = STANDARD.decode(&ask.csr).expect("base64");
        let key = muster_pki::csr::public_key(&csr).expect("a request");
        let chain = self
            .collective
            .certify(Subject::Receipt(self.collective.node), &key);
        json(&ReceiptCertificate {
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        })
    }

    fn trust_state(&self) -> TrustStateReply {
        let state = self.state.lock().expect("no panic").clone();
        let head = TrustHead {
            version: self.version(),
            requires: state.requires().into_iter().map(str::to_owned).collect(),
        };
        TrustStateReply {
            bump: None,
            head: self.collective.signed(PayloadType::TrustState, &head),
            entries: Some(
                state
                    .pairs()
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .collect(),
            ),
            changes: None,
        }
    }

    fn claim(&self, claim: &Claim) -> Response<Body> {
        let version = self.version();
        let mut log = self.log();
        let mut queue = log.queue.iter();
        let fits = queue.position(|(grant, _)| claim.engines.contains(&grant.engine));
        let Some((grant, definition)) = fits.and_then(|at| log.queue.remove(at)) else {
            let mut nothing = Response::new(whole(Vec::new()));
            *nothing.status_mut() = StatusCode::NO_CONTENT;
            return nothing;
        };
        let now = muster_daemon::Clock::system().unix_ms();
        let grant = RunGrant {
            node: self.collective.node,
            boot_nonce: claim.boot_nonce.clone(),
            trust: version,
            issued: now,
            expires: now + 60_000,
            ..grant
        };
        let granted = Granted {
            grant: self.collective.signed(PayloadType::RunGrant, &grant),
            definition,
            arguments: Arguments::new(),
        };
        log.last_grant = Some(granted.grant.clone());
        json(&granted)
    }

    fn outcome(&self, run: RunId, outcome: Outcome) {
        let receipt = serde_json::to_vec(&outcome.receipt).expect("JSON");
        let receipt = Envelope::from_json(&receipt, PayloadType::Receipt).expect("an envelope");
        let now = muster_daemon::Clock::system().unix_ms();
        let verified = receipt
            .verify(PayloadType::Receipt, &self.collective.roots(), now)
            .expect("signed by the node's receipt key");
        assert_eq!(verified.signer.id.role(), Role::Receipt);
        let statement = serde_json::from_slice(&verified.payload).expect("a statement");
        let mut log = self.log();
        log.statements.push(statement);
        log.outcomes.push((run, outcome));
    }
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    Response::new(whole(serde_json::to_vec(value).expect("JSON")))
}

fn whole(bytes: Vec<u8>) -> Body {
    Full::new(Bytes::from(bytes)).boxed_unsync()
}

fn problem(status: u16, kind: &str) -> Response<Body> {
    let body = serde_json::json!({
        "type": format!("urn:muster:problem:{kind}"), "title": kind, "status": status, "detail": kind,
    });
    let mut response = json(&body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/problem+json"),
    );
    response
}
