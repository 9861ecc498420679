//! A node that belongs to the collective and speaks its protocol by hand.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{Answer, ClientError, Connection, Endpoint, Limits, Lines, Request, Transport};
use muster_daemon::{Clock, Random};
use muster_ids::{Digest, NodeId, RunId};
use muster_pki::{
    CertificateDer, Envelope, KeyUse, PayloadType, Roots, SoftwareSigner, csr,
    tls::{ControlPlanes, Credential, Now, node_client},
};
use muster_wire::{
    function::FunctionDefinition,
    node::v1::{
        PROTOCOLS,
        beacon::Beacon,
        control::{
            CONTROL_PATH, Claimed as Held, ControlMessage, HEARTBEAT_PATH, Heartbeat, HeartbeatReply,
            Inventory, LEAVE_PATH, OpenControl, RECEIPT_KEY_PATH, ReceiptCertificate, ReceiptKey,
        },
        epoch::{KNOWN_PATH, Known},
        join::Issued,
        outcome::{Contents, Ending, Outcome, PREDICATE_TYPE, Predicate, STATEMENT_TYPE, Statement, Subject},
        output::{OUTPUT_PATH, Output, OutputReply},
        renew::{RENEW_PATH, Renew, Renewed},
        run::{BLOBS_PATH, CLAIM_PATH, Claim, Granted, PutBack, RUNS_PATH, RunGrant},
        trust_state::{TRUST_STATE_PATH, TrustHead, TrustStateReply, TrustVersion},
    },
};
use serde_json::json;

use crate::Server;

/// A member of the collective.
pub struct Member {
    /// What it was given.
    pub issued: Issued,
    /// Drawn at its start.
    pub boot_nonce: String,
    key: SoftwareSigner,
    roots: Arc<Roots>,
    back_end: Endpoint,
}

/// A claimed run with its verified grant.
pub struct Claimed {
    /// What the control plane signed.
    pub grant: RunGrant,
    /// Digest of the signed bytes.
    pub digest: Digest,
    /// The function.
    pub definition: FunctionDefinition,
}

/// The key that signs receipts, with its certificate.
pub struct ReceiptSigner {
    /// The key.
    pub key: SoftwareSigner,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

impl Member {
    pub(crate) fn new(server: &Server, key: SoftwareSigner, issued: Issued) -> Self {
        Self {
            issued,
            boot_nonce: STANDARD.encode(Random::system().bytes::<16>()),
            key,
            roots: Arc::new(server.roots()),
            back_end: format!("https://{}", server.back_end())
                .parse()
                .expect("an endpoint"),
        }
    }

    /// Its identity.
    pub fn id(&self) -> NodeId {
        self.issued.node
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.issued.name.as_str()
    }

    /// Its key.
    pub fn key(&self) -> &SoftwareSigner {
        &self.key
    }

    /// The roots that it believes in.
    pub fn roots(&self) -> &Roots {
        &self.roots
    }

    /// Its certificate with the intermediate.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        self.issued.chain.iter().map(|text| der(text)).collect()
    }

    /// Its TLS configuration, the agent's own.
    pub fn transport(&self) -> Transport {
        let credential = Credential::new(self.chain(), &self.key).expect("certificate and key fit");
        let config = node_client(&credential, self.roots.clone(), ControlPlanes::Any, system_time())
            .expect("a TLS configuration");
        Transport::tls(Arc::new(config), Limits::default())
    }

    /// A new connection to the back end of another control plane.
    pub async fn connect_to(&self, server: &Server) -> Connection {
        let endpoint: Endpoint = format!("https://{}", server.back_end())
            .parse()
            .expect("an endpoint");
        let connected = self.transport().connect(&endpoint).await;
        connected.expect("the back end takes a member")
    }

    /// Opens the control stream as the holder of this trust state; a refusal, or the first line.
    pub async fn control_holding(
        &self,
        connection: &Connection,
        trust: Option<TrustVersion>,
    ) -> Result<ControlMessage, ClientError> {
        let open = OpenControl {
            protocols: PROTOCOLS.to_vec(),
            boot_nonce: self.boot_nonce.clone(),
            agent_version: "0.1.0".to_owned(),
            trust,
            challenge: challenge(),
        };
        let mut lines = connection.lines(Request::post(CONTROL_PATH).json(&open)).await?;
        Ok(next(&mut lines).await)
    }

