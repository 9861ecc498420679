//! Steps 1 to 5 of the join protocol, as bytes in and out.

use muster_ids::{Digest, NodeId};
use muster_model::{
    audit::Event,
    join::{Applicant, CLOCK_SKEW_MS, JoinRequest, JoinState, REQUEST_LIFETIME_MS},
    permission::{Caller, Operation},
};
use muster_pki::{
    PublicKey, csr,
    join::{Nonce, Transcript, verify_commit},
};
use muster_store::Draft;
use muster_wire::node::v1::join::{Hello, HelloReply, Offer, Poll, Reveal, SUITE};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::{
    App, Error,
    text::{decode, decode_exact, encode, object},
};

/// What a valid hello says.
struct Greeting {
    applicant: Applicant,
    key: PublicKey,
    commit: Digest,
}

impl App {
    /// Step 1 → 2: the offer for these bytes. Nothing is written.
    pub fn join_hello(&self, hello: &[u8], source: std::net::IpAddr) -> Result<HelloReply, Error> {
        self.inner.offers.take(source, self.clock().boot())?;
        self.greet(hello)?;
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
        let reveal: Reveal = parse("reveal", message)?;
        require("type", &reveal.kind, "reveal")?;
        let hello = decode("hello", &reveal.hello)?;
        let offer = decode("offer", &reveal.offer)?;
        let mac = decode("mac", &reveal.mac)?;
        self.join_key()
            .verify_offer(&offer, &mac)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let offered: Offer = parse("offer", &offer)?;
        if offered.hello != Digest::of(&hello) {
            return Err(Error::invalid(
                "the offer belongs to another hello; begin the join again",
            ));
        }
        let greeting = self.greet(&hello)?;
        if reveal.token_proof.is_some() {
            return Err(Error::invalid(
                "join tokens are not supported by this control plane yet; join without one",
            ));
        }
        let r_n: Nonce = decode_exact("r_n", &reveal.r_n)?;
        verify_commit(&greeting.commit, &greeting.key, &r_n)
            .map_err(|error| Error::invalid(error.to_string()))?;
        let transcript = Transcript::new(&hello, &offer, &r_n);
        greeting
            .key
            .verify(
                &transcript.reveal_input(),
                &decode("signature", &reveal.signature)?,
            )
            .map_err(|_| {
                Error::invalid("the reveal is not signed by the key of the hello; begin the join again")
            })?;

        let now = self.now();
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
        let poll: Poll = parse("poll", message)?;
        require("type", &poll.kind, "poll")?;
        let signature = decode("signature", &poll.signature)?;
        let unknown = || Error::NotFound {
            detail:
                "there is no such join request, or the poll is not signed by its key; begin the join again"
                    .to_owned(),
        };
        let row = self.store().join_by_id(poll.id).await?.ok_or_else(unknown)?;
        let transcript = Transcript::from_digest(row.transcript);
        let key = PublicKey::from_spki(&row.spki).map_err(Error::bug)?;
        key.verify(&transcript.poll_input(poll.counter), &signature)
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

    fn greet(&self, bytes: &[u8]) -> Result<Greeting, Error> {
        let hello: Hello = parse("hello", bytes)?;
        require("type", &hello.kind, "hello")?;
        require("suite", &hello.suite, SUITE)?;
        let now = self.now();
        if hello.created > now + CLOCK_SKEW_MS || hello.expires <= now - CLOCK_SKEW_MS {
            return Err(Error::Invalid {
                kind: "clock-difference",
                detail: format!(
                    "the hello is not for now: it is valid from {} to {}, and here it is {}; set the clock of the node",
                    crate::text::rfc3339(hello.created),
                    crate::text::rfc3339(hello.expires),
                    crate::text::rfc3339(now)
                ),
            });
        }
        if hello.expires <= hello.created || hello.expires.saturating_sub(hello.created) > REQUEST_LIFETIME_MS
        {
            return Err(Error::invalid(
                "a hello is valid for at most 24 hours; correct the field expires",
            ));
        }
        if hello.token_id.is_some() {
            return Err(Error::invalid(
                "join tokens are not supported by this control plane yet; join without one",
            ));
        }
        let csr = decode("csr", &hello.csr)?;
        let key = csr::public_key(&csr)
            .map_err(|error| Error::invalid(format!("the field csr is refused: {error}")))?;
        Ok(Greeting {
            applicant: applicant(&hello)?,
            key,
            commit: hello.commit,
        })
    }
}

fn applicant(hello: &Hello) -> Result<Applicant, Error> {
    const MOST: usize = 16;
    if hello.capabilities.is_empty() || hello.capabilities.len() > MOST {
        return Err(Error::invalid(
            "a node offers at least one capability of TERR, R and PYTHON",
        ));
    }
    if hello.name.as_str().parse::<NodeId>().is_ok() {
        return Err(Error::invalid(
            "the name of the node has the form of an identifier, and could be taken for another node; choose another name",
        ));
    }
    let mut capabilities = hello
        .capabilities
        .iter()
        .map(|text| text.parse().map_err(|error: String| Error::invalid(error)))
        .collect::<Result<Vec<_>, _>>()?;
    capabilities.sort_unstable();
    capabilities.dedup();
    if hello.addresses.len() > MOST {
        return Err(Error::invalid("a node names at most 16 addresses"));
    }
    for address in &hello.addresses {
        let plain = !address.is_empty()
            && address.len() <= 255
            && address
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]%".contains(&byte));
        if !plain {
            return Err(Error::invalid(
                "an address of a node is a host name or an IP address",
            ));
        }
    }
    let version = crate::page::clean_line(&hello.agent_version)?;
    if version.len() > 64 {
        return Err(Error::invalid(
            "the field agent_version has at most 64 characters",
        ));
    }
    Ok(Applicant {
        name: hello.name.clone(),
        capabilities,
        pool: hello.pool.clone(),
        site: hello.site.clone(),
        addresses: hello.addresses.clone(),
        agent_version: version,
        asked_at: hello.created,
    })
}

fn parse<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    object(bytes)
        .map_err(|error| Error::invalid(format!("the message is not a {what} of muster-join/1: {error}")))
}

fn require(field: &str, found: &str, wanted: &str) -> Result<(), Error> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::invalid(format!("the field {field} must be \"{wanted}\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hello_of_any_time_but_now_is_refused() {
        let (app, _folder) = crate::fixture::app().await;
        let now = app.now();
        for (created, expires) in [
            (i64::MIN, i64::MAX),
            (i64::MIN, now + 1),
            (now, i64::MAX),
            (i64::MAX, i64::MIN),
            (i64::MIN, i64::MIN),
        ] {
            let hello = json!({
                "type": "hello", "suite": SUITE, "csr": "AAAA", "name": "n1", "capabilities": ["R"],
                "addresses": [], "agent_version": "1", "created": created, "expires": expires,
                "commit": Digest::of(b"").to_string(),
            });
            let refused = app.join_hello(hello.to_string().as_bytes(), [10, 0, 0, 1].into());
            let refused = refused.expect_err("refused").to_string();
            assert!(!refused.contains("csr"), "{created} {expires}: {refused}");
        }
    }
}
