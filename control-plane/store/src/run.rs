//! Runs: what decides about them ([`Run`]) and what describes them. How they are handed out is in `run/queue.rs`.
//!
//! Invariant: a row changes by compare-and-swap on `version`; a row of a run that has ended changes only to get its
//! description completed. Structured values are JSON texts that the store passes through unread.

use muster_ids::{Digest, FunctionId, Name, NodeId, PoolId, RunId, SiteId, UserId, UserName};
use muster_model::{
    join::Capability,
    run::{Mode, Run, RunState},
};

use crate::{
    dialect::locking,
    error::StoreError,
    store::Store,
    tx::Tx,
    value::{Row, args},
    wake::Topic,
};

mod content;
mod output;
mod queue;

pub use output::{NewOutput, Piece, ProgressRow};
pub use queue::{LeaseAnswer, QueueLength};

macro_rules! select {
    ($tail:expr) => {
        concat!(
            "SELECT id, state, fence, node_id, lease_until, cancel_requested, stale_since, version, function_id, \
             function_name, digest, engine, user_id, user_name, client, capability, pool_id, site_id, request, mode, \
             verdict, engine_description, created_at, started_at, finished_at, ending, outputs, receipt FROM runs ",
            $tail
        )
    };
}
use select;

/// One run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// What decides.
    pub run: Run,
    /// Which function; an expression has none, and an empty text in the column, which takes no null.
    pub function: Option<FunctionId>,
    /// Its name when the run was queued.
    pub function_name: Name,
    /// Which content of it.
    pub digest: Digest,
    /// The engine that was asked for.
    pub engine: String,
    /// Who asked.
    pub user: UserId,
    /// Their name then.
    pub user_name: UserName,
    /// What the decision calls the client.
    pub client: String,
    /// What a node must be able to do.
    pub capability: Capability,
    /// Where it may run.
    pub pool: PoolId,
    /// Where it may run.
    pub site: SiteId,
    /// Arguments, inputs, wanted outputs, limits; JSON.
    pub request: String,
    /// The mode that it ran in.
    pub mode: Option<Mode>,
    /// Why in this mode, or why not at all; JSON.
    pub verdict: Option<String>,
    /// The engine as it really was.
    pub engine_description: Option<String>,
    /// When it was queued.
    pub created_at: i64,
    /// When its last claim was granted.
    pub started_at: Option<i64>,
    /// When it ended.
    pub finished_at: Option<i64>,
    /// How it ended: first line, message, problem type, timings, limits met, standard output and error; JSON.
    pub ending: Option<String>,
    /// Name, digest, size and format of each output; JSON.
    pub outputs: Option<String>,
    /// The receipt's envelope; JSON.
    pub receipt: Option<String>,
}

/// What a list is about; `None` does not limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Runs of this user only.
    pub user: Option<UserId>,
    /// Runs in this state only.
    pub state: Option<RunState>,
    /// Runs of this function only.
    pub function: Option<FunctionId>,
    /// Runs that this node had last only.
    pub node: Option<NodeId>,
}

impl Store {
    /// The run of this identity.
    pub async fn run(&self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        self.first(select!("WHERE id = $1"), args![id])
            .await?
            .map(|row| run(&row))
            .transpose()
    }

    /// At most `limit` runs, newest first, from before the run `before`.
    pub async fn run_list(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: u32,
    ) -> Result<Vec<RunRow>, StoreError> {
        macro_rules! list {
            ($user:literal) => {
                select!(concat!(
                    "WHERE ",
                    $user,
                    " AND ($2 IS NULL OR state = $2) AND ($3 IS NULL OR function_id = $3) \
                     AND ($4 IS NULL OR node_id = $4) AND ($5 IS NULL OR id < $5) ORDER BY id DESC LIMIT $6"
                ))
            };
        }
        // One's own runs are what most people ask for; a plain comparison lets the index find them.
        let sql = if filter.user.is_some() {
            list!("user_id = $1")
        } else {
            list!("$1 IS NULL")
        };
        let state = filter.state.map(RunState::as_str);
        let values = args![
            filter.user,
            state,
            filter.function,
            filter.node,
            before,
            i64::from(limit)
        ];
        self.all(sql, values).await?.iter().map(run).collect()
    }
}

impl Tx {
    /// The run of this identity, locked.
    pub async fn run_get_for_update(&mut self, id: RunId) -> Result<Option<RunRow>, StoreError> {
        let sql = locking!(select!("WHERE id = $1"));
        self.first(sql, args![id]).await?.map(|row| run(&row)).transpose()
    }

