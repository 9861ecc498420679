//! The operations, each about the same few subjects, so that they touch each other.

use std::{fmt, sync::LazyLock};

use muster_code_trust::{Block, Entry, Signer, Target};
use muster_ids::{Digest, Sha512};
use muster_model::permission::Caller;
use muster_wire::{
    admin::v1::{
        group::SetLicense,
        library::{CreateFolder, PatchItem, SetPermissions},
        setting::Setting,
        signing::{ImportCertificate, SignItem},
        trust::{CreateBlock, CreateRevocation, Item, Principal, TrustItem, TrustSigner},
        user::{DeleteUser, PatchUser},
    },
    function::FunctionDefinition,
};
use serde_json::json;

use crate::{App, Error, signing::named};

/// Who decides.
pub(super) const ADMINISTRATOR: &str = "admin@SPOTFIRE";
/// Who decides for herself, by the license of [`CIRCLE`].
pub(super) const ANN: &str = "ann@SPOTFIRE";
/// Who signs.
pub(super) const SAM: &str = "sam@SPOTFIRE";
/// Whose members trust.
pub(super) const CIRCLE: &str = "Circle";
/// From which [`CIRCLE`] inherits.
pub(super) const STAFF: &str = "Staff";
/// What is stamped.
pub(super) const FUNCTION: &str = "f";
/// The version of a mod that is trusted and blocked; [`SAM`] has signed it before anything else is done.
static ITEM: LazyLock<String> = LazyLock::new(|| {
    let named = named(&of(mod_content())).expect("a mod");
    named.hash.to_string()
});
/// Where the function may lie.
pub(super) const FOLDER: &str = "/Team";
const FEATURE: &str = "Trust Mods";
/// What another feature of its license lets do.
const OTHER_FEATURE: &str = "Open Action Mod from Library";
const PREFERENCE: &str = "Require valid signature to allow trust";
const SETTING: &str = "terr.restricted.execution.mode";

/// What the operations are about and is made anew for each run of the test.
#[derive(Debug, Clone)]
pub(super) struct Subjects {
    /// The digest of what is stamped.
    pub(super) trusted: Digest,
    /// The root of another authority, in PEM.
    pub(super) root: String,
    /// Its fingerprint.
    pub(super) root_fingerprint: Digest,
    /// The certificate of a signer under it, in PEM.
    pub(super) leaf: String,
}

macro_rules! acts {
    ($($name:ident = $text:literal about $question:ident;)+) => {
        /// What somebody does.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Act { $($name,)+ }

        impl Act {
            /// Every operation.
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// What it answers.
            pub(super) fn question(self) -> Question {
                match self { $(Self::$name => Question::$question,)+ }
            }
        }

        impl fmt::Display for Act {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(Self::$name => $text,)+ })
            }
        }
    };
}

/// A question to which operations give answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Stamp,
    Version,
    BlockOfItem,
    BlockOfFunction,
    BlockOfUser,
    BlockOfCertificate,
    TrustInSigner,
    TrustInCertificate,
    TrustInItem,
    OwnTrust,
    Revocation,
    OwnRevocation,
    Setting,
    Policy,
    Member,
    Parent,
    License,
    Group,
    ImportedRoot,
    ImportedCertificate,
    Signature,
    Account,
    Preference,
    Primary,
    Folder,
    Place,
    Permissions,
}

