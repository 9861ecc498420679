//! The join: what a stranger asks on the registration listener, and what an administrator answers.
//!
//! Invariants (docs/reference/join-protocol.md): the offer is a function of the hello and the join key, so
//! nothing is written before a valid reveal; the code of a waiting request is compared, never shown, logged
//! or returned; an approval, the node and its certificate commit together.

mod answer;
pub mod auto_trust;
pub mod budget;
mod exchange;
pub mod message;
pub mod queue;
mod quota;
pub(crate) mod refusals;
mod renewal;
pub(crate) mod token;

use std::{collections::BTreeSet, sync::Arc};

use muster_daemon::file::crash_point;
use muster_ids::{Digest, JoinId, NodeId, UserId};
use muster_model::{
    audit::Event,
    authority::Return,
    join::{
        JoinRefused, JoinRequest, JoinState, REQUEST_LIFETIME_MS,
        approval::{Ballot, Vote, people_needed},
    },
    node::{Node, Scheduling, Trust},
    permission::{self, Authorized, Caller, Operation},
};
use muster_pki::join::{Transcript, VerificationCode};
use muster_store::{Draft, Records, Tx, UserState};
use muster_wire::admin::v1::join::{ApproveJoin, Join, RejectJoin};
use serde_json::json;

use crate::{App, Error, authority::Signed};

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
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "look for a join by its code", "")
            .await?;
        let proof = Proof::Code(parse_code(code)?);
        let attempt = self.inner.attempts.begin(caller, self.clock()).await?;
        let now = self.now();
        let waiting = self.store().joins_waiting(now - REQUEST_LIFETIME_MS).await?;
        let matching = waiting
            .iter()
            .find(|(_, transcript)| proof.is_code_of(*transcript));
        // A request that was renewed in between has another code.
        if let Some((id, _)) = matching
            && let Some(join) = self.store().join_by_id(*id).await?
        {
            attempt.right();
            return self.join_to_wire(join.at(now), now).await;
        }
        drop(attempt);
        Err(self.no_such_code(&authorized).await)
    }

    /// Approves the request `id`, whose code or fingerprint the approver read on the node. Where one person suffices, or
    /// this was the last one, the node and its certificate exist when this returns.
    pub async fn approve_join(
        &self,
        caller: &Caller,
        id: JoinId,
        approval: &ApproveJoin,
    ) -> Result<Join, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "approve the join", id)
            .await?;
        let Caller::User(user) = caller else {
            return Err(Error::denied(
                "joins are approved by people; log in with muster login",
            ));
        };
        let proof = parse_proof(approval)?;
        // It counts before it is looked at, so that guesses which come all at once do not pass together.
        let attempt = self.inner.attempts.begin(caller, self.clock()).await?;
        let signed = self.sign_ahead(id, &proof).await?;
        let mut tx = self.store().begin_shared(&authorized).await?;
        let now = self.now();
        let Some(request) = tx.join_get(id).await? else {
            attempt.right();
            return Err(no_such_join(id));
        };
        if !proof.fits(&request) {
            drop((tx, attempt));
            return Err(match (proof, self.no_such_code(&authorized).await) {
                (Proof::Fingerprint(_), Error::NotFound { .. }) => Error::NotFound {
                    detail: format!(
                        "The key of request {id} has another fingerprint. Read it on the node with muster-node status, and compare the identifier with muster join list."
                    ),
                },
                (_, error) => error,
            });
        }
        attempt.right();
        let version = request.version + 1;
        let needed = people_needed(&self.options().approvals, &request.applicant);
        let entitled = self.entitled(&request.votes, needed).await?;
        let vote = Vote {
            by: user.id,
            name: user.name.clone(),
            at: now,
        };
        let name = request.applicant.name.to_string();
        let ballot = request.vote(vote, needed, |vote| entitled.contains(&vote.by));
        let Ballot { request, void } = match ballot {
            Ok(ballot) => ballot,
            Err(error) => {
                drop(tx);
                return Err(self.too_late(&authorized, id, name, "approve", &error).await);
            }
        };
        let how = json!({
            "join": id.to_string(),
            "key": request.key.to_string(),
            "by": match proof { Proof::Code(_) => "code", Proof::Fingerprint(_) => "fingerprint" },
            "approvals": request.votes.iter().map(|vote| vote.name.to_string()).collect::<Vec<_>>(),
            "needed": needed,
        });
        let voids = void.iter().map(|vote| Draft {
            event: Event::JoinVoteVoid,
            subject: request.applicant.name.to_string(),
            detail: json!({ "join": id.to_string(), "user": vote.name.to_string() }),
        });
        let mut records: Vec<Draft> = voids.collect();
        let stored = if request.state == JoinState::Approved {
            let (node, stored, drafts, tx) = self.issue_join(tx, request, version, now, signed).await?;
            records.extend(drafts);
            let mut detail = how;
            detail["node"] = json!(node.id.to_string());
            let draft = Draft::new(Event::JoinApproved, node.name.to_string(), detail);
            tx.commit(Records::new(draft, records), now).await?;
            crash_point("join.committed");
            tracing::info!(node.id = %node.id, node.name = %node.name, by = %caller, "join approved");
            stored
        } else {
            tx.join_put(&request).await?;
            let draft = Draft::new(Event::JoinVoted, request.applicant.name.to_string(), how);
            tx.commit(Records::new(draft, records), now).await?;
            request
        };
        let mut join = self.join_to_wire(stored, now).await?;
        join.void_approvals = void.into_iter().map(|vote| vote.name).collect();
        Ok(join)
    }

    /// The certificate of the node that the request `id` will become if this proof makes it one now, signed before
    /// the transaction: while a key in a device signs, others can change something. What is true by then decides.
    async fn sign_ahead(&self, id: JoinId, proof: &Proof) -> Result<Option<Signed>, Error> {
        let request = self.store().join_by_id(id).await?;
        let needed = |request: &JoinRequest| people_needed(&self.options().approvals, &request.applicant);
        let Some(request) = request.filter(|request| {
            request.state == JoinState::Pending && proof.fits(request) && needed(request) == 1
        }) else {
            return Ok(None);
        };
        let node = self.random().id(self.now(), NodeId::new);
        Ok(Some(self.sign_node(node, &request.spki, 1).await?))
    }

    /// Who of those who voted may still approve: active, and an administrator now.
    async fn entitled(&self, votes: &[Vote], needed: u32) -> Result<BTreeSet<UserId>, Error> {
        let mut entitled = BTreeSet::new();
        for vote in votes.iter().filter(|_| needed > 1) {
            let user = self.store().user(vote.by).await?;
            let Some(user) = user.filter(|user| user.state == UserState::Active) else {
                continue;
            };
            let caller = Caller::User(self.user_caller(&user).await?);
            if permission::authorize(&caller, Operation::ManageNodes).is_ok() {
                entitled.insert(vote.by);
            }
        }
        Ok(entitled)
    }

    /// Rejects the request `id`.
    pub async fn reject_join(
        &self,
        caller: &Caller,
        id: JoinId,
        rejection: &RejectJoin,
    ) -> Result<Join, Error> {
        let authorized = self
            .authorize_to(caller, Operation::ManageNodes, "reject the join", id)
            .await?;
        let now = self.now();
        let reason = rejection
            .reason
            .as_deref()
            .map(crate::page::clean_line)
            .transpose()?;
        let mut tx = self.store().begin(&authorized).await?;
        let request = tx.join_get(id).await?.ok_or_else(|| no_such_join(id))?;
        let name = request.applicant.name.to_string();
        let rejected = match request.reject(now, reason.clone()) {
            Ok(rejected) => rejected,
            Err(error) => {
                drop(tx);
                return Err(self.too_late(&authorized, id, name, "reject", &error).await);
            }
        };
        tx.join_put(&rejected).await?;
        let draft = Draft {
            event: Event::JoinRejected,
            subject: rejected.applicant.name.to_string(),
            detail: json!({ "join": id.to_string(), "reason": reason }),
        };
        tx.commit(draft, now).await?;
        self.join_to_wire(rejected, now).await
    }

    /// An approved request becomes a node with a certificate; all of it is in `tx`, not committed yet. Approval and
    /// issue are two steps of the machine and one of the table: the row is stored as `version`. `signed` may be its
    /// certificate already.
    pub(super) async fn issue_join(
        &self,
        tx: Tx,
        approved: JoinRequest,
        version: i64,
        now: i64,
        signed: Option<Signed>,
    ) -> Result<(Node, JoinRequest, Vec<Draft>, Tx), Error> {
        let fresh = signed
            .as_ref()
            .map_or_else(|| self.random().id(now, NodeId::new), |signed| signed.node);
        let (node, generation, mut drafts, tx) = self.admit(tx, &approved, fresh, now).await?;
        crash_point("join.approved");
        let issued = approved.issue(node.id).map_err(|error| refused(&error))?;
        let signed = match signed.filter(|signed| signed.fits(self, node.id, &issued.spki, generation)) {
            Some(signed) => signed,
            None => self.sign_node(node.id, &issued.spki, generation).await?,
        };
        let (chain, issued_draft, mut tx) = signed.record(tx).await?;
        let chain: Vec<Vec<u8>> = chain.iter().map(|der| der.to_vec()).collect();
        let stored = JoinRequest { version, ..issued };
        tx.join_put(&stored).await?;
        tx.join_set_chain(stored.id, &chain).await?;
        crash_point("join.signed");
        drafts.insert(0, issued_draft);
        Ok((node, stored, drafts, tx))
    }

    /// The node that an approved request becomes, with the generation of its certificate: a new one with the identity
    /// `fresh`, or the known one whose key signs it.
    async fn admit(
        &self,
        mut tx: Tx,
        join: &JoinRequest,
        fresh: NodeId,
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
            id: fresh,
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

    /// An administrator answered what cannot be answered so any more: of two who answer at once, one.
    async fn too_late(
        &self,
        authorized: &Authorized,
        id: JoinId,
        name: String,
        answer: &str,
        error: &JoinRefused,
    ) -> Error {
        let detail = json!({ "join": id.to_string(), "answer": answer, "why": error.to_string() });
        let recorded = async {
            let tx = self.store().begin(authorized).await?;
            tx.commit(Draft::new(Event::JoinAnswerRefused, name, detail), self.now())
                .await
        };
        match recorded.await {
            Ok(_) => refused(error),
            Err(error) => error.into(),
        }
    }

    async fn no_such_code(&self, authorized: &Authorized) -> Error {
        let since = self.now() - REQUEST_LIFETIME_MS;
        let waiting = match self.store().joins_waiting_count(since).await {
            Ok(waiting) => waiting,
            Err(error) => return error.into(),
        };
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
            Self::Code(_) => self.is_code_of(join.transcript),
            Self::Fingerprint(fingerprint) => join.key == *fingerprint,
        }
    }

    fn is_code_of(&self, transcript: Digest) -> bool {
        match self {
            Self::Code(code) => Transcript::from_digest(transcript).code() == *code,
            Self::Fingerprint(_) => false,
        }
    }
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
