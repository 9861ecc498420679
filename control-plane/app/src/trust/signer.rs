//! Trust in signers and in versions of signed items: of users and groups, made and withdrawn by people.
//!
//! Invariant: users decide for themselves only, and only where `decide` lets them; what they did not decide themselves
//! they cannot withdraw. Administrators decide for everybody, about versions only where something speaks for them.

use std::collections::{BTreeMap, BTreeSet};

use muster_code_trust::{
    Block, Certificate, Client, DenyReason, Entry, Feature, INTERNAL_ROOT, Moment, Outcome, Principal,
    Question, Role, Settings, Signature, SignatureSource, Signed, SignedAction, SignedKind, Signer,
    SignerState, Subject, Target, TrustEntry, TrustState, UserFacts, decide,
};
use muster_ids::{Digest, Name, UserName};
use muster_model::{
    audit::Event,
    permission::{ADMINISTRATOR, Caller, Operation, UserCaller},
};
use muster_store::{Draft, TrustReason, UserState};
use muster_wire::admin::v1::{
    Page, PageQuery,
    trust::{Decided, Principal as WirePrincipal, TrustItem, TrustSigner, TrustedItem, TrustedSigner},
};
use serde_json::{Value, json};

use super::{
    block,
    entry::{decided, duplicate, find, locked, moment, read, reason, refuse_long, refuse_many},
};
use crate::{App, Error, signing::Sent};

mod item;
mod shown;

use item::refuse_misspelled;
pub(crate) use shown::named_signer;
use shown::{item_to_wire, principal_text, signer_to_wire, target_text};

const PREFIX: &str = "trust/";

impl App {
    /// The signers that are trusted, as far as the caller may know: administrators all, others those that count for them.
    pub async fn list_signers(
        &self,
        caller: &Caller,
        query: &PageQuery,
    ) -> Result<Page<TrustedSigner>, Error> {
        let circle = self.circle(caller).await?;
        self.trust_page(PREFIX, query, |entry, beside| {
            let id = entry.id();
            let Entry::Trust(entry) = entry else { return None };
            circle
                .holds(&entry.principal)
                .then(|| signer_to_wire(id, entry, beside))?
        })
        .await
    }

    /// The versions of items that are trusted, as far as the caller may know.
    pub async fn list_items(&self, caller: &Caller, query: &PageQuery) -> Result<Page<TrustedItem>, Error> {
        let circle = self.circle(caller).await?;
        self.trust_page(PREFIX, query, |entry, beside| {
            let id = entry.id();
            let Entry::Trust(entry) = entry else { return None };
            circle
                .holds(&entry.principal)
                .then(|| item_to_wire(id, entry, beside))?
        })
        .await
    }

    /// Trusts a signer in a role.
    pub async fn trust_signer(&self, caller: &Caller, new: &TrustSigner) -> Result<TrustedSigner, Error> {
        let user = person(caller)?;
        let form = json!({ "principal": principal(new.principal.as_ref(), user), "signer": new.signer });
        let entry: TrustEntry = read("whom to trust", form)?;
        let (id, entry, beside) = self
            .add_trust(
                user,
                entry,
                (new.expires.as_deref(), new.reason.as_deref()),
                Sent::default(),
            )
            .await?;
        signer_to_wire(id, entry, beside).ok_or_else(|| Error::bug("a signer is none"))
    }

    /// Trusts one version of a mod or an external action.
    pub async fn trust_item(&self, caller: &Caller, new: &TrustItem) -> Result<TrustedItem, Error> {
        let user = person(caller)?;
        let form = json!({ "principal": principal(new.principal.as_ref(), user), "item": new.item });
        let entry: TrustEntry = read("what to trust", form)?;
        if let Target::Item(item) = &entry.target {
            refuse_misspelled(item)?;
        }
        let (id, entry, beside) = self
            .add_trust(
                user,
                entry,
                (new.expires.as_deref(), new.reason.as_deref()),
                Sent {
                    content: new.content.as_ref(),
                    bundle: new.bundle.as_ref(),
                },
            )
            .await?;
        item_to_wire(id, entry, beside).ok_or_else(|| Error::bug("an item is none"))
    }

    /// Withdraws trust in a signer.
    pub async fn withdraw_signer(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.remove_trust(caller, id, |target| matches!(target, Target::Signer(..)))
            .await
    }

    /// Withdraws trust in an item.
    pub async fn withdraw_item(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        self.remove_trust(caller, id, |target| matches!(target, Target::Item(_)))
            .await
    }

