//! `muster library code`, `trust` and `untrust`: the code in items, and the stamps on them.
//!
//! Invariant: what is trusted are the hashes that were shown, or that the caller gave; what came in between is refused by the
//! control plane.

use std::collections::BTreeSet;

use clap::Args;
use muster_client::{Request, Rest};
use muster_wire::admin::v1::stamp::{ItemCode, Stamp, StampChoice, Stamped, Unstamped};

use super::{PATH, at};
use crate::{context::Context, escape::escaped, failure::Failure, output, table, terminal};

/// Trust code in an item, which you have read, for all who can read the item
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster library code /Team/Sales\n  muster library trust /Team/Sales\n  \
                  muster library trust /Team/Sales --script sha512=…"
)]
pub(crate) struct Trust {
    /// The item
    item: String,
    /// Which.
    #[command(flatten)]
    choice: Choice,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Remove stamps from an item, or from all
#[derive(Args)]
#[command(
    group = clap::ArgGroup::new("where").required(true),
    after_help = "Examples:\n  muster library untrust /Team/Sales\n  muster library untrust --everywhere --script sha512=…"
)]
pub(crate) struct Untrust {
    /// The item
    #[arg(group = "where")]
    item: Option<String>,
    /// All items of the library; for administrators
    #[arg(long, group = "where")]
    everywhere: bool,
    /// Which.
    #[command(flatten)]
    choice: Choice,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Which contents are meant.
#[derive(Args)]
pub(crate) struct Choice {
    /// Hash of a script or data function; repeat for more [default: everything]
    #[arg(long = "script", value_name = "HASH")]
    scripts: Vec<String>,
    /// Hash of a custom query; repeat for more [default: everything]
    #[arg(long = "query", value_name = "HASH")]
    queries: Vec<String>,
}

/// Lists the code in an item.
pub(super) async fn code(context: &Context, item: &str) -> Result<(), Failure> {
    let codes = fetch(&context.rest()?, item).await?;
    context.show(&codes, || rows(&codes, context.colour))
}

/// Trusts.
pub(super) async fn trust(context: &Context, wanted: &Trust) -> Result<(), Failure> {
    let rest = context.rest()?;
    let choice = match choice(&wanted.choice.scripts, &wanted.choice.queries) {
        Some(choice) => choice,
        None => shown(context, &rest, wanted).await?,
    };
    let done = make(&rest, &wanted.item, &choice).await?;
    context.show(&done, || said(&done))
}

/// Removes stamps.
pub(super) async fn untrust(context: &Context, wanted: &Untrust) -> Result<(), Failure> {
    let rest = context.rest()?;
    let choice = choice(&wanted.choice.scripts, &wanted.choice.queries);
    let place = match &wanted.item {
        Some(item) => escaped(item),
        None => "all items of the library".to_owned(),
    };
    let what = if choice.is_some() {
        "this trust"
    } else {
        "all trust"
    };
    terminal::confirm(
        wanted.yes,
        &format!("Remove {what} in code of {place}?"),
        "give --yes",
    )?;
    let done = remove(&rest, wanted.item.as_deref(), &choice.unwrap_or_default()).await?;
    withdrawn(context, &done)
}

/// Says what became of it. Where stamps of others stay the code may be trusted as before, which is not what was asked for.
pub(crate) fn withdrawn(context: &Context, done: &Unstamped) -> Result<(), Failure> {
    context.show(done, || gone(done))?;
    if done.others.is_empty() {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}

/// What hashes on a command line mean; nothing where there are none.
pub(crate) fn choice(scripts: &[String], queries: &[String]) -> Option<StampChoice> {
    let given = |hashes: &[String]| (!hashes.is_empty()).then(|| hashes.to_vec());
    (!scripts.is_empty() || !queries.is_empty()).then(|| StampChoice {
        scripts: given(scripts),
        queries: given(queries),
    })
}

/// Stamps what is chosen.
pub(crate) async fn make(rest: &Rest, item: &str, choice: &StampChoice) -> Result<Stamped, Failure> {
    let request = at(Request::post(PATH), item).segment("trust").json(choice);
    Ok(rest.call(request).await?)
}

/// Removes what is chosen from an item, or from all, to the end.
pub(crate) async fn remove(
    rest: &Rest,
    item: Option<&str>,
    choice: &StampChoice,
) -> Result<Unstamped, Failure> {
    let mut whole: Option<Unstamped> = None;
    loop {
        let request = match item {
            Some(item) => at(Request::post(PATH), item),
            None => Request::post(PATH),
        };
        let part: Unstamped = rest.call(request.segment("untrust").json(choice)).await?;
        let ended = !part.more || part.removed.is_empty();
        match &mut whole {
            // What the first answer says was not there; afterwards everything is gone.
            None => whole = Some(part),
            Some(whole) => {
                whole.removed.extend(part.removed);
                whole.more = part.more;
                whole.others = part.others;
            }
        }
        if ended && let Some(whole) = whole {
            return Ok(whole);
        }
    }
}

/// What was trusted, in words.
pub(crate) fn said(done: &Stamped) -> String {
    let mut said = match done.stamped.len() {
        0 => "Nothing was changed".to_owned(),
        1 => "1 content is trusted now".to_owned(),
        count => format!("{count} contents are trusted now"),
    };
    if !done.already.is_empty() {
        said = format!("{said}; {} were trusted already", done.already.len());
    }
    format!("{said}.")
}

/// What is trusted no more, in words.
fn gone(done: &Unstamped) -> String {
    let items: BTreeSet<_> = done.removed.iter().map(|stamp: &Stamp| stamp.item).collect();
    let mut said = match (done.removed.len(), items.len()) {
        (0, _) => "Nothing of this is trusted; nothing was changed".to_owned(),
        (1, _) => "1 stamp was removed".to_owned(),
        (count, 1) => format!("{count} stamps were removed"),
        (count, items) => format!("{count} stamps were removed from {items} items"),
    };
    if !done.already.is_empty() && !done.removed.is_empty() {
        said = format!("{said}; not trusted before: {}", done.already.join(", "));
    }
    if !done.others.is_empty() {
        let authors: BTreeSet<_> = done.others.iter().map(|stamp| stamp.author.as_str()).collect();
        let authors: Vec<_> = authors.into_iter().collect();
        said = format!(
            "{said}; {} stay, which were made by {}",
            done.others.len(),
            authors.join(", ")
        );
    }
    format!("{}.", escaped(&said))
}

/// Everything in the item, after the caller has seen it and said yes.
async fn shown(context: &Context, rest: &Rest, wanted: &Trust) -> Result<StampChoice, Failure> {
    let codes = fetch(rest, &wanted.item).await?;
    if terminal::can_ask() && !wanted.yes {
        output::complain(&rows(&codes, context.colour));
    }
    let question = format!(
        "Trust {} contents of {}, for all who can read it?",
        codes.len(),
        escaped(&wanted.item)
    );
    terminal::confirm(wanted.yes, &question, "give --script, --query or --yes")?;
    let hashes = |query: bool| {
        let of = codes
            .iter()
            .filter(|code| (code.kind == "custom_query") == query)
            .map(|code| code.hash.clone());
        of.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>()
    };
    // Nothing at all is for the control plane to refuse, which knows why.
    Ok(choice(&hashes(false), &hashes(true)).unwrap_or_default())
}

async fn fetch(rest: &Rest, item: &str) -> Result<Vec<ItemCode>, Failure> {
    Ok(rest.call(at(Request::get(PATH), item).segment("code")).await?)
}

fn rows(codes: &[ItemCode], colour: bool) -> String {
    table::rows(
        ["name", "kind", "language", "stamped", "hash"],
        codes.iter().map(|code| {
            [
                code.name.clone(),
                code.kind.clone(),
                code.language.clone(),
                table::yes_no(code.stamped),
                code.hash.clone(),
            ]
        }),
        "It holds no script, data function or custom query that you can read.",
        colour,
    )
}
