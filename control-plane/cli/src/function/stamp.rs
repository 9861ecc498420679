//! `muster function trust` and `untrust`.
//!
//! Invariant: what is trusted is the digest that was shown with its script, or that the caller gave; a version
//! that came in between is refused by the control plane.

use super::{PATH, Which, fields};
use crate::{context::Context, escape::escaped_lines, failure::Failure, output, terminal};
use clap::Args;
use muster_client::Request;
use muster_ids::Digest;
use muster_wire::admin::v1::{
    function::{Function, TrustFunction, Untrusted},
    stamp::Stamp,
};

/// How much of a script is shown before it is trusted.
const SHOWN_LINES: usize = 30;

/// Trust exactly this version of a function, which you have read
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster function show forecast\n  muster function trust forecast\n  \
                  muster function trust forecast --digest sha256:…"
)]
pub(crate) struct Trust {
    /// Which.
    #[command(flatten)]
    which: Which,
    /// Trust the version with this digest, without being asked
    #[arg(long)]
    digest: Option<Digest>,
}

/// Trusts a version.
pub(super) async fn trust(context: &Context, arguments: Trust) -> Result<(), Failure> {
    let rest = context.rest()?;
    let which = arguments.which;
    let digest = if let Some(digest) = arguments.digest {
        digest
    } else {
        let function = which.fetch(&rest).await?;
        if terminal::can_ask() {
            output::complain(&shown(&function, context.colour));
        }
        let question = format!(
            "Trust exactly this version of \"{}\", so that it runs unrestricted?",
            function.definition.name
        );
        terminal::confirm(false, &question, &format!("give --digest {}", function.digest))?;
        function.digest
    };
    let request = which
        .at(Request::post(PATH))
        .segment("trust")
        .json(&TrustFunction { digest });
    let stamp: Stamp = rest.call(request).await?;
    context.show(&stamp, || {
        format!("\"{}\" is trusted as {}.", which.function, stamp.hash)
    })
}

/// Removes all trust.
pub(super) async fn untrust(context: &Context, which: &Which) -> Result<(), Failure> {
    let request = which
        .at(Request::post(PATH))
        .segment("untrust")
        .json(&serde_json::json!({}));
    let done: Untrusted = context.rest()?.call(request).await?;
    context.show(&done, || {
        let removed = match done.removed {
            1 => "1 stamp was removed".to_owned(),
            count => format!("{count} stamps were removed"),
        };
        match (done.removed, done.others) {
            (0, _) => format!("\"{}\" was not trusted.", which.function),
            (_, 0) => format!("\"{}\" is not trusted any more; {removed}.", which.function),
            (_, others) => format!(
                "\"{}\": {removed}; {others} of other authors stay, which they or an administrator remove.",
                which.function
            ),
        }
    })?;
    // It may be trusted as before by those.
    if done.others == 0 {
        Ok(())
    } else {
        Err(Failure::Said)
    }
}

/// A function with the first lines of its script.
fn shown(function: &Function, colour: bool) -> String {
    let script = escaped_lines(&function.definition.script);
    let count = script.lines().count();
    let lines: Vec<_> = script
        .lines()
        .take(SHOWN_LINES)
        .map(|line| format!("  | {line}"))
        .collect();
    let rest = if count > SHOWN_LINES {
        format!(
            "\n  … {} more lines; read them with muster function show",
            count - SHOWN_LINES
        )
    } else {
        String::new()
    };
    format!("{}\n{}{rest}", fields(function, colour), lines.join("\n"))
}
