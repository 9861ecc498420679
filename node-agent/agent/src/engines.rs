//! The engines of this node as its settings want them.
//!
//! Invariant: where nobody set a policy, trusted code gets what the node's own file says, and nothing more.

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use muster_engines::{
    EngineKind, Engines, EnginesConfig, IdRange, Limits, Mount, NetworkPolicy, Programs, Pruning, Recycle,
    RunPolicy, Service, Services, default_limits,
};

use crate::{
    config::{Config, Shown},
    home::Home,
    membership::Membership,
};

const MIB: u64 = 1024 * 1024;

/// The engines of a member, whose runs are kept from its control plane; runs may go on under those `before`.
pub fn engines(config: &Config, home: &Home, membership: &Membership, before: Option<&Engines>) -> Engines {
    let named = membership.member.back_ends.iter();
    let named = named.chain(&membership.member.registration);
    let named = named.chain(&config.back_ends).chain(&config.registration);
    let hosts: BTreeSet<String> = named.filter_map(|address| host(address)).collect();
    let config = EnginesConfig {
        control_plane: hosts.into_iter().collect(),
        ..engines_config(config, home)
    };
    match before {
        Some(before) => Engines::after(config, before),
        None => Engines::new(config),
    }
}

/// The host of `host:port`, also where a URL is around it.
fn host(address: &str) -> Option<String> {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let authority = rest.split('/').next()?;
    let host = match authority.strip_prefix('[') {
        Some(inner) => inner.split(']').next()?,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_owned())
}

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
        control_plane: Vec::new(),
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
        pruning: Pruning {
            idle: Duration::from_secs(wanted.prune_seconds),
            threshold: u8::try_from(wanted.prune_threshold).unwrap_or(100),
            age: wanted.session_seconds.map(Duration::from_secs),
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_address_is_what_stands_before_its_port() {
        for (address, expected) in [
            ("control.example.com:9443", Some("control.example.com")),
            ("https://control.example.com:9443/x", Some("control.example.com")),
            ("192.0.2.1:9080", Some("192.0.2.1")),
            ("[2001:db8::1]:9443", Some("2001:db8::1")),
            ("control", Some("control")),
            ("", None),
        ] {
            assert_eq!(host(address).as_deref(), expected, "{address}");
        }
    }
}
