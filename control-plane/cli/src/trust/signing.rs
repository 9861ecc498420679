//! `muster trust sign|verify`: signatures of items that lie in files or in the library.
//!
//! The signature of a mod lies in `muster-signature.json` beside its manifest, in a folder or an archive, unless an option
//! says otherwise; those of others lie where an option says, and all that are made with the control plane are kept there.

mod own_key;
mod verify;

pub(crate) use verify::{Verify, verified};
pub(super) use verify::{as_json, verify};

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use clap::Args;
use muster_client::Request;
use muster_code_trust::{ItemHash, ItemType};
use muster_daemon::file;
use muster_ids::{Digest, Name, Sha512, UserName};
use muster_wire::admin::v1::{
    function::Function,
    library::Content,
    signing::{ItemContent, SignItem, SignedItem},
};

use crate::{
    context::Context,
    escape::escaped_lines,
    failure::{Failure, chain},
    function,
    item_file::{self, Declared, ItemFile, Place},
    output,
};

/// Where a signature is posted.
pub(crate) const SIGNATURES: &str = "/api/v1/trust/signatures";

/// Which item it is: one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Source {
    /// A folder or an archive (.mod) of a mod, a script (.py, .js) or a query (.sql)
    path: Option<PathBuf>,
    /// The configuration of an external action, a JSON file
    #[arg(long, value_name = "FILE")]
    action: Option<PathBuf>,
    /// A data function of the library, in its current version
    #[arg(long, value_name = "NAME")]
    function: Option<Name>,
    /// The definition of a data function, .toml or .json, as muster function register takes it
    #[arg(long, value_name = "FILE")]
    definition: Option<PathBuf>,
    /// Another item of the library, in its current version: path or identifier
    #[arg(long, value_name = "ITEM")]
    item: Option<String>,
}

/// What is signed.
#[derive(Args)]
pub(crate) struct Sign {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    declared: Declared,
    /// Whose signature it becomes; of others for administrators only [default: yours]
    #[arg(long, value_name = "NAME@DOMAIN")]
    user: Option<UserName>,
    /// Where the signature is written; a name that ends with .mod makes an archive of the mod with it [default: with the
    /// mod; nowhere for others]
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Replace the file that --save names
    #[arg(long, requires = "save")]
    force: bool,
    /// Sign with this private key, PKCS#8 in PEM, which stays here, instead of one that the control plane keeps
    #[arg(long, value_name = "FILE", requires = "certificate", conflicts_with = "user")]
    key: Option<PathBuf>,
    /// The certificate of that key, then what leads on from it, in PEM
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// Have no time stamp made, and no control plane keep the signature: it counts until the certificate ends
    #[arg(long, requires = "key", conflicts_with_all = ["function", "item"])]
    offline: bool,
}

/// An item as it was read.
pub(crate) struct Read {
    pub(crate) content: ItemContent,
    pub(super) named: (ItemType, ItemHash),
    file: Option<ItemFile>,
}

/// `muster trust sign`.
pub(super) async fn sign(context: &Context, arguments: Sign) -> Result<(), Failure> {
    let read = read(context, &arguments.source, &arguments.declared).await?;
    read.tell_strangers("not signed");
    if let Some(path) = &arguments.save {
        output::refuse_overwriting(path, arguments.force, "--force")?;
    }
    let save = arguments.save.clone().or_else(|| read.place());
    read.refuse_archive(save.as_deref())?;
    let by_key = match (&arguments.key, &arguments.certificate) {
        (Some(key), Some(certificate)) => Some(own_key::sign(read.named.clone(), key, certificate)?),
        _ => None,
    };
    if let (Some(bundle), true) = (&by_key, arguments.offline) {
        let saved = read.save(save.as_deref(), bundle)?;
        return context.show(bundle, || {
            let (kind, hash) = &read.named;
            escaped_lines(&format!(
                "{kind} {hash}\nSigned without a time stamp: it counts until the certificate ends.{saved}"
            ))
        });
    }
    let new = SignItem {
        item: read.content.clone(),
        user: arguments.user,
        bundle: by_key.map(|bundle| serde_json::to_value(bundle).unwrap_or_default()),
    };
    let (made, saved) = signed(context, &read, new, save.as_deref()).await?;
    context.show(&made, || {
        escaped_lines(&format!(
            "{} {}\nSigned by {} at {} with the certificate {}.{saved}",
            made.item.kind, made.item.hash, made.signer, made.time, made.serial
        ))
    })
}

/// Has an item signed, and writes the signature where it belongs; what is to be said about that.
pub(crate) async fn signed(
    context: &Context,
    read: &Read,
    new: SignItem,
    save: Option<&Path>,
) -> Result<(SignedItem, String), Failure> {
    let made: SignedItem = context.rest()?.call(Request::post(SIGNATURES).json(&new)).await?;
    let saved = read.save(save, &made.bundle)?;
    Ok((made, saved))
}

pub(super) async fn read(context: &Context, source: &Source, declared: &Declared) -> Result<Read, Failure> {
    match source {
        Source { path: Some(path), .. } => of_file(item_file::read(path, declared)?),
        Source {
            action: Some(path), ..
        } => {
            let declared = Declared {
                kind: Some(ItemType::ExternalAction.to_string()),
                ..Declared::default()
            };
            of_file(item_file::read(path, &declared)?)
        }
        Source {
            function: Some(name), ..
        } => {
            let request = Request::get("/api/v1/functions").segment(name.as_str());
            let function: Function = context.rest()?.call(request).await?;
            Ok(of_function(function.digest))
        }
        Source {
            definition: Some(path),
            ..
        } => Ok(of_function(function::digest_of(path)?)),
        Source { item: Some(item), .. } => of_library(context, item).await,
        _ => Err(Failure::usage(
            "name a folder or file, --action, --function, --definition or --item",
        )),
    }
}

