//! What becomes of items that somebody opens: who was asked, who said no, and what was refused.
//!
//! Clients open mods and run external actions, and ask their user where `decide` says so; here it is only recorded. A
//! person who says yes decides about trust, which is recorded as that.
//!
//! Invariant: what is recorded is what the control plane itself finds about the item at that moment, never what a client
//! says about it.

use muster_code_trust::DenyReason;
use muster_model::{
    audit::Event,
    permission::{Caller, Operation},
    run::RunState,
};
use muster_store::{Draft, RunRow};
use muster_wire::{
    admin::v1::{
        signing::{VerifiedItem, VerifyItem},
        trust::OpenItem,
    },
    node::v1::outcome::Ending,
};
use serde_json::json;

use crate::{App, Error};

/// The status of signatures that were made with the certificate that is with them, over the item that is there.
const VERIFIED: [&str; 3] = ["valid", "revoked", "user_deleted"];

impl App {
    /// Says what comes of opening an item, as [`App::verify_item`] does, and records a question or a refusal; or that
    /// the person who was asked said no.
    pub async fn open_item(&self, caller: &Caller, asked: &OpenItem) -> Result<VerifiedItem, Error> {
        let authorized = self.authorize(caller, Operation::Use).await?;
        let verify = VerifyItem {
            item: asked.item.clone(),
            bundle: asked.bundle.clone(),
            user: None,
            client: None,
            action: None,
        };
        let found = self.verify_item(caller, &verify).await?;
        let event = match (found.outcome.as_deref(), asked.declined) {
            (Some("prompt"), false) => Event::ItemPrompted,
            (Some("prompt"), true) => Event::ItemDeclined,
            (_, true) => {
                return Err(Error::conflict(
                    "not-asked",
                    "nobody is asked about this item now, so there is nothing to decline; open it again",
                ));
            }
            (Some("deny"), false) => Event::ItemDenied,
            _ => return Ok(found),
        };
        let rule = found.why.as_ref().map(|why| why.rule.as_str());
        // Anybody can send a certificate of somebody beside a signature that is not theirs.
        let theirs = VERIFIED.contains(&found.status.as_str());
        let (signer, serial) = (found.signer.as_ref(), found.serial.as_ref());
        let detail = json!({
            "rule": rule, "status": found.status, "signer": signer.filter(|_| theirs),
            "serial": serial.filter(|_| theirs),
        });
        let subject = format!("{} {}", found.item.kind, found.item.hash);
        let tx = self.store().begin(&authorized).await?;
        tx.commit(Draft::new(event, subject, detail), self.now()).await?;
        Ok(found)
    }
}

/// The record of a run that trust refused, beside that of its end.
pub(crate) fn denied_run(row: &RunRow, rule: &str) -> Draft {
    let detail = json!({
        "run": row.run.id.to_string(), "user": row.user_name.as_str(), "rule": rule, "node": row.run.node,
        "function": row.function_name.as_str(),
    });
    Draft::new(Event::ItemDenied, format!("data_function {}", row.digest), detail)
}

/// The same of a run that a node refused by its own decision.
pub(crate) fn denied_by_node(row: &RunRow, ending: &Ending) -> Option<Draft> {
    let problem = ending.problem.as_deref()?.replace('-', "_");
    let by_decision = row.run.state == RunState::Refused && problem.parse::<DenyReason>().is_ok();
    by_decision.then(|| denied_run(row, &ending.rule))
}
