//! Programs under test: found beside the test, watched, and ended with it.
//!
//! Invariant: no process outlives the test binary, however that ends. The kernel kills a child when the thread that
//! started it ends, so one thread that lives as long as the binary starts all of them.

use std::{
    ffi::OsString,
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufRead as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, OnceLock, PoisonError, mpsc},
    time::Duration,
};

use muster_daemon::Clock;

/// How long a condition is waited for unless a test says otherwise: many times what a loaded machine needs.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition that tells nobody when it changes.
const LOOK: Duration = Duration::from_millis(20);
/// Lines of a log that a failure shows.
const SHOWN: usize = 60;

/// The program of this name, which cargo put beside the tests.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own program");
    let folder = test
        .parent()
        .and_then(Path::parent)
        .expect("tests are in target/<profile>/deps");
    let program = folder.join(name);
    assert!(
        program.exists(),
        "{} is missing; build the programs first: cargo build --workspace",
        program.display()
    );
    program
}

/// Fails unless the program of this name has the points at which `MUSTER_CRASH_AT` kills it; `.ci/test` builds all
/// programs so.
pub fn needs_crash_points(name: &str) {
    const MARK: &[u8] = b"MUSTER_CRASH_AT";
    let bytes = fs::read(program(name)).expect("the program can be read");
    assert!(
        bytes.windows(MARK.len()).any(|window| window == MARK),
        "{name} was built without crash points; build the programs with them: \
         cargo build --workspace --features muster-server/crash-points,muster-agent/crash-points"
    );
}

/// A running program whose output goes to a log file.
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; its output is added to `log`.
    pub fn start<A: Into<OsString>>(
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
        environment: &[(&str, &str)],
        log: &Path,
    ) -> Self {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log file can be made");
        let errors = output.try_clone().expect("a second handle of the log file");
        let name = program
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut command = tied(program);
        command
            .args(arguments.into_iter().map(Into::into))
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors);
        let child = spawn(command).unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
        watch_log(log);
        Self {
            child,
            name,
            log: log.to_owned(),
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything that it has written.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its exit status, once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// `kill -9`, and waits for the end.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// SIGTERM.
    pub fn ask_to_end(&self) {
        let id = i32::try_from(self.child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        let _ = rustix::process::kill_process(id.expect("a process id"), rustix::process::Signal::TERM);
    }

    /// SIGTERM; its exit status.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.ask_to_end();
        self.exit().await
    }

    /// Waits until it ends by itself.
    pub async fn exit(&mut self) -> ExitStatus {
        let name = self.name.clone();
        until(&format!("{name} ends"), async || self.ended()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs `program` to its end.
pub(crate) fn run<A: Into<OsString>>(program: &Path, arguments: impl IntoIterator<Item = A>) -> Output {
    run_with(program, arguments, &[])
}

/// Runs a program of the machine in this environment: whether it succeeded, and what it said.
pub fn run_program_in(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> (bool, String) {
    let output = run_with(Path::new(name), arguments.iter().copied(), environment);
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

/// Runs a program of the product to its end: exit code, standard output and standard error.
pub fn run_program(name: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = run(&program(name), arguments);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs `program` to its end in this environment.
pub(crate) fn run_with<A: Into<OsString>>(
    program: &Path,
    arguments: impl IntoIterator<Item = A>,
    environment: &[(&str, &str)],
) -> Output {
    let mut command = tied(program);
    command
        .args(arguments.into_iter().map(Into::into))
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    spawn(command)
        .and_then(Child::wait_with_output)
        .unwrap_or_else(|error| panic!("{} cannot be run: {error}", program.display()))
}

/// Begins a program of the product and kills it (`kill -9`) when it has complained this many lines. It gets no further than
/// a pipe (64 KiB) holds beyond them.
pub(crate) fn run_and_kill(name: &str, arguments: &[&str], lines: usize) -> Vec<String> {
    let mut command = tied(&program(name));
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = spawn(command).unwrap_or_else(|error| panic!("{name} cannot be started: {error}"));
    let said = child.stderr.take().expect("its standard error is a pipe");
    let said: Vec<String> = io::BufReader::with_capacity(512, said)
        .lines()
        .take(lines)
        .map(|line| line.expect("text"))
        .collect();
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(said.len(), lines, "{name} ended by itself: {said:?}");
    said
}

/// Looks at `condition` until it gives something.
pub async fn until<T>(what: &str, condition: impl AsyncFnMut() -> Option<T>) -> T {
    within(PATIENCE, what, condition).await
}

/// Looks at `condition` until it gives something, at most for `patience`.
pub async fn within<T>(patience: Duration, what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let clock = Clock::system();
    let begin = clock.boot();
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(
            clock.boot().saturating_sub(begin) < patience,
            "waited {} s in vain until {what}",
            patience.as_secs()
        );
        tokio::time::sleep(LOOK).await;
    }
}

/// `program` as a command that the kernel kills when the thread that spawns it ends.
#[expect(clippy::disallowed_methods, reason = "tests start the programs under test")]
fn tied(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

type Order = (Command, mpsc::Sender<io::Result<Child>>);

fn spawn(command: Command) -> io::Result<Child> {
    static STARTER: OnceLock<Mutex<mpsc::Sender<Order>>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (orders, received) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, reply) in received {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, child) = mpsc::channel();
    let starter = starter.lock().unwrap_or_else(PoisonError::into_inner).clone();
    starter.send((command, reply)).expect("the starting thread lives");
    child.recv().expect("the starting thread answers")
}

/// A folder that goes away with this process.
pub fn folder(word: &str) -> PathBuf {
    static ROOT: OnceLock<(PathBuf, Child)> = OnceLock::new();
    let (root, _) = ROOT.get_or_init(|| {
        let root = std::env::temp_dir().join(crate::unique("muster-system"));
        fs::create_dir_all(&root).expect("a folder for the tests");
        (root.clone(), remover(&root))
    });
    let folder = root.join(crate::unique(word));
    fs::create_dir_all(&folder).expect("a folder for a test");
    folder
}

/// Again while programs that are just being killed still write.
const REMOVE: &str = r#"
trap '' INT TERM
cat >/dev/null
for try in 1 2 3 4 5 6 7 8 9; do
    rm -rf "$1" && exit
    sleep 0.2
done
"#;

/// Removes `root` when the pipe from this process closes, which happens however it ends.
#[expect(clippy::disallowed_methods, reason = "tests tidy up after themselves")]
fn remover(root: &Path) -> Child {
    Command::new("sh")
        .args(["-c", REMOVE, "sh"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a shell starts")
}

/// From now on the first failing test shows the ends of all logs.
fn watch_log(log: &Path) {
    static LOGS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    static HOOK: OnceLock<()> = OnceLock::new();
    let mut logs = LOGS.lock().unwrap_or_else(PoisonError::into_inner);
    if !logs.iter().any(|known| known == log) {
        logs.push(log.to_owned());
    }
    drop(logs);
    HOOK.get_or_init(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let logs: Vec<PathBuf> = LOGS
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .drain(..)
                .collect();
            show(&logs);
        }));
    });
}

#[expect(
    clippy::print_stderr,
    reason = "this is where a failed test shows what the programs said"
)]
fn show(logs: &[PathBuf]) {
    let mut shown = String::new();
    for log in logs {
        let text = String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
        let _ = writeln!(shown, "--- the end of {}:\n{end}", log.display());
    }
    eprintln!("{shown}");
}
