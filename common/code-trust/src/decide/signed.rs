//! Mods and external actions: trusted by their signer or by their content, never for having been signed alone.
//!
//! The order is the rule: license, block, then for trusting its license and the validity of the signature; else trusted,
//! somebody there to ask, valid, allowed to trust, ask.

use super::{
    DenyReason, Feature, Name, Outcome, Question, TrustState, Verdict, by_license, has_license, item_blocked,
    license, no_license,
};
use crate::{
    Client, Entry, PromptOption, Role, Signature, SignatureSource, Signed, SignedAction, SignedKind, Signer,
    SignerState, state::TrustedBy,
};

pub(super) fn decide(
    question: &Question<'_>,
    item: &Signed,
    action: SignedAction,
    trust: &TrustState,
) -> Verdict {
    let trusting = matches!(action, SignedAction::TrustItem | SignedAction::TrustSigner);
    let needed = feature_for(item.kind, action);
    if action == SignedAction::Create {
        return by_license(question, needed);
    }
    if !trusting && !has_license(question, needed) {
        return no_license(question, needed);
    }
    let status = status(item.signature.as_ref(), trust);
    if let Some(verdict) = blocked(item, trust) {
        return verdict;
    }
    let relaxed = question.client == Client::InstalledNoServer || question.user.accepts_invalid_signatures;
    if trusting {
        return may_trust(question, needed, action, &status, relaxed);
    }
    if let Some(verdict) = trusted(question, item, action, &status, relaxed, trust) {
        return verdict;
    }
    if matches!(question.client, Client::Automation | Client::ScheduledUpdate) {
        let sentence = format!(
            "Nobody trusts this item, and a client of the kind {} cannot ask.",
            question.client
        );
        return Verdict::deny(DenyReason::NonInteractive, "non-interactive", sentence);
    }
    if let (Err(invalid), false) = (&status, relaxed) {
        return invalid.verdict();
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
    let sentence = format!(
        "Nobody has trusted this item for {}, who may trust it.",
        question.user.user
    );
    Verdict::new(Outcome::Prompt { options }, "ask-user", sentence)
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

/// Whom a valid signature speaks for.
enum Valid {
    Vendor,
    Signer(Signer),
}

/// What is wrong with a signature.
struct Invalid {
    reason: DenyReason,
    sentence: String,
    entry: Option<String>,
}

impl Invalid {
    fn verdict(&self) -> Verdict {
        let verdict = Verdict::deny(self.reason, "signature-invalid", self.sentence.clone());
        Verdict {
            entry: self.entry.clone(),
            ..verdict
        }
    }
}

/// The status of the signature: modified before chain, chain before account, account before revocation.
fn status(signature: Option<&Signature>, trust: &TrustState) -> Result<Valid, Invalid> {
    let invalid = |reason, sentence: String| {
        Err(Invalid {
            reason,
            sentence,
            entry: None,
        })
    };
    let Some(signature) = signature else {
        return invalid(DenyReason::Unsigned, "The item is not signed.".to_owned());
    };
    if signature.tampered {
        let sentence = "The content is not what was signed.".to_owned();
        return invalid(DenyReason::InvalidSignatureModified, sentence);
    }
    let (root, signer) = match &signature.source {
        SignatureSource::Vendor => return Ok(Valid::Vendor),
        SignatureSource::User { root, user, .. } => (root, Signer::User(user.clone())),
        SignatureSource::External {
            root, certificate, ..
        } => (root, Signer::Certificate(certificate.clone())),
    };
    if !trust.index().accepts_root(root) {
        let sentence = format!("The signature leads to the root {root}, which is not accepted.");
        return invalid(DenyReason::InvalidSignatureChain, sentence);
    }
    if let SignatureSource::User {
        user, state, time, ..
    } = &signature.source
    {
        if *state == SignerState::Deleted {
            let sentence = format!("The signer {user} is no user any more.");
            return invalid(DenyReason::InvalidSignatureUserDeleted, sentence);
        }
        if let Some(revocation) = trust.index().revocation(user, *time) {
            return Err(Invalid {
                reason: DenyReason::InvalidSignatureRevoked,
                sentence: format!(
                    "Signatures of {user} are revoked from {} on; this one is of {time}.",
                    revocation.from
                ),
                entry: Some(Entry::Revocation(revocation).key()),
            });
        }
    }
    Ok(Valid::Signer(signer))
}

/// Blocks match the signer that the signature names, whether or not it is valid.
fn blocked(item: &Signed, trust: &TrustState) -> Option<Verdict> {
    if let Some(verdict) = item_blocked(item.kind.into(), item.hash.as_ref(), trust) {
        return Some(verdict);
    }
    let (signer, reason, rule, entry) = match &item.signature.as_ref()?.source {
        SignatureSource::Vendor => return None,
        SignatureSource::External { certificate, .. } => (
            Signer::Certificate(certificate.clone()),
            DenyReason::BlockedCertificate,
            "certificate-blocked",
            format!("block/certificate/{}/{}", certificate.serial, certificate.issuer),
        ),
        SignatureSource::User { user, .. } => (
            Signer::User(user.clone()),
            DenyReason::BlockedUser,
            "user-blocked",
            format!("block/user/{}", user.key()),
        ),
    };
    trust.index().blocks_signer(&signer).then(|| {
        Verdict::deny(
            reason,
            rule,
            "Everything of this item's signer is blocked for everybody.".to_owned(),
        )
        .entry(entry)
    })
}

/// Whether the user may make a trust entry. A signer can be trusted by a valid signature only: without one nobody knows
/// whom it would be.
fn may_trust(
    question: &Question<'_>,
    needed: Feature,
    action: SignedAction,
    status: &Result<Valid, Invalid>,
    relaxed: bool,
) -> Verdict {
    let Some(path) = license(question, needed) else {
        return no_trust_permission(question, needed);
    };
    match status {
        Err(invalid) if !relaxed || action == SignedAction::TrustSigner => invalid.verdict(),
        _ => {
            let sentence = format!("{} has the license feature {needed}.", question.user.user);
            Verdict::new(Outcome::Allow, "may-trust", sentence).path(path)
        }
    }
}

fn no_trust_permission(question: &Question<'_>, feature: Feature) -> Verdict {
    let sentence = format!(
        "No group of {} has the license feature {feature}.",
        question.user.user
    );
    Verdict::deny(
        DenyReason::NoTrustPermission,
        "trust-permission-missing",
        sentence,
    )
}

/// Trusted already: the vendor's own, a signer trusted in the role that this kind has, or this very version.
fn trusted(
    question: &Question<'_>,
    item: &Signed,
    action: SignedAction,
    status: &Result<Valid, Invalid>,
    relaxed: bool,
    trust: &TrustState,
) -> Option<Verdict> {
    let outcome = match (item.kind, action) {
        (SignedKind::ExternalAction, SignedAction::Run) => Outcome::AllowWithConsent,
        _ => Outcome::Allow,
    };
    match status {
        Ok(Valid::Vendor) => {
            let sentence = "The item is signed by the vendor.".to_owned();
            return Some(Verdict::new(outcome, "vendor-trusted", sentence));
        }
        Ok(Valid::Signer(signer)) => {
            let role = match item.kind {
                SignedKind::VisualizationMod | SignedKind::ActionMod => Role::Developer,
                SignedKind::ExternalAction => Role::Configurator,
            };
            if let Some(by) = trust
                .index()
                .signer_trusted_by(question.user, signer, role, question.now)
            {
                let (principal, path, sentence) = explained(question, &by, &format!("the signer as {role}"));
                let target = match signer {
                    Signer::User(user) => format!("user/{role}/{}", user.key()),
                    Signer::Certificate(of) => format!("certificate/{role}/{}/{}", of.serial, of.issuer),
                };
                let verdict = Verdict::new(outcome, "signer-trusted", sentence).path(path);
                return Some(verdict.entry(format!("trust/{principal}/{target}")));
            }
        }
        Err(_) if !relaxed => return None,
        Err(_) => {}
    }
    let hash = item.hash.as_ref()?;
    let by = trust
        .index()
        .item_trusted_by(question.user, item.kind.into(), hash, question.now)?;
    let (principal, path, sentence) = explained(question, &by, "this version of the item");
    let verdict = Verdict::new(outcome, "item-trusted", sentence).path(path);
    Some(verdict.entry(format!("trust/{principal}/item/{}/{hash}", item.kind)))
}

/// The principal as it stands in keys, the path to it, and a sentence.
fn explained(question: &Question<'_>, by: &TrustedBy, what: &str) -> (String, Vec<Name>, String) {
    let user = question.user;
    match by {
        TrustedBy::User => (
            format!("user/{}", user.user.key()),
            Vec::new(),
            format!("{} trusts {what}.", user.user),
        ),
        TrustedBy::Group(key) => {
            let path = user.groups.path(key);
            let name = path.last().map_or(key.as_str(), Name::as_str);
            let sentence = format!("The group {name}, which {} is in, trusts {what}.", user.user);
            (format!("group/{key}"), path, sentence)
        }
    }
}
