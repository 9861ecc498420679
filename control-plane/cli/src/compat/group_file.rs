//! `export-groups`, `import-groups`, and the file between them.
//!
//! The file has a row for each group and, where wanted, one for each of its members, in Spotfire Text Data Format or as
//! comma-separated values: `Group name`, `Domain name`, `Display name`, `Email`, `Member name`, `Member domain name`,
//! `Member type`. A row without a member makes the group.

mod form;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    fs::File,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use clap::Parser;
use muster_client::{Request, Rest};
use muster_daemon::file::{self, Access};
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::{
    group::{Group, GroupInGroup, GroupsImported, ImportGroups as Import, UserInGroup},
    user::User,
};
use serde::Serialize;

use self::form::{Form, Row};
use super::{
    Common,
    group::{DOMAIN, GROUPS, inside},
    options,
};
use crate::{
    context::Context,
    escape::escaped,
    failure::{Failure, chain},
    list, table,
};

const NO_IDENTIFIERS: &str =
    "-g is not taken: the identifiers of groups are this system's own, and names are enough";
/// The largest file that is read.
const LARGEST: u64 = 64 * 1024 * 1024;
/// Of a file that is written: who is in which group is for whoever wrote it.
const MODE: u32 = 0o600;
/// How many wrong rows are told at once.
const TOLD: usize = 10;

/// Writes all groups to a file
#[derive(Debug, Parser)]
#[command(name = "export-groups")]
struct ExportGroups {
    /// With groups that are in groups
    #[arg(short = 'm', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_member_groups: bool,
    /// With users who are in groups
    #[arg(short = 'u', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_member_users: bool,
    /// Refused: identifiers are not exported
    #[arg(short = 'g', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_guids: bool,
    /// Spotfire Text Data Format; otherwise comma-separated values
    #[arg(short = 's', long, default_value_t = true, action = clap::ArgAction::Set)]
    use_stdf: bool,
    /// Begin comma-separated values with the names of the columns
    #[arg(short = 'n', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_name_row: bool,
    /// The file
    #[arg(default_value = "groups.txt")]
    file: PathBuf,
    /// Replace a file that is there
    #[arg(short = 'f', long)]
    force: bool,
    #[command(flatten)]
    common: Common,
}

/// Makes the groups in a file, and who is in them
#[derive(Debug, Parser)]
#[command(name = "import-groups")]
struct ImportGroups {
    /// With groups that are in groups
    #[arg(short = 'm', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_member_groups: bool,
    /// With users who are in groups
    #[arg(short = 'u', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_member_users: bool,
    /// Refused: identifiers are not imported
    #[arg(short = 'g', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    include_guids: bool,
    /// Comma-separated values begin with the names of the columns
    #[arg(short = 'n', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    has_name_row: bool,
    /// The file
    #[arg(default_value = "groups.txt")]
    file: PathBuf,
    #[command(flatten)]
    common: Common,
}

/// What was written, for programs.
#[derive(Serialize)]
struct Exported {
    file: PathBuf,
    groups: usize,
    members: usize,
}

/// What was made, for programs.
#[derive(Debug, Default, Serialize)]
struct Imported {
    groups: Vec<Name>,
    members: usize,
    /// Memberships that were there.
    had: usize,
    /// Members that the file names and the options leave out.
    left_out: usize,
}

