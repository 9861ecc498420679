//! Scenarios of untrusted code, by their numbers: `sandbox_NN_` and what must happen.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use muster_engines::{
    Cure, Data, EngineKind, Engines, EnginesConfig, Format, Input, Limits, Live, Mode, NetworkPolicy,
    Outcome, OutputSpec, RunOrder, RunPolicy, Shape,
};
use tokio_util::sync::CancellationToken;

use crate::{
    check::{self, jails},
    jail::{self, LIMITS, RUNTIME, User},
    lab::Lab,
    probe::{HARM, Language, Probe, SECRET},
};

/// What a restricted job tries, as probes: promise and name.
const TRIED: [(&[Probe], &str); 10] = [
    (crate::network::PROBES, "connects by TCP"),
    (crate::files::PROBES, "opens a file of the system for writing"),
    (crate::files::PROBES, "reads a file"),
    (crate::other_runs::PROBES, "reads another's working folder"),
    (crate::processes::PROBES, "traces another"),
    (crate::namespaces_and_mounts::PROBES, "makes a user namespace"),
    (crate::kernel_interfaces::PROBES, "keeps a key in the kernel"),
    (crate::agent_secrets::PROBES, "reads the key"),
    (crate::agent_secrets::PROBES, "calls the agent"),
    (crate::network::PROBES, "asks the cloud for its secrets"),
];

/// Scenario 56.
#[test]
fn sandbox_56_what_a_restricted_job_tries_is_denied_and_counted() {
    for user in [User::Root, User::Service, User::Nobody] {
        let mut jails = jails(user);
        let mut denied = 0;
        for (promise, name) in TRIED {
            let tried = promise
                .iter()
                .find(|probe| probe.language == Language::C && probe.name == name);
            let probe = tried.unwrap_or_else(|| panic!("there is no probe {name}"));
            let seen = jails.bare(probe, probe.code);
            assert_eq!(seen.harm(), None, "{user:?}: {name}");
            // By the kernel, and the probe was told so.
            denied += usize::from(seen.stderr.contains("refused: "));
            assert!(seen.stderr.contains("refused: "), "{user:?}: {name}: {seen:?}");
        }
        assert_eq!(denied, TRIED.len(), "{user:?}");
        assert_eq!(
            jails.lab.traces(),
            [] as [String; 0],
            "{user:?}: nothing reached anybody"
        );
    }
    // Each run that oversteps is told apart from one that fails, which is what the agent counts.
    let jails = jails(User::Root);
    for script in [
        "open('/etc/passwd')",
        "import readline; readline.write_history_file('/usr/lib/x')",
    ] {
        let ending = restricted(&jails.engines, script);
        assert!(ending.overstep().is_some(), "{script}: {ending:?}");
    }
}

/// Scenario 57.
#[test]
fn sandbox_57_without_a_wall_of_the_kernel_restricted_code_is_refused() {
    for missing in ["without-landlock", "without-user-namespaces"] {
        let jails = jails(User::Root);
        let engines = Engines::new(EnginesConfig {
            jail: jails.lab.folder.join(missing),
            ..jail::config(&jails.lab, User::Root, NetworkPolicy::None)
        });
        let ending = restricted(&engines, "print('executed')");
        assert!(
            matches!(&ending.outcome, Outcome::JailRefused { why } if !why.contains("executed")),
            "{missing}: {ending:?}"
        );
        assert_eq!(ending.stdout.total, 0, "{missing}: not a word of it was executed");
        let why = ending.in_words(Cure::Expression);
        let named = match missing {
            "without-landlock" => "Landlock",
            _ => "Operation not permitted",
        };
        assert!(why.contains(named), "{missing}: {why}");
        RUNTIME.block_on(async { drop(engines) });
    }
}

