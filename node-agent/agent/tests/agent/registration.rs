//! The registration listener of a control plane: the protocol's server side, with what it saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use muster_ids::{Digest, JoinId};
use muster_pki::{
    PayloadType, PublicKey, Subject, Validity, csr,
    join::{JoinKey, SUITE, Transcript, verify_commit},
};
use muster_wire::node::v1::join::{
    Answer, HELLO_PATH, Hello, HelloReply, Issued, Offer, POLL_PATH, Poll, REVEAL_PATH, Reveal,
};
use tokio::net::TcpListener;

use crate::fixture::Collective;

/// What an administrator, or a forger, does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Will {
    /// The first poll is answered with the certificate.
    Approve,
    /// Nothing happens.
    Wait,
    /// The first poll is answered with a no.
    Reject,
    /// Everybody is approved, but the answers are signed by another collective.
    Forge,
    /// Everybody is approved, for a key that is not theirs.
    OtherKey,
    /// Answers are those of an earlier question.
    Repeat,
    /// The first poll is answered with the news that another key asks in the place of this one.
    Supersede,
    /// Offers have a field that nobody knows yet.
    SpeakLater,
    /// Reveals are answered with a no, polls with "not yet".
    RefuseReveals,
    /// Everybody is approved, with a certificate that is over when this time has passed.
    ApproveFor(Duration),
}

/// What was seen of one transcript.
#[derive(Debug, Clone)]
struct Seen {
    key: PublicKey,
    transcript: Transcript,
    hello: Hello,
    counter: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Log {
    seen: BTreeMap<JoinId, Seen>,
    /// Offers by the nonce that was revealed with them: the protocol allows one.
    pub(crate) offers_of_nonce: BTreeMap<String, BTreeSet<String>>,
    /// Nonces by hello: the protocol allows one.
    pub(crate) nonces_of_hello: BTreeMap<String, BTreeSet<String>>,
    pub(crate) keys: BTreeSet<Digest>,
    pub(crate) replayed_counters: u32,
    pub(crate) refused: Vec<String>,
    pub(crate) polls: u32,
    /// The capabilities of the newest request.
    newest: Vec<String>,
}

/// A control plane's registration listener.
pub(crate) struct Registration {
    pub(crate) collective: Arc<Collective>,
    stranger: Collective,
    pub(crate) address: SocketAddr,
    key: JoinKey,
    will: Mutex<Will>,
    pub(crate) log: Mutex<Log>,
    now_ms: i64,
    back_ends: Mutex<Vec<String>>,
}

impl Registration {
    pub(crate) async fn start(will: Will) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let now_ms = muster_daemon::Clock::system().unix_ms();
        let this = Arc::new(Self {
            collective: Arc::new(Collective::new(1, now_ms)),
            stranger: Collective::new(2, now_ms),
            address: listener.local_addr().expect("bound"),
            key: JoinKey::from_bytes([7; 32]),
            will: Mutex::new(will),
            log: Mutex::default(),
            now_ms,
            back_ends: Mutex::new(vec!["127.0.0.1:1".to_owned()]),
        });
        let server = Arc::clone(&this);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = Arc::clone(&server);
                let service = service_fn(move |request| {
                    let server = Arc::clone(&server);
                    async move { Ok::<_, Infallible>(server.answer(request).await) }
                });
                tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pin(&self) -> String {
        Digest::of(&self.collective.root).to_string()
    }

    pub(crate) fn decide(&self, will: Will) {
        *self.will.lock().expect("no panic") = will;
    }

    pub(crate) fn name_back_ends(&self, addresses: Vec<String>) {
        *self.back_ends.lock().expect("no panic") = addresses;
    }

    /// The codes of the requests that wait, which a real control plane never shows.
    pub(crate) fn codes(&self) -> Vec<String> {
        let log = self.log.lock().expect("no panic");
        log.seen
            .values()
            .map(|seen| seen.transcript.code().to_string())
            .collect()
    }

