//! What a search leaves: the report, the script that trusts, the script that untrusts, and the file of progress while it goes on.
//!
//! A checkpoint is a line of the file of progress: which items are done, and how long the other files are then. It is written
//! after they are on the disk. Who goes on later cuts what comes after the last whole line.
//!
//! Invariant: up to the lengths of the last checkpoint the files hold each of its items once; what is behind belongs to none.

mod file;
mod script;

use std::{
    borrow::Cow,
    collections::BTreeSet,
    fs::{self, File},
    path::{Path, PathBuf},
};

use muster_daemon::clock::format_rfc3339;
use muster_ids::{LibraryItemId, UserName};
use serde::{Deserialize, Serialize};

use file::{append, cut, failed, locked, new_files, not_ours, sync_folder, whole_lines};

use super::code::{Code, Found, Kind, Trust};
use crate::{csv, failure::Failure};

/// The file of progress.
const PROGRESS: &str = "find-scripts.progress";
/// The most of a code in one cell, in units of UTF-16; spreadsheets take 32,767.
const LONGEST_CELL: usize = 32_000;
/// The columns of the report: those that are documented, and after them those of the code.
const COLUMNS: [&str; 23] = [
    "Report generated at",
    "Library file ID",
    "Library file type",
    "Library file title",
    "Library file description",
    "Library file path",
    "Library file created at",
    "Library file created by user display name",
    "Library file created by user name",
    "Library file created by user domain name",
    "Library file last modified at",
    "Library file modified by user display name",
    "Library file modified by user name",
    "Library file modified by user domain name",
    "Entity type",
    "Entity name",
    "Entity language",
    "Entity hash",
    "Entity held by library file ID",
    "Entity trust",
    "Entity trust refused because",
    "Entity content",
    "Not read because",
];

/// What is searched, and how. A search goes on only as the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// The control plane.
    pub(super) server: String,
    /// Who searches: others read other items.
    pub(super) user: String,
    /// Identifier of the folder.
    pub(super) folder: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expression: Option<String>,
    /// Kinds that are trusted.
    pub(super) trust: Vec<String>,
}

/// The first line of the file of progress.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    muster_find: u32,
    begun: String,
    search: Wanted,
    report: String,
    trust: String,
    untrust: String,
    at: Lengths,
}

/// Another line: after these items.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    done: Vec<LibraryItemId>,
    at: Lengths,
    counts: Counts,
}

/// How long the files are, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lengths {
    report: u64,
    trust: u64,
    untrust: u64,
}

/// What was found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Counts {
    /// Items that were looked at.
    pub(super) items: u64,
    pub(super) scripts: u64,
    pub(super) data_functions: u64,
    pub(super) custom_queries: u64,
    pub(super) job_scripts: u64,
    /// Stamps that were made.
    pub(super) trusted: u64,
    /// Stamps that were there.
    pub(super) already: u64,
    /// Stamps that were refused.
    pub(super) refused: u64,
    /// Items, and code in them, that could not be read.
    pub(super) unread: u64,
}

/// The three files that stay.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) report: PathBuf,
    pub(super) trust: PathBuf,
    pub(super) untrust: PathBuf,
}

/// The files of a search that goes on.
#[derive(Debug)]
pub(super) struct Output {
    folder: PathBuf,
    header: Header,
    /// Locked: one search at a time writes here.
    progress: File,
    report: File,
    trust: File,
    untrust: File,
    at: Lengths,
    done: BTreeSet<LibraryItemId>,
    counts: Counts,
    resumed: bool,
}

impl Output {
    /// Begins a search, or goes on with one that was interrupted.
    pub(super) fn open(folder: &Path, wanted: Wanted, now: i64) -> Result<Self, Failure> {
        fs::create_dir_all(folder).map_err(|error| failed("make", folder, &error))?;
        let path = folder.join(PROGRESS);
        let mut progress = locked(&path)?;
        let text = whole_lines(&mut progress, &path)?;
        let mut lines = text.lines();
        let Some(first) = lines.next() else {
            return Self::begin(folder, progress, wanted, now);
        };
        let header: Header = serde_json::from_str(first).map_err(|_| not_ours(&path))?;
        // What it names is written into: no other files than those that one search makes.
        if header.muster_find != 1 || !are_made_here(&header) {
            return Err(not_ours(&path));
        }
        if header.search != wanted {
            return Err(Failure::failed(
                "other-search",
                format!(
                    "{} belongs to another search, begun {}, that was interrupted: go on with it by the options that it had, choose another folder, or delete that file",
                    path.display(),
                    header.begun
                ),
            ));
        }
        let (mut done, mut at, mut counts) = (BTreeSet::new(), header.at, Counts::default());
        for line in lines {
            let checkpoint: Checkpoint = serde_json::from_str(line).map_err(|_| not_ours(&path))?;
            done.extend(checkpoint.done);
            at = checkpoint.at;
            counts = checkpoint.counts;
        }
        Ok(Self {
            report: cut(&folder.join(&header.report), at.report)?,
            trust: cut(&folder.join(&header.trust), at.trust)?,
            untrust: cut(&folder.join(&header.untrust), at.untrust)?,
            folder: folder.to_owned(),
            header,
            progress,
            at,
            done,
            counts,
            resumed: true,
        })
    }

