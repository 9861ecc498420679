//! `muster join-token`: secrets that let nodes in without a person.
//!
//! Invariant: a secret is shown once, when it is made, or goes into a private file.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_daemon::{config::parse_duration, file};
use muster_ids::{Name, TokenId};
use muster_wire::admin::v1::join_token::{CreateJoinToken, JoinToken, NewJoinToken, RevokeJoinToken};

use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    output::{self, Format},
    table,
};

const PATH: &str = "/api/v1/join-tokens";

/// Secrets that let nodes in without a person
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a token and show its secret, this once
    Create(Create),
    /// List tokens, with what became of them
    #[command(after_help = "Example:\n  muster join-token list --state live")]
    List {
        /// Only tokens in this state
        #[arg(long, value_parser = ["live", "spent", "expired", "revoked"])]
        state: Option<String>,
        /// How many.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one token, with why it refused somebody last
    Show {
        /// Its identifier
        id: TokenId,
    },
    /// Take a token back; nodes that it has let in stay
    Revoke {
        /// Its identifier
        id: TokenId,
        /// For the list and the audit log
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Make a token and show its secret, this once
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster join-token create --capability R --ttl 1h --out r.token\n  \
                  muster join-token create --uses 50 --name 'terr-*' --address 10.1.0.0/16\n\n\
                  On the node: muster-node join http://HOST:9080 --token-file r.token"
)]
pub(crate) struct Create {
    /// What a node may offer: TERR, R or PYTHON; may be given several times [default: all]
    #[arg(long, value_name = "CAPABILITY")]
    capability: Vec<String>,
    /// The pool that nodes come into [default: default]
    #[arg(long)]
    pool: Option<Name>,
    /// The site that nodes come into [default: default]
    #[arg(long)]
    site: Option<Name>,
    /// How many nodes it lets in, at most 100000
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    uses: u64,
    /// How long it lives, such as 30m, 12h or 7d
    #[arg(long, value_name = "SPAN", default_value = "1h", value_parser = span)]
    ttl: Duration,
    /// Only nodes with such a name; * stands for any characters, ? for one
    #[arg(long, value_name = "PATTERN")]
    name: Option<String>,
    /// Only nodes that come from such an address: a network (10.1.0.0/16), an address, or one with *
    #[arg(long, value_name = "PATTERN")]
    address: Option<String>,
    /// Write the token into this file, which only you may read, instead of showing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text).ok_or_else(|| "a time span is written 30m, 12h or 7d".to_owned())
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    match command {
        Command::Create(arguments) => create(context, &rest, arguments).await,
        Command::List { state, extent } => {
            let request = || match &state {
                Some(state) => Request::get(PATH).query("state", state),
                None => Request::get(PATH),
            };
            let tokens: Vec<JoinToken> = list::all(&rest, request, &extent).await?;
            context.show(&tokens, || rows(&tokens, context.colour))
        }
        Command::Show { id } => {
            let token: JoinToken = rest.call(at(Request::get(PATH), id)).await?;
            context.show(&token, || fields(&token, context.colour))
        }
        Command::Revoke { id, reason } => {
            let token = revoke(&rest, id, reason).await?;
            context.show(&token, || {
                format!(
                    "Took the join token {} back. {} of {} uses had been made; those nodes stay.",
                    token.id, token.used, token.uses
                )
            })
        }
    }
}