/// Scenario 60.
#[test]
fn sandbox_60_links_pipes_devices_and_paths_in_inputs_and_outputs_are_contained() {
    // Trusted code may make links and pipes in its folder, and says that it succeeded without the runner's help.
    let tricks = [
        ("a link", "os.symlink('/etc/passwd', 'outputs/0')"),
        (
            "a link to memory",
            "os.symlink('/proc/self/environ', 'outputs/0')",
        ),
        (
            "a second name",
            "open('mine', 'w').write('x'); os.link('mine', 'outputs/0')",
        ),
        ("a pipe", "os.mkfifo('outputs/0')"),
        ("a folder", "os.mkdir('outputs/0')"),
        (
            "a folder elsewhere",
            "os.rename('outputs', 'x'); os.symlink('/etc', 'outputs')",
        ),
        ("a device of the system", "os.symlink('/dev/zero', 'outputs/0')"),
        (
            "a link that comes and goes",
            "open('outputs/0', 'w').write('x'); os.symlink('/etc/passwd', 'link')\n\
             if os.fork() == 0:\n    \
                 os.setsid()\n    \
                 while True: os.rename('outputs/0', 'x'); os.rename('link', 'outputs/0'); os.rename('outputs/0', 'link'); os.rename('x', 'outputs/0')",
        ),
    ];
    let jails = jails(User::Root);
    for (name, trick) in tricks {
        let script = format!(
            "import json, os\n{trick}\n\
             said = json.dumps({{'report': 'finished', 'ending': 'succeeded', 'message': ''}}).encode()\n\
             os.write(250, len(said).to_bytes(4, 'big') + said)\nos._exit(0)"
        );
        let (ending, folder) = with_output(&jails.engines, Mode::Unrestricted, &script, Vec::new());
        let delivered = fs::read_to_string(folder.path().join("output-0")).unwrap_or_default();
        assert!(!delivered.contains("root:"), "{name}: {delivered}");
        if name == "a link that comes and goes" {
            // Everything of the run is dead before its outputs are looked at: its file, a link, or nothing.
            assert!(delivered.is_empty() || delivered == "x", "{name}: {delivered}");
        } else {
            let why = ending.in_words(Cure::Expression);
            assert!(
                why.contains("not a regular file") || why.contains("missing"),
                "{name}: {why}"
            );
        }
    }
    // What waits in the agent's own folder is not written through.
    let folder = tempfile::tempdir().expect("a folder");
    let victim = folder.path().join("victim");
    fs::write(&victim, "whole").expect("written");
    std::os::unix::fs::symlink(&victim, folder.path().join("output-0")).expect("a link");
    let order = order(Mode::Restricted, "y = 1", Vec::new(), folder.path());
    let ending = RUNTIME.block_on(jails.engines.run(&order, &CancellationToken::new()));
    assert_ne!(ending.outcome, Outcome::Succeeded);
    assert_eq!(fs::read_to_string(&victim).expect("there"), "whole");
    // An input's name leads nowhere: the file is called by its number.
    let slipping = Input {
        name: "../../../muster/slip".to_owned(),
        kind: Shape::Value,
        format: Format::Json,
        types: std::collections::BTreeMap::new(),
        data: Some(Data::Bytes(b"1".to_vec())),
    };
    let script = "import os; y = sorted(os.listdir('inputs')) == ['0'] and 1 or 0";
    let (ending, folder) = with_output(&jails.engines, Mode::Unrestricted, script, vec![slipping]);
    assert_eq!(
        ending.outcome,
        Outcome::Succeeded,
        "{}",
        ending.in_words(Cure::Expression)
    );
    let output = fs::read_to_string(folder.path().join("output-0")).expect("an output");
    assert!(
        output.contains("\"value\":1") || output.contains("\"value\": 1"),
        "{output}"
    );
}

/// Scenario 61.
#[test]
fn sandbox_61_bombs_balloons_floods_and_full_disks_stay_within_their_limits() {
    let jails = jails(User::Root);
    let engines = &jails.engines;
    let limits = Limits {
        memory_bytes: 600 << 20,
        wall_ms: 1200,
        scratch_bytes: 16 << 20,
        processes: 24,
        ..LIMITS
    };
    // Another run of the same engine goes on all the time, and must neither be killed nor be held up.
    let beside = {
        let engines = Arc::clone(engines);
        let limits = Limits {
            wall_ms: 60_000,
            ..LIMITS
        };
        RUNTIME.spawn(async move {
            let script = "import time\nfor _ in range(80): time.sleep(0.1)\nprint('well')";
            jail::run(&engines, EngineKind::Python, Mode::Unrestricted, script, limits).await
        })
    };
    let before = resident_bytes();
    let hogs = [
        (
            "a fork bomb",
            "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
        ),
        (
            "a memory balloon",
            "x = []\nwhile True: x.append(bytearray(b'x') * (1 << 20))",
        ),
        (
            "a full disk",
            "f = open('x', 'wb')\nwhile True: f.write(bytes(1 << 20))",
        ),
        (
            "lines without end",
            "import os\nline = b'x' * 65535 + b'\\n'\nwhile True: os.write(1, line)",
        ),
        (
            "errors without end",
            "import os\nwhile True: os.write(2, b'x\\n' * 32768)",
        ),
        (
            "no standard output",
            "import os, time\nos.close(1); os.close(2)\nwhile True: time.sleep(1)",
        ),
        (
            "reports without end",
            "import os\nwhile True: os.write(250, b'\\0\\0\\0\\2{}')",
        ),
    ];
    for (name, script) in hogs {
        let began = now();
        let ending = RUNTIME.block_on(jail::run(
            engines,
            EngineKind::Python,
            Mode::Unrestricted,
            script,
            limits,
        ));
        assert_ne!(ending.outcome, Outcome::Succeeded, "{name}: {ending:?}");
        assert!(
            !matches!(ending.outcome, Outcome::JailRefused { .. }),
            "{name}: {}",
            ending.in_words(Cure::Expression)
        );
        assert!(
            began.elapsed() < Duration::from_secs(8),
            "{name}: {:?}",
            began.elapsed()
        );
        assert!(
            ending.stdout.bytes.len() <= 1 << 20 && ending.stderr.bytes.len() <= 1 << 20,
            "{name}"
        );
    }
    // What is kept of streams is bounded, and nothing else grows; the allocator may keep some of it.
    let grown = resident_bytes().saturating_sub(before);
    assert!(grown < 24 << 20, "the agent's side grew by {grown} bytes");
    let well = RUNTIME.block_on(beside).expect("it was not dropped");
    assert_eq!(
        well.outcome,
        Outcome::Succeeded,
        "{}",
        well.in_words(Cure::Expression)
    );
    // And the next run finds everything in order.
    assert_eq!(restricted(engines, "print('well')").outcome, Outcome::Succeeded);
    assert_eq!(jails.lab.traces(), [] as [String; 0]);
}

