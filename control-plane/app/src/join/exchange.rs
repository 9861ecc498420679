//! Steps 1 to 5 of the join protocol, as bytes in and out.

use muster_ids::Digest;
use muster_model::{
    audit::Event,
    join::{JoinRequest, JoinState},
    permission::{Caller, Operation},
};
use muster_pki::{PublicKey, join::Transcript};
use muster_store::Draft;
use muster_wire::node::v1::join::{HelloReply, Offer, SUITE};
use serde_json::json;

use super::message::{self, Revealed};
use crate::{App, Error, text::encode};

impl App {
    /// Step 1 → 2: the offer for these bytes. Nothing is written.
    pub fn join_hello(&self, hello: &[u8], source: std::net::IpAddr) -> Result<HelloReply, Error> {
        self.inner.offers.take(source, self.clock().boot())?;
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
    pub async fn join_reveal(
        &self,
        message: &[u8],
        source: std::net::IpAddr,
        host: &str,
    ) -> Result<Vec<u8>, Error> {
        let caller = Caller::Stranger(source.to_string());
        let authorized = self.authorize(&caller, Operation::Join).await?;
        let now = self.now();
        let Revealed { greeting, transcript } = message::reveal(message, self.join_key(), now)?;

        let mut tx = self.store().begin(&authorized).await?;
        let known = self.store().node_by_key(&greeting.key.fingerprint()).await?;
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
            renewal_of: known.map(|node| node.id),
            node: None,
            version: 1,
        };
        let request = match tx.join_by_key(&exchange.key).await? {
            // The same reveal again: the answer got lost.
            Some(row) if row.transcript == exchange.transcript => {
                drop(tx);
                return self.answer(&row.at(now), 0, host).await;
            }
            Some(row) => {
                let asked = exchange.transcript;
                let Ok(request) = row.clone().at(now).renew(exchange) else {
                    drop(tx);
                    // The answer that stands, about the transcript that the node knows.
                    return self
                        .answer(
                            &JoinRequest {
                                transcript: asked,
                                ..row
                            },
                            0,
                            host,
                        )
                        .await;
                };
                request
            }
            None => exchange,
        };
        tx.join_put(&request).await?;
        let draft = Draft {
            event: Event::JoinRevealed,
            subject: request.applicant.name.to_string(),
            detail: json!({
                "join": request.id.to_string(),
                "key": request.key.to_string(),
                "capabilities": request.applicant.capabilities,
                "renewal_of": request.renewal_of,
            }),
        };
        tx.commit(draft, now).await?;
        self.answer(&request, 0, host).await
    }

    /// Step 4 → 5: how far is it? A stranger who does not hold the key learns nothing, not even whether the
    /// request exists.
    pub async fn join_poll(&self, message: &[u8], host: &str) -> Result<Vec<u8>, Error> {
        let poll = message::poll(message)?;
        let unknown = || Error::NotFound {
            detail:
                "there is no such join request, or the poll is not signed by its key; begin the join again"
                    .to_owned(),
        };
        let row = self.store().join_by_id(poll.id).await?.ok_or_else(unknown)?;
        let transcript = Transcript::from_digest(row.transcript);
        let key = PublicKey::from_spki(&row.spki).map_err(Error::bug)?;
        key.verify(&transcript.poll_input(poll.counter), &poll.signature)
            .map_err(|_| unknown())?;
        let polled = row
            .poll(poll.counter)
            .map_err(|error| Error::conflict("join-replayed", error.to_string()))?;
        if !self.store().join_poll(poll.id, poll.counter).await? {
            return Err(Error::conflict(
                "join-replayed",
                format!("the poll counter {} was used before", poll.counter),
            ));
        }
        self.answer(&polled.at(self.now()), poll.counter, host).await
    }

    fn join_key(&self) -> &super::JoinKey {
        &self.inner.parts.join_key
    }

    /// The bytes of the offer for `hello`, the same at every control plane.
    fn offer(&self, hello: &[u8]) -> Result<Vec<u8>, Error> {
        let offer = Offer {
            kind: "offer".to_owned(),
            suite: SUITE.to_owned(),
            hello: Digest::of(hello),
            roots: self
                .authority()
                .roots
                .certificates()
                .iter()
                .map(|der| encode(der))
                .collect(),
            r_s: encode(&self.join_key().nonce(hello)),
        };
        serde_json::to_vec(&offer).map_err(Error::bug)
    }
}
