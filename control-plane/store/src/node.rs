//! Nodes: what administrators decided about them, and when they were last heard of.
//!
//! Invariant: what is decided changes by compare-and-swap through [`Tx`]; what is observed (`seen_at`, `inventory`) is
//! written by [`Store::flush_liveness`] alone, in batches, without a record.

use std::collections::BTreeMap;

use muster_ids::{Digest, Name, NodeId, PoolId, SiteId};
use muster_model::{
    join::Capability,
    node::{Node, Scheduling, Trust},
};

use crate::{
    dialect::{Sql, locking, rows},
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, Value, args, counter, json},
    wake::Topic,
};

macro_rules! select {
    ($tail:literal) => {
        concat!(
            "SELECT id, name, node_key, trust, scheduling, capabilities, pool_id, site_id, addresses, created_at, \
             seen_at, inventory, generation, generation_at, reason, version FROM nodes ",
            $tail
        )
    };
}

/// Rows that one statement names; SQLite takes 32,766 parameters at most.
const BATCH: usize = 500;
/// Observations that one statement writes. SQLite finds each parameter by going through those before it: the cost grows
/// with the square.
const FLUSHED: usize = 50;

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Trusted or revoked ones only.
    pub trust: Option<Trust>,
    /// Those wished to be so only.
    pub scheduling: Option<Scheduling>,
    /// Those of this pool only.
    pub pool: Option<PoolId>,
    /// Those of this site only.
    pub site: Option<SiteId>,
}

/// What was observed of one node: its identity, when it was heard of (milliseconds), its inventory (JSON) if it sent
/// a new one.
pub type Liveness = (NodeId, i64, Option<String>);

