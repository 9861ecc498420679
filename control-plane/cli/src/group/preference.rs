//! `muster group preference`: values that groups give to their members.

use clap::Subcommand;
use muster_client::{Request, Rest};
use muster_ids::Name;
use muster_wire::admin::v1::preference::{Preference, SetPreference};

use super::PATH;
use crate::{context::Context, failure::Failure, table};

/// Values that groups give to their members
#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  muster group preference set Everyone \"Require valid signature to allow trust\" true\n  \
                  muster group preference show Analysts"
)]
pub(crate) enum Command {
    /// Show what a group gives to its members, and which group sets it
    Show {
        /// The group
        group: Name,
    },
    /// Set a preference of a group
    Set {
        /// The group
        group: Name,
        /// The preference by its display name, as muster group preference show has it
        preference: Name,
        /// Its value, for example false
        value: String,
    },
    /// Clear a preference of a group: what it inherits holds again, or the default
    Clear {
        /// The group
        group: Name,
        /// The preference
        preference: Name,
    },
}

/// Does `command`.
pub(super) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    let at = |request: Request, group: &Name| request.segment(group.as_str()).segment("preferences");
    let (request, sentence) = match command {
        Command::Show { group } => return show(context, &rest, at(Request::get(PATH), &group)).await,
        Command::Set {
            group,
            preference,
            value,
        } => {
            let sentence = format!("\"{preference}\" of \"{group}\" is set.");
            let request = at(Request::put(PATH), &group).segment(preference.as_str());
            (request.json(&SetPreference { value }), sentence)
        }
        Command::Clear { group, preference } => (
            at(Request::delete(PATH), &group).segment(preference.as_str()),
            format!("\"{preference}\" of \"{group}\" is not set any more."),
        ),
    };
    rest.call::<()>(request).await?;
    context.done(&sentence)
}

/// Shows the preferences that `request` gets.
pub(crate) async fn show(context: &Context, rest: &Rest, request: Request) -> Result<(), Failure> {
    let preferences: Vec<Preference> = rest.call(request).await?;
    context.show(&preferences, || {
        table::rows(
            ["preference", "value", "set by", "meaning"],
            preferences.iter().map(|preference| {
                [
                    preference.name.clone(),
                    preference.value.clone(),
                    (preference.from.as_ref()).map_or_else(|| "default".to_owned(), ToString::to_string),
                    preference.meaning.clone(),
                ]
            }),
            "No preferences.",
            context.colour,
        )
    })
}
