//! Items as they lie in files: a mod in a folder or an archive, and files that hold one script, query, external action or
//! analysis.
//!
//! Invariant: of a mod only the files that its manifest names are read, which lie in its folder whatever links are there, and
//! never more than an archive may hold.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use muster_code_trust::{
    CODE_FILE, CodeLanguage, CodeManifest, CodeParameter, Item, ItemKind, ItemPath, MOD_MANIFEST,
    MOD_SIGNATURE, MOST_ARCHIVE, MOST_BUNDLE, MOST_MANIFEST, ModArchive, ModManifest,
};
use muster_daemon::file::{self, Access};
use muster_ids::Sha512;

use crate::{
    escape::escaped,
    failure::{Failure, chain},
    output,
};

/// How many files that are no part of a mod are looked for.
const MOST_STRANGERS: usize = 1000;
/// How many of them are named.
const TOLD: usize = 3;

/// What a file does not say of itself.
#[derive(Debug, Default, Args)]
pub(crate) struct Declared {
    /// What it is, where its name says something else
    #[arg(long, value_parser = ["external_action", "job_script"])]
    pub(crate) kind: Option<String>,
    /// A parameter of a script or query, in order; repeat for more
    #[arg(long = "parameter", value_name = "NAME:TYPE")]
    pub(crate) parameters: Vec<String>,
    /// A package that a script asks for; repeat for more
    #[arg(long = "package", value_name = "LINE")]
    pub(crate) packages: Vec<String>,
    /// A script that is not undone as one step
    #[arg(long)]
    pub(crate) no_transaction: bool,
}

/// An item that was read.
#[derive(Debug)]
pub(crate) struct ItemFile {
    pub(crate) kind: ItemKind,
    pub(crate) manifest: String,
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The name that it has of itself.
    pub(crate) name: String,
    pub(crate) place: Place,
}

/// Where it was read.
#[derive(Debug)]
pub(crate) enum Place {
    /// A mod in this folder; its signature lies in a file beside the manifest.
    Folder(PathBuf),
    /// A mod in this archive, with its signature in it and what else is there.
    Archive {
        path: PathBuf,
        signature: Option<Vec<u8>>,
        others: Vec<ItemPath>,
    },
    /// Anything else; its signature is kept elsewhere.
    File,
}

/// Reads what lies at `source`.
pub(crate) fn read(source: &Path, declared: &Declared) -> Result<ItemFile, Failure> {
    let found = if source.is_dir() {
        of_folder(source)?
    } else if is_archive(source) {
        of_archive(source)?
    } else {
        of_file(source, declared)?
    };
    if declared.kind.is_some() && declared.kind.as_deref() != Some(found.kind.as_str()) {
        return Err(Failure::usage(format!(
            "{} is of the kind {}",
            source.display(),
            found.kind
        )));
    }
    let code = matches!(
        found.kind,
        ItemKind::Script | ItemKind::JobScript | ItemKind::CustomQuery
    );
    if !code && (!declared.parameters.is_empty() || !declared.packages.is_empty() || declared.no_transaction)
    {
        return Err(Failure::usage(
            "--parameter, --package and --no-transaction are for scripts and queries",
        ));
    }
    Ok(found)
}

/// Whether this is the name of an archive of a mod.
pub(crate) fn is_archive(path: &Path) -> bool {
    path.extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("mod"))
}

impl ItemFile {
    /// The item, if it is one.
    pub(crate) fn item(&self) -> Result<Item, Failure> {
        let digests = self
            .files
            .iter()
            .map(|(path, content)| (path, Sha512::of(content)));
        Item::new(self.kind, self.manifest.clone().into_bytes(), digests)
            .map_err(|error| Failure::usage(format!("{}: {}", escaped(&self.name), chain(&error))))
    }

    /// The signature that lies with it.
    pub(crate) fn signature(&self) -> Result<Option<Vec<u8>>, Failure> {
        match &self.place {
            Place::Folder(folder) => {
                if folder.join(MOD_SIGNATURE).exists() {
                    bytes(&inside(folder, MOD_SIGNATURE)?, MOST_BUNDLE).map(Some)
                } else {
                    Ok(None)
                }
            }
            Place::Archive { signature, .. } => Ok(signature.clone()),
            Place::File => Ok(None),
        }
    }

