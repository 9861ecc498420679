//! SPIFFE identities: the one name that a certificate carries and that authorization is decided by.
//!
//! ```text
//! spiffe://<collective>/node/<node>                 a node as TLS client
//! spiffe://<collective>/control-plane/<id>          a control plane as TLS server
//! spiffe://<collective>/policy/<control plane>      the key that signs what nodes obey
//! spiffe://<collective>/receipt/<node>              the key that signs what a node did
//! ```
//!
//! Invariant: the role is part of the name, so a certificate of one role is never mistaken for another.
//! One identity has one spelling.

use std::{fmt, str::FromStr};

use muster_ids::{CollectiveId, ControlPlaneId, NodeId};
use serde::{Deserialize, Serialize};

const SCHEME: &str = "spiffe://";

/// What the holder of a certificate may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node, which is a TLS client only.
    Node,
    /// A control plane, which is a TLS server only.
    ControlPlane,
    /// The signer of join answers, trust states, beacons, run grants and audit heads.
    Policy,
    /// The signer of a node's run receipts.
    Receipt,
}

impl Role {
    /// Every role, for tests and listings.
    pub const ALL: [Self; 4] = [Self::Node, Self::ControlPlane, Self::Policy, Self::Receipt];
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Node => "node",
            Self::ControlPlane => "control plane",
            Self::Policy => "policy signer",
            Self::Receipt => "receipt signer",
        })
    }
}

/// Who, within a collective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node as TLS client.
    Node(NodeId),
    /// A control plane as TLS server.
    ControlPlane(ControlPlaneId),
    /// The policy key of a control plane.
    Policy(ControlPlaneId),
    /// The receipt key of a node.
    Receipt(NodeId),
}

/// An identity of a collective, as in the URI of an X.509-SVID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpiffeId {
    /// The trust domain.
    pub collective: CollectiveId,
    /// Who in it.
    pub subject: Subject,
}

impl SpiffeId {
    /// `subject` of `collective`.
    pub fn new(collective: CollectiveId, subject: Subject) -> Self {
        Self { collective, subject }
    }

    /// The role that the name states.
    pub fn role(&self) -> Role {
        match self.subject {
            Subject::Node(_) => Role::Node,
            Subject::ControlPlane(_) => Role::ControlPlane,
            Subject::Policy(_) => Role::Policy,
            Subject::Receipt(_) => Role::Receipt,
        }
    }
}

/// A text that is not an identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{shown}\" is not an identity; expected spiffe://<collective>/<node, control-plane, policy or receipt>/<id>"
)]
pub struct IdentityError {
    shown: String,
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/", self.collective)?;
        match self.subject {
            Subject::Node(id) => write!(f, "node/{id}"),
            Subject::ControlPlane(id) => write!(f, "control-plane/{id}"),
            Subject::Policy(id) => write!(f, "policy/{id}"),
            Subject::Receipt(id) => write!(f, "receipt/{id}"),
        }
    }
}

impl FromStr for SpiffeId {
    type Err = IdentityError;
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        parse(text).ok_or_else(|| IdentityError { shown: shown(text) })
    }
}

impl TryFrom<String> for SpiffeId {
    type Error = IdentityError;
    fn try_from(text: String) -> Result<Self, IdentityError> {
        text.parse()
    }
}

impl From<SpiffeId> for String {
    fn from(id: SpiffeId) -> String {
        id.to_string()
    }
}

/// The identity of a collective's certification authorities: the trust domain alone, as X.509-SVID 3.2 has it
/// for signing certificates.
pub(crate) fn trust_domain(collective: CollectiveId) -> String {
    format!("{SCHEME}{collective}")
}

/// The collective of a certification authority's URI.
pub(crate) fn parse_trust_domain(uri: &str) -> Result<CollectiveId, IdentityError> {
    let collective = uri.strip_prefix(SCHEME).and_then(|domain| domain.parse().ok());
    collective.ok_or_else(|| IdentityError { shown: shown(uri) })
}

fn parse(text: &str) -> Option<SpiffeId> {
    let mut parts = text.strip_prefix(SCHEME)?.split('/');
    let (collective, kind, id) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let subject = match kind {
        "node" => Subject::Node(id.parse().ok()?),
        "control-plane" => Subject::ControlPlane(id.parse().ok()?),
        "policy" => Subject::Policy(id.parse().ok()?),
        "receipt" => Subject::Receipt(id.parse().ok()?),
        _ => return None,
    };
    Some(SpiffeId::new(collective.parse().ok()?, subject))
}

/// Foreign text made safe for a terminal and a log.
fn shown(text: &str) -> String {
    text.chars().take(160).flat_map(char::escape_default).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_id() -> impl Strategy<Value = SpiffeId> {
        let collective = any::<(u32, [u8; 10])>().prop_map(|(t, r)| CollectiveId::new(t.into(), r));
        let subject = (0..4usize, any::<(u32, [u8; 10])>()).prop_map(|(kind, (t, r))| match kind {
            0 => Subject::Node(NodeId::new(t.into(), r)),
            1 => Subject::ControlPlane(ControlPlaneId::new(t.into(), r)),
            2 => Subject::Policy(ControlPlaneId::new(t.into(), r)),
            _ => Subject::Receipt(NodeId::new(t.into(), r)),
        });
        (collective, subject).prop_map(|(collective, subject)| SpiffeId::new(collective, subject))
    }

    #[test]
    fn another_spelling_or_another_name_is_refused() {
        let collective = CollectiveId::new(1, [1; 10]);
        let good = SpiffeId::new(collective, Subject::Node(NodeId::new(2, [2; 10]))).to_string();
        let others = [
            good.replace("spiffe", "SPIFFE"),
            good.replace("spiffe", "https"),
            good.replace("/node/", "/nodes/"),
            good.replace("/node/", "/Node/"),
            good.replace("/node/", "//node/"),
            good.replace("/node/", "/./node/"),
            format!("{good}/"),
            format!("{good}?x"),
            format!("{good}#x"),
            format!(" {good}"),
            good.replace("://", "://user@"),
            good.to_uppercase(),
            trust_domain(collective),
            String::new(),
        ];
        for other in others {
            assert!(other.parse::<SpiffeId>().is_err(), "{other}");
        }
    }

    #[test]
    fn an_error_escapes_what_it_shows() {
        let error = "spiffe://\u{202e}\n"
            .parse::<SpiffeId>()
            .expect_err("no identity");
        assert!(
            error
                .to_string()
                .starts_with("\"spiffe://\\u{202e}\\n\" is not an identity")
        );
    }

    proptest! {
        #[test]
        fn an_identity_survives_its_text(id in any_id()) {
            prop_assert_eq!(id.to_string().parse(), Ok(id));
        }

        #[test]
        fn a_text_that_parses_is_the_canonical_one(text in "spiffe://[0-9a-f/-]{0,90}") {
            if let Ok(id) = text.parse::<SpiffeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
