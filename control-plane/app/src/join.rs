//! The join: what a stranger asks on the registration listener, and what an administrator answers.
//!
//! Invariants (docs/reference/join-protocol.md): the offer is a function of the hello and the join key, so
//! nothing is written before a valid reveal; the code of a waiting request is compared, never shown, logged
//! or returned; an approval, the node and its certificate commit together.

mod answer;
pub mod budget;
mod exchange;
pub mod message;
pub mod queue;
pub(crate) mod refusals;
mod renewal;
pub(crate) mod token;

use std::sync::Arc;

use muster_ids::{Digest, JoinId, NodeId};
use muster_model::{
    audit::Event,
    authority::Return,
    join::{JoinRefused, JoinRequest, JoinState},
    node::{Node, Scheduling, Trust},
    permission::{Authorized, Caller, Operation},
};
use muster_pki::join::{Transcript, VerificationCode};
use muster_store::{Draft, Records, Tx};
use muster_wire::admin::v1::join::{ApproveJoin, Join, RejectJoin};
use serde_json::json;

use crate::{App, Error};

/// The key that makes offers, shared by all control planes of an epoch.
pub type JoinKey = Arc<muster_pki::join::JoinKey>;

/// How an approver proves that they stood at the node.
enum Proof {
    Code(VerificationCode),
    Fingerprint(Digest),
}

impl App {
    /// The waiting request with this code. Nothing is changed; a code that matches nothing is recorded.
    pub async fn match_join(&self, caller: &Caller, code: &str) -> Result<Join, Error> {
        let authorized = self.authorize(caller, Operation::ManageNodes).await?;
        self.inner.attempts.check(caller, self.now())?;
        let proof = Proof::Code(parse_code(code)?);
        let waiting = self.store().joins_pending().await?;
        let now = self.now();
        match waiting.iter().find(|join| proof.fits(join)) {
            Some(join) => Ok(queue::to_wire(join.clone().at(now), now)),
            None => Err(self.no_such_code(&authorized, live(&waiting, now)).await),
        }
    }

    /// Approves the request `id`, whose code or fingerprint the approver read on the node: the node and its
    /// certificate exist when this returns.
    pub async fn approve_join(
        &self,
        caller: &Caller,
        id: JoinId,
        approval: &ApproveJoin,
    ) -> Result<Join, Error> {
        let authorized = self.authorize(caller, Operation::ManageNodes).await?;
        self.inner.attempts.check(caller, self.now())?;
        let proof = parse_proof(approval)?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let request = tx.join_get(id).await?.ok_or_else(|| no_such_join(id))?;
        if !proof.fits(&request) {
            drop(tx);
            let waiting = self.store().joins_pending().await?;
            let no_such_code = self.no_such_code(&authorized, live(&waiting, now)).await;
            return Err(match (proof, no_such_code) {
                (Proof::Fingerprint(_), Error::NotFound { .. }) => Error::NotFound {
                    detail: format!(
                        "The key of request {id} has another fingerprint. Read it on the node with muster-node status, and compare the identifier with muster join list."
                    ),
                },
                (_, error) => error,
            });
        }
        let version = request.version + 1;
        let approved = request.approve(now).map_err(|error| refused(&error))?;
        let (node, stored, records, tx) = self.issue_join(tx, approved, version, now).await?;
        let approved_draft = Draft {
            event: Event::JoinApproved,
            subject: node.name.to_string(),
            detail: json!({
                "join": id.to_string(),
                "node": node.id.to_string(),
                "key": stored.key.to_string(),
                "by": match proof { Proof::Code(_) => "code", Proof::Fingerprint(_) => "fingerprint" },
            }),
        };
        tx.commit(Records::new(approved_draft, records), now).await?;
        tracing::info!(node.id = %node.id, node.name = %node.name, by = %caller, "join approved");
        Ok(queue::to_wire(stored, now))
    }

    /// Rejects the request `id`.
    pub async fn reject_join(
        &self,
        caller: &Caller,
        id: JoinId,
        rejection: &RejectJoin,
    ) -> Result<Join, Error> {
        let authorized = self.authorize(caller, Operation::ManageNodes).await?;
        let now = self.now();
        let reason = rejection
            .reason
            .as_deref()
            .map(crate::page::clean_line)
            .transpose()?;
        let mut tx = self.store().begin(&authorized).await?;
        let request = tx.join_get(id).await?.ok_or_else(|| no_such_join(id))?;
        let rejected = request
            .reject(now, reason.clone())
            .map_err(|error| refused(&error))?;
        tx.join_put(&rejected).await?;
        let draft = Draft {
            event: Event::JoinRejected,
            subject: rejected.applicant.name.to_string(),
            detail: json!({ "join": id.to_string(), "reason": reason }),
        };
        tx.commit(draft, now).await?;
        Ok(queue::to_wire(rejected, now))
    }

    /// An approved request becomes a node with a certificate; all of it is in `tx`, not committed yet. Approval and
    /// issue are two steps of the machine and one of the table: the row is stored as `version`.
    pub(super) async fn issue_join(
        &self,
        tx: Tx,
        approved: JoinRequest,
        version: i64,
        now: i64,
    ) -> Result<(Node, JoinRequest, Vec<Draft>, Tx), Error> {
        let (node, generation, mut drafts, tx) = self.admit(tx, &approved, now).await?;
        let issued = approved.issue(node.id).map_err(|error| refused(&error))?;
        let (chain, issued_draft, mut tx) = self.issue_node(tx, node.id, &issued.spki, generation).await?;
        let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
        let stored = JoinRequest { version, ..issued };
        tx.join_put(&stored).await?;
        tx.join_set_chain(stored.id, &chain).await?;
        drafts.insert(0, issued_draft);
        Ok((node, stored, drafts, tx))
    }

