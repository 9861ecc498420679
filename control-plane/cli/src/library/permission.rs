//! `muster library permissions`, `permit`, `forbid` and `inherit`.

use clap::{ArgGroup, Args};
use muster_client::{Request, Rest};
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::library::{Grant, Permissions, SetPermissions};

use super::{PATH, at};
use crate::{context::Context, escape::escaped, failure::Failure, table};

/// Give a permission; an item that inherited keeps what it inherited as its own
#[derive(Args)]
pub(crate) struct Permit {
    /// The item
    item: String,
    /// For whom.
    #[command(flatten)]
    who: Who,
    /// What they may do; who may write may read
    #[arg(long, value_parser = ["read", "write"])]
    right: String,
}

/// Take a permission; an item that inherited keeps the others as its own
#[derive(Args)]
pub(crate) struct Forbid {
    /// The item
    item: String,
    /// Whose.
    #[command(flatten)]
    who: Who,
}

/// Whom a permission is for.
#[derive(Args)]
#[command(group = ArgGroup::new("who").required(true))]
pub(crate) struct Who {
    /// A user, as name@DOMAIN
    #[arg(long, group = "who")]
    user: Option<UserName>,
    /// A group, with all who are in it
    #[arg(long, group = "who")]
    group: Option<Name>,
    /// All who have this license feature
    #[arg(long, value_name = "FEATURE", group = "who")]
    license: Option<String>,
}

impl Who {
    fn is(&self, grant: &Grant) -> bool {
        let group = |name: &Option<Name>| name.as_ref().map(Name::key);
        let user = |name: &Option<UserName>| name.as_ref().map(UserName::key);
        user(&self.user) == user(&grant.user)
            && group(&self.group) == group(&grant.group)
            && self.license == grant.license
    }
}

/// Shows what holds.
pub(super) async fn show(context: &Context, item: &str) -> Result<(), Failure> {
    let permissions = fetch(&context.rest()?, item).await?;
    context.show(&permissions, || rows(&permissions, context.colour))
}

/// Adds one permission.
pub(super) async fn permit(context: &Context, wanted: Permit) -> Result<(), Failure> {
    let rest = context.rest()?;
    let Permissions {
        mut grants, version, ..
    } = fetch(&rest, &wanted.item).await?;
    grants.retain(|grant| !wanted.who.is(grant));
    grants.push(Grant {
        user: wanted.who.user,
        group: wanted.who.group,
        license: wanted.who.license,
        right: wanted.right,
    });
    put(context, &rest, &wanted.item, changed(grants, version)).await
}

/// Removes one permission.
pub(super) async fn forbid(context: &Context, wanted: Forbid) -> Result<(), Failure> {
    let rest = context.rest()?;
    let Permissions {
        grants: before,
        version,
        ..
    } = fetch(&rest, &wanted.item).await?;
    let mut grants = before.clone();
    grants.retain(|grant| !wanted.who.is(grant));
    if grants.len() == before.len() {
        return Err(Failure::failed(
            "not-found",
            "they have no permission of their own there; muster library permissions shows who has",
        ));
    }
    put(context, &rest, &wanted.item, changed(grants, version)).await
}

/// Removes the own permissions of an item.
pub(super) async fn inherit(context: &Context, item: &str) -> Result<(), Failure> {
    let wanted = SetPermissions {
        inherits: true,
        ..SetPermissions::default()
    };
    put(context, &context.rest()?, item, wanted).await
}

/// Of two who change the same permissions at once, the later is told, and takes back nothing that they did not see.
fn changed(grants: Vec<Grant>, version: String) -> SetPermissions {
    SetPermissions {
        inherits: false,
        grants,
        version: Some(version),
    }
}

async fn fetch(rest: &Rest, item: &str) -> Result<Permissions, Failure> {
    Ok(rest
        .call(at(Request::get(PATH), item).segment("permissions"))
        .await?)
}

async fn put(context: &Context, rest: &Rest, item: &str, wanted: SetPermissions) -> Result<(), Failure> {
    let request = at(Request::put(PATH), item).segment("permissions").json(&wanted);
    let permissions: Permissions = rest.call(request).await?;
    context.show(&permissions, || rows(&permissions, context.colour))
}

fn rows(permissions: &Permissions, colour: bool) -> String {
    let table = table::rows(
        ["for", "right"],
        permissions.grants.iter().map(|grant| {
            let who = match (&grant.user, &grant.group, &grant.license) {
                (Some(user), _, _) => format!("user {user}"),
                (_, Some(group), _) => format!("group {group}"),
                (_, _, Some(license)) => format!("license {license}"),
                _ => table::dash(),
            };
            [who, grant.right.clone()]
        }),
        "Nobody but administrators.",
        colour,
    );
    format!("{table}\nset at {}", escaped(&permissions.from))
}
