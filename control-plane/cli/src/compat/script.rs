//! The documented commands about trust in scripts: of what the library has, data functions.

use std::collections::BTreeSet;

use clap::Parser;
use muster_client::{Request, Rest};
use muster_ids::{Digest, FunctionId};
use muster_wire::admin::v1::{function::TrustFunction, trust::Stamp};

use super::{Common, options};
use crate::{context::Context, failure::Failure, terminal};

const FUNCTIONS: &str = "/api/v1/functions";
const NO_QUERIES: &str = "-Q is not taken: the library has no custom queries yet";

/// Trusts scripts of a library item
#[derive(Debug, Parser)]
#[command(name = "trust")]
struct Trust {
    /// Identifier of the library item
    #[arg(short = 'i', long)]
    library_file_id: FunctionId,
    /// Hash of a script or data function; may be repeated
    #[arg(short = 'S', value_name = "HASH")]
    scripts: Vec<Digest>,
    /// Refused: hash of a custom query
    #[arg(short = 'Q', value_name = "HASH")]
    queries: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Removes trust in scripts of a library item, or of all
#[derive(Debug, Parser)]
#[command(name = "untrust")]
struct Untrust {
    /// Identifier of the library item [default: all]
    #[arg(short = 'i', long)]
    library_file_id: Option<FunctionId>,
    /// Hash of a script or data function; may be repeated [default: all]
    #[arg(short = 'S', value_name = "HASH")]
    scripts: Vec<Digest>,
    /// Refused: hash of a custom query
    #[arg(short = 'Q', value_name = "HASH")]
    queries: Vec<String>,
    /// Do not ask
    #[arg(short = 'n', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    no_prompt: bool,
    #[command(flatten)]
    common: Common,
}

/// `trust -i ID -S HASH…`.
pub(super) async fn trust(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Trust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    if !options.queries.is_empty() {
        return Err(Failure::usage(NO_QUERIES));
    }
    if options.scripts.is_empty() {
        return Err(Failure::usage("name at least one hash: -S"));
    }
    let rest = context.rest()?;
    let mut stamps: Vec<Stamp> = Vec::new();
    for digest in options.scripts {
        let request = of(&options.library_file_id, "trust").json(&TrustFunction { digest });
        stamps.push(rest.call(request).await?);
    }
    context.show(&stamps, || "It is trusted now.".to_owned())
}

/// `untrust [-i ID] [-S HASH]… [-n]`.
pub(super) async fn untrust(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Untrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    if !options.queries.is_empty() {
        return Err(Failure::usage(NO_QUERIES));
    }
    let rest = context.rest()?;
    let chosen = chosen(&rest, &options).await?;
    if chosen.is_empty() {
        return context.done("Nothing of this is trusted; nothing was changed.");
    }
    let question = format!("Remove the trust in {} library items?", chosen.len());
    terminal::confirm(options.no_prompt, &question, "give -n")?;
    for function in &chosen {
        let request = of(function, "untrust").json(&serde_json::json!({}));
        rest.call::<serde_json::Value>(request).await?;
    }
    context.done(&format!(
        "The trust in {} library items was removed.",
        chosen.len()
    ))
}

/// The library items whose stamps go. All stamps of an item go together, so none may be left out.
async fn chosen(rest: &Rest, options: &Untrust) -> Result<BTreeSet<FunctionId>, Failure> {
    let stamps: Vec<Stamp> = rest.call(Request::get("/api/v1/trust/stamps")).await?;
    let wanted = |stamp: &Stamp| options.scripts.is_empty() || options.scripts.contains(&stamp.digest);
    let inside = |stamp: &&Stamp| options.library_file_id.is_none_or(|id| id == stamp.function);
    let chosen: BTreeSet<FunctionId> = stamps
        .iter()
        .filter(inside)
        .filter(|stamp| wanted(stamp))
        .map(|stamp| stamp.function)
        .collect();
    match stamps
        .iter()
        .find(|stamp| chosen.contains(&stamp.function) && !wanted(stamp))
    {
        None => Ok(chosen),
        Some(other) => Err(Failure::failed(
            "not-yet",
            format!(
                "the library item {} is trusted as {} too, and its trust is removed as a whole; name that hash as well, or no hash",
                other.function, other.digest
            ),
        )),
    }
}

fn of(function: &FunctionId, what: &str) -> Request {
    Request::post(FUNCTIONS)
        .segment(&function.to_string())
        .segment(what)
}