acts! {
    Stamp = "trust the function" about Stamp;
    Unstamp = "untrust the function" about Stamp;
    Save = "save another version of the function" about Version;
    BlockItem = "block the item" about BlockOfItem;
    BlockItemAgain = "block the item for a reason" about BlockOfItem;
    UnblockItem = "unblock the item" about BlockOfItem;
    BlockFunction = "block the function's version" about BlockOfFunction;
    UnblockFunction = "unblock the function's version" about BlockOfFunction;
    BlockUser = "block the signer" about BlockOfUser;
    UnblockUser = "unblock the signer" about BlockOfUser;
    BlockCertificate = "block the certificate" about BlockOfCertificate;
    UnblockCertificate = "unblock the certificate" about BlockOfCertificate;
    TrustSigner = "trust the signer" about TrustInSigner;
    TrustSignerUntil = "trust the signer until 2999" about TrustInSigner;
    WithdrawSigner = "withdraw trust in the signer" about TrustInSigner;
    TrustCertificate = "trust the certificate" about TrustInCertificate;
    WithdrawCertificate = "withdraw trust in the certificate" about TrustInCertificate;
    TrustItem = "trust the item" about TrustInItem;
    WithdrawItem = "withdraw trust in the item" about TrustInItem;
    TrustForOneself = "trust the item for oneself" about OwnTrust;
    WithdrawOwn = "withdraw own trust in the item" about OwnTrust;
    Revoke = "revoke the signer's signatures" about Revocation;
    RevokeOwn = "revoke own signatures" about OwnRevocation;
    RestrictAll = "restrict TERR" about Setting;
    RestrictNone = "restrict TERR no more" about Setting;
    UnsetRestricted = "unset the restriction of TERR" about Setting;
    SetPolicy = "set the function's policy" about Policy;
    SetOtherPolicy = "set another policy of the function" about Policy;
    ClearPolicy = "clear the function's policy" about Policy;
    AddMember = "add the member" about Member;
    RemoveMember = "remove the member" about Member;
    AddParent = "add the parent" about Parent;
    RemoveParent = "remove the parent" about Parent;
    GiveLicense = "give the license" about License;
    TakeLicense = "take the license" about License;
    SetLicense = "set a license of the group without this feature" about License;
    DeleteGroup = "delete the group" about Group;
    ResetCodeTrust = "reset code trust" about Signature;
    ImportRoot = "import the root" about ImportedRoot;
    RemoveRoot = "remove the root" about ImportedRoot;
    ImportCertificate = "import the certificate" about ImportedCertificate;
    Sign = "sign as the signer" about Signature;
    CreateFolder = "create the folder" about Folder;
    DeleteFolder = "delete the folder and what is in it" about Version;
    MoveIn = "move the function into the folder" about Place;
    MoveOut = "move the function out of the folder" about Place;
    Close = "close the function" about Permissions;
    Open = "open the function" about Permissions;
    DeleteFunction = "delete the function" about Version;
    Disable = "disable the signer's account" about Account;
    Enable = "enable the signer's account" about Account;
    Delete = "delete the signer's account" about Account;
    Relax = "let the group trust what has no valid signature" about Preference;
    Require = "have the group require valid signatures" about Preference;
    ClearPreference = "clear the group's preference" about Preference;
    SetPrimary = "make the parent the primary group" about Primary;
    ClearPrimary = "make the parent the primary group no more" about Primary;
}

impl Act {
    /// Whether somebody decides for themselves.
    pub(super) fn is_own(self) -> bool {
        matches!(self, Self::TrustForOneself | Self::WithdrawOwn | Self::RevokeOwn)
    }