    /// Where its signature is written unless somebody says otherwise.
    pub(crate) fn signature_place(&self) -> Option<PathBuf> {
        match &self.place {
            Place::Folder(folder) => Some(folder.join(MOD_SIGNATURE)),
            Place::Archive { path, .. } => Some(path.clone()),
            Place::File => None,
        }
    }

    /// Says on standard error, in one line, which files in the folder or archive of a mod its manifest does not name: what
    /// they hold was not looked at, and `so` is what comes of that.
    pub(crate) fn tell_strangers(&self, so: &str) {
        let (many, names) = match &self.place {
            Place::Folder(folder) => {
                let found = self.strangers(folder);
                (found.len() == MOST_STRANGERS, found)
            }
            Place::Archive { others, .. } => (false, others.iter().map(ToString::to_string).collect()),
            Place::File => return,
        };
        if names.is_empty() {
            return;
        }
        let told: Vec<String> = names.iter().take(TOLD).map(|name| escaped(name)).collect();
        let more = match names.len() - told.len() {
            0 => String::new(),
            more if many => format!(" and {more} or more others"),
            more => format!(" and {more} more"),
        };
        output::complain(&format!(
            "No part of the mod, because its manifest does not name them, and therefore {so}: {}{more}.",
            told.join(", ")
        ));
    }

    /// The files in the folder of a mod that its manifest does not name; hidden ones are left out, links are not followed.
    fn strangers(&self, folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(place) = folders.pop() {
            // What cannot be listed is nothing that was read.
            for entry in place.read_dir().into_iter().flatten().flatten() {
                if entry.file_name().to_string_lossy().starts_with('.') {
                    continue;
                }
                let path = entry.path();
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    folders.push(path);
                    continue;
                }
                let name = path
                    .strip_prefix(folder)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned();
                let known = name == MOD_MANIFEST || name == MOD_SIGNATURE || self.files.contains_key(&name);
                if !known {
                    found.push(name);
                    if found.len() == MOST_STRANGERS {
                        found.sort();
                        return found;
                    }
                }
            }
        }
        found.sort();
        found
    }

    /// An archive of this mod with this signature and nothing else.
    pub(crate) fn archive(&self, signature: Vec<u8>) -> Result<Vec<u8>, Failure> {
        let wrong = |error: &dyn std::error::Error| Failure::usage(chain(error));
        if !matches!(self.kind, ItemKind::VisualizationMod | ItemKind::ActionMod) {
            return Err(Failure::usage("only mods are packed into archives (.mod)"));
        }
        let files = self.files.iter().map(|(path, content)| {
            let path = path
                .parse()
                .map_err(|error: muster_code_trust::PathError| wrong(&error))?;
            Ok((path, content.clone()))
        });
        let archive = ModArchive {
            manifest: self.manifest.clone().into_bytes(),
            files: files.collect::<Result<_, Failure>>()?,
            signature: Some(signature),
            others: Vec::new(),
        };
        archive.to_bytes().map_err(|error| wrong(&error))
    }
}

fn of_folder(folder: &Path) -> Result<ItemFile, Failure> {
    let path = folder.join(MOD_MANIFEST);
    let manifest = bytes(&inside(folder, MOD_MANIFEST)?, MOST_MANIFEST)?;
    let read = ModManifest::read(&manifest)
        .map_err(|error| Failure::usage(format!("{}: {}", path.display(), chain(&error))))?;
    let mut left = MOST_ARCHIVE;
    let mut files = BTreeMap::new();
    for path in read.declared() {
        let content = bytes(&inside(folder, path.as_str())?, left)?;
        left -= content.len();
        files.insert(path.to_string(), content);
    }
    Ok(ItemFile {
        kind: read.kind.into(),
        manifest: text(folder, manifest)?,
        files,
        name: read.name,
        place: Place::Folder(folder.to_owned()),
    })
}

/// Where a file of a mod lies: what a link leads out to is not of the mod, and its author shall not have it read.
fn inside(folder: &Path, name: &str) -> Result<PathBuf, Failure> {
    let path = folder.join(name);
    let real = |path: &Path| {
        path.canonicalize()
            .map_err(|error| Failure::usage(format!("{} cannot be read: {error}", path.display())))
    };
    let (root, file) = (real(folder)?, real(&path)?);
    if file.starts_with(&root) {
        return Ok(file);
    }
    Err(Failure::usage(format!(
        "{} leads out of the folder of the mod, to {}, so nothing was read; put the file itself there",
        path.display(),
        file.display()
    )))
}

