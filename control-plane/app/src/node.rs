//! Nodes: as administrators see and change them, and as they report themselves.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, PoisonError},
};

use muster_ids::{Name, NodeId, RunId};
use muster_model::{
    audit::Event,
    node::{Node, NodeRefused, Trust},
    permission::{Caller, Operation},
};
use muster_pki::csr;
use muster_store::{CertificateFilter, Draft, NodeFilter, Records, Tx};
use muster_wire::{
    admin::v1::{
        Page, StatePageQuery,
        node::{Node as WireNode, PatchNode, UntrustNode},
    },
    node::v1::control::{Heartbeat, HeartbeatReply, Inventory, ReceiptCertificate, ReceiptKey},
};
use serde_json::json;

use crate::{
    App, Error,
    epoch::tombstone,
    page,
    renewal::Shown,
    text::{decode, encode, rfc3339},
};

/// More nodes than any collective has.
pub(crate) const ALL: u32 = 1_000_000;

/// The last sign of life of each node, in memory; a reconciler writes it to the database in batches, so that
/// thousands of heartbeats are not thousands of writes.
#[derive(Default)]
pub struct Liveness(Mutex<HashMap<NodeId, Seen>>);

#[derive(Clone)]
struct Seen {
    at: i64,
    inventory: Option<Inventory>,
    flushed: bool,
    /// The database has this inventory.
    kept: bool,
}

impl Liveness {
    fn note(&self, node: NodeId, at: i64, inventory: Option<Inventory>) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = seen.entry(node).or_insert(Seen {
            at,
            inventory: None,
            flushed: false,
            kept: true,
        });
        entry.at = entry.at.max(at);
        entry.flushed = false;
        if inventory.is_some() {
            entry.inventory = inventory;
            entry.kept = false;
        }
    }

    fn get(&self, node: NodeId) -> Option<(i64, Option<Inventory>)> {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&node).map(|seen| (seen.at, seen.inventory.clone()))
    }

    /// How many nodes were heard of since the start.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    pub(crate) fn forget(&self, node: NodeId) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&node);
    }

    /// What was not written yet; it counts as written from now on. An inventory comes once.
    pub(crate) fn take_unflushed(&self) -> Vec<(NodeId, i64, Option<Inventory>)> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter_mut()
            .filter(|(_, seen)| !seen.flushed)
            .map(|(node, seen)| {
                seen.flushed = true;
                let known = std::mem::replace(&mut seen.kept, true);
                (*node, seen.at, seen.inventory.clone().filter(|_| !known))
            })
            .collect()
    }
}

