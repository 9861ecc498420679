//! Certificates of nodes after the join: shown with every request, renewed over the back end, and what is done when
//! one identity has two holders.
//!
//! Invariants: the state of the node is looked at first, here and again in the transaction that changes anything; a
//! node moves on to its next certificate by the first use of it, once, with a record; the same key is always answered
//! with the same certificate. The rules are those of [`muster_model::authority`].

use muster_daemon::file::crash_point;
use muster_ids::{Digest, NodeId};
use muster_model::{
    audit::Event,
    authority::{Held, Link, Renewal, RenewalRefused, Use, overlaps, renew, renew_within, rotation::spread},
    node::{Node, Trust},
    permission::{Caller, Operation},
};
use muster_pki::{CertificateDer, Facts, PublicKey, Role, csr};
use muster_store::{Certificate, CertificateState, Draft, Records, Tx};
use muster_wire::node::v1::renew::{Renew, Renewed};
use serde_json::json;

use crate::{
    App, Error,
    text::{decode, encode},
};

/// How many nodes a control plane renews in a second without anybody waiting for it: a fraction of what it can.
const RENEWALS_PER_SECOND: u64 = 50;
/// The longest that nodes may take to leave an authority, milliseconds.
const LEAVE_WITHIN_MS: i64 = 60 * 60 * 1000;
/// Why a node was revoked that was found to have two holders; administrators read it.
pub(crate) const TWO_HOLDERS: &str = "two holders of one identity asked for renewal";

/// The certificate behind a request that was admitted.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Whose it is.
    pub node: NodeId,
    /// Its serial number.
    pub serial: String,
    /// Its place in the lineage of the node.
    pub link: Link,
    /// Whether the node has gone on to a later one.
    pub superseded: bool,
    held: Held,
}

impl Shown {
    /// Some certificate of `node`.
    #[cfg(test)]
    pub(crate) fn of_test(node: NodeId, serial: &str) -> Self {
        Self {
            node,
            serial: serial.to_owned(),
            link: Link {
                generation: 1,
                key: Digest::of(b"key"),
            },
            superseded: false,
            held: Held {
                not_before: 0,
                not_after: 1,
                leave_within: None,
            },
        }
    }

    /// Within how many seconds it should be renewed, if it should.
    pub(crate) fn renew_within(&self, now: i64) -> Option<u64> {
        let within = renew_within(self.held, now)?;
        Some(u64::try_from(within).unwrap_or(0).div_ceil(1000).max(1))
    }
}

impl App {
    /// The certificate behind a request, as long as its node may speak with it: asked for every request. One that the
    /// node has left behind serves for a while more, and beyond that to ask for renewal only.
    pub async fn trusted_node(&self, id: NodeId, serial: &str, renews: bool) -> Result<Shown, Error> {
        let node = self.store().node(id).await?;
        let certificate = self.store().certificate(serial).await?;
        let now = self.now();
        if certificate.is_none() && node.as_ref().is_none_or(|node| node.trust == Trust::Trusted) {
            // The handshake has verified it, so a control plane of this collective issued it.
            return Err(Error::Denied {
                kind: "node-unknown",
                detail: "the database of the control plane does not know the certificate of this node: it was issued after the backup that was put back; run muster-node leave on the node and let it join again".to_owned(),
            });
        }
        let (mut node, certificate) = both_hold(id, node, certificate, now)?;
        let link = certificate.link().unwrap_or(node.link());
        let mut shown = Use::of(node.link(), link);
        if shown == Use::First {
            node = self.first_use(id, serial).await?;
            shown = Use::of(node.link(), link);
        }
        if shown == Use::Clone {
            return Err(self.lock_clone(id, serial).await);
        }
        let superseded = shown == Use::Superseded;
        if superseded && !renews && !overlaps(node.generation_at, now) {
            return Err(Error::Denied {
                kind: "certificate-superseded",
                detail: "the node that this certificate was issued to has gone on to a later one; if the identity of this node was restored from an old backup or copied from another machine, run muster-node leave on it and let it join again"
                    .to_owned(),
            });
        }
        Ok(Shown {
            node: id,
            serial: certificate.serial,
            link,
            superseded,
            held: Held {
                not_before: certificate.not_before,
                not_after: certificate.not_after,
                leave_within: self.leave_within(certificate.authority),
            },
        })
    }