/// `export-groups [-m] [-u] [-s true|false] [-n] [FILE] [-f]`.
pub(super) async fn export(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ExportGroups>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    if options.include_guids {
        return Err(Failure::usage(NO_IDENTIFIERS));
    }
    if options.use_stdf && options.include_name_row {
        return Err(Failure::usage(
            "-n is for comma-separated values, -s false; the other format always has the names of its columns",
        ));
    }
    let mut groups: Vec<Group> = list::every(&context.rest()?, GROUPS).await?;
    groups.sort_by_key(|group| group.name.key());
    let mut rows = Vec::new();
    for group in &groups {
        rows.push(Row::group(group.name.as_str()));
        if options.include_member_groups {
            for member in inside(&groups, &group.name) {
                rows.push(Row::member(
                    group.name.as_str(),
                    (member.as_str(), DOMAIN),
                    "group",
                ));
            }
        }
        if options.include_member_users {
            for member in &group.members {
                let named = member.as_str().rsplit_once('@').unwrap_or((member.as_str(), ""));
                rows.push(Row::member(group.name.as_str(), named, "user"));
            }
        }
    }
    let form = if options.use_stdf { Form::Stdf } else { Form::Csv };
    let text = form::write(form, options.include_name_row, &rows);
    write(&options.file, options.force, &text)?;
    let written = Exported {
        members: rows.len() - groups.len(),
        groups: groups.len(),
        file: options.file,
    };
    context.show(&written, || {
        escaped(&format!(
            "Wrote {} groups and {} memberships to {}.",
            written.groups,
            written.members,
            written.file.display()
        ))
    })
}

fn write(path: &Path, replace: bool, text: &str) -> Result<(), Failure> {
    if replace {
        // As a whole, also where it is a link to something else.
        return file::write(path, text.as_bytes(), MODE, "groups")
            .map_err(|error| Failure::failed("file", chain(&error)));
    }
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::failed(
            "file-exists",
            format!(
                "{} exists; give -f to replace it, or name another file",
                path.display()
            ),
        ),
        _ => Failure::failed("file", format!("{} cannot be written: {error}", path.display())),
    };
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(MODE)
        .open(path)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).map_err(failed)
}

/// `import-groups [-m] [-u] [-n] [FILE]`.
pub(super) async fn import(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ImportGroups>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    if options.include_guids {
        return Err(Failure::usage(NO_IDENTIFIERS));
    }
    let bytes =
        file::read(&options.file, Access::Any, LARGEST).map_err(|error| Failure::usage(chain(&error)))?;
    let said = |why: &dyn Display| format!("{}: {why}; nothing was changed", options.file.display());
    let wrong = |why: String| Failure::failed("file", said(&why));
    let rows = form::read(&bytes, options.has_name_row).map_err(|error| Failure::usage(said(&error)))?;
    let rest = context.rest()?;
    let there: Vec<Group> = list::every(&rest, GROUPS).await?;
    let mut plan = Plan::of(&rows, &there, &options).map_err(|errors| {
        let more = errors.len().saturating_sub(TOLD);
        let mut told: Vec<String> = errors.into_iter().take(TOLD).collect();
        if more > 0 {
            told.push(format!("and {more} more rows"));
        }
        wrong(told.join("; "))
    })?;
    if !plan.users.is_empty() {
        let users: Vec<User> = list::every(&rest, USERS).await?;
        let known: BTreeSet<String> = users.iter().map(|user| user.name.key()).collect();
        let missing: Vec<&UserName> = plan
            .users
            .iter()
            .map(|(_, user)| user)
            .filter(|user| !known.contains(&user.key()))
            .take(TOLD)
            .collect();
        if !missing.is_empty() {
            return Err(wrong(format!(
                "users must exist before they are members: {}",
                table::list(&missing)
            )));
        }
    }
    let made = match plan.make(&rest).await {
        // What the control plane refuses it refuses as a whole; what was lost on the way may have been done.
        Err(Failure::Call(error)) if error.problem().is_some() => {
            return Err(Failure::failed(
                "refused",
                format!("{}; nothing was changed", Failure::Call(error).sentence()),
            ));
        }
        Err(failure) => {
            return Err(Failure::failed(
                "unknown",
                format!(
                    "{}; whether it was done is not known: import the file again, what is there already stays as it is",
                    failure.sentence()
                ),
            ));
        }
        Ok(made) => made,
    };
    context.show(&made, || {
        let text = format!(
            "Made {} groups and {} memberships; {} memberships were there.",
            made.groups.len(),
            made.members,
            made.had
        );
        match made.left_out {
            0 => text,
            left => format!("{text} {left} members in the file were left out; -m takes groups, -u users."),
        }
    })
}

