//! `muster trust`: what is trusted, and why something may run.

mod decide;
mod list;
mod open;
mod signing;
mod target;

pub(crate) use list::{blocks, items, revocations, signers};
pub(crate) use signing::{Read, SIGNATURES, content_of, of_library, read_mod, signed, verified};
pub(crate) use target::{Target, block_id, entry_id};

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use muster_client::Request;
use muster_code_trust::{Client, CodeAction, Moment, SignedAction};
use muster_ids::{Name, UserName};
use muster_wire::admin::v1::{run::Why, signing::VerifiedItem, trust::Explanation};

use crate::{context::Context, failure::Failure, table};
use signing::as_json;
use target::{Blocked, Trusted};

/// The commands as a line of their own.
#[derive(clap::Parser)]
pub(crate) struct Trust {
    /// Which.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What is trusted, and why something may run
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List the stamps on what you can read, or other decisions
    List(list::List),
    /// Trust a signer, or one version of a mod or external action: for a group, a user or yourself
    #[command(
        after_help = "Examples:\n  muster trust add --group Everyone --signer ann@SPOTFIRE --role developer\n  \
                      muster trust add --type visualization_mod --hash sha512=… --expires 2027-01-01T00:00:00Z"
    )]
    Add(Add),
    /// Withdraw such trust; users withdraw what they decided themselves
    Remove(Remove),
    /// Refuse one version of an item, or everything of a user or a certificate, whatever trusts it
    #[command(
        after_help = "Examples:\n  muster trust block --function forecast --reason \"sends data away\"\n  \
                      muster trust block --user eve@SPOTFIRE\n\n\
                      What runs and is blocked is stopped; see muster setting get trust.running."
    )]
    Block(Block),
    /// Lift a block
    Unblock(Unblock),
    /// Make what a user signed from a moment on invalid, for ever
    #[command(after_help = "Example:\n  muster trust revoke --user bob@SPOTFIRE --from 2026-11-01T00:00:00Z")]
    Revoke(Revoke),
    /// Sign one version of an item: a mod, an external action, a script, a query or a data function
    #[command(
        after_help = "Examples:\n  muster trust sign ./rose-chart\n  muster trust sign rose-chart.mod\n  muster trust sign ./rose-chart --save rose-chart.mod\n  \
                      muster trust sign --action call-crm.json --save call-crm.sig.json\n  \
                      muster trust sign refresh.py --parameter table:Table --save refresh.sig.json\n  muster trust sign --item /Team/refresh\n  \
                      muster trust sign ./rose-chart --key corp.key --certificate corp.pem\n\n\
                      It is signed with a certificate of yours that the control plane keeps, or with --key by one that another \
                      authority issued."
    )]
    Sign(Box<signing::Sign>),
    /// Say what holds of a signature, and what would come of it; exit 1 unless it is valid
    #[command(
        after_help = "Examples:\n  muster trust verify ./rose-chart\n  muster trust verify ./rose-chart --roots root-ca.cer\n  \
                      muster trust verify --definition forecast.toml --signature forecast.sig.json --roots root-ca.cer\n  \
                      muster trust verify ./rose-chart --user ann@SPOTFIRE --client installed --to add"
    )]
    Verify(signing::Verify),
    /// Open a mod or external action as a client does: ask whether to trust it where that is the question; exit 1 if it is
    /// refused or declined
    #[command(
        after_help = "Examples:\n  muster trust open ./rose-chart\n  muster trust open ./rose-chart --decline"
    )]
    Open(open::Open),
    /// Say what would happen if somebody ran a function, or code in a library item, or opened a mod of the library, now, and
    /// why
    #[command(
        group = clap::ArgGroup::new("what").required(true),
        after_help = "Examples:\n  muster trust explain forecast\n  \
                      muster trust explain forecast --user ann@SPOTFIRE --node terr01\n  \
                      muster trust explain --item /Team/Sales --hash sha512=… --user ann@SPOTFIRE\n  \
                      muster trust explain --item /Mods/Gantt --user ann@SPOTFIRE --client installed --action add\n\n\
                      Of a mod or external action that is in no library muster trust verify says the same."
    )]
    Explain {
        /// Name or identifier of the function
        #[arg(group = "what")]
        function: Option<Name>,
        /// The library item: a script, query, function, job script, mod, external action, or an analysis that holds or names it
        #[arg(long, group = "what")]
        item: Option<String>,
        /// Which of several in the item, see muster library code; of a mod or external action also an older version
        #[arg(long, requires = "item")]
        hash: Option<String>,
        /// Where the user works: web, installed, installed_no_server, automation or scheduled_update [default: web]
        #[arg(long, value_parser = clients(), hide_possible_values = true)]
        client: Option<String>,
        /// What they would do: with a mod or external action open, add, run, create, trust_item or trust_signer, with code
        /// create, trust_item, save_trusted or run [default: open a mod, run the rest]
        #[arg(long, value_parser = actions(), hide_possible_values = true)]
        action: Option<String>,
        /// Whose run, or of a job script whose job [default: yours]
        #[arg(long)]
        user: Option<UserName>,
        /// Who executes the job of a job script [default: whose job it is]
        #[arg(long, value_name = "USER", requires = "item")]
        executing: Option<UserName>,
        /// On which node [default: one of the pool and site "default" without settings of its own]
        #[arg(long)]
        node: Option<Name>,
    },
}

