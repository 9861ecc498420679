//! Signatures of items: signing and verifying, the certificates of signers, and the roots that signatures may lead to.

use std::collections::BTreeMap;

use muster_ids::{Digest, UserName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    run::Why,
    trust::{Item, Signer},
};

/// One version of an item, as its digest is made of it (docs/reference/item.md).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ItemContent {
    /// `visualization_mod`, `action_mod`, `external_action`, `script`, `custom_query`, `job_script` or `data_function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The manifest, configuration or declaration; not of a data function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<String>,
    /// Path and digest (`sha512=…`) of each file; not of a data function.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// Of a data function its digest; of others it may be given to be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}

/// `POST /api/v1/trust/signatures`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignItem {
    /// What is signed.
    pub item: ItemContent,
    /// Whose signature it becomes; the caller's when absent. Only administrators sign for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// A signature that was made elsewhere: it is kept if it is valid, stamped if it has no time stamp, and nothing is
    /// signed. Without `user`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Value>,
}

/// A signature that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedItem {
    /// What was signed.
    pub item: Item,
    /// The user who signed; none of a certificate of another authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Whose certificate it is.
    pub signer: String,
    /// The number of the signer's certificate.
    pub serial: String,
    /// When.
    pub time: String,
    /// The signature with all that it takes to verify it; keep it beside the item.
    pub bundle: Value,
}

/// `POST /api/v1/trust/signatures/verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifyItem {
    /// What is there.
    pub item: ItemContent,
    /// Its signature; when absent, of those that are kept here the newest that counts for the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Value>,
    /// Who would do it; the caller when absent. Only administrators ask for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Where they work: `web` when absent, `installed`, `installed_no_server`, `automation` or `scheduled_update`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What they would do: `open`, `add`, `run`, `create`, `trust_item` or `trust_signer`; when absent `open` of mods and
    /// `run` of external actions. Not of other types, which no signature decides about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
}

/// What holds of a signature.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct VerifiedItem {
    /// What is there.
    pub item: Item,
    /// `valid`, `modified`, `chain`, `user_deleted`, `revoked`, or `unsigned`.
    pub status: String,
    /// What is wrong, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Whose certificate it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// The authority that issued it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// Its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// When it was signed, by its time stamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
    /// The root that it leads to: `internal`, or the digest of an imported one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// What an action mod may do outside of the analysis: `LibraryRead`, `LibraryWrite`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The addresses that a visualization loads from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub external_resources: Vec<String>,
    /// What would happen: `allow`, `allow_with_consent`, `prompt` or `deny`. Absent of other types than mods and external
    /// actions, which no signature decides about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// What a prompt offers to trust: `item`, and `signer` where the signature is valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
    /// The signer that a prompt offers to trust, as `POST /api/v1/trust/signers` takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offered: Option<Signer>,
    /// Why that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
}

/// `POST /api/v1/trust/time-stamps`: of a signature that was made elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct StampTime {
    /// SHA-256 over type, payload, keyid and bytes of the signature, each after its length.
    pub digest: Digest,
}

/// A time stamp.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TimeStamp {
    /// When.
    pub time: String,
    /// The signed stamp, for `time_stamp` of the bundle.
    pub stamp: Value,
}

/// A root that signatures may lead to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningRoot {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// `internal` or `imported`.
    pub origin: String,
    /// Its name.
    pub subject: String,
    /// Its number.
    pub serial: String,
    /// When it ends.
    pub not_after: String,
    /// When it was made or imported.
    pub added: String,
    /// The certificate.
    pub pem: String,
}

/// The certificate of somebody who signs items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SigningCertificate {
    /// SHA-256 of the certificate.
    pub fingerprint: Digest,
    /// The authority that issued it.
    pub issuer: String,
    /// Its number, hexadecimal.
    pub serial: String,
    /// Whose it is.
    pub subject: String,
    /// Whether it is one of another authority.
    pub external: bool,
    /// `valid`, `expired`, or `revoked`: it signs no more, or what its user signed at some time of it is void.
    pub state: String,
    /// When it begins.
    pub not_before: String,
    /// When it ends.
    pub not_after: String,
    /// The certificate.
    pub pem: String,
}

/// `GET /api/v1/trust/certificates`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct SigningCertificateQuery {
    /// At most this many, 1 to 1000; 100 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// From the page before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Those that were issued here for this user; for anybody when absent, of others for administrators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Those of other authorities instead: imported ones, and for administrators those by which kept signatures were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<bool>,
}

/// `POST /api/v1/trust/certificates`: a root, or the certificate of a signer, of another authority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportCertificate {
    /// One certificate in PEM. Behind that of a signer may stand those of the authorities between it and an accepted root;
    /// they lead on from signatures beside which they are missing.
    pub pem: String,
}

/// `GET /api/v1/trust/allowed-issuers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct AllowedIssuers {
    /// The addresses from which certificates of issuers may be fetched when one is imported; none unless they are
    /// configured. The control plane itself asks none of them.
    pub addresses: Vec<String>,
}

/// What was imported: one of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ImportedCertificate {
    /// A root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<SigningRoot>,
    /// The certificate of a signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<SigningCertificate>,
}

/// `POST /api/v1/trust/certificates/{serial}/revoke`: of a certificate that was issued here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RevokeSigningCertificate {
    /// The first moment from which what it signed is void.
    pub from: String,
    /// For people: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/trust/reset`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CodeTrustReset {
    /// The new root.
    pub root: SigningRoot,
    /// How many certificates of users went.
    pub deleted: u64,
}
