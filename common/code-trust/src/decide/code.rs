//! Scripts, data functions and queries: trusted by stamps that the user can read, by authors, or by the user.

use super::{
    CUSTOM_QUERY_AUTHOR_KEY, CodeType, DenyReason, Feature, Outcome, Question, SCRIPT_AUTHOR_KEY,
    SettingName, Settings, TrustState, Verdict, by_license, has_license, item_blocked,
};
use crate::{Client, Code, CodeAction, CodeKind, Engine, PromptOption};

pub(super) fn decide(
    question: &Question<'_>,
    code: &Code,
    action: CodeAction,
    trust: &TrustState,
    settings: &Settings,
) -> Verdict {
    if let Some(verdict) = item_blocked(code.kind.code_type().into(), code.hash.as_ref(), trust) {
        return verdict;
    }
    match (action, code.kind) {
        (CodeAction::Create | CodeAction::TrustItem, _) => author_or_trust(question, code),
        (CodeAction::SaveTrusted, _) => save_trusted(question, code, trust),
        (CodeAction::Run, CodeKind::DataFunction(Engine::TerrInline)) => {
            let sentence =
                "A TERR expression in a visualization runs restricted whatever is trusted.".to_owned();
            Verdict::new(Outcome::Restricted, "terr-inline", sentence)
                .because("Make it an expression function to have it trusted.".to_owned())
        }
        (CodeAction::Run, CodeKind::DataFunction(Engine::TerrService)) => {
            terr_service(question, code, trust, settings)
        }
        (CodeAction::Run, CodeKind::DataFunction(engine @ (Engine::RService | Engine::PythonService))) => {
            vouched_for(question, code, trust, settings)
                .or_else(|| restricted_engine(engine, settings))
                .unwrap_or_else(|| {
                    let sentence = format!("The engine {engine} runs trusted code only.");
                    nobody_vouches(
                        question,
                        Verdict::deny(DenyReason::EngineRefused, "service-refuses-untrusted", sentence),
                    )
                })
        }
        (CodeAction::Run, kind) => on_the_users_side(question, code, kind, trust, settings),
    }
}

/// Writing code, and trusting it for oneself, happen in the installed client and need the author's license.
fn author_or_trust(question: &Question<'_>, code: &Code) -> Verdict {
    if !installed(question.client) {
        let sentence = format!(
            "In a client of the kind {}, code can be run but not written or trusted.",
            question.client
        );
        return Verdict::deny(
            DenyReason::WebCannotTrust,
            "authoring-needs-installed-client",
            sentence,
        );
    }
    by_license(question, authoring_feature(code.kind.code_type()))
}

/// A stamp needs an author, their license, the installed client with its server, and trust to pass on.
fn save_trusted(question: &Question<'_>, code: &Code, trust: &TrustState) -> Verdict {
    let refused = |sentence| Verdict::deny(DenyReason::NotScriptAuthor, "save-needs-author", sentence);
    let (user, code_type) = (&question.user.user, code.kind.code_type());
    let (feature, (group, key)) = (authoring_feature(code_type), author_group(code_type));
    if question.client != Client::Installed {
        return refused("Code is saved as trusted from the installed client with a server only.".to_owned());
    }
    if !has_license(question, feature) {
        return refused(format!("No group of {user} has the license feature {feature}."));
    }
    if !question.user.groups.contains(key) {
        return refused(format!("{user} is not in the group {group}."));
    }
    if !code.trusted_by_user && stamped(question, code, trust).is_none() {
        return refused(format!(
            "{user} has not trusted this content, nor is it trusted in the library."
        ));
    }
    let sentence = format!("{user} is in the group {group}, has {feature} and trusts the content.");
    Verdict::new(Outcome::Allow, "author-saves-trusted", sentence).path(question.user.groups.path(key))
}

fn terr_service(question: &Question<'_>, code: &Code, trust: &TrustState, settings: &Settings) -> Verdict {
    let name = SettingName::TerrRestrictedExecutionMode;
    if settings.terr_restricted_execution_mode.value {
        let sentence = format!("{name} is on, so TERR runs restricted whatever is trusted.");
        return Verdict::new(Outcome::Restricted, "terr-restricted-mode", sentence)
            .entry(settings.source(name));
    }
    vouched_for(question, code, trust, settings).unwrap_or_else(|| {
        let sentence = "TERR runs code that nobody trusts in restricted mode.".to_owned();
        nobody_vouches(
            question,
            Verdict::new(Outcome::Restricted, "terr-untrusted", sentence),
        )
    })
}

