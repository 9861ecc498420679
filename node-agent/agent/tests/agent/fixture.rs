//! A collective in memory, for the unit tests of the crate and for its integration tests alike.

use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use muster_ids::{CollectiveId, ControlPlaneId, NodeId};
use muster_pki::{
    CertificateDer, Envelope, KeyUse, PayloadType, Profile, PublicKey, Roots, Serial, Signer as _,
    SoftwareSigner, SpiffeId, Subject, Validity, create_root, issue,
};

const DAY: Duration = Duration::from_hours(24);

/// The result of a future of a key in memory, which is ready at once.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a key in memory answers at once"),
    }
}

/// One collective with one control plane, whose certificates are valid from `now_ms` on.
pub(crate) struct Collective {
    pub(crate) id: CollectiveId,
    pub(crate) control_plane: ControlPlaneId,
    pub(crate) node: NodeId,
    pub(crate) root: CertificateDer<'static>,
    now_ms: i64,
    root_key: SoftwareSigner,
    issuing_key: SoftwareSigner,
    issuing: CertificateDer<'static>,
    /// The same intermediate under an older root.
    followed: Option<CertificateDer<'static>>,
    policy_key: SoftwareSigner,
    policy_chain: Vec<CertificateDer<'static>>,
}

impl Collective {
    pub(crate) fn new(number: u8, now_ms: i64) -> Self {
        let id = CollectiveId::new(now_ms, [number; 10]);
        let control_plane = ControlPlaneId::new(now_ms, [number; 10]);
        let key = |key_use| SoftwareSigner::generate(key_use).expect("key");
        let (root_key, issuing_key, policy_key) = (
            key(KeyUse::Authority),
            key(KeyUse::Authority),
            key(KeyUse::Policy),
        );
        let root = ready(create_root(
            id,
            &root_key,
            &serial(1),
            &Validity::starting(now_ms, DAY * 3650),
        ))
        .expect("root");
        let profile = Profile::Issuing {
            collective: id,
            control_plane,
        };
        let issuing = ready(issue(
            &profile,
            issuing_key.public_key(),
            &root,
            &root_key,
            &serial(2),
            &Validity::starting(now_ms, DAY * 365),
        ))
        .expect("issuing");
        let mut collective = Self {
            id,
            control_plane,
            node: NodeId::new(now_ms, [number; 10]),
            root,
            now_ms,
            root_key,
            issuing_key,
            issuing,
            followed: None,
            policy_key,
            policy_chain: Vec::new(),
        };
        collective.policy_chain =
            collective.certify(Subject::Policy(control_plane), collective.policy_key.public_key());
        collective
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots::new(vec![self.root.clone()]).expect("root")
    }

    /// The chain of `subject` for this key.
    pub(crate) fn certify(&self, subject: Subject, key: &PublicKey) -> Vec<CertificateDer<'static>> {
        self.certify_within(subject, key, &Validity::starting(self.now_ms, DAY * 7))
    }

    /// As [`Self::certify`], valid in this time only.
    pub(crate) fn certify_within(
        &self,
        subject: Subject,
        key: &PublicKey,
        validity: &Validity,
    ) -> Vec<CertificateDer<'static>> {
        let profile = Profile::Identity(SpiffeId::new(self.id, subject));
        let leaf = ready(issue(
            &profile,
            key,
            &self.issuing,
            &self.issuing_key,
            &serial(3),
            validity,
        ))
        .expect("leaf");
        [leaf, self.issuing.clone()]
            .into_iter()
            .chain(self.followed.clone())
            .collect()
    }

    /// `payload`, signed by the policy key.
    pub(crate) fn sign(&self, payload_type: PayloadType, payload: &impl serde::Serialize) -> Envelope {
        let payload = serde_json::to_vec(payload).expect("JSON");
        ready(Envelope::sign(
            payload_type,
            payload,
            &self.policy_key,
            &self.policy_chain,
        ))
        .expect("signed")
    }

    /// `payload`, signed by the root itself, in the form of messages.
    pub(crate) fn signed_by_root(
        &self,
        payload_type: PayloadType,
        payload: &impl serde::Serialize,
    ) -> serde_json::Value {
        let payload = serde_json::to_vec(payload).expect("JSON");
        let chain = std::slice::from_ref(&self.root);
        let envelope = ready(Envelope::sign(payload_type, payload, &self.root_key, chain)).expect("signed");
        serde_json::to_value(envelope).expect("JSON")
    }

    /// As [`Self::sign`], in the form of messages.
    pub(crate) fn signed(
        &self,
        payload_type: PayloadType,
        payload: &impl serde::Serialize,
    ) -> serde_json::Value {
        serde_json::to_value(self.sign(payload_type, payload)).expect("JSON")
    }

    /// The intermediate of `other`, certified by this root: where `other` follows, the bridge that leads to it.
    pub(crate) fn bridge(&self, other: &Self) -> CertificateDer<'static> {
        let profile = Profile::Issuing {
            collective: other.id,
            control_plane: other.control_plane,
        };
        self.by_root(&profile, other.issuing_key.public_key())
    }

    /// The key of the root of `other`, certified by this root.
    pub(crate) fn cross(&self, other: &Self) -> CertificateDer<'static> {
        let profile = Profile::Cross { collective: other.id };
        self.by_root(&profile, other.root_key.public_key())
    }

    fn by_root(&self, profile: &Profile, key: &PublicKey) -> CertificateDer<'static> {
        let validity = Validity::starting(self.now_ms, DAY * 365);
        ready(issue(
            profile,
            key,
            &self.root,
            &self.root_key,
            &serial(4),
            &validity,
        ))
        .expect("a bridge")
    }

    /// From now on it follows `older`: whoever knows only that one's root believes it.
    pub(crate) fn follow(&mut self, older: &Self) {
        let bridge = older.bridge(self);
        self.policy_chain.push(bridge.clone());
        self.followed = Some(bridge);
    }

    /// The chain of the policy key.
    pub(crate) fn policy_chain(&self) -> &[CertificateDer<'static>] {
        &self.policy_chain
    }
}

fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}
