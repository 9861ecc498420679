//! A real control plane: `muster-server init` and `serve` in a folder of its own, on ports of its own.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::{
        Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use muster_client::{ClientError, Connection, Endpoint, Limits, Transport};
use muster_daemon::{Clock, seal, secret::SecretFile};
use muster_ids::Digest;
use muster_pki::{CertificateDer, KeyUse, Roots, SoftwareSigner, pem};

use crate::{
    Person, Sqlite,
    process::{self, Process, program, until},
};

/// How long a control plane may take until it is ready.
const READY: Duration = Duration::from_mins(1);
/// The password of everybody that the harness makes.
pub const PASSWORD: &str = "correct horse battery staple";

/// What a test wants otherwise than the shared control plane has it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// In place of SQLite in the state folder.
    pub database_url: Option<String>,
    /// Join offers a second; the shared one has more than tests can use up.
    pub offers_per_second: u64,
    /// The front end's own certificate and key.
    pub front_end: Option<(PathBuf, PathBuf)>,
    /// Further settings of joins: lines of the section `[join]`, and sections after it.
    pub join: String,
    /// Further settings of runs: lines of the section `[runs]`.
    pub runs: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            database_url: None,
            offers_per_second: 100_000,
            front_end: None,
            // All nodes of the tests wait at one address.
            join: "pending_per_address = 100000\npending_per_prefix = 100000\npending_total = 100000\n"
                .to_owned(),
            runs: String::new(),
        }
    }
}

/// The folder of a control plane that was not made yet.
pub struct Blank {
    folder: PathBuf,
    ports: [u16; 4],
}

impl Blank {
    /// A folder with a configuration.
    pub fn new(settings: &Settings) -> Self {
        let folder = process::folder("server");
        let ports = [(); 4].map(|()| free_port());
        fs::write(
            folder.join("server.toml"),
            configuration(&folder, ports, settings),
        )
        .expect("write the configuration");
        Self { folder, ports }
    }

    /// Where its database and its keys will be.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// `muster-server init`: how it ended, and what it said.
    pub fn init(&self, environment: &[(&str, &str)]) -> (ExitStatus, String) {
        let arguments = arguments(&self.folder, "init");
        let output = process::run_with(&program("muster-server"), arguments, environment);
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8_lossy(&said).into_owned())
    }

    /// What another command says, and whether it is content.
    pub fn command(&self, command: &str) -> (bool, String) {
        let output = process::run_with(&program("muster-server"), arguments(&self.folder, command), &[]);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// Starts the control plane of which `init` said this.
    pub fn serve(self, said: &str) -> Server {
        self.serve_in(said, &[])
    }

    /// As [`Self::serve`], in this environment.
    pub fn serve_in(self, said: &str, environment: &[(&str, &str)]) -> Server {
        let root = said
            .lines()
            .find_map(|line| line.strip_prefix("CA fingerprint: ")?.trim().parse().ok())
            .expect("init says the CA fingerprint");
        let server = Server {
            process: Mutex::new(serve(&self.folder, environment)),
            folder: self.folder,
            ports: self.ports,
            root,
            session: tokio::sync::Mutex::default(),
        };
        server.wait_ready();
        server
    }
}

/// A control plane that runs.
pub struct Server {
    folder: PathBuf,
    ports: [u16; 4],
    root: Digest,
    process: Mutex<Process>,
    /// The session of the first administrator.
    session: tokio::sync::Mutex<Option<String>>,
}

