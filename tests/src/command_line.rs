//! An administrator at a terminal: the real `muster`.

use std::path::PathBuf;

use crate::{Server, folder, process, run_program};

/// `muster` with a session of the first administrator.
pub struct CommandLine {
    folder: PathBuf,
}

impl CommandLine {
    /// Logs in as the first administrator.
    pub fn log_in(server: &Server) -> Self {
        let command_line = Self {
            folder: folder("people"),
        };
        let address = format!("https://{}", server.front_end());
        let password = server.state_dir().join("admin-password");
        let root = server.root().to_string();
        let (code, _, said) = command_line.run(&[
            "login",
            &address,
            "--user",
            "admin@SPOTFIRE",
            "--password-file",
            &password.to_string_lossy(),
            "--ca-fingerprint",
            &root,
        ]);
        assert_eq!(code, Some(0), "{said}");
        command_line
    }

    /// Logs in as before, without a word about whom to trust.
    pub fn log_in_again(&self, server: &Server) {
        let password = server.state_dir().join("admin-password");
        let password = password.to_string_lossy();
        let (code, _, said) = self.run(&["login", "--user", "admin@SPOTFIRE", "--password-file", &password]);
        assert_eq!(code, Some(0), "{said}");
    }

    /// Exit code, standard output and standard error.
    pub fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let profiles = self.folder.to_string_lossy().into_owned();
        let mut all = vec!["--profile-dir", &profiles];
        all.extend(arguments);
        run_program("muster", &all)
    }

    /// Begins a command and kills it when it has complained this many lines, which it gives.
    pub fn run_and_kill(&self, arguments: &[&str], lines: usize) -> Vec<String> {
        let profiles = self.folder.to_string_lossy().into_owned();
        let mut all = vec!["--profile-dir", &profiles];
        all.extend(arguments);
        process::run_and_kill("muster", &all, lines)
    }

    /// As scripts name it: the program with its options.
    pub fn command(&self) -> String {
        let program = process::program("muster");
        format!("{} --profile-dir {}", program.display(), self.folder.display())
    }
}
