//! `show-code-trust`: seven tables of who trusts what, as files of comma-separated values.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use muster_client::Request;
use muster_client::Rest;
use muster_daemon::clock::parse_rfc3339;
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::{
    group::Group,
    signing::SigningCertificate,
    trust::{Decided, Principal, Revocation},
    user::User,
};
use serde::Serialize;

use super::{Common, options};
use crate::{
    context::Context,
    csv,
    failure::Failure,
    list::{self, Extent},
    trust,
};

/// Writes seven files about trust into a new folder
#[derive(Debug, Parser)]
#[command(name = "show-code-trust")]
struct ShowCodeTrust {
    /// Say for each group who is in it, or in a group that is in it
    #[arg(short = 'x', long, num_args = 0..=1, default_value_t = false, default_missing_value = "true")]
    expand_groups: bool,
    #[command(flatten)]
    common: Common,
}

/// What is said of trust that cannot be taken over.
const NOT_IN_THE_ORIGINAL: &str = "not supported by the original: groups trust no hashes there";
/// The group that everybody is in.
const EVERYONE: &str = "Everyone";

/// Where the files are, for programs.
#[derive(Serialize)]
struct Written {
    folder: PathBuf,
}

/// `show-code-trust [-x]`.
pub(super) async fn show(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ShowCodeTrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let (blocks, signers) = (trust::blocks(&rest).await?, trust::signers(&rest).await?);
    let (items, revocations) = (trust::items(&rest).await?, trust::revocations(&rest).await?);
    let directory = if options.expand_groups {
        Directory::fetch(&rest).await?
    } else {
        Directory::default()
    };
    let numbers = certificates(&rest, &revocations).await?;
    let folder = PathBuf::from(format!("code-trust-{}", context.clock.unix_ms()));
    let failed = |what: &Path, error: std::io::Error| {
        Failure::failed(
            "file",
            format!(
                "cannot write {} ({error}); nothing else was changed",
                what.display()
            ),
        )
    };
    fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
    let write = |name: &str, table: &Table| {
        let path = folder.join(name);
        fs::write(&path, table.text()).map_err(|error| failed(&path, error))
    };

    let mut certificates = Table::new(&["issuer", "serial_number", "by", "since", "reason"]);
    let mut hashes = Table::new(&["type", "hash", "by", "since", "reason"]);
    let mut users = Table::new(&["user", "by", "since", "reason"]);
    for block in &blocks {
        let decided = decided(&block.decided);
        match (&block.item, &block.user) {
            (Some(item), _) => hashes.row([vec![item.kind.clone(), item.hash.clone()], decided]),
            (None, Some(user)) => users.row([vec![user.to_string()], decided]),
            (None, None) => certificates.row([
                vec![
                    block.issuer.clone().unwrap_or_default(),
                    block.serial.clone().unwrap_or_default(),
                ],
                decided,
            ]),
        }
    }
    write("blocked_extcert.csv", &certificates)?;
    write("blocked_hashes.csv", &hashes)?;
    write("blocked_users.csv", &users)?;

    let mut revoked = Table::new(&["user", "serial_numbers", "from", "until", "by", "since", "reason"]);
    for (revocation, serials) in revocations.iter().zip(numbers) {
        let about = vec![
            revocation.user.to_string(),
            serials.join(";"),
            revocation.from.clone(),
            revocation.until.clone().unwrap_or_default(),
        ];
        revoked.row([about, decided(&revocation.decided)]);
    }
    write("revoked_certs.csv", &revoked)?;

    let whose = ["user", "group", "members", "expires", "by", "since", "reason"];
    let mut by_certificate = Table::new(&[&["issuer", "serial_number", "role"][..], &whose].concat());
    let mut by_user = Table::new(&[&["signer", "role"][..], &whose].concat());
    for entry in &signers {
        let rest = [
            principal(&entry.principal, &directory),
            vec![entry.expires.clone().unwrap_or_default()],
            decided(&entry.decided),
        ]
        .concat();
        let signer = &entry.signer;
        match &signer.user {
            Some(user) => by_user.row([vec![user.to_string(), signer.role.clone()], rest]),
            None => by_certificate.row([
                vec![
                    signer.issuer.clone().unwrap_or_default(),
                    signer.serial.clone().unwrap_or_default(),
                    signer.role.clone(),
                ],
                rest,
            ]),
        }
    }
    write("byextcert.csv", &by_certificate)?;
    write("byuser.csv", &by_user)?;

    let mut by_hash = Table::new(&[&["type", "hash"][..], &whose, &["remark"]].concat());
    for entry in &items {
        let remark = if entry.principal.group.is_some() {
            NOT_IN_THE_ORIGINAL
        } else {
            ""
        };
        by_hash.row([
            vec![entry.item.kind.clone(), entry.item.hash.clone()],
            principal(&entry.principal, &directory),
            vec![entry.expires.clone().unwrap_or_default()],
            decided(&entry.decided),
            vec![remark.to_owned()],
        ]);
    }
    write("byhash.csv", &by_hash)?;
    let folder = fs::canonicalize(&folder).unwrap_or(folder);
    context.show(
        &Written {
            folder: folder.clone(),
        },
        || folder.display().to_string(),
    )
}

