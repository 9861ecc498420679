//! `muster trust open`: what a client does when it opens an item, for people and scripts.
//!
//! Invariant: nobody trusts by silence, and nobody declines by it: what is recorded is an answer on a terminal or by an
//! option.

use std::path::PathBuf;

use super::{
    denied_for,
    signing::{Source, as_json, read},
};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    item_file::{self, Declared},
    table, terminal,
};
use clap::Args;
use muster_client::{Request, Rest};
use muster_code_trust::{ItemType, MOST_BUNDLE};
use muster_wire::admin::v1::{
    signing::VerifiedItem,
    trust::{OpenItem, TrustItem, TrustSigner, TrustedItem, TrustedSigner},
};
use serde::Serialize;

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
    /// Where somebody is asked whom to trust: this version, for yourself
    #[arg(long, group = "answer")]
    trust: bool,
    /// Where somebody is asked whom to trust: the signer with all that they sign in this role, for yourself
    #[arg(long, group = "answer")]
    trust_signer: bool,
    /// Where somebody is asked whom to trust: nobody
    #[arg(long, group = "answer")]
    decline: bool,
}

/// What somebody answers who is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Item,
    Signer,
    Decline,
}

impl Open {
    /// The answer that was given beforehand.
    fn answer(&self) -> Option<Answer> {
        [
            (self.trust, Answer::Item),
            (self.trust_signer, Answer::Signer),
            (self.decline, Answer::Decline),
        ]
        .into_iter()
        .find_map(|(given, answer)| given.then_some(answer))
    }
}

/// `muster trust open`.
pub(super) async fn open(context: &Context, arguments: Open) -> Result<(), Failure> {
    let read = read(context, &arguments.source, &arguments.declared).await?;
    let opened_ones = [
        ItemType::VisualizationMod,
        ItemType::ActionMod,
        ItemType::ExternalAction,
    ];
    if !opened_ones.contains(&read.named.0) {
        return Err(Failure::usage(format!(
            "mods and external actions are opened, and this is an item of the type {}; muster trust explain says who may run it, muster \
             trust verify what holds of its signature",
            read.named.0
        )));
    }
    let bundle = match &arguments.signature {
        Some(path) => Some(item_file::bytes(path, MOST_BUNDLE)?),
        None => read.bundle()?,
    };
    let bundle = bundle.as_deref().map(as_json);
    let rest = context.rest()?;
    let asked = OpenItem {
        item: read.content,
        bundle: bundle.clone(),
        declined: false,
    };
    let found = opened(&rest, &asked).await?;
    if found.outcome.as_deref() != Some("prompt") {
        if found.outcome.as_deref() == Some("deny") {
            return Err(not_opened(context, &found, None, &refusal(&found)));
        }
        return show(context, &found, None);
    }
    let answer = match arguments.answer() {
        None if terminal::can_ask() => Some(ask(&found)?),
        given => given,
    };
    let Some(answer) = answer else {
        let or_signer = match found.offered {
            Some(_) => ", --trust-signer",
            None => "",
        };
        let why = Failure::failed(
            "not-confirmed",
            format!(
                "{} There is no terminal to ask on, so nothing was changed; give --trust{or_signer} or --decline",
                about(&found)
            ),
        );
        return Err(not_opened(context, &found, None, &why));
    };
    match answer {
        Answer::Item => {
            let new = TrustItem {
                principal: None,
                item: found.item.clone(),
                bundle,
                content: Some(asked.item),
                expires: None,
                reason: None,
            };
            let request = Request::post("/api/v1/trust/items").json(&new);
            rest.call::<TrustedItem>(request).await?;
            show(context, &found, Some("trusted"))
        }
        Answer::Signer => {
            let Some(signer) = found.offered.clone() else {
                return Err(Failure::failed(
                    "not-asked",
                    format!(
                        "{} Only who made a valid signature can be trusted, so nothing was changed; --trust trusts this version",
                        about(&found)
                    ),
                ));
            };
            let new = TrustSigner {
                principal: None,
                signer,
                expires: None,
                reason: None,
            };
            let request = Request::post("/api/v1/trust/signers").json(&new);
            rest.call::<TrustedSigner>(request).await?;
            show(context, &found, Some("trusted signer"))
        }
        Answer::Decline => {
            let asked = OpenItem {
                declined: true,
                ..asked
            };
            opened(&rest, &asked).await?;
            let why = Failure::failed(
                "declined",
                "its trust was declined, so it is not opened; give --trust to trust this version for yourself",
            );
            Err(not_opened(context, &found, Some("declined"), &why))
        }
    }
}

