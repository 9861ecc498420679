//! A node asks for work: the oldest run that fits is decided about, granted and signed, or refused.

use muster_code_trust::{
    Client, DenyReason, Engine, Language, Mode as TrustMode, Outcome, RunPolicy, Verdict, packages_of_run,
};
use muster_ids::{NodeId, RunId};
use muster_model::{
    audit::Event,
    join::Capability,
    permission::{Authorized, Caller, Operation},
    run::{Mode, RunState},
};
use muster_pki::PayloadType;
use muster_store::{Draft, Records, RunRow, Tx};
use muster_wire::{
    function::FunctionDefinition,
    node::v1::run::{Claim, GrantPolicy, Granted, PutBack, RunGrant},
};
use serde_json::json;

use super::{Request, ended, ending, no_such_run, refused, to_json};
use crate::{App, Error, session::caller_of, trust};

/// The problem of a run that the decision refused.
const NOT_TRUSTED: &str = "not-trusted";
/// The same where the content is blocked; also said by nodes.
const BLOCKED: &str = "blocked-item";
/// How long a grant may be used after it was signed, in milliseconds.
const GRANT_LIFETIME_MS: i64 = 10 * 60 * 1000;
/// Runs that one claim may find refused before it gives the others a turn.
const MOST_REFUSALS: usize = 16;

/// What became of the run at the head of the queue.
enum Claimed {
    Nothing,
    Refused,
    Granted(Box<Granted>),
}

impl App {
    /// The oldest run that fits `node`, granted to it.
    pub async fn claim_run(&self, node: NodeId, claim: &Claim) -> Result<Option<Granted>, Error> {
        let authorized = self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        if !self.has_reported(node).await? {
            return Ok(None);
        }
        if claim.boot_nonce.is_empty() || claim.boot_nonce.len() > 64 {
            return Err(Error::invalid(
                "the field boot_nonce must hold 16 bytes in base64",
            ));
        }
        let offered = claim
            .engines
            .iter()
            .map(|engine| engine.parse::<Capability>().map_err(Error::invalid))
            .collect::<Result<Vec<_>, _>>()?;
        if !self.may_claim(node, &offered).await? {
            return Ok(None);
        }
        for _ in 0..MOST_REFUSALS {
            match self.claim_next(&authorized, node, &offered, claim).await? {
                Claimed::Nothing => return Ok(None),
                Claimed::Refused => {}
                Claimed::Granted(granted) => return Ok(Some(*granted)),
            }
        }
        Ok(None)
    }

