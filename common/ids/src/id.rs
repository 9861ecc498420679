//! One line for each kind of thing that has an identity.
//!
//! Identifiers are UUIDs of version 7 (RFC 9562 5.7), made from a time and random bytes that are parameters,
//! so that rows sort by age and tests are reproducible. A join identifier is not random: it is derived from
//! the transcript (docs/reference/join-protocol.md), so it has its own form.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{shown}\" is not a {kind} identifier")]
pub struct IdError {
    kind: &'static str,
    shown: String,
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $kind:literal;)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Uuid);

        impl $name {
            /// An identifier of the moment `unix_ms` (milliseconds since 1970, UTC) made unique by `random`.
            pub fn new(unix_ms: i64, random: [u8; 10]) -> Self {
                let ms = u64::try_from(unix_ms).unwrap_or(0);
                Self(uuid::Builder::from_unix_timestamp_millis(ms, &random).into_uuid())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            /// Accepts the canonical lower-case hyphenated form only: one thing has one spelling.
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self).ok_or_else(|| refused($kind, text))
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.to_string()
            }
        }
    )+};
}

ids! {
    /// All nodes and control planes that share one root: the trust domain of every SPIFFE identity.
    CollectiveId = "collective";
    /// One control plane of the collective.
    ControlPlaneId = "control plane";
    /// One node, from approval to deletion.
    NodeId = "node";
    /// A person or service account of the user directory.
    UserId = "user";
    /// A group of users.
    GroupId = "group";
    /// Nodes that share work.
    PoolId = "pool";
    /// A part of the collective whose nodes and runs stay together.
    SiteId = "site";
    /// A data function of the library.
    FunctionId = "function";
    /// A folder of the library or something in one. A data function has the identifier of its function.
    LibraryItemId = "library item";
    /// One queued execution of a function.
    RunId = "run";
    /// A recorded decision that one content is trusted.
    StampId = "stamp";
    /// A recorded decision that something is blocked.
    BlockId = "block";
    /// A join token.
    TokenId = "join token";
    /// A blob being uploaded; stored blobs are named by their digest.
    BlobId = "blob";
    /// One writer of the audit log (a control plane's life between two restores).
    AuditWriter = "audit writer";
    /// One copy of the database; a restore makes another.
    Incarnation = "incarnation";
}

impl LibraryItemId {
    /// The folder that holds everything.
    pub const ROOT: Self = Self(Uuid::nil());
}

impl From<FunctionId> for LibraryItemId {
    fn from(function: FunctionId) -> Self {
        Self(function.0)
    }
}

impl From<LibraryItemId> for FunctionId {
    /// The function that this item is, if it is one.
    fn from(item: LibraryItemId) -> Self {
        Self(item.0)
    }
}

/// A join request: the first 16 bytes of a hash over the transcript, as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JoinId([u8; 16]);

impl JoinId {
    /// The identifier made of these bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for JoinId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for JoinId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        crate::digest::from_hex::<16>(text)
            .map(Self)
            .ok_or_else(|| refused("join", text))
    }
}

impl TryFrom<String> for JoinId {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<JoinId> for String {
    fn from(id: JoinId) -> String {
        id.to_string()
    }
}

fn parse(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().to_string() == text).then_some(id)
}

fn refused(kind: &'static str, text: &str) -> IdError {
    IdError {
        kind,
        shown: text.chars().take(64).flat_map(char::escape_default).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_survives_its_text_and_sorts_by_time() {
        let early = NodeId::new(1_000, [7; 10]);
        let late = NodeId::new(2_000, [0; 10]);
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early < late);
    }

    #[test]
    fn another_spelling_of_the_same_identifier_is_refused() {
        let id = RunId::new(1_000, [0xab; 10]).to_string();
        for spelling in [
            id.to_uppercase(),
            id.replace('-', ""),
            format!("{{{id}}}"),
            format!("urn:uuid:{id}"),
        ] {
            assert!(spelling.parse::<RunId>().is_err(), "{spelling}");
        }
    }

    #[test]
    fn a_function_is_a_library_item_of_the_same_spelling() {
        let function = FunctionId::new(1_000, [3; 10]);
        let item = LibraryItemId::from(function);
        assert_eq!(item.to_string(), function.to_string());
        assert_eq!(FunctionId::from(item), function);
        assert_eq!(LibraryItemId::ROOT.to_string().parse(), Ok(LibraryItemId::ROOT));
    }

    #[test]
    fn an_error_escapes_what_it_shows() {
        let error = "a\u{202e}b\n".parse::<NodeId>().expect_err("not an id");
        assert_eq!(error.to_string(), "\"a\\u{202e}b\\n\" is not a node identifier");
    }
}
