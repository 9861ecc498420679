//! The authority of this control plane: it issues certificates and signs what nodes believe.
//!
//! Invariant: profiles decide what a certificate says; a request contributes its public key only. Each
//! certificate is recorded in the transaction that needed it.

mod keys;
mod load;
mod make;
mod renew;
mod rotation;
mod show;

use std::{sync::Arc, time::Duration};

use muster_ids::{CollectiveId, ControlPlaneId, Digest, NodeId};
use muster_model::audit::Event;
use muster_pki::{
    AuthorityFacts, CertificateDer, CrossRoot, Envelope, Facts, KeyUse, Outline, PayloadType, Profile,
    PublicKey, Roots, Serial, Signer, SoftwareSigner, SpiffeId, Subject, Validity, issue, tls::Credential,
};
use muster_store::{Certificate, CertificateState, Draft, Tx};
use serde::Serialize;
use serde_json::json;

use crate::{App, Error};

pub use self::{
    keys::AuthorityKeys,
    load::{active_root, load},
    make::{NewAuthority, create_authority, first},
};

/// How long a control plane's own TLS certificate is valid: made anew at each start and renewed from half of it.
pub const CONTROL_PLANE_LIFETIME: Duration = Duration::from_hours(30 * 24);
/// How long the certificate that the collective issues for a front end is valid; browsers accept 398 days.
pub const FRONT_END_LIFETIME: Duration = Duration::from_hours(397 * 24);

/// The keys and certificates of this control plane. Callers see signatures, never keys.
pub struct Authority {
    /// The fingerprint of its own root.
    pub root: Digest,
    /// Which control plane.
    pub control_plane: ControlPlaneId,
    /// The roots of the collective: its own, and during a rotation another.
    pub roots: Arc<Roots>,
    /// The roots that receipts may lead to: also those that were left, since a node sends what it signed under them over a
    /// connection that it opened with a certificate which is accepted now.
    pub receipt_roots: Arc<Roots>,
    /// Which older root vouches for which of them.
    pub crosses: Vec<CrossRoot>,
    /// The issuing intermediate.
    pub intermediate: CertificateDer<'static>,
    /// The same intermediate under the root before, for those who know only that one.
    pub bridge: Option<CertificateDer<'static>>,
    /// The intermediate's key.
    pub issuing: Arc<dyn Signer>,
    /// The policy certificate and the intermediate.
    pub policy_chain: Vec<CertificateDer<'static>>,
    /// The policy key.
    pub policy: Arc<dyn Signer>,
}

impl Authority {
    /// The collective of the roots.
    pub fn collective(&self) -> CollectiveId {
        self.roots.collective()
    }

    /// Signs `payload` as a message of `payload_type` with the policy key.
    pub async fn sign(&self, payload_type: PayloadType, payload: &impl Serialize) -> Result<Envelope, Error> {
        let bytes = serde_json::to_vec(payload).map_err(Error::bug)?;
        Envelope::sign(payload_type, bytes, &*self.policy, &self.policy_chain)
            .await
            .map_err(Error::bug)
    }

    /// A certificate under the intermediate, never longer than it.
    pub async fn issue(
        &self,
        profile: &Profile,
        key: &PublicKey,
        serial: &Serial,
        now: i64,
        lifetime: Duration,
    ) -> Result<CertificateDer<'static>, Error> {
        let issuer = AuthorityFacts::of(&self.intermediate).map_err(Error::bug)?;
        let validity = Validity::starting(now, lifetime).ending_with(issuer.validity);
        issue(
            profile,
            key,
            &self.intermediate,
            &*self.issuing,
            serial,
            &validity,
        )
        .await
        .map_err(Error::bug)
    }

    /// `leaf` with what leads from it to the roots: the chain that its holder presents.
    pub fn chain(&self, leaf: CertificateDer<'static>) -> Vec<CertificateDer<'static>> {
        let mut chain = vec![leaf, self.intermediate.clone()];
        chain.extend(self.bridge.clone());
        chain
    }

    /// When the intermediate ends, milliseconds since 1970, UTC.
    pub fn intermediate_expires(&self) -> i64 {
        AuthorityFacts::of(&self.intermediate).map_or(0, |facts| facts.validity.not_after_ms())
    }
}

impl App {
    /// A new key and certificate for the back-end listener of this control plane.
    pub async fn issue_control_plane_credential(&self) -> Result<Credential, Error> {
        let signer = SoftwareSigner::generate(KeyUse::Tls).map_err(Error::bug)?;
        let authority = self.authority();
        let id = SpiffeId::new(
            authority.collective(),
            Subject::ControlPlane(authority.control_plane),
        );
        let serial = Serial::from_random(self.random().bytes());
        let leaf = authority
            .issue(
                &Profile::Identity(id),
                signer.public_key(),
                &serial,
                self.now(),
                CONTROL_PLANE_LIFETIME,
            )
            .await?;
        let tx = self.store().begin(&Self::system()).await?;
        let (draft, tx) = record(
            tx,
            &leaf,
            ("control_plane", 1),
            authority.control_plane.to_string(),
            authority.root,
        )
        .await?;
        tx.commit(draft, self.now()).await?;
        Credential::new(authority.chain(leaf), &signer).map_err(Error::bug)
    }

