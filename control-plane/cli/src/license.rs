//! `muster license`: features that groups give to their members.

use clap::{Args, Subcommand};
use muster_client::Request;
use muster_ids::Name;
use muster_wire::admin::v1::group::License;

use crate::{context::Context, failure::Failure, table};

/// License features that groups give to their members
#[derive(Subcommand)]
#[command(after_help = "Example:\n  muster license grant Analysts \"Author Scripts\"")]
pub(crate) enum Command {
    /// List features and the groups that give them
    List,
    /// Let a group give a feature
    Grant(Which),
    /// Let a group no longer give a feature
    Revoke(Which),
}

/// A feature of a group.
#[derive(Args)]
pub(crate) struct Which {
    /// The group
    group: Name,
    /// The feature by its display name, as muster license list shows it
    feature: Name,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    let at = |request: Request, which: &Which| {
        request
            .segment(which.group.as_str())
            .segment("licenses")
            .segment(which.feature.as_str())
    };
    let path = "/api/v1/groups";
    match command {
        Command::List => {
            let licenses: Vec<License> = rest.call(Request::get("/api/v1/licenses")).await?;
            context.show(&licenses, || {
                table::rows(
                    ["feature", "groups"],
                    licenses
                        .iter()
                        .map(|license| [license.feature.clone(), table::list(&license.groups)]),
                    "No license features.",
                    context.colour,
                )
            })
        }
        Command::Grant(which) => {
            rest.call::<()>(at(Request::put(path), &which)).await?;
            context.done(&format!("\"{}\" gives \"{}\" now.", which.group, which.feature))
        }
        Command::Revoke(which) => {
            rest.call::<()>(at(Request::delete(path), &which)).await?;
            context.done(&format!(
                "\"{}\" does not give \"{}\" any more.",
                which.group, which.feature
            ))
        }
    }
}
