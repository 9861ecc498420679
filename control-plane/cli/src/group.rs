//! `muster group`: groups, their members and what they inherit.

pub(crate) mod preference;

use clap::Subcommand;
use muster_client::Request;
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::group::{CreateGroup, Group};

use crate::{context::Context, failure::Failure, list, table};

const PATH: &str = "/api/v1/groups";

/// Groups, their members and what they inherit
#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  muster group create Analysts\n  muster group add-member \"Script Author\" ann@SPOTFIRE\n  \
                  muster group add-parent Analysts Staff"
)]
pub(crate) enum Command {
    /// List groups
    List,
    /// Show one group
    Show {
        /// The group
        group: Name,
    },
    /// Make a group
    Create {
        /// Its name
        group: Name,
    },
    /// Delete a group; its members stay users
    Delete {
        /// The group
        group: Name,
    },
    /// Put a user into a group
    AddMember {
        /// The group
        group: Name,
        /// The user, as name@DOMAIN
        user: UserName,
    },
    /// Take a user out of a group
    RemoveMember {
        /// The group
        group: Name,
        /// The user, as name@DOMAIN
        user: UserName,
    },
    /// Put a group into another: it inherits what the parent has
    AddParent {
        /// The group
        group: Name,
        /// The group that it is put into
        parent: Name,
    },
    /// Take a group out of another
    RemoveParent {
        /// The group
        group: Name,
        /// The group that it is taken out of
        parent: Name,
    },
    /// Let one parent of a group go before the others where their preferences differ
    SetPrimary {
        /// The group
        group: Name,
        /// The parent that goes first
        parent: Name,
    },
    /// Let no parent of a group go before the others any more
    ClearPrimary {
        /// The group
        group: Name,
        /// The parent that went first
        parent: Name,
    },
    /// Values that groups give to their members
    #[command(subcommand)]
    Preference(preference::Command),
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    let at = |request: Request, group: &Name| request.segment(group.as_str());
    let (request, sentence) = match command {
        Command::List => {
            let groups: Vec<Group> = list::every(&rest, PATH).await?;
            return context.show(&groups, || rows(&groups, context.colour));
        }
        Command::Show { group } => {
            let group: Group = rest.call(at(Request::get(PATH), &group)).await?;
            return context.show(&group, || fields(&group, context.colour));
        }
        Command::Create { group } => {
            let group: Group = rest
                .call(Request::post(PATH).json(&CreateGroup { name: group }))
                .await?;
            return context.show(&group, || format!("Created \"{}\".", group.name));
        }
        Command::Delete { group } => (at(Request::delete(PATH), &group), format!("Deleted \"{group}\".")),
        Command::AddMember { group, user } => (
            at(Request::put(PATH), &group)
                .segment("members")
                .segment(user.as_str()),
            format!("{user} is in \"{group}\" now."),
        ),
        Command::RemoveMember { group, user } => (
            at(Request::delete(PATH), &group)
                .segment("members")
                .segment(user.as_str()),
            format!("{user} is not in \"{group}\" any more."),
        ),
        Command::AddParent { group, parent } => (
            at(Request::put(PATH), &group)
                .segment("parents")
                .segment(parent.as_str()),
            format!("\"{group}\" is in \"{parent}\" now."),
        ),
        Command::RemoveParent { group, parent } => (
            at(Request::delete(PATH), &group)
                .segment("parents")
                .segment(parent.as_str()),
            format!("\"{group}\" is not in \"{parent}\" any more."),
        ),
        Command::SetPrimary { group, parent } => (
            at(Request::put(PATH), &group)
                .segment("parents")
                .segment(parent.as_str())
                .segment("primary"),
            format!("\"{parent}\" is the primary group of \"{group}\" now."),
        ),
        Command::ClearPrimary { group, parent } => (
            at(Request::delete(PATH), &group)
                .segment("parents")
                .segment(parent.as_str())
                .segment("primary"),
            format!("\"{parent}\" is not the primary group of \"{group}\" any more."),
        ),
        Command::Preference(command) => return preference::run(context, command).await,
    };
    rest.call::<()>(request).await?;
    context.done(&sentence)
}

fn rows(groups: &[Group], colour: bool) -> String {
    table::rows(
        ["name", "built in", "parents", "members", "features"],
        groups.iter().map(|group| {
            [
                group.name.to_string(),
                table::yes_no(group.builtin),
                table::list(&group.parents),
                group.members.len().to_string(),
                table::list(&group.features),
            ]
        }),
        "No groups.",
        colour,
    )
}

fn fields(group: &Group, colour: bool) -> String {
    let preferences: Vec<String> = group
        .preferences
        .iter()
        .map(|(name, value)| format!("{name} = {value}"))
        .collect();
    table::fields(
        [
            ("Name", group.name.to_string()),
            ("Built in", table::yes_no(group.builtin)),
            ("Parents", table::list(&group.parents)),
            ("Primary", table::or_dash(group.primary.as_ref())),
            ("Features", table::list(&group.features)),
            ("Preferences", table::list(&preferences)),
            ("Members", table::list(&group.members)),
        ],
        colour,
    )
}