    fn begin(folder: &Path, mut progress: File, search: Wanted, now: i64) -> Result<Self, Failure> {
        let begun = format_rfc3339(now);
        let date = begun.split('T').next().unwrap_or_default();
        let mut number = 1;
        let (names, mut files) = loop {
            let names = names(date, number);
            if let Some(files) = new_files(folder, &names)? {
                break (names, files);
            }
            number += 1;
        };
        let starts = [
            csv::record(COLUMNS),
            script::start("trust", &begun),
            script::start("untrust", &begun),
        ];
        for (file, (name, start)) in files.iter_mut().zip(names.iter().zip(&starts)) {
            append(file, &folder.join(name), start.as_bytes())?;
        }
        let [report, trust, untrust] = files;
        let length = |at: usize| starts[at].len() as u64;
        let at = Lengths {
            report: length(0),
            trust: length(1),
            untrust: length(2),
        };
        let [report_name, trust_name, untrust_name] = names;
        let header = Header {
            muster_find: 1,
            begun,
            search,
            report: report_name,
            trust: trust_name,
            untrust: untrust_name,
            at,
        };
        let path = folder.join(PROGRESS);
        append(&mut progress, &path, &line(&header)?)?;
        sync_folder(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
            header,
            progress,
            report,
            trust,
            untrust,
            at,
            done: BTreeSet::new(),
            counts: Counts::default(),
            resumed: false,
        })
    }

    /// Whether an earlier search goes on.
    pub(super) fn is_resumed(&self) -> bool {
        self.resumed
    }

    /// When the search was begun.
    pub(super) fn begun(&self) -> &str {
        &self.header.begun
    }

    /// What was found so far.
    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether an item is done.
    pub(super) fn has(&self, item: LibraryItemId) -> bool {
        self.done.contains(&item)
    }

    /// Writes down what was found in some items, whole or not at all.
    pub(super) fn write(&mut self, found: &[Found]) -> Result<(), Failure> {
        let (mut rows, mut trust, mut untrust) = (String::new(), String::new(), String::new());
        let mut counts = self.counts;
        for one in found {
            counts.add(one);
            rows.push_str(&self.rows(one));
            trust.push_str(&script::trust(one));
            untrust.push_str(&script::untrust(one));
        }
        let done: Vec<LibraryItemId> = found.iter().map(|one| one.item.id).collect();
        let (files, folder) = (&self.header, &self.folder);
        append(&mut self.report, &folder.join(&files.report), rows.as_bytes())?;
        append(&mut self.trust, &folder.join(&files.trust), trust.as_bytes())?;
        append(
            &mut self.untrust,
            &folder.join(&files.untrust),
            untrust.as_bytes(),
        )?;
        let at = Lengths {
            report: self.at.report + rows.len() as u64,
            trust: self.at.trust + trust.len() as u64,
            untrust: self.at.untrust + untrust.len() as u64,
        };
        let checkpoint = Checkpoint {
            done: done.clone(),
            at,
            counts,
        };
        append(&mut self.progress, &folder.join(PROGRESS), &line(&checkpoint)?)?;
        self.at = at;
        self.counts = counts;
        self.done.extend(done);
        Ok(())
    }

    /// Ends the search: from now on there is nothing to go on with.
    pub(super) fn finish(mut self) -> Result<(Files, Counts), Failure> {
        let files = Files {
            report: self.folder.join(&self.header.report),
            trust: self.folder.join(&self.header.trust),
            untrust: self.folder.join(&self.header.untrust),
        };
        // An end that is interrupted is cut and written again.
        append(&mut self.trust, &files.trust, script::END.as_bytes())?;
        append(&mut self.untrust, &files.untrust, script::END.as_bytes())?;
        let path = self.folder.join(PROGRESS);
        fs::remove_file(&path).map_err(|error| failed("remove", &path, &error))?;
        sync_folder(&self.folder)?;
        Ok((files, self.counts))
    }

    fn rows(&self, found: &Found) -> String {
        match &found.codes {
            Err(why) => self.row(found, None, why),
            Ok(codes) => codes
                .iter()
                .map(|code| {
                    let why = code.text.as_ref().err().map_or("", String::as_str);
                    self.row(found, Some(code), why)
                })
                .collect(),
        }
    }

    fn row(&self, found: &Found, code: Option<&Code>, why: &str) -> String {
        let item = &found.item;
        let (id, created, updated) = (
            item.id.to_string(),
            user(item.created_by.as_ref()),
            user(item.updated_by.as_ref()),
        );
        let held_by = code.map(|code| code.held_by.to_string()).unwrap_or_default();
        let (state, refused) = match code.map(|code| &code.trust) {
            None | Some(Trust::Unasked) => ("", ""),
            Some(Trust::Standing) => ("trusted", ""),
            Some(Trust::Given) => ("trusted now", ""),
            Some(Trust::There) => ("trusted already", ""),
            Some(Trust::Refused(why)) => ("refused", why.as_str()),
        };
        let of = |value: fn(&Code) -> &str| code.map_or("", value);
        let content = cell(of(|code| code.text.as_deref().unwrap_or_default()));
        csv::record([
            self.header.begun.as_str(),
            &id,
            &item.kind,
            item.name.as_str(),
            &item.description,
            &item.path,
            &item.created,
            created.0,
            created.0,
            created.1,
            &item.updated,
            updated.0,
            updated.0,
            updated.1,
            of(|code| code.kind.word()),
            of(|code| &code.name),
            of(|code| &code.language),
            of(|code| &code.hash),
            &held_by,
            state,
            refused,
            &content,
            why,
        ])
    }
}

