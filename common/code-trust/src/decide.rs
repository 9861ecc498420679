//! The one decision: may this user do this with this item, and in which mode.
//!
//! Invariant: total and pure, and without an allocation for names in ASCII: reasons are values. The control plane asks
//! before it grants a run, the node asks again as its last step, the policy test and `explain` ask for people; all call
//! [`decide`].
//!
//! Rules, by the names that verdicts carry:
//!
//! | rule | outcome |
//! | --- | --- |
//! | `item-blocked`, `certificate-blocked`, `user-blocked` | deny |
//! | `authoring-needs-installed-client`, `license-missing` | deny |
//! | `license-held` | allow: creating, and trusting for oneself, need nothing else |
//! | `author-saves-trusted`, `save-needs-author` | allow, deny: saving with a stamp |
//! | `terr-inline` | restricted, always |
//! | `terr-restricted-mode` | restricted: the setting is on |
//! | `stamped`, `script-author`, `trust-checks-disabled`, `trusted-by-user` | allow |
//! | `restricted-engine`, `terr-untrusted` | restricted |
//! | `service-refuses-untrusted`, `untrusted` | deny |
//! | `ask-user` | prompt |
//! | `job-of-authors`, `job-needs-authors` | allow, deny |
//! | `trust-permission-missing`, `signature-invalid`, `non-interactive` | deny |
//! | `may-trust` | allow: the user may make the trust entry |
//! | `vendor-trusted`, `signer-trusted`, `item-trusted` | allow, or allow with consent |

use crate::{
    Client, CodeType, Decider, Decision, DenyReason, Feature, GroupPath, ItemHash, ItemType, Outcome, Person,
    Question, Reason, SettingName, Settings, Subject, TrustState, UserFacts, state::ItemFacts,
};

mod code;
mod signed;

/// The comparison key of the group of script authors.
const SCRIPT_AUTHOR_KEY: &str = "script author";
/// The comparison key of the group of query authors.
const CUSTOM_QUERY_AUTHOR_KEY: &str = "custom query author";

/// Decides `question` by what `trust` says under the `settings` of the place.
///
/// On a node, `question.user` comes from the run grant and `trust` is the node's own: a stamp counts only if the grant
/// names it and the node's state has it for the same content.
pub fn decide<'a>(question: &'a Question<'a>, trust: &'a TrustState, settings: &'a Settings) -> Decision<'a> {
    match &question.subject {
        Subject::Code(code, action) => code::decide(question, code, *action, trust, settings),
        Subject::JobScript { hash, executing } => job_script(question.user, executing, hash.as_ref(), trust),
        Subject::Signed(item, action) => signed::decide(question, item, *action, trust),
    }
}

/// The script of a job runs by the standing of its people alone; stamps do not matter.
fn job_script<'a>(
    author: &'a UserFacts,
    executing: &'a UserFacts,
    hash: Option<&'a ItemHash>,
    trust: &TrustState,
) -> Decision<'a> {
    if let Some(blocked) = item_blocked(ItemType::JobScript, hash, trust.index().item(hash)) {
        return blocked;
    }
    for (who, facts) in [(Person::Author, author), (Person::ExecutingAccount, executing)] {
        if !facts.groups.contains(SCRIPT_AUTHOR_KEY) {
            return Decision::deny(
                DenyReason::NotScriptAuthor,
                "job-needs-authors",
                Reason::JobPersonNoAuthor(who, &facts.user),
            );
        }
    }
    let reason = Reason::JobOfAuthors(&author.user, &executing.user);
    Decision::new(Outcome::Allow, "job-of-authors", reason).path(path(author, SCRIPT_AUTHOR_KEY))
}

/// How the user is in the group with this comparison key.
fn path<'a>(user: &'a UserFacts, key: &str) -> Option<GroupPath<'a>> {
    let groups = &user.groups;
    groups.get(key).map(|to| GroupPath { groups, to })
}

fn item_blocked<'a>(
    r#type: ItemType,
    hash: Option<&'a ItemHash>,
    facts: Option<&ItemFacts>,
) -> Option<Decision<'a>> {
    let hash = hash.filter(|_| facts.is_some_and(|facts| facts.is_blocked(r#type)))?;
    let blocked = Decision::deny(
        DenyReason::BlockedItem,
        "item-blocked",
        Reason::ItemBlocked(r#type),
    );
    Some(blocked.entry(Decider::BlockedItem(r#type, hash)))
}

/// The groups by which a user holds a license feature; none where the client needs no server for it.
fn license_path<'a>(question: &'a Question<'a>, feature: Feature) -> Option<GroupPath<'a>> {
    let to = question.user.features.get(&feature)?;
    let groups = &question.user.groups;
    (question.client != Client::InstalledNoServer).then_some(GroupPath { groups, to })
}

fn has_license(question: &Question<'_>, feature: Feature) -> bool {
    question.client == Client::InstalledNoServer || question.user.features.contains_key(&feature)
}

fn no_license<'a>(question: &'a Question<'a>, feature: Feature) -> Decision<'a> {
    let reason = Reason::NoLicense(&question.user.user, feature);
    Decision::deny(DenyReason::NoLicense, "license-missing", reason)
}

/// Creating and trusting for oneself need a license feature and nothing else.
fn by_license<'a>(question: &'a Question<'a>, feature: Feature) -> Decision<'a> {
    if !has_license(question, feature) {
        return no_license(question, feature);
    }
    let reason = Reason::Licensed(&question.user.user, feature);
    Decision::new(Outcome::Allow, "license-held", reason).path(license_path(question, feature))
}
