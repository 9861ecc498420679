//! Mods and external actions: trusted by their signer or by their content, never for having been signed alone.
//!
//! The order is the rule: license, block, then for trusting its license and the validity of the signature; else trusted,
//! somebody there to ask, valid, allowed to trust, ask.

use super::{
    Decider, Decision, DenyReason, Feature, ItemFacts, Outcome, Question, Reason, TrustState, by_license,
    has_license, item_blocked, license_path, no_license,
};
use crate::{
    Client, GroupPath, PromptOption, Signature, SignatureSource, Signed, SignedAction, SignedKind, SignerRef,
    SignerState, Trusted, TrustedBy, state::SignerFacts,
};

/// An item with what the trust state says about it and about its signer.
struct Looked<'a> {
    item: &'a Signed,
    facts: Option<&'a ItemFacts>,
    /// Whom the signature names, valid or not.
    signer: Option<SignerRef<'a>>,
    signer_facts: Option<&'a SignerFacts>,
    /// A certificate that the signature hangs on, the signer's or one that vouches for it, if it is blocked.
    certificate: Option<SignerRef<'a>>,
}

pub(super) fn decide<'a>(
    question: &'a Question<'a>,
    item: &'a Signed,
    action: SignedAction,
    trust: &'a TrustState,
) -> Decision<'a> {
    let trusting = matches!(action, SignedAction::TrustItem | SignedAction::TrustSigner);
    let needed = feature_for(item.kind, action);
    if action == SignedAction::Create {
        return by_license(question, needed);
    }
    if !trusting && !has_license(question, needed) {
        return no_license(question, needed);
    }
    let signer = item.signature.as_ref().and_then(named);
    let looked = Looked {
        item,
        facts: trust.index().item(item.hash.as_ref()),
        signer,
        signer_facts: signer.and_then(|signer| trust.index().signer(signer)),
        certificate: item.signature.iter().flat_map(certificates).find(|certificate| {
            trust
                .index()
                .signer(*certificate)
                .is_some_and(|facts| facts.blocked)
        }),
    };
    if let Some(blocked) = blocked(&looked) {
        return blocked;
    }
    let status = status(&looked, trust);
    let relaxed = question.client == Client::InstalledNoServer || question.user.accepts_invalid_signatures;
    if trusting {
        return may_trust(question, needed, action, &status, relaxed);
    }
    if let Some(trusted) = trusted(question, &looked, action, &status, relaxed) {
        return trusted;
    }
    if matches!(question.client, Client::Automation | Client::ScheduledUpdate) {
        return Decision::deny(
            DenyReason::NonInteractive,
            "non-interactive",
            Reason::CannotAsk(question.client),
        );
    }
    if let (Err(invalid), false) = (&status, relaxed) {
        return invalid.decision();
    }
    let feature = feature_for(item.kind, SignedAction::TrustItem);
    if !has_license(question, feature) {
        return no_trust_permission(question, feature);
    }
    let options: &'static [PromptOption] = if status.is_ok() {
        &[PromptOption::Item, PromptOption::Signer]
    } else {
        &[PromptOption::Item]
    };
    let reason = Reason::MayTrust(&question.user.user);
    Decision::new(Outcome::Prompt { options }, "ask-user", reason)
}

/// The feature that each action needs; for the trusting ones the license to trust.
fn feature_for(kind: SignedKind, action: SignedAction) -> Feature {
    use SignedAction::{Add, Create, Open, Run, TrustItem, TrustSigner};
    match (kind, action) {
        (SignedKind::VisualizationMod | SignedKind::ActionMod, TrustItem | TrustSigner) => Feature::TrustMods,
        (SignedKind::VisualizationMod | SignedKind::ActionMod, Create) => Feature::DevelopVisualizationMod,
        (SignedKind::VisualizationMod, Open | Add | Run) => Feature::OpenVisualizationMod,
        (SignedKind::ActionMod, Open | Add | Run) => Feature::OpenActionMod,
        (SignedKind::ExternalAction, TrustItem | TrustSigner) => Feature::TrustExternalActions,
        (SignedKind::ExternalAction, Create) => Feature::ConfigureExternalActions,
        (SignedKind::ExternalAction, Open | Add | Run) => Feature::UseExternalActions,
    }
}

/// Whom a signature names; the vendor is nobody who could be blocked or trusted.
fn named(signature: &Signature) -> Option<SignerRef<'_>> {
    match &signature.source {
        SignatureSource::Vendor => None,
        SignatureSource::User { user, .. } => Some(SignerRef::User(user)),
        SignatureSource::External { certificate, .. } => Some(SignerRef::Certificate(certificate)),
    }
}

/// The certificates that a signature hangs on, beside the signer's that is [`named`].
fn certificates(signature: &Signature) -> impl Iterator<Item = SignerRef<'_>> {
    let users = match &signature.source {
        SignatureSource::User { certificate, .. } => certificate.as_ref(),
        SignatureSource::Vendor | SignatureSource::External { .. } => None,
    };
    users
        .into_iter()
        .chain(&signature.authorities)
        .map(SignerRef::Certificate)
}

/// Whom a valid signature speaks for.
enum Valid<'a> {
    Vendor,
    Signer(SignerRef<'a>),
}

/// What is wrong with a signature.
struct Invalid<'a> {
    reason: DenyReason,
    because: Reason<'a>,
    entry: Option<Decider<'a>>,
}

impl<'a> Invalid<'a> {
    fn decision(&self) -> Decision<'a> {
        let denied = Decision::deny(self.reason, "signature-invalid", self.because);
        match self.entry {
            Some(entry) => denied.entry(entry),
            None => denied,
        }
    }
}

