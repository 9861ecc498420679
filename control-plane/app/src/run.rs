//! Runs, from the request to the receipt.
//!
//! Placement is the claim: a connected node with the capability, in the pool and site, with a free slot, takes
//! the oldest run under a lease with a fence. Invariant: a run that is granted was decided about with the trust
//! state that the grant names; an outcome counts once, under the fence of its claim.

pub(crate) mod blob;
mod claim;
mod complete;
mod expression;
mod output;
mod submit;
mod view;

use muster_ids::{Digest, RunId};
use muster_model::{audit::Event, run::RunRefused};
use muster_store::{Draft, RunRow, Tx};
use muster_wire::{
    function::{Blobs, FunctionDefinition},
    node::v1::{
        outcome::Ending,
        run::{Arguments, GrantLimits, WantedOutput},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::{App, Error};

pub use self::{
    blob::{Content, blob_failure},
    output::LogPlace,
    submit::Submission,
};

/// What a run was asked to do, as its row keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    /// Arguments.
    pub(crate) inputs: Blobs,
    /// The small values among them, which are no blobs.
    #[serde(default, skip_serializing_if = "Arguments::is_empty")]
    pub(crate) arguments: Arguments,
    /// Wanted outputs.
    pub(crate) outputs: Vec<WantedOutput>,
    /// Limits.
    pub(crate) limits: GrantLimits,
    /// Whether oversteps are listed.
    #[serde(default)]
    pub(crate) trace: bool,
    /// Names the session among those of its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Digest>,
    /// What is evaluated where no function of the library runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expression: Option<FunctionDefinition>,
}

impl App {
    /// Declares a running run lost in the transaction of what made it so, if its lease is over at `at`.
    pub(crate) async fn lose_run(
        &self,
        tx: &mut Tx,
        id: RunId,
        (at, now): (i64, i64),
        why: &str,
    ) -> Result<Option<Draft>, Error> {
        let Some(row) = tx.run_get_for_update(id).await? else {
            return Ok(None);
        };
        let Some(run) = row.run.clone().lose(at) else {
            return Ok(None);
        };
        let ending = ending(
            &row,
            "lost",
            format!("the run was lost: {why}\nIts effects are unknown; run it again if that does no harm."),
        );
        let lost = RunRow {
            run,
            finished_at: Some(now),
            ending: Some(to_json(&ending)?),
            ..row
        };
        tx.run_put(&lost).await?;
        Ok(Some(ended(&lost, why)))
    }
}

/// An ending that the control plane itself declares.
fn ending(row: &RunRow, problem: &str, message: String) -> Ending {
    Ending {
        problem: Some(problem.to_owned()),
        message,
        mode: row.mode.map(|mode| mode.to_string()),
        rule: String::new(),
        entry: None,
        engine: row.engine_description.clone().unwrap_or_default(),
        stdout: None,
        stderr: None,
        timings: std::collections::BTreeMap::new(),
        peak_bytes: 0,
        limits_degraded: Vec::new(),
        oversteps: Vec::new(),
        packages: None,
    }
}

/// The record of an end.
fn ended(row: &RunRow, why: &str) -> Draft {
    let detail = json!({
        "function": row.function_name.as_str(),
        "digest": row.digest.to_string(),
        "state": row.run.state.as_str(),
        "mode": row.mode.map(muster_model::run::Mode::as_str),
        "node": row.run.node,
        "user": row.user_name.as_str(),
        "why": why,
    });
    Draft::new(Event::RunEnded, row.run.id.to_string(), detail)
}

fn to_json(value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::bug)
}

fn no_such_run(id: impl std::fmt::Display) -> Error {
    Error::not_found("run", id, "muster run list shows your runs")
}

fn refused(refused: &RunRefused) -> Error {
    Error::conflict("run-state", refused.to_string())
}

#[cfg(test)]
mod tests {
    use muster_ids::NodeId;
    use muster_wire::admin::v1::session::Login;

    use super::*;

    #[tokio::test]
    async fn a_lease_ends_by_the_silence_of_its_node_only() {
        let (app, _folder) = crate::fixture::app().await;
        let login = Login {
            user: "admin@SPOTFIRE".parse().expect("a name"),
            password: "correct horse battery".to_owned(),
        };
        let session = app.log_in(login, "10.0.0.1").await.expect("a session");
        let admin = app.caller_of(&session.token).await.expect("an administrator");
        let definition: FunctionDefinition =
            serde_json::from_value(json!({ "name": "f", "language": "terr", "script": "1" })).expect("whole");
        let function = app
            .register_function(&admin, definition, None)
            .await
            .expect("registered");
        let run = app
            .submit_run(&admin, &function.id.to_string(), Submission::default())
            .await
            .expect("queued");
        let now = app.now();
        let mut tx = app.store().begin(&App::system()).await.expect("begun");
        let row = tx.run_get_for_update(run.id).await.expect("read").expect("there");
        let row = RunRow {
            run: row
                .run
                .clone()
                .claim(NodeId::new(now, [1; 10]), now)
                .expect("claimed"),
            ..row
        };
        tx.run_put(&row).await.expect("stored");
        // A control plane that was away for long has heard nobody.
        let silent = RunRow {
            run: muster_model::run::Run {
                lease_until: Some(now - 1),
                version: row.run.version + 1,
                ..row.run.clone()
            },
            ..row.clone()
        };
        tx.run_put(&silent).await.expect("stored");
        let draft = Draft::new(Event::RunGranted, run.id.to_string(), json!({}));
        tx.commit(draft, now).await.expect("committed");
        app.forgive_silence().await.expect("forgiven");
        assert_eq!(app.reconcile_leases().await.expect("looked"), 0);
        assert_eq!(
            app.show_run(&admin, run.id).await.expect("there").state,
            "running"
        );

        let mut tx = app.store().begin(&App::system()).await.expect("begun");
        let row = tx.run_get_for_update(run.id).await.expect("read").expect("there");
        let until = row.run.lease_until.expect("held");
        let mut lost_at = async |at| {
            app.lose_run(&mut tx, run.id, (at, now), "silence")
                .await
                .expect("looked")
                .is_some()
        };
        assert!(!lost_at(until - 1).await);
        assert!(lost_at(until).await);
    }
}