    async fn add_trust(
        &self,
        user: &UserCaller,
        entry: TrustEntry,
        (expires, why): (Option<&str>, Option<&str>),
        sent: Sent<'_>,
    ) -> Result<(Digest, TrustEntry, Decided), Error> {
        let now = self.now();
        let expires = expires.map(|text| moment("expires", text)).transpose()?;
        if expires.is_some_and(|expires| expires <= Moment::from_unix_ms(now)) {
            return Err(Error::invalid("the field expires names a moment that is over"));
        }
        let entry = TrustEntry { expires, ..entry };
        let reason = reason(why)?;
        let caller = Caller::User(user.clone());
        let own = is_own(&entry.principal, user);
        let operation = if own && !user.is_in(ADMINISTRATOR) {
            Operation::TrustForOneself
        } else {
            Operation::ManageTrust
        };
        let authorized = self.authorize(&caller, operation).await?;
        let whole = Entry::Trust(entry.clone());
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        // Asked while nobody deletes a group with its trust.
        self.require_principal(&entry.principal).await?;
        let block = match &entry.target {
            Target::Signer(signer, _) => block::of_signer(signer),
            Target::Item(item) => block::of_item(item),
        };
        if let Block::Certificate(certificate) = &block {
            refuse_long(certificate)?;
            self.require_imported(certificate).await?;
        }
        block::refuse_blocked(&entries, block)?;
        let oneself = operation == Operation::TrustForOneself;
        let facts = if oneself {
            self.known_facts(user.id, &user.name).await?
        } else {
            self.facts_of_principal(&entry.principal, user).await?
        };
        let judged = match &entry.target {
            Target::Signer(signer, role) => {
                self.require_trusting(user, (&facts, oneself), (signer, *role), &entries)
                    .await
            }
            Target::Item(item) => {
                self.require_trustworthy(user, &facts, (item, sent), &entries)
                    .await
            }
        };
        if let Err(refused) = judged {
            drop(tx);
            if matches!(refused, Error::Denied { .. }) {
                self.record_denial(&caller, ("trust for themselves", target_text(&entry.target)))
                    .await;
            }
            return Err(refused);
        }
        if let Some(value) = entries.get(&whole.key()) {
            let until = match Entry::parse(&whole.key(), value) {
                Ok(Entry::Trust(there)) => there.expires,
                _ => None,
            };
            // What is over decides nothing any more, whoever decided it.
            if until.is_none_or(|until| until > Moment::from_unix_ms(now)) {
                let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
                return Err(duplicate(format!(
                    "{} trusts {} already{until}; withdraw that first to decide otherwise",
                    principal_text(&entry.principal),
                    target_text(&entry.target),
                )));
            }
        }
        if oneself {
            let cure =
                "withdraw some with muster trust remove, or ask an administrator to decide this for you";
            refuse_many(&entries, &format!("{PREFIX}user/{}/", user.name.key()), cure)?;
        }
        tx.trust_change(&[(whole.key(), Some(whole.value()))], now)
            .await?;
        let beside = TrustReason {
            reason,
            by: user.name.to_string(),
            at: now,
        };
        tx.trust_reason_put(&whole.key(), &beside).await?;
        let detail = json!({
            "entry": whole.key(), "principal": principal_text(&entry.principal),
            "expires": entry.expires, "reason": beside.reason,
        });
        let draft = Draft::new(events(&entry.target).0, target_text(&entry.target), detail);
        tx.commit(draft, now).await?;
        Ok((whole.id(), entry, decided(Some(&beside))))
    }

    async fn remove_trust(
        &self,
        caller: &Caller,
        id: &str,
        wanted: impl Fn(&Target) -> bool,
    ) -> Result<(), Error> {
        let user = person(caller)?;
        let administrator = user.is_in(ADMINISTRATOR);
        let operation = if administrator {
            Operation::ManageTrust
        } else {
            Operation::TrustForOneself
        };
        let authorized = self.authorize(caller, operation).await?;
        let circle = self.circle(caller).await?;
        let now = self.now();
        let mut tx = self.begin_asked(&authorized).await?;
        let entries = locked(&mut tx).await?;
        let Some((key, Entry::Trust(entry))) = find(&entries, PREFIX, id) else {
            return Err(no_such_entry());
        };
        let own = is_own(&entry.principal, user);
        if !wanted(&entry.target) || !circle.holds(&entry.principal) {
            return Err(no_such_entry());
        }
        let made_by = tx.trust_reason(&key).await?.map(|reason| reason.by);
        let may = administrator || own && made_by.as_deref() == Some(user.name.as_str());
        if !may {
            drop(tx);
            self.record_denial(
                caller,
                ("withdraw what was decided for them", target_text(&entry.target)),
            )
            .await;
            return Err(Error::denied(
                "this was decided by an administrator, and users withdraw their own decisions only; ask an administrator",
            ));
        }
        tx.trust_change(&[(key.clone(), None)], now).await?;
        let detail = json!({ "entry": key, "principal": principal_text(&entry.principal) });
        let draft = Draft::new(events(&entry.target).1, target_text(&entry.target), detail);
        tx.commit(draft, now).await?;
        Ok(())
    }

