//! The documented commands about groups and who is in them.

use std::collections::BTreeSet;

use clap::Parser;
use muster_client::{Request, Rest};
use muster_ids::{Name, NameError, UserName};
use muster_wire::admin::v1::{
    group::Group,
    user::{PatchUser, User},
};
use serde::Serialize;

use super::{Common, options};
use crate::{context::Context, escape::escaped, failure::Failure, list, pattern::Pattern, table};

pub(super) const GROUPS: &str = "/api/v1/groups";
const USERS: &str = "/api/v1/users";
/// The domain of what is made here.
pub(super) const DOMAIN: &str = "SPOTFIRE";

/// Why a text names nobody here.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unnamed {
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("groups of other domains do not exist here; name the group without a domain")]
    Domain,
}

/// A group by its name, which may have its domain before it.
pub(super) fn local(text: &str) -> Result<Name, Unnamed> {
    match text.split_once('\\') {
        Some((domain, _)) if !domain.eq_ignore_ascii_case(DOMAIN) => Err(Unnamed::Domain),
        Some((_, name)) => Ok(name.parse()?),
        None => Ok(text.parse()?),
    }
}

/// A user as `name@DOMAIN`, `DOMAIN\name`, or without the domain where that is the internal one.
pub(super) fn user(text: &str) -> Result<UserName, NameError> {
    match text.split_once('\\') {
        Some((domain, name)) => format!("{name}@{domain}").parse(),
        None if text.contains('@') => text.parse(),
        None => format!("{text}@{DOMAIN}").parse(),
    }
}

/// Adds a user or a group as a member of a group
#[derive(Debug, Parser)]
#[command(name = "add-member")]
struct AddMember {
    #[command(flatten)]
    of: Membership,
}

/// Removes a user or a group as a member of a group
#[derive(Debug, Parser)]
#[command(name = "remove-member")]
struct RemoveMember {
    #[command(flatten)]
    of: Membership,
}

#[derive(Debug, clap::Args)]
struct Membership {
    /// The group
    #[arg(short = 'g', long, value_parser = local)]
    groupname: Name,
    /// The user
    #[arg(
        short = 'u',
        long,
        value_parser = user,
        conflicts_with = "member_groupname",
        required_unless_present = "member_groupname"
    )]
    member_username: Option<UserName>,
    /// The group that is the member
    #[arg(short = 'm', long, value_parser = local)]
    member_groupname: Option<Name>,
    #[command(flatten)]
    common: Common,
}

/// Gives a user or a group the direct memberships of another
#[derive(Debug, Parser)]
#[command(name = "copy-group-membership")]
struct CopyMembership {
    /// The user whose memberships they are
    #[arg(
        short = 'u',
        long,
        value_parser = user,
        conflicts_with = "oldgroupname",
        required_unless_present = "oldgroupname"
    )]
    oldusername: Option<UserName>,
    /// The group whose memberships they are
    #[arg(short = 'g', long, value_parser = local)]
    oldgroupname: Option<Name>,
    /// The user who gets them
    #[arg(
        short = 'n',
        long,
        value_parser = user,
        conflicts_with = "newgroupname",
        required_unless_present = "newgroupname"
    )]
    newusername: Option<UserName>,
    /// The group that gets them
    #[arg(short = 'p', long, value_parser = local)]
    newgroupname: Option<Name>,
    #[command(flatten)]
    common: Common,
}

/// Lists groups
#[derive(Debug, Parser)]
#[command(name = "list-groups")]
struct ListGroups {
    /// The most groups that are listed
    #[arg(short = 'l', long, default_value_t = 20)]
    limit: usize,
    /// Names or parts of them, with commas between; with * for anything a name is meant as a whole
    #[arg(short = 's', long)]
    search_expression: Option<String>,
    /// Show who is in them
    #[arg(short = 'm', long)]
    list_members: bool,
    #[command(flatten)]
    common: Common,
}

/// Enables or disables a user
#[derive(Debug, Parser)]
#[command(name = "enable-user")]
struct EnableUser {
    /// The user
    #[arg(short = 'u', long, value_parser = user)]
    username: UserName,
    /// Whether the user is enabled
    #[arg(short = 'e', long, default_value_t = true, action = clap::ArgAction::Set)]
    enabled: bool,
    #[command(flatten)]
    common: Common,
}