/// A data function, which is named by its digest alone.
fn of_function(digest: Digest) -> Read {
    Read {
        content: ItemContent {
            kind: ItemType::DataFunction.to_string(),
            manifest: None,
            files: BTreeMap::new(),
            hash: Some(digest.to_string()),
        },
        named: (ItemType::DataFunction, digest.into()),
        file: None,
    }
}

/// The current version of an item of the library.
pub(crate) async fn of_library(context: &Context, item: &str) -> Result<Read, Failure> {
    let request = Request::get("/api/v1/library").segment(item).segment("content");
    let found: Content = context.rest()?.call(request).await?;
    let unsignable = || Failure::usage(format!("items of the kind {} are not signed", found.kind));
    let kind: ItemType = found.kind.parse().map_err(|_| unsignable())?;
    let hash = found.digest.parse().map_err(|_| unsignable())?;
    Ok(Read {
        content: ItemContent {
            kind: found.kind,
            manifest: Some(found.manifest),
            files: found
                .files
                .into_iter()
                .map(|file| (file.path, file.digest))
                .collect(),
            hash: Some(found.digest),
        },
        named: (kind, hash),
        file: None,
    })
}

/// The mod in a folder or an archive.
pub(crate) fn read_mod(path: &Path) -> Result<Read, Failure> {
    if path.is_dir() || item_file::is_archive(path) {
        return of_file(item_file::read(path, &Declared::default())?);
    }
    Err(Failure::usage(format!(
        "{} is neither a folder nor an archive (.mod) of a mod",
        path.display()
    )))
}

fn of_file(file: ItemFile) -> Result<Read, Failure> {
    let (content, named) = content_of(&file)?;
    Ok(Read {
        content,
        named,
        file: Some(file),
    })
}

/// What was read, as its digest is made of it, and as signatures name it.
pub(crate) fn content_of(file: &ItemFile) -> Result<(ItemContent, (ItemType, ItemHash)), Failure> {
    let item = file.item()?;
    let r#type = item.kind().item_type().ok_or_else(|| {
        Failure::usage(format!(
            "nothing of the kind {} is signed; its parts are. --action names an external action",
            item.kind()
        ))
    })?;
    let files = file.files.iter();
    let content = ItemContent {
        kind: r#type.to_string(),
        manifest: Some(file.manifest.clone()),
        files: files
            .map(|(path, content)| (path.clone(), Sha512::of(content).to_string()))
            .collect(),
        hash: Some(item.hash().to_string()),
    };
    Ok((content, (r#type, item.hash())))
}

impl Read {
    /// Where its signature is written unless somebody says otherwise.
    pub(crate) fn place(&self) -> Option<PathBuf> {
        self.file.as_ref().and_then(ItemFile::signature_place)
    }

    /// The signature that lies with it.
    pub(crate) fn bundle(&self) -> Result<Option<Vec<u8>>, Failure> {
        self.file.as_ref().map_or(Ok(None), ItemFile::signature)
    }

    /// Refuses, before anything is signed, an archive of what is no mod or not here.
    pub(crate) fn refuse_archive(&self, save: Option<&Path>) -> Result<(), Failure> {
        let Some(path) = save.filter(|path| item_file::is_archive(path)) else {
            return Ok(());
        };
        match &self.file {
            Some(file) => file.archive(Vec::new()).map(drop),
            None => Err(Failure::usage(format!(
                "{} would be an archive, and the files of the item are not here; choose another name",
                path.display()
            ))),
        }
    }

    /// Writes a signature to `save`, into an archive of the mod where that is the name of one; what is to be said of it.
    fn save(&self, save: Option<&Path>, bundle: &impl serde::Serialize) -> Result<String, Failure> {
        let Some(path) = save else {
            return Ok(String::new());
        };
        let text = serde_json::to_string_pretty(bundle)
            .map_err(|error| Failure::failed("file", error.to_string()))?;
        let mut bytes = (text + "\n").into_bytes();
        let mut left_out = String::new();
        if let Some(file) = self.file.as_ref().filter(|_| item_file::is_archive(path)) {
            bytes = file.archive(bytes)?;
            if let Place::Archive { others, .. } = &file.place
                && !others.is_empty()
            {
                left_out = format!(
                    " {} other files of the archive are no part of the mod and were left out.",
                    others.len()
                );
            }
        }
        // In its place, never through a link that lies there.
        file::write(path, &bytes, 0o644, "signature")
            .map_err(|error| Failure::failed("file", chain(&error)))?;
        Ok(format!("\nThe signature is in {}.{left_out}", path.display()))
    }

    /// Says which files beside it are no part of it.
    fn tell_strangers(&self, so: &str) {
        if let Some(file) = &self.file {
            file.tell_strangers(so);
        }
    }

    /// What there may be instead of a signature of ours.
    fn foreign(&self) -> Option<String> {
        let Place::Archive { others, .. } = &self.file.as_ref()?.place else {
            return None;
        };
        let first = others.first()?;
        Some(format!(
            "the archive has {} files that are no part of the mod, such as {first}; if one is a signature of the original, \
             its form is not documented, and the mod counts as unsigned",
            others.len()
        ))
    }
}