    /// Hands in what it knows of earlier epochs.
    pub async fn hand_in(&self, connection: &Connection, known: &Known) -> Result<Answer, ClientError> {
        connection.send(Request::post(KNOWN_PATH).json(known)).await
    }

    /// A new connection to the back end.
    pub async fn connect(&self) -> Connection {
        self.try_connect().await.expect("the back end takes a member")
    }

    /// A new connection to the back end.
    pub async fn try_connect(&self) -> Result<Connection, ClientError> {
        self.transport().connect(&self.back_end).await
    }

    /// Opens the control stream.
    pub async fn control(&self, connection: &Connection, challenge: &str) -> Lines {
        self.try_control(connection, challenge)
            .await
            .expect("a control stream")
    }

    /// Opens the control stream; the control plane may refuse.
    pub async fn try_control(&self, connection: &Connection, challenge: &str) -> Result<Lines, ClientError> {
        let open = OpenControl {
            protocols: PROTOCOLS.to_vec(),
            boot_nonce: self.boot_nonce.clone(),
            agent_version: "0.1.0".to_owned(),
            trust: None,
            challenge: challenge.to_owned(),
        };
        connection.lines(Request::post(CONTROL_PATH).json(&open)).await
    }

    /// A sign of life that names the claims that it works on.
    pub async fn heartbeat(
        &self,
        connection: &Connection,
        running: &[(RunId, i64)],
    ) -> Result<HeartbeatReply, ClientError> {
        let beat = Heartbeat {
            boot_nonce: self.boot_nonce.clone(),
            challenge: challenge(),
            inventory: Some(inventory()),
            running: running
                .iter()
                .map(|(run, fence)| Held {
                    run: *run,
                    fence: *fence,
                })
                .collect(),
        };
        let answer = connection.send(Request::post(HEARTBEAT_PATH).json(&beat)).await?;
        answer.json()
    }

    /// Asks for the next certificate under `key`, as the holder of the present one.
    pub async fn renew(&self, connection: &Connection, key: &SoftwareSigner) -> Result<Renewed, ClientError> {
        let csr = csr::request(key).await.expect("a certificate request");
        let request = Renew {
            csr: STANDARD.encode(csr),
            generation: self.issued.generation,
        };
        let answer = connection.send(Request::post(RENEW_PATH).json(&request)).await?;
        answer.json()
    }

    /// The same node under its next certificate; its agent goes on.
    pub fn renewed(&self, key: SoftwareSigner, renewed: Renewed) -> Self {
        Self {
            issued: Issued {
                chain: renewed.chain,
                generation: renewed.generation,
                ..self.issued.clone()
            },
            boot_nonce: self.boot_nonce.clone(),
            key,
            roots: Arc::clone(&self.roots),
            back_end: self.back_end.clone(),
        }
    }

    /// The same node with what it was issued when it came back.
    pub fn with_issued(&self, issued: Issued) -> Self {
        Self {
            issued,
            ..self.copied()
        }
    }

    /// Its key, for another join.
    pub fn into_key(self) -> SoftwareSigner {
        self.key
    }

    /// A copy of its machine: the same identity, and another agent.
    pub fn copied(&self) -> Self {
        let key = SoftwareSigner::from_pkcs8(&self.key.to_pkcs8().expect("a key"), KeyUse::Tls);
        Self {
            issued: self.issued.clone(),
            boot_nonce: STANDARD.encode(Random::system().bytes::<16>()),
            key: key.expect("the same key"),
            roots: Arc::clone(&self.roots),
            back_end: self.back_end.clone(),
        }
    }

    /// Leaves the collective.
    pub async fn leave(&self, connection: &Connection) -> Result<Answer, ClientError> {
        connection.send(Request::post(LEAVE_PATH).json(&json!({}))).await
    }

    /// The trust state since a number, or all of it; the head is verified.
    pub async fn trust_state(
        &self,
        connection: &Connection,
        since: Option<u64>,
    ) -> (TrustHead, TrustStateReply) {
        let mut request = Request::get(TRUST_STATE_PATH);
        if let Some(since) = since {
            request = request.query("since", &since.to_string());
        }
        let reply: TrustStateReply = connection
            .send(request)
            .await
            .and_then(|answer| answer.json())
            .expect("a trust state");
        let head = self
            .verified(&reply.head, PayloadType::TrustState)
            .expect("a signed head");
        (serde_json::from_slice(&head).expect("a head"), reply)
    }