    /// Within how long a certificate of this authority is to be replaced, if another one signs by now.
    fn leave_within(&self, authority: Option<Digest>) -> Option<i64> {
        let leaves = authority.is_some_and(|root| root != self.authority().root);
        leaves.then(|| spread(self.liveness().count(), RENEWALS_PER_SECOND, LEAVE_WITHIN_MS))
    }

    /// The node moves on to its next certificate.
    async fn first_use(&self, id: NodeId, serial: &str) -> Result<Node, Error> {
        let authorized = self.authorize(&Caller::Node(id), Operation::ActAsNode).await?;
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let (node, certificate) = present(&mut tx, id, serial, now).await?;
        let link = certificate.link().unwrap_or(node.link());
        if Use::of(node.link(), link) != Use::First {
            return Ok(node);
        }
        let node = node.move_on(link, now);
        tx.node_moved_on(&node).await?;
        let detail = json!({
            "node": id.to_string(), "serial": serial, "generation": link.generation, "key": link.key.to_string(),
        });
        let draft = Draft::new(Event::CertificateFirstUsed, node.name.to_string(), detail);
        tx.commit(draft, now).await?;
        crash_point("renewal.used");
        tracing::info!(node.id = %id, node.name = %node.name, generation = link.generation, "node renewed its certificate");
        Ok(node)
    }

    /// The next certificate of a node, under a new key.
    pub async fn renew(&self, shown: &Shown, request: &Renew) -> Result<Renewed, Error> {
        let authorized = self
            .authorize(&Caller::Node(shown.node), Operation::ActAsNode)
            .await?;
        let key = asked_key(request)?;
        let asked = key.fingerprint();
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let (node, certificate) = present(&mut tx, shown.node, &shown.serial, now).await?;
        let presented = certificate.link().unwrap_or(node.link());
        if request.generation != presented.generation {
            return Err(refused(RenewalRefused::OtherGeneration));
        }
        let known = tx.certificates_of_key(&asked).await?;
        let foreign = known.iter().any(|known| known.subject != certificate.subject);
        if foreign || self.store_knows_other(&asked, node.id).await? {
            return Err(refused(RenewalRefused::OldKey));
        }
        let links: Vec<Link> = known.iter().filter_map(Certificate::link).collect();
        let unused = tx.keys_of_generation(node.id, node.generation + 1).await?;
        let generation = match renew(node.link(), presented, asked, &links, unused).map_err(refused)? {
            Renewal::Clone => {
                drop(tx);
                return Err(self.lock_clone(node.id, &shown.serial).await);
            }
            Renewal::Repeat(generation) => {
                if let Some(chain) = known.last().and_then(|known| self.chain_again(known, now)) {
                    return Ok(renewed(&chain, generation));
                }
                if known.iter().any(|known| known.state == CertificateState::Revoked) {
                    return Err(Error::conflict(
                        "renewal-refused",
                        "the certificate of this key was revoked; run muster-node leave and join again",
                    ));
                }
                generation
            }
            Renewal::Issue(generation) => generation,
        };
        let (chain, draft, tx) = self.issue_node(tx, node.id, key.spki(), generation).await?;
        crash_point("renewal.signed");
        tx.commit(draft, now).await?;
        crash_point("renewal.issued");
        Ok(renewed(&chain, generation))
    }

    /// The generation of the first certificate of a chain that was issued here.
    pub(crate) async fn generation_of(&self, chain: &[Vec<u8>]) -> Result<u64, Error> {
        let leaf = chain
            .first()
            .ok_or_else(|| Error::bug("a chain without a certificate"))?;
        let serial = Facts::of(leaf).map_err(Error::bug)?.serial;
        let certificate = self.store().certificate(&serial.to_string()).await?;
        Ok(certificate.map_or(1, |certificate| certificate.generation))
    }

