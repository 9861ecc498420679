//! `muster status`: one line for each kind of thing.

use muster_client::Request;
use muster_wire::admin::v1::status::Status;

use crate::{context::Context, failure::Failure, table};

/// Shows what an administrator should know now.
pub(crate) async fn run(context: &Context) -> Result<(), Failure> {
    let status: Status = context.rest()?.call(Request::get("/api/v1/status")).await?;
    context.show(&status, || text(&status, context.colour))
}

fn text(status: &Status, colour: bool) -> String {
    let nodes = status.nodes.as_ref().map(|nodes| {
        format!(
            "{} online, {} suspect, {} offline, {} revoked",
            nodes.online, nodes.suspect, nodes.offline, nodes.revoked
        )
    });
    let problems = if status.problems.is_empty() {
        "none".to_owned()
    } else {
        status
            .problems
            .iter()
            .map(|problem| problem.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let expiries: Vec<_> = status
        .expiries
        .iter()
        .map(|expiry| {
            let what = expiry.what.replace('_', " ");
            let name = if expiry.name.is_empty() {
                String::new()
            } else {
                format!(" {}", expiry.name)
            };
            format!("{what}{name} {}", table::time(&expiry.ends))
        })
        .collect();
    table::fields(
        [
            (
                "Server",
                format!("muster-server {}, {}", status.version, table::time(&status.time)),
            ),
            (
                "Joins",
                status
                    .joins_waiting
                    .map(|waiting| format!("{waiting} waiting"))
                    .unwrap_or_default(),
            ),
            ("Nodes", nodes.unwrap_or_default()),
            (
                "Runs",
                format!("{} queued, {} running", status.runs_queued, status.runs_running),
            ),
            ("Trust", format!("state number {}", status.trust_number)),
            ("Expiries", expiries.join("\n")),
            ("Problems", problems),
        ],
        colour,
    )
}
