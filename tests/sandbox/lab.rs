//! A lab: a machine in namespaces of its own with an agent worth attacking (`payloads/lab.py`), the place where probes
//! do their harm, and beside which jails stand.
//!
//! The lab of a unit's jails is the machine itself, which must be one that nobody misses (`tests/vm`).

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    thread,
    time::Duration,
};

use muster_tests::{program, workspace};

use crate::{
    native::NATIVE,
    probe::{Language, Probe, SECRET, Seen},
};

/// What the folder of the lab holds, sorted; anything else was made by a probe.
const FILES: [&str; 20] = [
    "agent",
    "agent/agent.sock",
    "agent/code.R",
    "agent/code.py",
    "agent/identity.json",
    "agent/log.sock",
    "agent/secret.txt",
    "bin",
    "bin/bare.R",
    "bin/bare.py",
    "bin/libmuster_lock.so",
    "bin/muster-jail",
    "bin/native",
    "canary",
    "neighbour",
    "neighbour/neighbour.txt",
    "python",
    "resolv.conf",
    "scratch",
    "subuid",
];
/// What the canary says while nobody has touched it.
const ALIVE: &str = "alive";
/// The beginning of the names of processes that want to outlive their run.
const OUTLIVES: &str = "outlived-";

/// A lab; dropping it ends it.
pub(crate) struct Lab {
    /// As the host numbers it; `self` where the lab is the machine.
    pid: String,
    /// Wrappers of `muster-jail`, and a folder for runners.
    pub(crate) folder: PathBuf,
    /// The lab ends when this is closed, with the test's process at the latest.
    _life: ChildStdin,
    child: Child,
    /// The process of the lab's agent, as the host numbers it.
    agent: String,
    /// Its niceness while nobody changes it.
    niceness: String,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::begin(&[
            "unshare",
            "--net",
            "--mount",
            "--propagation",
            "private",
            "--ipc",
            "--uts",
            "--pid",
            "--fork",
            "--kill-child",
        ])
    }

    /// The machine as a lab, for good.
    pub(crate) fn machine() -> Self {
        Self::begin(&["env", "LAB=machine"])
    }

    fn begin(within: &[&str]) -> Self {
        assert!(
            rustix::process::geteuid().is_root(),
            "probes do real harm in namespaces of their own, which takes root; run these tests as root"
        );
        let folder = tempfile::Builder::new()
            .prefix("muster-sandbox-")
            .tempdir()
            .expect("a folder")
            .keep();
        let runners = folder.join("runners");
        fs::create_dir(&runners).expect("a folder");
        for folder in [&folder, &runners] {
            use std::os::unix::fs::PermissionsExt as _;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("permissions");
        }
        let payloads = workspace().join("tests/sandbox/payloads");
        #[expect(clippy::disallowed_methods, reason = "a test starts its lab")]
        let mut child = Command::new(within[0])
            .args(&within[1..])
            .args(["/usr/bin/python3", "-I", "-S", "-B"])
            .arg(payloads.join("lab.py"))
            .args([&folder, &environment()])
            .args([
                program("muster-jail"),
                program("libmuster_lock.so"),
                NATIVE.program.clone(),
            ])
            .args([payloads.join("bare.py"), payloads.join("bare.R")])
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("AGENT_SECRET", SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare of util-linux");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let mut line = || {
            said.next()
                .expect("the lab comes up")
                .expect("its words are text")
        };
        let pid = line();
        assert_eq!(line(), "ready", "the lab's agent");
        let agent = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        let agent = agent.trim().to_owned();
        Self {
            niceness: niceness(&agent).expect("its niceness"),
            agent,
            pid,
            folder,
            _life: child.stdin.take().expect("a pipe"),
            child,
        }
    }

    /// The lab's /mnt as the host sees it.
    pub(crate) fn place(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid).join("root/mnt")
    }

    /// Runs a probe in the lab itself, as root and without any jail.
    pub(crate) fn unprotected(&self, probe: &Probe, code: &str) -> Seen {
        let file = self.place().join("scratch/code");
        fs::write(&file, code).expect("written");
        let command: &[&str] = match probe.language {
            Language::C => &["/mnt/bin/native", "run", probe.name],
            Language::Python => &["/usr/bin/python3", "-I", "-S", "-B", "/mnt/scratch/code"],
            Language::R => &["/usr/bin/Rscript", "--vanilla", "/mnt/scratch/code"],
        };
        #[expect(clippy::disallowed_methods, reason = "a test shows what a jail is for")]
        let said = Command::new("nsenter")
            .args(["--target", &self.pid, "--net", "--mount", "--ipc", "--uts", "--pid"])
            // Mounts and names are each probe's own.
            .args(["unshare", "--uts", "--mount-proc", "/bin/sh", "-c"])
            .arg(
                "cd /mnt/scratch; trap '' USR1; mkdir -p outputs tmp; exec 7</mnt/agent/identity.json; \
                 timeout -s KILL 20 \"$@\"; code=$?; \
                 if [ -p outputs/0 ] || [ -c outputs/0 ]; then echo HARM; elif [ -e outputs/0 ]; then cat outputs/0; fi; \
                 exit $code",
            )
            .arg("sh")
            .args(command)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LANG", "C.UTF-8")
            .env("AGENT_SECRET", SECRET)
            .stdin(Stdio::null())
            .output()
            .expect("nsenter of util-linux");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Seen {
            stdout: text(&said.stdout),
            stderr: text(&said.stderr),
            ending: said.status.to_string(),
            traces: Vec::new(),
        }
    }

    /// An empty folder in the lab for the next probe.
    pub(crate) fn empty_scratch(&self) -> PathBuf {
        let scratch = self.place().join("scratch");
        remove(&scratch);
        fs::create_dir(&scratch).expect("a folder");
        scratch
    }

    /// What reached the lab since the last call; everything is put back.
    pub(crate) fn traces(&self) -> Vec<String> {
        let place = self.place();
        let trace = place.join("trace");
        let reached = fs::read_to_string(&trace).unwrap_or_default();
        if !reached.is_empty() {
            fs::write(&trace, "").expect("written");
        }
        let mut found: Vec<String> = reached.lines().map(|what| format!("reached: {what}")).collect();
        let canary = place.join("canary");
        if fs::read_to_string(&canary).ok().as_deref() != Some(ALIVE) {
            found.push("a file was changed".to_owned());
            remove(&canary);
            fs::write(&canary, ALIVE).expect("written");
        }
        for path in self.files() {
            if !FILES.contains(&path.as_str()) && path != "trace" {
                found.push(format!("a file was made: {path}"));
                remove(&place.join(path));
            }
        }
        if let Some(nice) = niceness(&self.agent).filter(|nice| *nice != self.niceness) {
            found.push(format!("the agent's niceness is {nice}"));
            self.renice();
        }
        found
    }

    /// Waits for what a probe outside is about to bring about.
    pub(crate) fn traces_soon(&self) -> Vec<String> {
        for _ in 0..3000 {
            let traces = self.traces();
            if !traces.is_empty() {
                return traces;
            }
            thread::sleep(Duration::from_millis(10));
        }
        Vec::new()
    }

    fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for folder in ["", "agent", "neighbour"] {
            for entry in fs::read_dir(self.place().join(folder))
                .expect("the lab")
                .flatten()
            {
                let name = Path::new(folder).join(entry.file_name());
                found.push(name.to_string_lossy().into_owned());
            }
        }
        found
    }

    fn renice(&self) {
        #[expect(clippy::disallowed_methods, reason = "a test puts its own process back")]
        let status = Command::new("renice")
            .args(["-n", &self.niceness, "-p", &self.agent])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("renice").success());
    }
}

/// Processes of probes that go on, wherever on the host: their numbers and names. They end by themselves.
pub(crate) fn outliving() -> BTreeMap<String, String> {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|entry| {
            let name = fs::read_to_string(entry.path().join("comm")).ok()?;
            let number = entry.file_name().into_string().ok()?;
            name.starts_with(OUTLIVES)
                .then(|| (number, name.trim().to_owned()))
        })
        .collect()
}

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn niceness(process: &str) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The 19th field; the second ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(16).map(str::to_owned)
}

/// A file, or a folder with all that is in it.
fn remove(path: &Path) {
    // Whether it worked is asked below.
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    assert!(fs::symlink_metadata(path).is_err(), "{} stays", path.display());
}

/// The Python engine's packages.
fn environment() -> PathBuf {
    let path = program("muster-jail")
        .ancestors()
        .nth(2)
        .expect("debug lies in target")
        .join("engines/python");
    assert!(
        path.exists(),
        "{} is missing; run: packaging/engines/make-venv.sh",
        path.display()
    );
    path
}
