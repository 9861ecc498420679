//! Jails of one user beside a lab of their own.
//!
//! Each probe meets two of them: the product's engines as a node has them, and bare engines (`payloads/bare.*`, the
//! program of `payloads/native.c`) that lock themselves as the product's do but look at no script. So what the language
//! check stops and what the kernel alone stops are shown apart.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use muster_engines::{
    Cure, EngineKind, Engines, EnginesConfig, IdRange, Limits, Live, Mode, Mount, Network, NetworkPolicy,
    Outcome, Programs, Pruning, Recycle, RunEnding, RunOrder, RunPolicy, Service, Services,
};
use muster_sandbox::{
    client::{Launcher, Run},
    frame,
    protocol::{Report, Stage, StagedFile, Start},
};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::{
    lab::Lab,
    native::NATIVE,
    probe::{Language, Probe, SECRET, Seen},
};

/// One for all, because launchers belong to the runtime that started them.
pub(crate) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));

/// Who runs the launcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// Root, with ids for runs.
    Root,
    /// The packages' service user: two capabilities, which map ids for runs, and no other right.
    Service,
    /// Somebody without any right, as in a quickstart: runs have the launcher's own user.
    Nobody,
    /// The packages' service user in its unit, behind the socket that MUSTER_JAIL_SOCKET names (`tests/vm`).
    Unit,
}

/// The socket behind which systemd starts launchers, where that unit is what is tested.
pub(crate) fn unit() -> Option<PathBuf> {
    std::env::var_os("MUSTER_JAIL_SOCKET").map(PathBuf::from)
}

/// What probes may use unless they say otherwise.
pub(crate) const LIMITS: Limits = Limits {
    memory_bytes: 400 << 20,
    processes: 32,
    open_files: 256,
    scratch_bytes: 32 << 20,
    cpu_seconds: 20,
    wall_ms: 20_000,
    output_bytes: 1 << 20,
};
/// What the whole jail may use.
const MOST: Limits = Limits {
    memory_bytes: 600 << 20,
    processes: 64,
    wall_ms: 3_600_000,
    ..LIMITS
};

/// The jails of one user.
pub(crate) struct Jails {
    pub(crate) engines: Arc<Engines>,
    bare: Vec<(Language, Launcher)>,
    /// Runs that go on beside each probe, with a secret of their own.
    _neighbours: Vec<Run>,
    next: u64,
    pub(crate) lab: Lab,
}

impl Jails {
    pub(crate) fn new(user: User) -> Self {
        let lab = match user {
            User::Unit => Lab::machine(),
            _ => Lab::new(),
        };
        let engines = Arc::new(Engines::new(config(&lab, user, NetworkPolicy::Host)));
        let mut bare = Vec::new();
        let mut neighbours = Vec::new();
        for (number, language) in [Language::R, Language::Python, Language::C]
            .into_iter()
            .enumerate()
        {
            let (jail, start) = (program(&lab, user), bare_start(user, language, number));
            let launcher = match user {
                User::Unit => Launcher::behind(&jail, start),
                _ => Launcher::start(&jail, start),
            };
            let launcher = launcher.expect("started");
            launcher.until_ready().expect("a bare engine");
            let neighbour = launcher
                .run(
                    0,
                    Limits {
                        wall_ms: MOST.wall_ms,
                        ..LIMITS
                    },
                )
                .expect("forked");
            neighbour
                .stage(
                    &stage(neighbour_code(language)),
                    neighbour_code(language).as_bytes(),
                )
                .expect("staged");
            let locked: Option<Report> = frame::read(&neighbour.control).expect("a report");
            assert_eq!(locked, Some(Report::Locked));
            neighbours.push(neighbour);
            bare.push((language, launcher));
        }
        let product: &[EngineKind] = match user {
            User::Unit => &[],
            _ => &[EngineKind::R, EngineKind::Python],
        };
        for &kind in product {
            let engines = Arc::clone(&engines);
            RUNTIME.spawn(async move {
                let script = match kind {
                    EngineKind::Python => neighbour_code(Language::Python),
                    _ => "neighbour <- 'Xq7-the-key-of-the-agent-Zw3'; Sys.sleep(3600)",
                };
                let limits = Limits {
                    wall_ms: MOST.wall_ms,
                    ..LIMITS
                };
                run(&engines, kind, Mode::Restricted, script, limits).await
            });
        }
        Self {
            engines,
            bare,
            _neighbours: neighbours,
            next: 1,
            lab,
        }
    }

