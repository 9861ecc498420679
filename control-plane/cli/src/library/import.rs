//! `muster library import`, `versions` and `content`: what items hold.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use muster_client::Request;
use muster_code_trust::{
    CODE_FILE, CodeLanguage, CodeManifest, CodeParameter, ItemKind, MOD_MANIFEST, ModManifest,
};
use muster_daemon::file::{self, Access};
use muster_ids::Name;
use muster_wire::admin::v1::library::{Content, LibraryItem, SaveItem, Version};

use super::{PATH, at};
use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::{Failure, chain},
    list::{self, Extent},
    output, table,
};

/// The largest file that is read.
const LONGEST: u64 = 12 * 1024 * 1024;

/// Put an item, or a new version of it, into the library
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster library import ./gantt --folder /Mods\n  muster library import sales.json --folder /Team\n  \
                  muster library import refresh.py --parameter table:Table\n\n\
                  What is imported is told by its name: a folder with a mod-manifest.json is a mod; .json an analysis, or with \
                  --kind an external action; .py and .js are scripts, with --kind .py may be a job script; .sql is a custom \
                  query. Nothing is trusted by being imported."
)]
pub(crate) struct Import {
    /// A folder of a mod, or a file
    source: PathBuf,
    /// Folder of the library that it comes into
    #[arg(long, value_name = "PATH", default_value = "/")]
    folder: String,
    /// Its name there [default: that of the mod, or of the file without its ending]
    #[arg(long)]
    name: Option<Name>,
    /// What it is, where its name says something else
    #[arg(long, value_parser = ["external_action", "job_script"])]
    kind: Option<String>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// A parameter of a script or query, in order; repeat for more
    #[arg(long = "parameter", value_name = "NAME:TYPE")]
    parameters: Vec<String>,
    /// A package that a script asks for; repeat for more
    #[arg(long = "package", value_name = "LINE")]
    packages: Vec<String>,
    /// A script that is not undone as one step
    #[arg(long)]
    no_transaction: bool,
}

/// Show what a version of an item holds
#[derive(Args)]
pub(crate) struct Show {
    /// The item
    item: String,
    /// Which version [default: the current one]
    #[arg(long)]
    digest: Option<String>,
    /// Print this file as it is, instead of the manifest
    #[arg(long, value_name = "PATH")]
    file: Option<String>,
}

/// Imports.
pub(super) async fn import(context: &Context, wanted: Import) -> Result<(), Failure> {
    let body = read(&wanted)?;
    let request = Request::post(PATH).segment("items").json(&body);
    let item: LibraryItem = context.rest()?.call(request).await?;
    context.show(&item, || {
        let digest = item.digest.clone().unwrap_or_default();
        format!("Saved {} as {}.", escaped(&item.path), escaped(&digest))
    })
}

/// Lists versions.
pub(super) async fn versions(context: &Context, item: &str, extent: &Extent) -> Result<(), Failure> {
    let request = || at(Request::get(PATH), item).segment("versions");
    let versions: Vec<Version> = list::all(&context.rest()?, request, extent).await?;
    context.show(&versions, || {
        table::rows(
            ["digest", "current", "created by", "created"],
            versions.iter().map(|version| {
                [
                    version.digest.clone(),
                    table::yes_no(version.current),
                    table::or_dash(version.created_by.as_ref()),
                    table::time(&version.created),
                ]
            }),
            "No versions: folders have none, and those of data functions are not listed.",
            context.colour,
        )
    })
}

/// Shows what is in an item.
pub(super) async fn content(context: &Context, wanted: Show) -> Result<(), Failure> {
    let rest = context.rest()?;
    let with = |request: Request| match &wanted.digest {
        Some(digest) => request.query("digest", digest),
        None => request,
    };
    if let Some(file) = &wanted.file {
        let request = with(
            at(Request::get(PATH), &wanted.item)
                .segment("file")
                .query("path", file),
        );
        let answer = rest.send(request).await?;
        return output::bytes(&answer.body);
    }
    let request = with(at(Request::get(PATH), &wanted.item).segment("content"));
    let content: Content = rest.call(request).await?;
    context.show(&content, || {
        let files = table::rows(
            ["file", "bytes", "digest"],
            content
                .files
                .iter()
                .map(|file| [file.path.clone(), file.size.to_string(), file.digest.clone()]),
            "No files.",
            context.colour,
        );
        format!("{}\n\n{files}", escaped_lines(content.manifest.trim_end()))
    })
}

fn read(wanted: &Import) -> Result<SaveItem, Failure> {
    let source = &wanted.source;
    let (kind, manifest, files, name) = if source.is_dir() {
        of_mod(source)?
    } else {
        of_file(source, wanted)?
    };
    if wanted.kind.is_some() && wanted.kind.as_deref() != Some(kind.as_str()) {
        return Err(Failure::usage(format!(
            "{} is of the kind {kind}",
            source.display()
        )));
    }
    let code = matches!(
        kind,
        ItemKind::Script | ItemKind::JobScript | ItemKind::CustomQuery
    );
    if !code && (!wanted.parameters.is_empty() || !wanted.packages.is_empty() || wanted.no_transaction) {
        return Err(Failure::usage(
            "--parameter, --package and --no-transaction are for scripts and queries",
        ));
    }
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => name.parse().map_err(|error| {
            Failure::usage(format!(
                "\"{}\" is no name for an item ({error}); give --name",
                escaped(&name)
            ))
        })?,
    };
    Ok(SaveItem {
        folder: wanted.folder.clone(),
        name,
        kind: kind.as_str().to_owned(),
        description: wanted.description.clone(),
        manifest,
        files,
    })
}