/// What `copy-group-membership` did, for programs.
#[derive(Serialize)]
struct Copied {
    to: String,
    added: Vec<Name>,
    had: Vec<Name>,
}

/// A line of `list-groups`.
#[derive(Serialize)]
struct Line {
    group: Name,
    builtin: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    users: Option<Vec<UserName>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Name>>,
}

/// `add-member -g GROUP (-u USER | -m GROUP)`.
pub(super) async fn add(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(AddMember { of }) = options(arguments)? else {
        return Ok(());
    };
    of.common.check()?;
    let (member, request) = of.request(Request::put(GROUPS))?;
    context.rest()?.call::<()>(request).await?;
    context.done(&format!("{member} is in \"{}\" now.", of.groupname))
}

/// `remove-member -g GROUP (-u USER | -m GROUP)`.
pub(super) async fn remove(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(RemoveMember { of }) = options(arguments)? else {
        return Ok(());
    };
    of.common.check()?;
    let (member, request) = of.request(Request::delete(GROUPS))?;
    context.rest()?.call::<()>(request).await?;
    context.done(&format!("{member} is not in \"{}\" any more.", of.groupname))
}

impl Membership {
    /// Who it is about, and the request about them.
    fn request(&self, request: Request) -> Result<(String, Request), Failure> {
        match (&self.member_username, &self.member_groupname) {
            (Some(user), None) => Ok((user.to_string(), of_user(request, &self.groupname, user))),
            (None, Some(group)) => Ok((format!("\"{group}\""), of_group(request, &self.groupname, group))),
            _ => Err(Failure::usage("name one member: -u, or -m")),
        }
    }
}

/// That `member` is in `group`.
pub(super) fn of_user(request: Request, group: &Name, member: &UserName) -> Request {
    request
        .segment(group.as_str())
        .segment("members")
        .segment(member.as_str())
}

/// That the group `member` is in `group`.
pub(super) fn of_group(request: Request, group: &Name, member: &Name) -> Request {
    request
        .segment(member.as_str())
        .segment("parents")
        .segment(group.as_str())
}

/// `copy-group-membership (-u USER | -g GROUP) (-n USER | -p GROUP)`.
pub(super) async fn copy(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<CopyMembership>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let from = memberships(&rest, options.oldusername.as_ref(), options.oldgroupname.as_ref()).await?;
    let to = memberships(&rest, options.newusername.as_ref(), options.newgroupname.as_ref()).await?;
    let held: BTreeSet<String> = to.iter().map(Name::key).collect();
    let (had, missing): (Vec<Name>, Vec<Name>) =
        from.into_iter().partition(|group| held.contains(&group.key()));
    let mut added = Vec::new();
    for group in missing {
        let request = match (&options.newusername, &options.newgroupname) {
            (Some(user), _) => of_user(Request::put(GROUPS), &group, user),
            (_, Some(member)) => of_group(Request::put(GROUPS), &group, member),
            _ => return Err(Failure::usage("name who gets them: -n, or -p")),
        };
        if let Err(error) = rest.call::<()>(request).await {
            return Err(stopped(&added, &group, error.into()));
        }
        added.push(group);
    }
    let to = options
        .newusername
        .map(|user| user.to_string())
        .or(options.newgroupname.map(|group| group.to_string()))
        .unwrap_or_default();
    let copied = Copied { to, added, had };
    context.show(&copied, || {
        format!("{} is now also in: {}.", copied.to, table::list(&copied.added))
    })
}

/// What was done stays; it is said, and that the rest can be done by the same command.
fn stopped(added: &[Name], group: &Name, why: Failure) -> Failure {
    if added.is_empty() {
        return why;
    }
    Failure::failed(
        "incomplete",
        format!(
            "membership of \"{group}\" was not copied ({}); that of {} was, and the same command goes on when this is mended",
            why.sentence(),
            table::list(added)
        ),
    )
}

