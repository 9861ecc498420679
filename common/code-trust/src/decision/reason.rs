//! Why something was decided: the facts, and the sentence that they make for people.

use std::fmt;

use muster_ids::{Name, UserName};

use crate::{Client, Engine, Feature, ItemType, Label, Moment, Role, SettingName};

/// One fact that a decision rests on. Its [`Display`](fmt::Display) is a sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// This version of the item is blocked.
    ItemBlocked(ItemType),
    /// The signer is blocked.
    SignerBlocked,
    /// A license feature is missing.
    NoLicense(&'a UserName, Feature),
    /// A license feature is held.
    Licensed(&'a UserName, Feature),
    /// The client cannot ask anybody.
    CannotAsk(Client),
    /// Nobody has trusted a signed item yet.
    MayTrust(&'a UserName),
    /// There is no signature.
    Unsigned,
    /// The content is not what was signed.
    Modified,
    /// The signature leads to a root that is not accepted.
    UnknownRoot(&'a Label),
    /// The signer's account is gone.
    SignerGone(&'a UserName),
    /// It was signed in a time for which the signer's signatures are revoked.
    Revoked {
        /// The signer.
        user: &'a UserName,
        /// The first moment of the revocation.
        from: Moment,
        /// When it was signed.
        time: Moment,
    },
    /// The vendor signed it.
    Vendor,
    /// The user trusts it.
    UserTrusts(&'a UserName, Trusted),
    /// A group of the user trusts it.
    GroupTrusts(&'a Name, &'a UserName, Trusted),
    /// Somebody of a job is no Script Author.
    JobPersonNoAuthor(Person, &'a UserName),
    /// Author and executing account of a job are Script Authors.
    JobOfAuthors(&'a UserName, &'a UserName),
    /// Expressions in visualizations are never trusted.
    Inline,
    /// What to make of them.
    MakeItAFunction,
    /// The client is not for writing and trusting code.
    CannotAuthor(Client),
    /// Saving as trusted is for the installed client with a server.
    SavedFromInstalledOnly,
    /// The user is not in the group of authors.
    NotAuthor(&'a UserName, &'static str),
    /// Nobody has trusted what is to be saved as trusted.
    NothingToPassOn(&'a UserName),
    /// An author saves what they trust.
    AuthorSaves(&'a UserName, &'static str, Feature),
    /// The user is a Script Author.
    ScriptAuthor(&'a UserName),
    /// Restricted mode is on for TERR services.
    RestrictedMode,
    /// TERR runs code that nobody trusts in restricted mode.
    TerrUntrusted,
    /// Checks of trust are off.
    ChecksOff,
    /// Checks of trust are on.
    ChecksOn,
    /// The engine runs trusted code only.
    TrustedOnly(Engine),
    /// The engine is set to run untrusted code restricted.
    RestrictedEngine(Engine),
    /// The user can read a stamp.
    Stamped(&'a Label, &'a UserName),
    /// The user can read no stamp.
    NoStamp(&'a UserName),
    /// The user can read a stamp on this item, whose author is blocked.
    StampOfBlocked(&'a Label, &'a UserName),
    /// The user can read a stamp on this item, whose author's word is revoked from this moment on.
    StampOfRevoked(&'a Label, &'a UserName, Moment),
    /// The user can read a stamp on this item, and it is another one.
    StampElsewhere(&'a Label),
    /// The user trusted the content for themselves.
    TrustedByUser(&'a UserName, Feature),
    /// The user can trust the content for themselves.
    CanTrust(&'a UserName, Feature),
}

/// What somebody trusts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trusted {
    /// The signer, in a role.
    Signer(Role),
    /// This version of the item.
    Item,
}

/// Somebody whom a job depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Person {
    /// Who wrote it.
    Author,
    /// The account that executes it.
    ExecutingAccount,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signer(role) => write!(f, "the signer as {role}"),
            Self::Item => f.write_str("this version of the item"),
        }
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Author => "author",
            Self::ExecutingAccount => "executing account",
        })
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MODE: SettingName = SettingName::TerrRestrictedExecutionMode;
        const CHECKS: SettingName = SettingName::DisableTrustChecks;
        const ENGINES: SettingName = SettingName::RestrictedEngines;
        const STAMPS: SettingName = SettingName::TrustStamps;
        match self {
            Self::ItemBlocked(r#type) => {
                write!(f, "This version of the item ({type}) is blocked for everybody.")
            }
            Self::SignerBlocked => f.write_str("Everything of this item's signer is blocked for everybody."),
            Self::NoLicense(user, feature) => {
                write!(f, "No group of {user} has the license feature {feature}.")
            }
            Self::Licensed(user, feature) => write!(f, "{user} has the license feature {feature}."),
            Self::CannotAsk(client) => write!(
                f,
                "Nobody trusts this item, and a client of the kind {client} cannot ask."
            ),
            Self::MayTrust(user) => {
                write!(f, "Nobody has trusted this item for {user}, who may trust it.")
            }
            Self::Unsigned => f.write_str("The item is not signed."),
            Self::Modified => f.write_str("The content is not what was signed."),
            Self::UnknownRoot(root) => {
                write!(
                    f,
                    "The signature leads to the root {root}, which is not accepted."
                )
            }
            Self::SignerGone(user) => write!(f, "The signer {user} is no user any more."),
            Self::Revoked { user, from, time } => write!(
                f,
                "Signatures of {user} are revoked from {from} on; this one is of {time}."
            ),
            Self::Vendor => f.write_str("The item is signed by the vendor."),
            Self::UserTrusts(user, what) => write!(f, "{user} trusts {what}."),
            Self::GroupTrusts(group, user, what) => {
                write!(f, "The group {group}, which {user} is in, trusts {what}.")
            }
            Self::JobPersonNoAuthor(who, user) => {
                write!(f, "The job's {who} {user} is not in the group Script Author.")
            }
            Self::JobOfAuthors(author, executing) => {
                write!(f, "{author} and {executing} are both in the group Script Author.")
            }
            Self::Inline => {
                f.write_str("A TERR expression in a visualization runs restricted whatever is trusted.")
            }
            Self::MakeItAFunction => f.write_str("Make it an expression function to have it trusted."),
            Self::CannotAuthor(client) => write!(
                f,
                "In a client of the kind {client}, code can be run but not written or trusted."
            ),
            Self::SavedFromInstalledOnly => {
                f.write_str("Code is saved as trusted from the installed client with a server only.")
            }
            Self::NotAuthor(user, group) => write!(f, "{user} is not in the group {group}."),
            Self::NothingToPassOn(user) => write!(
                f,
                "{user} has not trusted this content, nor is it trusted in the library."
            ),
            Self::AuthorSaves(user, group, feature) => write!(
                f,
                "{user} is in the group {group}, has {feature} and trusts the content."
            ),
            Self::ScriptAuthor(user) => write!(f, "{user} is in the group Script Author."),
            Self::RestrictedMode => {
                write!(f, "{MODE} is on, so TERR runs restricted whatever is trusted.")
            }
            Self::TerrUntrusted => f.write_str("TERR runs code that nobody trusts in restricted mode."),
            Self::ChecksOff => write!(f, "{CHECKS} is on, so services run everything as trusted."),
            Self::ChecksOn => write!(f, "{CHECKS} is off."),
            Self::TrustedOnly(engine) => write!(f, "The engine {engine} runs trusted code only."),
            Self::RestrictedEngine(engine) => write!(
                f,
                "{ENGINES} names {engine}, so it runs untrusted code in restricted mode."
            ),
            Self::Stamped(library_item, user) => write!(
                f,
                "This content is trusted through the library item {library_item}, which {user} can read."
            ),
            Self::NoStamp(user) => write!(
                f,
                "No stamp for this content is on a library item that {user} can read."
            ),
            Self::StampOfBlocked(library_item, author) => write!(
                f,
                "The stamp of {author} on the library item {library_item} does not count: {author} is blocked."
            ),
            Self::StampOfRevoked(library_item, author, from) => write!(
                f,
                "The stamp of {author} on the library item {library_item} does not count: what {author} vouches for is revoked from {from} on."
            ),
            Self::StampElsewhere(library_item) => write!(
                f,
                "The stamp on the library item {library_item} does not count for another item: {STAMPS} is same_item."
            ),
            Self::TrustedByUser(user, feature) => write!(
                f,
                "{user} trusts this content and has the license feature {feature}."
            ),
            Self::CanTrust(user, feature) => {
                write!(
                    f,
                    "{user} has {feature} and can trust the content for themselves."
                )
            }
        }
    }
}
