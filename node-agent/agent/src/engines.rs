//! The engines of this node as its settings want them.
//!
//! Invariant: where nobody set a policy, trusted code gets what the node's own file says, and nothing more.

use std::{path::PathBuf, sync::Arc};

use muster_engines::{
    EngineKind, EnginesConfig, IdRange, Limits, Mount, NetworkPolicy, Programs, Recycle, RunPolicy, Service,
    Services, default_limits,
};

use crate::{
    config::{Config, Shown},
    home::Home,
};

const MIB: u64 = 1024 * 1024;

/// The settings in the words of the engines.
pub fn engines_config(config: &Config, home: &Home) -> EnginesConfig {
    let recycle = if config.jail.fresh_process {
        Recycle {
            runs: 1,
            ..Recycle::default()
        }
    } else {
        Recycle::default()
    };
    EnginesConfig {
        jail: config.jail.program.clone(),
        lock_library: config.jail.lock_library.clone(),
        runners: config.engines.runners.clone().unwrap_or_else(|| home.runners()),
        r_home: config.engines.r_home.clone(),
        python: config.engines.python.clone(),
        terr: config.engines.terr.clone(),
        r_packages: config.engines.r_packages.clone(),
        python_packages: config.engines.python_packages.clone(),
        ids: config.jail.ids.map(|(first, count)| IdRange { first, count }),
        unrestricted: Arc::new(own_policy(config)),
        guarded: guarded(config, home),
        services: Services {
            r: service(config, EngineKind::R),
            python: service(config, EngineKind::Python),
            terr: service(config, EngineKind::Terr),
        },
        printed_bytes: usize::try_from(config.limits.printed_kib * 1024).unwrap_or(usize::MAX),
        recycle,
    }
}

/// What of this agent lies on the disk.
fn guarded(config: &Config, home: &Home) -> Vec<PathBuf> {
    let token = config.join.token_file.as_ref().map(|file| file.path().to_owned());
    [home.root().to_owned(), config.file.clone()]
        .into_iter()
        .chain(config.engines.services.clone())
        .chain(config.engines.runners.clone())
        .chain(token)
        // Behind a socket is the launcher; a program may be read by everybody.
        .chain(Some(config.jail.program.clone()).filter(|jail| !jail.is_file()))
        .collect()
}

/// What the node's own file gives to trusted code.
pub fn own_policy(config: &Config) -> RunPolicy {
    let mount = |writable: bool| {
        move |shown: &Shown| Mount {
            source: shown.source.clone(),
            target: shown.target.clone(),
            writable,
            by_policy: true,
        }
    };
    let mounts = config.unrestricted.readable.iter().map(mount(false));
    let mounts = mounts.chain(config.unrestricted.writable.iter().map(mount(true)));
    RunPolicy {
        shown: mounts.collect(),
        network: if config.unrestricted.network_host {
            NetworkPolicy::Host
        } else {
            NetworkPolicy::None
        },
        programs: Programs::All,
        ..RunPolicy::default()
    }
}

fn service(config: &Config, engine: EngineKind) -> Service {
    let wanted = config.services.of(engine);
    let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Service {
        limits: limits(config, engine),
        queue: number(wanted.queue),
        sessions: number(wanted.sessions),
        package_path: wanted.package_path.clone(),
        startup_hook: wanted.startup_hook.clone(),
    }
}

/// What a run of an engine may use at the most here.
pub fn limits(config: &Config, engine: EngineKind) -> Limits {
    let service = config.services.of(engine);
    Limits {
        memory_bytes: service.memory_mib * MIB,
        processes: config.limits.processes,
        scratch_bytes: config.limits.scratch_mib * MIB,
        wall_ms: service.wall_seconds * 1000,
        cpu_seconds: service.wall_seconds,
        output_bytes: config.limits.output_mib * MIB,
        ..default_limits()
    }
}
