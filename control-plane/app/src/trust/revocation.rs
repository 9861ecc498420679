//! Times of a user's signatures that are void: said by administrators about anybody, by users about themselves.
//!
//! Invariant: what was revoked stays revoked. There is no way back but to sign again.

use std::collections::BTreeMap;

use muster_code_trust::{Entry, Moment, Revocation};
use muster_ids::UserName;
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Caller, Operation},
};
use muster_store::{Draft, TrustReason};
use muster_wire::admin::v1::{
    Page, PageQuery,
    trust::{CreateRevocation, Decided, Revocation as WireRevocation},
};
use serde_json::json;

use super::entry::{self, author, decided, duplicate, locked, moment, reason};
use crate::{App, Error};

/// What the end of a revocation is called that ends now.
const UNTIL_NOW: &str = "now";
/// Milliseconds.
const A_DAY: i64 = 24 * 60 * 60 * 1000;

impl App {
    /// All revocations of signatures; users see their own.
    pub async fn list_revocations(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<WireRevocation>, Error> {
        self.authorize(caller, Operation::Use).await?;
        let me = author(caller)?.key();
        let all = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        self.trust_page("revocation/", query, |entry, beside| match entry {
            Entry::Revocation(revocation) if all || revocation.user.key() == me => {
                Some(shown(revocation, beside))
            }
            _ => None,
        })
        .await
    }

    /// Makes what a user signed in a time invalid.
    pub async fn create_revocation(
        &self,
        caller: &Caller,
        new: &CreateRevocation,
    ) -> Result<WireRevocation, Error> {
        let author = author(caller)?;
        let user = new.user.as_ref().unwrap_or(author);
        let administrator = matches!(caller, Caller::User(user) if user.is_in(ADMINISTRATOR));
        let own = user.key() == author.key() && !administrator;
        let operation = if own {
            Operation::TrustForOneself
        } else {
            Operation::ManageTrust
        };
        let authorized = self
            .authorize_to(caller, operation, "revoke what is signed by the user", user)
            .await?;
        let account = self.user_named(user).await?;
        let (user, id) = (account.name, account.id);
        let from = moment("from", &new.from)?;
        let until_now = new.user.is_none() || new.until.as_deref() == Some(UNTIL_NOW);
        let until = match new.until.as_deref() {
            None | Some(UNTIL_NOW) => None,
            Some(text) => Some(moment("until", text)?),
        };
        let reason = reason(new.reason.as_deref())?;
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        // Read while nobody signs: what was signed until now is stamped before it.
        let now = self.now();
        // What another control plane, whose clock is ahead, has stamped was signed before now too.
        let last = now.max(tx.item_signed_at(id).await?);
        let until = if own {
            if until.is_some() {
                return Err(Error::invalid(
                    "what users say about their own signatures ends now; leave the field until away",
                ));
            }
            Some(Moment::from_unix_ms(last))
        } else {
            // About oneself without a word about the end: what comes after now is meant to count.
            until.or_else(|| until_now.then(|| Moment::from_unix_ms(last)))
        };
        // A day may be one of a country where it is tomorrow already.
        if from.unix_ms() > now.saturating_add(A_DAY) {
            return Err(Error::invalid(format!(
                "the field from names {from}, which is still to come; what was signed until now is made void, and nothing was changed"
            )));
        }
        if until.is_some_and(|until| until < from) {
            return Err(Error::invalid(
                "a revocation begins before it ends, and the field from is later",
            ));
        }
        let beside = TrustReason {
            reason,
            by: author.to_string(),
            at: now,
        };
        let revocation = Revocation { user, from, until };
        let whole = Entry::Revocation(revocation.clone());
        if entries.contains_key(&whole.key()) || own && is_covered(&entries, &revocation) {
            return Err(duplicate(format!(
                "the signatures of {} are revoked from {from} already",
                revocation.user
            )));
        }
        if own {
            refuse_many_of(&entries, &revocation.user)?;
        }
        tx.trust_change(&[(whole.key(), Some(whole.value()))], now)
            .await?;
        tx.trust_reason_put(&whole.key(), &beside).await?;
        let detail = json!({ "from": from, "until": until, "reason": beside.reason });
        let draft = Draft::new(
            Event::SignaturesRevoked,
            format!("user {}", revocation.user),
            detail,
        );
        tx.commit(draft, now).await?;
        Ok(to_wire(revocation, &beside))
    }
}

/// What the keys of the revocations of this user begin with.
fn prefix(user: &UserName) -> String {
    format!("revocation/{}/", user.key())
}

/// Refuses more revocations of a user than users make themselves.
pub(crate) fn refuse_many_of(entries: &BTreeMap<String, String>, user: &UserName) -> Result<(), Error> {
    let cure = "ask an administrator to revoke them for you";
    entry::refuse_many(entries, &prefix(user), cure)
}

/// Whether all that `new` would make void is void already, by one revocation.
fn is_covered(entries: &BTreeMap<String, String>, new: &Revocation) -> bool {
    let prefix = prefix(&new.user);
    entries
        .range(prefix.clone()..)
        .take_while(|(key, _)| key.starts_with(&prefix))
        .any(|(key, value)| match Entry::parse(key, value) {
            Ok(Entry::Revocation(known)) => {
                let lasts = known
                    .until
                    .is_none_or(|end| new.until.is_some_and(|wanted| wanted <= end));
                known.from <= new.from && lasts
            }
            _ => false,
        })
}

/// A revocation that was decided now.
pub(crate) fn to_wire(revocation: Revocation, beside: &TrustReason) -> WireRevocation {
    shown(revocation, decided(Some(beside)))
}

fn shown(revocation: Revocation, decided: Decided) -> WireRevocation {
    WireRevocation {
        id: Entry::Revocation(revocation.clone()).id(),
        user: revocation.user,
        from: revocation.from.to_string(),
        until: revocation.until.map(|until| until.to_string()),
        decided,
    }
}

#[cfg(test)]
mod tests;
