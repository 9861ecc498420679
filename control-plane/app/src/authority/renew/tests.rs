use std::{sync::Arc, time::Duration};

use muster_daemon::clock::{Clock, ClockHand};
use muster_ids::{Digest, NodeId, UserId};
use muster_model::permission::{ADMINISTRATOR, Caller, UserCaller};
use muster_pki::{
    CertificateDer, KeyUse, PayloadType, Profile, Role, Roots, Serial, Signer as _, SoftwareSigner, SpiffeId,
    Subject,
};
use muster_store::{AuditFilter, AuditFrom, Authority as Row};
use tempfile::TempDir;

use super::*;
use crate::{authority::load, fixture};

const BEGIN: i64 = 1_767_225_600_000;
const DAY: Duration = Duration::from_hours(24);
/// Half of the life of a policy certificate.
const HALF_A_YEAR: Duration = Duration::from_hours(365 * 12);
/// Half of the life of an intermediate.
const HALF_OF_FIVE: Duration = Duration::from_hours(5 * 365 * 12);

struct World {
    app: App,
    hand: ClockHand,
    keys: Arc<fixture::Memory>,
    _folder: TempDir,
}

impl World {
    async fn new() -> Self {
        let (clock, hand) = Clock::by_hand(BEGIN);
        let keys = Arc::<fixture::Memory>::default();
        let (app, folder) = fixture::app_with(clock, keys.clone()).await;
        Self {
            app,
            hand,
            keys,
            _folder: folder,
        }
    }

    async fn row(&self) -> Row {
        let rows = self.app.store().authorities().await.expect("read");
        let active = self.app.authority().root;
        rows.into_iter()
            .find(|row| row.standing.root == active)
            .expect("the active one")
    }

    /// Moves the clock, then does what is due: what was issued anew.
    async fn after(&self, span: Duration) -> Vec<String> {
        self.hand.advance(span);
        let before = self.recorded().await.len();
        self.app.reconcile_authority().await.expect("reconciled");
        self.recorded().await.split_off(before)
    }

    /// What was issued anew, in the order of time.
    async fn recorded(&self) -> Vec<String> {
        let filter = AuditFilter {
            event: Some(Event::AuthorityRenewed),
            ..AuditFilter::default()
        };
        let listed = self
            .app
            .store()
            .audit_list(&filter, AuditFrom::Newest, 1000)
            .await;
        let mut entries: Vec<_> = listed.expect("read").into_iter().collect();
        entries.reverse();
        let detail = entries
            .iter()
            .map(|entry| entry.record.detail["certificates"].to_string());
        detail.collect()
    }

    /// What is signed now verifies now under `roots`.
    async fn signs_under(&self, roots: &Roots) -> bool {
        let signed = self.app.authority().sign(PayloadType::Beacon, &json!({})).await;
        let signed = signed.expect("signed");
        signed.verify(PayloadType::Beacon, roots, self.app.now()).is_ok()
    }

    /// The chain of a node that gets its certificate now.
    async fn node(&self) -> Vec<CertificateDer<'static>> {
        let authority = self.app.authority();
        let key = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
        let id = SpiffeId::new(self.app.collective(), Subject::Node(NodeId::new(1, [1; 10])));
        let (profile, serial) = (Profile::Identity(id), Serial::from_random([9; 16]));
        let lifetime = Duration::from_hours(24 * 397);
        let leaf = authority.issue(&profile, key.public_key(), &serial, self.app.now(), lifetime);
        authority.chain(leaf.await.expect("issued"))
    }
}

fn administrator() -> Caller {
    Caller::User(UserCaller {
        id: UserId::new(1, [1; 10]),
        name: "admin@SPOTFIRE".parse().expect("a name"),
        groups: [ADMINISTRATOR.to_owned()].into(),
        features: [].into(),
    })
}

fn public_key(der: &[u8]) -> Digest {
    AuthorityFacts::of(der)
        .map(|facts| facts.public_key)
        .or_else(|_| Facts::of(&self::der(der)).map(|facts| facts.public_key))
        .expect("a certificate of ours")
        .fingerprint()
}

#[tokio::test]
async fn the_policy_certificate_is_issued_anew_from_half_of_its_life_with_the_same_key() {
    let world = World::new().await;
    let (first, roots) = (world.row().await, world.app.authority().roots.clone());
    assert_eq!(
        world.after(HALF_A_YEAR.saturating_sub(DAY)).await,
        [""; 0],
        "too early"
    );
    assert_eq!(world.row().await, first);
    assert_eq!(world.after(DAY).await, ["[\"policy\"]"]);
    let second = world.row().await;
    assert_ne!(second.policy, first.policy);
    assert_eq!(public_key(&second.policy), public_key(&first.policy));
    assert_eq!(
        (&second.issuing, second.version),
        (&first.issuing, first.version + 1)
    );
    assert_eq!(world.after(Duration::ZERO).await, [""; 0], "once is enough");
    // The first one would be over.
    world.hand.advance(HALF_A_YEAR + DAY);
    assert!(
        world.signs_under(&roots).await,
        "the process signs with the new one"
    );
    let again = load(world.app.store(), world.app.keys()).await.expect("loaded");
    assert_eq!(
        again.policy_chain,
        world.app.authority().policy_chain,
        "and so does the next"
    );
}

