//! Jails with the probe engine, and what can be seen of them from outside.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    net::TcpListener,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use muster_lock::{
    client::{self, Launcher, Outcome, Run},
    protocol::{IdRange, Limits, Mode, Mount, Network, Programs, Stage, StagedFile, Start},
};

/// The first host id that the package keeps for runs.
const PACKAGE_IDS: u32 = 2_046_820_352;

/// The one who is nobody on every Linux system.
pub(crate) const NOBODY: u32 = 65534;

/// The launcher under test.
pub(crate) fn program() -> PathBuf {
    built("muster-jail")
}

/// A file that cargo built beside the tests.
pub(crate) fn built(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("this program");
    let deps = tests.parent().expect("deps");
    let debug = deps.parent().expect("debug");
    let candidates = [
        deps.join(name),
        debug.join("examples").join(name),
        debug.join(name),
    ];
    let found = candidates.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not built; run all of `cargo test -p muster-sandbox`"))
}

pub(crate) fn root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The socket behind which systemd starts launchers, where that unit is what is tested (`tests/vm`).
fn unit() -> Option<PathBuf> {
    std::env::var_os("MUSTER_JAIL_SOCKET").map(PathBuf::from)
}

/// Whether launchers have control groups and ids to give: as root, and as the package starts them.
pub(crate) fn whole() -> bool {
    root() || unit().is_some()
}

/// A wall time in milliseconds that holds what takes moments; behind a unit the machine is an emulated one, and slow.
pub(crate) fn moments(ms: u64) -> u64 {
    if unit().is_some() { 5 * ms } else { ms }
}

/// Limits under which everything ordinary works.
pub(crate) fn limits() -> Limits {
    Limits {
        memory_bytes: 256 << 20,
        processes: 32,
        open_files: 256,
        scratch_bytes: 16 << 20,
        cpu_seconds: 20,
        wall_ms: moments(20_000),
        output_bytes: 1 << 20,
    }
}

/// A jail for the probe engine; each call takes ids that no other test uses.
pub(crate) fn start(mode: Mode) -> Start {
    static JAILS: AtomicU32 = AtomicU32::new(0);
    let number = JAILS.fetch_add(1, Ordering::Relaxed);
    let first = match client::spare_ids() {
        Some(spare) => Some(spare.first + 100 * number),
        // What the package enters for the launcher's user are 64.
        None => unit().map(|_| PACKAGE_IDS + 9 * (number % 7)),
    };
    let ids = first.map(|first| IdRange { first, count: 9 });
    let name = match mode {
        Mode::Restricted => "restricted",
        Mode::Unrestricted => "unrestricted",
    };
    Start {
        command: vec!["/opt/probe".to_owned()],
        environment: BTreeMap::from([("MODE".to_owned(), name.to_owned())]),
        mode,
        network: Network::None,
        programs: match mode {
            Mode::Restricted => Programs::None,
            Mode::Unrestricted => Programs::All,
        },
        mounts: vec![mount(&built("probe_engine"), "/opt/probe", false)],
        ids,
        limits: limits(),
    }
}

pub(crate) fn mount(source: &Path, target: &str, writable: bool) -> Mount {
    Mount {
        source: source.to_owned(),
        target: target.into(),
        writable,
        by_policy: false,
    }
}

/// A jail that is ready.
pub(crate) fn jail(start: Start) -> Launcher {
    let launcher = launcher(start);
    launcher.until_ready().expect("ready");
    launcher
}

/// A jail that is ready, and the socket on which its runs knock.
pub(crate) fn jail_with_door(start: Start) -> (Launcher, TcpListener) {
    let launcher = launcher(start);
    let (_, door) = launcher.until_open().expect("ready");
    (launcher, door.expect("a door"))
}

/// A launcher of which nobody knows yet what it answers.
pub(crate) fn launcher(start: Start) -> Launcher {
    let launcher = match unit() {
        Some(socket) => Launcher::behind(&socket, start),
        None => Launcher::start(&program(), start),
    };
    launcher.expect("start")
}

/// A launcher that runs as an ordinary user without ids to give. What it needs is copied into `folder`, since the
/// build folder may be closed to others.
pub(crate) fn as_nobody(mut start: Start, folder: &Path) -> Launcher {
    start.ids = None;
    start.mounts = vec![mount(
        &public(&built("probe_engine"), folder),
        "/opt/probe",
        false,
    )];
    Launcher::start_by(program_as_nobody(folder), start).expect("start")
}