    async fn require_principal(&self, principal: &Principal) -> Result<(), Error> {
        match principal {
            Principal::User(user) => self.user_named(user).await.map(drop),
            Principal::Group(group) => self.group_named(group).await.map(drop),
        }
    }

    /// Trust by issuer and number is trust in one certificate, so that one must be known first.
    async fn require_imported(&self, certificate: &Certificate) -> Result<(), Error> {
        let (issuer, serial) = (certificate.issuer.as_str(), certificate.serial.as_str());
        if self
            .store()
            .signing_certificate_imported(issuer, serial)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let issued = self.store().signing_certificate_issued(serial).await?;
        if issued.is_some_and(|issued| issued.issuer == issuer) {
            return Err(Error::invalid(
                "this is a certificate of a user of this collective; trust the user, whatever certificate signs",
            ));
        }
        Err(Error::NotFound {
            detail: format!(
                "no certificate {serial} of {issuer} is known here; import it first with muster compat import-code-signing-certificate"
            ),
        })
    }

    /// Refuses a signer who is nobody and, to those who decide for themselves, one whom `decide` does not let them trust.
    async fn require_trusting(
        &self,
        user: &UserCaller,
        (facts, oneself): (&UserFacts, bool),
        (signer, role): (&Signer, Role),
        entries: &BTreeMap<String, String>,
    ) -> Result<(), Error> {
        let state = match signer {
            Signer::User(signer) => match self.user_named(signer).await?.state {
                UserState::Active => SignerState::Active,
                UserState::Disabled => SignerState::Disabled,
                UserState::Deleted => SignerState::Deleted,
            },
            Signer::Certificate(_) => SignerState::Active,
        };
        if !oneself {
            return Ok(());
        }
        let now = Moment::from_unix_ms(self.now());
        let question = Question {
            user: facts,
            client: Client::Web,
            subject: subject(signer, role, state, now),
            now,
        };
        let outcome = decide(&question, &of_signers(entries)?, &Settings::default()).outcome;
        let what = target_text(&Target::Signer(signer.clone(), role));
        match outcome {
            Outcome::Deny {
                reason: DenyReason::InvalidSignatureRevoked,
            } => Err(Error::conflict(
                "signer-revoked",
                format!(
                    "signatures of {what} are revoked from a moment before now, so nothing new of theirs can be trusted"
                ),
            )),
            Outcome::Deny { .. } => Err(may_not_trust(user, &what, role == Role::Configurator)),
            _ => Ok(()),
        }
    }

    async fn circle(&self, caller: &Caller) -> Result<Circle, Error> {
        self.authorize(caller, Operation::Use).await?;
        let user = person(caller)?;
        if user.is_in(ADMINISTRATOR) {
            return Ok(Circle::Everybody);
        }
        let group = |name: &String| name.parse::<Name>().ok().map(|name| name.key());
        Ok(Circle::Of {
            user: user.name.key(),
            groups: user.groups.iter().filter_map(group).collect(),
        })
    }
}

/// What takes the trust of a group away.
pub(crate) fn of_group(entries: &BTreeMap<String, String>, group: &Name) -> Vec<(String, Option<String>)> {
    let own = |key: &str, value: &str| {
        matches!(
            Entry::parse(key, value),
            Ok(Entry::Trust(TrustEntry { principal: Principal::Group(name), .. })) if name.key() == group.key()
        )
    };
    entries
        .range("trust/group/".to_owned()..)
        .take_while(|(key, _)| key.starts_with("trust/group/"))
        .filter(|(key, value)| own(key, value))
        .map(|(key, _)| (key.clone(), None))
        .collect()
}

/// The trust of a group that gets another name: the keys that go, and what stands in their place.
pub(crate) fn of_renamed(
    entries: &BTreeMap<String, String>,
    group: &Name,
    to: &Name,
) -> Vec<(String, Entry)> {
    let renamed = |(key, _): (String, Option<String>)| {
        let Ok(Entry::Trust(entry)) = Entry::parse(&key, entries.get(&key)?) else {
            return None;
        };
        let principal = Principal::Group(to.clone());
        Some((key, Entry::Trust(TrustEntry { principal, ..entry })))
    };
    of_group(entries, group).into_iter().filter_map(renamed).collect()
}