    /// The next beacon of a control stream; it is verified.
    pub async fn next_beacon(&self, lines: &mut Lines) -> Beacon {
        loop {
            if let ControlMessage::Beacon { envelope } = next(lines).await {
                let payload = self
                    .verified(&envelope, PayloadType::Beacon)
                    .expect("a signed beacon");
                return serde_json::from_slice(&payload).expect("a beacon");
            }
        }
    }

    /// The number of the next trust state that a control stream names.
    pub async fn next_trust_number(&self, lines: &mut Lines) -> u64 {
        loop {
            if let ControlMessage::Trust { number, .. } = next(lines).await {
                return number;
            }
        }
    }

    /// The payload of an envelope that a control plane signed.
    pub fn verified(&self, envelope: &serde_json::Value, kind: PayloadType) -> Result<Vec<u8>, String> {
        let json = serde_json::to_vec(envelope).expect("an envelope is JSON");
        let envelope = Envelope::from_json(&json, kind).map_err(|error| error.to_string())?;
        let verified = envelope.verify(kind, &self.roots, crate::now());
        Ok(verified.map_err(|error| error.to_string())?.payload)
    }

    /// Asks for a run of any engine.
    pub async fn claim(&self, connection: &Connection) -> Option<Claimed> {
        self.try_claim(connection)
            .await
            .expect("a member may ask for work")
    }

    /// Asks for a run of any engine.
    pub async fn try_claim(&self, connection: &Connection) -> Result<Option<Claimed>, ClientError> {
        self.claim_as(connection, true).await
    }

    /// Asks for a run of any engine; `sessions` as a node does that keeps engine sessions, or one that knows none.
    pub async fn claim_as(
        &self,
        connection: &Connection,
        sessions: bool,
    ) -> Result<Option<Claimed>, ClientError> {
        let claim = Claim {
            boot_nonce: self.boot_nonce.clone(),
            engines: ["terr", "r", "python"].map(str::to_owned).to_vec(),
            sessions,
        };
        let granted: Option<Granted> = connection
            .send(Request::post(CLAIM_PATH).json(&claim))
            .await?
            .json()?;
        Ok(granted.map(|granted| {
            let payload = self
                .verified(&granted.grant, PayloadType::RunGrant)
                .expect("a signed grant");
            Claimed {
                grant: serde_json::from_slice(&payload).expect("a grant"),
                digest: Digest::of(&payload),
                definition: granted.definition,
            }
        }))
    }

    /// Hands a run back.
    pub async fn put_back(
        &self,
        connection: &Connection,
        run: RunId,
        fence: i64,
    ) -> Result<Answer, ClientError> {
        let back = PutBack {
            fence,
            why: "the trust state is stale".to_owned(),
        };
        let path = format!("{RUNS_PATH}/{run}/put-back");
        connection.send(Request::post(path).json(&back)).await
    }

    /// Tells what a run prints while it goes on.
    pub async fn print(&self, connection: &Connection, output: &Output) -> Result<OutputReply, ClientError> {
        let answer = connection.send(Request::post(OUTPUT_PATH).json(output)).await?;
        answer.json()
    }

    /// Reads an input of a run.
    pub async fn input(
        &self,
        connection: &Connection,
        run: RunId,
        digest: &Digest,
    ) -> Result<Vec<u8>, ClientError> {
        let request = Request::get(format!("{BLOBS_PATH}/{digest}")).query("run", &run.to_string());
        connection.send(request).await.map(|answer| answer.body.to_vec())
    }

    /// Stores an output of a run.
    pub async fn upload(
        &self,
        connection: &Connection,
        run: RunId,
        fence: i64,
        digest: &Digest,
        bytes: &[u8],
    ) -> Result<Answer, ClientError> {
        let request = Request::put(format!("{BLOBS_PATH}/{digest}"))
            .query("run", &run.to_string())
            .query("fence", &fence.to_string())
            .bytes("application/octet-stream", bytes.to_vec());
        connection.send(request).await
    }

    /// A certified key for receipts.
    pub async fn receipt_signer(&self, connection: &Connection) -> ReceiptSigner {
        self.try_receipt_signer(connection)
            .await
            .expect("a certificate for receipts")
    }

    /// A certified key for receipts.
    pub async fn try_receipt_signer(&self, connection: &Connection) -> Result<ReceiptSigner, ClientError> {
        let key = SoftwareSigner::generate(KeyUse::Receipt).expect("a key");
        let request = ReceiptKey {
            csr: STANDARD.encode(csr::request(&key).await.expect("a certificate request")),
        };
        let certificate: ReceiptCertificate = connection
            .send(Request::post(RECEIPT_KEY_PATH).json(&request))
            .await?
            .json()?;
        let chain = certificate.chain.iter().map(|text| der(text)).collect();
        Ok(ReceiptSigner { key, chain })
    }

