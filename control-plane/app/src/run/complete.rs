//! A node reports how a run ended, with its signed receipt; a person asks to end one.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::{Digest, NodeId, RunId};
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
    run::{Mode, RunState},
};
use muster_pki::{Envelope, PayloadType, Subject};
use muster_store::{Draft, Records, RunRow};
use muster_wire::{
    admin::v1::run::Run as WireRun,
    function::BlobRef,
    node::v1::outcome::{
        Captured, Countersignature, MAX_CONTENT, MAX_CONTENTS, MOST_OVERSTEPS, Outcome, PREDICATE_TYPE,
        Receipt, STATEMENT_TYPE, Statement,
    },
};
use serde_json::json;

use super::{ended, ending, no_such_run, refused, to_json};
use crate::{App, Error, trust};

impl App {
    /// Records the outcome of a claim. Sending it twice is the same as once; an outcome that does not belong to
    /// the present claim is recorded in the audit log and changes nothing.
    pub async fn complete_run(&self, node: NodeId, id: RunId, outcome: Outcome) -> Result<(), Error> {
        let authorized = self.authorize(&Caller::Node(node), Operation::ActAsNode).await?;
        let state = end_state(&outcome.state)?;
        if outcome.ending.oversteps.len() > MOST_OVERSTEPS {
            return Err(Error::invalid("an outcome lists at most 1000 oversteps"));
        }
        let (receipt, statement, serial) = self.check_receipt(node, id, &outcome)?;
        if !self.known_valid(&serial).await? {
            return Err(Error::Invalid {
                kind: "invalid-receipt",
                detail: format!("the receipt of run {id} is refused: the certificate of its key is revoked"),
            });
        }
        let contents = contents(&outcome)?;
        for blob in blobs(&outcome) {
            if !contents.contains_key(&blob.digest)
                && !self
                    .blobs()
                    .exists(&blob.digest)
                    .await
                    .map_err(super::blob_failure)?
            {
                return Err(Error::conflict(
                    "blob-missing",
                    format!(
                        "the blob {} was not uploaded; upload it and report the outcome again",
                        blob.digest
                    ),
                ));
            }
        }
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let row = tx.run_get_for_update(id).await?.ok_or_else(|| no_such_run(id))?;
        if repeats(&row, node, &outcome) {
            return Ok(());
        }
        let wider = row.mode != Some(Mode::Unrestricted)
            && statement.predicate.mode.as_deref() == Some("unrestricted");
        let completed = if wider {
            None
        } else {
            row.run.clone().complete(node, outcome.fence, state).ok()
        };
        let Some(run) = completed else {
            let why = if wider {
                "it ran wider than granted"
            } else {
                "another claim holds or the run has ended"
            };
            let detail = json!({ "node": node.to_string(), "fence": outcome.fence, "why": why, "state": outcome.state });
            tx.commit(Draft::new(Event::OutcomeRejected, id.to_string(), detail), now)
                .await?;
            return Err(Error::conflict(
                "outcome-does-not-count",
                format!(
                    "the outcome of run {id} under fence {} does not count: {why}",
                    outcome.fence
                ),
            ));
        };
        // The record of the end is the next one of the chain, whose head is locked from here on.
        let head = tx.audit_head().await?;
        let countersignature = Countersignature {
            receipt,
            time: now,
            audit_writer: head.writer,
            audit_sequence: head.sequence + 1,
        };
        let envelope = self
            .authority()
            .sign(PayloadType::Countersignature, &countersignature)
            .await?;
        let receipt = Receipt {
            receipt: outcome.receipt.clone(),
            countersignature: serde_json::to_value(envelope).map_err(Error::bug)?,
            roots: Vec::new(),
        };
        let mode = outcome
            .ending
            .mode
            .as_deref()
            .map(str::parse)
            .transpose()
            .map_err(Error::invalid)?;
        let row = RunRow {
            run,
            mode: mode.or(row.mode),
            engine_description: Some(outcome.ending.engine.clone()),
            finished_at: Some(now),
            ending: Some(to_json(&outcome.ending)?),
            outputs: Some(to_json(&outcome.outputs)?),
            receipt: Some(to_json(&receipt)?),
            ..row
        };
        tx.run_put(&row).await?;
        for (digest, bytes) in &contents {
            tx.run_content_insert(id, *digest, bytes).await?;
        }
        let kept = |captured: &Option<Captured>| captured.as_ref().map_or(0, |captured| captured.blob.size);
        let kept = (kept(&outcome.ending.stdout), kept(&outcome.ending.stderr));
        tx.run_output_settle(id, kept).await?;
        // The record of the end comes first: the countersignature names its place.
        let mut records = Records::from(ended(&row, &outcome.ending.rule));
        if let Some(denied) = trust::denied_by_node(&row, &outcome.ending) {
            records = records.and(denied);
        }
        tx.commit(records, now).await?;
        Ok(())
    }