    /// Runs a probe through the product's engines.
    pub(crate) fn product(&self, mode: Mode, probe: &Probe, code: &str) -> Seen {
        product(&self.engines, mode, probe, code)
    }

    /// Runs a probe in a jail without a language check.
    pub(crate) fn bare(&mut self, probe: &Probe, code: &str) -> Seen {
        let code = match probe.language {
            Language::C => probe.name.to_owned(),
            _ => format!("{code}\n"),
        };
        let launcher = self.bare.iter().find(|(language, _)| *language == probe.language);
        let (_, launcher) = launcher.expect("an engine for each language");
        let mut limits = LIMITS;
        (probe.limits)(&mut limits);
        self.next += 1;
        let run = launcher.run(self.next, limits).expect("forked");
        run.stage(&stage(&code), code.as_bytes()).expect("staged");
        let outcome = run.finish().expect("finished");
        let mut stdout = outcome.stdout;
        for output in outcome.outputs.into_iter().flatten() {
            // What it made the collector deliver.
            stdout.push_str(&String::from_utf8_lossy(&output));
        }
        Seen {
            stdout,
            stderr: outcome.stderr,
            ending: format!("{:?} {:?}", outcome.exit, outcome.reports.get(1)),
            traces: Vec::new(),
        }
    }
}

/// Runs a probe through engines as a node has them; one in C comes as a shared object that a Python script drops.
pub(crate) fn product(engines: &Engines, mode: Mode, probe: &Probe, code: &str) -> Seen {
    let dropped;
    let (kind, script) = match probe.language {
        Language::R => (EngineKind::R, code),
        Language::Python => (EngineKind::Python, code),
        Language::C => {
            dropped = format!(
                "open('native.so', 'wb').write(bytes.fromhex('{}'))\nimport ctypes\n\
                 ctypes.CDLL('/scratch/native.so').probe(b'{}')",
                NATIVE.object, probe.name
            );
            (EngineKind::Python, dropped.as_str())
        }
    };
    let mut limits = LIMITS;
    (probe.limits)(&mut limits);
    let ending = RUNTIME.block_on(run(engines, kind, mode, script, limits));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        !matches!(ending.outcome, Outcome::JailRefused { .. }),
        "{}: {ending:?}",
        probe.title()
    );
    Seen {
        stdout: text(&ending.stdout.bytes),
        stderr: text(&ending.stderr.bytes),
        ending: ending.in_words(Cure::Expression),
        traces: Vec::new(),
    }
}

/// One run without inputs and outputs.
pub(crate) async fn run(
    engines: &Engines,
    engine: EngineKind,
    mode: Mode,
    script: &str,
    limits: Limits,
) -> RunEnding {
    let folder = tempfile::tempdir().expect("a folder");
    let order = RunOrder {
        engine,
        mode,
        policy: Arc::clone(&engines.config().unrestricted),
        script: script.to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        limits,
        session: None,
        folder: folder.path().to_owned(),
        live: Live::default(),
        trace: false,
    };
    engines.run(&order, &CancellationToken::new()).await
}

/// Engines as a node of this lab has them.
pub(crate) fn config(lab: &Lab, user: User, network: NetworkPolicy) -> EnginesConfig {
    // The paths are those of the lab, where the launcher is.
    EnginesConfig {
        jail: program(lab, user),
        lock_library: "/mnt/bin/libmuster_lock.so".into(),
        runners: lab.folder.join("runners"),
        r_home: "/usr/lib/R".into(),
        python: "/mnt/python".into(),
        terr: None,
        r_packages: Vec::new(),
        python_packages: Vec::new(),
        ids: ids(user, 0),
        unrestricted: Arc::new(RunPolicy {
            network,
            ..RunPolicy::default()
        }),
        guarded: Vec::new(),
        control_plane: Vec::new(),
        services: Services {
            r: service(),
            python: service(),
            terr: service(),
        },
        printed_bytes: 1 << 20,
        recycle: Recycle::default(),
    }
}

