//! Scripts, data functions and queries: trusted by stamps that the user can read, by authors, or by the user.

use super::{
    CUSTOM_QUERY_AUTHOR_KEY, CodeType, Decider, Decision, DenyReason, Feature, ItemFacts, Outcome, Question,
    Reason, SCRIPT_AUTHOR_KEY, SettingName, Settings, TrustState, by_license, has_license, item_blocked,
    path,
};
use crate::{Client, Code, CodeAction, CodeKind, Engine, PromptOption, SignerRef, StampsCount};

pub(super) fn decide<'a>(
    question: &'a Question<'a>,
    code: &'a Code,
    action: CodeAction,
    trust: &'a TrustState,
    settings: &'a Settings,
) -> Decision<'a> {
    let facts = trust.index().item(code.hash.as_ref());
    let stamped = || stamped(question, code, facts, trust, settings);
    if let Some(blocked) = item_blocked(code.kind.code_type().into(), code.hash.as_ref(), facts) {
        return blocked;
    }
    match (action, code.kind) {
        (CodeAction::Create | CodeAction::TrustItem, _) => author_or_trust(question, code),
        (CodeAction::SaveTrusted, _) => save_trusted(question, code, stamped),
        (CodeAction::Run, CodeKind::DataFunction(Engine::TerrInline)) => {
            Decision::new(Outcome::Restricted, "terr-inline", Reason::Inline).because(Reason::MakeItAFunction)
        }
        (CodeAction::Run, CodeKind::DataFunction(Engine::TerrService)) => {
            terr_service(question, stamped, settings)
        }
        (CodeAction::Run, CodeKind::DataFunction(engine @ (Engine::RService | Engine::PythonService))) => {
            vouched_for(question, stamped, settings).unwrap_or_else(|missing| {
                restricted_engine(engine, settings).unwrap_or_else(|| {
                    let refused = Decision::deny(
                        DenyReason::EngineRefused,
                        "service-refuses-untrusted",
                        Reason::TrustedOnly(engine),
                    );
                    nobody_vouches(question, refused, missing)
                })
            })
        }
        (CodeAction::Run, kind) => on_the_users_side(question, code, kind, stamped, settings),
    }
}

/// Writing code, and trusting it for oneself, happen in the installed client and need the author's license.
fn author_or_trust<'a>(question: &'a Question<'a>, code: &Code) -> Decision<'a> {
    if !installed(question.client) {
        return Decision::deny(
            DenyReason::WebCannotTrust,
            "authoring-needs-installed-client",
            Reason::CannotAuthor(question.client),
        );
    }
    by_license(question, authoring_feature(code.kind.code_type()))
}

/// A stamp needs an author, their license, the installed client with its server, and trust to pass on.
fn save_trusted<'a>(
    question: &'a Question<'a>,
    code: &Code,
    stamped: impl FnOnce() -> Result<Decision<'a>, Reason<'a>>,
) -> Decision<'a> {
    let refused = |reason| Decision::deny(DenyReason::NotScriptAuthor, "save-needs-author", reason);
    let (user, code_type) = (&question.user.user, code.kind.code_type());
    let (feature, (group, key)) = (authoring_feature(code_type), author_group(code_type));
    if question.client != Client::Installed {
        return refused(Reason::SavedFromInstalledOnly);
    }
    if !has_license(question, feature) {
        return refused(Reason::NoLicense(user, feature));
    }
    if !question.user.groups.contains(key) {
        return refused(Reason::NotAuthor(user, group));
    }
    if !code.trusted_by_user && stamped().is_err() {
        return refused(Reason::NothingToPassOn(user));
    }
    let reason = Reason::AuthorSaves(user, group, feature);
    Decision::new(Outcome::Allow, "author-saves-trusted", reason).path(path(question.user, key))
}

fn terr_service<'a>(
    question: &'a Question<'a>,
    stamped: impl FnOnce() -> Result<Decision<'a>, Reason<'a>>,
    settings: &'a Settings,
) -> Decision<'a> {
    if settings.terr_restricted_execution_mode.value {
        let reason = Reason::RestrictedMode;
        return Decision::new(Outcome::Restricted, "terr-restricted-mode", reason)
            .entry(source(settings, SettingName::TerrRestrictedExecutionMode));
    }
    vouched_for(question, stamped, settings).unwrap_or_else(|missing| {
        let restricted = Decision::new(Outcome::Restricted, "terr-untrusted", Reason::TerrUntrusted);
        nobody_vouches(question, restricted, missing)
    })
}

fn source(settings: &Settings, name: SettingName) -> Decider<'_> {
    Decider::Setting(name, settings.origin(name))
}

/// What makes any service run code unrestricted; or else what is missing of a stamp.
fn vouched_for<'a>(
    question: &'a Question<'a>,
    stamped: impl FnOnce() -> Result<Decision<'a>, Reason<'a>>,
    settings: &'a Settings,
) -> Result<Decision<'a>, Reason<'a>> {
    let missing = match stamped() {
        Ok(stamped) => return Ok(stamped),
        Err(missing) => missing,
    };
    let user = question.user;
    if let Some(path) = path(user, SCRIPT_AUTHOR_KEY) {
        let reason = Reason::ScriptAuthor(&user.user);
        return Ok(Decision::new(Outcome::Allow, "script-author", reason).path(Some(path)));
    }
    if settings.disable_trust_checks.value {
        let allowed = Decision::new(Outcome::Allow, "trust-checks-disabled", Reason::ChecksOff);
        return Ok(allowed.entry(source(settings, SettingName::DisableTrustChecks)));
    }
    Err(missing)
}

