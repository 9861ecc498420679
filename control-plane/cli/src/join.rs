//! `muster join`: nodes that ask to be let in.
//!
//! Invariant: an approval carries what a person read on the node, the code or the full fingerprint.

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_ids::{Digest, JoinId, UserName};
use muster_pki::join::VerificationCode;
use muster_wire::admin::v1::join::{
    ApproveJoin, ApproveRenewals, ApprovedRenewals, EarlierNode, Join, MatchJoin, RejectJoin,
};

use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    output, table, terminal,
};

const PATH: &str = "/api/v1/joins";
/// Renewals that are approved by one request.
const AT_ONCE: usize = 100;

/// Nodes that ask to join
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List join requests
    #[command(after_help = "Example:\n  muster join list --state pending")]
    List {
        /// Only requests in this state
        #[arg(long, value_parser = ["pending", "approved", "issued", "rejected", "expired", "superseded"])]
        state: Option<String>,
        /// How many.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one join request
    Show {
        /// Its identifier
        id: JoinId,
    },
    /// Let a node in, by the code or the full fingerprint that you read on the node
    Approve(Approve),
    /// Refuse a join request; the node is told
    Reject {
        /// Its identifier
        id: JoinId,
        /// Shown on the node
        #[arg(long)]
        reason: Option<String>,
    },
}

/// Let a node in, by the code or the full fingerprint that you read on the node
#[derive(Args)]
#[command(after_help = "Examples:\n  muster join approve --code 4821-0937-5512\n  \
                  muster join approve ID --fingerprint sha256:…\n  \
                  muster join approve --renewals\n\n\
                  Code and fingerprint are shown by muster-node join and muster-node status, on the node only.")]
pub(crate) struct Approve {
    /// The 12 digits that the node shows
    #[arg(long, conflicts_with_all = ["id", "fingerprint"])]
    code: Option<VerificationCode>,
    /// The identifier of the request
    #[arg(requires = "fingerprint")]
    id: Option<JoinId>,
    /// The full fingerprint of the node's key, as the node shows it (sha256:…)
    #[arg(long, value_name = "DIGEST")]
    fingerprint: Option<Digest>,
    /// All waiting requests of known nodes whose certificates have ended; their keys sign them, so no code is needed
    #[arg(long, conflicts_with_all = ["code", "id", "fingerprint"])]
    renewals: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    if let Command::Approve(arguments) = &command {
        arguments.check()?;
    }
    let rest = context.rest()?;
    match command {
        Command::List { state, extent } => {
            let request = || match &state {
                Some(state) => Request::get(PATH).query("state", state),
                None => Request::get(PATH),
            };
            let joins: Vec<Join> = list::all(&rest, request, &extent).await?;
            context.show(&joins, || rows(&joins, context.colour))
        }
        Command::Show { id } => {
            let join: Join = rest.call(at(Request::get(PATH), id)).await?;
            context.show(&join, || fields(&join, context.colour))
        }
        Command::Approve(arguments) if arguments.renewals => renewals(context, &rest, arguments.yes).await,
        Command::Approve(arguments) => approve(context, &rest, arguments).await,
        Command::Reject { id, reason } => {
            let request = at(Request::post(PATH), id)
                .segment("reject")
                .json(&RejectJoin { reason });
            let join: Join = rest.call(request).await?;
            context.show(&join, || format!("Rejected \"{}\".", escaped(join.name.as_str())))
        }
    }
}

impl Approve {
    /// What clap cannot say well: which two ways there are.
    fn check(&self) -> Result<(), Failure> {
        let either =
            self.renewals || self.code.is_some() || (self.id.is_some() && self.fingerprint.is_some());
        either.then_some(()).ok_or_else(without_proof)
    }
}

fn without_proof() -> Failure {
    Failure::usage(
        "give --code 4821-0937-5512, or the identifier of a request with --fingerprint sha256:…, both as the node \
         shows them; muster join list shows the identifiers",
    )
}

async fn approve(context: &Context, rest: &Rest, arguments: Approve) -> Result<(), Failure> {
    let (join, proof) = match (arguments.code, arguments.id) {
        (Some(code), _) => {
            let code = code.to_string();
            let request = Request::post(PATH)
                .segment("match")
                .json(&MatchJoin { code: code.clone() });
            let join: Join = rest.call(request).await?;
            (
                join,
                ApproveJoin {
                    code: Some(code),
                    fingerprint: None,
                },
            )
        }
        (None, Some(id)) => {
            let fingerprint = arguments.fingerprint.map(|digest| digest.to_string());
            let join: Join = rest.call(at(Request::get(PATH), id)).await?;
            (
                join,
                ApproveJoin {
                    code: None,
                    fingerprint,
                },
            )
        }
        (None, None) => return Err(without_proof()),
    };
    if !arguments.yes && terminal::can_ask() {
        output::complain(&fields(&join, context.colour));
    }
    terminal::confirm(arguments.yes, &question(&join), "give --yes")?;
    let approved: Join = rest
        .call(at(Request::post(PATH), join.id).segment("approve").json(&proof))
        .await?;
    context.show(&approved, || outcome(&approved))
}

/// What an approval led to.
fn outcome(join: &Join) -> String {
    let name = escaped(join.name.as_str());
    let void = |user: &UserName| {
        format!(
            "The approval of {} does not count any more: they are no active administrator now.\n",
            escaped(user.as_str())
        )
    };
    let void: String = join.void_approvals.iter().map(void).collect();
    if join.state == "pending" {
        return format!(
            "{void}Your approval of \"{name}\" counts: {}. Another person must read the code on the node and approve it, \
             within an hour of the request.",
            approvals(join)
        );
    }
    format!("{void}Approved \"{name}\". The node fetches its certificate by itself; see muster node list.")
}

