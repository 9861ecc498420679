//! The signature of one version of an item: what was signed, by whom, when, and what of it holds.
//!
//! A bundle is all that it takes to verify one without asking anybody: the signed statement with its certificates, and
//! the time stamp over its signature with its own. What decides is [`decide`](crate::decide); [`check`] says to it what
//! was found.
//!
//! Invariant: a time comes from a stamp whose key leads to a root, never from whoever signed; signatures of users of this
//! collective count with a stamp of this collective only, so none can be dated back before a revocation.

use std::fmt;

use muster_ids::Digest;
use muster_pki::{
    CertificateDer,
    code_signing::{
        Account, ChainError, CodeCertificate, CodeCertificateError, CodeMessage, CodeMessageError,
        CodeSigned, CodeUsage, verify_code_chain,
    },
};
use serde::{Deserialize, Serialize};

use crate::{
    Certificate, ItemHash, ItemType, Label, Moment, Signature, SignatureSource, SignerState, words::words,
};

/// What the collective's own code-signing root is called where roots are named.
pub const INTERNAL_ROOT: &str = "internal";
/// What the collective's own roots before that are called: nothing that leads to them counts, nor does it by another way.
pub const FORMER_ROOT: &str = "former";
/// The longest bundle, bytes.
pub const MOST_BUNDLE: usize = 512 * 1024;

/// What a signature is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ItemStatement {
    /// What was signed: its type.
    pub r#type: ItemType,
    /// The digest of its canonical form.
    pub hash: ItemHash,
}

/// What a time stamp is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeStatement {
    /// Of a signature and all that it is over: [`CodeSigned::digest`].
    pub digest: Digest,
    /// When they were there.
    pub at: Moment,
    /// Whether who stamps has made the signature at this moment. Anybody may have a signature stamped that was there
    /// before; under the collective's own root such a stamp counts for nothing, or an old signature would be taken out of
    /// the time for which it is revoked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed_here: bool,
}

/// What a time stamp says, once it is verified.
#[derive(Clone, Copy)]
struct Stamped {
    /// The place of the root that it leads to.
    root: usize,
    at: Moment,
    signed_here: bool,
}

/// A signature with all that it takes to verify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureBundle {
    /// The signed statement.
    pub signature: CodeSigned,
    /// When it was signed, if somebody stamped that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_stamp: Option<CodeSigned>,
}

/// A root that signatures may lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeRoot {
    /// What the trust state calls it: [`INTERNAL_ROOT`] for the collective's own.
    pub label: Label,
    /// Its certificate.
    pub certificate: CertificateDer<'static>,
}

words! {
    /// What is wrong with a signature, for people and programs. What decides is the order of `decide`.
    pub SignatureStatus ("status of a signature") {
        /// Nothing.
        Valid = "valid",
        /// The item is another than was signed, or the statement was changed.
        Modified = "modified",
        /// It leads to no root, or did not when it was signed.
        Chain = "chain",
        /// The account of its signer is gone.
        UserDeleted = "user_deleted",
    }
}

/// Why a signature is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureProblem {
    /// It was made over something else.
    #[error(
        "the item is not the one that was signed: it was changed afterwards, or the signature belongs to another"
    )]
    OtherItem,
    /// It was changed.
    #[error("the signature does not fit its certificate: it was changed, or made by another key")]
    Changed,
    /// Its chain is refused.
    #[error("{0}")]
    Chain(ChainError),
    /// It has no time, and needs one.
    #[error("it has no time stamp, and signatures of users count with one only")]
    NoTimeStamp,
    /// Its time stamp says something else, or cannot be believed.
    #[error("its time stamp is not over this signature, or of nobody who is accepted here")]
    TimeStamp,
    /// A certificate of the collective's own authority that is for nobody.
    #[error("the certificate names no account of this collective")]
    NoAccount,
    /// The account is gone.
    #[error("the account of the signer is gone; have the item signed by somebody else")]
    UserDeleted,
}

impl SignatureProblem {
    /// Its kind.
    pub fn status(&self) -> SignatureStatus {
        match self {
            Self::OtherItem | Self::Changed => SignatureStatus::Modified,
            Self::UserDeleted => SignatureStatus::UserDeleted,
            Self::Chain(_) | Self::NoTimeStamp | Self::TimeStamp | Self::NoAccount => SignatureStatus::Chain,
        }
    }
}