/// Kind, manifest, files in base64, and the name that it has of itself.
type Read = (ItemKind, String, BTreeMap<String, String>, String);

fn of_mod(folder: &Path) -> Result<Read, Failure> {
    let manifest = bytes(&folder.join(MOD_MANIFEST))?;
    let read = ModManifest::read(&manifest).map_err(|error| {
        Failure::failed(
            "file",
            format!("{}: {error}", folder.join(MOD_MANIFEST).display()),
        )
    })?;
    let mut files = BTreeMap::new();
    for path in read.declared() {
        let content = bytes(&folder.join(path.as_str()))?;
        files.insert(path.as_str().to_owned(), STANDARD.encode(content));
    }
    Ok((read.kind.into(), text(folder, manifest)?, files, read.name))
}

fn of_file(source: &Path, wanted: &Import) -> Result<Read, Failure> {
    let content = bytes(source)?;
    let stem = source
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let ending = source
        .extension()
        .unwrap_or_default()
        .to_string_lossy()
        .to_lowercase();
    let (kind, language) = match (ending.as_str(), wanted.kind.as_deref()) {
        ("json", Some("external_action")) => {
            return Ok((
                ItemKind::ExternalAction,
                text(source, content)?,
                BTreeMap::new(),
                stem,
            ));
        }
        ("json", _) => return Ok((ItemKind::Analysis, text(source, content)?, BTreeMap::new(), stem)),
        ("py", Some("job_script")) => (ItemKind::JobScript, CodeLanguage::IronPython),
        ("py", _) => (ItemKind::Script, CodeLanguage::IronPython),
        ("js", _) => (ItemKind::Script, CodeLanguage::JavaScript),
        ("sql", _) => (ItemKind::CustomQuery, CodeLanguage::Sql),
        _ => {
            return Err(Failure::usage(format!(
                "{} is neither a folder of a mod nor a .json, .py, .js or .sql file",
                source.display()
            )));
        }
    };
    let parameters = wanted.parameters.iter().map(|text| {
        let (name, kind) = text
            .split_once(':')
            .ok_or_else(|| Failure::usage(format!("\"{}\" is not NAME:TYPE", escaped(text))))?;
        Ok(CodeParameter {
            name: name.to_owned(),
            r#type: kind.to_owned(),
        })
    });
    let declared = CodeManifest {
        language,
        parameters: parameters.collect::<Result<_, Failure>>()?,
        packages: wanted.packages.iter().cloned().collect(),
        transaction: !wanted.no_transaction,
    };
    let files = [(CODE_FILE.to_owned(), STANDARD.encode(content))].into();
    Ok((kind, declared.to_json(), files, stem))
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    file::read(path, Access::Any, LONGEST).map_err(|error| Failure::failed("file", chain(&error)))
}

fn text(path: &Path, bytes: Vec<u8>) -> Result<String, Failure> {
    String::from_utf8(bytes).map_err(|_| Failure::failed("file", format!("{} is not UTF-8", path.display())))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn wanted(source: PathBuf) -> Import {
        Import {
            source,
            folder: "/".to_owned(),
            name: None,
            kind: None,
            description: String::new(),
            parameters: Vec::new(),
            packages: Vec::new(),
            no_transaction: false,
        }
    }

    #[test]
    fn what_is_imported_is_told_by_its_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("written");
            path
        };
        let script = write("refresh.py", "1");
        let read = read(&Import {
            parameters: vec!["t:Table".to_owned()],
            ..wanted(script.clone())
        })
        .expect("a script");
        assert_eq!((read.kind.as_str(), read.name.as_str()), ("script", "refresh"));
        assert!(
            read.manifest
                .contains(r#""parameters":[{"name":"t","type":"Table"}]"#)
        );
        assert_eq!(read.files["code"], STANDARD.encode("1"));
        let kinds = |source: PathBuf, kind: Option<&str>| {
            super::read(&Import {
                kind: kind.map(str::to_owned),
                ..wanted(source)
            })
            .map(|read| read.kind)
        };
        assert_eq!(
            kinds(script.clone(), Some("job_script")).expect("read"),
            "job_script"
        );
        assert_eq!(
            kinds(write("q.sql", "select 1"), None).expect("read"),
            "custom_query"
        );
        assert_eq!(kinds(write("a.json", "{}"), None).expect("read"), "analysis");
        let action = kinds(write("b.json", "{}"), Some("external_action"));
        assert_eq!(action.expect("read"), "external_action");
        assert!(kinds(script, Some("external_action")).is_err());
        assert!(kinds(write("c.dxp", ""), None).is_err());
    }

    #[test]
    fn a_mod_brings_the_files_that_its_manifest_names_and_no_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = serde_json::json!({
            "apiVersion": "1.2", "version": "1.0", "name": "Gantt", "id": "gantt", "type": "visualization",
            "icon": "icon.svg", "files": ["index.html"],
        });
        for (name, text) in [
            ("mod-manifest.json", manifest.to_string()),
            ("icon.svg", "<svg/>".to_owned()),
            ("index.html", "<html/>".to_owned()),
            ("package.json", "{}".to_owned()),
        ] {
            fs::write(folder.path().join(name), text).expect("written");
        }
        let read = read(&wanted(folder.path().to_owned())).expect("a mod");
        assert_eq!(
            (read.kind.as_str(), read.name.as_str()),
            ("visualization_mod", "Gantt")
        );
        assert_eq!(read.files.keys().collect::<Vec<_>>(), ["icon.svg", "index.html"]);
        fs::remove_file(folder.path().join("index.html")).expect("removed");
        assert!(super::read(&wanted(folder.path().to_owned())).is_err());
    }
}