    async fn claim_next(
        &self,
        authorized: &Authorized,
        node: NodeId,
        offered: &[Capability],
        claim: &Claim,
    ) -> Result<Claimed, Error> {
        let mut tx = self.store().begin(authorized).await?;
        // Locked: a node that was untrusted, cordoned or moved while this waited for the writer gets nothing.
        let node = tx
            .node_get(node)
            .await?
            .ok_or_else(|| Error::bug("a claim by an unknown node"))?;
        let mut capabilities = node.capabilities.clone();
        capabilities.retain(|capability| offered.contains(capability));
        if !node.takes_runs() || capabilities.is_empty() {
            return Ok(Claimed::Nothing);
        }
        // What is read from here on, whether here or beside the transaction, holds at the commit.
        tx.hold_rights().await?;
        let Some(row) = tx.run_claim_next(&capabilities, node.pool, node.site).await? else {
            return Ok(Claimed::Nothing);
        };
        let now = self.now();
        if !self.known_active(row.user).await? {
            let message = format!(
                "the user {} is disabled or gone\nAsk an administrator to enable the user.",
                row.user_name
            );
            self.refuse(tx, row, "user-disabled", message, None, now).await?;
            return Ok(Claimed::Refused);
        }
        let request: Request = serde_json::from_str(&row.request).map_err(Error::bug)?;
        let definition: FunctionDefinition = match row.function {
            Some(function) => {
                let Some(definition) = self.known_definition(function, row.digest).await? else {
                    let message = format!(
                        "the function \"{}\" was deleted from the library\nRegister it again, and run that.",
                        row.function_name
                    );
                    self.refuse(tx, row, "function-deleted", message, None, now)
                        .await?;
                    return Ok(Claimed::Refused);
                };
                (*definition).clone()
            }
            None => (request.expression.clone()).ok_or_else(|| Error::bug("a run of nothing"))?,
        };
        let facts = self.known_facts(row.user, &row.user_name).await?;
        if let Some(function) = row.function
            && self
                .right_to(&caller_of(row.user, &facts), function.into())
                .await?
                .is_none()
        {
            let message = format!(
                "the user {} may no longer read the function \"{}\" in the library\nAsk an administrator, or somebody who may write it, for the right to read it, and run it again.",
                row.user_name, row.function_name
            );
            self.refuse(tx, row, trust::NOT_READABLE, message, None, now)
                .await?;
            return Ok(Claimed::Refused);
        }
        let known = self.known_trust().await?;
        let (head, state) = &*known;
        let place = self.place(&node).await?;
        let client: Client = row.client.parse().map_err(Error::bug)?;
        let language: Language = definition.language.parse().map_err(Error::bug)?;
        let engine = row.function.map_or(Engine::TerrInline, |_| language.service());
        let content = (engine, &row.digest, row.function);
        let trust::Judged {
            facts,
            verdict,
            would_have,
        } = self
            .judge(row.user, facts, content, state, &place, client)
            .await?;
        let Some(mode) = verdict.outcome.mode() else {
            let (problem, message) = if is_blocked(&verdict) {
                let entry = verdict.entry.as_deref().unwrap_or_default();
                let reason = tx.trust_reason(entry).await?.and_then(|beside| beside.reason);
                (BLOCKED, blocked(&row, &verdict, reason.as_deref()))
            } else {
                (NOT_TRUSTED, refusal(&row, &verdict))
            };
            self.refuse(tx, row, problem, message, Some(&verdict), now)
                .await?;
            return Ok(Claimed::Refused);
        };
        let (mode, verdict) = if request.trace && mode == TrustMode::Unrestricted {
            (TrustMode::Restricted, traced())
        } else {
            (mode, verdict)
        };
        let packages = packages_of_run(&definition.packages, language, mode, &state.settings_at(&place));
        let packages = match packages {
            Ok(list) => list.digest(),
            // Registered by a version that took any names.
            Err(error) => {
                let message = format!(
                    "{error}\nLock the packages of the function \"{}\" and register it again.",
                    row.function_name
                );
                self.refuse(tx, row, "packages-not-locked", message, Some(&verdict), now)
                    .await?;
                return Ok(Claimed::Refused);
            }
        };
        let mode: Mode = mode.as_str().parse().map_err(|error: String| Error::bug(error))?;
        let policy = (mode == Mode::Unrestricted)
            .then(|| state.policy_at(&place, row.function))
            .flatten();
        let run = row
            .run
            .clone()
            .in_epoch(self.epoch())
            .claim(node.id, now)
            .map_err(|error| refused(&error))?;
        let grant = RunGrant {
            run: run.id,
            fence: run.fence,
            user: row.user_name.clone(),
            facts: serde_json::to_value(&facts).map_err(Error::bug)?,
            client: row.client.clone(),
            function: row.function,
            item: row.digest,
            engine: definition.language.clone(),
            inputs: request.inputs,
            outputs: request.outputs,
            packages,
            mode: mode.to_string(),
            rule: verdict.rule.to_owned(),
            trace: request.trace,
            session: request.session.filter(|_| claim.sessions),
            limits: request.limits,
            network: match (mode, &policy) {
                (Mode::Restricted, _) => "none",
                // Without a policy the node's own file says it.
                (Mode::Unrestricted, None) => "host",
                (Mode::Unrestricted, Some(policy)) => policy.network().word(),
            }
            .to_owned(),
            policy: policy.as_ref().map(grant_policy).transpose()?,
            node: node.id,
            boot_nonce: claim.boot_nonce.clone(),
            trust: trust::version(head),
            issued: now,
            expires: now + GRANT_LIFETIME_MS,
        };
        let envelope = self.authority().sign(PayloadType::RunGrant, &grant).await?;
        let granted = RunRow {
            run,
            mode: Some(mode),
            verdict: Some(to_json(&trust::why(&verdict))?),
            started_at: Some(now),
            ..row
        };
        tx.run_put(&granted).await?;
        let detail = json!({
            "node": node.id.to_string(),
            "fence": granted.run.fence,
            "mode": mode.as_str(),
            "rule": verdict.rule,
            "entry": verdict.entry,
            "would_have": would_have.map(|checked| json!({ "outcome": checked.outcome.word(), "rule": checked.rule })),
            "trust_number": head.number,
            "policy": policy.as_ref().map(|policy| policy.digest().to_string()),
            "digest": granted.digest.to_string(),
            "user": granted.user_name.as_str(),
        });
        tx.commit(
            Draft::new(Event::RunGranted, granted.run.id.to_string(), detail),
            now,
        )
        .await?;
        let grant = serde_json::to_value(envelope).map_err(Error::bug)?;
        Ok(Claimed::Granted(Box::new(Granted {
            grant,
            definition,
            arguments: request.arguments,
        })))
    }