    /// The outcome of a claim that ended in `state` in the granted mode.
    pub async fn outcome(&self, claimed: &Claimed, signer: &ReceiptSigner, state: &str) -> Outcome {
        self.outcome_as(claimed, signer, state, Some(&claimed.grant.mode))
            .await
    }

    /// The outcome of a claim that ended in `state` and ran in `mode`.
    pub async fn outcome_as(
        &self,
        claimed: &Claimed,
        signer: &ReceiptSigner,
        state: &str,
        mode: Option<&str>,
    ) -> Outcome {
        let (statement, ending) = self.statement(claimed, state, mode);
        let receipt = sign(signer, &statement).await;
        Outcome {
            fence: claimed.grant.fence,
            state: state.to_owned(),
            ending,
            outputs: BTreeMap::new(),
            contents: Contents::new(),
            receipt,
        }
    }

    /// What a receipt says, and what people see.
    pub fn statement(&self, claimed: &Claimed, state: &str, mode: Option<&str>) -> (Statement, Ending) {
        let grant = &claimed.grant;
        let mode = mode.map(str::to_owned);
        let predicate = Predicate {
            grant: claimed.digest,
            run: grant.run,
            fence: grant.fence,
            user: grant.user.clone(),
            item: grant.item,
            mode: mode.clone(),
            rule: grant.rule.clone(),
            entry: None,
            policy: None,
            packages: None,
            node: self.id(),
            trust_number: grant.trust.number,
            trust: Some(grant.trust.clone()),
            inputs: grant
                .inputs
                .iter()
                .map(|(name, blob)| (name.clone(), blob.digest))
                .collect(),
            state: state.to_owned(),
            started: grant.issued,
            finished: grant.issued + 1,
            limits: Vec::new(),
        };
        let ending = Ending {
            problem: (state != "succeeded").then(|| "script-failed".to_owned()),
            message: format!("the run {state}"),
            mode,
            rule: grant.rule.clone(),
            entry: None,
            engine: "an engine of the tests".to_owned(),
            stdout: None,
            stderr: None,
            timings: BTreeMap::new(),
            peak_bytes: 0,
            limits_degraded: Vec::new(),
            oversteps: Vec::new(),
            packages: None,
        };
        let statement = Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject: Vec::<Subject>::new(),
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate,
        };
        (statement, ending)
    }

    /// Reports an outcome.
    pub async fn report(
        &self,
        connection: &Connection,
        run: RunId,
        outcome: &Outcome,
    ) -> Result<Answer, ClientError> {
        let path = format!("{RUNS_PATH}/{run}/outcome");
        connection.send(Request::post(path).json(outcome)).await
    }
}

/// A receipt for `statement`.
pub async fn sign(signer: &ReceiptSigner, statement: &Statement) -> serde_json::Value {
    let payload = serde_json::to_vec(statement).expect("a statement is JSON");
    let envelope = Envelope::sign(PayloadType::Receipt, payload, &signer.key, &signer.chain)
        .await
        .expect("signed");
    serde_json::to_value(envelope).expect("an envelope is JSON")
}

/// The next message of a control stream that is open.
pub async fn next(lines: &mut Lines) -> ControlMessage {
    lines
        .next_json()
        .await
        .expect("a message")
        .expect("the stream goes on")
}

/// 32 random bytes.
pub fn challenge() -> String {
    STANDARD.encode(Random::system().bytes::<32>())
}

/// What the node says of itself.
pub fn inventory() -> Inventory {
    Inventory {
        agent_version: "0.1.0".to_owned(),
        os: "Linux".to_owned(),
        cpus: 2,
        load: 0.5,
        memory_total: 8 << 30,
        memory_available: 4 << 30,
        disk_total: 100 << 30,
        disk_available: 50 << 30,
        engines: Vec::new(),
        conditions: Vec::new(),
        trust_number: None,
        roots: Vec::new(),
    }
}

fn der(text: &str) -> CertificateDer<'static> {
    CertificateDer::from(STANDARD.decode(text).expect("base64"))
}

fn system_time() -> Now {
    let clock = Clock::system();
    Arc::new(move || clock.unix_ms())
}
