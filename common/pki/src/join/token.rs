//! Join tokens: a secret that lets a node in without a person, and the key that proves that one has it.
//!
//! ```text
//! text  = "muster-join-token:" id ":" base64url(secret) ":" root fingerprints, with commas
//! key   = Ed25519 with the seed HKDF-SHA-256(secret, no salt, "muster-join/1 token key", 32 bytes)
//! proof = signature of the key over "muster-join/1 token" ‖ T
//! ```
//!
//! Invariant: the secret leaves this type as the token's text only. The control plane keeps the public key, so that
//! neither its database nor the plain port ever holds what would let somebody in.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, KeyType, Salt},
    signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use muster_ids::{Digest, TokenId};
use zeroize::Zeroizing;

use super::Transcript;
use crate::BadSignature;

/// What every token begins with, so that people and scanners recognise one that lies around.
const PREFIX: &str = "muster-join-token:";
/// The longest text of a token, in bytes: 16 fingerprints fit.
const LONGEST: usize = 2048;
/// The most fingerprints in one token.
const MOST_ROOTS: usize = 16;

/// A text that is not a join token. It never repeats the text, which may hold a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this is not a join token; put the whole line that muster join-token create printed into the file, and nothing else"
)]
pub struct TokenError;

/// A join token as its holder has it.
pub struct JoinToken {
    id: TokenId,
    secret: Zeroizing<[u8; 32]>,
    roots: Vec<Digest>,
}

impl JoinToken {
    /// The token of 32 random bytes, which proves the roots with these fingerprints to its holder.
    pub fn new(id: TokenId, secret: [u8; 32], roots: Vec<Digest>) -> Self {
        Self {
            id,
            secret: Zeroizing::new(secret),
            roots,
        }
    }

    /// The public name of the token.
    pub fn id(&self) -> TokenId {
        self.id
    }

    /// Fingerprints of which the collective's roots must have one.
    pub fn roots(&self) -> &[Digest] {
        &self.roots
    }

    /// The text to be handed out: it holds the secret.
    pub fn to_text(&self) -> Zeroizing<String> {
        let secret = Zeroizing::new(URL_SAFE_NO_PAD.encode(*self.secret));
        let roots: Vec<String> = self.roots.iter().map(ToString::to_string).collect();
        Zeroizing::new(format!("{PREFIX}{}:{}:{}", self.id, *secret, roots.join(",")))
    }

    /// What the control plane keeps.
    pub fn key(&self) -> TokenKey {
        let pair = self.pair();
        TokenKey(
            pair.public_key()
                .as_ref()
                .try_into()
                .expect("an Ed25519 key has 32 bytes"),
        )
    }

    /// The proof that its holder takes part in the join `transcript`.
    pub fn prove(&self, transcript: &Transcript) -> Vec<u8> {
        self.pair().sign(&transcript.token_input()).as_ref().to_vec()
    }

    fn pair(&self) -> Ed25519KeyPair {
        struct Seed;
        impl KeyType for Seed {
            fn len(&self) -> usize {
                32
            }
        }
        let mut seed = Zeroizing::new([0; 32]);
        Salt::new(HKDF_SHA256, &[])
            .extract(self.secret.as_slice())
            .expand(&[b"muster-join/1 token key"], Seed)
            .and_then(|key| key.fill(seed.as_mut_slice()))
            .expect("HKDF gives 32 bytes");
        Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).expect("any 32 bytes are an Ed25519 seed")
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        if text.len() > LONGEST {
            return Err(TokenError);
        }
        let rest = text.strip_prefix(PREFIX).ok_or(TokenError)?;
        let (id, rest) = rest.split_once(':').ok_or(TokenError)?;
        let (secret, roots) = rest.split_once(':').ok_or(TokenError)?;
        let bytes = Zeroizing::new(URL_SAFE_NO_PAD.decode(secret).map_err(|_| TokenError)?);
        let roots = roots
            .split(',')
            .map(str::parse)
            .collect::<Result<Vec<Digest>, _>>()
            .map_err(|_| TokenError)?;
        if roots.len() > MOST_ROOTS {
            return Err(TokenError);
        }
        Ok(Self {
            id: id.parse().map_err(|_| TokenError)?,
            secret: Zeroizing::new(bytes.as_slice().try_into().map_err(|_| TokenError)?),
            roots,
        })
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({}, ..)", self.id)
    }
}