/// Why an item is not opened, and what to do.
fn refusal(found: &VerifiedItem) -> Failure {
    let why = found.why.as_ref().and_then(|why| why.reasons.last());
    let why = why
        .or(found.problem.as_ref())
        .map_or("it may not be opened", String::as_str);
    Failure::failed(
        "refused",
        format!(
            "the {} {} is refused: {}; muster trust verify says what holds of its signature",
            found.item.kind,
            found.item.hash,
            why.trim_end_matches('.')
        ),
    )
}

/// Asks the person at the terminal.
fn ask(found: &VerifiedItem) -> Result<Answer, Failure> {
    let Some(signer) = &found.offered else {
        let question = format!("{} Trust this version for yourself?", about(found));
        return Ok(if terminal::ask(&question)? {
            Answer::Item
        } else {
            Answer::Decline
        });
    };
    let prompt = format!(
        "{} Trust for yourself this version (v), all that this signer signs as {} (s), or nothing (N)? [v/s/N] ",
        about(found),
        escaped(&signer.role)
    );
    Ok(match terminal::line(&prompt)?.trim().to_lowercase().as_str() {
        "v" | "version" => Answer::Item,
        "s" | "signer" => Answer::Signer,
        _ => Answer::Decline,
    })
}

/// What somebody should know before they answer.
fn about(found: &VerifiedItem) -> String {
    let mut said = vec![format!(
        "{} {} is {}",
        escaped(&found.item.kind),
        escaped(&found.item.hash),
        escaped(&found.status)
    )];
    if let Some(signer) = &found.signer {
        said.push(format!(", signed by {}", escaped(signer)));
    }
    said.push(".".to_owned());
    if !found.capabilities.is_empty() {
        let may = escaped(&found.capabilities.join(", "));
        said.push(format!(" It may do this outside of the analysis: {may}."));
    }
    if !found.external_resources.is_empty() {
        let from = escaped(&found.external_resources.join(", "));
        said.push(format!(" It loads from {from}."));
    }
    said.concat()
}

async fn opened(rest: &Rest, asked: &OpenItem) -> Result<VerifiedItem, Failure> {
    Ok(rest.call(Request::post(OPENINGS).json(asked)).await?)
}

/// What came of opening an item, for programs.
#[derive(Serialize)]
struct Opened<'a> {
    #[serde(flatten)]
    found: &'a VerifiedItem,
    /// `trusted`, `trusted signer` or `declined`, where somebody was asked and answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a str>,
}

fn show(context: &Context, found: &VerifiedItem, answer: Option<&str>) -> Result<(), Failure> {
    context.show(&Opened { found, answer }, || as_text(context, found, answer))
}

/// The same of what is not opened, with why.
fn not_opened(context: &Context, found: &VerifiedItem, answer: Option<&str>, why: &Failure) -> Failure {
    context.show_refused(&Opened { found, answer }, || as_text(context, found, answer), why)
}

fn as_text(context: &Context, found: &VerifiedItem, answer: Option<&str>) -> String {
    let why = found.why.as_ref().map(|why| why.reasons.join("\n"));
    let outcome = found.outcome.clone().unwrap_or_default();
    table::fields(
        [
            ("Item", format!("{} {}", found.item.kind, found.item.hash)),
            ("Signature", found.status.clone()),
            ("Problem", found.problem.clone().unwrap_or_default()),
            ("Signer", found.signer.clone().unwrap_or_default()),
            ("May", found.capabilities.join(", ")),
            ("Loads from", found.external_resources.join("\n")),
            ("Outcome", outcome),
            ("Denied for", denied_for(found.why.as_ref())),
            ("Answer", answer.unwrap_or_default().to_owned()),
            ("Reasons", why.unwrap_or_default()),
        ],
        context.colour,
    )
}