/// What takes the trust of a user away, and that of others in what the user signs: another account of the name would have
/// both.
pub(crate) fn of_user(entries: &BTreeMap<String, String>, user: &UserName) -> Vec<(String, Option<String>)> {
    let name = user.key();
    let about = |entry: &TrustEntry| {
        let own = matches!(&entry.principal, Principal::User(other) if other.key() == name);
        own || matches!(&entry.target, Target::Signer(Signer::User(other), _) if other.key() == name)
    };
    entries
        .range(PREFIX.to_owned()..)
        .take_while(|(key, _)| key.starts_with(PREFIX))
        .filter(|(key, _)| key.contains(&name))
        .filter(|(key, value)| matches!(Entry::parse(key, value), Ok(Entry::Trust(entry)) if about(&entry)))
        .map(|(key, _)| (key.clone(), None))
        .collect()
}

/// Whose trust somebody may know of.
enum Circle {
    Everybody,
    Of { user: String, groups: BTreeSet<String> },
}

impl Circle {
    fn holds(&self, principal: &Principal) -> bool {
        match (self, principal) {
            (Self::Everybody, _) => true,
            (Self::Of { user, .. }, Principal::User(other)) => *user == other.key(),
            (Self::Of { groups, .. }, Principal::Group(group)) => groups.contains(&group.key()),
        }
    }
}

fn person(caller: &Caller) -> Result<&UserCaller, Error> {
    match caller {
        Caller::User(user) => Ok(user),
        _ => Err(Error::invalid("decisions about trust are made by users")),
    }
}

fn principal(given: Option<&WirePrincipal>, user: &UserCaller) -> Value {
    match given {
        None => json!({ "user": user.name }),
        Some(WirePrincipal {
            user: Some(user),
            group: None,
        }) => json!({ "user": user }),
        Some(WirePrincipal {
            user: None,
            group: Some(group),
        }) => json!({ "group": group }),
        // Both or neither: no principal is written so, and whoever reads it says what is wrong.
        Some(both) => json!(both),
    }
}

fn is_own(principal: &Principal, user: &UserCaller) -> bool {
    matches!(principal, Principal::User(name) if name.key() == user.name.key())
}

/// What `decide` is asked before somebody trusts a signer for themselves. Whether a signature leads to an accepted root is
/// asked when an item is opened: here there is none, and the signer is taken for one of the collective.
fn subject(signer: &Signer, role: Role, state: SignerState, now: Moment) -> Subject {
    let root = || INTERNAL_ROOT.parse().expect("a label");
    let kind = match role {
        Role::Developer => SignedKind::VisualizationMod,
        Role::Configurator => SignedKind::ExternalAction,
    };
    let source = match signer {
        Signer::User(user) => SignatureSource::User {
            root: root(),
            user: user.clone(),
            state,
            certificate: None,
            time: now,
        },
        Signer::Certificate(certificate) => SignatureSource::External {
            root: root(),
            certificate: certificate.clone(),
            time: now,
        },
    };
    let signature = Some(Signature {
        source,
        tampered: false,
        authorities: Vec::new(),
    });
    let hash = None;
    Subject::Signed(
        Signed {
            kind,
            hash,
            signature,
        },
        SignedAction::TrustSigner,
    )
}

/// The part of the state that is about signers, with the own root, which may be made only when somebody signs.
fn of_signers(entries: &BTreeMap<String, String>) -> Result<TrustState, Error> {
    let matters = |key: &str| {
        ["block/", "revocation/", "root/"]
            .iter()
            .any(|prefix| key.starts_with(prefix))
    };
    let root = Entry::Root(INTERNAL_ROOT.parse().map_err(Error::bug)?);
    let mut pairs: BTreeMap<String, String> = entries
        .iter()
        .filter(|(key, _)| matters(key))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    pairs.insert(root.key(), root.value());
    TrustState::from_pairs(pairs).map_err(Error::bug)
}

/// That somebody lacks the license to trust.
fn may_not_trust(user: &UserCaller, what: &str, of_actions: bool) -> Error {
    let feature = if of_actions {
        Feature::TrustExternalActions
    } else {
        Feature::TrustMods
    };
    Error::denied(format!(
        "{} may not trust {what}; ask for a group with the license feature {feature}",
        user.name
    ))
}

/// The events of trusting and of withdrawing, by their documented names.
fn events(target: &Target) -> (Event, Event) {
    match target {
        Target::Item(_) => (Event::HashAdded, Event::HashRemoved),
        Target::Signer(Signer::User(_), _) => (Event::SignerAdded, Event::SignerRemoved),
        Target::Signer(Signer::Certificate(_), _) => (Event::ExternalAdded, Event::ExternalRemoved),
    }
}

fn no_such_entry() -> Error {
    Error::NotFound {
        detail: "there is no such trust entry; muster trust list --signers and --items show them".to_owned(),
    }
}

#[cfg(test)]
mod tests;
