//! `muster library`: folders, what is in them, and who may read and write it.

pub(crate) mod find;
mod import;
mod permission;
mod stamp;

pub(crate) use stamp::{choice, make, remove, said, withdrawn};

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_ids::Name;
use muster_wire::admin::v1::library::{CreateFolder, LibraryItem, PatchItem};

use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table, terminal,
};

const PATH: &str = "/api/v1/library";

/// Folders of the library, what is in them, and who may read and write it
#[derive(Subcommand)]
#[command(
    after_help = "Examples:\n  muster library list /\n  muster library create-folder /Team\n  \
                  muster library permit /Team --group Team --right write\n  muster library move forecast --to /Team\n\n\
                  Items are named by path, which begins with /, or by identifier."
)]
pub(crate) enum Command {
    /// List what is in a folder
    List {
        /// The folder
        #[arg(default_value = "/")]
        folder: String,
        /// How much.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one item
    Show {
        /// The item
        item: String,
    },
    /// Make a folder
    CreateFolder(NewFolder),
    /// Put an item, or a new version of it, into the library
    Import(import::Import),
    /// List the versions of an item
    Versions {
        /// The item
        item: String,
        /// How much.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show what a version of an item holds
    Content(import::Show),
    /// List the scripts, data functions and custom queries in an item, and which a stamp on it trusts
    Code {
        /// The item
        item: String,
    },
    /// Trust code in an item, which you have read, for all who can read the item
    Trust(stamp::Trust),
    /// Remove stamps from an item, or from all
    Untrust(stamp::Untrust),
    FindScripts(find::FindScripts),
    /// Move an item into another folder, or rename or describe it
    Move(Move),
    /// Delete an item; stamps on it end
    Delete(Delete),
    /// Show the permissions that hold for an item
    Permissions {
        /// The item
        item: String,
    },
    /// Give a permission; an item that inherited keeps what it inherited as its own
    Permit(permission::Permit),
    /// Take a permission; an item that inherited keeps the others as its own
    Forbid(permission::Forbid),
    /// Have an item inherit the permissions of its folder again
    Inherit {
        /// The item
        item: String,
    },
}

/// Make a folder
#[derive(Args)]
pub(crate) struct NewFolder {
    /// Its path; the folder that it comes into exists
    path: String,
    /// For people
    #[arg(long, default_value = "")]
    description: String,
}

/// Move an item into another folder, or rename or describe it
#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(crate) struct Move {
    /// The item
    item: String,
    /// The folder that it comes into
    #[arg(long, value_name = "FOLDER", group = "what")]
    to: Option<String>,
    /// Its new name
    #[arg(long, group = "what")]
    name: Option<Name>,
    /// Its new description
    #[arg(long, group = "what")]
    description: Option<String>,
}

/// Delete an item; stamps on it end
#[derive(Args)]
pub(crate) struct Delete {
    /// The item
    item: String,
    /// Delete a folder with everything in it
    #[arg(long)]
    recursive: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { folder, extent } => {
            let rest = context.rest()?;
            let request = || Request::get(PATH).query("folder", &folder);
            let items: Vec<LibraryItem> = list::all(&rest, request, &extent).await?;
            context.show(&items, || rows(&items, context.colour))
        }
        Command::Show { item } => {
            let item = fetch(&context.rest()?, &item).await?;
            context.show(&item, || fields(&item, context.colour))
        }
        Command::CreateFolder(new) => {
            let (folder, name) = split(&new.path)?;
            let body = CreateFolder {
                folder,
                name,
                description: new.description,
            };
            let request = Request::post(PATH).segment("folders").json(&body);
            let item: LibraryItem = context.rest()?.call(request).await?;
            context.show(&item, || format!("Created the folder {}.", escaped(&item.path)))
        }
        Command::Import(wanted) => import::import(context, wanted).await,
        Command::Versions { item, extent } => import::versions(context, &item, &extent).await,
        Command::Content(wanted) => import::content(context, wanted).await,
        Command::Code { item } => stamp::code(context, &item).await,
        Command::Trust(wanted) => stamp::trust(context, &wanted).await,
        Command::Untrust(wanted) => stamp::untrust(context, &wanted).await,
        Command::FindScripts(wanted) => find::find(context, wanted).await,
        Command::Move(wanted) => {
            let body = PatchItem {
                folder: wanted.to,
                name: wanted.name,
                description: wanted.description,
            };
            let request = at(Request::patch(PATH), &wanted.item).json(&body);
            let item: LibraryItem = context.rest()?.call(request).await?;
            context.show(&item, || format!("It is {} now.", escaped(&item.path)))
        }
        Command::Delete(wanted) => delete(context, &wanted).await,
        Command::Permissions { item } => permission::show(context, &item).await,
        Command::Permit(wanted) => permission::permit(context, wanted).await,
        Command::Forbid(wanted) => permission::forbid(context, wanted).await,
        Command::Inherit { item } => permission::inherit(context, &item).await,
    }
}

