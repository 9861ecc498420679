//! `muster trust list`: the decisions of people, one kind at a time.

use clap::Args;
use muster_client::{Request, Rest};
use muster_ids::Name;
use muster_wire::admin::v1::{
    stamp::Stamp,
    trust::{Block, Decided, Principal, Revocation, Signer, TrustedItem, TrustedSigner},
};

use crate::{
    context::Context,
    failure::Failure,
    function,
    list::{self, Extent},
    table,
};

pub(super) const BLOCKS: &str = "/api/v1/trust/blocks";
pub(super) const SIGNERS: &str = "/api/v1/trust/signers";
pub(super) const ITEMS: &str = "/api/v1/trust/items";
pub(super) const REVOCATIONS: &str = "/api/v1/trust/revocations";

/// Which kind of decisions is listed.
#[derive(Args)]
#[group(multiple = false)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag for each kind, of which one is given"
)]
pub(crate) struct List {
    /// Blocks
    #[arg(long)]
    blocks: bool,
    /// Trust in signers
    #[arg(long)]
    signers: bool,
    /// Trust in versions of mods and external actions
    #[arg(long)]
    items: bool,
    /// Revoked signatures
    #[arg(long)]
    revocations: bool,
}

/// All blocks.
pub(crate) async fn blocks(rest: &Rest) -> Result<Vec<Block>, Failure> {
    list::all(rest, || Request::get(BLOCKS), &Extent::default()).await
}

/// All trust in signers that the caller may know of.
pub(crate) async fn signers(rest: &Rest) -> Result<Vec<TrustedSigner>, Failure> {
    list::all(rest, || Request::get(SIGNERS), &Extent::default()).await
}

/// All trust in items that the caller may know of.
pub(crate) async fn items(rest: &Rest) -> Result<Vec<TrustedItem>, Failure> {
    list::all(rest, || Request::get(ITEMS), &Extent::default()).await
}

/// All revocations that the caller may know of.
pub(crate) async fn revocations(rest: &Rest) -> Result<Vec<Revocation>, Failure> {
    list::all(rest, || Request::get(REVOCATIONS), &Extent::default()).await
}

/// Lists what was asked for; stamps unless options say otherwise.
pub(super) async fn run(context: &Context, arguments: &List) -> Result<(), Failure> {
    let rest = context.rest()?;
    let colour = context.colour;
    if arguments.blocks {
        let blocks = blocks(&rest).await?;
        return context.show(&blocks, || {
            let rows = blocks.iter().map(|block| {
                let [by, at, reason] = decided(&block.decided);
                [blocked_text(block), by, at, reason]
            });
            table::rows(
                ["blocked", "by", "since", "reason"],
                rows,
                "Nothing is blocked.",
                colour,
            )
        });
    }
    if arguments.signers {
        let signers = signers(&rest).await?;
        return context.show(&signers, || {
            let rows = signers.iter().map(|entry| {
                let [by, at, reason] = decided(&entry.decided);
                let expires = table::time_or_dash(entry.expires.as_ref());
                [
                    principal_text(&entry.principal),
                    signer_text(&entry.signer),
                    expires,
                    by,
                    at,
                    reason,
                ]
            });
            let headers = ["whose", "signer", "expires", "by", "since", "reason"];
            table::rows(headers, rows, "No signer is trusted.", colour)
        });
    }
    if arguments.items {
        let items = items(&rest).await?;
        return context.show(&items, || {
            let rows = items.iter().map(|entry| {
                let [by, at, reason] = decided(&entry.decided);
                let item = format!("{} {}", entry.item.kind, entry.item.hash);
                let expires = table::time_or_dash(entry.expires.as_ref());
                [principal_text(&entry.principal), item, expires, by, at, reason]
            });
            let headers = ["whose", "item", "expires", "by", "since", "reason"];
            table::rows(
                headers,
                rows,
                "No version of a mod or external action is trusted.",
                colour,
            )
        });
    }
    if arguments.revocations {
        let revocations = revocations(&rest).await?;
        return context.show(&revocations, || {
            let rows = revocations.iter().map(|entry| {
                let [by, at, reason] = decided(&entry.decided);
                let until = table::time_or_dash(entry.until.as_ref());
                [
                    entry.user.to_string(),
                    table::time(&entry.from),
                    until,
                    by,
                    at,
                    reason,
                ]
            });
            let headers = ["user", "from", "until", "by", "decided", "reason"];
            table::rows(headers, rows, "No signatures are revoked.", colour)
        });
    }
    stamps(context, &rest).await
}

async fn stamps(context: &Context, rest: &Rest) -> Result<(), Failure> {
    let stamps: Vec<Stamp> =
        list::all(rest, || Request::get("/api/v1/trust/stamps"), &Extent::default()).await?;
    let names = function::names(rest).await?;
    context.show(&stamps, || {
        table::rows(
            ["stamp", "item", "kind", "hash", "author", "created"],
            stamps.iter().map(|stamp| {
                [
                    stamp.id.to_string(),
                    names
                        .get(&stamp.item.into())
                        .map_or_else(|| stamp.item.to_string(), Name::to_string),
                    stamp.kind.clone(),
                    short(&stamp.hash),
                    stamp.author.to_string(),
                    table::time(&stamp.created),
                ]
            }),
            "Nothing is trusted yet; see muster function trust and muster library trust.",
            context.colour,
        )
    })
}

/// The begin of a hash, whichever its spelling.
fn short(hash: &str) -> String {
    match hash.char_indices().nth(19) {
        Some((end, _)) => format!("{}…", &hash[..end]),
        None => hash.to_owned(),
    }
}

/// What a block is about.
pub(crate) fn blocked_text(block: &Block) -> String {
    match (&block.item, &block.user) {
        (Some(item), _) => format!("{} {}", item.kind, item.hash),
        (None, Some(user)) => format!("user {user}"),
        (None, None) => certificate_text(block.issuer.as_deref(), block.serial.as_deref()),
    }
}

/// Whose trust something is.
pub(super) fn principal_text(principal: &Principal) -> String {
    match (&principal.user, &principal.group) {
        (Some(user), _) => format!("user {user}"),
        (None, Some(group)) => format!("group {group}"),
        (None, None) => table::dash(),
    }
}

/// A signer with the role.
pub(super) fn signer_text(signer: &Signer) -> String {
    let whom = match &signer.user {
        Some(user) => format!("user {user}"),
        None => certificate_text(signer.issuer.as_deref(), signer.serial.as_deref()),
    };
    format!("{whom} as {}", signer.role)
}

fn certificate_text(issuer: Option<&str>, serial: Option<&str>) -> String {
    format!(
        "certificate {} of {}",
        serial.unwrap_or("-"),
        issuer.unwrap_or("-")
    )
}

fn decided(decided: &Decided) -> [String; 3] {
    [
        table::or_dash(decided.by.as_ref()),
        table::time_or_dash(decided.at.as_ref()),
        table::or_dash(decided.reason.as_ref()),
    ]
}
