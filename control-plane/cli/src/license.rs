//! `muster license`: features that groups give to their members.

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::group::{HeldLicense, License};

use crate::{context::Context, failure::Failure, list, table};

/// License features that groups give to their members
#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  muster license grant Analysts \"Author Scripts\"\n  muster license list --user ann@SPOTFIRE"
)]
pub(crate) enum Command {
    /// List features and the groups that give them, or those that a user or a group has
    List(Whose),
    /// Let a group give a feature
    Grant(Which),
    /// Let a group no longer give a feature
    Revoke(Which),
}

/// Whose features are listed; without any option all that exist.
#[derive(Args)]
pub(crate) struct Whose {
    /// What this user has by all groups that they are in
    #[arg(long, value_name = "NAME@DOMAIN", conflicts_with = "group")]
    user: Option<UserName>,
    /// What this group gives by itself
    #[arg(long)]
    group: Option<Name>,
    /// Also what its members have by the groups that it is in
    #[arg(long, requires = "group")]
    inherited: bool,
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
        Command::List(Whose { user: Some(user), .. }) => {
            let request = Request::get("/api/v1/users").segment(&user.to_string());
            held(context, &rest, request.segment("licenses")).await
        }
        Command::List(Whose {
            group: Some(group),
            inherited,
            ..
        }) => {
            let request = Request::get(path).segment(group.as_str()).segment("licenses");
            held(
                context,
                &rest,
                request.query("include_inherited", &inherited.to_string()),
            )
            .await
        }
        Command::List(_) => {
            let licenses: Vec<License> = list::every(&rest, "/api/v1/licenses").await?;
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

/// Shows the features that `request` gets.
async fn held(context: &Context, rest: &Rest, request: Request) -> Result<(), Failure> {
    let held: Vec<HeldLicense> = rest.call(request).await?;
    context.show(&held, || {
        table::rows(
            ["feature", "from"],
            held.iter()
                .map(|held| [held.feature.clone(), held.from.to_string()]),
            "No license features.",
            context.colour,
        )
    })
}
