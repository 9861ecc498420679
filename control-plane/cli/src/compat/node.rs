//! The documented commands about nodes.

use clap::Parser;
use muster_client::Request;
use muster_ids::Name;
use muster_wire::admin::v1::{
    join::Join,
    node::{Node, UntrustNode},
};
use serde::Serialize;

use super::{Common, options};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    table,
};

const NODES: &str = "/api/v1/nodes";
const JOINS: &str = "/api/v1/joins";

/// Lists the nodes of the collective with their identifiers, those that wait for trust included
#[derive(Debug, Parser)]
#[command(name = "list-nodes")]
struct ListNodes {
    /// Only nodes that are not trusted
    #[arg(short = 'e', long, num_args = 0..=1, require_equals = true, default_value_t = false, default_missing_value = "true")]
    exclude_trusted: bool,
    #[command(flatten)]
    common: Common,
}

/// A node by its identifier
#[derive(Debug, Parser)]
struct OneNode {
    /// Identifier or name of the node
    #[arg(short = 'i', long = "id")]
    id: Name,
    #[command(flatten)]
    common: Common,
}

/// Revokes the trust of a node
#[derive(Debug, Parser)]
#[command(name = "untrust-node")]
struct UntrustNodeOptions {
    #[command(flatten)]
    node: OneNode,
}

/// Deletes a node that was untrusted
#[derive(Debug, Parser)]
#[command(name = "delete-node")]
struct DeleteNodeOptions {
    #[command(flatten)]
    node: OneNode,
}

/// A line of `list-nodes`.
#[derive(Serialize)]
struct Line {
    id: String,
    name: String,
    /// `trusted`, `revoked`, or `pending` for a request.
    trust: String,
    health: Option<String>,
    site: Option<String>,
    addresses: Vec<String>,
}

/// `list-nodes [-e]`.
pub(super) async fn list(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(options) = options::<ListNodes>(arguments)? else {
        return Ok(());
    };
    options.common.check()?;
    let rest = context.rest()?;
    let nodes: Vec<Node> = list::all(&rest, || Request::get(NODES), &Extent::default()).await?;
    let pending = || Request::get(JOINS).query("state", "pending");
    let joins: Vec<Join> = list::all(&rest, pending, &Extent::default()).await?;
    let nodes = nodes
        .into_iter()
        .filter(|node| !options.exclude_trusted || node.trust != "trusted")
        .map(|node| Line {
            id: node.id.to_string(),
            name: node.name.to_string(),
            trust: node.trust,
            health: Some(node.health),
            site: Some(node.site.to_string()),
            addresses: node.addresses,
        });
    let waiting = joins
        .into_iter()
        .filter(|join| join.state == "pending")
        .map(|join| Line {
            id: join.id.to_string(),
            name: join.name.to_string(),
            trust: join.state,
            health: None,
            site: join.site.map(|site| site.to_string()),
            addresses: join.addresses,
        });
    let lines: Vec<Line> = nodes.chain(waiting).collect();
    context.show(&lines, || {
        table::rows(
            ["id", "name", "trust", "health", "site", "addresses"],
            lines.iter().map(|line| {
                [
                    line.id.clone(),
                    line.name.clone(),
                    line.trust.clone(),
                    table::or_dash(line.health.as_ref()),
                    table::or_dash(line.site.as_ref()),
                    table::list(&line.addresses),
                ]
            }),
            "No nodes.",
            context.colour,
        )
    })
}

/// `untrust-node -i ID`.
pub(super) async fn untrust(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(UntrustNodeOptions { node }) = options(arguments)? else {
        return Ok(());
    };
    node.common.check()?;
    let request = Request::post(NODES)
        .segment(node.id.as_str())
        .segment("untrust")
        .json(&UntrustNode::default());
    let node: Node = context.rest()?.call(request).await?;
    context.show(&node, || {
        format!(
            "\"{}\" is {} now.",
            escaped(node.name.as_str()),
            escaped(&node.trust)
        )
    })
}

/// `delete-node -i ID`.
pub(super) async fn delete(context: &Context, arguments: &[String]) -> Result<(), Failure> {
    let Some(DeleteNodeOptions { node }) = options(arguments)? else {
        return Ok(());
    };
    node.common.check()?;
    let request = Request::delete(NODES).segment(node.id.as_str());
    context.rest()?.call::<()>(request).await?;
    context.done(&format!("Deleted \"{}\".", node.id))
}