    /// A node hands a claimed run back because its own trust state is stale.
    pub async fn put_back_run(&self, node: NodeId, id: RunId, back: &PutBack) -> Result<(), Error> {
        let authorized = self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let why = crate::page::clean_line(&back.why)?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let row = tx.run_get_for_update(id).await?.ok_or_else(|| no_such_run(id))?;
        let run = row
            .run
            .clone()
            .put_back(node, back.fence, now)
            .map_err(|error| refused(&error))?;
        if run.cancel_requested {
            let cancelled = muster_model::run::Run {
                state: RunState::Cancelled,
                ..run
            };
            let ending = ending(
                &row,
                "cancelled",
                "the run was cancelled before it started".to_owned(),
            );
            let row = RunRow {
                run: cancelled,
                finished_at: Some(now),
                ending: Some(to_json(&ending)?),
                ..row
            };
            tx.run_put(&row).await?;
            tx.commit(ended(&row, "cancelled"), now).await?;
            return Ok(());
        }
        if run.state == RunState::Refused {
            let message = "the trust state of every node that could run this has been stale for 10 minutes\nSee muster node list and the connection between the nodes and the control plane; then run it again.".to_owned();
            let ending = ending(&row, "trust-state-stale", message);
            let row = RunRow {
                run,
                finished_at: Some(now),
                ending: Some(to_json(&ending)?),
                ..row
            };
            tx.run_put(&row).await?;
            tx.commit(ended(&row, "trust state stale"), now).await?;
            return Ok(());
        }
        let row = RunRow {
            run,
            mode: None,
            verdict: None,
            started_at: None,
            ..row
        };
        tx.run_put(&row).await?;
        let detail = json!({ "node": node.to_string(), "why": why });
        tx.commit(Draft::new(Event::RunPutBack, id.to_string(), detail), now)
            .await?;
        Ok(())
    }

    /// Ends a run before any node has it. The node only asked for work: who refuses is the control plane.
    async fn refuse(
        &self,
        tx: Tx,
        row: RunRow,
        problem: &str,
        message: String,
        verdict: Option<&Verdict>,
        now: i64,
    ) -> Result<(), Error> {
        let mut tx = tx.by(&Self::system());
        let run = row.run.clone().refuse().map_err(|error| refused(&error))?;
        let mut ending = ending(&row, problem, message);
        verdict
            .map_or(
                if problem == "user-disabled" {
                    "user-state"
                } else {
                    problem
                },
                |verdict| verdict.rule,
            )
            .clone_into(&mut ending.rule);
        let row = RunRow {
            run,
            finished_at: Some(now),
            verdict: verdict.map(|verdict| to_json(&trust::why(verdict))).transpose()?,
            ending: Some(to_json(&ending)?),
            ..row
        };
        tx.run_put(&row).await?;
        let mut records = Records::from(ended(&row, problem));
        if let Some(verdict) = verdict.filter(|verdict| verdict.outcome.mode().is_none()) {
            records = records.and(trust::denied_run(&row, verdict.rule));
        }
        tx.commit(records, now).await?;
        Ok(())
    }
}

fn grant_policy(policy: &RunPolicy) -> Result<GrantPolicy, Error> {
    Ok(GrantPolicy {
        digest: policy.digest(),
        policy: serde_json::to_value(policy).map_err(Error::bug)?,
    })
}

/// Only a restricted run has oversteps to list.
fn traced() -> Verdict {
    Verdict {
        outcome: Outcome::Restricted,
        rule: "traced",
        entry: None,
        group_path: Vec::new(),
        reasons: vec![
            "What it oversteps is listed, so it runs restricted although it is trusted.".to_owned(),
        ],
    }
}

/// Whether the content is blocked, so that no trust makes it run.
fn is_blocked(verdict: &Verdict) -> bool {
    let reason = DenyReason::BlockedItem;
    verdict.outcome == Outcome::Deny { reason }
}

/// What a person reads when what would run is blocked.
fn blocked(row: &RunRow, verdict: &Verdict, reason: Option<&str>) -> String {
    let reason = reason.map_or_else(String::new, |reason| format!(" The reason: {reason}."));
    format!(
        "the function \"{}\" may not run: {}{reason}\nAn administrator can lift that with muster trust unblock --type data_function --hash {}; another version of the function is not blocked by it.",
        row.function_name,
        verdict.reasons.join(" "),
        row.digest,
    )
}

/// What a person reads when a run is refused.
fn refusal(row: &RunRow, verdict: &Verdict) -> String {
    format!(
        "the function \"{}\" may not run: {}\nHave a Script Author trust it with muster function trust {:?}, or ask an administrator about muster setting restricted_engines.",
        row.function_name,
        verdict.reasons.join(" "),
        row.function_name.as_str(),
    )
}