/// What is trusted by whom.
#[derive(Args)]
pub(crate) struct Add {
    /// What.
    #[command(flatten)]
    what: Trusted,
    /// The signature of the item, where the control plane does not keep it
    #[arg(long, value_name = "FILE")]
    signature: Option<PathBuf>,
    /// The moment from which it no longer counts [default: it does not end]
    #[arg(long, value_name = "RFC3339", value_parser = parsed::<Moment>)]
    expires: Option<String>,
    /// For those who read the list: one line of at most 500 characters
    #[arg(long)]
    reason: Option<String>,
}

/// What is trusted no more.
#[derive(Args)]
pub(crate) struct Remove {
    /// What.
    #[command(flatten)]
    what: Trusted,
}

/// What is blocked.
#[derive(Args)]
pub(crate) struct Block {
    /// What.
    #[command(flatten)]
    what: Blocked,
    /// For those who read the list: one line of at most 500 characters
    #[arg(long)]
    reason: Option<String>,
}

/// What is blocked no more.
#[derive(Args)]
pub(crate) struct Unblock {
    /// What.
    #[command(flatten)]
    what: Blocked,
}

/// Whose signatures are void.
#[derive(Args)]
pub(crate) struct Revoke {
    /// The user [default: yourself]
    #[arg(long, value_name = "NAME@DOMAIN")]
    user: Option<UserName>,
    /// The first moment
    #[arg(long, value_name = "RFC3339", value_parser = parsed::<Moment>)]
    from: String,
    /// The last moment [default: it does not end; for your own signatures now]
    #[arg(long, value_name = "RFC3339", value_parser = parsed::<Moment>)]
    until: Option<String>,
    /// For those who read the list: one line of at most 500 characters
    #[arg(long)]
    reason: Option<String>,
}

/// A text that is sent as it is, once it is known to be a `T`.
pub(crate) fn parsed<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_owned())
}

/// One of these words, and no other.
fn one_of(words: impl IntoIterator<Item = &'static str>) -> PossibleValuesParser {
    PossibleValuesParser::new(words)
}

/// Where somebody works.
fn clients() -> PossibleValuesParser {
    one_of(Client::ALL.iter().map(|client| client.as_str()))
}

