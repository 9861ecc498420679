//! A collective whose keys and times are always the same, so that a message of yesterday's corpus still verifies today.
//!
//! The keys are no secrets: nothing but the tests of parsers ever trusts them.

use std::{
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_agent::credentials::Member;
use muster_ids::{CollectiveId, ControlPlaneId, Digest, NodeId};
use muster_pki::{
    CertificateDer, Envelope, KeyUse, PayloadType, Profile, PublicKey, Roots, Serial, Signer as _,
    SoftwareSigner, SpiffeId, Subject, Validity, create_root, csr, issue,
    join::{JoinKey, Nonce, commit},
};
use muster_wire::node::v1::join::{Hello, Offer, OfferedCross, SUITE};

/// The root.
const ROOT: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgYnkkBALiviVPy8C7SFzIc9paM8YrqETnNSA4i3N0a2qhRANCAARG0XM06SswWODtoUk19BP23joiUfZLb0bY06K7QUiBYsP3TVT0S2B+DBZoXr6j5A5aZ/qG2UURCREc/Y9slF8K";
/// The root before it, which certified it.
const OLDER: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgF+0RDtwM+FKxEe/htQSw2q6jTTDCU21GEs5ooHGpCquhRANCAARo2iqkaixVS3QCr4MorvAfE7bC2brHvcoO+ViRa26iHLAEBsHvmwx6nZVFpW/k3os47KwpSf7rw0YM/wJIBsTa";
/// The issuing intermediate.
const ISSUING: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgbLuDWpJcJZbKVMezzRYGWEyOm+pfUaiI8xlZxs0grKGhRANCAATK2ZGuL8PsAVNpSxx0L9ImzfmTz9qti9AolB3sf5EHbwuv21Fc+Ydx63H880Z7itFYo1t5xORi6jhI5GleqMIo";
/// The policy key.
const POLICY: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDTemgaBMmorS9vYI6AybM84Cp9Ca5PyVN3HcRJQkqf6hRANCAASdnS94J8s7ai5vnLfdO4C4rLsp/aBDmQQYEl2IOGj+spfs0Bge6467yPSDGV6MfU4f0P8gaV+i1MtfEt6xFDAY";
/// The node.
const NODE: &str = "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQg0HsGyfps7GQ/lVbiA+y3nnWR1ZHacthBYKtGPlvqf3ahRANCAASVFPy+ztWtt/Uc660pbxchAbFRFW+ijtdrC02RVSmhSEUsUM32tgVZXwujrBbFRiyfi0vvjnUnlyz0Xadxm+zE";

/// The time of everything, milliseconds since 1970, UTC.
pub(super) const NOW: i64 = 1_800_000_000_000;
/// The nonce of the node.
pub(super) const NONCE: Nonce = [7; 32];
const DAY: Duration = Duration::from_hours(24);

/// One collective, and one node that asks to join it.
pub(super) struct World {
    pub(super) collective: CollectiveId,
    pub(super) node: NodeId,
    pub(super) node_key: SoftwareSigner,
    pub(super) roots: Roots,
    pub(super) join_key: JoinKey,
    /// A leaf of each role with its issuing intermediate.
    pub(super) chains: Vec<Vec<CertificateDer<'static>>>,
    pub(super) root: CertificateDer<'static>,
    /// The root before, and the present one's key as it certified it.
    pub(super) older: [CertificateDer<'static>; 2],
    pub(super) csr: Vec<u8>,
    root_key: SoftwareSigner,
    receipts: SoftwareSigner,
    policy: SoftwareSigner,
    policy_chain: Vec<CertificateDer<'static>>,
}

impl World {
    /// The one that there is.
    pub(super) fn get() -> &'static Self {
        static WORLD: OnceLock<World> = OnceLock::new();
        WORLD.get_or_init(Self::new)
    }

    fn new() -> Self {
        let collective = CollectiveId::new(NOW, [1; 10]);
        let control_plane = ControlPlaneId::new(NOW, [2; 10]);
        let node = NodeId::new(NOW, [3; 10]);
        let (root_key, issuing_key) = (key(ROOT, KeyUse::Authority), key(ISSUING, KeyUse::Authority));
        let (policy, node_key) = (key(POLICY, KeyUse::Policy), key(NODE, KeyUse::Tls));
        let validity = Validity::starting(NOW, DAY * 3650);
        let root = ready(create_root(collective, &root_key, &serial(1), &validity)).expect("a root");
        let older_key = key(OLDER, KeyUse::Authority);
        let older = ready(create_root(collective, &older_key, &serial(7), &validity)).expect("a root");
        let cross = ready(issue(
            &Profile::Cross { collective },
            root_key.public_key(),
            &older,
            &older_key,
            &serial(8),
            &validity,
        ))
        .expect("a bridge");
        let issuing = Profile::Issuing {
            collective,
            control_plane,
        };
        let issuing = ready(issue(
            &issuing,
            issuing_key.public_key(),
            &root,
            &root_key,
            &serial(2),
            &validity,
        ))
        .expect("an intermediate");
        let certify = |subject, key: &PublicKey, number| {
            let profile = Profile::Identity(SpiffeId::new(collective, subject));
            let validity = Validity::starting(NOW, DAY * 7);
            let leaf = ready(issue(
                &profile,
                key,
                &issuing,
                &issuing_key,
                &serial(number),
                &validity,
            ))
            .expect("a leaf");
            vec![leaf, issuing.clone()]
        };
        let policy_chain = certify(Subject::Policy(control_plane), policy.public_key(), 3);
        let chains = vec![
            certify(Subject::Node(node), node_key.public_key(), 4),
            certify(Subject::ControlPlane(control_plane), node_key.public_key(), 5),
            policy_chain.clone(),
            certify(Subject::Receipt(node), node_key.public_key(), 6),
        ];
        Self {
            collective,
            node,
            roots: Roots::new(vec![root.clone()]).expect("roots"),
            join_key: JoinKey::from_bytes([9; 32]),
            chains,
            root,
            older: [older, cross],
            root_key,
            csr: ready(csr::request(&node_key)).expect("a request"),
            node_key,
            receipts: key(NODE, KeyUse::Receipt),
            policy,
            policy_chain,
        }
    }

    /// `payload`, signed by the policy key.
    pub(super) fn sign(&self, payload_type: PayloadType, payload: Vec<u8>) -> Option<Envelope> {
        ready(Envelope::sign(
            payload_type,
            payload,
            &self.policy,
            &self.policy_chain,
        ))
        .ok()
    }

    /// `payload`, signed by the receipt key of the node.
    pub(super) fn sign_receipt(&self, payload: Vec<u8>) -> Option<Envelope> {
        let chain = &self.chains[3];
        ready(Envelope::sign(
            PayloadType::Receipt,
            payload,
            &self.receipts,
            chain,
        ))
        .ok()
    }

    /// `payload`, signed by the root itself.
    pub(super) fn sign_by_root(&self, payload_type: PayloadType, payload: Vec<u8>) -> Option<Envelope> {
        let root = std::slice::from_ref(&self.root);
        ready(Envelope::sign(payload_type, payload, &self.root_key, root)).ok()
    }

    /// What the node says first.
    pub(super) fn hello(&self) -> Hello {
        Hello {
            kind: "hello".to_owned(),
            suite: SUITE.to_owned(),
            csr: STANDARD.encode(&self.csr),
            name: "terr01".parse().expect("a name"),
            capabilities: vec!["TERR".to_owned(), "r".to_owned()],
            pool: Some("default".parse().expect("a name")),
            site: None,
            addresses: vec!["10.0.0.5".to_owned(), "[::1]".to_owned()],
            agent_version: "0.1.0".to_owned(),
            created: NOW,
            expires: NOW + 1000,
            token_id: None,
            commit: commit(self.node_key.public_key(), &NONCE),
        }
    }

    /// The node after its join.
    pub(super) fn member(&self) -> Member {
        Member {
            node: self.node,
            collective: self.collective,
            name: "terr01".parse().expect("a name"),
            capabilities: Vec::new(),
            pool: "default".parse().expect("a name"),
            site: "default".parse().expect("a name"),
            chain: self.chains[0].clone(),
            generation: 1,
            roots: vec![self.root.clone()],
            denied: Vec::new(),
            back_ends: vec!["control:9443".to_owned()],
            registration: vec!["http://control:9080".to_owned()],
            epoch: 1,
        }
    }

    /// The offer for this hello, as a control plane makes it.
    pub(super) fn offer(&self, hello: &[u8]) -> Vec<u8> {
        let [older, cross] = &self.older;
        let offer = Offer {
            kind: "offer".to_owned(),
            suite: SUITE.to_owned(),
            hello: Digest::of(hello),
            roots: vec![STANDARD.encode(&self.root)],
            r_s: STANDARD.encode(self.join_key.nonce(hello)),
            cross: vec![OfferedCross {
                root: STANDARD.encode(older),
                certificate: STANDARD.encode(cross),
            }],
        };
        serde_json::to_vec(&offer).expect("JSON")
    }
}

/// The result of a future of keys in memory, which is ready at once.
pub(super) fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("a key in memory answers at once"),
    }
}

fn key(pkcs8: &str, key_use: KeyUse) -> SoftwareSigner {
    let der = STANDARD.decode(pkcs8).expect("base64");
    SoftwareSigner::from_pkcs8(&der, key_use).expect("a key on P-256")
}

fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}
