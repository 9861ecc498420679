//! A node that asks to join, message by message, as the agent does it but under the test's control.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::{Answer as HttpAnswer, ClientError, Request};
use muster_daemon::Random;
use muster_ids::Digest;
use muster_pki::{
    Envelope, KeyUse, PayloadType, Purpose, Roots, Signer as _, SoftwareSigner, csr,
    join::{JoinToken, Transcript, commit},
};
use muster_wire::node::v1::join::{
    Answer, HELLO_PATH, Hello, HelloReply, POLL_PATH, Poll, REVEAL_PATH, Reveal, SUITE,
};
use serde::Serialize;
use serde_json::json;

use crate::{Member, Server};

/// How long the hellos of tests are valid, milliseconds.
const LIFETIME: i64 = 60 * 60 * 1000;

/// A node before it is one.
pub struct Applicant {
    /// Its key.
    pub key: SoftwareSigner,
    /// Its nonce.
    pub r_n: [u8; 32],
    /// What it says first; tests change it before it is sent.
    pub hello: Hello,
    /// The join token that it proves.
    pub token: Option<JoinToken>,
}

/// What the control plane answered to a hello.
pub struct Offered {
    /// The hello as it was sent.
    pub hello: Vec<u8>,
    /// The offer as it was received.
    pub offer: Vec<u8>,
    /// The reply around it.
    pub reply: HelloReply,
}

impl Offered {
    /// The offer in the answer to a hello.
    pub fn of(hello: Vec<u8>, answer: &HttpAnswer) -> Self {
        Self::read(hello, &answer.body)
    }

    /// The offer in the body of the answer to a hello.
    pub fn read(hello: Vec<u8>, body: &[u8]) -> Self {
        let reply: HelloReply = serde_json::from_slice(body).expect("a reply to a hello");
        let offer = STANDARD.decode(&reply.offer).expect("base64");
        Self { hello, offer, reply }
    }
}

impl Applicant {
    /// A node of this name that can do everything.
    pub async fn new(name: &str) -> Self {
        Self::with_key(name, SoftwareSigner::generate(KeyUse::Tls).expect("a key")).await
    }

    /// A node of this name with this key.
    pub async fn with_key(name: &str, key: SoftwareSigner) -> Self {
        let r_n = Random::system().bytes();
        let csr = csr::request(&key).await.expect("a certificate request");
        let created = crate::now();
        let hello = Hello {
            kind: "hello".to_owned(),
            suite: SUITE.to_owned(),
            csr: STANDARD.encode(csr),
            name: name.parse().expect("a name"),
            capabilities: ["TERR", "R", "PYTHON"].map(str::to_owned).to_vec(),
            pool: None,
            site: None,
            addresses: vec!["10.0.0.5".to_owned()],
            agent_version: "0.1.0".to_owned(),
            created,
            expires: created + LIFETIME,
            token_id: None,
            commit: commit(key.public_key(), &r_n),
        };
        Self {
            key,
            r_n,
            hello,
            token: None,
        }
    }

    /// Comes with the join token of this text.
    #[must_use]
    pub fn with_token(mut self, text: &str) -> Self {
        let token: JoinToken = text.parse().expect("a join token");
        self.hello.token_id = Some(token.id());
        self.token = Some(token);
        self
    }

    /// Asks for this pool.
    #[must_use]
    pub fn in_pool(mut self, pool: &str) -> Self {
        self.hello.pool = Some(pool.parse().expect("a name"));
        self
    }

    /// Asks for this site.
    #[must_use]
    pub fn in_site(mut self, site: &str) -> Self {
        self.hello.site = Some(site.parse().expect("a name"));
        self
    }

    /// The fingerprint of its key, as it shows it.
    pub fn fingerprint(&self) -> Digest {
        self.key.public_key().fingerprint()
    }

    /// Steps 1 and 2.
    pub async fn greet(&self, server: &Server) -> Offered {
        let hello = serde_json::to_vec(&self.hello).expect("a hello is JSON");
        let answer = say_bytes(server, HELLO_PATH, hello.clone()).await;
        Offered::of(
            hello,
            &answer.unwrap_or_else(|error| panic!("the hello was refused: {error}")),
        )
    }

    /// The reveal for an offer, not sent yet.
    pub async fn reveal(&self, offered: &Offered) -> Reveal {
        let transcript = self.transcript(offered);
        let input = transcript.reveal_input();
        let signature = self.key.sign(Purpose::JoinReveal, &input).await.expect("signed");
        Reveal {
            kind: "reveal".to_owned(),
            hello: STANDARD.encode(&offered.hello),
            offer: STANDARD.encode(&offered.offer),
            mac: offered.reply.mac.clone(),
            r_n: STANDARD.encode(self.r_n),
            token_proof: self
                .token
                .as_ref()
                .map(|token| STANDARD.encode(token.prove(&transcript))),
            signature: STANDARD.encode(signature),
        }
    }