    /// What the newest request offers.
    pub(crate) fn asked_for(&self) -> Vec<String> {
        let log = self.log.lock().expect("no panic");
        log.newest.clone()
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else {
            return refused(StatusCode::SERVICE_UNAVAILABLE, "no body");
        };
        let body = body.to_bytes();
        let will = *self.will.lock().expect("no panic");
        if will == Will::RefuseReveals && path == REVEAL_PATH {
            return refused(StatusCode::CONFLICT, "not this one");
        }
        let answered = match path.as_str() {
            HELLO_PATH => self.hello(&body),
            REVEAL_PATH => self.reveal(&body),
            POLL_PATH => self.poll(&body),
            _ => Err("no such path".to_owned()),
        };
        match answered {
            Ok(bytes) => Response::new(Full::new(bytes.into())),
            Err(why) => {
                self.log
                    .lock()
                    .expect("no panic")
                    .refused
                    .push(format!("{path}: {why}"));
                refused(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        }
    }

    fn hello(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let _: Hello = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let offer = Offer {
            kind: "offer".to_owned(),
            suite: SUITE.to_owned(),
            hello: Digest::of(body),
            roots: vec![STANDARD.encode(&self.collective.root)],
            r_s: STANDARD.encode(self.key.nonce(body)),
            cross: Vec::new(),
        };
        let mut offer = serde_json::to_value(offer).expect("JSON");
        if *self.will.lock().expect("no panic") == Will::SpeakLater {
            offer["later"] = true.into();
        }
        let offer = serde_json::to_vec(&offer).expect("JSON");
        let reply = HelloReply {
            mac: STANDARD.encode(self.key.offer_mac(&offer)),
            offer: STANDARD.encode(&offer),
            server_time: self.now_ms,
            chain: self
                .collective
                .policy_chain()
                .iter()
                .map(|der| STANDARD.encode(der))
                .collect(),
        };
        Ok(serde_json::to_vec(&reply).expect("JSON"))
    }

    fn reveal(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let reveal: Reveal = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let bytes = |text: &str| STANDARD.decode(text).map_err(|error| error.to_string());
        let (hello, offer) = (bytes(&reveal.hello)?, bytes(&reveal.offer)?);
        let r_n: [u8; 32] = bytes(&reveal.r_n)?.try_into().map_err(|_| "r_n")?;
        self.key
            .verify_offer(&offer, &bytes(&reveal.mac)?)
            .map_err(|error| error.to_string())?;
        let message: Hello = serde_json::from_slice(&hello).map_err(|error| error.to_string())?;
        let key = csr::public_key(&bytes(&message.csr)?).map_err(|error| error.to_string())?;
        verify_commit(&message.commit, &key, &r_n).map_err(|error| error.to_string())?;
        let transcript = Transcript::new(&hello, &offer, &r_n);
        key.verify(&transcript.reveal_input(), &bytes(&reveal.signature)?)
            .map_err(|error| error.to_string())?;
        let mut log = self.log.lock().expect("no panic");
        log.offers_of_nonce
            .entry(reveal.r_n.clone())
            .or_default()
            .insert(reveal.offer);
        log.nonces_of_hello
            .entry(reveal.hello)
            .or_default()
            .insert(reveal.r_n);
        log.keys.insert(key.fingerprint());
        log.newest.clone_from(&message.capabilities);
        let seen = Seen {
            key,
            transcript,
            hello: message,
            counter: 0,
        };
        let known = log.seen.entry(transcript.join_id()).or_insert(seen).clone();
        drop(log);
        Ok(self.word(&known, 0, "pending"))
    }

    fn poll(&self, body: &[u8]) -> Result<Vec<u8>, String> {
        let poll: Poll = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let seen = {
            let mut log = self.log.lock().expect("no panic");
            log.polls += 1;
            let seen = log.seen.get_mut(&poll.id).ok_or("no such join")?;
            if poll.counter <= seen.counter {
                log.replayed_counters += 1;
                return Err("replayed".to_owned());
            }
            seen.counter = poll.counter;
            seen.clone()
        };
        let signature = STANDARD
            .decode(&poll.signature)
            .map_err(|error| error.to_string())?;
        let input = seen.transcript.poll_input(poll.counter);
        seen.key
            .verify(&input, &signature)
            .map_err(|error| error.to_string())?;
        let state = match *self.will.lock().expect("no panic") {
            Will::Approve | Will::ApproveFor(_) | Will::Forge | Will::OtherKey => "issued",
            Will::Wait | Will::Repeat | Will::SpeakLater | Will::RefuseReveals => "pending",
            Will::Reject => "rejected",
            Will::Supersede => "superseded",
        };
        Ok(self.word(&seen, poll.counter, state))
    }

    fn word(&self, seen: &Seen, counter: u64, state: &str) -> Vec<u8> {
        let will = *self.will.lock().expect("no panic");
        let other = muster_pki::SoftwareSigner::generate(muster_pki::KeyUse::Tls).expect("key");
        let key = if will == Will::OtherKey {
            *muster_pki::Signer::public_key(&other)
        } else {
            seen.key
        };
        let node = self.collective.node;
        let list =
            |chain: &[muster_pki::CertificateDer<'_>]| chain.iter().map(|der| STANDARD.encode(der)).collect();
        let subject = Subject::Node(node);
        let chain = if let Will::ApproveFor(lifetime) = will {
            let validity = Validity::starting(muster_daemon::Clock::system().unix_ms(), lifetime);
            self.collective.certify_within(subject, &key, &validity)
        } else {
            self.collective.certify(subject, &key)
        };
        let issued = (state == "issued").then(|| Issued {
            node,
            collective: self.collective.id,
            name: seen.hello.name.clone(),
            role: "node".to_owned(),
            capabilities: seen.hello.capabilities.clone(),
            pool: "default".parse().expect("name"),
            site: "default".parse().expect("name"),
            chain: list(&chain),
            back_ends: self.back_ends.lock().expect("no panic").clone(),
            server_identity: format!("spiffe://{}/control-plane/", self.collective.id),
            anchors: vec![STANDARD.encode(&self.collective.root)],
            generation: 1,
            epoch: 1,
        });
        let answer = Answer {
            transcript: seen.transcript.digest(),
            counter: if will == Will::Repeat && counter > 0 {
                counter - 1
            } else {
                counter
            },
            state: state.to_owned(),
            reason: (state == "rejected").then(|| "not ours".to_owned()),
            retry_after: 1,
            issued,
        };
        let signer = if will == Will::Forge && counter > 0 {
            &self.stranger
        } else {
            &self.collective
        };
        signer.sign(PayloadType::JoinAnswer, &answer).to_json()
    }
}

fn refused(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    let problem = serde_json::json!({
        "type": "urn:muster:problem:refused", "title": "Refused", "status": status.as_u16(), "detail": why,
    });
    let mut response = Response::new(Full::new(problem.to_string().into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        "content-type",
        hyper::header::HeaderValue::from_static("application/problem+json"),
    );
    response
}
