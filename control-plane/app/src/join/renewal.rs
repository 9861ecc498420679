//! Known nodes that come back over the registration listener: their certificates have ended while they, or the control
//! plane, were away.
//!
//! Invariant: without a code only a request is approved that the present key of a trusted node signs, and whose
//! certificate has ended, not longer ago than `[join] expired_renewal_days`. A key that its node has left behind is
//! never a renewal.

use muster_ids::{Digest, JoinId, NodeId};
use muster_model::{
    audit::Event,
    authority::{Link, Return, comes_back},
    join::{JoinRequest, JoinState, REQUEST_LIFETIME_MS},
    node::{Node, Trust},
    permission::{Caller, Operation},
};
use muster_store::{Certificate, CertificateState, Draft, JoinFilter, Records};
use muster_wire::admin::v1::{
    Page, PageQuery,
    join::{ApproveRenewals, ApprovedRenewals, Join, RefusedRenewal},
};
use serde_json::json;

use super::{no_such_join, refused};
use crate::{App, Error, ExpiredRenewal, page};

/// Requests that are approved at once.
const MOST: usize = 1000;
/// More than quotas ever let wait.
const MOST_WAITING: u32 = 100_000;

impl App {
    /// The node that a request with this key comes from, with what the key is to it.
    pub(super) async fn node_of_key(&self, key: &Digest) -> Result<Option<(Node, Return)>, Error> {
        let certificates = self.store().certificates_of_key(key).await?;
        let node = match (self.store().node_by_key(key).await?, certificates.last()) {
            (Some(node), _) => Some(node),
            (None, Some(certificate)) => match certificate.subject.parse::<NodeId>() {
                Ok(id) => self.store().node(id).await?,
                Err(_) => None,
            },
            (None, None) => None,
        };
        let links: Vec<Link> = certificates.iter().filter_map(Certificate::link).collect();
        Ok(node.map(|node| {
            let comes_back = comes_back(node.link(), *key, &links);
            (node, comes_back)
        }))
    }

    /// The known node whose key signs a join. A key that it has left behind is refused, and recorded.
    pub(super) async fn returning(&self, key: &Digest) -> Result<Option<NodeId>, Error> {
        match self.node_of_key(key).await? {
            None => Ok(None),
            Some((node, Return::OldKey)) if node.trust == Trust::Trusted => {
                let now = self.now();
                if self.alarms().is_due("old key", node.id, now) {
                    tracing::warn!(node.id = %node.id, node.name = %node.name, "somebody asks to join with an old key of this node");
                    let detail = json!({ "node": node.id.to_string(), "key": key.to_string() });
                    let tx = self.store().begin(&Self::system()).await?;
                    tx.commit(Draft::new(Event::JoinOldKey, node.name.to_string(), detail), now)
                        .await?;
                }
                Err(old_key())
            }
            Some((node, Return::Clone)) if node.trust == Trust::Trusted => {
                let certificates = self.store().certificates_of_key(key).await?;
                let serial = certificates.last().map_or("", |last| last.serial.as_str());
                Err(self.lock_clone(node.id, serial).await)
            }
            Some((node, _)) => Ok(Some(node.id)),
        }
    }

    /// The request as it stands once a renewal that needs no person was approved; `None` where one is needed.
    pub(super) async fn renewed_automatically(
        &self,
        join: &JoinRequest,
    ) -> Result<Option<JoinRequest>, Error> {
        let now = self.now();
        if self.options().certificates.expired_renewal != ExpiredRenewal::Automatic
            || !self.is_expired_renewal(join, now).await?
        {
            return Ok(None);
        }
        let approved = self
            .approve_renewal(&Caller::System, Operation::Maintain, join.id, now)
            .await?;
        Ok(Some(approved))
    }

