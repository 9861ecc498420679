//! `muster function policy`: what the unrestricted runs of a function may use at the most.

use std::path::{Path, PathBuf};

use clap::Args;
use muster_client::Request;
use muster_code_trust::RunPolicy;
use muster_daemon::file::{self, Access};
use muster_wire::admin::v1::function::{FunctionPolicy, SetFunctionPolicy};

use super::{PATH, Which};
use crate::{
    context::Context,
    escape::escaped_lines,
    failure::{Failure, chain},
};

/// Far more than a policy of the longest lists.
const LONGEST: u64 = 4 * 1024 * 1024;

/// Show or set what the unrestricted runs of a function may use
#[derive(Args)]
#[command(after_help = "Examples:\n  muster function policy forecast\n  \
                  muster function policy forecast --file policy.json\n  \
                  muster function policy forecast --clear\n\n\
                  A policy names what is allowed, and nothing else is:\n  \
                  {\"read\": [\"/srv/data\"], \"write\": [\"/srv/out\"], \"network\": {\"class\": \"none\"},\n   \
                  \"programs\": [\"/usr/bin/git\"], \"limits\": {\"memory_mib\": 512}}\n\n\
                  Where the setting unrestricted_policy holds as well, a run gets what both allow.")]
pub(crate) struct Policy {
    /// Which.
    #[command(flatten)]
    which: Which,
    /// Set the policy in this JSON file (administrators)
    #[arg(long, value_name = "FILE", conflicts_with = "clear")]
    file: Option<PathBuf>,
    /// Remove the policy (administrators)
    #[arg(long)]
    clear: bool,
}

/// Shows, sets or removes it.
pub(super) async fn run(context: &Context, arguments: Policy) -> Result<(), Failure> {
    let Policy { which, file, clear } = arguments;
    let name = &which.function;
    // What is wrong in the file is said before anybody is asked to log in.
    let policy = file.as_deref().map(read).transpose()?;
    let rest = context.rest()?;
    if clear {
        let request = which.at(Request::delete(PATH)).segment("policy");
        rest.call::<()>(request).await?;
        return context.done(&format!("\"{name}\" has no policy of its own any more."));
    }
    let request = match policy {
        Some(policy) => which
            .at(Request::put(PATH))
            .segment("policy")
            .json(&SetFunctionPolicy { policy }),
        None => which.at(Request::get(PATH)).segment("policy"),
    };
    let found: FunctionPolicy = rest.call(request).await?;
    context.show(&found, || match &found.policy {
        None => format!("\"{name}\" has no policy of its own; see muster setting get unrestricted_policy."),
        Some(policy) => escaped_lines(&format!("{policy:#}")),
    })
}

fn read(file: &Path) -> Result<serde_json::Value, Failure> {
    let policy = RunPolicy::parse(&text(file)?)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    serde_json::to_value(policy).map_err(|error| Failure::usage(error.to_string()))
}

/// The text of a file that a person named.
pub(crate) fn text(file: &Path) -> Result<String, Failure> {
    let bytes = file::read(file, Access::Any, LONGEST).map_err(|error| Failure::usage(chain(&error)))?;
    String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("{} is not UTF-8 text; write it as JSON", file.display())))
}