async fn create(context: &Context, rest: &Rest, arguments: Create) -> Result<(), Failure> {
    let body = CreateJoinToken {
        capabilities: arguments.capability,
        pool: arguments.pool,
        site: arguments.site,
        uses: Some(arguments.uses),
        ttl_seconds: Some(arguments.ttl.as_secs()),
        name: arguments.name,
        address: arguments.address,
    };
    let new: NewJoinToken = rest.call(Request::post(PATH).json(&body)).await?;
    let Some(path) = arguments.out else {
        return match context.options.output {
            Format::Json => output::json(&new),
            Format::Table => {
                output::line(&escaped(&new.token))?;
                output::complain(&format!(
                    "{} This is the only time that the token is shown; keep it secret.",
                    summary(&new.join_token)
                ));
                Ok(())
            }
        };
    };
    let text = format!("{}\n", new.token);
    if let Err(error) = file::write(&path, text.as_bytes(), 0o600, "join-token") {
        // A token that nobody has must not stay good.
        let reason = "its secret could not be written".to_owned();
        revoke(rest, new.join_token.id, Some(reason)).await?;
        return Err(Failure::failed(
            "output",
            format!(
                "the token was taken back, because it could not be written: {}; name another file with --out",
                Failure::from(error).sentence()
            ),
        ));
    }
    context.show(&new.join_token, || {
        format!(
            "{} It is in {}.",
            summary(&new.join_token),
            escaped(&path.to_string_lossy())
        )
    })
}

async fn revoke(rest: &Rest, id: TokenId, reason: Option<String>) -> Result<JoinToken, Failure> {
    let request = at(Request::post(PATH), id)
        .segment("revoke")
        .json(&RevokeJoinToken { reason });
    Ok(rest.call(request).await?)
}

/// In one line what was made.
fn summary(token: &JoinToken) -> String {
    let nodes = match token.uses {
        1 => "one node".to_owned(),
        uses => format!("{uses} nodes"),
    };
    format!(
        "The join token {} lets in {nodes} with {} until {}.",
        token.id,
        escaped(&table::list(&token.capabilities)),
        table::time(&token.expires)
    )
}

fn at(request: Request, id: TokenId) -> Request {
    request.segment(&id.to_string())
}

fn rows(tokens: &[JoinToken], colour: bool) -> String {
    table::rows(
        [
            "id",
            "state",
            "used",
            "capabilities",
            "pool",
            "site",
            "for",
            "expires",
            "refused",
        ],
        tokens.iter().map(|token| {
            [
                token.id.to_string(),
                token.state.clone(),
                format!("{}/{}", token.used, token.uses),
                table::list(&token.capabilities),
                token.pool.to_string(),
                token.site.to_string(),
                bounds(token),
                table::time(&token.expires),
                refusals(token),
            ]
        }),
        "No join tokens.",
        colour,
    )
}

/// The names and addresses that it is good for.
fn bounds(token: &JoinToken) -> String {
    let bounds: Vec<&String> = token.name.iter().chain(&token.address).collect();
    table::list(&bounds)
}

fn refusals(token: &JoinToken) -> String {
    match &token.last_refused {
        Some(last) => format!("{} ({})", token.refused, last.why),
        None => table::dash(),
    }
}

fn fields(token: &JoinToken, colour: bool) -> String {
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    table::fields(
        [
            ("Token", token.id.to_string()),
            ("State", token.state.clone()),
            ("Used", format!("{} of {}", token.used, token.uses)),
            ("Capabilities", table::list(&token.capabilities)),
            ("Pool", token.pool.to_string()),
            ("Site", token.site.to_string()),
            ("Names", optional(&token.name)),
            ("Addresses", optional(&token.address)),
            (
                "Made",
                format!("{} by {}", table::time(&token.created), token.created_by),
            ),
            ("Expires", table::time(&token.expires)),
            (
                "Revoked",
                token
                    .revoked
                    .as_ref()
                    .map(|at| table::time(at))
                    .unwrap_or_default(),
            ),
            ("Reason", optional(&token.reason)),
            ("Refused", format!("{} times", token.refused)),
            (
                "Last refused",
                token
                    .last_refused
                    .as_ref()
                    .map(|last| format!("{}: {}", table::time(&last.at), last.why))
                    .unwrap_or_default(),
            ),
        ],
        colour,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_life_is_written_as_people_write_it() {
        assert_eq!(span("1h30m"), Ok(Duration::from_mins(90)));
        assert!(span("1 hour").is_err());
    }
}
