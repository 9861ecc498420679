//! `muster trust open`: what a client does when it opens an item, for people and scripts.
//!
//! Invariant: nobody trusts by silence. Without an answer on a terminal or by an option the answer is no, and is recorded.

use std::path::PathBuf;

use clap::Args;
use muster_client::{Request, Rest};
use muster_code_trust::MOST_BUNDLE;
use muster_wire::admin::v1::{
    signing::VerifiedItem,
    trust::{OpenItem, TrustItem, TrustedItem},
};
use serde_json::Value;

use super::signing::{Source, read};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    item_file::{self, Declared},
    table, terminal,
};

const OPENINGS: &str = "/api/v1/trust/openings";

/// What is opened.
#[derive(Args)]
pub(crate) struct Open {
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    declared: Declared,
    /// The signature [default: that with the mod, else one that the control plane keeps]
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// Where somebody is asked whether to trust this version: yes, for yourself
    #[arg(long, conflicts_with = "decline")]
    trust: bool,
    /// Where somebody is asked whether to trust this version: no
    #[arg(long)]
    decline: bool,
}

/// `muster trust open`.
pub(super) async fn open(context: &Context, arguments: Open) -> Result<(), Failure> {
    let read = read(context, &arguments.source, &arguments.declared).await?;
    let bundle = match &arguments.signature {
        Some(path) => Some(item_file::bytes(path, MOST_BUNDLE)?),
        None => read.bundle()?,
    };
    // What is no JSON is a signature of somebody else's form: the control plane says what it counts as.
    let bundle = bundle
        .map(|bytes| serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String("not JSON".to_owned())));
    let rest = context.rest()?;
    let mut asked = OpenItem {
        item: read.content,
        bundle,
        declined: false,
    };
    let found = opened(&rest, &asked).await?;
    if found.outcome.as_deref() != Some("prompt") {
        let refused = found.outcome.as_deref() == Some("deny");
        show(context, &found, None)?;
        return if refused { Err(Failure::Said) } else { Ok(()) };
    }
    let question = format!(
        "{} {} is {}. Trust this version for yourself?",
        escaped(&found.item.kind),
        escaped(&found.item.hash),
        escaped(&found.status)
    );
    let yes = arguments.trust || (!arguments.decline && terminal::can_ask() && terminal::ask(&question)?);
    if yes {
        let new = TrustItem {
            principal: None,
            item: found.item.clone(),
            expires: None,
            reason: None,
        };
        let request = Request::post("/api/v1/trust/items").json(&new);
        rest.call::<TrustedItem>(request).await?;
        return show(context, &found, Some("trusted"));
    }
    asked.declined = true;
    opened(&rest, &asked).await?;
    show(context, &found, Some("declined"))?;
    Err(Failure::Said)
}

async fn opened(rest: &Rest, asked: &OpenItem) -> Result<VerifiedItem, Failure> {
    Ok(rest.call(Request::post(OPENINGS).json(asked)).await?)
}

fn show(context: &Context, found: &VerifiedItem, answer: Option<&str>) -> Result<(), Failure> {
    context.show(found, || {
        let why = found.why.as_ref().map(|why| why.reasons.join("\n"));
        let outcome = found.outcome.clone().unwrap_or_default();
        table::fields(
            [
                ("Item", format!("{} {}", found.item.kind, found.item.hash)),
                ("Signature", found.status.clone()),
                ("Problem", found.problem.clone().unwrap_or_default()),
                ("Signer", found.signer.clone().unwrap_or_default()),
                ("Outcome", outcome),
                ("Answer", answer.unwrap_or_default().to_owned()),
                ("Reasons", why.unwrap_or_default()),
            ],
            context.colour,
        )
    })
}
