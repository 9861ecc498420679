//! Each documented setting of services acts, whether node.toml has it or the `custom.properties` of a service: it is written
//! to a file, and seen in what real engines in real jails do. Those that concern the agent itself are in [`services`].
//!
//! Needs `cargo build -p muster-sandbox`, R and `packaging/engines/make-venv.sh`.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use muster_agent::{
    config::Config,
    engines::{engines_config, limits},
    home::Home,
};
use muster_engines::{EngineKind, Engines, Live, Mode, Outcome, RunEnding, RunOrder};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::node::GENEROUS;

/// Lines of node.toml, each with its section.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Engines as an agent has them by its files.
struct Place {
    config: Config,
    engines: Engines,
    _folder: tempfile::TempDir,
}

impl Place {
    /// With these lines of node.toml, and this text as the `custom.properties` of a service.
    fn new(lines: Lines<'_>, service: Option<(&str, &str)>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        allow(folder.path());
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::create_dir(at("runners")).expect("a folder");
        let debug = Path::new(env!("CARGO_BIN_EXE_muster-node"))
            .parent()
            .expect("a folder");
        let built = |path: PathBuf, how: &str| {
            assert!(path.exists(), "{} is missing; run: {how}", path.display());
            path.display().to_string()
        };
        let sandbox = |name: &str| built(debug.join(name), "cargo build -p muster-sandbox");
        let python = debug.parent().expect("target").join("engines/python");
        let mut all = vec![
            ("jail", format!("program = \"{}\"", sandbox("muster-jail"))),
            (
                "jail",
                format!("lock_library = \"{}\"", sandbox("libmuster_lock.so")),
            ),
            (
                "engines",
                format!("python = \"{}\"", built(python, "packaging/engines/make-venv.sh")),
            ),
            ("engines", format!("runners = \"{}\"", at("runners"))),
        ];
        if fs::metadata(folder.path()).expect("a folder").uid() == 0 {
            // Runs get ids of their own wherever the test may give them.
            static USED: AtomicU32 = AtomicU32::new(0);
            let first = 500_000 + 100 * USED.fetch_add(1, Ordering::Relaxed);
            all.push(("jail", format!("id_first = {first}\nid_count = 40")));
        }
        if !lines.iter().any(|(_, line)| line.starts_with("python_packages")) {
            all.push(("engines", "python_packages = []".to_owned()));
        }
        if let Some((service, text)) = service {
            let conf = folder.path().join("services").join(service).join("conf");
            fs::create_dir_all(&conf).expect("made");
            fs::write(conf.join("custom.properties"), text).expect("written");
            // What a start-up hook is in these tests.
            fs::write(conf.join("start.sh"), HOOK).expect("written");
            all.push(("engines", format!("services = \"{}\"", at("services"))));
        }
        all.extend(lines.iter().map(|(section, line)| (*section, (*line).to_owned())));
        let mut text = String::new();
        for section in ["jail", "engines", "slots", "limits"] {
            writeln!(text, "[{section}]").expect("a string takes everything");
            for (_, line) in all.iter().filter(|(of, _)| *of == section) {
                writeln!(text, "{line}").expect("a string takes everything");
            }
        }
        let file = folder.path().join("node.toml");
        fs::write(&file, text).expect("written");
        let config = Config::load(&file, true, []).expect("valid settings");
        let home = Home::create(&folder.path().join("state")).expect("a state folder");
        Self {
            engines: Engines::new(engines_config(&config, &home)),
            config,
            _folder: folder,
        }
    }

    async fn run(&self, engine: EngineKind, script: &str, session: Option<&str>) -> RunEnding {
        let folder = tempfile::tempdir().expect("a folder");
        let order = RunOrder {
            engine,
            mode: Mode::Unrestricted,
            policy: Arc::clone(&self.engines.config().unrestricted),
            script: script.to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            trace: false,
            limits: limits(&self.config, engine),
            session: session.map(str::to_owned),
            folder: folder.path().to_owned(),
            live: Live::default(),
        };
        self.engines.run(&order, &CancellationToken::new()).await
    }

