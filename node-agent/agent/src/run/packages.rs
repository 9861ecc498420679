//! The package set of a run: which one holds for it, and what happens where it cannot be had.
//!
//! Invariant: the list that the grant names and the one that this node finds, in the function or in its own trust state,
//! are the same, or the run goes back to the queue. A run that this node tightens has the list of its tighter mode.

use muster_code_trust::{Mode, Settings, packages_of_run};
use muster_engines::{EngineKind, PackageSet, PackagesConfig, PackagesError, Wanted};
use muster_ids::{PackageLanguage, PackageList};

use super::{Work, admit::Admitted, outcome::Ended};
use crate::{agent::Agent, sentence};

/// What the run gets.
#[derive(Debug)]
pub enum Choice {
    /// Nothing besides the engine's own.
    Nothing,
    /// The set of this list.
    Set(PackageList),
    /// It goes back to the queue, because of this.
    PutBack(String),
    /// It ends here.
    End(Box<Ended>),
}

/// The packages of an admitted run that is about to run in `mode`.
pub fn choose(admitted: &Admitted, mode: Mode, settings: &Settings) -> Choice {
    let own = &admitted.definition.packages;
    let list = match packages_of_run(own, admitted.language, mode, settings) {
        Ok(list) => list,
        Err(error) => {
            let message = format!(
                "{error}\nLock the packages of the function \"{}\" and register it again.",
                admitted.definition.name
            );
            return Choice::End(Box::new(Ended::refused("packages-not-locked", message)));
        }
    };
    if mode == admitted.mode && list.digest() != admitted.grant.packages {
        return Choice::PutBack(
            "the packages that are set for this node have changed since the grant".to_owned(),
        );
    }
    if list.is_empty() {
        Choice::Nothing
    } else {
        Choice::Set(list)
    }
}

/// A set that is there.
pub fn ready(agent: &Agent, list: &PackageList) -> Option<PackageSet> {
    let version = version(agent, list.language());
    let wanted = Wanted {
        list,
        version: &version,
    };
    agent.packages.ready(&config(agent), &wanted)
}

/// Builds a set. Whoever waits for one already being built waits here, too.
pub async fn build(
    agent: &Agent,
    admitted: &Admitted,
    work: &Work,
    list: &PackageList,
) -> Result<(), Box<Ended>> {
    let engines = agent.engines();
    if work.engine == EngineKind::Terr && engines.config().terr.is_some() {
        let why = "The packages cannot be used: they are built with GNU R, and TERR on this node is the original.\n\
                   Run the function where GNU R stands in, or register it in the language r.";
        return Err(Box::new(Ended::failed("packages-not-built", why.to_owned())));
    }
    let version = version(agent, list.language());
    let wanted = Wanted {
        list,
        version: &version,
    };
    let forget = |folder: &std::path::Path| agent.engines().forget(folder);
    let built = agent
        .packages
        .build(&config(agent), &engines, &wanted, forget, &work.cancel)
        .await;
    let Err(error) = built else {
        return Ok(());
    };
    let message = format!(
        "The packages of \"{}\" cannot be used here: {}.",
        admitted.definition.name,
        sentence(&error)
    );
    Err(Box::new(match error {
        PackagesError::Cancelled => Ended::stopped(work.why().unwrap_or(super::Why::Cancelled)),
        PackagesError::WrongHash { .. } => Ended::refused("packages-changed", message),
        // As pip says it.
        PackagesError::NotFetched { why, .. } if why.contains("DO NOT MATCH THE HASHES") => {
            Ended::refused("packages-changed", message)
        }
        PackagesError::NotFetched { .. }
        | PackagesError::NoSources
        | PackagesError::Source { .. }
        | PackagesError::Missing { .. } => Ended::failed("packages-missing", message),
        PackagesError::NotBuilt { .. } => Ended::failed("packages-not-built", message),
        PackagesError::TooLarge { .. } | PackagesError::NoRoom | PackagesError::Store { .. } => {
            Ended::failed("packages-no-room", message)
        }
    }))
}

/// The version of the engine that takes these packages.
fn version(agent: &Agent, language: PackageLanguage) -> String {
    let kind = match language {
        PackageLanguage::Python => EngineKind::Python,
        PackageLanguage::R => EngineKind::R,
    };
    let probe = agent.probe();
    let engine = probe.engines.iter().find(|engine| engine.kind == kind);
    engine.map(|engine| engine.version.clone()).unwrap_or_default()
}

fn config(agent: &Agent) -> PackagesConfig {
    let config = agent.config();
    let packages = &config.packages;
    let mib = |number: u64| number.saturating_mul(1024 * 1024);
    PackagesConfig {
        folder: packages.folder.clone().unwrap_or_else(|| agent.home.packages()),
        sources: packages.sources.clone(),
        indexes: packages.indexes.clone(),
        index_hosts: packages.index_hosts.clone(),
        sets: usize::try_from(packages.sets).unwrap_or(usize::MAX),
        total_bytes: mib(packages.total_mib),
        set_bytes: mib(packages.set_mib),
        patience: packages.build_time,
    }
}
