//! `muster user`: users of the built-in directory.
//!
//! Invariant: a password comes from the terminal or a private file, never from the command line.

pub(crate) mod delete;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_daemon::secret::SecretFile;
use muster_ids::UserName;
use muster_wire::admin::v1::user::{CreateUser, PatchUser, SetPassword, User};
use secrecy::{ExposeSecret as _, SecretString};

use crate::{
    context::Context,
    failure::Failure,
    group::preference,
    list::{self, Extent},
    table, terminal,
};

const PATH: &str = "/api/v1/users";
const CURE: &str = "give --password-file FILE";

/// Users of the built-in directory
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List users
    List(Extent),
    /// Show one user
    Show(Who),
    /// Make a user
    #[command(after_help = "Examples:\n  muster user create ann@SPOTFIRE\n  \
                      muster user create bot@SPOTFIRE --password-file /run/secrets/bot")]
    Create {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// File of mode 0600 with the password, at least 12 characters [default: asked for]
        #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
        password_file: Option<PathBuf>,
        /// Without a password: the user cannot log in by one
        #[arg(long)]
        no_password: bool,
    },
    /// Set a user's password
    SetPassword {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// File of mode 0600 with the new password, at least 12 characters [default: asked for]
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
        /// File of mode 0600 with the present password; needed for your own [default: asked for]
        #[arg(long, value_name = "FILE")]
        current_password_file: Option<PathBuf>,
    },
    /// Keep a user from logging in and from running anything
    Disable(Who),
    /// Let a disabled user in again
    Enable(Who),
    /// Show the preferences that hold for a user, and which groups set them
    Preferences(Who),
    /// Delete a user for ever; the name is free for another account, which has nothing of this one
    Delete {
        /// Who.
        #[command(flatten)]
        who: Who,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Delete disabled users for ever, but for those that are of use still
    DeleteDisabled {
        /// Which of them stay.
        #[command(flatten)]
        kept: delete::Kept,
        /// Say which they are and delete none
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// A user.
#[derive(Args)]
pub(crate) struct Who {
    /// The user, as name@DOMAIN, for example ann@SPOTFIRE
    user: UserName,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    match command {
        Command::List(extent) => {
            let users: Vec<User> = list::all(&rest, || Request::get(PATH), &extent).await?;
            context.show(&users, || rows(&users, context.colour))
        }
        Command::Show(who) => {
            let user: User = rest.call(who.at(Request::get(PATH))).await?;
            context.show(&user, || fields(&user, context.colour))
        }
        Command::Create {
            who,
            password_file,
            no_password,
        } => {
            let password = if no_password {
                None
            } else {
                Some(new_password(&who.user, password_file.as_deref())?)
            };
            let body = CreateUser {
                name: who.user,
                password: password.map(|password| password.expose_secret().to_owned()),
            };
            let user: User = rest.call(Request::post(PATH).json(&body)).await?;
            context.show(&user, || format!("Created {}.", user.name))
        }
        Command::SetPassword {
            who,
            password_file,
            current_password_file,
        } => {
            let current = current_password(context, &who.user, current_password_file.as_deref())?;
            let password = new_password(&who.user, password_file.as_deref())?;
            let body = SetPassword {
                password: password.expose_secret().to_owned(),
                current: current.map(|current| current.expose_secret().to_owned()),
            };
            rest.call::<()>(who.at(Request::put(PATH)).segment("password").json(&body))
                .await?;
            context.done(&format!("{} has a new password.", who.user))
        }
        Command::Disable(who) => patch(context, &rest, &who, "disabled").await,
        Command::Enable(who) => patch(context, &rest, &who, "active").await,
        Command::Preferences(who) => {
            let request = who.at(Request::get(PATH)).segment("preferences");
            preference::show(context, &rest, request).await
        }
        Command::Delete { who, yes } => delete::one(context, &rest, &who.user, (yes, "give --yes")).await,
        Command::DeleteDisabled { kept, dry_run, yes } => {
            let users = delete::disabled(&rest, kept).await?;
            if dry_run {
                return context.show(&users, || delete::rows(&users, context.colour));
            }
            delete::several(context, &rest, users, (yes, "give --yes")).await
        }
    }
}

impl Who {
    fn at(&self, request: Request) -> Request {
        request.segment(self.user.as_str())
    }
}

async fn patch(context: &Context, rest: &Rest, who: &Who, state: &str) -> Result<(), Failure> {
    let change = PatchUser {
        state: state.to_owned(),
    };
    let user: User = rest.call(who.at(Request::patch(PATH)).json(&change)).await?;
    context.show(&user, || {
        format!("{} is {} now.", user.name, crate::escape::escaped(&user.state))
    })
}

fn new_password(user: &UserName, file: Option<&Path>) -> Result<SecretString, Failure> {
    match file {
        Some(path) => Ok(SecretFile::at(path).read_text()?),
        None => terminal::new_password(user.as_str(), CURE),
    }
}

/// The present password, where it is given or the user's own is to be changed.
fn current_password(
    context: &Context,
    user: &UserName,
    file: Option<&Path>,
) -> Result<Option<SecretString>, Failure> {
    if let Some(path) = file {
        return Ok(Some(SecretFile::at(path).read_text()?));
    }
    let own = context
        .store
        .load()?
        .and_then(|profile| profile.user)
        .is_some_and(|me| me.key() == user.key());
    own.then(|| {
        terminal::password(
            &format!("Present password of {user}: "),
            "give --current-password-file FILE",
        )
    })
    .transpose()
}

fn rows(users: &[User], colour: bool) -> String {
    table::rows(
        ["name", "state", "groups", "created"],
        users.iter().map(|user| {
            [
                user.name.to_string(),
                user.state.clone(),
                table::list(&user.groups),
                table::time(&user.created),
            ]
        }),
        "No users.",
        colour,
    )
}

fn fields(user: &User, colour: bool) -> String {
    table::fields(
        [
            ("User", user.id.to_string()),
            ("Name", user.name.to_string()),
            ("State", user.state.clone()),
            ("Groups", table::list(&user.groups)),
            ("Created", table::time(&user.created)),
        ],
        colour,
    )
}
