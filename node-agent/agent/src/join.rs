//! The join: asks a control plane to let this node in, until there is an answer.
//!
//! ```text
//!   hello ──► offer ──► (stored) ──► reveal ──► poll ─┬─► issued ──► member
//!     ▲                                 ▲         │   ├─► rejected, superseded, expired
//!     └─── the code is an hour old ─────┼─────────┘   │
//!                                       └── pending ──┘
//! ```
//!
//! Invariant: the nonce and the offer are on disk before the nonce is revealed, and the nonce is revealed with this
//! offer only; so a man in the middle gets one guess at the code for one exchange. Poll counters are on disk before
//! they are used. Only answers signed under the roots of the offer are believed.

pub mod answer;
pub mod exchange;
mod news;
mod token;

use std::time::Duration;

use muster_client::{ClientError, Connection, Endpoint, Limits, Request, Transport};
use muster_daemon::{Backoff, Clock, Random, file::crash_point, secret::SecretFile};
use muster_ids::Digest;
use muster_pki::{Signer as _, join::JoinToken};
use muster_wire::node::v1::join::{HELLO_PATH, Hello, HelloReply, MAX_MESSAGE, POLL_PATH, REVEAL_PATH};

use crate::credentials::{Credentials, Exchange, Joining, Rejected, Stage};

pub use answer::{AnswerError, Opened};
pub use exchange::OfferError;
pub use news::{JoinError, Joined, News};
pub use token::{TokenFileError, pins};

/// The wait after a failure (protocols.md 2): from 5 s to 5 min, with full jitter.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_mins(5));
/// How long a code is shown before a new exchange makes another (protocols.md 2).
const CODE_LIFETIME_MS: i64 = 60 * 60 * 1000;
/// A difference of the clocks that people should hear of.
const CLOCK_DIFFERENCE_MS: i64 = 5 * 60 * 1000;
/// The longest wait between two polls that an answer can impose.
const LONGEST_POLL: u64 = 300;

/// Runs a join on the state of one node.
pub struct Joiner {
    credentials: Credentials,
    token: Option<SecretFile>,
    transport: Transport,
    clock: Clock,
    random: Random,
}

/// What a step leads to.
enum Next {
    At(Duration),
    Now,
    Done(Joined),
}

impl Next {
    /// The wait before it. Only a request that waits for its answer is a success: after an offer the rest may be refused
    /// each time, and then the waits must grow.
    fn wait(&self, backoff: &mut Backoff) -> Duration {
        match self {
            Self::At(wait) => {
                backoff.reset();
                *wait
            }
            Self::Now | Self::Done(_) => Duration::ZERO,
        }
    }
}

enum Stop {
    /// May work later.
    Again(String, Option<Duration>),
    Final(JoinError),
}

impl<E: Into<JoinError>> From<E> for Stop {
    fn from(error: E) -> Self {
        match error.into() {
            // What is on disk is as it was, and somebody may make room.
            JoinError::Credentials(error) if error.is_full_disk() => {
                Self::Again(crate::sentence(&error), None)
            }
            error => Self::Final(error),
        }
    }
}

impl Joiner {
    /// Continues, or begins, the join that `credentials` are at, with the join token in the file `token`.
    pub fn new(credentials: Credentials, token: Option<SecretFile>, clock: Clock, random: Random) -> Self {
        let limits = Limits {
            // An answer carries a chain and a list of back ends beside its signature.
            answer: 1024 * 1024,
            ..Limits::default()
        };
        Self {
            credentials,
            token,
            transport: Transport::plain(limits),
            clock,
            random,
        }
    }

    /// The credentials as they are now.
    pub fn into_credentials(self) -> Credentials {
        self.credentials
    }

