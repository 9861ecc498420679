//! Short texts of foreign origin that entries are about: content hashes, certificate names and numbers.
//!
//! Invariant: none contains a control character or is longer than [`MAX_BYTES`], so that each can stand in a key
//! of the trust state, in a log line and on a terminal. Only the last part of a key may contain `/`.

use std::{fmt, str::FromStr};

use muster_ids::{Digest, Sha512};
use serde::{Deserialize, Serialize};

/// The longest of them, in bytes: a distinguished name of a certificate authority fits several times.
const MAX_BYTES: usize = 1024;

/// Why a text cannot stand in an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Not a hash of content.
    #[error("a content hash is 1 to {MAX_BYTES} visible ASCII characters, for example sha256:9f86d0…")]
    Hash,
    /// Not a label.
    #[error(
        "a root, an issuer or a library item is named by 1 to {MAX_BYTES} bytes without control characters"
    )]
    Label,
    /// Not a serial number.
    #[error("a certificate's serial number is written in hexadecimal digits, for example 01a4")]
    Serial,
}

/// The hash of one version of an item: any change of the item gives another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ItemHash(String);

/// The name of a root, the issuer of a certificate, or the name of a library item.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Label(String);

/// The serial number of a certificate: lower-case hexadecimal digits without leading zeros.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Serial(String);

impl From<Digest> for ItemHash {
    fn from(digest: Digest) -> Self {
        Self(digest.to_string())
    }
}

impl From<Sha512> for ItemHash {
    fn from(digest: Sha512) -> Self {
        Self(digest.to_string())
    }
}

impl FromStr for ItemHash {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let fits =
            !text.is_empty() && text.len() <= MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError::Hash)
        }
    }
}

impl FromStr for Label {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, TextError> {
        let fits = !text.is_empty() && text.len() <= MAX_BYTES && !text.chars().any(char::is_control);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(TextError::Label)
        }
    }
}

impl FromStr for Serial {
    type Err = TextError;
    /// Upper case and leading zeros are accepted: tools print the same number in several ways.
    fn from_str(text: &str) -> Result<Self, TextError> {
        if text.is_empty() || text.len() > MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(TextError::Serial);
        }
        let digits = text.trim_start_matches('0').to_ascii_lowercase();
        Ok(Self(if digits.is_empty() { "0".to_owned() } else { digits }))
    }
}

macro_rules! text_forms {
    ($($name:ident),+) => {$(
        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = TextError;
            fn try_from(text: String) -> Result<Self, TextError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> String {
                text.0
            }
        }
    )+};
}

text_forms!(ItemHash, Label, Serial);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_serial_number_has_one_spelling() {
        for text in ["01A4", "1a4", "0001a4"] {
            assert_eq!(text.parse::<Serial>().expect(text).as_str(), "1a4");
        }
        assert_eq!("00".parse::<Serial>().expect("zero").as_str(), "0");
        assert_eq!("0x1".parse::<Serial>(), Err(TextError::Serial));
    }

    #[test]
    fn a_hash_is_visible_and_a_label_has_no_line_breaks() {
        assert!("sha512=ab/+c==".parse::<ItemHash>().is_ok());
        for text in ["", "a b", "ä", "a\n"] {
            assert_eq!(text.parse::<ItemHash>(), Err(TextError::Hash), "{text:?}");
        }
        assert!("CN=Corp CA, O=Ärzte/Nord".parse::<Label>().is_ok());
        assert_eq!("a\nb".parse::<Label>(), Err(TextError::Label));
        assert_eq!("x".repeat(1025).parse::<Label>(), Err(TextError::Label));
    }
}
