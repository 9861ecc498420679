//! `muster policy`: trust rules tested against a world in a file, without a server.

use std::path::PathBuf;

use clap::Subcommand;
use muster_daemon::file::{self, Access};

use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
};

/// Worlds of a hundred thousand entries fit.
const LONGEST: u64 = 256 * 1024 * 1024;

/// Test trust rules without a server
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Decide the cases of a file and compare them with what it expects; exit 1 when any differs
    #[command(after_help = "Example:\n  muster policy test cases.json")]
    Test {
        /// The file: a world and cases, in JSON
        file: PathBuf,
    },
}

/// Does `command`.
pub(crate) fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let Command::Test { file } = command;
    let bytes = file::read(&file, Access::Any, LONGEST).map_err(|error| Failure::usage(chain(&error)))?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text; write it as JSON", file.display())))?;
    let report = muster_code_trust::run_policy_test(&text).map_err(|error| Failure::usage(chain(&error)))?;
    let value =
        serde_json::json!({ "passed": report.passed, "failed": report.failed, "lines": report.lines });
    context.show(&value, || {
        let summary = format!("{} passed, {} failed", report.passed, report.failed);
        let lines: Vec<_> = report
            .lines
            .iter()
            .map(|line| escaped(line))
            .chain([summary])
            .collect();
        lines.join("\n")
    })?;
    if report.failed == 0 {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}
