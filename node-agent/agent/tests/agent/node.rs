//! A node on disk, and the real `muster-node` on it.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// No test waits longer for anything; a slow machine is no failure.
pub(crate) const GENEROUS: Duration = Duration::from_mins(2);

/// The program as it was when these tests began: another build may replace it while they run.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let outer = Path::new(env!("CARGO_TARGET_TMPDIR"));
        // What earlier tests left; those that still run keep theirs.
        for entry in std::fs::read_dir(outer).expect("read").filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let owner = name.strip_prefix("agent-").map(|id| Path::new("/proc").join(id));
            if owner.is_some_and(|owner| !owner.exists()) {
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
        let folder = outer.join(format!("agent-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("made");
        let kept = folder.join("muster-node");
        let _ = std::fs::remove_file(&kept);
        std::fs::hard_link(env!("CARGO_BIN_EXE_muster-node"), &kept).expect("linked");
        kept
    })
}

/// What a command said and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// A folder with configuration and state.
pub(crate) struct Node(tempfile::TempDir);

impl Node {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("folder"))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.0.path().join("node.toml")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("state")
    }

    /// `muster-node` with these arguments; `crash_at` names the point at which it kills itself.
    pub(crate) fn command(&self, arguments: &[&str], crash_at: Option<&str>) -> Command {
        let mut command = self.command_at(arguments, &self.state());
        if let Some(point) = crash_at {
            command.env("MUSTER_CRASH_AT", point);
        }
        command
    }

    /// The same with the state folder written in this way.
    pub(crate) fn command_at(&self, arguments: &[&str], state: &Path) -> Command {
        #[expect(
            clippy::disallowed_methods,
            reason = "a test starts the program that it tests"
        )]
        let mut command = Command::new(program());
        command
            .args(arguments)
            .arg("--config")
            .arg(self.config())
            .arg("--state-dir")
            .arg(state)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self, arguments: &[&str], crash_at: Option<&str>) -> Ended {
        let output = timeout(GENEROUS, self.command(arguments, crash_at).output())
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} does not end"))
            .expect("started");
        Ended {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).expect("text"),
            err: String::from_utf8(output.stderr).expect("text"),
        }
    }

    /// Starts it and waits until it has written a line with `wanted` to standard error.
    pub(crate) async fn until(&self, arguments: &[&str], wanted: &str) -> (Child, String) {
        let mut child = self.command(arguments, None).spawn().expect("started");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let found = timeout(GENEROUS, async {
            let mut all = String::new();
            while let Some(line) = lines.next_line().await.expect("text") {
                if line.contains(wanted) {
                    return line;
                }
                all.push_str(&line);
                all.push('\n');
            }
            panic!("it ended without saying \"{wanted}\": {all}");
        })
        .await
        .unwrap_or_else(|_| panic!("it does not say \"{wanted}\""));
        // Goes on reading, so that the program never waits for its reader.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        (child, found)
    }

    /// `muster-node status --output json`.
    pub(crate) async fn status(&self) -> serde_json::Value {
        let ended = self.run(&["status", "--output", "json"], None).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        serde_json::from_str(&ended.out).expect("JSON")
    }

    /// Asks for the status until it is as wanted.
    pub(crate) async fn status_until(
        &self,
        wanted: impl Fn(&serde_json::Value) -> bool,
    ) -> serde_json::Value {
        let mut last = serde_json::Value::Null;
        timeout(GENEROUS, async {
            loop {
                last = self.status().await;
                if wanted(&last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("the status never becomes as wanted: {last}"));
        last
    }

    /// Asks for the status until its conditions, as text, are as wanted. The settings may be wrong meanwhile.
    pub(crate) async fn conditions_until(&self, wanted: impl Fn(&str) -> bool) -> String {
        timeout(GENEROUS, async {
            loop {
                let text = std::fs::read_to_string(self.state().join("status.json")).unwrap_or_default();
                let live: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                let conditions = live["conditions"].to_string();
                if wanted(&conditions) {
                    return conditions;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await
        .expect("the conditions become as wanted")
    }
}
