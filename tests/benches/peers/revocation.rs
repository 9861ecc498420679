//! How long a node that is untrusted keeps its connection.

use anyhow::Context as _;
use muster_tests::{Applicant, Server, challenge, member::next};
use serde_json::json;

use crate::{
    report::{Row, note},
    sample::{median, now_us, number},
};

/// Nodes that are connected at first; each is untrusted once.
const NODES: usize = 200;

/// From the request to untrust a node until the node sees the end of its control connection.
pub(crate) async fn rows() -> anyhow::Result<Vec<Row>> {
    note(&format!("revocation: joining {NODES} nodes"));
    let server = Server::private();
    let admin = server.admin().await;
    let mut nodes = Vec::with_capacity(NODES);
    for index in 0..NODES {
        let member = Applicant::new(&format!("node-{index}")).await.join(&server).await;
        let connection = member.connect().await;
        let mut lines = member.control(&connection, &challenge()).await;
        next(&mut lines).await;
        nodes.push((member, connection, lines));
    }
    let mut times = Vec::with_capacity(NODES);
    for (member, connection, _lines) in &nodes {
        let begin = now_us();
        let closed = async {
            connection.closed().await;
            now_us()
        };
        let (path, reason) = (["nodes", member.name(), "untrust"], json!({}));
        let (told, end) = tokio::join!(admin.tell(&path, &reason), closed);
        told.with_context(|| format!("untrust {}", member.name()))?;
        times.push(number(end.saturating_sub(begin)) / 1000.0);
    }
    times.sort_unstable_by(f64::total_cmp);
    let last = times.len().saturating_sub(1 + times.len() / 100);
    let p99 = times.get(last).copied().context("there were nodes")?;
    Ok(vec![
        Row::alone("revoke_to_close_p50_ms", median(times), "ms"),
        Row::alone("revoke_to_close_p99_ms", p99, "ms"),
    ])
}
