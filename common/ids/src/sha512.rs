//! SHA-512 digests, the documented names of items and their files.

use std::{fmt, io, str::FromStr};

use aws_lc_rs::digest::{Context, SHA512};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

/// How one is written: this, and 88 characters of base64 with padding.
const PREFIX: &str = "sha512=";

/// A SHA-512 digest, written as the original writes those of mods: `sha512=` and base64.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sha512([u8; 64]);

/// A text that is not such a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-512 digest is written sha512= and 88 characters of base64")]
pub struct Sha512Error;

impl Sha512 {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut context = Context::new(&SHA512);
        context.update(bytes);
        Self::finish(context)
    }

    /// The digest of everything that `reader` gives, and its length in bytes.
    pub fn of_reader(mut reader: impl io::Read) -> io::Result<(Self, u64)> {
        let mut context = Context::new(&SHA512);
        let mut buffer = vec![0; 64 * 1024];
        let mut length = 0;
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    context.update(&buffer[..count]);
                    length += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok((Self::finish(context), length))
    }

    /// The digest of `parts`, each preceded by its length as eight big-endian bytes.
    pub fn of_framed<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut context = Context::new(&SHA512);
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        Self::finish(context)
    }

    /// The 64 bytes.
    pub fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    fn finish(context: Context) -> Self {
        let mut digest = [0; 64];
        digest.copy_from_slice(context.finish().as_ref());
        Self(digest)
    }
}

impl fmt::Display for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", STANDARD.encode(self.0))
    }
}

impl fmt::Debug for Sha512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha512 {
    type Err = Sha512Error;
    /// The alphabet's own decoder refuses what is not padded or has bits to spare, so a digest has one spelling.
    fn from_str(text: &str) -> Result<Self, Sha512Error> {
        text.strip_prefix(PREFIX)
            .and_then(|digits| STANDARD.decode(digits).ok())
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or(Sha512Error)
    }
}

impl TryFrom<String> for Sha512 {
    type Error = Sha512Error;
    fn try_from(text: String) -> Result<Self, Sha512Error> {
        text.parse()
    }
}

impl From<Sha512> for String {
    fn from(digest: Sha512) -> String {
        digest.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_published_one() {
        // FIPS 180-4, SHA-512 of the empty message.
        assert_eq!(
            Sha512::of(b"").to_string(),
            "sha512=z4PhNX7vuL3xVChQ1m2AB9Yg5AULVxXcg/SpIdNs6c5H0NE8XYXysP+DGNKHfuwvY7kxvUdBeoGlODJ6+SfaPg=="
        );
    }

    #[test]
    fn a_reader_has_the_digest_of_its_bytes_and_framing_keeps_parts_apart() {
        let bytes = vec![7; 200_000];
        let read = Sha512::of_reader(bytes.as_slice()).expect("read");
        assert_eq!(read, (Sha512::of(&bytes), 200_000));
        let framed = |parts: [&'static [u8]; 2]| Sha512::of_framed(parts);
        assert_ne!(framed([b"ab", b"c"]), framed([b"a", b"bc"]));
    }

    proptest! {
        #[test]
        fn a_digest_has_one_text(bytes in any::<Vec<u8>>(), at in any::<prop::sample::Index>(), other in "[ -~]") {
            let digest = Sha512::of(&bytes);
            let text = digest.to_string();
            prop_assert_eq!(text.parse(), Ok(digest));
            let at = at.index(text.len());
            let mut changed = text.clone();
            changed.replace_range(at..=at, &other);
            if let Ok(read) = changed.parse::<Sha512>() {
                prop_assert_eq!(read.to_string(), changed);
            }
        }
    }
}