fn of_archive(path: &Path) -> Result<ItemFile, Failure> {
    let wrong =
        |error: &dyn std::error::Error| Failure::usage(format!("{}: {}", path.display(), chain(error)));
    let archive = ModArchive::read(&bytes(path, MOST_ARCHIVE)?).map_err(|error| wrong(&error))?;
    let read = ModManifest::read(&archive.manifest).map_err(|error| wrong(&error))?;
    let files = archive.files.into_iter();
    Ok(ItemFile {
        kind: read.kind.into(),
        manifest: text(path, archive.manifest)?,
        files: files.map(|(path, content)| (path.to_string(), content)).collect(),
        name: read.name,
        place: Place::Archive {
            path: path.to_owned(),
            signature: archive.signature,
            others: archive.others,
        },
    })
}

fn of_file(source: &Path, declared: &Declared) -> Result<ItemFile, Failure> {
    let ending = source
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let (kind, language) = match (ending.as_str(), declared.kind.as_deref()) {
        ("json", Some("external_action")) => (ItemKind::ExternalAction, None),
        ("json", _) => (ItemKind::Analysis, None),
        ("py", Some("job_script")) => (ItemKind::JobScript, Some(CodeLanguage::IronPython)),
        ("py", _) => (ItemKind::Script, Some(CodeLanguage::IronPython)),
        ("js", _) => (ItemKind::Script, Some(CodeLanguage::JavaScript)),
        ("sql", _) => (ItemKind::CustomQuery, Some(CodeLanguage::Sql)),
        _ => {
            return Err(Failure::usage(format!(
                "{} is neither a folder or an archive (.mod) of a mod nor a .json, .py, .js or .sql file",
                source.display()
            )));
        }
    };
    let stem = source.file_stem().unwrap_or_default();
    let name = stem.to_string_lossy().into_owned();
    let (manifest, files) = match language {
        None => (text(source, bytes(source, MOST_ARCHIVE)?)?, BTreeMap::new()),
        Some(language) => {
            let code = bytes(source, MOST_ARCHIVE)?;
            (
                declaration(language, declared)?.to_json(),
                [(CODE_FILE.to_owned(), code)].into(),
            )
        }
    };
    Ok(ItemFile {
        kind,
        manifest,
        files,
        name,
        place: Place::File,
    })
}

fn declaration(language: CodeLanguage, declared: &Declared) -> Result<CodeManifest, Failure> {
    let parameters = declared.parameters.iter().map(|text| {
        let (name, kind) = text
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("\"{}\" is not NAME:TYPE", escaped(text))))?;
        Ok(CodeParameter {
            name: name.to_owned(),
            r#type: kind.to_owned(),
        })
    });
    Ok(CodeManifest {
        language,
        parameters: parameters.collect::<Result<_, Failure>>()?,
        packages: declared.packages.iter().cloned().collect(),
        transaction: !declared.no_transaction,
    })
}

