//! Engines that are ready before the first run wants them: when the agent starts, when its settings change, and when the
//! trust state changes what runs get here. With a newer trust state, and with other settings, all sessions end.
//!
//! Invariant: nothing is decided here. What is not foreseen starts with its first run.

use std::sync::{Arc, Weak};

use muster_code_trust::{Engine, Language, Place, Settings, TrustState, packages_of_run};
use muster_engines::{EngineKind, Mode, RunPolicy};

use crate::{
    agent::Agent,
    config::Config,
    run::{packages, policy},
};

/// An engine that is to wait for runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreseen {
    /// The engine.
    pub kind: EngineKind,
    /// The mode of the runs.
    pub mode: Mode,
    /// Their policy, as long as no function has one of its own.
    pub policy: RunPolicy,
}

/// Keeps what is foreseen ready, and ends what is over. Never ends.
pub async fn keep(agent: Arc<Agent>) {
    // Engines may take long until they are ready; what is over does not wait for them.
    tokio::join!(have_ready(&agent), end_sessions(&agent));
}

/// Ends the sessions that began under another trust state or other settings. No run would get one of them; what they
/// have left, perhaps of code that is blocked now, goes at once.
async fn end_sessions(agent: &Agent) {
    let mut versions = agent.trust.versions();
    let mut settings = agent.settings();
    let mut engines = Arc::downgrade(&agent.engines());
    loop {
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            changed = settings.changed() => if changed.is_err() { return },
        }
        // Those of former settings, as long as runs of theirs go on.
        if let Some(before) = engines.upgrade() {
            before.end_sessions(None);
        }
        let now = agent.engines();
        now.end_sessions(None);
        engines = Arc::downgrade(&now);
    }
}

async fn have_ready(agent: &Agent) {
    let mut versions = agent.trust.versions();
    let mut settings = agent.settings();
    let mut before = None;
    loop {
        let engines = agent.engines();
        let wanted = foreseen_here(agent);
        let same = before
            .as_ref()
            .is_some_and(|(known, list)| Weak::ptr_eq(known, &Arc::downgrade(&engines)) && *list == wanted);
        if !same {
            for Foreseen { kind, mode, policy } in &wanted {
                if let Err(error) = engines.warm_under(*kind, *mode, policy).await {
                    tracing::warn!(%error, "an engine is not ready ahead of its first run");
                }
            }
            // Not kept alive from here: runs of former settings are, and nothing else.
            before = Some((Arc::downgrade(&engines), wanted));
        }
        drop(engines);
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

fn foreseen_here(agent: &Agent) -> Vec<Foreseen> {
    let (config, place, engines) = (agent.config(), agent.place(), agent.engines());
    let granted = agent.member();
    let probe = agent.probe();
    let kinds = probe.engines.iter().map(|engine| engine.kind).filter(|kind| {
        let mut capabilities = granted.member.capabilities.iter();
        capabilities.any(|capability| capability.engine() == kind.name())
            && config.services.of(*kind).queue > 0
    });
    let kinds: Vec<EngineKind> = kinds.collect();
    let held = agent.trust.held();
    let state = held.as_ref().map(|held| &held.state);
    let mut wanted = foreseen(&kinds, state, &place, &config, &engines.config().unrestricted);
    let settings = state.map(|state| state.settings_at(&place)).unwrap_or_default();
    wanted.retain_mut(|one| has_packages(agent, one, &settings));
    wanted
}

/// What runs of these engines get here, by the settings of this place.
fn foreseen(
    kinds: &[EngineKind],
    state: Option<&TrustState>,
    place: &Place,
    config: &Config,
    own: &Arc<RunPolicy>,
) -> Vec<Foreseen> {
    let settings = state.map(|state| state.settings_at(place)).unwrap_or_default();
    let policy = policy::without_function(state, place, config, own);
    let modes = |kind: EngineKind| {
        let unlocked = !config.trust.force_restricted;
        let (restricted, unrestricted) = match kind {
            EngineKind::Terr => {
                let always = settings.terr_restricted_execution_mode.value
                    || config.services.of(kind).keeps_restricted_mode.is_some();
                (true, unlocked && !always)
            }
            _ => (
                !unlocked || settings.restricted_engines.value.contains(&service(kind)),
                unlocked,
            ),
        };
        let modes = [(Mode::Restricted, restricted), (Mode::Unrestricted, unrestricted)];
        modes
            .into_iter()
            .filter_map(|(mode, wanted)| wanted.then_some(mode))
    };
    kinds
        .iter()
        .flat_map(|kind| modes(*kind).map(|mode| (*kind, mode)))
        .map(|(kind, mode)| Foreseen {
            kind,
            mode,
            policy: match mode {
                Mode::Restricted => RunPolicy::default(),
                Mode::Unrestricted => RunPolicy::clone(&policy),
            },
        })
        .collect()
}

/// Adds the package set that this place gives to its runs. Where it is yet to be built, the first run does so.
fn has_packages(agent: &Agent, one: &mut Foreseen, settings: &Settings) -> bool {
    let mode = match one.mode {
        Mode::Restricted => muster_code_trust::Mode::Restricted,
        Mode::Unrestricted => muster_code_trust::Mode::Unrestricted,
    };
    let Ok(list) = packages_of_run(&[], language(one.kind), mode, settings) else {
        return false;
    };
    if list.is_empty() {
        return true;
    }
    one.policy.packages = packages::ready(agent, &list).map(|set| set.folder.clone());
    one.policy.packages.is_some()
}

fn language(kind: EngineKind) -> Language {
    match kind {
        EngineKind::R => Language::R,
        EngineKind::Python => Language::Python,
        EngineKind::Terr => Language::Terr,
    }
}

fn service(kind: EngineKind) -> Engine {
    language(kind).service()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn modes(config: &str) -> Vec<(EngineKind, Mode)> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("node.toml");
        std::fs::write(&file, config).expect("written");
        let config = Config::load(&file, true, []).expect("a configuration");
        let found = foreseen(
            &EngineKind::ALL,
            None,
            &Place::default(),
            &config,
            &Arc::default(),
        );
        found.into_iter().map(|one| (one.kind, one.mode)).collect()
    }

    #[test]
    fn without_settings_terr_is_restricted_and_the_others_are_not() {
        let expected = [
            (EngineKind::R, Mode::Unrestricted),
            (EngineKind::Python, Mode::Unrestricted),
            (EngineKind::Terr, Mode::Restricted),
        ];
        assert_eq!(modes(""), expected);
    }

    #[test]
    fn a_node_that_forces_restricted_mode_foresees_nothing_else() {
        let expected = EngineKind::ALL.map(|kind| (kind, Mode::Restricted));
        assert_eq!(modes("[trust]\nforce_restricted = true\n"), expected);
    }
}