fn nobody_vouches<'a>(
    question: &'a Question<'a>,
    decision: Decision<'a>,
    missing: Reason<'a>,
) -> Decision<'a> {
    let user = &question.user.user;
    decision
        .because(missing)
        .because(Reason::NotAuthor(user, crate::SCRIPT_AUTHOR))
        .because(Reason::ChecksOn)
}

/// Everything that no service runs: scripts, queries and local engines.
fn on_the_users_side<'a>(
    question: &'a Question<'a>,
    code: &Code,
    kind: CodeKind,
    stamped: impl FnOnce() -> Result<Decision<'a>, Reason<'a>>,
    settings: &'a Settings,
) -> Decision<'a> {
    let missing = match stamped() {
        Ok(stamped) => return stamped,
        Err(missing) => missing,
    };
    let user = &question.user.user;
    let feature = authoring_feature(kind.code_type());
    let may_trust = installed(question.client) && has_license(question, feature);
    if code.trusted_by_user && may_trust {
        let reason = Reason::TrustedByUser(user, feature);
        return Decision::new(Outcome::Allow, "trusted-by-user", reason);
    }
    if let CodeKind::DataFunction(engine) = kind {
        if let Some(restricted) = restricted_engine(engine, settings) {
            return restricted;
        }
        if engine == Engine::TerrLocal {
            return Decision::new(Outcome::Restricted, "terr-untrusted", Reason::TerrUntrusted);
        }
    }
    if may_trust {
        let options = &[PromptOption::Item];
        return Decision::new(Outcome::Prompt { options }, "ask-user", missing)
            .because(Reason::CanTrust(user, feature));
    }
    Decision::deny(DenyReason::Untrusted, "untrusted", missing)
}

fn restricted_engine(engine: Engine, settings: &Settings) -> Option<Decision<'_>> {
    if !settings.restricted_engines.value.contains(&engine) {
        return None;
    }
    let reason = Reason::RestrictedEngine(engine);
    let restricted = Decision::new(Outcome::Restricted, "restricted-engine", reason);
    Some(restricted.entry(source(settings, SettingName::RestrictedEngines)))
}

/// A stamp for this content that the user can read and that the state still has, by an author whose word counts: who is
/// blocked vouches for nothing, and who is revoked for good for nothing from that moment on. Without one, why there is none:
/// of a stamp that does not count the first.
fn stamped<'a>(
    question: &'a Question<'a>,
    code: &'a Code,
    facts: Option<&'a ItemFacts>,
    trust: &'a TrustState,
    settings: &Settings,
) -> Result<Decision<'a>, Reason<'a>> {
    let user = question.user;
    let same_item = settings.trust_stamps.value == StampsCount::SameItem;
    let stamps = facts
        .into_iter()
        .flat_map(|facts| facts.stamps(code.kind.code_type()));
    let mut missing = None;
    for stamp in stamps.filter(|stamp| user.readable_stamps.contains(&stamp.id)) {
        let elsewhere = same_item && code.library_item.as_ref() != Some(&stamp.library_item);
        let void = match trust.index().signer(SignerRef::User(&stamp.author)) {
            _ if elsewhere => Some(Reason::StampElsewhere(&stamp.library_item)),
            Some(author) if author.blocked => {
                Some(Reason::StampOfBlocked(&stamp.library_item, &stamp.author))
            }
            Some(author) => author
                .revoked_for_good(stamp.at)
                .map(|from| Reason::StampOfRevoked(&stamp.library_item, &stamp.author, from)),
            None => None,
        };
        let Some(void) = void else {
            let reason = Reason::Stamped(&stamp.library_item, &user.user);
            let allowed = Decision::new(Outcome::Allow, "stamped", reason);
            return Ok(allowed.entry(Decider::Stamp(stamp.id)));
        };
        missing.get_or_insert(void);
    }
    Err(missing.unwrap_or(Reason::NoStamp(&user.user)))
}

fn installed(client: Client) -> bool {
    matches!(client, Client::Installed | Client::InstalledNoServer)
}

fn authoring_feature(code: CodeType) -> Feature {
    match code {
        CodeType::Script | CodeType::DataFunction => Feature::AuthorScripts,
        CodeType::CustomQuery => Feature::CustomQuery,
    }
}

/// The name of the group whose members make stamps, and its comparison key.
fn author_group(code: CodeType) -> (&'static str, &'static str) {
    match code {
        CodeType::Script | CodeType::DataFunction => (crate::SCRIPT_AUTHOR, SCRIPT_AUTHOR_KEY),
        CodeType::CustomQuery => (crate::CUSTOM_QUERY_AUTHOR, CUSTOM_QUERY_AUTHOR_KEY),
    }
}