fn service() -> Service {
    Service {
        limits: MOST,
        queue: 1,
        sessions: 32,
        pruning: Pruning::default(),
        package_path: None,
        startup_hook: None,
    }
}

/// What starts launchers.
fn program(lab: &Lab, user: User) -> PathBuf {
    let wrapper = match user {
        User::Root => "root",
        User::Service => "service",
        User::Nobody => "nobody",
        User::Unit => return unit().expect("MUSTER_JAIL_SOCKET"),
    };
    lab.folder.join(wrapper)
}

/// Ids of the host for a jail; a service user has those that `payloads/lab.py` enters for it.
fn ids(user: User, number: u32) -> Option<IdRange> {
    let (first, count) = match user {
        User::Root => (710_000 + 100 * number, 64),
        User::Service => (700_000, 64),
        User::Nobody => return None,
        // The package enters 64 in all.
        User::Unit => (2_046_820_352 + 16 * number, 16),
    };
    Some(IdRange { first, count })
}

fn bare_start(user: User, language: Language, number: usize) -> Start {
    let show = |name: &str, target: &str| Mount {
        source: Path::new("/mnt/bin").join(name),
        target: PathBuf::from(target),
        writable: false,
        by_policy: false,
    };
    let mut environment = BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]);
    let (name, target, command): (_, _, &[&str]) = match language {
        Language::C => ("native", "/opt/native", &["/opt/native"]),
        Language::Python => (
            "bare.py",
            "/opt/bare.py",
            &["/usr/bin/python3", "-I", "-S", "-B", "/opt/bare.py"],
        ),
        Language::R => {
            let home = "/usr/lib/R";
            for (name, value) in [
                ("R_HOME", home),
                ("LD_LIBRARY_PATH", "/usr/lib/R/lib"),
                ("OPENBLAS_NUM_THREADS", "1"),
            ] {
                environment.insert(name.to_owned(), value.to_owned());
            }
            let file = "--file=/opt/bare.R";
            (
                "bare.R",
                "/opt/bare.R",
                &["/usr/lib/R/bin/exec/R", "--vanilla", "--no-echo", file],
            )
        }
    };
    Start {
        command: command.iter().map(|&word| word.to_owned()).collect(),
        environment,
        mode: Mode::Restricted,
        network: Network::None,
        programs: Programs::None,
        mounts: vec![
            show("libmuster_lock.so", "/muster/libmuster_lock.so"),
            show(name, target),
        ],
        ids: ids(user, u32::try_from(number).expect("small") + 1),
        limits: MOST,
    }
}

/// The code as a file, and one output that a probe may try to abuse.
fn stage(code: &str) -> Stage {
    Stage {
        files: vec![StagedFile {
            path: "code".to_owned(),
            size: code.len() as u64,
        }],
        outputs: vec!["outputs/0".to_owned()],
        limits: None,
        stays: false,
        run: serde_json::value::to_raw_value(&()).expect("JSON"),
    }
}

/// A run that keeps a secret wherever others could look for it, and stays.
fn neighbour_code(language: Language) -> &'static str {
    match language {
        Language::R => {
            "for (path in c('neighbour.txt', 'tmp/neighbour.txt')) writeLines('Xq7-the-key-of-the-agent-Zw3', path)\n\
             Sys.sleep(3600)"
        }
        Language::Python => {
            "import time\n\
             for path in ('neighbour.txt', 'tmp/neighbour.txt'): open(path, 'w').write('Xq7-the-key-of-the-agent-Zw3')\n\
             time.sleep(3600)"
        }
        Language::C => "neighbour",
    }
}

#[test]
fn the_neighbours_keep_the_secret() {
    assert!(
        neighbour_code(Language::R).contains(SECRET) && neighbour_code(Language::Python).contains(SECRET)
    );
}