impl App {
    /// The nodes, by name.
    pub async fn list_nodes(&self, caller: &Caller, query: &StatePageQuery) -> Result<Page<WireNode>, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "list nodes", "")
            .await?;
        let limit = page::limit(&query.page())?;
        let trust = query
            .state
            .as_deref()
            .map(str::parse::<Trust>)
            .transpose()
            .map_err(Error::invalid)?;
        let filter = NodeFilter {
            trust,
            ..NodeFilter::default()
        };
        let rows = self
            .store()
            .node_list(&filter, page::after::<Name>(&query.page())?.as_ref(), limit + 1)
            .await?;
        let places = self.places().await?;
        let mut nodes = Vec::with_capacity(rows.len());
        for row in rows {
            nodes.push(self.node_to_wire(row, &places).await?);
        }
        Ok(page::of(nodes, limit, |node| node.name.clone(), |node| node))
    }

    /// One node, by name or identifier.
    pub async fn show_node(&self, caller: &Caller, reference: &str) -> Result<WireNode, Error> {
        self.authorize_to(caller, Operation::ReadAdministration, "read the node", reference)
            .await?;
        let node = self.node_named(reference).await?;
        self.node_to_wire(node, &self.places().await?).await
    }

    /// Takes a node's right to speak: its certificates are revoked, its connections are cut, its runs are lost.
    pub async fn untrust_node(
        &self,
        caller: &Caller,
        reference: &str,
        untrust: &UntrustNode,
    ) -> Result<WireNode, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "untrust the node", reference)
            .await?;
        let reason = untrust.reason.as_deref().map(page::clean_line).transpose()?;
        let id = self.node_named(reference).await?.id;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        if let Some(node) = tx.node_get(id).await?.filter(|node| node.trust == Trust::Revoked) {
            // Asked once more, perhaps because the answer was lost: nothing changes, and nothing is recorded twice.
            drop(tx);
            return self.node_to_wire(node, &self.places().await?).await;
        }
        let words = reason.as_deref().unwrap_or("untrusted");
        let (node, revoked, records) = self
            .revoke(&mut tx, id, (words, "its node was untrusted"), now)
            .await?;
        let detail = json!({ "node": id.to_string(), "reason": reason, "certificates": revoked });
        let draft = Draft::new(Event::NodeUntrusted, node.name.to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        self.liveness().forget(id);
        tracing::info!(node.id = %id, node.name = %node.name, by = %caller, "node untrusted");
        self.node_to_wire(node, &self.places().await?).await
    }

    /// Changes what an administrator wishes of a node.
    pub async fn patch_node(
        &self,
        caller: &Caller,
        reference: &str,
        patch: &PatchNode,
    ) -> Result<WireNode, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "change the node", reference)
            .await?;
        let id = self.node_named(reference).await?.id;
        let pool = match &patch.pool {
            Some(name) => Some(self.pool_or_default(Some(name)).await?.id),
            None => None,
        };
        let site = match &patch.site {
            Some(name) => Some(self.site_or_default(Some(name)).await?.id),
            None => None,
        };
        let scheduling = patch
            .scheduling
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(Error::invalid)?;
        let mut tx = self.store().begin(&authorized).await?;
        let node = tx.node_get(id).await?.ok_or_else(|| no_such_node(reference))?;
        let wished = scheduling.unwrap_or(node.scheduling);
        let node = node.schedule(wished).map_err(|error| refused(&error))?;
        let node = Node {
            pool: pool.unwrap_or(node.pool),
            site: site.unwrap_or(node.site),
            ..node
        };
        tx.node_put(&node).await?;
        let detail = json!({
            "node": id.to_string(), "scheduling": patch.scheduling, "pool": patch.pool, "site": patch.site,
        });
        tx.commit(
            Draft::new(Event::NodeChanged, node.name.to_string(), detail),
            self.now(),
        )
        .await?;
        self.node_to_wire(node, &self.places().await?).await
    }

    /// Deletes a node that was untrusted.
    pub async fn delete_node(&self, caller: &Caller, reference: &str) -> Result<(), Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "delete the node", reference)
            .await?;
        let id = self.node_named(reference).await?.id;
        let mut tx = self.store().begin(&authorized).await?;
        let node = tx.node_get(id).await?.ok_or_else(|| no_such_node(reference))?;
        node.may_be_deleted().map_err(|error| refused(&error))?;
        tx.node_delete(id).await?;
        let detail = json!({ "node": id.to_string() });
        tx.commit(
            Draft::new(Event::NodeDeleted, node.name.to_string(), detail),
            self.now(),
        )
        .await?;
        Ok(())
    }

    /// A node leaves by itself: the same as being untrusted.
    pub async fn leave(&self, id: NodeId) -> Result<(), Error> {
        let authorized = self.authorize(&Caller::Node(id), Operation::ActAsNode).await?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let (node, revoked, records) = self.revoke(&mut tx, id, ("left", "its node left"), now).await?;
        let detail = json!({ "node": id.to_string(), "reason": "left", "certificates": revoked });
        let draft = Draft::new(Event::NodeUntrusted, node.name.to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        self.liveness().forget(id);
        tracing::info!(node.id = %id, node.name = %node.name, "node left");
        Ok(())
    }

    /// Takes a node's right to speak: also returns how many certificates it had, and the ends of its runs.
    pub(crate) async fn revoke(
        &self,
        tx: &mut Tx,
        id: NodeId,
        why: (&str, &str),
        now: i64,
    ) -> Result<(Node, u64, Vec<Draft>), Error> {
        let revoked = self.revoke_unburied(tx, id, why, now).await?;
        tombstone::bury(tx, vec![tombstone::of_node(id, now)], now).await?;
        Ok(revoked)
    }

    /// As [`Self::revoke`], for callers who write the tombstones of many nodes at once.
    pub(crate) async fn revoke_unburied(
        &self,
        tx: &mut Tx,
        id: NodeId,
        (reason, lost): (&str, &str),
        now: i64,
    ) -> Result<(Node, u64, Vec<Draft>), Error> {
        let node = tx
            .node_get(id)
            .await?
            .ok_or_else(|| no_such_node(id))?
            .untrust(reason);
        tx.node_put(&node).await?;
        let revoked = tx.certificates_revoke_for(id, now, reason).await?;
        let records = self.lose_runs_of(tx, id, lost, now).await?;
        Ok((node, revoked, records))
    }

    /// A sign of life.
    pub fn node_seen(&self, id: NodeId) {
        self.liveness().note(id, self.now(), None);
    }

    /// A heartbeat: what the node is like, and which claims it works on.
    pub async fn heartbeat(&self, shown: &Shown, beat: Heartbeat) -> Result<HeartbeatReply, Error> {
        let id = shown.node;
        self.authorize(&Caller::Node(id), Operation::ActAsNode).await?;
        let now = self.now();
        let held: Vec<(RunId, i64)> = beat
            .running
            .iter()
            .map(|claim| (claim.run, claim.fence))
            .collect();
        let answer = self.store().renew_leases(id, &held, now).await?;
        self.liveness().note(id, now, beat.inventory);
        Ok(HeartbeatReply {
            stop: answer
                .not_held
                .into_iter()
                .chain(answer.cancel_requested)
                .collect(),
            renew_within: shown.renew_within(now),
        })
    }

    /// A certificate for the key that signs this node's receipts.
    pub async fn certify_receipt_key(
        &self,
        id: NodeId,
        request: &ReceiptKey,
    ) -> Result<ReceiptCertificate, Error> {
        let authorized = self.authorize(&Caller::Node(id), Operation::ActAsNode).await?;
        let key = csr::public_key(&decode("csr", &request.csr)?)
            .map_err(|error| Error::invalid(format!("the field csr is refused: {error}")))?;
        let tx = self.store().begin(&authorized).await?;
        let (chain, draft, tx) = self.issue_receipt(tx, id, key.spki()).await?;
        tx.commit(draft, self.now()).await?;
        Ok(ReceiptCertificate {
            chain: chain.iter().map(|der| encode(der)).collect(),
        })
    }

    pub(crate) async fn node_named(&self, reference: &str) -> Result<Node, Error> {
        let found = match (reference.parse::<NodeId>(), reference.parse::<Name>()) {
            (Ok(id), _) => self.store().node(id).await?,
            (_, Ok(name)) => self.store().node_by_name(&name).await?,
            _ => None,
        };
        found.ok_or_else(|| {
            no_such_node(
                reference
                    .chars()
                    .take(128)
                    .flat_map(char::escape_default)
                    .collect::<String>(),
            )
        })
    }

    /// When a node was last heard of: from memory, else from the database.
    pub(crate) fn last_seen(&self, node: &Node) -> Option<i64> {
        self.liveness().get(node.id).map(|(at, _)| at).max(node.seen_at)
    }

    /// What the node last said of itself: from memory, else from the database.
    pub(crate) fn inventory_of(&self, node: &Node) -> Option<Inventory> {
        let heard = self.liveness().get(node.id).and_then(|(_, inventory)| inventory);
        heard.or_else(|| serde_json::from_str(node.inventory.as_deref()?).ok())
    }

    async fn places(&self) -> Result<BTreeMap<String, Name>, Error> {
        let pools = self
            .store()
            .pool_list()
            .await?
            .into_iter()
            .map(|pool| (pool.id.to_string(), pool.name));
        let sites = self
            .store()
            .site_list()
            .await?
            .into_iter()
            .map(|site| (site.id.to_string(), site.name));
        Ok(pools.chain(sites).collect())
    }

    async fn node_to_wire(&self, node: Node, places: &BTreeMap<String, Name>) -> Result<WireNode, Error> {
        let runs = self.store().runs_of_node(node.id).await?.len() as u64;
        let filter = CertificateFilter {
            subject: Some(node.id.to_string()),
            purpose: Some("node".to_owned()),
            ..CertificateFilter::default()
        };
        let certificates = self.store().certificate_list(&filter, None, 1000).await?;
        let seen = self.last_seen(&node);
        let inventory = self.inventory_of(&node);
        let named = |id: String| {
            places
                .get(&id)
                .cloned()
                .ok_or_else(|| Error::bug("a node without its place"))
        };
        Ok(WireNode {
            id: node.id,
            trust: node.trust.to_string(),
            scheduling: node.scheduling.to_string(),
            health: self.health(&node).to_string(),
            capabilities: node.capabilities.iter().map(ToString::to_string).collect(),
            pool: named(node.pool.to_string())?,
            site: named(node.site.to_string())?,
            runs,
            key_prefix: node.key.hex()[..8].to_owned(),
            created: rfc3339(node.created_at),
            seen: seen.map(rfc3339),
            certificate_expires: certificates
                .iter()
                .map(|certificate| certificate.not_after)
                .max()
                .map(rfc3339),
            inventory,
            name: node.name,
            addresses: node.addresses,
        })
    }
}

fn no_such_node(reference: impl std::fmt::Display) -> Error {
    Error::not_found("node", reference, "muster node list shows all of them")
}

fn refused(refused: &NodeRefused) -> Error {
    Error::conflict("node-state", refused.to_string())
}