/// How many have approved, where several people must.
fn approvals(join: &Join) -> String {
    match join.approvals_needed {
        0 | 1 => table::dash(),
        needed => format!("{} of {needed} approvals", join.approvals.len()),
    }
}

/// Nodes that there are already of the same name or key.
fn earlier(join: &Join) -> Vec<String> {
    let describe = |node: &EarlierNode| {
        let what = if node.same_key { "same key" } else { "same name" };
        format!("{} ({}, {}, {what})", node.name, node.id, node.trust)
    };
    join.earlier.iter().map(describe).collect()
}

/// The name, with a sign where it may be meant to be taken for another.
fn marked(join: &Join) -> String {
    match join.name_warning {
        Some(_) => format!("{} (!)", join.name),
        None => join.name.to_string(),
    }
}

/// Approves every renewal that waits, after showing all of them.
async fn renewals(context: &Context, rest: &Rest, yes: bool) -> Result<(), Failure> {
    let waiting: Vec<Join> = list::every(rest, &format!("{PATH}/renewals")).await?;
    if waiting.is_empty() {
        let nothing = ApprovedRenewals::default();
        return context.show(&nothing, || "No known node waits for a renewal.".to_owned());
    }
    if !yes && terminal::can_ask() {
        output::complain(&rows(&waiting, context.colour));
    }
    let nodes = if waiting.len() == 1 { "node" } else { "nodes" };
    let question = format!("Renew the certificates of {} known {nodes}?", waiting.len());
    terminal::confirm(yes, &question, "give --yes")?;
    let mut answer = ApprovedRenewals::default();
    for part in waiting.chunks(AT_ONCE) {
        let joins = part.iter().map(|join| join.id).collect();
        let request = Request::post(PATH)
            .segment("renewals")
            .segment("approve")
            .json(&ApproveRenewals { joins });
        let done: ApprovedRenewals = rest.call(request).await?;
        answer.approved.extend(done.approved);
        answer.refused.extend(done.refused);
    }
    context.show(&answer, || {
        let mut text = format!("Approved {} of {}.", answer.approved.len(), waiting.len());
        for refused in &answer.refused {
            text.push('\n');
            text.push_str(&escaped(&refused.detail));
        }
        text
    })
}

/// In one line what is let in.
fn question(join: &Join) -> String {
    let warning = join.name_warning.as_ref();
    let warning = warning.map(|warning| format!("Warning: {}.\n", escaped(warning)));
    format!(
        "{}Approve \"{}\" ({}; {}; waiting {})?",
        warning.unwrap_or_default(),
        escaped(join.name.as_str()),
        escaped(&join.source),
        escaped(&capabilities(join)),
        table::span(join.waiting_seconds)
    )
}

fn at(request: Request, id: JoinId) -> Request {
    request.segment(&id.to_string())
}

fn capabilities(join: &Join) -> String {
    if join.capabilities.is_empty() {
        "no capabilities".to_owned()
    } else {
        join.capabilities.join(", ")
    }
}

/// Where it came from, and the other addresses that it says it has.
fn addresses(join: &Join) -> String {
    let others = join.addresses.iter().filter(|address| **address != join.source);
    let others: Vec<&String> = others.collect();
    if others.is_empty() {
        return join.source.clone();
    }
    format!("{} (says {})", join.source, table::list(&others))
}

fn rows(joins: &[Join], colour: bool) -> String {
    table::rows(
        [
            "id",
            "name",
            "state",
            "from",
            "capabilities",
            "pool",
            "site",
            "key",
            "waiting",
            "approvals",
            "earlier",
        ],
        joins.iter().map(|join| {
            [
                join.id.to_string(),
                marked(join),
                join.state.clone(),
                addresses(join),
                table::list(&join.capabilities),
                table::or_dash(join.pool.as_ref()),
                table::or_dash(join.site.as_ref()),
                join.key_prefix.clone(),
                table::span(join.waiting_seconds),
                approvals(join),
                table::list(&earlier(join)),
            ]
        }),
        "No join requests.",
        colour,
    )
}

fn fields(join: &Join, colour: bool) -> String {
    let optional = |text: Option<String>| text.unwrap_or_default();
    table::fields(
        [
            ("Request", join.id.to_string()),
            ("State", join.state.clone()),
            ("Name", join.name.to_string()),
            ("Warning", optional(join.name_warning.clone())),
            ("Capabilities", capabilities(join)),
            ("Pool", table::or_dash(join.pool.as_ref())),
            ("Site", table::or_dash(join.site.as_ref())),
            ("From", join.source.clone()),
            ("Addresses", table::list(&join.addresses)),
            ("Agent", join.agent_version.clone()),
            (
                "Key",
                format!("sha256:{}… (the whole is shown on the node)", join.key_prefix),
            ),
            ("Asked", table::time(&join.created)),
            ("Expires", table::time(&join.expires)),
            (
                "Approvals",
                match join.approvals_needed {
                    0 | 1 => String::new(),
                    _ => approvals(join),
                },
            ),
            (
                "Approved by",
                join.approvals
                    .iter()
                    .map(|approval| format!("{} at {}", approval.user, table::time(&approval.at)))
                    .collect::<Vec<_>>()
                    .join("\n"),
            ),
            ("Earlier nodes", earlier(join).join("\n")),
            ("Token", optional(join.token.map(|token| token.to_string()))),
            (
                "Renewal",
                optional(
                    join.renewal_of
                        .map(|node| format!("renewal of known node {node}")),
                ),
            ),
            ("Reason", optional(join.reason.clone())),
            ("Node", optional(join.node.map(|node| node.to_string()))),
        ],
        colour,
    )
}
