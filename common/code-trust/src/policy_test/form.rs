//! The words of the file, field by field as they are written. What they mean together is checked where they are used.

use std::collections::BTreeSet;

use muster_ids::{Name, UserName};
use serde::Deserialize;

use crate::{
    Block, Client, DenyReason, Engine, Feature, ItemHash, ItemType, Label, Moment, PromptOption, Revocation,
    ScriptLanguage, Serial, SignerState, StampsCount, TrustEntry, words::words,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorldForm {
    #[serde(default)]
    pub(super) groups: Vec<GroupForm>,
    #[serde(default)]
    pub(super) users: Vec<UserForm>,
    #[serde(default)]
    pub(super) preferences: PreferencesForm,
    #[serde(default)]
    pub(super) settings: SettingsForm,
    pub(super) roots: Option<Vec<Label>>,
    #[serde(default)]
    pub(super) trust: Vec<TrustEntry>,
    #[serde(default)]
    pub(super) blocks: Vec<Block>,
    #[serde(default)]
    pub(super) revocations: Vec<Revocation>,
    #[serde(default)]
    pub(super) stamps: Vec<StampForm>,
    pub(super) now: Option<Moment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GroupForm {
    pub(super) name: Name,
    #[serde(default)]
    pub(super) parents: Vec<Name>,
    #[serde(default)]
    pub(super) licenses: Vec<Feature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UserForm {
    pub(super) name: UserName,
    #[serde(default)]
    pub(super) groups: Vec<Name>,
    #[serde(default = "active")]
    pub(super) state: SignerState,
}

fn active() -> SignerState {
    SignerState::Active
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct PreferencesForm {
    pub(super) require_valid_signature: Option<bool>,
    pub(super) restricted_engines: Option<BTreeSet<RestrictableEngine>>,
}

/// What holds for the whole world; what an item runs under is with the item.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct SettingsForm {
    #[serde(rename = "trust.stamps")]
    pub(super) trust_stamps: Option<StampsCount>,
}

words! {
    /// The engines that `restricted_engines` may name.
    pub(super) RestrictableEngine ("engine") {
        /// Python on a node.
        PythonService = "python_service",
        /// R on a node.
        RService = "r_service",
        /// Python in the installed client.
        PythonLocal = "python_local",
    }

    /// The kinds of outcome.
    pub(super) OutcomeWord ("outcome") {
        /// Goes ahead.
        Allow = "allow",
        /// Goes ahead after consent.
        AllowWithConsent = "allow_with_consent",
        /// Runs restricted.
        Restricted = "restricted",
        /// The user is asked.
        Prompt = "prompt",
        /// Refused.
        Deny = "deny",
    }

    /// What is done, with items of any kind.
    pub(super) ActionWord ("action") {
        /// Opened.
        Open = "open",
        /// Added to an analysis.
        Add = "add",
        /// Executed.
        Run = "run",
        /// Written, developed or configured.
        Create = "create",
        /// This version is trusted.
        TrustItem = "trust_item",
        /// Its signer is trusted.
        TrustSigner = "trust_signer",
        /// Saved with a stamp.
        SaveTrusted = "save_trusted",
    }
}

impl From<RestrictableEngine> for Engine {
    fn from(engine: RestrictableEngine) -> Self {
        match engine {
            RestrictableEngine::PythonService => Self::PythonService,
            RestrictableEngine::RService => Self::RService,
            RestrictableEngine::PythonLocal => Self::PythonLocal,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StampForm {
    pub(super) library_item: Label,
    pub(super) hash: ItemHash,
    #[serde(default)]
    pub(super) readable_by: Vec<UserName>,
    /// Who made it; somebody whom no block and no revocation of the world names where absent.
    pub(super) author: Option<UserName>,
    /// When; at the first moment that there is where absent.
    pub(super) at: Option<Moment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CaseForm {
    pub(super) name: String,
    pub(super) user: UserName,
    pub(super) client: Client,
    pub(super) item: ItemForm,
    pub(super) action: ActionWord,
    pub(super) expect: ExpectForm,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ItemForm {
    pub(super) r#type: ItemType,
    pub(super) hash: Option<ItemHash>,
    pub(super) library_item: Option<Label>,
    pub(super) language: Option<ScriptLanguage>,
    pub(super) engine: Option<Engine>,
    pub(super) executing_account: Option<UserName>,
    pub(super) trusted_by_user: Option<bool>,
    pub(super) restricted_execution_mode: Option<bool>,
    pub(super) disable_trust_checks: Option<bool>,
    pub(super) signature: Option<SignatureForm>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureForm {
    pub(super) root: Option<Label>,
    pub(super) user: Option<UserName>,
    pub(super) issuer: Option<Label>,
    pub(super) serial: Option<Serial>,
    pub(super) time: Option<Moment>,
    pub(super) pinned: Option<bool>,
    pub(super) tampered: Option<bool>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectForm {
    pub(super) outcome: Option<OutcomeWord>,
    pub(super) reason: Option<DenyReason>,
    pub(super) options: Option<Vec<PromptOption>>,
}