    /// What both sides compute.
    pub fn transcript(&self, offered: &Offered) -> Transcript {
        Transcript::new(&offered.hello, &offered.offer, &self.r_n)
    }

    /// The poll with this counter, not sent yet.
    pub async fn poll(&self, transcript: &Transcript, counter: u64) -> Poll {
        let input = transcript.poll_input(counter);
        let signature = self.key.sign(Purpose::JoinPoll, &input).await.expect("signed");
        Poll {
            kind: "poll".to_owned(),
            id: transcript.join_id(),
            counter,
            signature: STANDARD.encode(signature),
        }
    }

    /// Steps 1 to 3: afterwards the request waits. Returns what its code follows from.
    pub async fn apply(&self, server: &Server) -> Transcript {
        let offered = self.greet(server).await;
        let reveal = self.reveal(&offered).await;
        let answer = say(server, REVEAL_PATH, &reveal)
            .await
            .unwrap_or_else(|error| panic!("the reveal was refused: {error}"));
        let answer = answer_of(&server.roots(), &answer);
        assert_eq!(answer.state, "pending");
        self.transcript(&offered)
    }

    /// Step 4 and 5.
    pub async fn ask(&self, server: &Server, transcript: &Transcript, counter: u64) -> Answer {
        let poll = self.poll(transcript, counter).await;
        let answer = say(server, POLL_PATH, &poll)
            .await
            .unwrap_or_else(|error| panic!("the poll was refused: {error}"));
        let answer = answer_of(&server.roots(), &answer);
        assert_eq!(answer.transcript, transcript.digest());
        assert_eq!(answer.counter, counter);
        answer
    }

    /// Steps 1 to 3 with a join token: what the control plane answers.
    pub async fn enter(&self, server: &Server) -> Result<Answer, ClientError> {
        let offered = self.greet(server).await;
        let reveal = self.reveal(&offered).await;
        let answer = say(server, REVEAL_PATH, &reveal).await?;
        Ok(answer_of(&server.roots(), &answer))
    }

    /// Everything with a join token: becomes a member without a person.
    pub async fn join_by_token(self, server: &Server) -> Member {
        let answer = self
            .enter(server)
            .await
            .unwrap_or_else(|error| panic!("the token was refused: {error}"));
        Member::new(server, self.key, answer.issued.expect("issued at once"))
    }

    /// Everything: joins, is approved by its code, and becomes a member.
    pub async fn join(self, server: &Server) -> Member {
        let transcript = self.apply(server).await;
        let body = json!({ "code": transcript.code().to_string() });
        let id = transcript.join_id().to_string();
        server
            .admin()
            .await
            .tell(&["joins", &id, "approve"], &body)
            .await
            .unwrap_or_else(|error| panic!("the approval was refused: {error}"));
        let answer = self.ask(server, &transcript, 1).await;
        let issued = answer.issued.expect("an approved join is issued");
        Member::new(server, self.key, issued)
    }
}

/// Sends a join message.
pub(crate) async fn say(
    server: &Server,
    path: &str,
    message: &impl Serialize,
) -> Result<HttpAnswer, ClientError> {
    say_bytes(
        server,
        path,
        serde_json::to_vec(message).expect("a message is JSON"),
    )
    .await
}

async fn say_bytes(server: &Server, path: &str, message: Vec<u8>) -> Result<HttpAnswer, ClientError> {
    let connection = server.plain(server.registration()).await;
    connection
        .send(Request::post(path).bytes("application/json", message))
        .await
}

impl Server {
    /// Sends a join message.
    pub async fn registers(&self, path: &str, message: &impl Serialize) -> Result<HttpAnswer, ClientError> {
        say(self, path, message).await
    }

    /// Sends bytes to the registration listener, which may be gone.
    pub async fn try_registers(&self, path: &str, message: Vec<u8>) -> Result<HttpAnswer, ClientError> {
        let connection = self.try_plain(self.registration()).await?;
        connection
            .send(Request::post(path).bytes("application/json", message))
            .await
    }

    /// Sends bytes to the registration listener.
    pub async fn registers_bytes(&self, path: &str, message: Vec<u8>) -> Result<HttpAnswer, ClientError> {
        say_bytes(self, path, message).await
    }
}

/// The answer in a signed envelope, which must be signed under `roots`.
pub fn answer_of(roots: &Roots, answer: &HttpAnswer) -> Answer {
    let envelope =
        Envelope::from_json(&answer.body, PayloadType::JoinAnswer).expect("an envelope with an answer");
    let verified = envelope
        .verify(PayloadType::JoinAnswer, roots, crate::now())
        .expect("signed by a control plane of the collective");
    serde_json::from_slice(&verified.payload).expect("an answer")
}