    /// Does it, with the rights that its author has now.
    pub(super) async fn of(self, app: &App, subjects: &Subjects) -> Result<(), Error> {
        let (admin, ann) = (caller(app, ADMINISTRATOR).await?, caller(app, ANN).await?);
        let circle = CIRCLE.parse().map_err(Error::bug)?;
        let staff = STAFF.parse().map_err(Error::bug)?;
        let of_ann = ANN.parse().map_err(Error::bug)?;
        match self {
            Self::Stamp => app
                .trust_function(&admin, FUNCTION, &subjects.trusted)
                .await
                .map(drop),
            Self::Unstamp => app.untrust_function(&admin, FUNCTION).await.map(drop),
            Self::Save => save(app, &admin, "2").await.map(drop),
            Self::BlockItem => app.create_block(&admin, &block_item(None)).await.map(drop),
            Self::BlockItemAgain => app
                .create_block(&admin, &block_item(Some("a reason")))
                .await
                .map(drop),
            Self::BlockFunction => {
                let new = CreateBlock {
                    item: Some(item("data_function", &subjects.trusted.to_string())),
                    ..CreateBlock::default()
                };
                app.create_block(&admin, &new).await.map(drop)
            }
            Self::BlockUser => app
                .create_block(&admin, &block(json!({ "user": SAM })))
                .await
                .map(drop),
            Self::BlockCertificate => app
                .create_block(&admin, &block(json!({ "issuer": "CN=Corp", "serial": "1a" })))
                .await
                .map(drop),
            Self::UnblockItem | Self::UnblockFunction | Self::UnblockUser | Self::UnblockCertificate => {
                app.delete_block(&admin, &self.there(app).await?).await
            }
            Self::TrustSigner => app
                .trust_signer(&admin, &signer(json!({ "user": SAM }), None))
                .await
                .map(drop),
            Self::TrustSignerUntil => {
                let new = signer(json!({ "user": SAM }), Some("2999-01-01T00:00:00Z"));
                app.trust_signer(&admin, &new).await.map(drop)
            }
            Self::TrustCertificate => {
                let new = signer(json!({ "issuer": "CN=Corp", "serial": "1a" }), None);
                app.trust_signer(&admin, &new).await.map(drop)
            }
            Self::WithdrawSigner | Self::WithdrawCertificate => {
                app.withdraw_signer(&admin, &self.there(app).await?).await
            }
            Self::TrustItem => {
                let principal = Principal {
                    user: None,
                    group: Some(circle),
                };
                app.trust_item(&admin, &trust_item(Some(principal)))
                    .await
                    .map(drop)
            }
            Self::WithdrawItem => app.withdraw_item(&admin, &self.there(app).await?).await,
            Self::TrustForOneself => app.trust_item(&ann, &trust_item(None)).await.map(drop),
            Self::WithdrawOwn => app.withdraw_item(&ann, &self.there(app).await?).await,
            Self::Revoke => app
                .create_revocation(&admin, &revocation(Some(SAM)))
                .await
                .map(drop),
            Self::RevokeOwn => app.create_revocation(&ann, &revocation(None)).await.map(drop),
            Self::RestrictAll => app.set_setting(&admin, &setting("true")).await.map(drop),
            Self::RestrictNone => app.set_setting(&admin, &setting("false")).await.map(drop),
            Self::UnsetRestricted => app.remove_setting(&admin, SETTING, "all").await,
            Self::SetPolicy => set_policy(app, &admin, "none").await,
            Self::SetOtherPolicy => set_policy(app, &admin, "host").await,
            Self::ClearPolicy => app.clear_function_policy(&admin, FUNCTION).await,
            Self::AddMember => app.add_member(&admin, &circle, &of_ann).await,
            Self::RemoveMember => app.remove_member(&admin, &circle, &of_ann).await,
            Self::AddParent => app.add_parent(&admin, &circle, &staff).await,
            Self::RemoveParent => app.remove_parent(&admin, &circle, &staff).await,
            Self::GiveLicense => app.set_feature(&admin, &circle, FEATURE, true).await,
            Self::TakeLicense => app.set_feature(&admin, &circle, FEATURE, false).await,
            Self::SetLicense => {
                let license: SetLicense = of(json!({
                    "license": "Extensions", "of": [FEATURE, OTHER_FEATURE], "features": [OTHER_FEATURE],
                }));
                app.set_license(&admin, &circle, &license).await.map(drop)
            }
            Self::DeleteGroup => app.delete_group(&admin, &circle).await,
            Self::ResetCodeTrust => app.reset_code_trust(&admin).await.map(drop),
            Self::ImportRoot => import(app, &admin, &subjects.root).await,
            Self::ImportCertificate => import(app, &admin, &subjects.leaf).await,
            Self::RemoveRoot => {
                app.remove_signing_root(&admin, &subjects.root_fingerprint.to_string())
                    .await
            }
            Self::Sign => sign(app, &admin, signed(&subjects.trusted)).await,
            Self::CreateFolder => {
                let new: CreateFolder = of(json!({ "folder": "/", "name": &FOLDER[1..] }));
                app.library_create_folder(&admin, &new).await.map(drop)
            }
            Self::DeleteFolder => app.library_delete(&admin, FOLDER, true).await,
            Self::MoveIn => place(app, &admin, FOLDER).await,
            Self::MoveOut => place(app, &admin, "/").await,
            Self::Close => permissions(app, &admin, false).await,
            Self::Open => permissions(app, &admin, true).await,
            Self::DeleteFunction => {
                let function = app.function_of(FUNCTION).await?.function;
                app.library_delete(&admin, &function.id.to_string(), false).await
            }
            Self::Disable => account(app, &admin, "disabled").await,
            Self::Enable => account(app, &admin, "active").await,
            Self::Relax => {
                app.set_preference(&admin, &circle, PREFERENCE, Some("false"))
                    .await
            }
            Self::Require => {
                app.set_preference(&admin, &circle, PREFERENCE, Some("true"))
                    .await
            }
            Self::ClearPreference => app.set_preference(&admin, &circle, PREFERENCE, None).await,
            Self::SetPrimary => app.set_primary(&admin, &circle, &staff, true).await,
            Self::ClearPrimary => app.set_primary(&admin, &circle, &staff, false).await,
            Self::Delete => {
                let sam = SAM.parse().map_err(Error::bug)?;
                app.delete_user(&admin, &sam, &DeleteUser::default()).await
            }
        }
    }

    /// The identity of what it takes away, as its author finds it; that of nothing where it is not there.
    async fn there(self, app: &App) -> Result<String, Error> {
        let entries = app.store().trust_entries().await?;
        let found = entries
            .iter()
            .filter_map(|(key, value)| Entry::parse(key, value).ok())
            .find(|entry| self.takes(entry));
        Ok(found
            .map_or_else(|| Digest::of(b"nothing"), |entry| entry.id())
            .to_string())
    }