    /// What a run that succeeds prints.
    async fn said(&self, engine: EngineKind, script: &str, session: Option<&str>) -> String {
        let ending = self.run(engine, script, session).await;
        assert_eq!(ending.outcome, Outcome::Succeeded, "{ending:?}");
        String::from_utf8_lossy(&ending.stdout.bytes).into_owned()
    }

    /// Sessions that still wait so long after this moment.
    async fn sessions_after(&self, seconds: u64) -> usize {
        self.engines
            .tend(Instant::now() + Duration::from_secs(seconds))
            .await;
        self.engines.sessions(EngineKind::Python)
    }
}

const HOOK: &str = "export GREETING=hello\n";
/// Counts the runs of its session.
const COUNT: &str = "n = globals().get('n', 0) + 1\nprint(n)";

/// The same settings, as node.toml has them and as the service Python has them.
fn both(lines: Lines<'_>, properties: &str) -> [Place; 2] {
    [
        Place::new(lines, None),
        Place::new(&[], Some(("PYTHON", properties))),
    ]
}

fn allow(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_session_max_bounds_the_sessions_that_wait() {
    let lines = [("slots", "per_engine = 2"), ("engines", "prune_threshold = 100")];
    for place in both(&lines, "engine.session.max: 2\ndynamic.prune.threshold: 100\n") {
        let mut counted = String::new();
        // A third one takes the place of the one that waits longest.
        for owner in ["ann", "bob", "ann", "cid", "ann", "bob"] {
            counted += &place.said(EngineKind::Python, COUNT, Some(owner)).await;
        }
        assert_eq!(counted, "1\n1\n2\n1\n3\n1\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_queue_size_is_how_many_children_wait() {
    let waiting = |place: &Place| place.engines.waiting(EngineKind::Python, Mode::Unrestricted).now;
    for place in both(&[("engines", "queue = 3")], "engine.queue.size: 3\n") {
        let until = Instant::now() + GENEROUS;
        place
            .engines
            .warm(EngineKind::Python, Mode::Unrestricted)
            .await
            .expect("warm");
        while waiting(&place) < 3 {
            assert!(Instant::now() < until, "{} children wait", waiting(&place));
            place.engines.tend(Instant::now()).await;
        }
        place.engines.tend(Instant::now()).await;
        assert_eq!(waiting(&place), 3);
    }
    for place in both(&[("engines", "queue = 0")], "engine.queue.size: 0\n") {
        assert_eq!(place.said(EngineKind::Python, "print(1)", None).await, "1\n");
        place.engines.tend(Instant::now()).await;
        assert_eq!(waiting(&place), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_execution_timeout_ends_a_run() {
    for place in both(&[("limits", "wall_seconds = 1")], "engine.execution.timeout: 1\n") {
        let ending = place
            .run(EngineKind::Python, "import time\nwhile True: time.sleep(1)", None)
            .await;
        assert_eq!(ending.outcome, Outcome::TimedOut, "{ending:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_session_maxtime_ends_a_session_by_its_age() {
    let lines = [
        ("engines", "session_time = \"2h\""),
        ("engines", "prune_threshold = 100"),
    ];
    for place in both(
        &lines,
        "engine.session.maxtime: 7200\ndynamic.prune.threshold: 100\n",
    ) {
        assert_eq!(place.said(EngineKind::Python, COUNT, Some("ann")).await, "1\n");
        assert_eq!(place.sessions_after(3600).await, 1);
        assert_eq!(place.sessions_after(7300).await, 0);
    }
    let lines = [
        ("engines", "session_time = \"never\""),
        ("engines", "prune_threshold = 100"),
    ];
    for place in both(
        &lines,
        "engine.session.maxtime: -1\ndynamic.prune.threshold: 100\n",
    ) {
        assert_eq!(place.said(EngineKind::Python, COUNT, Some("ann")).await, "1\n");
        assert_eq!(place.sessions_after(100 * 24 * 3600).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_prune_and_dynamic_prune_threshold_end_idle_sessions() {
    // One session of two that there may be is half of them.
    for (threshold, left) in [(0, 0), (50, 0), (51, 1), (100, 1)] {
        let threshold_line = format!("prune_threshold = {threshold}");
        let lines = [
            ("slots", "per_engine = 2"),
            ("engines", "session_time = \"never\""),
            ("engines", "prune = \"1h\""),
            ("engines", &threshold_line),
        ];
        let properties = format!(
            "engine.session.max: 2\nengine.session.maxtime: -1\nengine.prune: 3600\ndynamic.prune.threshold: {threshold}\n"
        );
        for place in both(&lines, &properties) {
            assert_eq!(place.said(EngineKind::Python, COUNT, Some("ann")).await, "1\n");
            assert_eq!(place.sessions_after(3000).await, 1, "{threshold}");
            assert_eq!(place.sessions_after(3700).await, left, "{threshold}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn package_path_is_a_library_of_runs() {
    let library = tempfile::tempdir().expect("a folder");
    allow(library.path());
    fs::write(library.path().join("ours.py"), "answer = 42\n").expect("written");
    let path = library.path().display();
    for place in both(
        &[("engines", &format!("package_path = \"{path}\""))],
        &format!("packagePath: {path}\n"),
    ) {
        let script = "import ours\nprint(ours.answer)";
        assert_eq!(place.said(EngineKind::Python, script, None).await, "42\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rhome_path_is_the_r_that_runs() {
    // A jail has a /tmp of its own.
    let home = tempfile::tempdir_in("/var/tmp").expect("a folder");
    allow(home.path());
    let program = home.path().join("bin/exec/R");
    let text = "#!/bin/sh\nexport R_HOME=/usr/lib/R LD_LIBRARY_PATH=/usr/lib/R/lib MARK=ours\n\
        export R_LIBS_SITE=/usr/lib/R/site-library:/usr/lib/R/library R_SHARE_DIR=/usr/share/R/share\n\
        exec /usr/lib/R/bin/exec/R \"$@\"\n";
    crate::working::program(&program, text);
    for folder in ["bin", "bin/exec"] {
        allow(&home.path().join(folder));
    }
    let path = home.path().display();
    let line = format!("r_home = \"{path}\"");
    for place in [
        Place::new(&[("engines", &line)], None),
        Place::new(&[], Some(("R", &format!("rhome.path: {path}\n")))),
    ] {
        let script = "cat(Sys.getenv('MARK'))";
        assert_eq!(place.said(EngineKind::R, script, None).await, "ours");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn startup_hook_script_gives_runs_its_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    allow(folder.path());
    let hook = folder.path().join("start.sh");
    fs::write(&hook, HOOK).expect("written");
    let line = format!("startup_hook = \"{}\"", hook.display());
    for place in both(&[("engines", &line)], "startup.hook.script: conf/start.sh\n") {
        let script = "import os\nprint(os.environ['GREETING'])";
        assert_eq!(place.said(EngineKind::Python, script, None).await, "hello\n");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ram_limit_is_the_memory_of_a_run() {
    for (mib, fits) in [(300, false), (900, true)] {
        let line = format!("memory_mib = {mib}");
        for place in both(&[("limits", &line)], &format!("ram.limit: {mib}\n")) {
            let script = "x = bytearray(b'x') * (500 << 20)\nprint('had')";
            let ending = place.run(EngineKind::Python, script, None).await;
            assert_eq!(ending.outcome == Outcome::Succeeded, fits, "{mib}: {ending:?}");
            assert_eq!(ending.stdout.bytes == b"had\n", fits, "{mib}: {ending:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn preloaded_packages_are_there_before_a_run_asks() {
    let python = "import sys\nprint('wave' in sys.modules)";
    let r = "cat('tcltk' %in% loadedNamespaces(), 'parallel' %in% loadedNamespaces())";
    let lines = [
        ("engines", "python_packages = [\"wave\"]"),
        ("engines", "r_packages = [\"parallel\"]"),
    ];
    for (lines, expected) in [
        (&lines[..], ("True\n", "FALSE TRUE")),
        (&[], ("False\n", "FALSE FALSE")),
    ] {
        let place = Place::new(lines, None);
        assert_eq!(place.said(EngineKind::Python, python, None).await, expected.0);
        assert_eq!(place.said(EngineKind::R, r, None).await, expected.1);
    }
}
