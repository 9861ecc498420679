//! Runs as people see them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::{Name, RunId, UserId};
use muster_model::{
    permission::{ADMINISTRATOR, Caller, Operation},
    run::RunState,
};
use muster_store::{RunFilter, RunRow};
use muster_wire::{
    admin::v1::{Page, StatePageQuery, run::Run as WireRun},
    node::v1::outcome::Receipt,
};

use super::no_such_run;
use crate::{App, Error, page, text::rfc3339};

impl App {
    /// The own runs, newest first; administrators see all.
    pub async fn list_runs(&self, caller: &Caller, query: &StatePageQuery) -> Result<Page<WireRun>, Error> {
        self.authorize(caller, Operation::Run).await?;
        let limit = page::limit(&query.page())?;
        let state = query
            .state
            .as_deref()
            .map(str::parse::<RunState>)
            .transpose()
            .map_err(Error::invalid)?;
        let filter = RunFilter {
            user: only(caller),
            state,
            ..RunFilter::default()
        };
        let rows = self
            .store()
            .run_list(&filter, page::after::<RunId>(&query.page())?, limit + 1)
            .await?;
        let mut runs = Vec::with_capacity(rows.len());
        for row in rows {
            runs.push(self.run_to_wire(row).await?);
        }
        Ok(page::of(runs, limit, |run| run.id, |run| run))
    }

    /// One run.
    pub async fn show_run(&self, caller: &Caller, id: RunId) -> Result<WireRun, Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        self.run_to_wire(row).await
    }

    /// One run, with its place in the queue and what its script says.
    pub async fn show_run_standing(&self, caller: &Caller, id: RunId) -> Result<WireRun, Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        let (queued_before, progress) = self.standing(&row).await?;
        Ok(WireRun {
            queued_before,
            progress,
            ..self.run_to_wire(row).await?
        })
    }

    /// The countersigned receipt of a run, with every root that signed: also those that were left, under which it may be.
    pub async fn run_receipt(&self, caller: &Caller, id: RunId) -> Result<Receipt, Error> {
        self.authorize(caller, Operation::Run).await?;
        let row = self.run_visible_to(caller, id).await?;
        let kept = row.receipt.ok_or_else(|| Error::NotFound {
            detail: format!(
                "the run {id} has no receipt: it is {} and no node has reported about it",
                row.run.state
            ),
        })?;
        let kept: Receipt = serde_json::from_str(&kept).map_err(Error::bug)?;
        let authority = self.authority();
        let roots = authority.receipt_roots.certificates();
        Ok(Receipt {
            roots: roots.iter().map(|root| STANDARD.encode(root)).collect(),
            ..kept
        })
    }

    /// A run that this caller may see. That another's run exists is not theirs to know.
    pub(crate) async fn run_visible_to(&self, caller: &Caller, id: RunId) -> Result<RunRow, Error> {
        let row = self.store().run(id).await?;
        row.filter(|row| only(caller).is_none_or(|user| user == row.user))
            .ok_or_else(|| no_such_run(id))
    }

    pub(crate) async fn run_to_wire(&self, row: RunRow) -> Result<WireRun, Error> {
        let (pool, site) = self.known_names(row.pool, row.site).await?;
        let or_deleted = |name: Option<Name>| match name {
            Some(name) => Ok(name),
            None => "deleted".parse().map_err(Error::bug),
        };
        let parse = |text: Option<&String>| text.map(|json| serde_json::from_str(json)).transpose();
        Ok(WireRun {
            id: row.run.id,
            state: row.run.state.to_string(),
            function: row.function,
            digest: row.digest,
            language: row.engine,
            user: row.user_name,
            pool: or_deleted(pool)?,
            site: or_deleted(site)?,
            node: row.run.node,
            mode: row.mode.map(|mode| mode.to_string()),
            why: row
                .verdict
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(Error::bug)?,
            engine: row.engine_description,
            queued_before: None,
            progress: None,
            cancel_requested: row.run.cancel_requested,
            attempts: row.run.fence,
            created: rfc3339(row.created_at),
            started: row.started_at.map(rfc3339),
            finished: row.finished_at.map(rfc3339),
            ending: row
                .ending
                .as_deref()
                .map(serde_json::from_str)
                .transpose()
                .map_err(Error::bug)?,
            outputs: parse(row.outputs.as_ref())
                .map_err(Error::bug)?
                .unwrap_or_default(),
            function_name: row.function_name,
        })
    }
}

/// Whose runs this caller sees: everybody's for administrators, nobody's for those who are not users.
fn only(caller: &Caller) -> Option<UserId> {
    match caller {
        Caller::User(user) if user.is_in(ADMINISTRATOR) => None,
        Caller::User(user) => Some(user.id),
        _ => Some(UserId::new(0, [0; 10])),
    }
}