/// A launcher as the package starts it: a service user with the two capabilities that id maps need, and no other.
///
/// It sees `entries` as /etc/subuid and /etc/subgid, in a mount namespace of its own; the machine's are not touched.
pub(crate) fn as_service(mut start: Start, folder: &Path, entries: &str) -> Launcher {
    start.mounts = vec![mount(
        &public(&built("probe_engine"), folder),
        "/opt/probe",
        false,
    )];
    let file = folder.join("entries");
    fs::write(&file, entries).expect("entries");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "--propagation", "private", "sh", "-ec"])
        // With the mask that its unit has for files.
        .arg("mount --bind \"$0\" /etc/subuid; mount --bind \"$0\" /etc/subgid; umask 077; exec \"$@\"")
        .arg(file)
        .args([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            "--bounding-set=-all,+setuid,+setgid",
        ])
        .args([
            "--inh-caps=+setuid,+setgid",
            "--ambient-caps=+setuid,+setgid",
            "--no-new-privs",
        ])
        .arg(public(&program(), folder));
    Launcher::start_by(command, start).expect("start")
}

/// The launcher, to be run by an ordinary user.
pub(crate) fn program_as_nobody(folder: &Path) -> Command {
    let mut command = Command::new(public(&program(), folder));
    if root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

fn public(file: &Path, folder: &Path) -> PathBuf {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("permissions");
    let copy = folder.join(file.file_name().expect("name"));
    if !copy.exists() {
        // By another process: a file that this one, or a child of it, still holds open for writing cannot be executed.
        let done = Command::new("cp").arg(file).arg(&copy).status().expect("cp");
        assert!(done.success());
    }
    copy
}

/// Steps for the probe engine, one a line, words separated by spaces.
pub(crate) fn stage(steps: &str, outputs: &[&str]) -> Stage {
    let steps: Vec<Vec<&str>> = steps
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .map(|line| line.split(' ').collect())
        .collect();
    let run = serde_json::value::to_raw_value(&serde_json::json!({ "steps": steps })).expect("json");
    Stage {
        files: Vec::new(),
        outputs: outputs.iter().map(|&output| output.to_owned()).collect(),
        limits: None,
        stays: false,
        run,
    }
}

/// With a file that travels along.
pub(crate) fn with_file(mut stage: Stage, path: &str, bytes: &[u8]) -> Stage {
    stage.files.push(StagedFile {
        path: path.to_owned(),
        size: bytes.len().try_into().expect("size"),
    });
    stage
}

/// A run that was forked and staged.
pub(crate) fn begin(launcher: &Launcher, number: u64, limits: Limits, steps: &str) -> Run {
    let run = launcher.run(number, limits).expect("forked");
    run.stage(&stage(steps, &[]), &[]).expect("staged");
    run
}

/// The results of steps in a jail of their own.
pub(crate) fn results(start: Start, steps: &str) -> Vec<Result<String, i32>> {
    let launcher = jail(start);
    let outcome = begin(&launcher, 1, limits(), steps).finish().expect("finished");
    launcher.close().expect("closed");
    lines(&outcome)
}

/// What the probe engine wrote, one result a step; the error is an errno.
pub(crate) fn lines(outcome: &Outcome) -> Vec<Result<String, i32>> {
    let parse = |line: &str| -> Result<String, i32> {
        let value: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}\n{outcome:?}"));
        match value["ok"].as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(value["error"]
                .as_i64()
                .and_then(|error| error.try_into().ok())
                .expect("errno")),
        }
    };
    outcome.stdout.lines().map(parse).collect()
}

/// All processes that descend from `pid`, with it.
pub(crate) fn family(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").expect("proc").flatten() {
        let Some(child) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(parent) = field(child, "PPid").and_then(|parent| parent.parse::<u32>().ok()) {
            parents.push((child, parent));
        }
    }
    let mut family = vec![pid];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(parents.iter().filter(|pair| pair.1 == parent).map(|pair| pair.0));
        next += 1;
    }
    family
}

/// A field of a process's status.
pub(crate) fn field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().to_owned())
}

/// Waits, without a fixed time, for what another process is about to bring about.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(30) {
        if condition() {
            return;
        }
        thread::yield_now();
    }
    panic!("it never came true: {what}");
}

/// Whether a process is gone, or dead and waiting for its parent's question.
pub(crate) fn gone(pid: u32) -> bool {
    field(pid, "State").is_none_or(|state| state.starts_with('Z') || state.starts_with('X'))
}

/// The control groups of a launcher, wherever they are mounted.
pub(crate) fn groups(launcher: u32) -> Vec<PathBuf> {
    fn search(folder: &Path, name: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name() == name {
                    found.push(entry.path());
                }
                search(&entry.path(), name, found);
            }
        }
    }
    let mut found = Vec::new();
    search(
        Path::new("/sys/fs/cgroup"),
        &format!("muster-jail-{launcher}"),
        &mut found,
    );
    found
}

/// Reads until every process that could write has ended.
pub(crate) fn until_closed(run: Run) -> String {
    let mut text = String::new();
    let mut control = run.control;
    // An end in the middle of a frame is an end.
    let _ = control.read_to_string(&mut text);
    text
}
