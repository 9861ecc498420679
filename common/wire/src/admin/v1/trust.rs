//! Blocks, trust entries, revocations, and explanations.

use muster_ids::{Digest, LibraryItemId, Name, UserName};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    run::Why,
    signing::{ItemContent, VerifiedItem},
};

/// `GET /api/v1/trust/explain`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::IntoParams))]
#[cfg_attr(feature = "openapi", into_params(parameter_in = Query))]
#[serde(deny_unknown_fields)]
pub struct ExplainQuery {
    /// The function, by name or identifier; absent where an item is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The library item that holds what is asked about, by path or identifier: a script, custom query, data function, job
    /// script, mod, external action or analysis.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<String>,
    /// The hash of the part, where the item holds several; of a mod or external action also that of an older version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
    /// Where the user works: `web` when absent (job scripts: `automation`), `installed`, `installed_no_server`, `automation` or `scheduled_update`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// What they would do: with a mod or external action `open`, `add`, `run`, `create`, `trust_item` or `trust_signer`, with
    /// code `create`, `trust_item`, `save_trusted` or `run`. When absent `open` of mods and `run` of all else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Whose run, or of a job script whose job; the caller's when absent. Only administrators ask for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The account that executes the job, for job scripts only; that of `user` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executing: Option<UserName>,
    /// On which node; on a node of the pool and site `default` without settings of its own when absent. Mods and external
    /// actions run on none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Name>,
}

/// What would happen now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Explanation {
    /// The name of the function, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<Name>,
    /// The library item.
    pub item: LibraryItemId,
    /// `data_function`, `script`, `custom_query`, `job_script`, `visualization_mod`, `action_mod` or `external_action`.
    pub kind: String,
    /// The content that it would be.
    pub digest: String,
    /// Whose run.
    pub user: UserName,
    /// Where they work.
    pub client: String,
    /// What they would do.
    pub action: String,
    /// The node's name, or `any`; `none` of mods and external actions.
    pub node: String,
    /// `allow`, `allow_with_consent`, `restricted`, `prompt` or `deny`.
    pub outcome: String,
    /// `unrestricted`, `restricted`, or absent when it would be refused, and of mods and external actions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Of mods and external actions what holds of the signature, what they may do, and what a prompt offers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Box<VerifiedItem>>,
    /// Why.
    pub why: Why,
}

/// One version of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// `visualization_mod`, `action_mod`, `external_action`, `script`, `data_function`, `custom_query` or `job_script`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its content; of data functions the digest that the library shows.
    pub hash: String,
}

/// Whose trust it is: a user or a group, and not both.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Principal {
    /// One user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// All members of a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<Name>,
}

/// Who signs: a user, or a certificate by its issuer and serial number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Signer {
    /// A user, by whichever certificate the collective issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The authority of the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The number of the certificate, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// `developer` (of mods) or `configurator` (of external actions).
    pub role: String,
}

/// `POST /api/v1/trust/blocks`: exactly one of an item, a user, and an issuer with a serial number.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateBlock {
    /// One version of an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// Everything that this user signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Everything that a certificate signed: its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The certificate's number, hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// For people: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Identity.
    pub id: Digest,
    /// One version of an item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<Item>,
    /// Everything that this user signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// Everything that a certificate signed: its authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The certificate's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serial: Option<String>,
    /// Who decided it, when and why.
    pub decided: Decided,
}

/// Who decided something, when and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Decided {
    /// Who; absent where a database that was put back does not know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<UserName>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why, in their words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /api/v1/trust/signers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustSigner {
    /// Whose trust it is; the caller's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// Who is trusted.
    pub signer: Signer,
    /// The moment from which it no longer counts; it does not end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// For people: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Trust in a signer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustedSigner {
    /// Identity.
    pub id: Digest,
    /// Whose trust it is.
    pub principal: Principal,
    /// Who is trusted.
    pub signer: Signer,
    /// The moment from which it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Who decided it, when and why.
    pub decided: Decided,
}

/// `POST /api/v1/trust/items`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustItem {
    /// Whose trust it is; the caller's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Principal>,
    /// What is trusted: a mod or an external action. A signature of it must be valid, unless the preference of whoever
    /// trusts says otherwise.
    pub item: Item,
    /// A signature of it that the control plane does not keep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Value>,
    /// The item itself, where it is neither in the library nor signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<ItemContent>,
    /// The moment from which it no longer counts; it does not end when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// For people: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Trust in one version of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct TrustedItem {
    /// Identity.
    pub id: Digest,
    /// Whose trust it is.
    pub principal: Principal,
    /// What is trusted.
    pub item: Item,
    /// The moment from which it no longer counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Who decided it, when and why.
    pub decided: Decided,
}

/// `POST /api/v1/trust/revocations`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CreateRevocation {
    /// Whose signatures become invalid; the caller's own when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserName>,
    /// The first moment.
    pub from: String,
    /// The last moment, or `now`: what was signed so far. Open-ended when absent, and then the user's stamps count no more
    /// either. What users say about themselves ends now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// For people: one line of at most 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A time of a user's signatures that is void, for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Identity.
    pub id: Digest,
    /// Whose signatures are invalid.
    pub user: UserName,
    /// The first moment.
    pub from: String,
    /// The last moment; open-ended when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// Who decided it, when and why.
    pub decided: Decided,
}

/// One content that is known here: `GET /api/v1/trust/entities`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CodeEntity {
    /// Its hash.
    pub hash: String,
    /// What it is, `visualization_mod`, `data_function` and so on.
    #[serde(rename = "type")]
    pub kind: String,
    /// By what it is known: `library`, a version of an item there, or `signed`, by a signature that is kept here.
    pub known: String,
    /// The name of the item, or who signed.
    pub name: String,
}

/// `POST /api/v1/trust/openings`: a client opens an item, or the person who was asked about it says no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct OpenItem {
    /// What is opened.
    pub item: ItemContent,
    /// Its signature; the newest that was made here when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle: Option<Value>,
    /// Whether the person was asked and does not want it. Who does sends what they trust to `/api/v1/trust/items` or
    /// `/api/v1/trust/signers`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declined: bool,
}
