//! The bytes of the identity file: JSON with a digest over its content, so that every damage is noticed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::{Next, Stage};

/// The format that this version writes.
const FORMAT: u32 = 1;

/// Why bytes are not an identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormError {
    #[error("it is cut off or not JSON")]
    Json,
    #[error("its content is not what its digest says")]
    Digest,
    #[error("it has the format {0}")]
    Version(u32),
    #[error("its content cannot be read: {0}")]
    Content(serde_json::Error),
    #[error("its key is not base64")]
    Key,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer<'a> {
    format: u32,
    digest: Digest,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content<'a, S> {
    /// PKCS#8 DER, base64; borrowed, so that no copy is made that nobody wipes.
    key: &'a str,
    stage: S,
    /// The key that a renewal asks a certificate for.
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    renewal: Option<Renewal<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Renewal<'a> {
    /// PKCS#8 DER, base64.
    key: &'a str,
    /// The request that is sent until it is answered: PKCS#10 DER, base64.
    csr: &'a str,
    /// When the key was made, milliseconds since 1970, UTC.
    begun: i64,
}

/// A file's content; keys as PKCS#8 DER.
pub(super) struct Read {
    pub(super) key: Zeroizing<Vec<u8>>,
    pub(super) stage: Stage,
    pub(super) next: Option<(Zeroizing<Vec<u8>>, Vec<u8>, i64)>,
}

/// The file's bytes.
pub(super) fn write(key: &[u8], stage: &Stage, next: Option<(&[u8], &Next)>) -> Zeroizing<Vec<u8>> {
    let key = Zeroizing::new(STANDARD.encode(key));
    let next = next.map(|(key, next)| {
        let key = Zeroizing::new(STANDARD.encode(key));
        (key, STANDARD.encode(&next.csr), next.begun)
    });
    let content = Content {
        key: &key,
        stage,
        renewal: next.as_ref().map(|(key, csr, begun)| Renewal {
            key,
            csr,
            begun: *begun,
        }),
    };
    let content = serde_json::to_string(&content).expect("every map of a stage has text for keys");
    let content = Zeroizing::new(content);
    let digest = Digest::of(content.as_bytes());
    // Put together by hand, so that no other copy of the key is made on the way.
    let mut bytes = Zeroizing::new(Vec::with_capacity(content.len() + 256));
    bytes.extend_from_slice(format!("{{\"format\":{FORMAT},\"digest\":\"{digest}\",\"content\":").as_bytes());
    bytes.extend_from_slice(content.as_bytes());
    bytes.extend_from_slice(b"}\n");
    bytes
}

/// What a file's bytes hold.
pub(super) fn read(bytes: &[u8]) -> Result<Read, FormError> {
    let outer: Outer<'_> = serde_json::from_slice(bytes).map_err(|_| FormError::Json)?;
    if Digest::of(outer.content.get().as_bytes()) != outer.digest {
        return Err(FormError::Digest);
    }
    if outer.format != FORMAT {
        return Err(FormError::Version(outer.format));
    }
    let content: Content<'_, Stage> =
        serde_json::from_str(outer.content.get()).map_err(FormError::Content)?;
    let decode = |text: &str| STANDARD.decode(text.as_bytes()).map_err(|_| FormError::Key);
    let next = match content.renewal {
        Some(next) => Some((Zeroizing::new(decode(next.key)?), decode(next.csr)?, next.begun)),
        None => None,
    };
    Ok(Read {
        key: Zeroizing::new(decode(content.key)?),
        stage: content.stage,
        next,
    })
}

/// Bytes as base64.
pub(super) mod standard {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in super::super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }

    /// Exactly 32 bytes.
    pub(in super::super) fn deserialize_nonce<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; 32], D::Error> {
        let bytes = deserialize(deserializer)?;
        bytes
            .try_into()
            .map_err(|_| D::Error::custom("a nonce has 32 bytes"))
    }
}

/// Certificates as a list of base64.
pub(super) mod der_list {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use muster_pki::CertificateDer;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(in super::super) fn serialize<S: Serializer>(
        list: &[CertificateDer<'static>],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(list.iter().map(|der| STANDARD.encode(der)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<CertificateDer<'static>>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts
            .iter()
            .map(|text| STANDARD.decode(text).map(CertificateDer::from))
            .collect::<Result<_, _>>()
            .map_err(D::Error::custom)
    }
}
