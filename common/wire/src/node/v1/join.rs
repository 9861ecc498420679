//! The join, on the registration listener (docs/reference/join-protocol.md).
//!
//! `hello` and `offer` are hashed as the bytes that crossed the wire, so they travel inside `reveal` as bytes
//! (base64) and are never written again from these types.

use muster_ids::{CollectiveId, Digest, JoinId, Name, NodeId, TokenId};
use serde::{Deserialize, Serialize};

/// The only suite so far: ECDSA P-256, SHA-256, HMAC-SHA-256.
pub const SUITE: &str = "muster-join/1";

/// Path of step 1.
pub const HELLO_PATH: &str = "/join/v1/hello";
/// Path of step 3.
pub const REVEAL_PATH: &str = "/join/v1/reveal";
/// Path of step 4.
pub const POLL_PATH: &str = "/join/v1/poll";

/// The largest body of a join message, in bytes.
pub const MAX_MESSAGE: usize = 32 * 1024;

/// Step 1: what the node is and wants, and a commitment to its nonce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hello {
    /// `hello`.
    #[serde(rename = "type")]
    pub kind: String,
    /// [`SUITE`].
    pub suite: String,
    /// PKCS#10 request for the node's key, base64 of DER. Only its public key counts.
    pub csr: String,
    /// The name that the node asks for.
    pub name: Name,
    /// What it offers to run: `TERR`, `R`, `PYTHON`.
    pub capabilities: Vec<String>,
    /// The pool that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Name>,
    /// The site that it asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<Name>,
    /// Addresses that it has; shown to the approver.
    pub addresses: Vec<String>,
    /// The version of its agent.
    pub agent_version: String,
    /// When it was made, milliseconds since 1970, UTC.
    pub created: i64,
    /// After when it must not be used, milliseconds since 1970, UTC; at most 24 hours after `created`.
    pub expires: i64,
    /// The token that will be proved in `reveal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_id: Option<TokenId>,
    /// SHA-256("muster-join/1 commit" ‖ SPKI ‖ r_n).
    pub commit: Digest,
}

/// The answer to `hello`: the offer and, outside the transcript, what helps a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HelloReply {
    /// The bytes of [`Offer`], base64.
    pub offer: String,
    /// HMAC over the bytes of the offer, base64 of 32 bytes; only control planes can check it.
    pub mac: String,
    /// The control plane's clock, milliseconds since 1970, UTC.
    pub server_time: i64,
    /// The chain under which answers will be signed, leaf first, base64 of DER.
    pub chain: Vec<String>,
}

/// Step 2: stateless, the same from every control plane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Offer {
    /// `offer`.
    #[serde(rename = "type")]
    pub kind: String,
    /// [`SUITE`].
    pub suite: String,
    /// SHA-256 of the bytes of `hello`.
    pub hello: Digest,
    /// The collective's root certificates, base64 of DER.
    pub roots: Vec<String>,
    /// HMAC(k, hello), base64 of 32 bytes.
    pub r_s: String,
    /// Which older roots vouch for these; absent before the first rotation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cross: Vec<OfferedCross>,
}

/// That an older root certified the key of a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfferedCross {
    /// The older root, base64 of DER.
    pub root: String,
    /// The newer root's key, certified by the older root, base64 of DER.
    pub certificate: String,
}

/// Step 3: the nonce, and the proof that the node has its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reveal {
    /// `reveal`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The bytes of `hello`, base64.
    pub hello: String,
    /// The bytes of `offer`, base64.
    pub offer: String,
    /// The MAC that came beside the offer, base64.
    pub mac: String,
    /// The node's nonce, base64 of 32 bytes.
    pub r_n: String,
    /// Signature by the token's key, base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_proof: Option<String>,
    /// ECDSA by the node's key over "muster-join/1 reveal" ‖ T, base64 of ASN.1 DER.
    pub signature: String,
}

/// Step 4: how far is it?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Poll {
    /// `poll`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The join.
    pub id: JoinId,
    /// Larger than in every poll before.
    pub counter: u64,
    /// ECDSA by the node's key over "muster-join/1 poll" ‖ T ‖ counter (eight bytes, big-endian), base64.
    pub signature: String,
}

/// Step 5, the payload of a signed envelope; also the answer to `reveal` (with counter 0).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The transcript that it is about.
    pub transcript: Digest,
    /// The counter of the poll that it answers.
    pub counter: u64,
    /// `pending`, `approved`, `issued`, `rejected`, `expired` or `superseded`.
    pub state: String,
    /// Why, where somebody said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When to ask again, in seconds.
    pub retry_after: u64,
    /// What was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued: Option<Issued>,
}

/// Everything that a node needs to speak on the back end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// Its identity.
    pub node: NodeId,
    /// The collective.
    pub collective: CollectiveId,
    /// The name that was granted.
    pub name: Name,
    /// `node`.
    pub role: String,
    /// The capabilities that were granted.
    pub capabilities: Vec<String>,
    /// The pool that was granted.
    pub pool: Name,
    /// The site that was granted.
    pub site: Name,
    /// Certificate and intermediates, leaf first, base64 of DER.
    pub chain: Vec<String>,
    /// The generation of the certificate in the lineage of its node; absent for 1, the first.
    #[serde(default = "first_generation", skip_serializing_if = "is_first_generation")]
    pub generation: u64,
    /// `host:port` of the back ends.
    pub back_ends: Vec<String>,
    /// The identity that a back end must show: `spiffe://<collective>/control-plane/`.
    pub server_identity: String,
    /// Roots under which trust states, beacons and grants are signed, base64 of DER.
    pub anchors: Vec<String>,
    /// The epoch of the control plane's database.
    pub epoch: u64,
}

fn first_generation() -> u64 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_first_generation(generation: &u64) -> bool {
    *generation == 1
}
