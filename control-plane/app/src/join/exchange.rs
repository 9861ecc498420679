//! Steps 1 to 5 of the join protocol, as bytes in and out.

use std::net::IpAddr;

use muster_daemon::file::crash_point;
use muster_ids::Digest;
use muster_model::{
    audit::Event,
    join::{JoinRequest, JoinState},
    permission::{Authorized, Caller, Operation},
};
use muster_pki::{CrossRoot, PublicKey, join::Transcript};
use muster_store::{Draft, Tx};
use muster_wire::node::v1::join::{HelloReply, Offer, OfferedCross, SUITE};
use serde_json::json;

use super::message::{self, Revealed};
use crate::{App, Error, text::encode};

/// Where a reveal finds the row of its key.
pub(super) enum Entry {
    /// New, or renewed by this exchange: not stored yet.
    Open(JoinRequest),
    /// It stays as it is; the answer about it, under the transcript that the node knows.
    Stands(JoinRequest),
}

impl App {
    /// Step 1 → 2: the offer for these bytes. Nothing is written.
    pub async fn join_hello(&self, hello: &[u8], source: IpAddr) -> Result<HelloReply, Error> {
        let reply = self.try_hello(hello, source).await;
        reply.inspect_err(|error| self.inner.refusals.count(source, error))
    }

    async fn try_hello(&self, hello: &[u8], source: IpAddr) -> Result<HelloReply, Error> {
        // Naming a token is free; only one that is live has a part in their budget.
        let by_token = match message::named_token(hello)? {
            Some(id) => self.token_is_live(id).await?,
            None => false,
        };
        let budget = if by_token {
            &self.inner.token_offers
        } else {
            &self.inner.offers
        };
        budget.take(source, self.clock().boot())?;
        message::hello(hello, self.now())?;
        let offer = self.offer(hello)?;
        let chain = &self.authority().policy_chain;
        Ok(HelloReply {
            mac: encode(&self.join_key().offer_mac(&offer)),
            offer: encode(&offer),
            server_time: self.now(),
            chain: chain.iter().map(|der| encode(der)).collect(),
        })
    }

    /// Step 3 → 5: the node shows that it has its key and what it committed to; only now there is a row.
    pub async fn join_reveal(&self, message: &[u8], source: IpAddr, host: &str) -> Result<Vec<u8>, Error> {
        let answer = self.try_reveal(message, source, host).await;
        answer.inspect_err(|error| self.inner.refusals.count(source, error))
    }

    async fn try_reveal(&self, message: &[u8], source: IpAddr, host: &str) -> Result<Vec<u8>, Error> {
        let caller = Caller::Stranger(source.to_string());
        let authorized = self.authorize(&caller, Operation::Join).await?;
        let now = self.now();
        let Revealed {
            greeting,
            transcript,
            token_proof,
        } = message::reveal(message, self.join_key(), now)?;
        // The same reveal again: the answer got lost, or somebody repeats what was recorded. The answer is no secret.
        if let Some(row) = self.store().join_by_id(transcript.join_id()).await?
            && row.transcript == transcript.digest()
        {
            let row = row.at(now);
            if row.state != JoinState::Pending {
                self.inner.refusals.repeated(&row, source);
            }
            return self.answer(&row, 0, host).await;
        }
        let known = self.returning(&greeting.key.fingerprint()).await?;
        let exchange = JoinRequest {
            id: transcript.join_id(),
            key: greeting.key.fingerprint(),
            spki: greeting.key.spki().to_vec(),
            transcript: transcript.digest(),
            applicant: greeting.applicant,
            source: source.to_string(),
            created_at: now,
            revealed_at: now,
            poll_counter: 0,
            state: JoinState::Pending,
            reason: None,
            renewal_of: known,
            node: None,
            token: greeting.token,
            votes: Vec::new(),
            version: 1,
        };
        let request = match token_proof {
            Some(proof) => self.join_by_token(&authorized, exchange, &proof, source).await?,
            None => self.join_by_people(&authorized, exchange, source).await?,
        };
        self.answer(&request, 0, host).await
    }

