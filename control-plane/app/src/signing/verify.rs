//! What holds of the signature of an item, and what would come of it.
//!
//! Invariant: whoever signs an item after somebody else hides nobody's signature: of each signer the newest valid one is
//! looked at.

use std::{fmt::Display, str::FromStr};

use muster_code_trust::{
    Checked, Client, CodeRoot, FORMER_ROOT, INTERNAL_ROOT, Moment, Outcome, PromptOption, Question, Settings,
    Signature, SignatureBundle, SignatureProblem, SignatureSource, SignatureStatus, Signed, SignedAction,
    SignedKind, SignerState, Subject, TrustState, UserFacts, Verdict, decide,
};
use muster_ids::{Digest, UserId, UserName};
use muster_model::permission::{Caller, Operation};
use muster_pki::code_signing::ChainError;
use muster_store::{RootOrigin, RootState, SignatureHead, UserState};
use muster_wire::admin::v1::{
    signing::{VerifiedItem, VerifyItem},
    trust::Signer,
};
use serde_json::Value;

use super::{Named, named, signed_kind};
use crate::{
    App, Error,
    trust::{named_signer, why},
};

/// From how many signers signatures of one item are looked at.
const MOST_SIGNERS: u32 = 64;
/// How many of one signer.
const MOST_OF_ONE: u32 = 16;
/// How many of these are verified where none is valid.
const MOST_TRIES: usize = 4;

/// What was found of one signature; `Err` with the reason where it counts as none.
pub(crate) type Seen = Result<Checked, String>;

/// Who would do what with an item, and where.
pub(crate) struct Doing {
    /// Who.
    pub(crate) user: UserId,
    /// What decisions know of them.
    pub(crate) facts: UserFacts,
    /// Where.
    pub(crate) client: Client,
    /// What, where somebody said so.
    pub(crate) action: Option<SignedAction>,
}

impl Doing {
    /// What would be done with an item of this kind: mods are opened and external actions run, unless somebody asks
    /// about something else.
    pub(crate) fn action(&self, kind: SignedKind) -> SignedAction {
        self.action.unwrap_or(match kind {
            SignedKind::ExternalAction => SignedAction::Run,
            SignedKind::VisualizationMod | SignedKind::ActionMod => SignedAction::Open,
        })
    }
}

impl App {
    /// What holds of the signature of an item, and what would come of it.
    pub async fn verify_item(&self, caller: &Caller, asked: &VerifyItem) -> Result<VerifiedItem, Error> {
        let mut doing = self
            .doing(caller, (asked.user.as_ref(), asked.client.as_deref()))
            .await?;
        doing.action = field("action", asked.action.as_deref())?;
        let named = named(&asked.item)?;
        if doing.action.is_some() && signed_kind(named.r#type).is_none() {
            return Err(Error::invalid(format!(
                "the field action is for mods and external actions; no signature decides about items of the type {}",
                named.r#type
            )));
        }
        self.verified(&named, asked.bundle.as_ref(), &doing).await
    }

    /// Who would do what, and where; only administrators ask about others.
    pub(crate) async fn doing(
        &self,
        caller: &Caller,
        (user, client): (Option<&UserName>, Option<&str>),
    ) -> Result<Doing, Error> {
        let Caller::User(asking) = caller else {
            return Err(Error::invalid("users ask what would happen"));
        };
        let other = user.filter(|user| user.key() != asking.name.key());
        let operation = if other.is_some() {
            Operation::ReadAdministration
        } else {
            Operation::Use
        };
        self.authorize(caller, operation).await?;
        let (user, facts) = match other {
            Some(name) => {
                let user = self.user_named(name).await?;
                (user.id, self.facts_of(user.id, &user.name).await?)
            }
            None => (asking.id, self.known_facts(asking.id, &asking.name).await?),
        };
        Ok(Doing {
            user,
            facts,
            client: field("client", client)?.unwrap_or(Client::Web),
            action: None,
        })
    }

