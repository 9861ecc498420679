//! What the tests share: engines as a node has them, and a short way to order a run.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
};

use muster_engines::{
    Cure, Data, EngineKind, Engines, EnginesConfig, Format, IdRange, Input, Limits, Live, Mode, Mount,
    NetworkPolicy, Outcome, OutputSpec, Pruning, Recycle, RunEnding, RunOrder, RunPolicy, Service, Services,
    Shape, default_limits,
};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

pub(super) use muster_engines::{EngineKind::*, Format::*, Mode::*, Shape::*};

/// One runtime for all tests, because launchers belong to the runtime that started them.
pub(super) static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime"));
/// The node that most tests share.
pub(super) static NODE: LazyLock<Node> = LazyLock::new(|| {
    // A static is never dropped: what earlier processes left goes now.
    for entry in fs::read_dir(PLACE)
        .expect("the folder of tests")
        .filter_map(Result::ok)
    {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
    Node::in_folder(
        tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir_in(PLACE)
            .expect("a folder"),
        |_| {},
    )
});
const PLACE: &str = env!("CARGO_TARGET_TMPDIR");
const PREFIX: &str = "engines-node-";

/// A node's engines and folders.
pub(super) struct Node {
    pub(super) engines: Engines,
    folder: TempDir,
}

impl Node {
    pub(super) fn new(change: impl FnOnce(&mut EnginesConfig)) -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"), change)
    }

    fn in_folder(folder: TempDir, change: impl FnOnce(&mut EnginesConfig)) -> Self {
        for name in ["shown", "shared", "runners"] {
            fs::create_dir(folder.path().join(name)).expect("a folder");
        }
        fs::write(folder.path().join("shown/greeting.txt"), "hello from the host\n").expect("written");
        for (name, mode) in [("", 0o755), ("shown", 0o755), ("shared", 0o777)] {
            allow(&folder.path().join(name), mode);
        }
        let mut config = config(folder.path());
        change(&mut config);
        Self {
            engines: Engines::new(config),
            folder,
        }
    }

    /// The folder that unrestricted runs may write, as the host sees it; they see it as `/shared`.
    pub(super) fn shared(&self) -> PathBuf {
        self.folder.path().join("shared")
    }

    /// Executes an order and returns its ending and the text of its outputs.
    pub(super) fn run(&self, order: Order) -> Ended {
        RUNTIME.block_on(self.start(order, &CancellationToken::new()))
    }

    pub(super) async fn start(&self, order: Order, cancel: &CancellationToken) -> Ended {
        let ended = self.start_if(order, cancel, || true).await;
        ended.expect("it may begin")
    }

    pub(super) async fn start_if(
        &self,
        order: Order,
        cancel: &CancellationToken,
        may_begin: impl Fn() -> bool,
    ) -> Option<Ended> {
        let folder = tempfile::tempdir().expect("a folder");
        let policy = order
            .1
            .unwrap_or_else(|| Arc::clone(&self.engines.config().unrestricted));
        let order = RunOrder {
            folder: folder.path().to_owned(),
            policy,
            ..order.0
        };
        let ending = self.engines.run_if(&order, cancel, may_begin).await?;
        let read = |path: &Path| fs::read_to_string(path).expect("an output that was promised");
        let outputs = ending
            .outputs
            .iter()
            .map(|output| (output.name.clone(), read(&output.path)))
            .collect();
        let schema = ending.schema.as_deref().map(read).unwrap_or_default();
        Some(Ended {
            ending,
            outputs,
            schema,
        })
    }
}

/// Lets the users of runs read a folder and its file.
pub(super) fn open_to_all(folder: &Path, file: &Path) {
    for path in [folder, file] {
        allow(path, 0o755);
    }
}

pub(super) fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("permissions");
}

