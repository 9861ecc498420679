//! The documented commands that delete users.

use clap::Parser;
use muster_ids::UserName;

use super::{Common, group::user, options};
use crate::{
    context::Context,
    failure::Failure,
    user::delete::{self, Kept},
};

/// Deletes a user account
#[derive(Debug, Parser)]
#[command(name = "delete-user")]
struct DeleteUser {
    /// The user
    #[arg(short = 'u', long, value_parser = user)]
    username: UserName,
    #[command(flatten)]
    common: Common,
}

/// Deletes disabled user accounts
#[derive(Debug, Parser)]
#[command(name = "delete-disabled-users")]
struct DeleteDisabledUsers {
    /// Keep who has logged in at least once
    #[arg(short = 'a', long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    keep_once_active_users: bool,
    /// Keep who is a member of a group
    #[arg(short = 'm', long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    keep_group_members: bool,
    /// Keep who has permissions in the library by name
    #[arg(short = 'p', long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    keep_users_with_library_permissions: bool,
    /// Keep who made or changed something in the library
    #[arg(short = 'l', long, value_name = "true|false", default_value_t = true, action = clap::ArgAction::Set)]
    keep_library_authors: bool,
    /// Do not ask
    #[arg(short = 'f', long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// `delete-user -u USER`. The documented command asks nothing.
pub(super) async fn delete(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<DeleteUser>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    delete::one(context, &rest, &options.username, (true, "")).await
}

/// `delete-disabled-users [-a] [-m] [-p] [-l] [-f]`.
pub(super) async fn delete_disabled(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<DeleteDisabledUsers>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let kept = Kept {
        once_active: options.keep_once_active_users,
        group_members: options.keep_group_members,
        with_library_permissions: options.keep_users_with_library_permissions,
        library_authors: options.keep_library_authors,
    };
    let rest = context.rest()?;
    let users = delete::disabled(&rest, kept).await?;
    delete::several(context, &rest, users, (options.force, "give -f")).await
}
