//! `show-code-trust`: seven tables of who trusts what, as files of comma-separated values.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use muster_client::Request;
use muster_ids::UserName;
use muster_wire::admin::v1::{
    group::Group,
    trust::{Decided, Principal, Revocation},
};
use serde::Serialize;

use super::{Common, options};
use crate::{context::Context, csv, failure::Failure, trust};

/// Writes seven files about trust into a new folder
#[derive(Debug, Parser)]
#[command(name = "show-code-trust")]
struct ShowCodeTrust {
    /// Say for each group who is in it
    #[arg(short = 'x', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    expand_groups: bool,
    #[command(flatten)]
    common: Common,
}

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
    let groups: Vec<Group> = if options.expand_groups {
        rest.call(Request::get("/api/v1/groups")).await?
    } else {
        Vec::new()
    };
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

    let mut revoked = Table::new(&["user", "from", "until", "by", "since", "reason"]);
    for Revocation {
        user,
        from,
        until,
        decided: by,
        ..
    } in &revocations
    {
        let times = vec![user.to_string(), from.clone(), until.clone().unwrap_or_default()];
        revoked.row([times, decided(by)]);
    }
    write("revoked_certs.csv", &revoked)?;

    let whose = ["user", "group", "members", "expires", "by", "since", "reason"];
    let mut by_certificate = Table::new(&[&["issuer", "serial_number", "role"][..], &whose].concat());
    let mut by_user = Table::new(&[&["signer", "role"][..], &whose].concat());
    for entry in &signers {
        let rest = [
            principal(&entry.principal, &groups),
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

    let mut by_hash = Table::new(&[&["type", "hash"][..], &whose].concat());
    for entry in &items {
        by_hash.row([
            vec![entry.item.kind.clone(), entry.item.hash.clone()],
            principal(&entry.principal, &groups),
            vec![entry.expires.clone().unwrap_or_default()],
            decided(&entry.decided),
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

/// User, group, and who is in the group where that was asked for.
fn principal(principal: &Principal, groups: &[Group]) -> Vec<String> {
    let group = principal.group.as_ref();
    let found = group.and_then(|name| groups.iter().find(|group| group.name.key() == name.key()));
    let members = found.map(|group| {
        group
            .members
            .iter()
            .map(UserName::to_string)
            .collect::<Vec<_>>()
            .join(";")
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
