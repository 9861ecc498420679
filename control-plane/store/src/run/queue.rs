//! The queue of runs: who gets the next one, who still holds one, who has lost one.

use std::collections::BTreeMap;

use muster_ids::{NodeId, PoolId, RunId, SiteId, UserId};
use muster_model::{join::Capability, run::LEASE_MS};

use super::{RunRow, run, select};
use crate::{
    dialect::{Sql, locking, rows},
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, Value, args},
    wake::Topic,
};

/// Runs renewed by one statement; a node has far fewer slots.
const BATCH: usize = 500;

/// What a heartbeat learns about the runs that it named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaseAnswer {
    /// Those that the node does not hold any more: it ends them and reports nothing.
    pub not_held: Vec<RunId>,
    /// Those that a person asked to end.
    pub cancel_requested: Vec<RunId>,
}

/// How many runs wait for one kind of node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueLength {
    /// What a node must be able to do.
    pub capability: Capability,
    /// Where.
    pub pool: PoolId,
    /// Where.
    pub site: SiteId,
    /// How many.
    pub waiting: u64,
}

impl Tx {
    /// Asks to end all that runs for a user; how many that are. Whoever waits is woken after the commit.
    pub async fn runs_cancel_of(&mut self, user: UserId) -> Result<u64, StoreError> {
        // In the order of all who change several runs: nobody waits for whoever waits for them.
        let which = locking!(
            "SELECT id FROM runs WHERE user_id = $1 AND state = 'running' AND NOT cancel_requested ORDER BY id"
        );
        self.all(which, args![user]).await?;
        let sql = "UPDATE runs SET cancel_requested = $2, version = version + 1 \
                   WHERE user_id = $1 AND state = 'running' AND NOT cancel_requested";
        let asked = self.execute(sql, args![user, true]).await?;
        if asked > 0 {
            self.touch(Topic::Runs);
            self.touch(Topic::Work);
        }
        Ok(asked)
    }

    /// The oldest queued run that a node with these capabilities in this pool and site can take, locked: of two
    /// claims at once each gets another run.
    pub async fn run_claim_next(
        &mut self,
        capabilities: &[Capability],
        pool: PoolId,
        site: SiteId,
    ) -> Result<Option<RunRow>, StoreError> {
        let wanted = Capability::ALL
            .map(|capability| capabilities.contains(&capability).then_some(capability.as_str()));
        let sql = locking!(
            select!(
                "WHERE state = 'queued' AND capability IN ($1, $2, $3) AND pool_id = $4 AND site_id = $5 \
                 ORDER BY created_at, id LIMIT 1"
            ),
            " FOR UPDATE SKIP LOCKED"
        );
        let [first, second, third] = wanted;
        let row = self.first(sql, args![first, second, third, pool, site]).await?;
        row.map(|row| run(&row)).transpose()
    }
}

impl Tx {
    /// How many runs wait in the queue of `row`, and how many of its user, each counted to `most` at the most.
    pub async fn queue_lengths(&mut self, row: &RunRow, most: (u32, u32)) -> Result<(u64, u64), StoreError> {
        let sql = "SELECT \
                   (SELECT COUNT(*) FROM (SELECT 1 AS one FROM runs WHERE state = 'queued' AND capability = $1 \
                    AND pool_id = $2 AND site_id = $3 LIMIT $4) AS queue) AS in_queue, \
                   (SELECT COUNT(*) FROM (SELECT 1 AS one FROM runs WHERE state = 'queued' AND user_id = $5 \
                    LIMIT $6) AS own) AS of_user";
        let values = args![
            row.capability.as_str(),
            row.pool,
            row.site,
            i64::from(most.0),
            row.user,
            i64::from(most.1)
        ];
        match self.first(sql, values).await? {
            Some(found) => Ok((found.counter("in_queue")?, found.counter("of_user")?)),
            None => Ok((0, 0)),
        }
    }
}

impl Store {
    /// The runs that a node holds.
    pub async fn runs_of_node(&self, node: NodeId) -> Result<Vec<RunRow>, StoreError> {
        let sql = select!("WHERE state = 'running' AND node_id = $1 ORDER BY id");
        self.few(sql, args![node]).await?.iter().map(run).collect()
    }

    /// How many runs each node works on; nodes without runs are left out.
    pub async fn running_counts(&self) -> Result<Vec<(NodeId, u64)>, StoreError> {
        let rows = self
            .all(
                "SELECT node_id, COUNT(*) AS running FROM runs WHERE state = 'running' AND node_id IS NOT NULL \
                 GROUP BY node_id",
                args![],
            )
            .await?;
        rows.iter()
            .map(|row| Ok((row.parsed("node_id")?, row.counter("running")?)))
            .collect()
    }

    /// At most `limit` runs whose lease is over at `now`, longest over first.
    pub async fn runs_expired(&self, now: i64, limit: u32) -> Result<Vec<RunRow>, StoreError> {
        let sql = select!("WHERE state = 'running' AND lease_until <= $1 ORDER BY lease_until, id LIMIT $2");
        self.all(sql, args![now, i64::from(limit)])
            .await?
            .iter()
            .map(run)
            .collect()
    }

