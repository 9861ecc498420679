//! The one decision: may this user do this with this item, and in which mode.
//!
//! Invariant: total and pure. The control plane asks before it grants a run, the node asks again as its last step, the
//! policy test and `explain` ask for people; all call [`decide`].
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

use muster_ids::Name;

use crate::{
    Client, CodeType, DenyReason, Feature, ItemHash, ItemType, Outcome, Question, SettingName, Settings,
    Subject, TrustState, UserFacts, Verdict,
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
pub fn decide(question: &Question<'_>, trust: &TrustState, settings: &Settings) -> Verdict {
    match &question.subject {
        Subject::Code(code, action) => code::decide(question, code, *action, trust, settings),
        Subject::JobScript { hash, executing } => job_script(question.user, executing, hash.as_ref(), trust),
        Subject::Signed(item, action) => signed::decide(question, item, *action, trust),
    }
}

/// The script of a job runs by the standing of its people alone; stamps do not matter.
fn job_script(
    author: &UserFacts,
    executing: &UserFacts,
    hash: Option<&ItemHash>,
    trust: &TrustState,
) -> Verdict {
    if let Some(verdict) = item_blocked(ItemType::JobScript, hash, trust) {
        return verdict;
    }
    for (who, facts) in [("author", author), ("executing account", executing)] {
        if !facts.groups.contains(SCRIPT_AUTHOR_KEY) {
            return Verdict::deny(
                DenyReason::NotScriptAuthor,
                "job-needs-authors",
                format!(
                    "The job's {who} {} is not in the group Script Author.",
                    facts.user
                ),
            );
        }
    }
    let sentence = format!(
        "{} and {} are both in the group Script Author.",
        author.user, executing.user
    );
    Verdict::new(Outcome::Allow, "job-of-authors", sentence).path(author.groups.path(SCRIPT_AUTHOR_KEY))
}

fn item_blocked(r#type: ItemType, hash: Option<&ItemHash>, trust: &TrustState) -> Option<Verdict> {
    let hash = hash.filter(|hash| trust.index().blocks_item(r#type, hash))?;
    let sentence = format!("This version of the item ({type}) is blocked for everybody.");
    Some(
        Verdict::deny(DenyReason::BlockedItem, "item-blocked", sentence)
            .entry(format!("block/item/{type}/{hash}")),
    )
}

/// How a user holds a license feature: by the groups of this path, or, without a server, simply so.
fn license(question: &Question<'_>, feature: Feature) -> Option<Vec<Name>> {
    if question.client == Client::InstalledNoServer {
        return Some(Vec::new());
    }
    let group = question.user.features.get(&feature)?;
    Some(question.user.groups.path(&group.key()))
}

fn has_license(question: &Question<'_>, feature: Feature) -> bool {
    question.client == Client::InstalledNoServer || question.user.features.contains_key(&feature)
}

fn no_license(question: &Question<'_>, feature: Feature) -> Verdict {
    let sentence = format!(
        "No group of {} has the license feature {feature}.",
        question.user.user
    );
    Verdict::deny(DenyReason::NoLicense, "license-missing", sentence)
}

/// Creating and trusting for oneself need a license feature and nothing else.
fn by_license(question: &Question<'_>, feature: Feature) -> Verdict {
    match license(question, feature) {
        Some(path) => {
            let sentence = format!("{} has the license feature {feature}.", question.user.user);
            Verdict::new(Outcome::Allow, "license-held", sentence).path(path)
        }
        None => no_license(question, feature),
    }
}
