//! The join transcript: what both sides compute from the bytes of the messages.
//!
//! ```text
//! commit    = SHA-256("muster-join/1 commit" ‖ SPKI ‖ r_n)          in the hello, before the node knows r_s
//! r_s       = HMAC-SHA-256(k, "muster-join/1 nonce" ‖ hello)        in the offer
//! MAC       = HMAC-SHA-256(k, "muster-join/1 offer" ‖ offer)        beside the offer
//! T         = SHA-256("muster-join/1" ‖ hello ‖ offer ‖ r_n)
//! code      = SHA-256("muster-join/1 code" ‖ T), first 16 bytes, big-endian, modulo 10^12
//! join id   = SHA-256("muster-join/1 id" ‖ T), first 16 bytes
//! reveal    = ECDSA over "muster-join/1 reveal" ‖ T
//! poll      = ECDSA over "muster-join/1 poll" ‖ T ‖ counter         8 bytes, big-endian
//! token     = signature of the token's key over "muster-join/1 token" ‖ T
//! ```
//!
//! `‖` joins parts that are each preceded by their length as 8 bytes, big-endian. Messages are the bytes that
//! were received, never encoded again: an offer that could be spelled in two ways would let a man in the
//! middle search for a spelling with the code that he needs. For the same reason the MAC covers exactly the
//! bytes that enter T.
//!
//! Test vectors: `docs/reference/join-protocol-vectors.json`.

mod code;
mod token;

use std::fmt;

use aws_lc_rs::hmac;
use muster_ids::{Digest, JoinId};
use zeroize::Zeroizing;

use crate::PublicKey;

pub use code::{CodeError, VerificationCode};
pub use token::{JoinToken, TokenError, TokenKey};

/// The protocol's name and version: the `suite` of a hello.
pub const SUITE: &str = "muster-join/1";

/// The node's random number, 32 bytes.
pub type Nonce = [u8; 32];

/// A value of the join that does not belong to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// A value without which nothing can be compared.
    #[error("the {0} is empty")]
    Empty(&'static str),
    /// The offer was not made by this collective in this epoch, or was changed.
    #[error("the offer was not made by this collective, or not since its last restore; begin the join again")]
    Offer,
    /// The node does not reveal what it committed to.
    #[error("the revealed random number is not the one that the hello committed to; begin the join again")]
    Commit,
}

/// The key `k` that all control planes share in one epoch.
pub struct JoinKey(Zeroizing<[u8; 32]>);

impl JoinKey {
    /// The key of 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The key, to be stored encrypted.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The server's random number `r_s` for `hello`: always the same, on every control plane.
    pub fn nonce(&self, hello: &[u8]) -> Nonce {
        self.mac("muster-join/1 nonce", hello)
    }

    /// The MAC that lets any control plane recognise `offer` as its collective's own.
    pub fn offer_mac(&self, offer: &[u8]) -> [u8; 32] {
        self.mac("muster-join/1 offer", offer)
    }

    /// Whether `mac` is that of `offer`.
    pub fn verify_offer(&self, offer: &[u8], mac: &[u8]) -> Result<(), JoinError> {
        if offer.is_empty() || mac.is_empty() {
            return Err(JoinError::Empty("offer or its MAC"));
        }
        let message = framed(&[b"muster-join/1 offer", offer]);
        hmac::verify(&self.hmac(), &message, mac).map_err(|_| JoinError::Offer)
    }

    fn mac(&self, label: &str, message: &[u8]) -> [u8; 32] {
        let tag = hmac::sign(&self.hmac(), &framed(&[label.as_bytes(), message]));
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, self.0.as_slice())
    }
}

impl fmt::Debug for JoinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinKey(..)")
    }
}

/// What the node's hello commits to: its key and its random number.
pub fn commit(key: &PublicKey, r_n: &Nonce) -> Digest {
    Digest::of_framed(&[b"muster-join/1 commit", key.spki(), r_n])
}

/// Whether `r_n` is what `commitment` was made of.
pub fn verify_commit(commitment: &Digest, key: &PublicKey, r_n: &Nonce) -> Result<(), JoinError> {
    if commit(key, r_n) == *commitment {
        Ok(())
    } else {
        Err(JoinError::Commit)
    }
}

/// The transcript T of one join. The verification code follows from it, so it is never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Transcript(Digest);