impl Store {
    /// The node of this identity.
    pub async fn node(&self, id: NodeId) -> Result<Option<Node>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| node(&row))
            .transpose()
    }

    /// The node of this name; upper and lower case do not differ.
    pub async fn node_by_name(&self, name: &Name) -> Result<Option<Node>, StoreError> {
        self.first(select!("WHERE name_key = $1"), args![name.key()])
            .await?
            .map(|row| node(&row))
            .transpose()
    }

    /// The node of this public key.
    pub async fn node_by_key(&self, key: &Digest) -> Result<Option<Node>, StoreError> {
        self.first(select!("WHERE node_key = $1"), args![*key])
            .await?
            .map(|row| node(&row))
            .transpose()
    }

    /// The nodes that have one of these names or keys, each once; of some hundred of both.
    pub async fn nodes_alike(&self, names: &[&Name], keys: &[Digest]) -> Result<Vec<Node>, StoreError> {
        let mut found: BTreeMap<NodeId, Node> = BTreeMap::new();
        let names: Vec<Value> = names.iter().flat_map(|name| args![name.key()]).collect();
        let keys: Vec<Value> = keys.iter().flat_map(|key| args![*key]).collect();
        for (column, values) in [("name_key", names), ("node_key", keys)] {
            for batch in values.chunks(BATCH) {
                let list = rows(1, 1, batch.len());
                let sql = format!("{}WHERE {column} IN (VALUES {list})", select!(""));
                for row in self.all(Sql::Built(sql), batch.to_vec()).await? {
                    let node = node(&row)?;
                    found.insert(node.id, node);
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// At most `limit` nodes by name, from after the name `after`.
    pub async fn node_list(
        &self,
        filter: &NodeFilter,
        after: Option<&Name>,
        limit: u32,
    ) -> Result<Vec<Node>, StoreError> {
        let sql = select!(
            "WHERE ($1 IS NULL OR trust = $1) AND ($2 IS NULL OR scheduling = $2) \
             AND ($3 IS NULL OR pool_id = $3) AND ($4 IS NULL OR site_id = $4) \
             AND ($5 IS NULL OR name_key > $5) ORDER BY name_key LIMIT $6"
        );
        let values = args![
            filter.trust.map(Trust::as_str),
            filter.scheduling.map(Scheduling::as_str),
            filter.pool,
            filter.site,
            after.map(Name::key),
            i64::from(limit)
        ];
        self.all(sql, values).await?.iter().map(node).collect()
    }

    /// When any node was last heard of, as far as it was written.
    pub async fn nodes_last_seen(&self) -> Result<Option<i64>, StoreError> {
        let row = self
            .first("SELECT MAX(seen_at) AS seen_at FROM nodes", args![])
            .await?;
        row.map_or(Ok(None), |row| row.optional_int("seen_at"))
    }

    /// Pool and site of every node.
    pub async fn node_places(&self) -> Result<Vec<(NodeId, PoolId, SiteId)>, StoreError> {
        let rows = self
            .all("SELECT id, pool_id, site_id FROM nodes", args![])
            .await?;
        let place = |row: &Row| Ok((row.parsed("id")?, row.parsed("pool_id")?, row.parsed("site_id")?));
        rows.iter().map(place).collect()
    }

    /// Writes what was observed of many nodes in one transaction. A time never goes back; an inventory stays unless
    /// there is a new one; nodes that were deleted meanwhile are passed over.
    pub async fn flush_liveness(&self, observed: &[Liveness]) -> Result<(), StoreError> {
        if observed.is_empty() {
            return Ok(());
        }
        // In one order everywhere, so that two control planes do not wait for each other in a circle.
        let mut observed: Vec<_> = observed.iter().collect();
        observed.sort_by_key(|(id, seen_at, _)| (*id, *seen_at));
        let mut conn = self.db.begin().await?;
        for batch in observed
            .chunk_by(|a, b| a.0 != b.0)
            .flat_map(|distinct| distinct.chunks(FLUSHED))
        {
            let values: Vec<Value> = batch
                .iter()
                .flat_map(|(id, seen_at, inventory)| args![*id, *seen_at, inventory])
                .collect();
            conn.execute(Sql::Built(flush(batch.len())), values).await?;
        }
        conn.commit().await?;
        Ok(())
    }
}

/// The statement that writes `count` observations, of different nodes.
fn flush(count: usize) -> String {
    format!(
        "WITH observed (id, seen_at, inventory) AS (VALUES {}) \
         UPDATE nodes SET inventory = COALESCE(observed.inventory, nodes.inventory), \
         seen_at = CASE WHEN nodes.seen_at > observed.seen_at THEN nodes.seen_at ELSE observed.seen_at END \
         FROM observed WHERE nodes.id = observed.id",
        rows(1, 3, count)
    )
}

impl Tx {
    /// The node of this identity, locked.
    pub async fn node_get(&mut self, id: NodeId) -> Result<Option<Node>, StoreError> {
        let sql = locking!(select!("WHERE id = $1"));
        self.first(sql, args![id])
            .await?
            .map(|row| node(&row))
            .transpose()
    }

    /// Adds a node.
    pub async fn node_insert(&mut self, node: &Node) -> Result<(), StoreError> {
        self.touch(Topic::Nodes);
        let mut values = decided(node)?;
        values.extend(args![node.created_at, node.seen_at, &node.inventory]);
        self.insert(
            "INSERT INTO nodes (id, version, name, name_key, node_key, trust, scheduling, capabilities, pool_id, \
             site_id, addresses, generation, generation_at, reason, created_at, seen_at, inventory) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
            values,
            &format!("a node named \"{}\"", node.name),
            "a node of this key",
        )
        .await
    }

    /// Stores the next version of a node; what was observed of it stays as flushed.
    pub async fn node_put(&mut self, node: &Node) -> Result<(), StoreError> {
        self.touch(Topic::Nodes);
        self.node_moved_on(node).await
    }

    /// Stores that a node stands at its next certificate, which concerns nobody else.
    pub async fn node_moved_on(&mut self, node: &Node) -> Result<(), StoreError> {
        self.swap(
            "UPDATE nodes SET version = $2, name = $3, name_key = $4, node_key = $5, trust = $6, scheduling = $7, \
             capabilities = $8, pool_id = $9, site_id = $10, addresses = $11, generation = $12, generation_at = $13, \
             reason = $14 WHERE id = $1 AND version = $2 - 1",
            decided(node)?,
            &format!("the node \"{}\"", node.name),
        )
        .await
    }

    /// Deletes a node.
    pub async fn node_delete(&mut self, id: NodeId) -> Result<(), StoreError> {
        self.touch(Topic::Nodes);
        match self.execute("DELETE FROM nodes WHERE id = $1", args![id]).await? {
            0 => Err(StoreError::not_found(format!("the node {id}"))),
            _ => Ok(()),
        }
    }
}

/// Identity, version and all that people decide, in the order of both statements.
fn decided(node: &Node) -> Result<Vec<Value>, StoreError> {
    Ok(args![
        node.id,
        node.version,
        node.name.as_str(),
        node.name.key(),
        node.key,
        node.trust.as_str(),
        node.scheduling.as_str(),
        json(&node.capabilities)?,
        node.pool,
        node.site,
        json(&node.addresses)?,
        counter(node.generation)?,
        node.generation_at,
        &node.reason,
    ])
}

fn node(row: &Row) -> Result<Node, StoreError> {
    Ok(Node {
        id: row.parsed("id")?,
        name: row.parsed("name")?,
        key: row.parsed("node_key")?,
        trust: row.parsed("trust")?,
        scheduling: row.parsed("scheduling")?,
        capabilities: row.json::<Vec<Capability>>("capabilities")?,
        pool: row.parsed("pool_id")?,
        site: row.parsed("site_id")?,
        addresses: row.json("addresses")?,
        created_at: row.int("created_at")?,
        seen_at: row.optional_int("seen_at")?,
        inventory: row.optional_text("inventory")?,
        generation: row.counter("generation")?,
        generation_at: row.optional_int("generation_at")?,
        reason: row.optional_text("reason")?,
        version: row.int("version")?,
    })
}