/// The bytes of a file.
pub(crate) fn bytes(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    file::read(path, Access::Any, limit).map_err(|error| Failure::usage(chain(&error)))
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("{} is not UTF-8 text", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_read_is_told_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let script = write("refresh.py", "1");
        let declared = Declared {
            parameters: vec!["t:Table".to_owned()],
            ..Declared::default()
        };
        let found = read(&script, &declared).expect("a script");
        assert_eq!((found.kind.as_str(), found.name.as_str()), ("script", "refresh"));
        assert!(
            found
                .manifest
                .contains(r#""parameters":[{"name":"t","type":"Table"}]"#)
        );
        assert_eq!(found.files["code"], b"1");
        assert!(found.item().is_ok());
        let kinds = |source: &Path, kind: Option<&str>| {
            let declared = Declared {
                kind: kind.map(str::to_owned),
                ..Declared::default()
            };
            read(source, &declared).map(|found| found.kind.as_str())
        };
        assert_eq!(kinds(&script, Some("job_script")).expect("read"), "job_script");
        assert_eq!(
            kinds(&write("q.sql", "select 1"), None).expect("read"),
            "custom_query"
        );
        assert_eq!(kinds(&write("a.json", "{}"), None).expect("read"), "analysis");
        let action = kinds(&write("b.json", "{}"), Some("external_action"));
        assert_eq!(action.expect("read"), "external_action");
        assert!(kinds(&script, Some("external_action")).is_err());
        assert!(kinds(&write("c.dxp", ""), None).is_err());
        assert!(read(&write("d.json", "{}"), &declared).is_err());
    }

    #[test]
    fn a_mod_brings_the_files_that_its_manifest_names_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = r#"{"apiVersion":"1.2","version":"1.0","name":"Gantt","id":"gantt","type":"visualization","icon":"icon.svg","files":["index.html"]}"#;
        for (name, text) in [
            ("mod-manifest.json", manifest),
            ("icon.svg", "<svg/>"),
            ("index.html", "<html/>"),
            ("package.json", "{}"),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let declared = Declared::default();
        let found = read(folder.path(), &declared).expect("a mod");
        assert_eq!(
            (found.kind.as_str(), found.name.as_str()),
            ("visualization_mod", "Gantt")
        );
        assert_eq!(found.files.keys().collect::<Vec<_>>(), ["icon.svg", "index.html"]);
        let packed = folder.path().join("gantt.MOD");
        fs::write(&packed, found.archive(b"{}".to_vec()).expect("packed")).expect("written");
        let unpacked = read(&packed, &declared).expect("a mod");
        assert_eq!(
            unpacked.item().expect("a mod").hash(),
            found.item().expect("a mod").hash()
        );
        assert_eq!(unpacked.signature().expect("read").as_deref(), Some(&b"{}"[..]));
        fs::remove_file(folder.path().join("index.html")).expect("removed");
        assert!(read(folder.path(), &declared).is_err());
    }

    #[test]
    fn a_mod_of_a_stranger_brings_nothing_from_outside_of_its_folder() {
        use std::os::unix::fs::symlink;
        let place = tempfile::tempdir().expect("a folder");
        let (folder, key) = (place.path().join("mod"), place.path().join("id_ed25519"));
        fs::create_dir(&folder).expect("made");
        fs::write(&key, "secret").expect("written");
        let manifest = r#"{"apiVersion":"1.2","version":"1.0","name":"Gantt","id":"gantt","type":"visualization","icon":"icon.svg","files":["web/index.html"]}"#;
        fs::write(folder.join("mod-manifest.json"), manifest).expect("written");
        fs::create_dir(folder.join("real")).expect("made");
        fs::write(folder.join("real/index.html"), "<html/>").expect("written");
        // A link that stays inside is a file of the mod.
        symlink("real", folder.join("web")).expect("linked");
        symlink("../id_ed25519", folder.join("icon.svg")).expect("linked");
        let declared = Declared::default();
        let said = read(&folder, &declared).expect_err("refused").sentence();
        assert!(said.contains("icon.svg leads out of the folder"), "{said}");
        fs::remove_file(folder.join("icon.svg")).expect("removed");
        fs::write(folder.join("icon.svg"), "<svg/>").expect("written");
        let found = read(&folder, &declared).expect("a mod");
        assert_eq!(found.files["web/index.html"], b"<html/>");
        // Nor by a folder, by its signature, or by the manifest itself.
        symlink(&key, folder.join(MOD_SIGNATURE)).expect("linked");
        assert!(found.signature().is_err());
        fs::remove_file(folder.join("web")).expect("removed");
        fs::create_dir(place.path().join("web")).expect("made");
        fs::write(place.path().join("web/index.html"), "another").expect("written");
        symlink("../web", folder.join("web")).expect("linked");
        assert!(read(&folder, &declared).is_err());
        fs::remove_file(folder.join("mod-manifest.json")).expect("removed");
        symlink(&key, folder.join("mod-manifest.json")).expect("linked");
        let said = read(&folder, &declared).expect_err("refused").sentence();
        assert!(said.contains("leads out"), "{said}");
        // What links to the folder itself is another name of it.
        symlink(&folder, place.path().join("other")).expect("linked");
        let said = read(&place.path().join("other"), &declared)
            .expect_err("as before")
            .sentence();
        assert!(said.contains("leads out"), "{said}");
    }
}