impl Server {
    /// The control plane that most tests share. Tests keep to nodes, pools, users and functions of their own there.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(&Settings::default()))
    }

    /// A control plane for one test.
    pub fn private() -> Self {
        Self::start(&Settings::default())
    }

    /// A control plane for one test.
    pub fn start(settings: &Settings) -> Self {
        let blank = Blank::new(settings);
        let (status, said) = blank.init(&[]);
        assert!(status.success(), "init failed: {said}");
        blank.serve(&said)
    }

    /// `kill -9`.
    pub fn kill(&self) {
        self.process().kill();
    }

    /// Asks it to end, and waits until it has.
    pub async fn terminate(&self) -> ExitStatus {
        self.process().ask_to_end();
        self.exit().await
    }

    /// Waits until it ends by itself.
    pub async fn exit(&self) -> ExitStatus {
        until("the control plane ends", async || self.process().ended()).await
    }

    /// Starts it again after [`Self::kill`] or an end, and waits until it is ready.
    pub fn restart(&self) {
        self.begin(&[]);
        self.wait_ready();
    }

    /// As [`Self::restart`], in this environment.
    pub fn restart_in(&self, environment: &[(&str, &str)]) {
        self.begin(environment);
        self.wait_ready();
    }

    /// As [`Self::restart`], in this environment and without waiting.
    pub fn begin(&self, environment: &[(&str, &str)]) {
        let mut process = self.process();
        process.kill();
        *process = serve(&self.folder, environment);
    }

    /// A copy of this control plane with ports of its own, as somebody makes one by mistake. Neither runs.
    pub fn twin(&self) -> Self {
        self.kill();
        let blank = Blank::new(&Settings::default());
        let copied = process::run(
            Path::new("cp"),
            [
                "-a".to_owned(),
                self.state_dir().to_string_lossy().into_owned(),
                blank.folder.join("state").to_string_lossy().into_owned(),
            ],
        );
        assert!(copied.status.success(), "the state is copied");
        let idle = Process::start(Path::new("true"), [""; 0], &[], &blank.folder.join("log"));
        Self {
            process: Mutex::new(idle),
            folder: blank.folder,
            ports: blank.ports,
            root: self.root,
            session: tokio::sync::Mutex::default(),
        }
    }

    /// The running program.
    pub fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let id = self.process().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let size = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok());
        size.expect("a running program has resident memory")
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// The fingerprint that nodes pin.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// Adds sections to its configuration, for its next start.
    pub fn configure(&self, text: &str) {
        let file = self.folder.join("server.toml");
        let before = fs::read_to_string(&file).expect("the configuration");
        fs::write(file, before + text).expect("write the configuration");
    }

    /// The folder of keys, blobs and database.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// Its SQLite database.
    pub fn database(&self) -> Sqlite {
        Sqlite::of(&self.state_dir())
    }

    /// What another command of `muster-server` says on this configuration, with its exit status.
    pub fn command(&self, command: &str) -> (bool, String) {
        self.command_in(command, &[])
    }

    /// As [`Self::command`], in this environment.
    pub fn command_in(&self, command: &str, environment: &[(&str, &str)]) -> (bool, String) {
        let mut with = arguments(&self.folder, "");
        with.pop();
        with.extend(command.split(' ').map(str::to_owned));
        let output = process::run_with(&program("muster-server"), with, environment);
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.success(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    }

    /// `host:port` of the registration listener.
    pub fn registration(&self) -> SocketAddr {
        self.address(0)
    }

    /// `host:port` of the back end.
    pub fn back_end(&self) -> SocketAddr {
        self.address(1)
    }

    /// `host:port` of the front end.
    pub fn front_end(&self) -> SocketAddr {
        self.address(2)
    }

    /// `host:port` of the operations listener.
    pub fn operations(&self) -> SocketAddr {
        self.address(3)
    }

    /// A new connection to the registration or the operations listener.
    pub async fn plain(&self, address: SocketAddr) -> Connection {
        self.try_plain(address)
            .await
            .expect("a plain listener takes connections")
    }

    /// As [`Self::plain`], but the listener may be gone.
    pub async fn try_plain(&self, address: SocketAddr) -> Result<Connection, ClientError> {
        let endpoint: Endpoint = format!("http://{address}").parse().expect("an endpoint");
        Transport::plain(Limits::default()).connect(&endpoint).await
    }

    /// The roots of the collective.
    pub fn roots(&self) -> Roots {
        Roots::new(self.certificates("root.pem")).expect("the roots of init")
    }

    /// The certificates of a file among the control plane's keys.
    pub fn certificates(&self, name: &str) -> Vec<CertificateDer<'static>> {
        pem::certificates(&self.key_file(name)).expect("certificates in PEM")
    }

    /// A key of the control plane: what a thief of its state folder has.
    pub fn key(&self, name: &str, key_use: KeyUse) -> SoftwareSigner {
        let keys = self.state_dir().join("keys");
        let master = SecretFile::at(keys.join("master.key"))
            .read_key()
            .expect("the master key");
        let place = self.key_place(name);
        let sealed = fs::read(keys.join(&place)).expect("a file of the control plane");
        let key = seal::open(&master, &place, &sealed).expect("a sealed key");
        SoftwareSigner::from_pkcs8(&key, key_use).expect("a key on P-256")
    }

    fn key_file(&self, name: &str) -> Vec<u8> {
        let keys = self.state_dir().join("keys");
        fs::read(keys.join(self.key_place(name))).expect("a file of the control plane")
    }

    /// Where a file lies below the folder of keys: there, or in the folder of the first authority.
    fn key_place(&self, name: &str) -> String {
        if self.state_dir().join("keys").join(name).exists() {
            name.to_owned()
        } else {
            format!("{}/{name}", &self.root.hex()[..16])
        }
    }

    /// The first administrator.
    pub async fn admin(&self) -> Person {
        let mut session = self.session.lock().await;
        let token = if let Some(token) = &*session {
            token.clone()
        } else {
            let password =
                fs::read_to_string(self.state_dir().join("admin-password")).expect("init writes it");
            Person::log_in(self, "admin@SPOTFIRE", password.trim())
                .await
                .token()
                .to_owned()
        };
        Person::with_token(self, "admin@SPOTFIRE", session.insert(token))
    }

    /// All sessions have ended: the first administrator logs in again when asked for.
    pub async fn sessions_ended(&self) {
        *self.session.lock().await = None;
    }

    /// Another administrator.
    pub async fn administrator(&self) -> Person {
        self.person(&["Administrator"]).await
    }

    /// A user who may not do more than everybody.
    pub async fn analyst(&self) -> Person {
        self.person(&[]).await
    }

    /// A Script Author, who may also register functions.
    pub async fn author(&self) -> Person {
        let registrars = self.registrars().await;
        self.person(&["Script Author", &registrars]).await
    }

    /// A user who may register functions but not trust them.
    pub async fn registrar(&self) -> Person {
        let registrars = self.registrars().await;
        self.person(&[&registrars]).await
    }

    /// A new user in these groups, logged in.
    pub async fn person(&self, groups: &[&str]) -> Person {
        let admin = self.admin().await;
        let name = format!("{}@SPOTFIRE", crate::unique("user"));
        admin.create_user(&name, PASSWORD).await;
        for group in groups {
            admin.add_member(group, &name).await;
        }
        Person::log_in(self, &name, PASSWORD).await
    }

    /// A new join token: the text with the secret.
    pub async fn join_token(&self, wishes: &serde_json::Value) -> String {
        let new = self.admin().await.post("/api/v1/join-tokens", wishes).await;
        let new = new.unwrap_or_else(|error| panic!("no join token could be made: {error}"));
        new["token"].as_str().expect("a text").to_owned()
    }

    /// A new pool.
    pub async fn pool(&self) -> String {
        let name = crate::unique("pool");
        self.admin().await.create("/api/v1/pools", &name).await;
        name
    }

    /// A new site.
    pub async fn site(&self) -> String {
        let name = crate::unique("site");
        self.admin().await.create("/api/v1/sites", &name).await;
        name
    }

    /// A new group with the license features that saving a function needs.
    async fn registrars(&self) -> String {
        let name = crate::unique("registrars");
        let admin = self.admin().await;
        admin.create("/api/v1/groups", &name).await;
        for feature in ["Author Scripts", "Register Data Functions"] {
            admin.put_empty(&["groups", &name, "licenses", feature]).await;
        }
        name
    }

    fn address(&self, listener: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[listener]))
    }

    /// Waits until it answers after [`Self::begin`].
    pub fn wait_ready(&self) {
        let clock = Clock::system();
        let begin = clock.boot();
        while !is_ready(self.operations()) {
            let ended = self.process().ended();
            assert!(
                ended.is_none() && clock.boot().saturating_sub(begin) < READY,
                "the control plane did not become ready ({ended:?}):\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn serve(folder: &Path, environment: &[(&str, &str)]) -> Process {
    Process::start(
        &program("muster-server"),
        arguments(folder, "serve"),
        environment,
        &folder.join("log"),
    )
}

fn arguments(folder: &Path, command: &str) -> Vec<String> {
    let file = folder.join("server.toml").to_string_lossy().into_owned();
    vec!["--config".to_owned(), file, command.to_owned()]
}

fn configuration(folder: &Path, ports: [u16; 4], settings: &Settings) -> String {
    let [registration, back_end, front_end, operations] = ports;
    let state = folder.join("state");
    let database = settings
        .database_url
        .as_ref()
        .map(|url| format!("[database]\nurl = \"{url}\"\n"))
        .unwrap_or_default();
    let own = settings
        .front_end
        .as_ref()
        .map(|(certificate, key)| {
            format!(
                "certificate = \"{}\"\nkey = \"{}\"\n",
                certificate.display(),
                key.display()
            )
        })
        .unwrap_or_default();
    format!(
        "[server]\nstate_dir = \"{}\"\n{database}\
         [registration]\nlisten = \"127.0.0.1:{registration}\"\n\
         [back_end]\nlisten = \"127.0.0.1:{back_end}\"\n\
         [front_end]\nlisten = \"127.0.0.1:{front_end}\"\n{own}\
         [operations]\nlisten = \"127.0.0.1:{operations}\"\n\
         [runs]\nmax_input_mib = 1\n{}\
         [log]\nformat = \"json\"\nlevels = \"info,muster_app=debug,muster_server=debug\"\n\
         [join]\noffers_per_second = {}\n{}",
        state.display(),
        settings.runs,
        settings.offers_per_second,
        settings.join
    )
}

/// A port below those that the kernel gives to outgoing connections, so that none of these takes it meanwhile.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = u16::try_from(std::process::id() % 1000).expect("below 1000") * 12;
    loop {
        let port = 12_000 + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

fn is_ready(address: SocketAddr) -> bool {
    let mut said = String::new();
    let asked = TcpStream::connect(address).and_then(|mut stream| {
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        stream.read_to_string(&mut said)
    });
    asked.is_ok() && said.starts_with("HTTP/1.1 200")
}