    /// Asks to end a run: the own one, or any with rights.
    pub async fn cancel_run(&self, caller: &Caller, id: RunId) -> Result<WireRun, Error> {
        let row = self.run_visible_to(caller, id).await?;
        let own = matches!(caller, Caller::User(user) if user.id == row.user);
        let authorized = self
            .authorize(
                caller,
                if own {
                    Operation::Run
                } else {
                    Operation::ManageRuns
                },
            )
            .await?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let row = tx.run_get_for_update(id).await?.ok_or_else(|| no_such_run(id))?;
        let run = row.run.clone().cancel().map_err(|error| refused(&error))?;
        if row.run.cancel_requested {
            // Asked once more, perhaps because the answer was lost: nothing is recorded twice.
            drop(tx);
            return self.run_to_wire(row).await;
        }
        let mut draft = Draft::new(
            Event::RunCancelled,
            id.to_string(),
            json!({ "state": row.run.state.as_str() }),
        );
        let row = if run.state.is_final() {
            let ending = ending(
                &row,
                "cancelled",
                "the run was cancelled before it started".to_owned(),
            );
            let row = RunRow {
                run,
                finished_at: Some(now),
                ending: Some(to_json(&ending)?),
                ..row
            };
            draft = ended(&row, "cancelled");
            row
        } else {
            RunRow { run, ..row }
        };
        tx.run_put(&row).await?;
        tx.commit(draft, now).await?;
        self.run_to_wire(row).await
    }

    /// The receipt must be signed by this node's receipt key and speak of this run, claim and ending. Also gives the
    /// serial number of the certificate of that key.
    fn check_receipt(
        &self,
        node: NodeId,
        id: RunId,
        outcome: &Outcome,
    ) -> Result<(Digest, Statement, String), Error> {
        let invalid = |what: &str| Error::Invalid {
            kind: "invalid-receipt",
            detail: format!("the receipt of run {id} is refused: {what}"),
        };
        let json = serde_json::to_vec(&outcome.receipt).map_err(Error::bug)?;
        let envelope =
            Envelope::from_json(&json, PayloadType::Receipt).map_err(|error| invalid(&error.to_string()))?;
        let verified = envelope
            .verify(PayloadType::Receipt, &self.authority().receipt_roots, self.now())
            .map_err(|error| invalid(&error.to_string()))?;
        if verified.signer.id.subject != Subject::Receipt(node) {
            return Err(invalid("it is signed by another node"));
        }
        let statement: Statement =
            serde_json::from_slice(&verified.payload).map_err(|error| invalid(&error.to_string()))?;
        let predicate = &statement.predicate;
        let fits = statement.kind == STATEMENT_TYPE
            && statement.predicate_type == PREDICATE_TYPE
            && predicate.run == id
            && predicate.fence == outcome.fence
            && predicate.node == node
            && predicate.state == outcome.state
            && predicate.mode == outcome.ending.mode
            && predicate.packages == outcome.ending.packages
            && predicate
                .trust
                .as_ref()
                .is_none_or(|trust| trust.number == predicate.trust_number)
            && statement.subject.len() == outcome.outputs.len()
            && statement.subject.iter().all(|subject| {
                outcome
                    .outputs
                    .get(&subject.name)
                    .is_some_and(|blob| subject.digest.get("sha256") == Some(&blob.digest.hex()))
            });
        if fits {
            let serial = verified.signer.serial.to_string();
            Ok((Digest::of(&verified.payload), statement, serial))
        } else {
            Err(invalid("it speaks of another run, ending or outputs"))
        }
    }
}

/// The blobs that an outcome names.
fn blobs(outcome: &Outcome) -> impl Iterator<Item = &BlobRef> {
    let printed = [&outcome.ending.stdout, &outcome.ending.stderr];
    outcome
        .outputs
        .values()
        .chain(printed.into_iter().flatten().map(|captured| &captured.blob))
}

/// The blobs that came in the outcome: each is named by it, is what its name says, and is small.
fn contents(outcome: &Outcome) -> Result<BTreeMap<Digest, Vec<u8>>, Error> {
    let invalid = |digest: &Digest, what: &str| Error::Invalid {
        kind: "invalid-blob",
        detail: format!("the blob {digest} in the outcome {what}"),
    };
    let mut room = MAX_CONTENTS;
    let mut contents = BTreeMap::new();
    for (digest, text) in &outcome.contents {
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| invalid(digest, "is not base64"))?;
        let size = bytes.len() as u64;
        room = match room.checked_sub(size) {
            Some(room) if size <= MAX_CONTENT => room,
            _ => return Err(invalid(digest, "is too large for it; upload it")),
        };
        if Digest::of(&bytes) != *digest {
            return Err(invalid(digest, "has another digest"));
        }
        if blobs(outcome).all(|blob| (blob.digest, blob.size) != (*digest, size)) {
            return Err(invalid(digest, "is not named by it"));
        }
        contents.insert(*digest, bytes);
    }
    Ok(contents)
}

/// Whether the row holds this very outcome already.
fn repeats(row: &RunRow, node: NodeId, outcome: &Outcome) -> bool {
    row.run.state.is_final()
        && row.run.node == Some(node)
        && row.run.fence == outcome.fence
        && row.run.state.as_str() == outcome.state
        && row.ending.as_deref() == to_json(&outcome.ending).ok().as_deref()
}

fn end_state(text: &str) -> Result<RunState, Error> {
    match text.parse::<RunState>() {
        Ok(
            state @ (RunState::Succeeded
            | RunState::Failed
            | RunState::Refused
            | RunState::Cancelled
            | RunState::TimedOut),
        ) => Ok(state),
        _ => Err(Error::invalid(
            "a node reports succeeded, failed, refused, cancelled or timed_out",
        )),
    }
}
