//! The documented commands about trust in scripts, data functions and custom queries of the library.

use clap::Parser;

use super::{Common, options};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    library::{choice, make, remove, said, withdrawn},
    terminal,
};

/// Trusts scripts, data functions and custom queries of a library item
#[derive(Debug, Parser)]
#[command(name = "trust")]
struct Trust {
    /// Identifier of the library item
    #[arg(short = 'i', long)]
    library_file_id: String,
    /// Hash of a script or data function; may be repeated
    #[arg(short = 'S', value_name = "HASH")]
    scripts: Vec<String>,
    /// Hash of a custom query; may be repeated
    #[arg(short = 'Q', value_name = "HASH")]
    queries: Vec<String>,
    #[command(flatten)]
    common: Common,
}

/// Removes trust in scripts, data functions and custom queries of a library item, or of all
#[derive(Debug, Parser)]
#[command(name = "untrust")]
struct Untrust {
    /// Identifier of the library item [default: all]
    #[arg(short = 'i', long)]
    library_file_id: Option<String>,
    /// Hash of a script or data function; may be repeated [default: all]
    #[arg(short = 'S', value_name = "HASH")]
    scripts: Vec<String>,
    /// Hash of a custom query; may be repeated [default: all]
    #[arg(short = 'Q', value_name = "HASH")]
    queries: Vec<String>,
    /// Do not ask
    #[arg(short = 'n', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    no_prompt: bool,
    #[command(flatten)]
    common: Common,
}

/// `trust -i ID -S HASH… -Q HASH…`.
pub(super) async fn trust(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Trust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let Some(choice) = choice(&options.scripts, &options.queries) else {
        return Err(Failure::usage("name at least one hash: -S or -Q"));
    };
    let done = make(&context.rest()?, &options.library_file_id, &choice).await?;
    context.show(&done, || said(&done))
}

/// `untrust [-i ID] [-S HASH]… [-Q HASH]… [-n]`.
pub(super) async fn untrust(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<Untrust>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let choice = choice(&options.scripts, &options.queries);
    let item = options.library_file_id.as_deref();
    let place = item.map_or_else(|| "all items of the library".to_owned(), escaped);
    let what = if choice.is_some() {
        "this trust"
    } else {
        "all trust"
    };
    let question = format!("Remove {what} in code of {place}?");
    terminal::confirm(options.no_prompt, &question, "give -n")?;
    let done = remove(&rest, item, &choice.unwrap_or_default()).await?;
    withdrawn(context, &done)
}