    /// The requests that wait and could be approved without a code, oldest first.
    pub async fn list_renewals(&self, caller: &Caller, query: &PageQuery) -> Result<Page<Join>, Error> {
        self.authorize_to(
            caller,
            Operation::ReadAdministration,
            "list renewals of nodes",
            "",
        )
        .await?;
        let now = self.now();
        let mut renewals = Vec::new();
        let filter = JoinFilter {
            state: Some(JoinState::Pending),
            waiting_since: now - REQUEST_LIFETIME_MS,
        };
        for join in self.store().join_list(&filter, None, MOST_WAITING).await? {
            if self.is_expired_renewal(&join, now).await? {
                renewals.push((join.id.to_string(), self.join_to_wire(join, now).await?));
            }
        }
        page::of_whole(query, renewals)
    }

    /// Approves those of the named requests that could be approved without a code.
    pub async fn approve_renewals(
        &self,
        caller: &Caller,
        approval: &ApproveRenewals,
    ) -> Result<ApprovedRenewals, Error> {
        self.authorize_to(caller, Operation::ManageNodes, "approve renewals of nodes", "")
            .await?;
        if approval.joins.is_empty() || approval.joins.len() > MOST {
            return Err(Error::invalid(format!(
                "the field joins must name between 1 and {MOST} requests"
            )));
        }
        let now = self.now();
        let mut answer = ApprovedRenewals::default();
        for id in &approval.joins {
            let approved = async {
                let join = self
                    .store()
                    .join_by_id(*id)
                    .await?
                    .ok_or_else(|| no_such_join(*id))?;
                if !self.is_expired_renewal(&join, now).await? {
                    return Err(Error::conflict(
                        "join-state",
                        format!(
                            "the request {id} is no renewal of a known node that waits, or its certificate has ended too long ago; approve it by its code"
                        ),
                    ));
                }
                self.approve_renewal(caller, Operation::ManageNodes, *id, now)
                    .await
            };
            match approved.await {
                Ok(join) => answer.approved.push(self.join_to_wire(join, now).await?),
                Err(error @ (Error::Conflict { .. } | Error::NotFound { .. })) => {
                    answer.refused.push(RefusedRenewal {
                        id: *id,
                        detail: error.to_string(),
                    });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    async fn approve_renewal(
        &self,
        caller: &Caller,
        operation: Operation,
        id: JoinId,
        now: i64,
    ) -> Result<JoinRequest, Error> {
        let authorized = self.authorize(caller, operation).await?;
        let mut tx = self.store().begin(&authorized).await?;
        let request = tx.join_get(id).await?.ok_or_else(|| no_such_join(id))?;
        if request.state == JoinState::Issued {
            return Ok(request);
        }
        let version = request.version + 1;
        let approved = request.approve(now).map_err(|error| refused(&error))?;
        let (node, stored, records, tx) = self.issue_join(tx, approved, version, now, None).await?;
        let detail = json!({
            "join": id.to_string(), "node": node.id.to_string(), "key": stored.key.to_string(), "by": "renewal",
        });
        let draft = Draft::new(Event::JoinApproved, node.name.to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        tracing::info!(node.id = %node.id, node.name = %node.name, by = %caller, "renewal of a known node approved");
        Ok(stored)
    }

    /// Whether a waiting request is signed by the present key of a trusted node whose certificate has ended, not too
    /// long ago.
    async fn is_expired_renewal(&self, join: &JoinRequest, now: i64) -> Result<bool, Error> {
        let waits = join.clone().at(now).state == JoinState::Pending && join.code_is_fresh(now);
        if !waits || join.renewal_of.is_none() {
            return Ok(false);
        }
        let known = self.node_of_key(&join.key).await?;
        let trusted = known.is_some_and(|(node, comes_back)| {
            node.trust == Trust::Trusted && matches!(comes_back, Return::Known(_))
        });
        let ended = self
            .store()
            .certificates_of_key(&join.key)
            .await?
            .into_iter()
            .filter(|certificate| certificate.state == CertificateState::Valid)
            .map(|certificate| certificate.not_after)
            .max();
        Ok(trusted
            && ended.is_some_and(|ended| {
                ended < now && now - ended <= self.options().certificates.expired_renewal_ms
            }))
    }
}

/// What the holder of an old key is told.
pub(super) fn old_key() -> Error {
    Error::conflict(
        "key-superseded",
        "the node of this key has gone on to a later one; if the identity of this node was restored from an old backup, put back the newest one, else run muster-node leave and join again with a new key",
    )
}
