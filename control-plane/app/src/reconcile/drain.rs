//! Draining nodes that have ended their last run are cordoned.

use muster_model::{
    audit::Event,
    node::{Scheduling, Trust},
};
use muster_store::{Draft, NodeFilter};
use serde_json::json;

use crate::{App, Error, node::ALL};

impl App {
    /// Cordons nodes that were to drain and have no run any more; says how many.
    pub async fn reconcile_drains(&self) -> Result<usize, Error> {
        let filter = NodeFilter {
            trust: Some(Trust::Trusted),
            scheduling: Some(Scheduling::Draining),
            ..NodeFilter::default()
        };
        let mut drained = 0;
        for node in self.store().node_list(&filter, None, ALL).await? {
            let mut tx = self.store().begin(&Self::system()).await?;
            // Locked, and looked at again: a claim takes the same lock, and the wish may have changed.
            let Some(node) = tx.node_get(node.id).await? else {
                continue;
            };
            let busy = !self.store().runs_of_node(node.id).await?.is_empty();
            if busy || node.scheduling != Scheduling::Draining || node.trust != Trust::Trusted {
                continue;
            }
            let node = node.schedule(Scheduling::Cordoned).map_err(Error::bug)?;
            tx.node_put(&node).await?;
            let detail = json!({ "node": node.id.to_string(), "scheduling": node.scheduling.as_str() });
            let draft = Draft::new(Event::NodeDrained, node.name.to_string(), detail);
            tx.commit(draft, self.now()).await?;
            tracing::info!(node.id = %node.id, node.name = %node.name, "node drained");
            drained += 1;
        }
        Ok(drained)
    }
}