/// The status of the signature: modified before chain, chain before account, account before revocation.
fn status<'a>(looked: &Looked<'a>, trust: &TrustState) -> Result<Valid<'a>, Invalid<'a>> {
    let invalid = |reason, because| {
        Err(Invalid {
            reason,
            because,
            entry: None,
        })
    };
    let Some(signature) = &looked.item.signature else {
        return invalid(DenyReason::Unsigned, Reason::Unsigned);
    };
    if signature.tampered {
        return invalid(DenyReason::InvalidSignatureModified, Reason::Modified);
    }
    let (SignatureSource::User { root, .. } | SignatureSource::External { root, .. }, Some(signer)) =
        (&signature.source, looked.signer)
    else {
        return Ok(Valid::Vendor);
    };
    if !trust.index().accepts_root(root) {
        return invalid(DenyReason::InvalidSignatureChain, Reason::UnknownRoot(root));
    }
    if let SignatureSource::User {
        user, state, time, ..
    } = &signature.source
    {
        if *state == SignerState::Deleted {
            return invalid(DenyReason::InvalidSignatureUserDeleted, Reason::SignerGone(user));
        }
        if let Some((from, until)) = looked.signer_facts.and_then(|facts| facts.revocation(*time)) {
            let time = *time;
            return Err(Invalid {
                reason: DenyReason::InvalidSignatureRevoked,
                because: Reason::Revoked { user, from, time },
                entry: Some(Decider::Revocation { user, from, until }),
            });
        }
    }
    Ok(Valid::Signer(signer))
}

/// Blocks match the signer that the signature names, whether or not it is valid.
fn blocked<'a>(looked: &Looked<'a>) -> Option<Decision<'a>> {
    let item = looked.item;
    if let Some(blocked) = item_blocked(item.kind.into(), item.hash.as_ref(), looked.facts) {
        return Some(blocked);
    }
    let is_blocked = looked.signer_facts.is_some_and(|facts| facts.blocked);
    let signer = looked.signer.filter(|_| is_blocked).or(looked.certificate)?;
    let (reason, rule) = match signer {
        SignerRef::Certificate(_) => (DenyReason::BlockedCertificate, "certificate-blocked"),
        SignerRef::User(_) => (DenyReason::BlockedUser, "user-blocked"),
    };
    Some(Decision::deny(reason, rule, Reason::SignerBlocked).entry(Decider::BlockedSigner(signer)))
}

/// Whether the user may make a trust entry. A signer can be trusted by a valid signature only: without one nobody knows
/// whom it would be.
fn may_trust<'a>(
    question: &'a Question<'a>,
    needed: Feature,
    action: SignedAction,
    status: &Result<Valid<'a>, Invalid<'a>>,
    relaxed: bool,
) -> Decision<'a> {
    if !has_license(question, needed) {
        return no_trust_permission(question, needed);
    }
    match status {
        Err(invalid) if !relaxed || action == SignedAction::TrustSigner => invalid.decision(),
        _ => {
            let reason = Reason::Licensed(&question.user.user, needed);
            Decision::new(Outcome::Allow, "may-trust", reason).path(license_path(question, needed))
        }
    }
}

fn no_trust_permission<'a>(question: &'a Question<'a>, feature: Feature) -> Decision<'a> {
    Decision::deny(
        DenyReason::NoTrustPermission,
        "trust-permission-missing",
        Reason::NoLicense(&question.user.user, feature),
    )
}

/// Trusted already: the vendor's own, a signer trusted in the role that this kind has, or this very version.
fn trusted<'a>(
    question: &'a Question<'a>,
    looked: &Looked<'a>,
    action: SignedAction,
    status: &Result<Valid<'a>, Invalid<'a>>,
    relaxed: bool,
) -> Option<Decision<'a>> {
    let (item, user, now) = (looked.item, question.user, question.now);
    let outcome = match (item.kind, action) {
        (SignedKind::ExternalAction, SignedAction::Run) => Outcome::AllowWithConsent,
        _ => Outcome::Allow,
    };
    match status {
        Ok(Valid::Vendor) => return Some(Decision::new(outcome, "vendor-trusted", Reason::Vendor)),
        Ok(Valid::Signer(signer)) => {
            let role = item.kind.role();
            if let Some(by) = looked
                .signer_facts
                .and_then(|facts| facts.trusted_by(role, user, now))
            {
                let decision = explained(question, by, Trusted::Signer(role), outcome, "signer-trusted");
                return Some(decision.entry(Decider::TrustedSigner(by, *signer, role)));
            }
        }
        Err(_) if !relaxed => return None,
        Err(_) => {}
    }
    let hash = item.hash.as_ref()?;
    let by = looked.facts?.trusted_by(item.kind, user, now)?;
    let decision = explained(question, by, Trusted::Item, outcome, "item-trusted");
    Some(decision.entry(Decider::TrustedItem(by, item.kind, hash)))
}

/// A decision by the trust of somebody, with the path to them.
fn explained<'a>(
    question: &'a Question<'a>,
    by: TrustedBy<'a>,
    what: Trusted,
    outcome: Outcome,
    rule: &'static str,
) -> Decision<'a> {
    let user = question.user;
    match by {
        TrustedBy::User(_) => Decision::new(outcome, rule, Reason::UserTrusts(&user.user, what)),
        TrustedBy::Group(to) => {
            let groups = &user.groups;
            Decision::new(outcome, rule, Reason::GroupTrusts(to, &user.user, what))
                .path(Some(GroupPath { groups, to }))
        }
    }
}