/// What fits into one cell: spreadsheets go on with a longer text in the next rows, where it could be a formula.
fn cell(content: &str) -> Cow<'_, str> {
    let mut units = 0;
    let end = content.char_indices().find(|(_, character)| {
        units += character.len_utf16();
        units > LONGEST_CELL
    });
    match end {
        None => content.into(),
        Some((end, _)) => format!(
            "{}\n… (cut here, since a cell holds no more; the hash is of all of it)",
            &content[..end]
        )
        .into(),
    }
}

impl Counts {
    fn add(&mut self, found: &Found) {
        self.items += 1;
        let Ok(codes) = &found.codes else {
            self.unread += 1;
            return;
        };
        for code in codes {
            *match code.kind {
                Kind::Script => &mut self.scripts,
                Kind::DataFunction => &mut self.data_functions,
                Kind::CustomQuery => &mut self.custom_queries,
                Kind::JobScript => &mut self.job_scripts,
            } += 1;
            match code.trust {
                Trust::Unasked | Trust::Standing => {}
                Trust::Given => self.trusted += 1,
                Trust::There => self.already += 1,
                Trust::Refused(_) => self.refused += 1,
            }
            if code.text.is_err() {
                self.unread += 1;
            }
        }
    }
}

/// The name, which is the one that is displayed too, and the domain.
fn user(name: Option<&UserName>) -> (&str, &str) {
    let name = name.map_or("", UserName::as_str);
    name.rsplit_once('@').unwrap_or((name, ""))
}

fn line<T: Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    let mut bytes = serde_json::to_vec(value)
        .map_err(|error| Failure::failed("output", format!("cannot write the progress as JSON ({error})")))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The files of the search of this number that began on `date`.
fn names(date: &str, number: u32) -> [String; 3] {
    ["report", "trust", "untrust"].map(|what| {
        let ending = if what == "report" { "csv" } else { "sh" };
        format!("{what}_{date}_({number}).{ending}")
    })
}

/// Whether one search makes files of these names.
fn are_made_here(header: &Header) -> bool {
    let date = header.begun.split('T').next().unwrap_or_default();
    let number = header
        .report
        .rsplit_once('(')
        .and_then(|(_, rest)| rest.split_once(')'));
    let plain = date.chars().all(|c| c.is_ascii_digit() || c == '-');
    let made = number.and_then(|(number, _)| Some(names(date, number.parse().ok()?)));
    plain && made.is_some_and(|made| made.each_ref() == [&header.report, &header.trust, &header.untrust])
}

#[cfg(test)]
mod tests;
