//! `muster user delete` and `delete-disabled`, and what the documented commands of these names do.
//!
//! Invariant: a user who was enabled since the question is not deleted with the disabled ones.

use clap::Args;
use muster_client::{Request, Rest};
use muster_ids::UserName;
use muster_wire::admin::v1::user::DisabledUser;
use serde::Serialize;

use super::PATH;
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table, terminal,
};

/// The names that are told apart in a question.
const SHOWN: usize = 10;

/// Which disabled users stay.
#[derive(Debug, Clone, Copy, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct Kept {
    /// Delete those who have logged in at least once, too
    #[arg(long = "even-once-active", action = clap::ArgAction::SetFalse)]
    pub(crate) once_active: bool,
    /// Delete members of groups, too
    #[arg(long = "even-group-members", action = clap::ArgAction::SetFalse)]
    pub(crate) group_members: bool,
    /// Delete those who have permissions in the library by name, too
    #[arg(long = "even-with-library-permissions", action = clap::ArgAction::SetFalse)]
    pub(crate) with_library_permissions: bool,
    /// Delete those who made or changed something in the library, too
    #[arg(long = "even-library-authors", action = clap::ArgAction::SetFalse)]
    pub(crate) library_authors: bool,
}

impl Kept {
    fn keeps(self, user: &DisabledUser) -> bool {
        self.once_active && user.logged_in
            || self.group_members && !user.groups.is_empty()
            || self.with_library_permissions && user.library_permissions
            || self.library_authors && user.library_author
    }
}

/// What became of several, for programs.
#[derive(Serialize)]
struct Deleted {
    deleted: Vec<UserName>,
}

/// Deletes one user, once the person agrees; `otherwise` says how to agree in a script.
pub(crate) async fn one(
    context: &Context,
    rest: &Rest,
    user: &UserName,
    (yes, otherwise): (bool, &str),
) -> Result<(), Failure> {
    let question = format!(
        "Delete {user}? It cannot be undone: their runs are stopped, and what they signed counts no more. To keep it, \
         disable the user."
    );
    terminal::confirm(yes, &question, otherwise)?;
    rest.call::<()>(Request::delete(PATH).segment(user.as_str()))
        .await?;
    context.done(&format!("Deleted {user}."))
}

/// The disabled users that do not stay.
pub(crate) async fn disabled(rest: &Rest, kept: Kept) -> Result<Vec<DisabledUser>, Failure> {
    let request = || Request::get(PATH).segment("disabled");
    let mut users: Vec<DisabledUser> = list::all(rest, request, &Extent::default()).await?;
    users.retain(|user| !kept.keeps(user));
    Ok(users)
}

/// Deletes these users, once the person agrees.
pub(crate) async fn several(
    context: &Context,
    rest: &Rest,
    users: Vec<DisabledUser>,
    (yes, otherwise): (bool, &str),
) -> Result<(), Failure> {
    let names: Vec<&str> = users.iter().map(|user| user.name.as_str()).collect();
    if !names.is_empty() {
        let more = names.len().saturating_sub(SHOWN);
        let mut shown = names[..names.len() - more].join(", ");
        if more > 0 {
            shown = format!("{shown} and {more} more");
        }
        let question = format!(
            "Delete {} disabled users ({})? It cannot be undone, and what they signed counts no more.",
            names.len(),
            escaped(&shown)
        );
        terminal::confirm(yes, &question, otherwise)?;
    }
    let mut deleted = Vec::with_capacity(users.len());
    for user in users {
        let request = Request::delete(PATH)
            .segment(user.name.as_str())
            .query("state", "disabled");
        rest.call::<()>(request).await?;
        deleted.push(user.name);
    }
    let deleted = Deleted { deleted };
    context.show(&deleted, || match deleted.deleted.as_slice() {
        [] => "There are no such users; nothing was deleted.".to_owned(),
        [one] => format!("Deleted {one}."),
        many => format!("Deleted {} users.", many.len()),
    })
}

/// Disabled users, for people.
pub(crate) fn rows(users: &[DisabledUser], colour: bool) -> String {
    table::rows(
        [
            "name",
            "logged in",
            "groups",
            "library permissions",
            "library author",
        ],
        users.iter().map(|user| {
            [
                user.name.to_string(),
                table::yes_no(user.logged_in),
                table::list(&user.groups),
                table::yes_no(user.library_permissions),
                table::yes_no(user.library_author),
            ]
        }),
        "No such users.",
        colour,
    )
}
