//! Whether a version of a mod or external action may be trusted, by what is known of it.
//!
//! Invariant: a version is trusted only where a signature of it is valid for whoever trusts it, or their preference lets
//! them do without one and it is known what the version is.

use std::collections::{BTreeMap, BTreeSet};

use muster_code_trust::{
    Client, DenyReason, Feature, Memberships, Moment, Outcome, Principal, Question, Settings, Signature,
    Signed, SignedAction, SignedKind, SignedRef, Subject, UserFacts, decide,
};
use muster_ids::{Name, Sha512};
use muster_model::permission::{ADMINISTRATOR, UserCaller};

use super::{Target, may_not_trust, of_signers, target_text};
use crate::{
    App, Error,
    signing::{Named, Seen, Sent, problem},
};

impl App {
    /// Refuses a version for which nothing speaks that counts.
    pub(super) async fn require_trustworthy(
        &self,
        user: &UserCaller,
        facts: &UserFacts,
        (item, sent): (&SignedRef, Sent<'_>),
        entries: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let state = of_signers(entries)?;
        let now = Moment::from_unix_ms(self.now());
        let denied = |signature: Option<Signature>| {
            let signed = Signed {
                kind: item.r#type,
                hash: Some(item.hash.clone()),
                signature,
            };
            let question = Question {
                user: facts,
                client: Client::Web,
                subject: Subject::Signed(signed, SignedAction::TrustItem),
                now,
            };
            match decide(&question, &state, &Settings::default()).outcome {
                Outcome::Deny { reason } => Some(reason),
                _ => None,
            }
        };
        let what = target_text(&Target::Item(item.clone()));
        // Before anything is verified for somebody who may not trust in any case.
        let without = denied(None);
        if without == Some(DenyReason::NoTrustPermission) {
            let of_actions = item.r#type == SignedKind::ExternalAction;
            return Err(may_not_trust(user, &what, of_actions));
        }
        let (mut valid, mut first) = (false, None);
        let mut look = |seen: Seen| {
            let (signature, words) = match seen {
                Ok(checked) => {
                    let problem = problem(&checked, &state);
                    (Some(checked.signature), problem.map(|(_, words)| words))
                }
                Err(words) => (None, Some(words)),
            };
            let is_valid = signature.is_some() && words.is_none();
            match denied(signature) {
                Some(reason) => drop(first.get_or_insert((reason, words))),
                // Where it is not valid, the preference alone lets it be trusted: see below.
                None => valid = is_valid,
            }
            !valid
        };
        let version = Named::of(item.r#type.into(), item.hash.clone());
        let there = self.evidence(&version, sent, &state, &mut look).await?;
        if valid {
            return Ok(());
        }
        let Some((reason, words)) = first.or(without.map(|reason| (reason, None))) else {
            return if there {
                Ok(())
            } else {
                Err(Error::NotFound {
                    detail: format!(
                        "nothing is known here of {what}; have it signed, import it into the library, or trust it with \
                         muster trust open --trust, which sends it along"
                    ),
                })
            };
        };
        let blocked = [
            DenyReason::BlockedItem,
            DenyReason::BlockedCertificate,
            DenyReason::BlockedUser,
        ];
        if blocked.contains(&reason) {
            return Err(Error::conflict(
                "blocked",
                format!("whoever signed {what} is blocked; muster trust list --blocks says why"),
            ));
        }
        let nothing = if there {
            "it is not signed"
        } else {
            "nothing is known of it"
        };
        let why = words.unwrap_or_else(|| nothing.to_owned());
        Err(Error::conflict(
            "signature-required",
            format!(
                "{what} has no valid signature here, and nothing else is trusted: {why}; have it signed (muster trust sign), \
                 or send the signature that lies with it"
            ),
        ))
    }

    /// What decides for administrators, who need no license to trust: the preference of whoever trusts then.
    pub(super) async fn facts_of_principal(
        &self,
        principal: &Principal,
        deciding: &UserCaller,
    ) -> Result<UserFacts, Error> {
        let mut facts = match principal {
            Principal::User(name) => {
                let user = self.user_named(name).await?;
                self.facts_of(user.id, &user.name).await?
            }
            Principal::Group(group) => UserFacts {
                user: deciding.name.clone(),
                groups: Memberships::default(),
                features: BTreeMap::new(),
                readable_stamps: BTreeSet::new(),
                accepts_invalid_signatures: self.group_accepts_invalid_signatures(group).await?,
            },
        };
        let administrator: Name = ADMINISTRATOR.parse().map_err(Error::bug)?;
        for feature in [Feature::TrustMods, Feature::TrustExternalActions] {
            facts.features.insert(feature, administrator.clone());
        }
        Ok(facts)
    }
}

/// That the hash of a version is written as signatures and blocks write it.
pub(super) fn refuse_misspelled(item: &SignedRef) -> Result<(), Error> {
    let parsed: Result<Sha512, _> = item.hash.as_str().parse();
    parsed.map(drop).map_err(|error| {
        Error::invalid(format!(
            "what to trust cannot be used: {error}; muster trust verify shows the hash of an item"
        ))
    })
}