const USERS: &str = "/api/v1/users";
const IMPORTS: &str = "/api/v1/group-imports";

/// What a file asks for.
struct Plan {
    /// Groups to be made.
    groups: Vec<Name>,
    /// Groups in groups: the outer one first.
    inner: Vec<(Name, Name)>,
    /// Users in groups.
    users: Vec<(Name, UserName)>,
    done: Imported,
}

impl Plan {
    fn of(rows: &[Row], there: &[Group], options: &ImportGroups) -> Result<Self, Vec<String>> {
        let mut plan = Self {
            groups: Vec::new(),
            inner: Vec::new(),
            users: Vec::new(),
            done: Imported::default(),
        };
        let mut errors = Vec::new();
        let mut known: BTreeMap<String, Option<&Group>> = there
            .iter()
            .map(|group| (group.name.key(), Some(group)))
            .collect();
        for row in rows {
            match group_of(row) {
                Ok(name) => {
                    known.entry(name.key()).or_insert_with(|| {
                        plan.groups.push(name);
                        None
                    });
                }
                Err(why) => errors.push(format!("row {}: {why}", row.number)),
            }
        }
        let mut seen = BTreeSet::new();
        for row in rows {
            let Ok(outer) = group_of(row) else { continue };
            let group = known.get(&outer.key()).copied().flatten();
            match plan.member(row, outer, group, &known, options, &mut seen) {
                Ok(()) => {}
                Err(why) => errors.push(format!("row {}: {why}", row.number)),
            }
        }
        if errors.is_empty() { Ok(plan) } else { Err(errors) }
    }

    fn member(
        &mut self,
        row: &Row,
        outer: Name,
        group: Option<&Group>,
        known: &BTreeMap<String, Option<&Group>>,
        options: &ImportGroups,
        seen: &mut BTreeSet<(String, String, bool)>,
    ) -> Result<(), String> {
        let is_user = match row.kind.as_str() {
            "" if row.member.is_empty() && row.member_domain.is_empty() => return Ok(()),
            "user" => true,
            "group" => false,
            other => {
                return Err(format!(
                    "the type of a member is user or group, not \"{}\"",
                    shown(other)
                ));
            }
        };
        let domain = Some(row.member_domain.as_str())
            .filter(|domain| !domain.is_empty())
            .unwrap_or(DOMAIN);
        let key = (
            outer.key(),
            format!("{}@{domain}", row.member).to_lowercase(),
            is_user,
        );
        if is_user {
            let user: UserName = format!("{}@{domain}", row.member)
                .parse()
                .map_err(|error| format!("the member: {error}"))?;
            if !options.include_member_users {
                self.done.left_out += 1;
            } else if group.is_some_and(|group| group.members.iter().any(|member| member.key() == user.key()))
            {
                self.done.had += 1;
            } else if seen.insert(key) {
                self.users.push((outer, user));
            }
            return Ok(());
        }
        if !domain.eq_ignore_ascii_case(DOMAIN) {
            return Err("groups of other domains do not exist here".to_owned());
        }
        let inner: Name = row
            .member
            .parse()
            .map_err(|error| format!("the member: {error}"))?;
        let Some(found) = known.get(&inner.key()) else {
            return Err(format!("the group \"{inner}\" is neither here nor in the file"));
        };
        if !options.include_member_groups {
            self.done.left_out += 1;
        } else if found.is_some_and(|found| found.parents.iter().any(|parent| parent.key() == outer.key())) {
            self.done.had += 1;
        } else if seen.insert(key) {
            self.inner.push((outer, inner));
        }
        Ok(())
    }