/// The public half of a token: an Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenKey([u8; 32]);

impl TokenKey {
    /// Proofs for tokens that do not exist are checked against this key, so that they cost the same time as others.
    /// It is the one of RFC 8032 7.1, test 1: whoever uses it still has to refuse what fits.
    pub const DECOY: Self = Self([
        0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e,
        0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
    ]);

    /// A stored key.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The key, for storage.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether `proof` was made for the join `transcript` by the holder of the token.
    pub fn verify(&self, transcript: &Transcript, proof: &[u8]) -> Result<(), BadSignature> {
        if proof.is_empty() {
            return Err(BadSignature);
        }
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&transcript.token_input(), proof)
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenKey({})", Digest::of(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(secret: u8) -> JoinToken {
        let roots = vec![Digest::of(b"one root"), Digest::of(b"another")];
        JoinToken::new(TokenId::new(1, [1; 10]), [secret; 32], roots)
    }

    fn transcript(hello: &[u8]) -> Transcript {
        Transcript::new(hello, b"offer", &[1; 32])
    }

    #[test]
    fn a_token_survives_its_text() {
        let text = token(7).to_text();
        let read: JoinToken = text.parse().expect("a token");
        assert_eq!(
            (read.id(), read.roots(), read.key()),
            (token(7).id(), token(7).roots(), token(7).key())
        );
        assert_eq!(*read.to_text(), *text);
    }

    #[test]
    fn a_proof_counts_for_its_token_and_its_join_only() {
        let proof = token(7).prove(&transcript(b"hello"));
        assert_eq!(token(7).key().verify(&transcript(b"hello"), &proof), Ok(()));
        for (key, said) in [
            (token(7).key(), &b"another hello"[..]),
            (token(8).key(), b"hello"),
            (TokenKey::DECOY, b"hello"),
        ] {
            assert_eq!(key.verify(&transcript(said), &proof), Err(BadSignature));
        }
        for proof in [&[][..], &[0; 64], &proof[..63]] {
            assert_eq!(
                token(7).key().verify(&transcript(b"hello"), proof),
                Err(BadSignature)
            );
            assert_eq!(
                TokenKey::DECOY.verify(&transcript(b"hello"), proof),
                Err(BadSignature)
            );
        }
    }

    #[test]
    fn what_is_not_wholly_a_token_is_refused_without_repeating_it() {
        let good = token(7).to_text();
        let root = Digest::of(b"one root");
        for text in [
            "",
            "muster-join-token:",
            &good[1..],
            &good[..good.len() - 1],
            &format!("{}\n", *good),
            &format!("{},", *good),
            &good.replace("muster-join-token", "muster-login-token"),
            &good.replace(',', ";"),
            &format!("{PREFIX}{}:AAAA:{root}", TokenId::new(1, [1; 10])),
            &format!("{PREFIX}x:{}:{root}", URL_SAFE_NO_PAD.encode([1; 32])),
            &format!(
                "{PREFIX}{}:{}:",
                TokenId::new(1, [1; 10]),
                URL_SAFE_NO_PAD.encode([1; 32])
            ),
            &format!("{}{}", *good, format!(",{root}").repeat(15)),
        ] {
            let refused = text.parse::<JoinToken>().expect_err(text);
            assert!(!refused.to_string().contains("BwcH"));
        }
    }

    #[test]
    fn the_secret_is_not_shown() {
        let shown = format!("{:?} {:?}", token(7), token(7).key());
        assert!(shown.starts_with("JoinToken("), "{shown}");
        assert!(!shown.contains("BwcH") && !shown.contains("7, 7"), "{shown}");
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(muster-join-token:)?[ -~:,]{0,200}") {
            if let Ok(token) = text.parse::<JoinToken>() {
                prop_assert_eq!(&*token.to_text(), &text);
            }
        }
    }
}