    /// What holds of this signature of an item, or else of those that are kept: of several the newest by which the user
    /// may do it, else the newest that is valid, else the newest.
    pub(crate) async fn verified(
        &self,
        named: &Named,
        bundle: Option<&Value>,
        doing: &Doing,
    ) -> Result<VerifiedItem, Error> {
        let (roots, state) = (self.code_roots().await?, self.trust_state().await?);
        let now = Moment::from_unix_ms(self.now());
        if let Some(bundle) = bundle {
            let seen = self.seen(named, bundle.to_string().as_bytes(), &roots).await?;
            return Ok(shown(named, Some(seen), doing, (&state, now)));
        }
        let mut best: Option<(u8, VerifiedItem)> = None;
        let mut look = |seen| {
            let found = shown(named, Some(seen), doing, (&state, now));
            let rank = rank(&found);
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                best = Some((rank, found));
            }
            rank > 0
        };
        self.each_signature(named, (&roots, &state), &mut look).await?;
        Ok(best.map_or_else(|| shown(named, None, doing, (&state, now)), |(_, found)| found))
    }

    /// Looks at the signatures of an item that are kept until `look` has seen enough: of each signer at the newest that is
    /// valid, or else the newest.
    pub(crate) async fn each_signature(
        &self,
        named: &Named,
        (roots, state): (&[CodeRoot], &TrustState),
        look: &mut (impl FnMut(Seen) -> bool + Send),
    ) -> Result<(), Error> {
        let (r#type, hash) = (named.r#type.as_str(), named.hash.as_str());
        let most = MOST_SIGNERS * MOST_OF_ONE;
        let heads = self
            .store()
            .item_signatures(r#type, hash, MOST_OF_ONE, most)
            .await?;
        let signers = heads.chunk_by(|one, other| one.signed_by == other.signed_by);
        for of_one in signers.take(MOST_SIGNERS as usize) {
            let (mut first, mut tries) = (None, 0);
            for head in of_one {
                if tries == MOST_TRIES {
                    break;
                }
                if first.is_some() && is_void(state, head) {
                    continue;
                }
                tries += 1;
                let Some(kept) = self.store().item_signature(&head.id).await? else {
                    continue;
                };
                let seen = self.seen(named, kept.bundle.as_bytes(), roots).await?;
                if seen
                    .as_ref()
                    .is_ok_and(|checked| problem(checked, state).is_none())
                {
                    first = Some(seen);
                    break;
                }
                first.get_or_insert(seen);
            }
            if let Some(seen) = first
                && !look(seen)
            {
                break;
            }
        }
        Ok(())
    }

    /// What is found of one signature with the roots and accounts as they are.
    pub(crate) async fn seen(&self, named: &Named, bundle: &[u8], roots: &[CodeRoot]) -> Result<Seen, Error> {
        match SignatureBundle::from_json(bundle) {
            Ok(bundle) => self.checked(named, &bundle, roots).await,
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    /// The same of one that was read.
    pub(super) async fn checked(
        &self,
        named: &Named,
        bundle: &SignatureBundle,
        roots: &[CodeRoot],
    ) -> Result<Seen, Error> {
        let mut state = SignerState::Deleted;
        if let Some(account) = bundle.account()
            && let Some(user) = self.store().user(account.id).await?
        {
            state = match user.state {
                UserState::Active => SignerState::Active,
                UserState::Disabled => SignerState::Disabled,
                UserState::Deleted => SignerState::Deleted,
            };
        }
        let now = Moment::from_unix_ms(self.now());
        let known = self.known_authorities(bundle).await?;
        let checked = bundle.check_with((named.r#type, &named.hash), (roots, &known), now, |_| state);
        let mut checked = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(error.to_string())),
        };
        self.refuse_namesake(bundle, &mut checked).await?;
        Ok(Ok(checked))
    }

    /// Refuses a certificate that has issuer and number of an imported one, and is another: trust by them means that one.
    async fn refuse_namesake(&self, bundle: &SignatureBundle, checked: &mut Checked) -> Result<(), Error> {
        let SignatureSource::External { root, .. } = &mut checked.signature.source else {
            return Ok(());
        };
        let (issuer, serial) = (&checked.certificate.issuer, &checked.certificate.serial);
        let known = self
            .store()
            .signing_certificate_imported(issuer.as_str(), serial.as_str())
            .await?;
        let chain = bundle.signature.chain();
        let own = chain.first().map(|leaf| Digest::of(leaf));
        if known.is_some_and(|known| Some(known.fingerprint) != own) {
            *root = "unverified (another certificate has its issuer and number)"
                .parse()
                .map_err(Error::bug)?;
            checked.root = None;
            checked
                .problem
                .get_or_insert(SignatureProblem::Chain(ChainError::UnknownIssuer));
        }
        Ok(())
    }

    /// The roots that signatures may lead to.
    pub(crate) async fn code_roots(&self) -> Result<Vec<CodeRoot>, Error> {
        let roots = self.store().signing_roots().await?;
        roots
            .into_iter()
            .filter(|root| root.origin == RootOrigin::Internal || root.state == RootState::Accepted)
            .map(|root| {
                let label = match root.origin {
                    RootOrigin::Internal if root.state != RootState::Removed => INTERNAL_ROOT.to_owned(),
                    // Known, so that no other authority speaks for what it signed.
                    RootOrigin::Internal => FORMER_ROOT.to_owned(),
                    RootOrigin::Imported => root.fingerprint.to_string(),
                };
                Ok(CodeRoot {
                    label: label.parse().map_err(Error::bug)?,
                    certificate: root.der.into(),
                })
            })
            .collect()
    }
}

/// What is wrong with a signature: its status and words for people.
pub(crate) fn problem(checked: &Checked, state: &TrustState) -> Option<(&'static str, String)> {
    match &checked.problem {
        Some(problem) => Some((problem.status().as_str(), problem.to_string())),
        None if is_revoked(state, &checked.signature) => Some((
            "revoked",
            "what the signer signed at this time was revoked; have the item signed again".to_owned(),
        )),
        None => None,
    }
}

pub(super) fn is_revoked(state: &TrustState, signature: &Signature) -> bool {
    match &signature.source {
        SignatureSource::User { user, time, .. } => state.is_revoked(user, *time),
        SignatureSource::External { .. } | SignatureSource::Vendor => false,
    }
}

/// Whether a signature that is kept lies in a time for which its signer is revoked, as far as the row says.
fn is_void(state: &TrustState, head: &SignatureHead) -> bool {
    let at = Moment::from_unix_ms(head.signed_at);
    let user: Result<UserName, _> = head.signed_by.parse();
    user.is_ok_and(|user| state.is_revoked(&user, at))
}

/// What is said of an item with this signature, or without one.
fn shown(
    named: &Named,
    seen: Option<Seen>,
    doing: &Doing,
    (state, now): (&TrustState, Moment),
) -> VerifiedItem {
    let (checked, words) = match seen {
        Some(Ok(checked)) => (Some(checked), None),
        Some(Err(words)) => (None, Some(words)),
        None => (None, None),
    };
    let signature = checked.as_ref().map(|checked| checked.signature.clone());
    let verdict = judged(named, signature, doing, (state, now));
    let found = VerifiedItem {
        item: named.to_wire(),
        status: "unsigned".to_owned(),
        problem: words,
        signer: None,
        issuer: None,
        serial: None,
        time: None,
        root: None,
        capabilities: named.capabilities.clone(),
        external_resources: named.external_resources.clone(),
        outcome: verdict.as_ref().map(|verdict| verdict.outcome.word().to_owned()),
        options: verdict.as_ref().map(options).unwrap_or_default(),
        offered: offered(named, checked.as_ref(), verdict.as_ref()),
        why: verdict.as_ref().map(why),
    };
    let Some(checked) = checked else { return found };
    let (status, words) = match problem(&checked, state) {
        Some((status, words)) => (status, Some(words)),
        None => (SignatureStatus::Valid.as_str(), None),
    };
    VerifiedItem {
        status: status.to_owned(),
        problem: words,
        signer: Some(checked.subject),
        issuer: Some(checked.certificate.issuer.to_string()),
        serial: Some(checked.certificate.serial.to_string()),
        time: checked.stamped.map(|time| time.to_string()),
        root: checked.root.map(|root| root.to_string()),
        ..found
    }
}

/// A word that was given for a field, where one was.
pub(crate) fn field<T: FromStr<Err: Display>>(name: &str, given: Option<&str>) -> Result<Option<T>, Error> {
    let parsed = given.map(str::parse).transpose();
    parsed.map_err(|error: T::Err| Error::invalid(format!("the field {name} cannot be used: {error}")))
}

/// The signer that a prompt offers to trust.
fn offered(named: &Named, checked: Option<&Checked>, verdict: Option<&Verdict>) -> Option<Signer> {
    let Outcome::Prompt { options } = verdict?.outcome else {
        return None;
    };
    let signer = options.contains(&PromptOption::Signer).then_some(checked?)?;
    Some(named_signer(
        signer.signature.source.signer()?,
        signed_kind(named.r#type)?.role(),
    ))
}

fn options(verdict: &Verdict) -> Vec<String> {
    match verdict.outcome {
        Outcome::Prompt { options } => options.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    }
}

/// What would come of it; of types other than mods and external actions no signature decides.
fn judged(
    named: &Named,
    signature: Option<Signature>,
    doing: &Doing,
    (state, now): (&TrustState, Moment),
) -> Option<Verdict> {
    let kind = signed_kind(named.r#type)?;
    let signed = Signed {
        kind,
        hash: Some(named.hash.clone()),
        signature,
    };
    let question = Question {
        user: &doing.facts,
        client: doing.client,
        subject: Subject::Signed(signed, doing.action(kind)),
        now,
    };
    Some(decide(&question, state, &Settings::default()).verdict())
}

fn rank(found: &VerifiedItem) -> u8 {
    match (found.status.as_str(), found.outcome.as_deref()) {
        ("valid", None | Some("allow" | "allow_with_consent")) => 0,
        ("valid", Some("prompt")) => 1,
        ("valid", _) => 2,
        _ => 3,
    }
}