async fn delete(context: &Context, wanted: &Delete) -> Result<(), Failure> {
    let rest = context.rest()?;
    let item = fetch(&rest, &wanted.item).await?;
    let path = escaped(&item.path);
    let with = if wanted.recursive && item.kind == "folder" {
        " with everything in it"
    } else {
        ""
    };
    terminal::confirm(wanted.yes, &format!("Delete {path}{with}?"), "give --yes")?;
    let mut request = at(Request::delete(PATH), &item.id.to_string());
    if wanted.recursive {
        request = request.query("recursive", "true");
    }
    rest.call::<()>(request).await?;
    context.done(&format!("Deleted {path}{with}."))
}

/// One item.
async fn fetch(rest: &Rest, item: &str) -> Result<LibraryItem, Failure> {
    Ok(rest.call(at(Request::get(PATH), item)).await?)
}

fn at(request: Request, item: &str) -> Request {
    request.segment(item)
}

/// The folder and the name that a path of something new names.
fn split(path: &str) -> Result<(String, Name), Failure> {
    let wrong = |why: String| Failure::usage(format!("\"{}\" is no path of a folder: {why}", escaped(path)));
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let (folder, name) = trimmed
        .rsplit_once('/')
        .filter(|_| path.starts_with('/'))
        .ok_or_else(|| wrong("it begins with /".to_owned()))?;
    let name = name.parse().map_err(|error| wrong(format!("{error}")))?;
    let folder = if folder.is_empty() { "/" } else { folder };
    Ok((folder.to_owned(), name))
}

fn rows(items: &[LibraryItem], colour: bool) -> String {
    table::rows(
        ["name", "kind", "right", "permissions", "updated by", "updated"],
        items.iter().map(|item| {
            [
                item.name.to_string(),
                item.kind.clone(),
                item.right.clone(),
                if item.inherits { "inherited" } else { "own" }.to_owned(),
                table::or_dash(item.updated_by.as_ref()),
                table::time(&item.updated),
            ]
        }),
        "Nothing that you can read is in this folder.",
        colour,
    )
}

fn fields(item: &LibraryItem, colour: bool) -> String {
    table::fields(
        [
            ("Item", item.id.to_string()),
            ("Path", item.path.clone()),
            ("Kind", item.kind.clone()),
            ("Description", item.description.clone()),
            ("Digest", item.digest.clone().unwrap_or_default()),
            ("You may", item.right.clone()),
            (
                "Permissions",
                if item.inherits { "of its folder" } else { "its own" }.to_owned(),
            ),
            ("Created", table::dated(&item.created, item.created_by.as_ref())),
            ("Updated", table::dated(&item.updated, item.updated_by.as_ref())),
        ],
        colour,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_new_folder_is_named_by_its_path() {
        let split = |path: &str| super::split(path).map(|(folder, name)| (folder, name.to_string()));
        for (path, folder, name) in [("/Team", "/", "Team"), ("/Team/Forecasts/", "/Team", "Forecasts")] {
            assert_eq!(split(path).expect(path), (folder.to_owned(), name.to_owned()));
        }
        for wrong in ["Team", "/", "", "a/b", "/a//"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
    }
}