    /// The node that an approved request becomes, with the generation of its certificate: a new one, or the known one
    /// whose key signs it.
    async fn admit(
        &self,
        mut tx: Tx,
        join: &JoinRequest,
        now: i64,
    ) -> Result<(Node, u64, Vec<Draft>, Tx), Error> {
        let pool = self.pool_or_default(join.applicant.pool.as_ref()).await?.id;
        let site = self.site_or_default(join.applicant.site.as_ref()).await?.id;
        if let Some((known, comes_back)) = self.node_of_key(&join.key).await? {
            if known.trust == Trust::Revoked {
                return Err(Error::conflict(
                    "node-revoked",
                    format!(
                        "the key of this request belongs to the untrusted node \"{}\"; on the node, run muster-node leave and join again with a new key",
                        known.name
                    ),
                ));
            }
            let Return::Known(generation) = comes_back else {
                return Err(renewal::old_key());
            };
            let node = Node {
                capabilities: join.applicant.capabilities.clone(),
                addresses: join.applicant.addresses.clone(),
                version: known.version + 1,
                ..known
            };
            tx.node_put(&node).await?;
            return Ok((node, generation, Vec::new(), tx));
        }
        let name = &join.applicant.name;
        if let Some(other) = self.store().node_by_name(name).await? {
            return Err(Error::conflict(
                "duplicate-node-name",
                format!(
                    "a node named \"{name}\" exists already ({}); delete it, or let the new one join under another name",
                    other.trust
                ),
            ));
        }
        let node = Node {
            id: self.random().id(now, NodeId::new),
            name: name.clone(),
            key: join.key,
            trust: Trust::Trusted,
            scheduling: Scheduling::Active,
            capabilities: join.applicant.capabilities.clone(),
            pool,
            site,
            addresses: join.applicant.addresses.clone(),
            created_at: now,
            seen_at: None,
            inventory: None,
            generation: 1,
            generation_at: None,
            reason: None,
            version: 1,
        };
        tx.node_insert(&node).await?;
        let drafts = self.supersede_others(&mut tx, join, now).await?;
        Ok((node, 1, drafts, tx))
    }

    /// Other requests for the same name lose their place.
    async fn supersede_others(&self, tx: &mut Tx, join: &JoinRequest, now: i64) -> Result<Vec<Draft>, Error> {
        let mut drafts = Vec::new();
        for other in tx.joins_pending_with_name(&join.applicant.name).await? {
            if other.key != join.key
                && other.clone().at(now).state == JoinState::Pending
                && let Ok(superseded) = other.supersede(join.id)
            {
                tx.join_put(&superseded).await?;
                drafts.push(Draft {
                    event: Event::JoinRejected,
                    subject: superseded.applicant.name.to_string(),
                    detail: json!({ "join": superseded.id.to_string(), "superseded_by": join.id.to_string() }),
                });
            }
        }
        Ok(drafts)
    }

    async fn no_such_code(&self, authorized: &Authorized, waiting: usize) -> Error {
        self.inner.attempts.failed(authorized.caller(), self.now());
        let draft = Draft {
            event: Event::JoinApprovalFailed,
            subject: "join".to_owned(),
            detail: json!({ "waiting": waiting }),
        };
        let recorded = async {
            let tx = self.store().begin(authorized).await?;
            tx.commit(draft, self.now()).await
        };
        if let Err(error) = recorded.await {
            return error.into();
        }
        let requests = match waiting {
            1 => "1 request waits".to_owned(),
            n => format!("{n} requests wait"),
        };
        Error::NotFound {
            detail: format!(
                "No waiting request has this code. {requests}; read the code on the node with muster-node status."
            ),
        }
    }
}

impl Proof {
    fn fits(&self, join: &JoinRequest) -> bool {
        match self {
            Self::Code(code) => Transcript::from_digest(join.transcript).code() == *code,
            Self::Fingerprint(fingerprint) => join.key == *fingerprint,
        }
    }
}

fn live(waiting: &[JoinRequest], now: i64) -> usize {
    waiting
        .iter()
        .filter(|join| (*join).clone().at(now).state == JoinState::Pending)
        .count()
}

fn parse_proof(approval: &ApproveJoin) -> Result<Proof, Error> {
    match (&approval.code, &approval.fingerprint) {
        (Some(code), None) => Ok(Proof::Code(parse_code(code)?)),
        (None, Some(fingerprint)) => {
            fingerprint
                .parse()
                .map(Proof::Fingerprint)
                .map_err(|error: muster_ids::DigestError| {
                    Error::invalid(format!("the fingerprint is not complete: {error}"))
                })
        }
        _ => Err(Error::invalid(
            "give either the code or the full fingerprint, as the node shows them; a join is never approved by name",
        )),
    }
}

fn parse_code(code: &str) -> Result<VerificationCode, Error> {
    code.parse()
        .map_err(|error: muster_pki::join::CodeError| Error::invalid(error.to_string()))
}

fn no_such_join(id: JoinId) -> Error {
    Error::not_found("join request", id, "muster join list shows those that wait")
}

fn refused(refused: &JoinRefused) -> Error {
    Error::conflict("join-state", refused.to_string())
}