    /// Works until the join has ended. May be dropped at any moment: what is on disk can be continued.
    pub async fn run(&mut self, mut tell: impl FnMut(News)) -> Result<Joined, JoinError> {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        self.tell_code(&mut tell);
        loop {
            let wait = match self.step(&mut tell).await {
                Ok(Next::Done(joined)) => return Ok(joined),
                Ok(next) => next.wait(&mut backoff),
                Err(Stop::Final(error)) => return Err(error),
                Err(Stop::Again(why, told)) => {
                    let wait = backoff.next(self.random.fraction(), told);
                    tell(News::Again { why, wait });
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    }

    async fn step(&mut self, tell: &mut impl FnMut(News)) -> Result<Next, Stop> {
        let joining = self.joining()?;
        let Some(exchange) = joining.exchange.clone() else {
            self.begin(tell).await?;
            return Ok(Next::Now);
        };
        if exchange.token() != self.token()?.map(|token| token.id()) {
            // Another token than before, or a token where there was none: that is another question.
            self.begin(tell).await?;
            return Ok(Next::Now);
        }
        let begun = exchange.begun;
        let next = if exchange.revealed {
            self.poll(exchange, tell).await
        } else {
            self.reveal(exchange, tell).await
        };
        // Asked once more before: it may have been approved in the last minute. No answer that can be believed is no
        // reason to stay with the old offer: its roots may be those of before two rotations.
        let old = self.clock.unix_ms() - begun >= CODE_LIFETIME_MS;
        let waits = matches!(next, Ok(Next::At(_)) | Err(Stop::Again(..)));
        let same = self.joining().is_ok_and(|joining| {
            let exchange = joining.exchange.as_ref();
            exchange.is_some_and(|exchange| exchange.begun == begun)
        });
        if old && waits && same {
            self.begin(tell).await?;
            return Ok(Next::Now);
        }
        next
    }

    /// Step 1 and 2: a new nonce, a hello, and its offer on disk.
    async fn begin(&mut self, tell: &mut impl FnMut(News)) -> Result<(), Stop> {
        let joining = self.joining()?.clone();
        let token = self.token()?.map(|token| token.id());
        let connection = self.connect(&joining).await?;
        let now = self.clock.unix_ms();
        let r_n = zeroize::Zeroizing::new(self.random.bytes::<32>());
        let csr = muster_pki::csr::request(self.credentials.key()).await?;
        let hello = Hello {
            token_id: token,
            ..exchange::hello(&joining, self.credentials.key().public_key(), &csr, &r_n, now)
        };
        let hello = serde_json::to_vec(&hello).expect("a hello has no maps");
        let reply: HelloReply = self.ask(&connection, HELLO_PATH, hello.clone()).await?;
        let offer = exchange::accept(&hello, &reply, &joining.pins)?;
        let difference = reply.server_time.saturating_sub(self.clock.unix_ms());
        if difference.saturating_abs() > CLOCK_DIFFERENCE_MS {
            tell(News::Clock(difference));
        }
        let previous = joining.exchange.clone().filter(|exchange| exchange.revealed);
        let previous = previous.or(joining.previous.clone());
        let exchange = Exchange::new(&r_n, hello, offer.bytes, reply.mac, &offer.roots, now);
        let joining = Joining {
            exchange: Some(exchange),
            // What was asked for by another way is given up.
            previous: previous.filter(|previous| previous.token() == token),
            ..joining
        };
        self.credentials.advance(Stage::Joining(joining), "join.offer")?;
        self.tell_code(tell);
        Ok(())
    }

    /// Step 3, also repeated after a crash, with the same bytes.
    async fn reveal(&mut self, exchange: Exchange, tell: &mut impl FnMut(News)) -> Result<Next, Stop> {
        let joining = self.joining()?.clone();
        let proof = self.token()?.map(|token| token.prove(&exchange.transcript()));
        let connection = self.connect(&joining).await?;
        let message = exchange::reveal(&exchange, proof, self.credentials.key()).await?;
        let answer = self.send(&connection, REVEAL_PATH, message).await;
        crash_point("join.revealed");
        let answer = match answer {
            Ok(answer) => answer,
            Err(ClientError::Refused { problem, .. })
                if is_no(problem.status) && joining.previous.is_some() =>
            {
                // The exchange before was approved meanwhile: its answer is the one to wait for.
                let joining = Joining {
                    exchange: joining.previous.clone(),
                    previous: None,
                    ..joining
                };
                self.credentials
                    .advance(Stage::Joining(joining), "join.restored")?;
                self.tell_code(tell);
                return Ok(Next::Now);
            }
            Err(error) if error.problem().is_some_and(|problem| is_no(problem.status)) => {
                // This exchange will never be accepted; the next one may.
                self.forget_exchange("join.forgotten")?;
                return Err(again(&error));
            }
            Err(error) => return Err(again(&error)),
        };
        let mut revealed = exchange;
        revealed.revealed = true;
        let joining = Joining {
            exchange: Some(revealed.clone()),
            previous: None,
            ..joining
        };
        let answer = self.open(&answer, &revealed, 0)?;
        self.credentials.advance(Stage::Joining(joining), "join.reveal")?;
        self.obey(answer, &revealed, tell)
    }

    /// Step 4.
    async fn poll(&mut self, mut exchange: Exchange, tell: &mut impl FnMut(News)) -> Result<Next, Stop> {
        let joining = self.joining()?.clone();
        let connection = self.connect(&joining).await?;
        exchange.counter += 1;
        let counter = exchange.counter;
        let joining = Joining {
            exchange: Some(exchange.clone()),
            ..joining
        };
        self.credentials
            .advance(Stage::Joining(joining), "join.counter")?;
        let message = exchange::poll(&exchange, counter, self.credentials.key()).await?;
        match self.send(&connection, POLL_PATH, message).await {
            Ok(answer) => {
                let answer = self.open(&answer, &exchange, counter)?;
                self.obey(answer, &exchange, tell)
            }
            // A restore forgets requests; so does another collective at the same address.
            Err(error)
                if error
                    .problem()
                    .is_some_and(|problem| matches!(problem.status, 404 | 410)) =>
            {
                self.forget_exchange("join.forgotten")?;
                Err(again(&error))
            }
            Err(error) => Err(again(&error)),
        }
    }

    /// The signed answer in a reply, if it is about this exchange.
    fn open(&self, reply: &[u8], exchange: &Exchange, counter: u64) -> Result<Opened, Stop> {
        // Whoever answers wrongly may be replaced by one who answers rightly: try again.
        answer::open(reply, exchange, counter, self.clock.unix_ms())
            .map_err(|error| Stop::Again(crate::sentence(&error), None))
    }

    fn obey(
        &mut self,
        opened: Opened,
        exchange: &Exchange,
        tell: &mut impl FnMut(News),
    ) -> Result<Next, Stop> {
        let answer = &opened.answer;
        let jitter = Duration::from_secs_f64(self.random.fraction());
        let wait = Duration::from_secs(answer.retry_after.clamp(1, LONGEST_POLL)) + jitter;
        match answer.state.as_str() {
            "pending" => Ok(Next::At(wait)),
            "approved" => {
                tell(News::Approved);
                Ok(Next::At(wait))
            }
            "issued" => self.accept(opened, exchange),
            "rejected" => {
                let at = self.clock.unix_ms();
                let reason = opened.answer.reason;
                let stage = Stage::Rejected(Rejected {
                    reason: reason.clone(),
                    at,
                });
                self.credentials.advance(stage, "join.rejected")?;
                Err(JoinError::Rejected(reason).into())
            }
            "expired" if self.clock.unix_ms() - exchange.begun >= CODE_LIFETIME_MS => {
                // This node was away for long: a new code is all that is needed.
                self.forget_exchange("join.forgotten")?;
                Ok(Next::Now)
            }
            // It gave way to something, and did not wait in vain: it asks again, after a pause.
            "expired" if answer.reason.is_some() => {
                self.forget_exchange("join.forgotten")?;
                let reason = opened.answer.reason.unwrap_or_default();
                let why = format!("the join request was ended: {}", reason.escape_debug());
                Err(Stop::Again(why, None))
            }
            "expired" => {
                self.forget_exchange("join.forgotten")?;
                Err(JoinError::Expired.into())
            }
            "superseded" => {
                self.forget_exchange("join.forgotten")?;
                Err(JoinError::Superseded(opened.answer.reason).into())
            }
            other => Err(Stop::Again(
                format!(
                    "the control plane answered with the state \"{}\", which this version does not know; update muster-node",
                    other.escape_default()
                ),
                None,
            )),
        }
    }

    /// Step 5.
    fn accept(&mut self, opened: Opened, exchange: &Exchange) -> Result<Next, Stop> {
        let joining = self.joining()?;
        let key = self.credentials.key().public_key();
        let member = answer::member(opened, exchange, key, &joining.registration, self.clock.unix_ms())
            .map_err(|error| Stop::Again(crate::sentence(&error), None))?;
        let (stage, joined) = if joining.pins.is_empty() {
            (Stage::Unconfirmed(member), Joined::Unconfirmed)
        } else {
            (Stage::Trusted(member), Joined::Trusted)
        };
        self.credentials.advance(stage, "join.issued")?;
        Ok(Next::Done(joined))
    }

    /// The join token, unless a known node asks for a new certificate: its key is its proof.
    fn token(&self) -> Result<Option<JoinToken>, Stop> {
        let file = self
            .token
            .as_ref()
            .filter(|_| self.joining().is_ok_and(|joining| joining.renewal.is_none()));
        // The file may be replaced by a good one while this node tries.
        file.map(token::read)
            .transpose()
            .map_err(|error| Stop::Again(crate::sentence(&error), None))
    }

    fn joining(&self) -> Result<&Joining, JoinError> {
        match self.credentials.stage() {
            Stage::Joining(joining) => Ok(joining),
            _ => Err(JoinError::NotJoining),
        }
    }

    fn forget_exchange(&mut self, name: &str) -> Result<(), JoinError> {
        let joining = Joining {
            exchange: None,
            previous: None,
            ..self.joining()?.clone()
        };
        Ok(self.credentials.advance(Stage::Joining(joining), name)?)
    }

    fn tell_code(&self, tell: &mut impl FnMut(News)) {
        if let Ok(joining) = self.joining()
            && let Some(exchange) = &joining.exchange
        {
            if let Some(token) = exchange.token() {
                tell(News::Token {
                    token,
                    fingerprint: self.credentials.fingerprint(),
                });
                return;
            }
            tell(News::Code {
                code: exchange.transcript().code(),
                fingerprint: self.credentials.fingerprint(),
                roots: exchange.roots.iter().map(|root| Digest::of(root)).collect(),
                pinned: !joining.pins.is_empty(),
            });
        }
    }

    async fn connect(&self, joining: &Joining) -> Result<Connection, Stop> {
        let endpoints: Vec<Endpoint> = joining
            .registration
            .iter()
            .filter_map(|address| format!("http://{address}").parse().ok())
            .collect();
        if endpoints.is_empty() {
            return Err(JoinError::NoAddress.into());
        }
        let start = self.random.below(endpoints.len());
        self.transport
            .connect_any(&endpoints, start)
            .await
            .map_err(|error| again(&error))
    }

    async fn ask<T: serde::de::DeserializeOwned>(
        &self,
        connection: &Connection,
        path: &str,
        message: Vec<u8>,
    ) -> Result<T, Stop> {
        let bytes = self
            .send(connection, path, message)
            .await
            .map_err(|error| again(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Stop::Again(
                format!(
                    "{} did not answer as a control plane does ({error}); check the address",
                    connection.endpoint()
                ),
                None,
            )
        })
    }

    async fn send(
        &self,
        connection: &Connection,
        path: &str,
        message: Vec<u8>,
    ) -> Result<Vec<u8>, ClientError> {
        debug_assert!(message.len() <= MAX_MESSAGE);
        let request = Request::post(path).bytes("application/json", message);
        connection.send(request).await.map(|answer| answer.body.to_vec())
    }
}

/// A clear no to this very message, as opposed to "not now".
fn is_no(status: u16) -> bool {
    matches!(status, 400 | 403 | 404 | 409 | 410 | 422)
}

fn again(error: &ClientError) -> Stop {
    Stop::Again(crate::sentence(error), error.retry_after())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_after_an_offer_are_tried_again_less_and_less_often() {
        let mut backoff = Backoff::new(RETRY.0, RETRY.1);
        let mut refused = |next: Next| {
            let wait = next.wait(&mut backoff);
            (wait.as_secs(), backoff.next(1.0, None).as_secs())
        };
        assert_eq!(refused(Next::Now), (0, 5));
        assert_eq!(refused(Next::Now), (0, 10));
        assert_eq!(refused(Next::Now), (0, 20));
        assert_eq!(refused(Next::At(Duration::from_secs(7))), (7, 5));
    }
}