/// Why bytes are no signature of an item at all. Such an item counts as unsigned.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Longer than a bundle can be.
    #[error("the signature has {0} bytes; at most {MOST_BUNDLE} are accepted")]
    TooLong(usize),
    /// Something else, for example a signature in the undocumented form of the original.
    #[error(
        "this is no signature that Muster made or can read, so the item counts as unsigned; sign it again with muster trust sign"
    )]
    Json(#[from] serde_json::Error),
    /// A message of another kind.
    #[error("the signature of the item cannot be used, so the item counts as unsigned")]
    Message(#[from] CodeMessageError),
    /// A certificate that cannot be read.
    #[error("the certificate of the signature cannot be used, so the item counts as unsigned")]
    Certificate(#[from] CodeCertificateError),
}

/// What was found out about a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What decisions need to know.
    pub signature: Signature,
    /// What is wrong with it, if anything is. Revocations and blocks are asked in the trust state.
    pub problem: Option<SignatureProblem>,
    /// Whose certificate it is.
    pub subject: String,
    /// The certificate.
    pub certificate: Certificate,
    /// When it was signed, by its stamp.
    pub stamped: Option<Moment>,
    /// The root that it leads to.
    pub root: Option<Label>,
}

impl SignatureBundle {
    /// Reads a bundle.
    pub fn from_json(bytes: &[u8]) -> Result<Self, BundleError> {
        if bytes.len() > MOST_BUNDLE {
            return Err(BundleError::TooLong(bytes.len()));
        }
        Ok(serde_json::from_slice(bytes)?)
    }

    /// As it is kept.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a bundle has text keys only")
    }

    /// The account that the signer's certificate names; unverified.
    pub fn account(&self) -> Option<Account> {
        let chain = self.signature.chain();
        CodeCertificate::of(chain.first()?).ok()?.account
    }

    /// What the time stamp of this signature is over.
    pub fn stamped_digest(signature: &CodeSigned) -> Digest {
        signature.digest()
    }

    /// What is to be held of the signature of the item with this type and hash, which the verifier computed itself from
    /// what is there. `account` says what became of an account of this collective; `now` counts where nothing says when it
    /// was signed.
    pub fn check(
        &self,
        named: (ItemType, &ItemHash),
        roots: &[CodeRoot],
        now: Moment,
        account: impl FnOnce(&Account) -> SignerState,
    ) -> Result<Checked, BundleError> {
        self.check_with(named, (roots, &[]), now, account)
    }

    /// As [`Self::check`]; certificates in `known` may lead on where some of the bundle are missing.
    pub fn check_with(
        &self,
        (r#type, hash): (ItemType, &ItemHash),
        (roots, known): (&[CodeRoot], &[CertificateDer<'_>]),
        now: Moment,
        account: impl FnOnce(&Account) -> SignerState,
    ) -> Result<Checked, BundleError> {
        self.signature.unverified(CodeMessage::ItemSignature)?;
        let mut chain = self.signature.chain();
        chain.extend(known.iter().cloned());
        let leaf = CodeCertificate::of(&chain[0])?;
        let refused = CodeCertificateError::Name;
        let certificate = Certificate {
            issuer: leaf.issuer.parse().map_err(|_| refused)?,
            serial: leaf.serial.parse().map_err(|_| refused)?,
        };
        let changed = self.changed(r#type, hash);
        // No other root comes before the own one, so none speaks for users of this collective.
        let mut roots: Vec<&CodeRoot> = roots.iter().collect();
        let others = |root: &&CodeRoot| ![INTERNAL_ROOT, FORMER_ROOT].contains(&root.label.as_str());
        roots.sort_by_key(others);
        let ders: Vec<CertificateDer<'_>> = roots.iter().map(|root| root.certificate.clone()).collect();
        let stamp = self.stamp(&ders);
        let time = stamp.map_or(now, |stamp| stamp.at);
        let leads = verify_code_chain(&chain, &ders, CodeUsage::Signing, time.unix_ms())
            .map_err(SignatureProblem::Chain)
            .and_then(|path| {
                let place = path.root;
                let internal = roots[place].label.as_str() == INTERNAL_ROOT;
                if roots[place].label.as_str() == FORMER_ROOT {
                    return Err(SignatureProblem::Chain(ChainError::UnknownIssuer));
                }
                match (stamp, &self.time_stamp) {
                    (None, Some(_)) => Err(SignatureProblem::TimeStamp),
                    (None, None) if internal => Err(SignatureProblem::NoTimeStamp),
                    (Some(stamp), _) if internal && !(stamp.root == place && stamp.signed_here) => {
                        Err(SignatureProblem::TimeStamp)
                    }
                    _ if internal && leaf.account.is_none() => Err(SignatureProblem::NoAccount),
                    _ => Ok(path),
                }
            });
        // Where nothing leads to a root, what was sent along says under whom it was signed: a block needs no proof.
        let authorities = match &leads {
            Ok(path) => {
                let root = &roots[path.root].certificate;
                path.between
                    .iter()
                    .chain([root])
                    .filter_map(|der| named_in(der))
                    .collect()
            }
            Err(_) => chain[1..].iter().filter_map(|der| named_in(der)).collect(),
        };
        let (root, chain_problem) = match leads {
            Ok(path) => (Ok(roots[path.root].label.clone()), None),
            Err(problem) => (Err(unverified(&problem)), Some(problem)),
        };
        let own = match &root {
            Ok(label) => label.as_str() == INTERNAL_ROOT,
            Err(_) => true,
        };
        let mut deleted = None;
        let (accepted, label) = (root.is_ok(), root.clone().unwrap_or_else(|label| label));
        let source = match leaf.account.filter(|_| own) {
            Some(named) => {
                let state = if accepted {
                    account(&named)
                } else {
                    SignerState::Active
                };
                deleted = (state == SignerState::Deleted).then_some(SignatureProblem::UserDeleted);
                SignatureSource::User {
                    root: label,
                    user: named.name,
                    state,
                    certificate: Some(certificate.clone()),
                    time,
                }
            }
            None => SignatureSource::External {
                root: label,
                certificate: certificate.clone(),
                time,
            },
        };
        Ok(Checked {
            signature: Signature {
                source,
                tampered: changed.is_some(),
                authorities,
            },
            problem: changed.or(chain_problem).or(deleted),
            subject: leaf.subject,
            certificate,
            stamped: stamp.map(|stamp| stamp.at),
            root: root.ok(),
        })
    }

    /// What differs from what was signed.
    fn changed(&self, r#type: ItemType, hash: &ItemHash) -> Option<SignatureProblem> {
        let Ok(payload) = self.signature.verify(CodeMessage::ItemSignature) else {
            return Some(SignatureProblem::Changed);
        };
        match serde_json::from_slice::<ItemStatement>(payload) {
            Ok(signed) if signed.r#type == r#type && signed.hash == *hash => None,
            _ => Some(SignatureProblem::OtherItem),
        }
    }

    /// When the signature was there, by a stamp that leads to the root at this place.
    fn stamp(&self, roots: &[CertificateDer<'_>]) -> Option<Stamped> {
        let stamp = self.time_stamp.as_ref()?;
        let said: TimeStatement = serde_json::from_slice(stamp.verify(CodeMessage::TimeStamp).ok()?).ok()?;
        if said.digest != Self::stamped_digest(&self.signature) {
            return None;
        }
        let root = verify_code_chain(&stamp.chain(), roots, CodeUsage::TimeStamping, said.at.unix_ms())
            .ok()?
            .root;
        Some(Stamped {
            root,
            at: said.at,
            signed_here: said.signed_here,
        })
    }
}

/// What a certificate is called in blocks; nothing where it cannot be read.
fn named_in(der: &CertificateDer<'_>) -> Option<Certificate> {
    let facts = CodeCertificate::of(der).ok()?;
    Some(Certificate {
        issuer: facts.issuer.parse().ok()?,
        serial: facts.serial.parse().ok()?,
    })
}

/// The root that no state accepts, with the reason for people: roots are called [`INTERNAL_ROOT`] or by their digest.
fn unverified(problem: &impl fmt::Display) -> Label {
    format!("unverified ({problem})")
        .parse()
        .expect("a sentence is a label")
}

#[cfg(test)]
mod tests;
