//! A real node: `muster-node` with the jail and the engines, in a folder of its own.

use std::{
    fmt::Write as _,
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use muster_client::Request;
use muster_ids::{Digest, RunId};
use serde_json::{Value, json};

use crate::{
    Server,
    process::{self, Process, program, until, within},
    server::free_port,
};

/// Host ids for each node's runs.
const IDS: u32 = 64;
/// Host ids that belong to nobody by systemd's convention (UIDS-GIDS), and the first that a launcher may give, for machines
/// with fewer ids.
const FIRST_IDS: [u32; 2] = [2_000_000_000, 65_536];
/// A join takes two polls; an engine's first start on a loaded machine takes seconds.
const PATIENCE: Duration = Duration::from_mins(1);

/// A node that runs the real agent.
pub struct RealNode {
    folder: PathBuf,
    name: String,
    operations: SocketAddr,
    process: Mutex<Process>,
}

impl RealNode {
    /// Joins a new node to `pool` by its code and starts it; returns when it is connected.
    pub async fn start(server: &Server, pool: &str) -> Self {
        let node = Self::folder(server, pool, server.root());
        node.join(server, &[]).await;
        node.run(&[]);
        node.connected(server).await;
        node
    }

    /// A node with its configuration, which pins `root`; nothing of it runs yet.
    pub fn folder(server: &Server, pool: &str, root: Digest) -> Self {
        Self::towards(server.registration(), pool, Some(root), process::folder("node"))
    }

    /// A node in `folder` that asks at `registration` to be let in, with the CA fingerprint that it pins, if any.
    pub fn towards(registration: SocketAddr, pool: &str, pin: Option<Digest>, folder: PathBuf) -> Self {
        let name = crate::unique("node");
        let port = free_port();
        let text = configuration(registration, &folder, &name, pool, pin, port);
        fs::write(folder.join("node.toml"), text).expect("write the configuration");
        // In place of a program that is not started yet.
        let idle = Process::start(Path::new("true"), [""; 0], &[], &folder.join("log"));
        Self {
            folder,
            name,
            operations: SocketAddr::from(([127, 0, 0, 1], port)),
            process: Mutex::new(idle),
        }
    }

    /// Where a join token of it would lie.
    pub fn token_file(&self) -> PathBuf {
        self.folder.join("join.token")
    }

    /// From now on its join token proves the control plane, and no pin does.
    pub fn rely_on_token(&self) {
        let file = self.folder.join("node.toml");
        let text = fs::read_to_string(&file).expect("its configuration");
        let (before, after) = text.split_once("ca_fingerprint = ").expect("a pin");
        let (_, after) = after.split_once('\n').expect("a line");
        let token = self.token_file();
        let text = format!("{before}token_file = \"{}\"\n{after}", token.display());
        fs::write(file, text).expect("write the configuration");
    }

    /// Puts `after` in place of `before` in its configuration, for its next start.
    pub fn configure(&self, before: &str, after: &str) {
        let file = self.folder.join("node.toml");
        let text = fs::read_to_string(&file).expect("its configuration");
        assert!(text.contains(before), "{before} is in {text}");
        fs::write(file, text.replacen(before, after, 1)).expect("write the configuration");
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `host:port` of its operations listener.
    pub fn operations(&self) -> SocketAddr {
        self.operations
    }

    /// The running program.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that its agent has written.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Joins by its code, which an administrator reads on the node.
    pub async fn join(&self, server: &Server, environment: &[(&str, &str)]) {
        self.begin("join", environment);
        let code = until("the node shows its code", async || self.code()).await;
        approve(server, &code).await;
        let status = within(PATIENCE, "the join ends", async || self.process().ended()).await;
        assert!(status.success(), "the join failed: {}", self.log());
    }

    /// The newest code that the node shows.
    pub fn code(&self) -> Option<String> {
        let log = self.log();
        let code = log
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("Verification code:"))?;
        Some(code.trim().to_owned())
    }

    /// Starts the service.
    pub fn run(&self, environment: &[(&str, &str)]) {
        self.begin("run", environment);
    }

    /// Starts a command in place of what ran before.
    pub fn begin(&self, command: &str, environment: &[(&str, &str)]) {
        let mut process = self.process();
        process.kill();
        *process = Process::start(
            &program("muster-node"),
            self.arguments(command),
            environment,
            &self.folder.join("log"),
        );
    }

    /// The folder of its key and everything else that it keeps.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What another command of `muster-node` says, with its exit status.
    pub fn command(&self, command: &str) -> (bool, String) {
        let mut arguments = self.arguments("");
        arguments.pop();
        arguments.extend(command.split(' ').map(str::to_owned));
        let output = process::run(&program("muster-node"), arguments);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// `muster-node status` as programs read it.
    pub fn status(&self) -> Value {
        let mut arguments = self.arguments("status");
        arguments.extend(["--output".to_owned(), "json".to_owned()]);
        let output = process::run(&program("muster-node"), arguments);
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// Its identity on disk.
    pub fn identity(&self) -> PathBuf {
        self.folder.join("state/identity.json")
    }

    /// Waits until it is connected and ready.
    pub async fn connected(&self, server: &Server) {
        within(PATIENCE, "the node is connected", async || {
            let ended = self.process().ended();
            assert!(ended.is_none(), "the agent ended ({ended:?}): {}", self.log());
            let operations = server.try_plain(self.operations).await.ok()?;
            operations.send(Request::get("/readyz")).await.ok().map(drop)
        })
        .await;
    }

    /// Results that the control plane has not acknowledged yet.
    pub fn waiting_results(&self) -> u64 {
        self.status()["agent"]["unacknowledged"]
            .as_u64()
            .unwrap_or_default()
    }

    /// Whether it has stored that it claimed this run.
    pub fn holds_claim(&self, run: RunId) -> bool {
        let claims = fs::read_dir(self.state_dir().join("spool")).into_iter().flatten();
        claims.filter_map(Result::ok).any(|claim| {
            let of_run = claim.file_name().to_string_lossy().starts_with(&run.to_string());
            of_run && claim.path().join("claim.json").exists()
        })
    }

    fn arguments(&self, command: &str) -> Vec<String> {
        let file = self.folder.join("node.toml").to_string_lossy().into_owned();
        vec!["--config".to_owned(), file, command.to_owned()]
    }
}

/// Approves the waiting request with this code.
pub async fn approve(server: &Server, code: &str) {
    /// Fewer than cost an administrator a pause: a node may show its code before its request is there.
    const MISSES: u32 = 8;
    let body = json!({ "code": code });
    let (mut admin, mut misses) = (server.administrator().await, 0);
    let mut seen = Value::Null;
    let found = until("the request waits", async || {
        // A code is looked for only when other requests wait than before.
        let page: Value = admin.get("/api/v1/joins?state=pending&limit=1000").await;
        let ids: Vec<&Value> = page["items"].as_array()?.iter().map(|join| &join["id"]).collect();
        let ids = json!(ids);
        if ids == seen {
            return None;
        }
        seen = ids;
        if misses == MISSES {
            (admin, misses) = (server.administrator().await, 0);
        }
        misses += 1;
        admin.post("/api/v1/joins/match", &body).await.ok()
    })
    .await;
    let id = found["id"].as_str().expect("an identifier").to_owned();
    admin
        .tell(&["joins", &id, "approve"], &body)
        .await
        .unwrap_or_else(|error| panic!("the approval was refused: {error}"));
}

fn configuration(
    registration: SocketAddr,
    folder: &Path,
    name: &str,
    pool: &str,
    pin: Option<Digest>,
    operations: u16,
) -> String {
    let jail = program("muster-jail");
    let programs = jail.parent().expect("target/debug");
    let python = programs.parent().expect("target").join("engines/python");
    assert!(
        python.join("bin/python").exists(),
        "{} is missing; make it first: packaging/engines/make-venv.sh {0}",
        python.display()
    );
    let pin = pin.map_or_else(String::new, |pin| format!("ca_fingerprint = [\"{pin}\"]\n"));
    let mut text = format!(
        "[node]\nname = \"{name}\"\npool = \"{pool}\"\nstate_dir = \"{}\"\n\
         [control_plane]\nregistration = [\"http://{registration}\"]\n\
         [join]\n{pin}\
         [engines]\npython = \"{}\"\n\
         [operations]\nlisten = \"127.0.0.1:{operations}\"\n\
         [log]\nformat = \"text\"\n\
         [jail]\nprogram = \"{}\"\nlock_library = \"{}\"\n",
        folder.join("state").display(),
        python.display(),
        jail.display(),
        program("libmuster_lock.so").display()
    );
    if fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0) {
        // Writing into a String cannot fail.
        let _ = write!(text, "id_first = {}\nid_count = {IDS}\n", free_ids());
    }
    text
}

/// Host ids that this machine's root can give away and that no other node of this process has.
fn free_ids() -> u32 {
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    let offset = TAKEN.fetch_add(1, Ordering::Relaxed) * IDS;
    let map = fs::read_to_string("/proc/self/uid_map").expect("the ids of this machine");
    let ranges: Vec<(u64, u64)> = map
        .lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace().map(str::parse::<u64>);
            let (inside, _, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
            Some((inside, inside + count))
        })
        .collect();
    FIRST_IDS
        .into_iter()
        .map(|first| first + offset)
        .find(|first| {
            ranges
                .iter()
                .any(|(begin, end)| *begin <= u64::from(*first) && u64::from(first + IDS) <= *end)
        })
        .expect("this root has a range of user ids for runs (see /proc/self/uid_map)")
}