/// What makes any service run code unrestricted.
fn vouched_for(
    question: &Question<'_>,
    code: &Code,
    trust: &TrustState,
    settings: &Settings,
) -> Option<Verdict> {
    if let Some(verdict) = stamped(question, code, trust) {
        return Some(verdict);
    }
    let user = question.user;
    if user.groups.contains(SCRIPT_AUTHOR_KEY) {
        let sentence = format!("{} is in the group Script Author.", user.user);
        let path = user.groups.path(SCRIPT_AUTHOR_KEY);
        return Some(Verdict::new(Outcome::Allow, "script-author", sentence).path(path));
    }
    if settings.disable_trust_checks.value {
        let name = SettingName::DisableTrustChecks;
        let sentence = format!("{name} is on, so services run everything as trusted.");
        let verdict = Verdict::new(Outcome::Allow, "trust-checks-disabled", sentence);
        return Some(verdict.entry(settings.source(name)));
    }
    None
}

fn nobody_vouches(question: &Question<'_>, verdict: Verdict) -> Verdict {
    let user = &question.user.user;
    verdict
        .because(format!(
            "No stamp for this content is on a library item that {user} can read."
        ))
        .because(format!("{user} is not in the group Script Author."))
        .because(format!("{} is off.", SettingName::DisableTrustChecks))
}

/// Everything that no service runs: scripts, queries and local engines.
fn on_the_users_side(
    question: &Question<'_>,
    code: &Code,
    kind: CodeKind,
    trust: &TrustState,
    settings: &Settings,
) -> Verdict {
    if let Some(verdict) = stamped(question, code, trust) {
        return verdict;
    }
    let user = &question.user.user;
    let feature = authoring_feature(kind.code_type());
    let may_trust = installed(question.client) && has_license(question, feature);
    if code.trusted_by_user && may_trust {
        let sentence = format!("{user} trusts this content and has the license feature {feature}.");
        return Verdict::new(Outcome::Allow, "trusted-by-user", sentence);
    }
    if let CodeKind::DataFunction(engine) = kind {
        if let Some(verdict) = restricted_engine(engine, settings) {
            return verdict;
        }
        if engine == Engine::TerrLocal {
            let sentence = "TERR runs code that nobody trusts in restricted mode.".to_owned();
            return Verdict::new(Outcome::Restricted, "terr-untrusted", sentence);
        }
    }
    let sentence = format!("No stamp for this content is on a library item that {user} can read.");
    if may_trust {
        let options = &[PromptOption::Item];
        return Verdict::new(Outcome::Prompt { options }, "ask-user", sentence).because(format!(
            "{user} has {feature} and can trust the content for themselves."
        ));
    }
    Verdict::deny(DenyReason::Untrusted, "untrusted", sentence)
}

fn restricted_engine(engine: Engine, settings: &Settings) -> Option<Verdict> {
    if !settings.restricted_engines.value.contains(&engine) {
        return None;
    }
    let name = SettingName::RestrictedEngines;
    let sentence = format!("{name} names {engine}, so it runs untrusted code in restricted mode.");
    Some(Verdict::new(Outcome::Restricted, "restricted-engine", sentence).entry(settings.source(name)))
}

/// A stamp for this content that the user can read and that the state still has.
fn stamped(question: &Question<'_>, code: &Code, trust: &TrustState) -> Option<Verdict> {
    let user = question.user;
    let stamp = trust
        .stamps_of(code.kind.code_type(), code.hash.as_ref()?)
        .find(|stamp| user.readable_stamps.contains(&stamp.id))?;
    let sentence = format!(
        "This content is trusted through the library item {}, which {} can read.",
        stamp.library_item, user.user
    );
    Some(Verdict::new(Outcome::Allow, "stamped", sentence).entry(format!("stamp/{}", stamp.id)))
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
