//! `muster trust`: what is trusted, and why something may run.

use clap::Subcommand;
use muster_client::Request;
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::trust::{Explanation, Stamp};

use crate::{context::Context, failure::Failure, function, table};

/// What is trusted, and why something may run
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the stamps that Script Authors gave to data functions
    List,
    /// Say what would happen if somebody ran a function now, and why
    #[command(after_help = "Examples:\n  muster trust explain forecast\n  \
                      muster trust explain forecast --user ann@SPOTFIRE --node terr01")]
    Explain {
        /// Name or identifier of the function
        function: Name,
        /// Whose run [default: yours]
        #[arg(long)]
        user: Option<UserName>,
        /// On which node [default: one of the pool and site "default" without settings of its own]
        #[arg(long)]
        node: Option<Name>,
    },
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    match command {
        Command::List => {
            let stamps: Vec<Stamp> = rest.call(Request::get("/api/v1/trust/stamps")).await?;
            let names = function::names(&rest).await?;
            context.show(&stamps, || {
                table::rows(
                    ["stamp", "function", "digest", "author", "created"],
                    stamps.iter().map(|stamp| {
                        [
                            stamp.id.to_string(),
                            names
                                .get(&stamp.function)
                                .map_or_else(|| stamp.function.to_string(), Name::to_string),
                            table::short_digest(&stamp.digest),
                            stamp.author.to_string(),
                            table::time(&stamp.created),
                        ]
                    }),
                    "Nothing is trusted yet; see muster function trust.",
                    context.colour,
                )
            })
        }
        Command::Explain { function, user, node } => {
            let mut request = Request::get("/api/v1/trust/explain").query("function", function.as_str());
            if let Some(user) = &user {
                request = request.query("user", user.as_str());
            }
            if let Some(node) = &node {
                request = request.query("node", node.as_str());
            }
            let explanation: Explanation = rest.call(request).await?;
            context.show(&explanation, || text(&explanation, context.colour))
        }
    }
}

fn text(explanation: &Explanation, colour: bool) -> String {
    let why = &explanation.why;
    let reasons: Vec<_> = why
        .reasons
        .iter()
        .map(|reason| reason.replace('\n', " "))
        .collect();
    table::fields(
        [
            ("Function", explanation.function.to_string()),
            ("Digest", explanation.digest.to_string()),
            ("User", explanation.user.to_string()),
            ("Node", explanation.node.clone()),
            ("Outcome", explanation.outcome.clone()),
            (
                "Mode",
                explanation
                    .mode
                    .clone()
                    .unwrap_or_else(|| "it would not run".to_owned()),
            ),
            ("Rule", why.rule.clone()),
            ("Entry", why.entry.clone().unwrap_or_default()),
            ("Groups", why.group_path.join(" -> ")),
            ("Reasons", reasons.join("\n")),
        ],
        colour,
    )
}