    fn takes(self, entry: &Entry) -> bool {
        let own = |entry: &Entry| entry.key().starts_with("trust/user/");
        match (self, entry) {
            (Self::UnblockItem, Entry::Block(Block::Item(item))) => item.hash.as_str() == *ITEM,
            (Self::UnblockFunction, Entry::Block(Block::Item(item))) => item.hash.as_str() != *ITEM,
            (Self::UnblockUser, Entry::Block(Block::User(_)))
            | (Self::UnblockCertificate, Entry::Block(Block::Certificate(_))) => true,
            (Self::WithdrawSigner, Entry::Trust(trust)) => {
                matches!(trust.target, Target::Signer(Signer::User(_), _))
            }
            (Self::WithdrawCertificate, Entry::Trust(trust)) => {
                matches!(trust.target, Target::Signer(Signer::Certificate(_), _))
            }
            (Self::WithdrawItem, Entry::Trust(trust)) => {
                matches!(trust.target, Target::Item(_)) && !own(entry)
            }
            (Self::WithdrawOwn, Entry::Trust(_)) => own(entry),
            _ => false,
        }
    }
}

/// A user with the rights of this moment.
pub(super) async fn caller(app: &App, name: &str) -> Result<Caller, Error> {
    let user = app.user_named(&name.parse().map_err(Error::bug)?).await?;
    Ok(Caller::User(app.user_caller(&user).await?))
}

/// Saves a version of the function; its digest.
pub(super) async fn save(app: &App, caller: &Caller, script: &str) -> Result<Digest, Error> {
    let definition: FunctionDefinition =
        of(json!({ "name": FUNCTION, "language": "terr", "script": script }));
    Ok(app.register_function(caller, definition, None).await?.digest)
}

/// What is signed: the version that is stamped.
pub(super) fn signed(trusted: &Digest) -> serde_json::Value {
    json!({ "type": "data_function", "hash": trusted })
}

/// The mod that is trusted, as it is signed.
pub(super) fn mod_content() -> serde_json::Value {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": "Rose", "id": "rose", "icon": "icon.svg", "files": [],
    });
    json!({
        "type": "visualization_mod", "manifest": manifest.to_string(),
        "files": { "icon.svg": Sha512::of(b"<svg/>") },
    })
}

/// Signs for [`SAM`].
pub(super) async fn sign(app: &App, admin: &Caller, item: serde_json::Value) -> Result<(), Error> {
    let new: SignItem = of(json!({ "item": item, "user": SAM }));
    app.sign_item(admin, &new).await.map(drop)
}

async fn import(app: &App, admin: &Caller, pem: &str) -> Result<(), Error> {
    let new: ImportCertificate = of(json!({ "pem": pem }));
    app.import_signing_certificate(admin, &new).await.map(drop)
}

async fn place(app: &App, admin: &Caller, folder: &str) -> Result<(), Error> {
    let function = app.function_of(FUNCTION).await?.function;
    let patch: PatchItem = of(json!({ "folder": folder }));
    app.library_patch(admin, &function.id.to_string(), &patch)
        .await
        .map(drop)
}

async fn permissions(app: &App, admin: &Caller, inherits: bool) -> Result<(), Error> {
    let function = app.function_of(FUNCTION).await?.function;
    let new: SetPermissions = of(json!({ "inherits": inherits }));
    app.library_permit(admin, &function.id.to_string(), &new)
        .await
        .map(drop)
}

async fn set_policy(app: &App, admin: &Caller, network: &str) -> Result<(), Error> {
    let policy = json!({ "network": { "class": network } });
    app.set_function_policy(admin, FUNCTION, &policy).await.map(drop)
}

async fn account(app: &App, admin: &Caller, state: &str) -> Result<(), Error> {
    let patch: PatchUser = of(json!({ "state": state }));
    app.patch_user(admin, &SAM.parse().map_err(Error::bug)?, &patch)
        .await
        .map(drop)
}

fn setting(value: &str) -> Setting {
    of(json!({ "name": SETTING, "scope": "all", "value": value }))
}

fn item(kind: &str, hash: &str) -> Item {
    of(json!({ "type": kind, "hash": hash }))
}

fn block(form: serde_json::Value) -> CreateBlock {
    of(form)
}

fn block_item(reason: Option<&str>) -> CreateBlock {
    CreateBlock {
        item: Some(item("visualization_mod", &ITEM)),
        reason: reason.map(str::to_owned),
        ..CreateBlock::default()
    }
}

fn signer(mut who: serde_json::Value, expires: Option<&str>) -> TrustSigner {
    who["role"] = json!("developer");
    of(json!({ "principal": { "group": CIRCLE }, "signer": who, "expires": expires }))
}

fn trust_item(principal: Option<Principal>) -> TrustItem {
    TrustItem {
        principal,
        item: item("visualization_mod", &ITEM),
        bundle: None,
        content: None,
        expires: None,
        reason: None,
    }
}

fn revocation(user: Option<&str>) -> CreateRevocation {
    of(json!({ "user": user, "from": "2020-01-01T00:00:00Z" }))
}

/// A request as it comes over the wire.
fn of<T: serde::de::DeserializeOwned>(form: serde_json::Value) -> T {
    serde_json::from_value(form).expect("a request")
}
