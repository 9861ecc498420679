//! The documented command that signs mods again: in files, or in the library.

use std::{
    fs,
    path::{Path, PathBuf},
};

use clap::Parser;
use muster_client::Request;
use muster_ids::UserName;
use muster_wire::admin::v1::{
    library::LibraryItem,
    session::WhoAmI,
    signing::{SignItem, SignedItem},
    user::User,
};

use super::{Common, group::user, options};
use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    item_file,
    list::{self, Extent},
    output, trust,
};

/// The group whose members sign as others.
const ADMINISTRATOR: &str = "Administrator";

/// Signs a mod again, as a given user
#[derive(Debug, Parser)]
#[command(name = "re-sign-mod")]
struct ReSign {
    /// The user who will appear as the signer
    #[arg(short = 'u', long, value_parser = user)]
    username: UserName,
    /// The archive of the mod, or its folder with mod-manifest.json
    #[arg(
        short = 'p',
        long,
        conflicts_with = "library_path",
        required_unless_present = "library_path"
    )]
    file_path: Option<PathBuf>,
    /// Where the archive, or the signature of a folder, is written [default: in its place]
    #[arg(short = 'd', long, conflicts_with_all = ["library_path", "folder"])]
    destination: Option<PathBuf>,
    /// Replace an archive, or what is at the destination
    #[arg(short = 'f', long, conflicts_with = "library_path")]
    force_overwrite: bool,
    /// The mod in the library, by path or identifier; the control plane keeps the signature
    #[arg(short = 'l', long)]
    library_path: Option<String>,
    /// Only mods of this type: visualization_mod or action_mod, or mod for both
    #[arg(short = 'i', long, value_parser = ["mod", "visualization_mod", "action_mod"])]
    item_type: Option<String>,
    /// All mods in this folder
    #[arg(long)]
    folder: bool,
    /// Sign also what has a valid signature, or was changed or revoked after it was signed
    #[arg(long = "force-re-sign")]
    valid_too: bool,
    #[command(flatten)]
    common: Common,
}

/// `re-sign-mod -u USER -p PATH | -l ITEM …`.
pub(super) async fn run(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ReSign>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    check_signer(context, &options.username).await?;
    // All are looked at before the first is signed.
    let mut again = Vec::new();
    let mut left = 0;
    for target in targets(context, &options).await? {
        let bundle = target.read.bundle()?;
        // What the control plane keeps about an item of the library is its signature.
        let signed = bundle.is_some() || options.library_path.is_some();
        if !options.valid_too {
            if !signed {
                return Err(unsigned(&target.name));
            }
            let found = trust::verified(context, target.read.content.clone(), bundle.as_deref()).await?;
            match found.status.as_str() {
                "valid" => {
                    left += 1;
                    continue;
                }
                // Who changes a mod can take its signature away as well.
                "unsigned" => return Err(unsigned(&target.name)),
                status @ ("modified" | "revoked") => {
                    return Err(not_again(&target.name, status, found.signer));
                }
                _ => {}
            }
        }
        if let Some(path) = target.save.as_deref().filter(|_| target.guarded) {
            output::refuse_overwriting(path, options.force_overwrite, "-f")?;
        }
        target.read.refuse_archive(target.save.as_deref())?;
        again.push(target);
    }
    let mut done: Vec<SignedItem> = Vec::new();
    let mut lines = Vec::new();
    for target in again {
        let new = SignItem {
            item: target.read.content.clone(),
            user: Some(options.username.clone()),
            bundle: None,
        };
        let (made, saved) = trust::signed(context, &target.read, new, target.save.as_deref()).await?;
        lines.push(escaped_lines(&format!(
            "{} {} is signed by {} now.{saved}",
            made.item.kind, made.item.hash, options.username
        )));
        done.push(made);
    }
    if left > 0 {
        lines.push(if left == 1 {
            "1 has a valid signature and was left alone; --force-re-sign signs it too.".to_owned()
        } else {
            format!("{left} have a valid signature and were left alone; --force-re-sign signs them too.")
        });
    }
    context.show(&done, || lines.join("\n"))
}

