//! The engines of this node as its settings want them.
//!
//! Invariant: a run that was not granted the host's network gets launchers that never had it.

use muster_engines::{
    EngineKind, Engines, EnginesConfig, EnginesError, IdRange, Limits, Mode, Mount, Network, Recycle,
    RunEnding, RunOrder, Service, Services, Standing, Unrestricted, default_limits,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::{Config, Shown},
    home::Home,
};

const MIB: u64 = 1024 * 1024;

/// Engines without network, and with the host's where the settings allow it.
pub struct EnginePools {
    without: Engines,
    with_host: Option<Engines>,
}

impl EnginePools {
    /// Starts nothing yet.
    pub fn new(config: &Config, home: &Home) -> Self {
        let with_host = config
            .unrestricted
            .network_host
            .then(|| Engines::new(engines_config(config, home, Network::Host)));
        Self {
            without: Engines::new(engines_config(config, home, Network::None)),
            with_host,
        }
    }

    /// Executes one run to its end. `host_network` is what the grant allows.
    pub async fn run(&self, order: &RunOrder, host_network: bool, cancel: &CancellationToken) -> RunEnding {
        self.pool(order.mode, host_network).run(order, cancel).await
    }

    /// Has a launcher ready: the jail stands and the engine has loaded its packages.
    pub async fn warm(&self, engine: EngineKind, mode: Mode) -> Result<Standing, EnginesError> {
        self.without.warm(engine, mode).await
    }

    fn pool(&self, mode: Mode, host_network: bool) -> &Engines {
        match (&self.with_host, mode) {
            (Some(with_host), Mode::Unrestricted) if host_network => with_host,
            _ => &self.without,
        }
    }
}

impl std::fmt::Debug for EnginePools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EnginePools")
    }
}

/// The settings in the words of the engines.
pub fn engines_config(config: &Config, home: &Home, network: Network) -> EnginesConfig {
    let mount = |writable: bool| {
        move |shown: &Shown| Mount {
            source: shown.source.clone(),
            target: shown.target.clone(),
            writable,
        }
    };
    let mounts = config.unrestricted.readable.iter().map(mount(false));
    let mounts = mounts.chain(config.unrestricted.writable.iter().map(mount(true)));
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
        unrestricted: Unrestricted {
            mounts: mounts.collect(),
            network,
        },
        services: Services {
            r: service(config, EngineKind::R),
            python: service(config, EngineKind::Python),
            terr: service(config, EngineKind::Terr),
        },
        printed_bytes: usize::try_from(config.limits.printed_kib * 1024).unwrap_or(usize::MAX),
        recycle,
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