    /// Keeps a certificate that the front end of this control plane was given, so that it can be revoked.
    pub async fn record_front_end(&self, leaf: &CertificateDer<'static>) -> Result<(), Error> {
        let subject = self.authority().control_plane.to_string();
        let tx = self.store().begin(&Self::system()).await?;
        let (draft, tx) = record(tx, leaf, ("front_end", 1), subject, self.authority().root).await?;
        tx.commit(draft, self.now()).await?;
        Ok(())
    }

    /// A certificate that lets `node` speak on the back end, recorded in `tx`.
    pub(crate) async fn issue_node(
        &self,
        tx: Tx,
        node: NodeId,
        spki: &[u8],
        generation: u64,
    ) -> Result<(Vec<CertificateDer<'static>>, Draft, Tx), Error> {
        self.sign_node(node, spki, generation).await?.record(tx).await
    }

    /// The same, signed and not recorded: it counts for nothing until it is.
    pub(crate) async fn sign_node(
        &self,
        node: NodeId,
        spki: &[u8],
        generation: u64,
    ) -> Result<Signed, Error> {
        let lifetime = self.options().certificates.node_lifetime;
        self.sign_for_node(("node", Subject::Node(node), lifetime), node, spki, generation)
            .await
    }

    /// A certificate for the key that signs the receipts of `node`, recorded in `tx`.
    pub(crate) async fn issue_receipt(
        &self,
        tx: Tx,
        node: NodeId,
        spki: &[u8],
    ) -> Result<(Vec<CertificateDer<'static>>, Draft, Tx), Error> {
        let profile = (
            "receipt",
            Subject::Receipt(node),
            self.options().certificates.receipt_lifetime,
        );
        self.sign_for_node(profile, node, spki, 1).await?.record(tx).await
    }

    async fn sign_for_node(
        &self,
        (purpose, subject, lifetime): (&'static str, Subject, Duration),
        node: NodeId,
        spki: &[u8],
        generation: u64,
    ) -> Result<Signed, Error> {
        let key = PublicKey::from_spki(spki).map_err(Error::bug)?;
        let authority = self.authority();
        let profile = Profile::Identity(SpiffeId::new(authority.collective(), subject));
        let serial = Serial::from_random(self.random().bytes());
        let leaf = authority
            .issue(&profile, &key, &serial, self.now(), lifetime)
            .await?;
        Ok(Signed {
            authority,
            purpose,
            node,
            spki: spki.to_vec(),
            generation,
            leaf,
        })
    }
}

/// A certificate about a node that is signed and not recorded.
pub(crate) struct Signed {
    authority: Arc<Authority>,
    purpose: &'static str,
    /// The node.
    pub(crate) node: NodeId,
    spki: Vec<u8>,
    generation: u64,
    leaf: CertificateDer<'static>,
}

impl Signed {
    /// Whether it is what `app` would sign now for this node, key and generation.
    pub(crate) fn fits(&self, app: &App, node: NodeId, spki: &[u8], generation: u64) -> bool {
        Arc::ptr_eq(&self.authority, &app.authority())
            && (self.node, self.spki.as_slice(), self.generation) == (node, spki, generation)
    }

    /// Records it in `tx`; the chain that its holder presents.
    pub(crate) async fn record(self, tx: Tx) -> Result<(Vec<CertificateDer<'static>>, Draft, Tx), Error> {
        let lineage = (self.purpose, self.generation);
        let (draft, tx) = record(
            tx,
            &self.leaf,
            lineage,
            self.node.to_string(),
            self.authority.root,
        )
        .await?;
        Ok((self.authority.chain(self.leaf), draft, tx))
    }
}

async fn record(
    mut tx: Tx,
    leaf: &CertificateDer<'static>,
    (purpose, generation): (&str, u64),
    subject: String,
    authority: Digest,
) -> Result<(Draft, Tx), Error> {
    let outline = Outline::of(leaf).ok_or_else(|| Error::bug("a certificate of ours that cannot be read"))?;
    let serial = outline.serial.to_string();
    let name = Facts::of(leaf).map_or_else(|_| format!("{purpose} {subject}"), |facts| facts.id.to_string());
    tx.certificate_insert(&Certificate {
        serial: serial.clone(),
        subject,
        purpose: purpose.to_owned(),
        der: leaf.to_vec(),
        not_before: outline.validity.not_before_ms(),
        not_after: outline.validity.not_after_ms(),
        state: CertificateState::Valid,
        revoked_at: None,
        reason: None,
        key: outline
            .public_key
            .filter(|_| purpose == "node")
            .map(|key| key.fingerprint()),
        generation,
        authority: Some(authority),
    })
    .await?;
    let detail = json!({
        "serial": serial, "purpose": purpose, "generation": generation, "not_after": outline.validity.not_after_ms(),
    });
    let draft = Draft::new(Event::CertificateIssued, name, detail);
    Ok((draft, tx))
}