/// The groups in which a user or a group is directly.
async fn memberships(
    rest: &Rest,
    user: Option<&UserName>,
    group: Option<&Name>,
) -> Result<Vec<Name>, Failure> {
    if let Some(user) = user {
        let user: User = rest.call(Request::get(USERS).segment(user.as_str())).await?;
        let names = user.groups.iter().map(|name| name.parse());
        return names
            .collect::<Result<_, _>>()
            .map_err(|error: NameError| Failure::failed("unexpected-answer", error.to_string()));
    }
    let Some(group) = group else {
        return Err(Failure::usage("name a user or a group"));
    };
    let group: Group = rest.call(Request::get(GROUPS).segment(group.as_str())).await?;
    Ok(group.parents)
}

/// `list-groups [-l LIMIT] [-s EXPRESSION] [-m]`.
pub(super) async fn list(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListGroups>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let mut groups: Vec<Group> = list::every(&context.rest()?, GROUPS).await?;
    groups.sort_by_key(|group| group.name.key());
    let patterns: Option<Vec<Pattern>> = options
        .search_expression
        .as_deref()
        .map(|text| text.split(',').map(str::trim).map(Pattern::new).collect());
    let meant = |group: &&Group| {
        patterns
            .as_ref()
            .is_none_or(|any| any.iter().any(|pattern| pattern.matches(group.name.as_str())))
    };
    let found: Vec<&Group> = groups.iter().filter(meant).collect();
    let left = found.len().saturating_sub(options.limit);
    let lines: Vec<Line> = found
        .into_iter()
        .take(options.limit)
        .map(|group| Line {
            group: group.name.clone(),
            builtin: group.builtin,
            users: options.list_members.then(|| group.members.clone()),
            groups: options.list_members.then(|| inside(&groups, &group.name)),
        })
        .collect();
    context.show(&lines, || {
        let text = if options.list_members {
            table::rows(
                ["group", "built in", "users", "groups"],
                lines.iter().map(|line| {
                    [
                        line.group.to_string(),
                        table::yes_no(line.builtin),
                        table::list(line.users.as_deref().unwrap_or_default()),
                        table::list(line.groups.as_deref().unwrap_or_default()),
                    ]
                }),
                "No groups.",
                context.colour,
            )
        } else {
            table::rows(
                ["group", "built in"],
                lines
                    .iter()
                    .map(|line| [line.group.to_string(), table::yes_no(line.builtin)]),
                "No groups.",
                context.colour,
            )
        };
        match left {
            0 => text,
            left => format!("{text}\n{left} more are not listed; -l says how many are."),
        }
    })
}

/// The groups that are members of `parent`.
pub(super) fn inside(groups: &[Group], parent: &Name) -> Vec<Name> {
    let key = parent.key();
    let mut members: Vec<Name> = groups
        .iter()
        .filter(|group| group.parents.iter().any(|name| name.key() == key))
        .map(|group| group.name.clone())
        .collect();
    members.sort_by_key(Name::key);
    members
}

/// `enable-user -u USER [-e true|false]`.
pub(super) async fn enable(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<EnableUser>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let state = if options.enabled { "active" } else { "disabled" };
    let change = PatchUser {
        state: state.to_owned(),
    };
    let request = Request::patch(USERS)
        .segment(options.username.as_str())
        .json(&change);
    let user: User = context.rest()?.call(request).await?;
    context.show(&user, || {
        format!("{} is {} now.", user.name, escaped(&user.state))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_named_with_their_domain_or_without() {
        for text in ["ann", "ann@SPOTFIRE", "SPOTFIRE\\ann"] {
            assert_eq!(user(text).expect(text).as_str(), "ann@SPOTFIRE");
        }
        assert_eq!(user("RESEARCH\\ann").expect("named").as_str(), "ann@RESEARCH");
        for text in ["Staff", "spotfire\\Staff"] {
            assert_eq!(local(text).expect(text).as_str(), "Staff");
        }
        assert!(matches!(local("RESEARCH\\Staff"), Err(Unnamed::Domain)));
        assert!(local("a\\b\\c").is_err());
        assert!(user("").is_err());
    }

    #[test]
    fn exactly_one_member_is_named() {
        let parse = |line: &str| AddMember::try_parse_from(line.split(' '));
        assert!(parse("add-member -g Staff -u ann").is_ok());
        assert!(parse("add-member -g Staff -m Analysts").is_ok());
        assert!(parse("add-member -g Staff").is_err());
        assert!(parse("add-member -g Staff -u ann -m Analysts").is_err());
        assert!(parse("add-member -u ann").is_err());
    }
}