fn config(folder: &Path) -> EnginesConfig {
    let debug = std::env::current_exe()
        .expect("this test's path")
        .ancestors()
        .nth(2)
        .map(Path::to_owned);
    let debug = debug.expect("a test lies in target/debug/deps");
    let built = |path: PathBuf, how: &str| {
        assert!(path.exists(), "{} is missing; run: {how}", path.display());
        path
    };
    let python = debug
        .parent()
        .expect("debug lies in target")
        .join("engines/python");
    let mount = |name: &str, writable| Mount {
        source: folder.join(name),
        target: Path::new("/").join(name),
        writable,
        by_policy: false,
    };
    // Runs get ids of their own wherever the test may give them.
    let root = rustix::process::geteuid().is_root();
    EnginesConfig {
        jail: built(debug.join("muster-jail"), "cargo build -p muster-sandbox"),
        lock_library: built(debug.join("libmuster_lock.so"), "cargo build -p muster-sandbox"),
        runners: folder.join("runners"),
        r_home: built("/usr/lib/R".into(), "apt-get install r-base-core r-cran-jsonlite"),
        python: built(python, "packaging/engines/make-venv.sh"),
        terr: None,
        r_packages: Vec::new(),
        python_packages: vec!["numpy".into(), "pandas".into()],
        ids: root.then_some(IdRange {
            first: 300_000,
            count: 64,
        }),
        unrestricted: Arc::new(RunPolicy {
            shown: vec![mount("shown", false), mount("shared", true)],
            network: NetworkPolicy::Host,
            ..RunPolicy::default()
        }),
        guarded: vec![folder.join("guarded")],
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

/// Waits until a run shows that it prints `wanted`, and gives all that it showed until then.
pub(super) async fn shows(live: &Live, wanted: &str) -> (String, Option<muster_engines::Progress>) {
    let (mut shown, mut progress) = (Vec::new(), None);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_mins(1);
    loop {
        let news = live.news(usize::MAX);
        live.acknowledge(&news);
        news.pieces.iter().for_each(|piece| shown.extend(&piece.bytes));
        progress = news.progress.or(progress);
        let text = String::from_utf8_lossy(&shown).into_owned();
        if text.contains(wanted) {
            return (text, progress);
        }
        assert!(tokio::time::Instant::now() < deadline, "it shows {text:?} only");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}

fn service() -> Service {
    Service {
        limits: default_limits(),
        queue: 1,
        sessions: 4,
        pruning: Pruning::default(),
        package_path: None,
        startup_hook: None,
    }
}

/// An order under construction.
pub(super) struct Order(RunOrder, Option<Arc<RunPolicy>>);

impl Order {
    pub(super) fn live(&self) -> Live {
        self.0.live.clone()
    }
}

pub(super) fn order(engine: EngineKind, mode: Mode, script: &str) -> Order {
    let order = RunOrder {
        engine,
        mode,
        policy: Arc::default(),
        script: script.to_owned(),
        inputs: Vec::new(),
        outputs: Vec::new(),
        trace: false,
        limits: Limits {
            wall_ms: 60_000,
            ..default_limits()
        },
        session: None,
        folder: PathBuf::new(),
        live: Live::default(),
    };
    Order(order, None)
}

impl Order {
    /// Under this policy instead of the node's own file.
    pub(super) fn under(mut self, policy: RunPolicy) -> Self {
        self.1 = Some(Arc::new(policy));
        self
    }

    pub(super) fn input(mut self, name: &str, kind: Shape, format: Format, data: impl AsRef<[u8]>) -> Self {
        self.0.inputs.push(Input {
            name: name.to_owned(),
            kind,
            format,
            types: BTreeMap::new(),
            data: Some(Data::Bytes(data.as_ref().to_vec())),
        });
        self
    }

    /// Says the type of a column of the last input.
    pub(super) fn with_type(mut self, column: &str, kind: &str) -> Self {
        let input = self.0.inputs.last_mut().expect("an input");
        input.types.insert(column.to_owned(), kind.to_owned());
        self
    }

    pub(super) fn file(mut self, name: &str, path: &Path) -> Self {
        self = self.input(name, Table, Csv, "");
        self.0.inputs.last_mut().expect("an input").data = Some(Data::File(path.to_owned()));
        self
    }

    pub(super) fn absent(mut self, name: &str) -> Self {
        self = self.input(name, Table, Csv, "");
        self.0.inputs.last_mut().expect("an input").data = None;
        self
    }

    pub(super) fn output(mut self, name: &str, kind: Shape, format: Format) -> Self {
        self.0.outputs.push(OutputSpec {
            name: name.to_owned(),
            kind,
            format,
        });
        self
    }

    /// As a run of this session.
    pub(super) fn session(mut self, owner: &str) -> Self {
        self.0.session = Some(owner.to_owned());
        self
    }

    pub(super) fn traced(mut self) -> Self {
        self.0.trace = true;
        self
    }

    pub(super) fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.0.limits);
        self
    }
}

/// A run that is over.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) ending: RunEnding,
    pub(super) outputs: BTreeMap<String, String>,
    pub(super) schema: String,
}

impl Ended {
    pub(super) fn succeeded(self) -> Self {
        assert_eq!(
            self.ending.outcome,
            Outcome::Succeeded,
            "stdout: {}\nstderr: {}",
            self.stdout(),
            String::from_utf8_lossy(&self.ending.stderr.bytes)
        );
        self
    }

    pub(super) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.ending.stdout.bytes).into_owned()
    }

    pub(super) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.ending.stderr.bytes).into_owned()
    }

    pub(super) fn words(&self) -> String {
        self.ending.in_words(Cure::Trust("F"))
    }

    pub(super) fn overstep(&self) -> &str {
        match &self.ending.outcome {
            Outcome::RestrictedCall { what } => what,
            other => panic!("no overstep but {other:?}; stdout: {}", self.stdout()),
        }
    }
}