#[tokio::test]
async fn the_intermediate_is_issued_anew_from_half_of_its_life_and_what_it_issued_stays_good() {
    let world = World::new().await;
    let roots = world.app.authority().roots.clone();
    world.after(HALF_OF_FIVE.saturating_sub(DAY)).await;
    let (first, node) = (world.row().await, world.node().await);
    assert_eq!(world.after(DAY).await, ["[\"intermediate\"]"]);
    let second = world.row().await;
    assert_ne!(second.issuing, first.issuing);
    assert_eq!(public_key(&second.issuing), public_key(&first.issuing));
    let (old, new) = (not_after(&first.issuing), not_after(&second.issuing));
    assert!(new > old + i64::try_from(HALF_OF_FIVE.as_millis()).expect("years") - 1000);
    assert_eq!(world.app.authority().intermediate_expires(), new);
    let now = world.app.now();
    let renewed = world.app.authority().chain(node[0].clone());
    for chain in [node, renewed, world.node().await] {
        assert!(
            roots.verify(&chain, Role::Node, now).is_ok(),
            "the path of before holds"
        );
    }
    assert!(world.signs_under(&roots).await);
}

#[tokio::test]
async fn without_the_roots_key_the_intermediate_stays_and_somebody_is_told_in_time() {
    let world = World::new().await;
    let root = world.app.authority().root;
    world.keys.without_root(&root);
    let first = world.row().await;
    assert_eq!(world.after(HALF_OF_FIVE + DAY).await, ["[\"policy\"]"]);
    assert_eq!(world.row().await.issuing, first.issuing);
    let left = not_after(&first.issuing) - world.app.now();
    let left = Duration::from_millis(u64::try_from(left).expect("not over yet"));
    world.after(left.saturating_sub(DAY * 20)).await;
    let policy = world.row().await.policy;
    let ends = Facts::of(&der(&policy)).expect("ours").validity.not_after_ms();
    assert_eq!(ends, not_after(&first.issuing), "never longer than its issuer");
    assert_eq!(world.after(DAY).await, [""; 0], "it cannot get longer");
    let status = world.app.status(&administrator()).await.expect("read");
    let said = status.problems.iter().any(|problem| problem.contains("issuing"));
    assert!(said, "{:?}", status.problems);
}

#[tokio::test]
async fn over_the_whole_life_of_a_root_there_is_always_something_valid_to_sign_with() {
    let world = World::new().await;
    let (roots, root) = (world.app.authority().roots.clone(), world.row().await.root);
    let mut renewed = Vec::new();
    while world.app.now() + 40 * 86_400_000 < not_after(&root) {
        renewed.extend(world.after(DAY * 30).await);
        assert!(world.signs_under(&roots).await, "at {}", world.app.now());
        let chain = world.node().await;
        assert!(roots.verify(&chain, Role::Node, world.app.now()).is_ok());
        assert!(not_after(&world.row().await.issuing) <= not_after(&root));
    }
    let intermediates = renewed
        .iter()
        .filter(|what| what.contains("intermediate"))
        .count();
    assert!((2..=4).contains(&intermediates), "{renewed:?}");
    assert!(renewed.len() < 40, "not again and again: {renewed:?}");
}

#[tokio::test]
async fn who_slept_through_a_rotation_believes_what_was_issued_anew_after_it() {
    let world = World::new().await;
    let old = world.app.authority().roots.clone();
    let first = world.app.authority().root;
    for step in ["prepare", "activate", "taint", "revoke"] {
        let rotate = muster_wire::admin::v1::authority::Rotate {
            step: step.to_owned(),
            force: false,
        };
        world
            .app
            .rotate_authority(&administrator(), &rotate)
            .await
            .expect(step);
    }
    assert_ne!(world.app.authority().root, first);
    assert_eq!(world.after(HALF_A_YEAR + DAY).await, ["[\"policy\"]"]);
    assert!(world.signs_under(&old).await, "over the bridge");
    for _ in 0..4 {
        world.after(HALF_A_YEAR).await;
    }
    assert!(world.signs_under(&old).await, "also under the new intermediate");
}

fn not_after(der: &[u8]) -> i64 {
    muster_pki::not_after_ms(der).expect("a certificate")
}