/// Rows of comma-separated values (RFC 4180).
struct Table(String);

impl Table {
    fn new(headers: &[&str]) -> Self {
        let mut table = Self(String::new());
        table.line(headers.iter().map(|header| (*header).to_owned()));
        table
    }

    fn row<const N: usize>(&mut self, parts: [Vec<String>; N]) {
        self.line(parts.into_iter().flatten());
    }

    fn line(&mut self, cells: impl Iterator<Item = String>) {
        let cells: Vec<String> = cells.collect();
        self.0.push_str(&csv::record(cells.iter().map(String::as_str)));
    }

    fn text(&self) -> &str {
        &self.0
    }
}

fn decided(decided: &Decided) -> Vec<String> {
    vec![
        decided.by.as_ref().map(UserName::to_string).unwrap_or_default(),
        decided.at.clone().unwrap_or_default(),
        decided.reason.clone().unwrap_or_default(),
    ]
}

/// Of each revocation the numbers of the certificates whose signatures it makes void, some of them or all.
async fn certificates(rest: &Rest, revocations: &[Revocation]) -> Result<Vec<Vec<String>>, Failure> {
    let request = |user: &UserName| Request::get("/api/v1/trust/certificates").query("user", user.as_str());
    let mut found = Vec::new();
    let mut known: BTreeMap<String, Vec<SigningCertificate>> = BTreeMap::new();
    for revocation in revocations {
        if let Some(issued) = known.get(&revocation.user.key()) {
            found.push(void(issued, revocation));
            continue;
        }
        let issued: Result<Vec<SigningCertificate>, Failure> =
            list::all(rest, || request(&revocation.user), &Extent::default()).await;
        let issued = match issued {
            Ok(issued) => issued,
            // The certificates of a deleted user are gone, and what was revoked stays.
            Err(Failure::Call(error)) if error.problem().is_some_and(|problem| problem.status == 404) => {
                Vec::new()
            }
            Err(failure) => return Err(failure),
        };
        found.push(void(&issued, revocation));
        known.insert(revocation.user.key(), issued);
    }
    Ok(found)
}

/// The numbers of those of these certificates that a revocation is about.
fn void(issued: &[SigningCertificate], revocation: &Revocation) -> Vec<String> {
    let void = issued.iter().filter(|certificate| meet(certificate, revocation));
    void.map(|certificate| certificate.serial.clone()).collect()
}

/// Whether a certificate was of use at a time that is revoked; where a time is not readable it is said rather than left out.
fn meet(certificate: &SigningCertificate, revocation: &Revocation) -> bool {
    let before = |one: &str, other: &str| match (parse_rfc3339(one), parse_rfc3339(other)) {
        (Ok(one), Ok(other)) => one <= other,
        _ => true,
    };
    let until = revocation.until.as_deref();
    before(&revocation.from, &certificate.not_after)
        && until.is_none_or(|until| before(&certificate.not_before, until))
}

/// Groups and users; nothing where nobody asks who is in a group.
#[derive(Default)]
struct Directory {
    groups: Vec<Group>,
    users: Vec<UserName>,
}

impl Directory {
    async fn fetch(rest: &Rest) -> Result<Self, Failure> {
        let users: Vec<User> = list::every(rest, "/api/v1/users").await?;
        Ok(Self {
            groups: list::every(rest, "/api/v1/groups").await?,
            users: users.into_iter().map(|user| user.name).collect(),
        })
    }

    /// Who has what is given to a group: its members, and those of all groups that inherit from it. `None` where the group
    /// is not known.
    fn members(&self, group: &Name) -> Option<BTreeSet<&UserName>> {
        let found = self.groups.iter().find(|one| one.name.key() == group.key())?;
        if found.name.as_str() == EVERYONE {
            return Some(self.users.iter().collect());
        }
        let mut inside = BTreeSet::from([found.name.key()]);
        let mut members = BTreeSet::new();
        loop {
            let before = inside.len();
            for group in &self.groups {
                if group.parents.iter().any(|parent| inside.contains(&parent.key())) {
                    inside.insert(group.name.key());
                }
            }
            if inside.len() == before {
                break;
            }
        }
        for group in self
            .groups
            .iter()
            .filter(|group| inside.contains(&group.name.key()))
        {
            members.extend(&group.members);
        }
        Some(members)
    }
}

/// User, group, and who is in the group where that was asked for.
fn principal(principal: &Principal, directory: &Directory) -> Vec<String> {
    let group = principal.group.as_ref();
    let members = group.and_then(|group| directory.members(group)).map(|members| {
        let names: Vec<&str> = members.iter().map(|user| user.as_str()).collect();
        names.join(";")
    });
    vec![
        principal
            .user
            .as_ref()
            .map(UserName::to_string)
            .unwrap_or_default(),
        group.map(ToString::to_string).unwrap_or_default(),
        members.unwrap_or_default(),
    ]
}