    /// The claims that a person asked to end, of all nodes: node, run and fence.
    pub async fn runs_cancel_requested(&self) -> Result<Vec<(NodeId, RunId, i64)>, StoreError> {
        let sql =
            "SELECT id, node_id, fence FROM runs WHERE state = 'running' AND cancel_requested ORDER BY id";
        let rows = self.all(sql, args![]).await?;
        let claim = |row: &Row| Ok((row.parsed("node_id")?, row.parsed("id")?, row.int("fence")?));
        rows.iter().map(claim).collect()
    }

    /// How many runs wait, for each capability, pool and site with any.
    pub async fn queued_counts(&self) -> Result<Vec<QueueLength>, StoreError> {
        let rows = self
            .all(
                "SELECT capability, pool_id, site_id, COUNT(*) AS waiting FROM runs WHERE state = 'queued' \
                 GROUP BY capability, pool_id, site_id ORDER BY capability, pool_id, site_id",
                args![],
            )
            .await?;
        let length = |row: &Row| {
            Ok(QueueLength {
                capability: row.parsed("capability")?,
                pool: row.parsed("pool_id")?,
                site: row.parsed("site_id")?,
                waiting: row.counter("waiting")?,
            })
        };
        rows.iter().map(length).collect()
    }

    /// The queues in which runs wait. Where statements run in place this costs by the number of queues and not by their
    /// length.
    pub async fn queues_waiting(&self) -> Result<Vec<(Capability, PoolId, SiteId)>, StoreError> {
        if !self.db.is_own() {
            let counts = self.queued_counts().await?;
            let queue = |count: QueueLength| (count.capability, count.pool, count.site);
            return Ok(counts.into_iter().map(queue).collect());
        }
        let next = "SELECT capability, pool_id, site_id FROM runs WHERE state = 'queued' \
                    AND (capability, pool_id, site_id) > ($1, $2, $3) ORDER BY capability, pool_id, site_id LIMIT 1";
        let mut found: Vec<(Capability, PoolId, SiteId)> = Vec::new();
        let mut after = args!["", "", ""];
        while let Some(row) = self.first(next, after).await? {
            let queue = (
                row.parsed("capability")?,
                row.parsed("pool_id")?,
                row.parsed("site_id")?,
            );
            found.push(queue);
            after = args![queue.0.as_str(), queue.1, queue.2];
        }
        Ok(found)
    }

    /// How many runs wait before this one, which waits, in its queue: those that need the same capability in the same pool
    /// and site.
    pub async fn queued_before(&self, row: &RunRow) -> Result<u64, StoreError> {
        let sql = "SELECT COUNT(*) AS waiting FROM runs WHERE state = 'queued' AND capability = $1 AND pool_id = $2 \
                   AND site_id = $3 AND (created_at < $4 OR (created_at = $4 AND id < $5))";
        let values = args![
            row.capability.as_str(),
            row.pool,
            row.site,
            row.created_at,
            row.run.id
        ];
        match self.first(sql, values).await? {
            Some(row) => row.counter("waiting"),
            None => Ok(0),
        }
    }

    /// Renews the leases of the runs that a node works on, each under its fence, for [`LEASE_MS`] from `now`. Not
    /// audited: a heartbeat decides nothing.
    pub async fn renew_leases(
        &self,
        node: NodeId,
        held: &[(RunId, i64)],
        now: i64,
    ) -> Result<LeaseAnswer, StoreError> {
        if held.is_empty() {
            return Ok(LeaseAnswer::default());
        }
        let held: BTreeMap<RunId, i64> = held.iter().copied().collect();
        let list: Vec<_> = held.iter().collect();
        let mut renewed = BTreeMap::new();
        let mut conn = self.db.begin().await?;
        // As who cancels all runs of a user: in the order of their identities.
        let which = locking!("SELECT id FROM runs WHERE node_id = $1 AND state = 'running' ORDER BY id");
        conn.all(which, args![node]).await?;
        for batch in list.chunks(BATCH) {
            let mut values = args![node, now + LEASE_MS];
            values.extend(
                batch
                    .iter()
                    .flat_map(|(id, fence)| -> Vec<Value> { args![**id, **fence] }),
            );
            for row in conn.all(Sql::Built(renewal(batch.len())), values).await? {
                renewed.insert(row.parsed::<RunId>("id")?, row.flag("cancel_requested")?);
            }
        }
        conn.commit().await?;
        Ok(LeaseAnswer {
            not_held: held.into_keys().filter(|id| !renewed.contains_key(id)).collect(),
            cancel_requested: renewed
                .into_iter()
                .filter_map(|(id, cancel)| cancel.then_some(id))
                .collect(),
        })
    }
}

impl Store {
    /// Lets every lease hold until `until` at least; how many were shorter. Not audited, as with heartbeats.
    pub async fn leases_extend(&self, until: i64) -> Result<u64, StoreError> {
        let sql = "UPDATE runs SET lease_until = $1, version = version + 1 \
                   WHERE state = 'running' AND lease_until < $1";
        self.write(sql, args![until]).await
    }
}

/// The statement that renews `count` leases.
fn renewal(count: usize) -> String {
    format!(
        "WITH held (run_id, run_fence) AS (VALUES {}) UPDATE runs SET lease_until = $2, version = version + 1 \
         FROM held WHERE id = held.run_id AND fence = held.run_fence AND node_id = $1 AND state = 'running' \
         RETURNING id, cancel_requested",
        rows(3, 2, count)
    )
}
