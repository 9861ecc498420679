//! Small conversions that several use cases share.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::Error;

/// Standard base64 with padding, as all messages use it.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes behind `text`, which is the field `what` of a message.
pub(crate) fn decode(what: &str, text: &str) -> Result<Vec<u8>, Error> {
    STANDARD
        .decode(text)
        .map_err(|_| Error::invalid(format!("the field {what} is not base64")))
}

/// Exactly `N` bytes behind `text`.
pub(crate) fn decode_exact<const N: usize>(what: &str, text: &str) -> Result<[u8; N], Error> {
    decode(what, text)?
        .try_into()
        .map_err(|_| Error::invalid(format!("the field {what} must hold {N} bytes in base64")))
}

/// Milliseconds since 1970 as RFC 3339.
pub(crate) fn rfc3339(unix_ms: i64) -> String {
    muster_daemon::clock::format_rfc3339(unix_ms)
}

/// A JSON object of type `T`. Without this a list of the fields' values would do as well, and one message would have
/// two spellings.
pub fn object<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> serde_json::Result<T> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(serde::de::Error::custom("expected an object, found a list")),
        _ => serde_json::from_slice(bytes),
    }
}
