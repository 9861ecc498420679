//! `muster node`: the nodes of the collective.

use std::time::Duration;

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_daemon::config::parse_duration;
use muster_ids::Name;
use muster_wire::{
    admin::v1::node::{Node, PatchNode, UntrustNode},
    node::v1::control::Inventory,
};

use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table, terminal,
};

const PATH: &str = "/api/v1/nodes";
/// Between two looks at a node that drains.
const LOOK: Duration = Duration::from_secs(1);

/// Nodes of the collective
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List nodes
    List {
        /// Only nodes of this trust
        #[arg(long, value_parser = ["trusted", "revoked"])]
        state: Option<String>,
        /// How many.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one node with what it last said of itself
    Show(Which),
    /// Give a node no new runs
    Cordon(Which),
    /// Give a node new runs again
    Uncordon(Which),
    /// Give a node no new runs and let its runs end; then it is cordoned
    #[command(after_help = "Example:\n  muster node drain terr01 --wait 30m")]
    Drain {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Wait until its last run has ended, at most this long
        #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "1h", value_parser = span)]
        wait: Option<Duration>,
    },
    /// Revoke a node's trust: its certificate ends and its connections are cut
    #[command(after_help = "Example:\n  muster node untrust terr01 --reason \"disk stolen\"")]
    Untrust {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// For the audit log
        #[arg(long)]
        reason: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Delete a node
    Delete {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Move a node to another pool or site
    #[command(after_help = "Example:\n  muster node set terr01 --pool heavy --site berlin")]
    Set {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// An existing pool
        #[arg(long, required_unless_present = "site")]
        pool: Option<Name>,
        /// An existing site
        #[arg(long)]
        site: Option<Name>,
    },
}

/// A node.
#[derive(Args)]
pub(crate) struct Which {
    /// Name or identifier of the node
    node: Name,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    let rest = context.rest()?;
    let schedule = |scheduling: &str| PatchNode {
        scheduling: Some(scheduling.to_owned()),
        ..PatchNode::default()
    };
    match command {
        Command::List { state, extent } => {
            let request = || match &state {
                Some(state) => Request::get(PATH).query("state", state),
                None => Request::get(PATH),
            };
            let nodes: Vec<Node> = list::all(&rest, request, &extent).await?;
            context.show(&nodes, || rows(&nodes, context.colour))
        }
        Command::Show(which) => {
            let node: Node = rest.call(which.at(Request::get(PATH))).await?;
            context.show(&node, || fields(&node, context.colour))
        }
        Command::Cordon(which) => patch(context, &rest, &which, &schedule("cordoned")).await,
        Command::Uncordon(which) => patch(context, &rest, &which, &schedule("active")).await,
        Command::Drain { which, wait } => match wait {
            None => patch(context, &rest, &which, &schedule("draining")).await,
            Some(longest) => drain(context, &rest, &which, &schedule("draining"), longest).await,
        },
        Command::Set { which, pool, site } => {
            let change = PatchNode {
                pool,
                site,
                scheduling: None,
            };
            patch(context, &rest, &which, &change).await
        }
        Command::Untrust { which, reason, yes } => {
            let question = format!(
                "Untrust \"{}\"? Its certificate ends, its connections are cut, its runs are lost.",
                which.node
            );
            terminal::confirm(yes, &question, "give --yes")?;
            let request = which
                .at(Request::post(PATH))
                .segment("untrust")
                .json(&UntrustNode { reason });
            let node: Node = rest.call(request).await?;
            context.show(&node, || {
                format!(
                    "\"{}\" is {} now.",
                    escaped(node.name.as_str()),
                    escaped(&node.trust)
                )
            })
        }
        Command::Delete { which, yes } => {
            terminal::confirm(yes, &format!("Delete \"{}\"?", which.node), "give --yes")?;
            rest.call::<()>(which.at(Request::delete(PATH))).await?;
            context.done(&format!("Deleted \"{}\".", which.node))
        }
    }
}

impl Which {
    fn at(&self, request: Request) -> Request {
        request.segment(self.node.as_str())
    }
}

async fn patch(context: &Context, rest: &Rest, which: &Which, change: &PatchNode) -> Result<(), Failure> {
    let node: Node = rest.call(which.at(Request::patch(PATH)).json(change)).await?;
    context.show(&node, || {
        format!(
            "\"{}\" is {} now, in pool \"{}\" of site \"{}\".",
            escaped(node.name.as_str()),
            escaped(&node.scheduling),
            node.pool,
            node.site
        )
    })
}

/// A span of time as in configuration files.
fn span(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok_or_else(|| format!("\"{text}\" is no span of time; write for example 30s, 10m or 1h"))
}

/// Drains a node and waits until its last run has ended.
async fn drain(
    context: &Context,
    rest: &Rest,
    which: &Which,
    change: &PatchNode,
    longest: Duration,
) -> Result<(), Failure> {
    let mut node: Node = rest.call(which.at(Request::patch(PATH)).json(change)).await?;
    let begun = context.clock.boot();
    while node.scheduling == "draining" {
        if context.clock.boot().saturating_sub(begun) >= longest {
            return Err(Failure::failed(
                "node-not-drained",
                format!(
                    "\"{}\" still works on its runs ({}) and goes on draining; see muster run list --state running, or wait longer",
                    node.name, node.runs
                ),
            ));
        }
        tokio::time::sleep(LOOK).await;
        node = rest.call(which.at(Request::get(PATH))).await?;
    }
    context.show(&node, || {
        format!(
            "\"{}\" is {} now and works on nothing.",
            escaped(node.name.as_str()),
            escaped(&node.scheduling)
        )
    })
}

fn rows(nodes: &[Node], colour: bool) -> String {
    table::rows(
        [
            "name",
            "trust",
            "scheduling",
            "health",
            "capabilities",
            "pool",
            "site",
            "seen",
            "certificate ends",
        ],
        nodes.iter().map(|node| {
            [
                node.name.to_string(),
                node.trust.clone(),
                node.scheduling.clone(),
                node.health.clone(),
                table::list(&node.capabilities),
                node.pool.to_string(),
                node.site.to_string(),
                table::time_or_dash(node.seen.as_ref()),
                table::time_or_dash(node.certificate_expires.as_ref()),
            ]
        }),
        "No nodes. Let one in with muster join approve.",
        colour,
    )
}

fn fields(node: &Node, colour: bool) -> String {
    let mut fields = vec![
        ("Node", node.id.to_string()),
        ("Name", node.name.to_string()),
        ("Trust", node.trust.clone()),
        ("Scheduling", node.scheduling.clone()),
        ("Health", node.health.clone()),
        ("Runs", node.runs.to_string()),
        ("Capabilities", table::list(&node.capabilities)),
        ("Pool", node.pool.to_string()),
        ("Site", node.site.to_string()),
        ("Addresses", table::list(&node.addresses)),
        ("Key", format!("sha256:{}…", node.key_prefix)),
        ("Approved", table::time(&node.created)),
        ("Seen", table::time_or_dash(node.seen.as_ref())),
        (
            "Certificate ends",
            table::time_or_dash(node.certificate_expires.as_ref()),
        ),
    ];
    if let Some(inventory) = &node.inventory {
        fields.extend(inventory_fields(inventory));
    }
    table::fields(fields, colour)
}

fn inventory_fields(inventory: &Inventory) -> [(&'static str, String); 8] {
    let of = |available, total| format!("{} of {} free", table::size(available), table::size(total));
    let engines: Vec<_> = inventory
        .engines
        .iter()
        .map(|engine| format!("{}: {}", engine.engine, engine.description).replace('\n', " "))
        .collect();
    [
        ("Agent", inventory.agent_version.clone()),
        ("System", inventory.os.clone()),
        (
            "Processors",
            format!("{}, load {:.2}", inventory.cpus, inventory.load),
        ),
        ("Memory", of(inventory.memory_available, inventory.memory_total)),
        ("Disk", of(inventory.disk_available, inventory.disk_total)),
        ("Engines", engines.join("\n")),
        ("Trust state", table::or_dash(inventory.trust_number.as_ref())),
        ("Conditions", inventory.conditions.join("\n")),
    ]
}