impl Transcript {
    /// The transcript of the messages as they were received.
    pub fn new(hello: &[u8], offer: &[u8], r_n: &Nonce) -> Self {
        Self(Digest::of_framed(&[SUITE.as_bytes(), hello, offer, r_n]))
    }

    /// A stored transcript.
    pub fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest, for storage and for the answer to the node.
    pub fn digest(&self) -> Digest {
        self.0
    }

    /// The code that the node shows and that the approver types.
    pub fn code(&self) -> VerificationCode {
        VerificationCode::from_hash(first_half(&self.derive("muster-join/1 code")))
    }

    /// The public name of the join.
    pub fn join_id(&self) -> JoinId {
        JoinId::from_bytes(first_half(&self.derive("muster-join/1 id")))
    }

    /// What the node signs to reveal.
    pub fn reveal_input(&self) -> Vec<u8> {
        framed(&[b"muster-join/1 reveal", self.0.as_bytes()])
    }

    /// What the node signs to ask for the answer. `counter` grows with every poll.
    pub fn poll_input(&self, counter: u64) -> Vec<u8> {
        framed(&[b"muster-join/1 poll", self.0.as_bytes(), &counter.to_be_bytes()])
    }

    /// What the key of a join token signs.
    pub fn token_input(&self) -> Vec<u8> {
        framed(&[b"muster-join/1 token", self.0.as_bytes()])
    }

    fn derive(&self, label: &str) -> Digest {
        Digest::of_framed(&[label.as_bytes(), self.0.as_bytes()])
    }
}

impl fmt::Debug for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transcript(..)")
    }
}

fn first_half(digest: &Digest) -> [u8; 16] {
    let (half, _) = digest.as_bytes().split_first_chunk().expect("32 bytes have 16");
    *half
}

/// `parts`, each preceded by its length as eight big-endian bytes: the `‖` of the protocol.
fn framed(parts: &[&[u8]]) -> Vec<u8> {
    parts
        .iter()
        .flat_map(|part| [&(part.len() as u64).to_be_bytes()[..], part].concat())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_is_recognised_only_as_it_was_made() {
        let key = JoinKey::from_bytes([1; 32]);
        let mac = key.offer_mac(b"offer");
        assert_eq!(key.verify_offer(b"offer", &mac), Ok(()));
        assert_eq!(key.verify_offer(b"offer ", &mac), Err(JoinError::Offer));
        assert_eq!(key.verify_offer(b"offer", &mac[..31]), Err(JoinError::Offer));
        assert_eq!(
            JoinKey::from_bytes([2; 32]).verify_offer(b"offer", &mac),
            Err(JoinError::Offer)
        );
        assert!(matches!(
            key.verify_offer(b"offer", b""),
            Err(JoinError::Empty(_))
        ));
        assert!(matches!(key.verify_offer(b"", &mac), Err(JoinError::Empty(_))));
    }

    #[test]
    fn a_hello_cannot_be_made_that_yields_the_mac_of_an_offer() {
        let key = JoinKey::from_bytes([1; 32]);
        assert_ne!(key.nonce(b"the same bytes"), key.offer_mac(b"the same bytes"));
    }

    #[test]
    fn every_part_changes_the_transcript() {
        let base = Transcript::new(b"hello", b"offer", &[1; 32]);
        assert!(base != Transcript::new(b"hell", b"ooffer", &[1; 32]));
        assert!(base != Transcript::new(b"hello", b"offer", &[2; 32]));
        assert!(base != Transcript::new(b"hello", b"offer ", &[1; 32]));
        assert_ne!(base.reveal_input(), base.token_input());
        assert_ne!(base.poll_input(1), base.poll_input(2));
    }

    #[test]
    fn the_framing_is_that_of_digests() {
        let parts: [&[u8]; 3] = [b"a", b"", b"bc"];
        assert_eq!(Digest::of(&framed(&parts)), Digest::of_framed(&parts));
    }

    #[test]
    fn nothing_of_which_the_code_follows_is_shown() {
        let transcript = Transcript::new(b"hello", b"offer", &[1; 32]);
        let shown = format!(
            "{transcript:?} {:?} {:?}",
            transcript.code(),
            JoinKey::from_bytes([0x61; 32])
        );
        assert_eq!(shown, "Transcript(..) VerificationCode(..) JoinKey(..)");
    }
}
