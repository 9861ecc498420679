//! How each engine is started in the jail.

use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use muster_ids::Digest;
use muster_sandbox::protocol::{Mode, Mount, Network, Programs, Start};

use crate::{
    EngineKind, EnginesConfig, RunPolicy, broker, packages,
    runners::{self, Runner},
};

/// R itself, without its shell front end.
pub(crate) fn r_program(home: &Path) -> PathBuf {
    home.join("bin/exec/R")
}

/// Where R looks for packages.
pub(crate) fn r_libraries(home: &Path) -> [PathBuf; 3] {
    [
        "/usr/local/lib/R/site-library".into(),
        home.join("site-library"),
        home.join("library"),
    ]
}

/// The R packages that are loaded before the fork.
pub(crate) fn r_packages(config: &EnginesConfig) -> impl Iterator<Item = &str> {
    std::iter::once("jsonlite").chain(config.r_packages.iter().map(String::as_str))
}

/// What R's shell front end sets, which is skipped to save its time.
pub(crate) fn r_environment(home: &Path) -> BTreeMap<String, String> {
    let text = |path: &Path| path.display().to_string();
    let share = if home == Path::new("/usr/lib/R") {
        Path::new("/usr/share/R")
    } else {
        home
    };
    let libraries = r_libraries(home)
        .iter()
        .map(|path| text(path))
        .collect::<Vec<_>>()
        .join(":");
    let entries = [
        ("R_HOME", text(home)),
        ("LD_LIBRARY_PATH", text(&home.join("lib"))),
        ("R_SHARE_DIR", text(&share.join("share"))),
        ("R_INCLUDE_DIR", text(&share.join("include"))),
        ("R_DOC_DIR", text(&share.join("doc"))),
        ("R_LIBS_SITE", libraries),
    ];
    entries
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// The home of the original engine's `program`, the folder with its `bin`; an error says why it cannot be executed.
pub(crate) fn terr_program(program: &Path) -> Result<Option<&Path>, String> {
    let cure = "set engines.terr to the program of TERR, or remove it to have GNU R stand in";
    let found = std::fs::metadata(program).map_err(|error| {
        format!(
            "the TERR engine {} cannot be used: {error}; {cure}",
            program.display()
        )
    })?;
    if !found.is_file() || found.permissions().mode() & 0o111 == 0 {
        return Err(format!(
            "the TERR engine {} is no program; {cure}",
            program.display()
        ));
    }
    Ok(program.ancestors().nth(2))
}

/// Where the jail shows our own files.
const JAIL: &str = "/muster";
/// The name of a start-up hook there.
const HOOK: &str = "startup-hook.sh";
/// The name of a package library there, wherever it lies on the host.
const LIBRARY: &str = "packages";

/// How an engine is started, and the digest of what it has preloaded.
pub(crate) struct Plan {
    /// For the launcher.
    pub(crate) start: Start,
    /// Runner, packages and their versions.
    pub(crate) packages: Digest,
    /// What the start mounts, which must be installed before.
    pub(crate) runner: &'static Runner,
}

/// The start of `kind`, made for each run: it is what tells engines apart. An error is one sentence. A restricted engine
/// has no policy.
pub(crate) fn plan(
    config: &EnginesConfig,
    kind: EngineKind,
    mode: Mode,
    policy: &RunPolicy,
) -> Result<Plan, String> {
    let (runner, preloaded, stamp): (&'static Runner, _, _) = match kind {
        EngineKind::R | EngineKind::Terr => (&runners::R, &config.r_packages, Vec::new()),
        EngineKind::Python => {
            let stamp = std::fs::read(config.python.join("muster-stamp")).unwrap_or_default();
            (&runners::PYTHON, &config.python_packages, stamp)
        }
    };
    let file = config.runners.join(runner.name);
    let shown = |source: &Path, target: &str| Mount {
        source: source.to_owned(),
        target: Path::new(JAIL).join(target),
        writable: false,
        by_policy: false,
    };
    let mut mounts = vec![
        shown(&config.lock_library, "libmuster_lock.so"),
        shown(&file, runner.name),
    ];
    let mode_word = match mode {
        Mode::Restricted => "restricted",
        Mode::Unrestricted => "unrestricted",
    };
    let mut words = vec![mode_word.to_owned()];
    let script = format!("{JAIL}/{}", runner.name);
    let service = config.services.of(kind);
    let (mut environment, mut settings) = (one_thread(), Vec::new());
    let mut hook = Vec::new();
    if let Some(script) = &service.startup_hook {
        hook = std::fs::read(script)
            .map_err(|error| format!("the start-up hook {} cannot be read: {error}", script.display()))?;
        mounts.push(shown(script, HOOK));
        settings.push(format!("--hook={JAIL}/{HOOK}"));
    }
    let mut libraries = Vec::new();
    if let Some(set) = &policy.packages {
        mounts.push(Mount {
            source: set.clone(),
            target: packages::SHOWN.into(),
            writable: false,
            by_policy: false,
        });
        libraries.push(packages::SHOWN.to_owned());
        settings.push(format!("--set={}", packages::SHOWN));
    }
    if let (Some(library), Mode::Unrestricted) = (&service.package_path, mode) {
        mounts.push(shown(library, LIBRARY));
        libraries.push(format!("{JAIL}/{LIBRARY}"));
        settings.push(format!("--library={JAIL}/{LIBRARY}"));
    }
    if !libraries.is_empty() {
        // R looks here before its own libraries, as the original does.
        environment.insert("R_LIBS".to_owned(), libraries.join(":"));
    }
    let command = match kind {
        EngineKind::R | EngineKind::Terr => {
            let original = config.terr.as_deref().filter(|_| kind == EngineKind::Terr);
            let (program, home) = if let Some(terr) = original {
                let home = terr_program(terr)?;
                environment.extend(home.map(|home| ("TERR_HOME".to_owned(), home.display().to_string())));
                (terr.to_owned(), home)
            } else {
                environment.extend(r_environment(&config.r_home));
                (r_program(&config.r_home), Some(config.r_home.as_path()))
            };
            mounts.extend(home.and_then(outside_usr).map(|home| Mount {
                source: home.into(),
                target: home.into(),
                writable: false,
                by_policy: false,
            }));
            // The runner provides what the original's own packages would.
            let stands_in = kind == EngineKind::Terr && original.is_none();
            words.push(if stands_in { "terr" } else { "r" }.to_owned());
            let start = [
                "--vanilla".into(),
                "--no-echo".into(),
                format!("--file={script}"),
                "--args".into(),
            ];
            std::iter::once(program.display().to_string())
                .chain(start)
                .collect::<Vec<_>>()
        }
        EngineKind::Python => {
            mounts.push(shown(&config.python, "python"));
            let start = ["-I", "-B", "-X", "utf8", &script].map(str::to_owned);
            std::iter::once(format!("{JAIL}/python/bin/python"))
                .chain(start)
                .collect()
        }
    };
    let command = command
        .into_iter()
        .chain(words)
        .chain(settings)
        .chain(preloaded.iter().cloned())
        .collect();
    let mut limits = service.limits;
    let (network, programs) = match mode {
        Mode::Restricted => (Network::None, Programs::None),
        Mode::Unrestricted => {
            mounts.extend(policy.mounts(&config.guarded, &loaded(config))?);
            limits = policy.limits.map_or(limits, |policy| limits.least(policy));
            (policy.launcher_network(), policy.programs.clone())
        }
    };
    if network == Network::Brokered {
        environment.extend(broker::environment());
    }
    let listed = preloaded.join("\n");
    let digest = Digest::of_framed(&[
        runner.digest().as_bytes().as_slice(),
        listed.as_bytes(),
        &stamp,
        &hook,
    ]);
    Ok(Plan {
        start: Start {
            command,
            environment,
            mode,
            network,
            programs,
            mounts,
            ids: config.ids,
            limits,
        },
        packages: digest,
        runner,
    })
}

/// What engines load or execute before they are locked, of all services: who could write there would be in every run.
fn loaded(config: &EnginesConfig) -> Vec<PathBuf> {
    let services = EngineKind::ALL.map(|kind| config.services.of(kind));
    let of_services = services.into_iter().flat_map(|service| {
        let parts = [&service.package_path, &service.startup_hook];
        parts.into_iter().flatten().cloned()
    });
    let terr = config.terr.iter().flat_map(|program| {
        let home = program.ancestors().nth(2).filter(|home| home.parent().is_some());
        home.into_iter().chain([program.as_path()]).map(Path::to_owned)
    });
    let own = [&config.r_home, &config.python, &config.lock_library, &config.jail];
    own.into_iter()
        .cloned()
        .chain(r_libraries(&config.r_home))
        .chain(of_services)
        .chain(terr)
        .collect()
}

/// A folder that the jail does not show anyway.
fn outside_usr(folder: &Path) -> Option<&Path> {
    (!folder.starts_with("/usr") && folder.parent().is_some()).then_some(folder)
}

/// The environment of every engine. Numeric libraries must not start threads: a process is copied by fork with
/// one thread only.
fn one_thread() -> BTreeMap<String, String> {
    let threads = [
        "OPENBLAS_NUM_THREADS",
        "OMP_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMEXPR_NUM_THREADS",
    ];
    let rest = [
        ("LANG", "C.UTF-8"),
        ("TZ", "UTC"),
        ("PATH", "/usr/bin:/bin"),
        ("HOME", "/scratch"),
        ("TMPDIR", "/tmp"),
    ];
    threads
        .into_iter()
        .map(|name| (name, "1"))
        .chain(rest)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
