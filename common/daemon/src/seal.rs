//! Small secrets at rest: sealed under a key that lies elsewhere.
//!
//! ```text
//! muster-sealed/1 LF ‖ nonce (12 bytes) ‖ AES-256-GCM(key, nonce, plain; additional data: the name) with its tag
//! ```
//!
//! Invariant: a sealed text opens under its key and its name only, so files cannot be swapped for one another.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::random::Random;

/// How a sealed text begins.
const HEAD: &[u8] = b"muster-sealed/1\n";

/// The key that seals: 32 random bytes.
pub type MasterKey = Zeroizing<[u8; 32]>;

/// Why a text does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Not sealed by this program.
    #[error("it is not sealed, or it was cut off")]
    Form,
    /// Another key, another name, or damage.
    #[error("it was sealed under another master key, belongs to another name, or was damaged")]
    Key,
}

/// Whether `text` claims to be sealed.
pub fn is_sealed(text: &[u8]) -> bool {
    text.starts_with(HEAD)
}

/// `plain` sealed under `key`, to be opened as `name`.
pub fn seal(key: &MasterKey, name: &str, plain: &[u8], random: &Random) -> Vec<u8> {
    let nonce: [u8; NONCE_LEN] = random.bytes();
    // Sized before it is filled: no copy of the plain text is left behind by a growing buffer.
    let mut sealed = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(plain);
    aead(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(name.as_bytes()),
            &mut sealed,
        )
        .expect("a secret is far shorter than what AES-GCM can seal");
    [HEAD, &nonce, &sealed].concat()
}

/// The plain text of `text`, which was sealed as `name`.
pub fn open(key: &MasterKey, name: &str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let rest = text.strip_prefix(HEAD).ok_or(SealError::Form)?;
    let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>().ok_or(SealError::Form)?;
    let mut plain = Zeroizing::new(sealed.to_vec());
    let length = aead(key)
        .open_in_place(
            Nonce::assume_unique_for_key(*nonce),
            Aad::from(name.as_bytes()),
            &mut plain,
        )
        .map_err(|_| SealError::Key)?
        .len();
    plain.truncate(length);
    Ok(plain)
}

fn aead(key: &MasterKey) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_slice()).expect("AES-256 has keys of 32 bytes"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(byte: u8) -> MasterKey {
        Zeroizing::new([byte; 32])
    }

    #[test]
    fn a_secret_opens_under_its_key_and_name_only() {
        let sealed = seal(&key(7), "a", b"secret", &Random::seeded(1));
        assert!(is_sealed(&sealed) && !sealed.windows(6).any(|window| window == b"secret"));
        assert_eq!(open(&key(7), "a", &sealed).expect("opened").as_slice(), b"secret");
        assert_eq!(open(&key(8), "a", &sealed).err(), Some(SealError::Key));
        assert_eq!(open(&key(7), "b", &sealed).err(), Some(SealError::Key));
        assert_eq!(open(&key(7), "a", b"secret").err(), Some(SealError::Form));
    }

    proptest! {
        #[test]
        fn nothing_opens_that_was_changed_anywhere(
            plain in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>(),
        ) {
            let mut sealed = seal(&key(7), "a", &plain, &Random::seeded(2));
            let opened = open(&key(7), "a", &sealed).expect("opened");
            prop_assert_eq!(opened.as_slice(), plain.as_slice());
            let at = at.index(sealed.len());
            if cut {
                sealed.truncate(at);
            } else {
                sealed[at] ^= 1 << bit;
            }
            prop_assert!(open(&key(7), "a", &sealed).is_err());
        }
    }
}