    /// The chain of a certificate that was issued before, while it is as good as a new one.
    fn chain_again(&self, certificate: &Certificate, now: i64) -> Option<Vec<CertificateDer<'static>>> {
        if certificate.state != CertificateState::Valid {
            return None;
        }
        let authority = self.authority();
        let chain = authority.chain(certificate.der.clone().into());
        authority.roots.verify(&chain, Role::Node, now).ok()?;
        Some(chain)
    }

    async fn store_knows_other(&self, key: &Digest, id: NodeId) -> Result<bool, Error> {
        Ok(self
            .store()
            .node_by_key(key)
            .await?
            .is_some_and(|other| other.id != id))
    }

    /// Two holders of one identity: neither may speak any more. What the one who was found out is told.
    pub(crate) async fn lock_clone(&self, id: NodeId, serial: &str) -> Error {
        match self.try_lock_clone(id, serial).await {
            Ok(()) => Error::Denied {
                kind: "node-revoked",
                detail: "this identity has two holders: it was copied, or restored from a backup while the original went on; both are locked; find the copy, then run muster-node leave and join again with a new key"
                    .to_owned(),
            },
            Err(error) => error,
        }
    }

    async fn try_lock_clone(&self, id: NodeId, serial: &str) -> Result<(), Error> {
        let authorized = Self::system();
        let now = self.now();
        let mut tx = self.store().begin(&authorized).await?;
        let Some(before) = tx.node_get(id).await?.filter(|node| node.trust == Trust::Trusted) else {
            return Ok(());
        };
        let (node, revoked, records) = self
            .revoke(
                &mut tx,
                id,
                (TWO_HOLDERS, "its node was locked: its identity has two holders"),
                now,
            )
            .await?;
        let detail = json!({
            "node": id.to_string(), "serial": serial, "generation": before.generation, "certificates": revoked,
        });
        let draft = Draft::new(Event::NodeCloneDetected, node.name.to_string(), detail);
        tx.commit(Records::new(draft, records), now).await?;
        self.liveness().forget(id);
        self.alarms().clone_detected();
        tracing::error!(node.id = %id, node.name = %node.name, serial, "{TWO_HOLDERS}: both are locked");
        Ok(())
    }
}

/// The key that a request is about, whose holder has made the request.
pub fn asked_key(request: &Renew) -> Result<PublicKey, Error> {
    csr::public_key(&decode("csr", &request.csr)?)
        .map_err(|error| Error::invalid(format!("the field csr is refused: {error}")))
}

/// Node and certificate, read in the transaction; both must hold.
async fn present(tx: &mut Tx, id: NodeId, serial: &str, now: i64) -> Result<(Node, Certificate), Error> {
    let node = tx.node_get(id).await?;
    let certificate = tx.certificate_get(serial).await?;
    both_hold(id, node, certificate, now)
}

fn both_hold(
    id: NodeId,
    node: Option<Node>,
    certificate: Option<Certificate>,
    now: i64,
) -> Result<(Node, Certificate), Error> {
    let node = node.filter(|node| node.trust == Trust::Trusted);
    let certificate = certificate.filter(|certificate| {
        certificate.state == CertificateState::Valid
            && certificate.purpose == "node"
            && certificate.subject == id.to_string()
    });
    if node.is_some()
        && certificate
            .as_ref()
            .is_some_and(|certificate| certificate.not_after < now)
    {
        return Err(Error::Denied {
            kind: "certificate-expired",
            detail: "the certificate of this node has ended; it joins again with its key".to_owned(),
        });
    }
    node.zip(certificate).ok_or_else(|| Error::Denied {
        kind: "node-revoked",
        detail: "this node is not trusted; run muster-node leave on it and let it join again".to_owned(),
    })
}

fn renewed(chain: &[CertificateDer<'static>], generation: u64) -> Renewed {
    Renewed {
        chain: chain.iter().map(|der| encode(der)).collect(),
        generation,
    }
}

fn refused(refused: RenewalRefused) -> Error {
    Error::conflict("renewal-refused", refused.to_string())
}