/// What is done with code, or with a mod or external action.
fn actions() -> PossibleValuesParser {
    let signed = SignedAction::ALL.iter().map(|action| action.as_str());
    let code = CodeAction::ALL.iter().map(|action| action.as_str());
    let known: Vec<_> = signed.clone().collect();
    one_of(signed.chain(code.filter(|word| !known.contains(word))))
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List(arguments) => list::run(context, &arguments).await,
        Command::Add(arguments) => decide::add(context, arguments).await,
        Command::Remove(arguments) => decide::remove(context, &arguments).await,
        Command::Block(arguments) => decide::block(context, arguments).await,
        Command::Unblock(arguments) => decide::unblock(context, &arguments).await,
        Command::Revoke(arguments) => decide::revoke(context, arguments).await,
        Command::Sign(arguments) => signing::sign(context, *arguments).await,
        Command::Open(arguments) => open::open(context, arguments).await,
        Command::Verify(arguments) => signing::verify(context, arguments).await,
        Command::Explain {
            function,
            item,
            hash,
            client,
            action,
            user,
            executing,
            node,
        } => {
            let rest = context.rest()?;
            let mut request = Request::get("/api/v1/trust/explain");
            let asked = [
                ("function", function.as_ref().map(Name::as_str)),
                ("item", item.as_deref()),
                ("hash", hash.as_deref()),
                ("client", client.as_deref()),
                ("action", action.as_deref()),
                ("user", user.as_ref().map(UserName::as_str)),
                ("executing", executing.as_ref().map(UserName::as_str)),
                ("node", node.as_ref().map(Name::as_str)),
            ];
            for (name, value) in asked {
                if let Some(value) = value {
                    request = request.query(name, value);
                }
            }
            let explanation: Explanation = rest.call(request).await?;
            context.show(&explanation, || text(&explanation, context.colour))
        }
    }
}

/// Of what is denied the word for why.
fn denied_for(why: Option<&Why>) -> String {
    why.and_then(|why| why.reason.clone()).unwrap_or_default()
}

fn text(explanation: &Explanation, colour: bool) -> String {
    let why = &explanation.why;
    let reasons: Vec<_> = why
        .reasons
        .iter()
        .map(|reason| reason.replace('\n', " "))
        .collect();
    // A function is known by its name, and what it is needs no word.
    let code = explanation.function.is_none();
    let signed = explanation.signed.as_deref();
    let of_signed = |text: fn(&VerifiedItem) -> Option<String>| signed.and_then(text).unwrap_or_default();
    let mode = match (&explanation.mode, signed) {
        (Some(mode), _) => mode.clone(),
        (None, None) if explanation.action == "run" => "it would not run".to_owned(),
        (None, _) => String::new(),
    };
    table::fields(
        [
            (
                "Function",
                explanation
                    .function
                    .as_ref()
                    .map(Name::to_string)
                    .unwrap_or_default(),
            ),
            (
                "Item",
                if code {
                    explanation.item.to_string()
                } else {
                    String::new()
                },
            ),
            (
                "Kind",
                if code {
                    explanation.kind.clone()
                } else {
                    String::new()
                },
            ),
            ("Digest", explanation.digest.clone()),
            ("Signature", of_signed(|signed| Some(signed.status.clone()))),
            ("Problem", of_signed(|signed| signed.problem.clone())),
            ("Signer", of_signed(|signed| signed.signer.clone())),
            ("May", of_signed(|signed| Some(signed.capabilities.join(", ")))),
            (
                "Loads from",
                of_signed(|signed| Some(signed.external_resources.join("\n"))),
            ),
            ("User", explanation.user.to_string()),
            ("Client", explanation.client.clone()),
            ("Action", explanation.action.clone()),
            ("Node", explanation.node.clone()),
            ("Outcome", explanation.outcome.clone()),
            ("Denied for", denied_for(Some(why))),
            ("To trust", of_signed(|signed| Some(signed.options.join(", ")))),
            ("Mode", mode),
            ("Rule", why.rule.clone()),
            ("Entry", why.entry.clone().unwrap_or_default()),
            ("Groups", why.group_path.join(" -> ")),
            ("Reasons", reasons.join("\n")),
        ],
        colour,
    )
}