    /// Does it, all of it or nothing. What somebody else made meanwhile is as good.
    async fn make(&mut self, rest: &Rest) -> Result<Imported, Failure> {
        let mut done = std::mem::take(&mut self.done);
        let change = Import {
            groups: std::mem::take(&mut self.groups),
            parents: std::mem::take(&mut self.inner)
                .into_iter()
                .map(|(parent, group)| GroupInGroup { group, parent })
                .collect(),
            members: std::mem::take(&mut self.users)
                .into_iter()
                .map(|(group, user)| UserInGroup { group, user })
                .collect(),
        };
        if change == Import::default() {
            return Ok(done);
        }
        let request = Request::post(IMPORTS).json(&change);
        let made: GroupsImported = rest.call(request).await?;
        done.groups = made.made;
        done.members = usize::try_from(made.memberships).unwrap_or(usize::MAX);
        done.had += usize::try_from(made.had).unwrap_or(usize::MAX);
        Ok(done)
    }
}

/// The group that a row is about; what a group cannot have here is refused.
fn group_of(row: &Row) -> Result<Name, String> {
    let name: Name = row.group.parse().map_err(|error| format!("{error}"))?;
    if !row.domain.is_empty() && !row.domain.eq_ignore_ascii_case(DOMAIN) {
        return Err(format!(
            "groups of the domain \"{}\" do not exist here",
            shown(&row.domain)
        ));
    }
    if !row.display.is_empty() && row.display != row.group {
        return Err("groups have no display name of their own here; leave it empty".to_owned());
    }
    if !row.email.is_empty() {
        return Err("groups have no address for mail here; leave it empty".to_owned());
    }
    Ok(name)
}

fn shown(text: &str) -> String {
    let short: String = text.chars().take(64).collect();
    escaped(&short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str, parents: &[&str], members: &[&str]) -> Group {
        serde_json::from_value(serde_json::json!({
            "name": name, "builtin": false, "parents": parents, "features": [], "members": members,
        }))
        .expect("a group")
    }

    fn plan(rows: &[Row], arguments: &[&str]) -> Result<Plan, Vec<String>> {
        let there = [
            group("Staff", &[], &["ann@SPOTFIRE"]),
            group("Analysts", &["Staff"], &[]),
        ];
        let mut line = vec!["import-groups"];
        line.extend(arguments);
        Plan::of(
            rows,
            &there,
            &ImportGroups::try_parse_from(line).expect("options"),
        )
    }

    #[test]
    fn only_what_is_missing_and_wanted_is_made() {
        let rows = [
            Row::group("Staff"),
            Row::group("New"),
            Row::member("Staff", ("ann", "SPOTFIRE"), "user"),
            Row::member("Staff", ("bob", ""), "user"),
            Row::member("Staff", ("bob", "spotfire"), "user"),
            Row::member("Staff", ("Analysts", ""), "group"),
            Row::member("Staff", ("New", "SPOTFIRE"), "group"),
        ];
        let all = plan(&rows, &["-m", "true", "-u", "true"]).expect("a plan");
        assert_eq!(all.groups.iter().map(Name::as_str).collect::<Vec<_>>(), ["New"]);
        assert_eq!((all.inner.len(), all.users.len(), all.done.had), (1, 1, 2));
        let none = plan(&rows, &[]).expect("a plan");
        assert_eq!(
            (none.inner.len(), none.users.len(), none.done.left_out),
            (0, 0, 5)
        );
    }

    #[test]
    fn what_cannot_be_here_is_refused_by_its_row() {
        let with = |change: fn(&mut Row)| {
            let mut row = Row::member("Staff", ("bob", "SPOTFIRE"), "user");
            row.number = 7;
            change(&mut row);
            plan(&[row], &["-u", "-m"]).err().expect("refused").join(" ")
        };
        for (said, expected) in [
            (with(|row| row.domain = "RESEARCH".to_owned()), "RESEARCH"),
            (with(|row| row.email = "a@b".to_owned()), "mail"),
            (with(|row| row.display = "Other".to_owned()), "display name"),
            (with(|row| row.kind = "robot".to_owned()), "robot"),
            (with(|row| row.group = String::new()), "empty"),
            (
                with(|row| {
                    row.kind = "group".to_owned();
                    row.member = "Nobody".to_owned();
                }),
                "neither here nor in the file",
            ),
        ] {
            assert!(said.starts_with("row 7: ") && said.contains(expected), "{said}");
        }
    }
}