/// Without a network, trusted code reaches nobody either.
#[test]
fn trusted_runs_without_a_network_reach_nobody() {
    let lab = Lab::new();
    let engines = Engines::new(jail::config(&lab, User::Root, NetworkPolicy::None));
    for probe in crate::network::PROBES {
        // These need nobody at the other end: the run's own loopback, the kernel, itself.
        if ["listens", "lists the interfaces", "makes a pair of sockets"].contains(&probe.name) {
            continue;
        }
        let seen = jail::product(&engines, Mode::Unrestricted, probe, &check::code(probe));
        let harm = seen.harm();
        assert!(harm.is_none(), "{}: {harm:?}: {seen:?}", probe.title());
        assert_eq!(lab.traces(), [] as [String; 0], "{}", probe.title());
    }
    RUNTIME.block_on(async { drop(engines) });
}

/// With a broker whose policy lists nothing they reach nobody beside it. Their own loopback is theirs: what counts is what
/// arrives anywhere else.
#[test]
fn trusted_runs_whose_network_is_brokered_reach_nobody_beside_the_broker() {
    let lab = Lab::new();
    for user in [User::Root, User::Service, User::Nobody] {
        let nowhere = NetworkPolicy::Brokered(BTreeSet::new());
        let engines = Engines::new(jail::config(&lab, user, nowhere));
        for probe in crate::network::PROBES {
            let mut seen = jail::product(&engines, Mode::Unrestricted, probe, &check::code(probe));
            seen.stdout = seen.stdout.replace(HARM, "");
            seen.traces = lab.traces();
            assert_eq!(seen.harm(), None, "{user:?}: {}: {seen:?}", probe.title());
        }
        RUNTIME.block_on(async { drop(engines) });
    }
}

/// The launcher is started with the secret, and its own process keeps none of it.
#[test]
fn the_launcher_keeps_nothing_of_those_who_started_it() {
    let jails = jails(User::Root);
    let mut seen = 0;
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        let text = |name: &str| fs::read(entry.path().join(name)).unwrap_or_default();
        if !text("cmdline").starts_with(b"/mnt/bin/muster-jail") {
            continue;
        }
        seen += 1;
        let environment = text("environ");
        assert!(
            !environment
                .windows(SECRET.len())
                .any(|part| part == SECRET.as_bytes()),
            "the environment of {}",
            entry.path().display()
        );
        for descriptor in fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            let target = fs::read_link(descriptor.path()).unwrap_or_default();
            assert!(
                !target.ends_with("identity.json"),
                "{}",
                descriptor.path().display()
            );
        }
    }
    assert!(
        seen > 1,
        "the launchers of {} are there",
        jails.lab.folder.display()
    );
}

fn restricted(engines: &Engines, script: &str) -> muster_engines::RunEnding {
    RUNTIME.block_on(jail::run(
        engines,
        EngineKind::Python,
        Mode::Restricted,
        script,
        LIMITS,
    ))
}

fn order(mode: Mode, script: &str, inputs: Vec<Input>, folder: &Path) -> RunOrder {
    RunOrder {
        engine: EngineKind::Python,
        mode,
        policy: Arc::new(RunPolicy {
            network: NetworkPolicy::Host,
            ..RunPolicy::default()
        }),
        script: script.to_owned(),
        inputs,
        outputs: vec![OutputSpec {
            name: "y".to_owned(),
            kind: Shape::Value,
            format: Format::Json,
        }],
        limits: LIMITS,
        session: None,
        folder: folder.to_owned(),
        live: Live::default(),
        trace: false,
    }
}

/// A run with one output, and the folder in which it was delivered.
fn with_output(
    engines: &Engines,
    mode: Mode,
    script: &str,
    inputs: Vec<Input>,
) -> (muster_engines::RunEnding, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let order = order(mode, script, inputs, folder.path());
    let ending = RUNTIME.block_on(engines.run(&order, &CancellationToken::new()));
    (ending, folder)
}

fn resident_bytes() -> u64 {
    let statm = fs::read_to_string("/proc/self/statm").expect("/proc");
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number") * 4096
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "a test measures that nothing hangs")]
    Instant::now()
}
