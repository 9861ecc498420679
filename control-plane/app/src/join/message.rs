//! What a stranger may say on the registration listener: bytes become valid messages here, or are refused.
//!
//! Invariant: nothing here reads a clock, a database or a socket, so that every byte that a stranger can send is
//! judged by functions that a fuzzer can call. What they return was checked in full; nothing has to be looked at again.

use muster_ids::{Digest, JoinId, NodeId, TokenId};
use muster_model::join::{Applicant, CLOCK_SKEW_MS, REQUEST_LIFETIME_MS};
use muster_pki::{
    PublicKey, csr,
    join::{JoinKey, Nonce, Transcript, verify_commit},
};
use muster_wire::node::v1::join::{Hello, Offer, Poll, Reveal, SUITE};
use serde::de::DeserializeOwned;

use crate::{
    Error,
    text::{decode, decode_exact, object},
};

/// What a valid hello says.
pub struct Greeting {
    /// What the node asks for.
    pub applicant: Applicant,
    /// Its key, of which it has shown the private half.
    pub key: PublicKey,
    /// Its commitment to a nonce.
    pub commit: Digest,
    /// The join token that it will prove.
    pub token: Option<TokenId>,
}

/// What a valid reveal says.
pub struct Revealed {
    /// Its hello.
    pub greeting: Greeting,
    /// What the code follows from.
    pub transcript: Transcript,
    /// The proof of the token that the hello names; not verified yet: that needs the token's key. There is one exactly
    /// where a token is named.
    pub token_proof: Option<Vec<u8>>,
}

/// What a readable poll says. Its signature is not verified yet: that needs the key of its request.
pub struct Polled {
    /// The join.
    pub id: JoinId,
    /// Larger than in every poll before.
    pub counter: u64,
    /// By the key of the request.
    pub signature: Vec<u8>,
}

/// The join token that a hello names, before anything else of it is looked at: another budget pays for it.
pub fn named_token(bytes: &[u8]) -> Result<Option<TokenId>, Error> {
    let hello: Hello = parse("hello", bytes)?;
    Ok(hello.token_id)
}

/// Step 1. `now` is in milliseconds since 1970, UTC.
pub fn hello(bytes: &[u8], now: i64) -> Result<Greeting, Error> {
    let hello: Hello = parse("hello", bytes)?;
    require("type", &hello.kind, "hello")?;
    require("suite", &hello.suite, SUITE)?;
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
    if hello.expires <= hello.created || hello.expires.saturating_sub(hello.created) > REQUEST_LIFETIME_MS {
        return Err(Error::invalid(
            "a hello is valid for at most 24 hours; correct the field expires",
        ));
    }
    let csr = decode("csr", &hello.csr)?;
    let key = csr::public_key(&csr)
        .map_err(|error| Error::invalid(format!("the field csr is refused: {error}")))?;
    Ok(Greeting {
        applicant: applicant(&hello)?,
        key,
        commit: hello.commit,
        token: hello.token_id,
    })
}

/// Step 3. `key` made the offer, if it is one of this epoch.
pub fn reveal(bytes: &[u8], key: &JoinKey, now: i64) -> Result<Revealed, Error> {
    let reveal: Reveal = parse("reveal", bytes)?;
    require("type", &reveal.kind, "reveal")?;
    let hello_bytes = decode("hello", &reveal.hello)?;
    let offer = decode("offer", &reveal.offer)?;
    let mac = decode("mac", &reveal.mac)?;
    key.verify_offer(&offer, &mac)
        .map_err(|error| Error::invalid(error.to_string()))?;
    let offered: Offer = parse("offer", &offer)?;
    if offered.hello != Digest::of(&hello_bytes) {
        return Err(Error::invalid(
            "the offer belongs to another hello; begin the join again",
        ));
    }
    let greeting = hello(&hello_bytes, now)?;
    let token_proof = match (greeting.token, &reveal.token_proof) {
        (Some(_), Some(proof)) => Some(decode("token_proof", proof)?),
        (None, None) => None,
        _ => {
            return Err(Error::invalid(
                "a join token is named in the hello and proved in the reveal, or neither; begin the join again",
            ));
        }
    };
    let r_n: Nonce = decode_exact("r_n", &reveal.r_n)?;
    verify_commit(&greeting.commit, &greeting.key, &r_n)
        .map_err(|error| Error::invalid(error.to_string()))?;
    let transcript = Transcript::new(&hello_bytes, &offer, &r_n);
    greeting
        .key
        .verify(
            &transcript.reveal_input(),
            &decode("signature", &reveal.signature)?,
        )
        .map_err(|_| {
            Error::invalid("the reveal is not signed by the key of the hello; begin the join again")
        })?;
    Ok(Revealed {
        greeting,
        transcript,
        token_proof,
    })
}

/// Step 4.
pub fn poll(bytes: &[u8]) -> Result<Polled, Error> {
    let poll: Poll = parse("poll", bytes)?;
    require("type", &poll.kind, "poll")?;
    Ok(Polled {
        id: poll.id,
        counter: poll.counter,
        signature: decode("signature", &poll.signature)?,
    })
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_hello_of_any_time_but_now_is_refused() {
        let now = 1_800_000_000_000;
        for (created, expires) in [
            (i64::MIN, i64::MAX),
            (i64::MIN, now + 1),
            (now, i64::MAX),
            (i64::MAX, i64::MIN),
            (i64::MIN, i64::MIN),
        ] {
            let message = json!({
                "type": "hello", "suite": SUITE, "csr": "AAAA", "name": "n1", "capabilities": ["R"],
                "addresses": [], "agent_version": "1", "created": created, "expires": expires,
                "commit": Digest::of(b"").to_string(),
            });
            let refused = hello(message.to_string().as_bytes(), now).map(drop);
            let refused = refused.expect_err("refused").to_string();
            assert!(!refused.contains("csr"), "{created} {expires}: {refused}");
        }
    }
}