    /// Adds a run. Its pool and site must exist and stay until the commit.
    pub async fn run_insert(&mut self, row: &RunRow) -> Result<(), StoreError> {
        let places = self
            .first(
                locking!(
                    "SELECT p.id FROM pools p, sites s WHERE p.id = $1 AND s.id = $2",
                    " FOR KEY SHARE"
                ),
                args![row.pool, row.site],
            )
            .await?;
        if places.is_none() {
            return Err(StoreError::not_found("the pool or the site of the run"));
        }
        self.touch_run(&row.run);
        let named = "a run of this identity";
        let function = row.function.map(|id| id.to_string()).unwrap_or_default();
        let values = args![
            row.run.id,
            row.run.state.as_str(),
            row.run.fence,
            row.run.node,
            row.run.lease_until,
            row.run.cancel_requested,
            row.run.stale_since,
            row.run.version,
            function.as_str(),
            row.function_name.as_str(),
            row.digest,
            row.engine.as_str(),
            row.user,
            row.user_name.as_str(),
            row.client.as_str(),
            row.capability.as_str(),
            row.pool,
            row.site,
            row.request.as_str(),
            row.mode.map(Mode::as_str),
            &row.verdict,
            &row.engine_description,
            row.created_at,
            row.started_at,
            row.finished_at,
            &row.ending,
            &row.outputs,
            &row.receipt,
        ];
        self.insert(
            "INSERT INTO runs (id, state, fence, node_id, lease_until, cancel_requested, stale_since, version, \
             function_id, function_name, digest, engine, user_id, user_name, client, capability, pool_id, site_id, \
             request, mode, verdict, engine_description, created_at, started_at, finished_at, ending, outputs, \
             receipt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, \
             $20, $21, $22, $23, $24, $25, $26, $27, $28)",
            values,
            named,
            named,
        )
        .await
    }

    /// Stores the next version of a run. What was asked for (function, user, request, place) never changes.
    pub async fn run_put(&mut self, row: &RunRow) -> Result<(), StoreError> {
        self.touch_run(&row.run);
        let values = args![
            row.run.id,
            row.run.version,
            row.run.state.as_str(),
            row.run.fence,
            row.run.node,
            row.run.lease_until,
            row.run.cancel_requested,
            row.run.stale_since,
            row.mode.map(Mode::as_str),
            &row.verdict,
            &row.engine_description,
            row.started_at,
            row.finished_at,
            &row.ending,
            &row.outputs,
            &row.receipt,
        ];
        self.swap(
            "UPDATE runs SET version = $2, state = $3, fence = $4, node_id = $5, lease_until = $6, \
             cancel_requested = $7, stale_since = $8, mode = $9, verdict = $10, engine_description = $11, \
             started_at = $12, finished_at = $13, ending = $14, outputs = $15, receipt = $16 \
             WHERE id = $1 AND version = $2 - 1",
            values,
            &format!("the run {}", row.run.id),
        )
        .await
    }
}

impl Tx {
    /// Whoever waits for what has become of this run is woken after the commit.
    fn touch_run(&mut self, run: &Run) {
        self.touch(Topic::Runs);
        if run.state.is_final() {
            self.touch(Topic::Ends);
        } else if run.state == RunState::Queued || run.cancel_requested {
            self.touch(Topic::Work);
        }
    }
}

fn run(row: &Row) -> Result<RunRow, StoreError> {
    Ok(RunRow {
        run: Run {
            id: row.parsed("id")?,
            state: row.parsed("state")?,
            fence: row.int("fence")?,
            node: row.optional("node_id")?,
            lease_until: row.optional_int("lease_until")?,
            cancel_requested: row.flag("cancel_requested")?,
            stale_since: row.optional_int("stale_since")?,
            version: row.int("version")?,
        },
        function: match row.text("function_id")?.as_str() {
            "" => None,
            _ => Some(row.parsed("function_id")?),
        },
        function_name: row.parsed("function_name")?,
        digest: row.parsed("digest")?,
        engine: row.text("engine")?,
        user: row.parsed("user_id")?,
        user_name: row.parsed("user_name")?,
        client: row.text("client")?,
        capability: row.parsed("capability")?,
        pool: row.parsed("pool_id")?,
        site: row.parsed("site_id")?,
        request: row.text("request")?,
        mode: row.optional("mode")?,
        verdict: row.optional_text("verdict")?,
        engine_description: row.optional_text("engine_description")?,
        created_at: row.int("created_at")?,
        started_at: row.optional_int("started_at")?,
        finished_at: row.optional_int("finished_at")?,
        ending: row.optional_text("ending")?,
        outputs: row.optional_text("outputs")?,
        receipt: row.optional_text("receipt")?,
    })
}
