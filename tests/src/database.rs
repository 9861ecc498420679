//! The database of a control plane under test, looked at and moved in time behind its back.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process;

/// A SQLite file that a control plane may be using.
pub struct Sqlite {
    file: PathBuf,
}

impl Sqlite {
    pub(crate) fn of(state_dir: &Path) -> Self {
        Self {
            file: state_dir.join("muster.db"),
        }
    }

    /// The rows of a query.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let said = self.run(&["-json"], sql);
        if said.trim().is_empty() {
            return Vec::new();
        }
        serde_json::from_str(&said).expect("sqlite3 prints JSON")
    }

    /// The number that a query gives.
    pub fn number(&self, sql: &str) -> i64 {
        let said = self.run(&[], sql);
        said.trim()
            .parse()
            .unwrap_or_else(|_| panic!("{sql} gave {said}"))
    }

    /// Changes rows as time, or somebody with access to the file, would.
    pub fn change(&self, sql: &str) {
        self.run(&[], sql);
    }

    /// Everything in it, as SQL.
    pub fn dump(&self) -> String {
        self.run(&[], ".dump")
    }

    fn run(&self, options: &[&str], sql: &str) -> String {
        let file = self.file.to_string_lossy().into_owned();
        let mut arguments = vec!["-bail", "-cmd", ".timeout 20000"];
        arguments.extend(options);
        arguments.extend([file.as_str(), sql]);
        let output = process::run(Path::new("sqlite3"), arguments);
        assert!(
            output.status.success(),
            "sqlite3 {sql}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