/// Refuses, before anything is looked at, a signer who does not exist or as whom the caller does not sign: where every
/// signature is left alone, nothing else would.
async fn check_signer(context: &Context, signer: &UserName) -> Result<(), Failure> {
    let rest = context.rest()?;
    let me: WhoAmI = rest.call(Request::get("/api/v1/sessions/current")).await?;
    if me.user.key() == signer.key() {
        return Ok(());
    }
    if !me.groups.iter().any(|group| group == ADMINISTRATOR) {
        return Err(Failure::failed(
            "not-allowed",
            format!(
                "nothing was signed: only administrators sign as others, and you are {}; give -u {0}, or ask an administrator",
                me.user
            ),
        ));
    }
    let request = Request::get("/api/v1/users").segment(signer.as_str());
    rest.call::<User>(request).await?;
    Ok(())
}

/// A mod that may be signed again.
struct Target {
    /// For people.
    name: String,
    read: trust::Read,
    /// Where its signature is written.
    save: Option<PathBuf>,
    /// Whether what is there is replaced only when somebody says so.
    guarded: bool,
}

async fn targets(context: &Context, options: &ReSign) -> Result<Vec<Target>, Failure> {
    let wanted = |kind: &str| {
        matches!(kind, "visualization_mod" | "action_mod")
            && options
                .item_type
                .as_deref()
                .is_none_or(|only| only == "mod" || only == kind)
    };
    let refused = |name: &str, kind: &str| {
        Failure::usage(format!(
            "{} is of the kind {kind}, and only mods of the type that -i names are signed",
            escaped(name)
        ))
    };
    let mut found = Vec::new();
    if let Some(item) = &options.library_path {
        let mut items = vec![item.clone()];
        if options.folder {
            let request = || Request::get("/api/v1/library").query("folder", item);
            let listed: Vec<LibraryItem> = list::all(&context.rest()?, request, &Extent::default()).await?;
            items = listed
                .into_iter()
                .filter(|one| wanted(&one.kind))
                .map(|one| one.path)
                .collect();
            if items.is_empty() {
                return Err(Failure::usage(format!("{} has no mods", escaped(item))));
            }
        }
        for name in items {
            let read = trust::of_library(context, &name).await?;
            if !wanted(&read.content.kind) {
                return Err(refused(&name, &read.content.kind));
            }
            found.push(Target {
                name,
                read,
                save: None,
                guarded: false,
            });
        }
        return Ok(found);
    }
    let place = options.file_path.as_deref().unwrap_or(Path::new("."));
    let paths = if options.folder {
        mods_in(place)?
    } else {
        vec![place.to_owned()]
    };
    for path in paths {
        let read = trust::read_mod(&path)?;
        let name = path.display().to_string();
        if !wanted(&read.content.kind) {
            if options.folder {
                continue;
            }
            return Err(refused(&name, &read.content.kind));
        }
        let save = options.destination.clone().or_else(|| read.place());
        // A signature of a folder is ours; an archive is somebody's.
        let guarded = options.destination.is_some() || save.as_deref().is_some_and(item_file::is_archive);
        found.push(Target {
            name,
            read,
            save,
            guarded,
        });
    }
    Ok(found)
}

/// What has no signature is looked at first: whoever changed it may have taken that away.
fn unsigned(name: &str) -> Failure {
    Failure::failed(
        "signature-void",
        format!(
            "nothing was signed: {} has no signature that could be renewed; look at what is in the mod, and give --force-re-sign if it is to be signed as it is",
            escaped(name)
        ),
    )
}

/// What was changed after it was signed, or signed by somebody whose signatures are void, is looked at first.
fn not_again(name: &str, status: &str, signer: Option<String>) -> Failure {
    let signer = signer.map_or_else(String::new, |signer| format!(" of {}", escaped(&signer)));
    Failure::failed(
        "signature-void",
        format!(
            "nothing was signed: the signature{signer} of {} is {status}; look at what is in the mod, and give --force-re-sign if it is to be signed as it is",
            escaped(name)
        ),
    )
}

/// The mods in `place`, in folders and archives.
fn mods_in(place: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed =
        |error: std::io::Error| Failure::usage(format!("{} cannot be listed: {error}", place.display()));
    let mut found = Vec::new();
    for entry in fs::read_dir(place).map_err(failed)? {
        let folder = entry.map_err(failed)?.path();
        let archive = item_file::is_archive(&folder) && folder.is_file();
        if archive || folder.join(muster_code_trust::MOD_MANIFEST).is_file() {
            found.push(folder);
        }
    }
    found.sort();
    if found.is_empty() {
        return Err(Failure::usage(format!(
            "{} has no archive of a mod, and no folder with a mod-manifest.json",
            place.display()
        )));
    }
    Ok(found)
}