    /// The request waits for people.
    async fn join_by_people(
        &self,
        authorized: &Authorized,
        exchange: JoinRequest,
        source: IpAddr,
    ) -> Result<JoinRequest, Error> {
        let (now, asked) = (exchange.revealed_at, exchange.applicant.asked_at);
        let mut tx = self.store().begin(authorized).await?;
        let request = match self.enter(&mut tx, exchange).await? {
            Entry::Open(request) => request,
            Entry::Stands(row) => {
                if asked < row.applicant.asked_at {
                    self.inner.refusals.repeated(&row, source);
                }
                return Ok(row);
            }
        };
        if let Some(rule) = self.auto_trust_rule(&request).await? {
            return self.auto_trust(tx, request, rule).await;
        }
        let dropped = self.make_room(&mut tx, &request).await?;
        tx.join_put(&request).await?;
        let draft = Draft {
            event: Event::JoinRevealed,
            subject: request.applicant.name.to_string(),
            detail: json!({
                "join": request.id.to_string(),
                "key": request.key.to_string(),
                "capabilities": request.applicant.capabilities,
                "renewal_of": request.renewal_of,
                "dropped": dropped,
            }),
        };
        tx.commit(draft, now).await?;
        Ok(request)
    }

    /// The row that `exchange` makes or renews, or the one that stands.
    pub(super) async fn enter(&self, tx: &mut Tx, exchange: JoinRequest) -> Result<Entry, Error> {
        let now = exchange.revealed_at;
        let Some(row) = tx.join_by_key(&exchange.key).await? else {
            return Ok(Entry::Open(exchange));
        };
        if row.transcript == exchange.transcript {
            return Ok(Entry::Stands(row.at(now)));
        }
        let asked = exchange.transcript;
        match row.clone().at(now).renew(exchange) {
            Ok(request) => Ok(Entry::Open(request)),
            Err(_) => Ok(Entry::Stands(JoinRequest {
                transcript: asked,
                ..row
            })),
        }
    }

    /// Step 4 → 5: how far is it? A stranger who does not hold the key learns nothing, not even whether the
    /// request exists.
    pub async fn join_poll(&self, message: &[u8], source: IpAddr, host: &str) -> Result<Vec<u8>, Error> {
        let answer = self.try_poll(message, source, host).await;
        answer.inspect_err(|error| self.inner.refusals.count(source, error))
    }

    async fn try_poll(&self, message: &[u8], source: IpAddr, host: &str) -> Result<Vec<u8>, Error> {
        let poll = message::poll(message)?;
        let unknown = || Error::NotFound {
            detail:
                "there is no such join request, or the poll is not signed by its key; begin the join again"
                    .to_owned(),
        };
        let proof = self.store().join_proof(poll.id).await?;
        let is_there = proof.is_some();
        // The same work where there is no request, so that the time tells as little as the answer: neither depends on
        // the length of the message, and of a request nothing more is read than this.
        let decoy = || {
            let spki = self.authority().policy.public_key().spki().to_vec();
            (Digest::of(b"no such join request"), spki)
        };
        let (transcript, spki) = proof.unwrap_or_else(decoy);
        let key = PublicKey::from_spki(&spki).map_err(Error::bug)?;
        let input = Transcript::from_digest(transcript).poll_input(poll.counter);
        let genuine = key.verify(&input, &poll.signature).is_ok();
        if !(genuine && is_there) {
            return Err(unknown());
        }
        let row = self.store().join_by_id(poll.id).await?.ok_or_else(unknown)?;
        let polled = row.clone().poll(poll.counter).map_err(|error| {
            self.inner.refusals.repeated(&row, source);
            Error::conflict("join-replayed", error.to_string())
        })?;
        if !self.store().join_poll(poll.id, poll.counter).await? {
            return Err(Error::conflict(
                "join-replayed",
                format!("the poll counter {} was used before", poll.counter),
            ));
        }
        crash_point("join.polled");
        self.answer(&polled.at(self.now()), poll.counter, host).await
    }

    fn join_key(&self) -> &super::JoinKey {
        &self.inner.parts.join_key
    }

    /// The bytes of the offer for `hello`, the same at every control plane.
    fn offer(&self, hello: &[u8]) -> Result<Vec<u8>, Error> {
        let authority = self.authority();
        let offer = Offer {
            kind: "offer".to_owned(),
            suite: SUITE.to_owned(),
            hello: Digest::of(hello),
            roots: authority
                .roots
                .certificates()
                .iter()
                .map(|der| encode(der))
                .collect(),
            r_s: encode(&self.join_key().nonce(hello)),
            cross: authority.crosses.iter().map(cross).collect(),
        };
        serde_json::to_vec(&offer).map_err(Error::bug)
    }
}
fn cross(cross: &CrossRoot) -> OfferedCross {
    OfferedCross {
        root: encode(&cross.root),
        certificate: encode(&cross.certificate),
    }
}
