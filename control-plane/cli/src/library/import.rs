//! `muster library import`, `versions` and `content`: what items hold.

use std::{io::IsTerminal as _, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use clap::Args;
use muster_client::{ClientError, Request};
use muster_ids::Name;
use muster_wire::admin::v1::{
    library::{Content, LibraryItem, SaveItem, Version},
    signing::{ItemContent, SignItem, SignedItem},
};

use super::{PATH, at};
use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    item_file::{self, Declared, ItemFile},
    list::{self, Extent},
    output, table, trust,
};

/// The most that the files of an item have, bytes.
const LONGEST: usize = 12 * 1024 * 1024;

/// Put an item, or a new version of it, into the library
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster library import ./gantt --folder /Mods\n  muster library import sales.json --folder /Team\n  \
                  muster library import refresh.py --parameter table:Table\n\n\
                  What is imported is told by its name: a folder with a mod-manifest.json is a mod, and so is a .mod archive; .json an analysis, or with \
                  --kind an external action; .py and .js are scripts, with --kind .py may be a job script; .sql is a custom \
                  query. Nothing is trusted by being imported."
)]
pub(crate) struct Import {
    /// A folder or an archive (.mod) of a mod, or a file
    source: PathBuf,
    /// Folder of the library that it comes into
    #[arg(long, value_name = "PATH", default_value = "/")]
    folder: String,
    /// Its name there [default: that of the mod, or of the file without its ending]
    #[arg(long)]
    name: Option<Name>,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
    /// What it does not say of itself.
    #[command(flatten)]
    declared: Declared,
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
    let found = item_file::read(&wanted.source, &wanted.declared)?;
    found.tell_strangers("not imported");
    let signature = found.signature()?;
    let content = signature
        .is_some()
        .then(|| trust::content_of(&found))
        .transpose()?;
    let body = body(&wanted, found)?;
    let request = Request::post(PATH).segment("items").json(&body);
    let item: LibraryItem = context.rest()?.call(request).await?;
    let kept = match (signature, content) {
        (Some(signature), Some((content, _))) => keep(context, content, &signature).await?,
        _ => String::new(),
    };
    context.show(&item, || {
        let digest = item.digest.clone().unwrap_or_default();
        format!("Saved {} as {}.{kept}", escaped(&item.path), escaped(&digest))
    })
}

/// Has the control plane keep the signature that lay with an item; what is to be said of it.
async fn keep(context: &Context, item: ItemContent, signature: &[u8]) -> Result<String, Failure> {
    let Ok(bundle) = serde_json::from_slice(signature) else {
        return Ok("\nIts signature is none that Muster can read, so it counts as unsigned.".to_owned());
    };
    let new = SignItem {
        item,
        user: None,
        bundle: Some(bundle),
    };
    let request = Request::post(trust::SIGNATURES).json(&new);
    Ok(match context.rest()?.call::<SignedItem>(request).await {
        Ok(kept) => format!("\nThe signature of {} is kept with it.", escaped(&kept.signer)),
        Err(error) if is_duplicate(&error) => "\nIts signature was kept before.".to_owned(),
        Err(error) => {
            let said = Failure::from(error).sentence();
            let why = said.strip_prefix("the signature was not kept: ").unwrap_or(&said);
            format!("\nIts signature was not kept: {}", escaped(why))
        }
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
        // A file of somebody else: what it holds does nothing to a terminal.
        if std::io::stdout().is_terminal() {
            let text = String::from_utf8_lossy(&answer.body);
            return output::bytes(escaped_lines(&text).as_bytes());
        }
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

fn is_duplicate(error: &ClientError) -> bool {
    error
        .problem()
        .is_some_and(|problem| problem.kind.ends_with(":duplicate"))
}

fn body(wanted: &Import, found: ItemFile) -> Result<SaveItem, Failure> {
    let name = match &wanted.name {
        Some(name) => name.clone(),
        None => found.name.parse().map_err(|error| {
            Failure::usage(format!(
                "\"{}\" is no name for an item ({error}); give --name",
                escaped(&found.name)
            ))
        })?,
    };
    if found.files.values().map(Vec::len).sum::<usize>() > LONGEST {
        return Err(Failure::usage(format!(
            "the files of the item have more than {} MiB, the most that the library keeps",
            LONGEST / 1024 / 1024
        )));
    }
    let files = found.files.iter();
    Ok(SaveItem {
        folder: wanted.folder.clone(),
        name,
        kind: found.kind.as_str().to_owned(),
        description: wanted.description.clone(),
        files: files
            .map(|(path, content)| (path.clone(), STANDARD.encode(content)))
            .collect(),
        manifest: found.manifest,
    })
}
