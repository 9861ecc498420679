//! The built binary with a home of its own.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::Server;

/// The path of the program.
pub(crate) const MUSTER: &str = env!("CARGO_BIN_EXE_muster");

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Checks that it succeeded and returns what it printed.
    pub(crate) fn printed(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:?}");
        self.stdout
    }

    /// Checks that it failed with this code and returns what it complained about.
    pub(crate) fn complaint(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{self:?}");
        assert!(!self.stderr.is_empty(), "{self:?}");
        self.stderr
    }
}

/// A person's home, and the program in it.
pub(crate) struct Home {
    folder: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a folder"),
        }
    }

    /// One with a session at `server`.
    pub(crate) fn at(server: &Server) -> Self {
        let home = Self::new();
        let session = json!({
            "server": server.url(), "trust": { "fingerprints": [server.pin()] },
            "user": "ann@SPOTFIRE", "token": "hunter2",
        });
        std::fs::create_dir_all(home.session().parent().expect("a folder")).expect("made");
        home.write_private("muster/session.json", &session.to_string());
        home
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn session(&self) -> PathBuf {
        self.path().join("muster/session.json")
    }

    pub(crate) fn write(&self, name: &str, content: &str) -> String {
        let path = self.path().join(name);
        std::fs::write(&path, content).expect("written");
        path.to_str().expect("text").to_owned()
    }

    pub(crate) fn write_private(&self, name: &str, content: &str) -> String {
        let path = self.write(name, content);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).expect("mode");
        path
    }

    pub(crate) fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).expect("a file")
    }

    /// The environment of the program.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let here = self.path().to_str().expect("text").to_owned();
        vec![
            ("HOME", here.clone()),
            ("XDG_CONFIG_HOME", here),
            ("PATH", "/usr/bin:/bin".to_owned()),
            ("TERM", "xterm".to_owned()),
        ]
    }

    pub(crate) fn command(&self, program: &str) -> Command {
        #[expect(clippy::disallowed_methods, reason = "a test starts the program")]
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    /// Runs `muster` without a terminal.
    pub(crate) fn muster(&self, arguments: &[&str]) -> Done {
        self.muster_with(arguments, &[])
    }

    /// Runs `muster` without a terminal and with a larger environment.
    pub(crate) fn muster_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
        let output = self
            .command(MUSTER)
            .args(arguments)
            .envs(environment.iter().copied())
            .output()
            .expect("it starts");
        Done {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}
