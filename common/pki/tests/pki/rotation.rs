//! Two roots at once: what each side accepts before, during and after an exchange of the roots.

use muster_ids::Digest;
use muster_pki::{
    AuthorityFacts, CertificateDer, CrossRoot, Envelope, PayloadType, Profile, Role, Roots, Subject,
    VerifyError, issue,
};
use proptest::prelude::*;

use crate::fixture::{Collective, NOW_MS, days, ready, serial};

/// Two generations of one collective, and the bridges that the older one builds to the newer one.
struct Rotation {
    old: Collective,
    new: Collective,
    cross: CertificateDer<'static>,
    bridge: CertificateDer<'static>,
}

fn certify(by: &Collective, profile: &Profile, certificate: &CertificateDer<'_>) -> CertificateDer<'static> {
    let key = AuthorityFacts::of(certificate).expect("an authority").public_key;
    ready(issue(
        profile,
        &key,
        &by.root,
        &by.root_key,
        &serial(9),
        &days(300),
    ))
    .expect("certified")
}

pub(crate) fn cross_root(by: &Collective, of: &Collective) -> CertificateDer<'static> {
    certify(by, &Profile::Cross { collective: by.id }, &of.root)
}

impl Rotation {
    fn new() -> Self {
        let old = Collective::new(1);
        let new = Collective {
            node: old.node,
            ..Collective::with_id(old.id, 2)
        };
        let issuing = Profile::Issuing {
            collective: old.id,
            control_plane: new.control_plane,
        };
        Self {
            cross: cross_root(&old, &new),
            bridge: certify(&old, &issuing, &new.issuing),
            old,
            new,
        }
    }

    /// What the new authority's server presents.
    fn bridged(&self) -> Vec<CertificateDer<'static>> {
        let mut chain = self.new.control_plane_member().chain;
        chain.push(self.bridge.clone());
        chain
    }

    fn crosses(&self) -> Vec<CrossRoot> {
        vec![CrossRoot {
            root: self.old.root.clone(),
            certificate: self.cross.clone(),
        }]
    }
}

#[test]
fn a_chain_with_both_certificates_of_its_intermediate_is_accepted_under_either_root() {
    let rotation = Rotation::new();
    let mut chain = rotation.bridged();
    for roots in [rotation.old.roots(), rotation.new.roots()] {
        roots
            .verify(&chain, Role::ControlPlane, NOW_MS)
            .expect("accepted");
    }
    chain.swap(1, 2);
    for roots in [rotation.old.roots(), rotation.new.roots()] {
        roots
            .verify(&chain, Role::ControlPlane, NOW_MS)
            .expect("accepted");
    }
    let plain = rotation.new.control_plane_member().chain;
    assert_eq!(
        rotation.old.roots().verify(&plain, Role::ControlPlane, NOW_MS),
        Err(VerifyError::UnknownIssuer)
    );
}

#[test]
fn what_stands_beside_the_intermediate_is_another_certificate_of_it_and_nothing_else() {
    let rotation = Rotation::new();
    let leaf_and_issuing = rotation.new.control_plane_member().chain;
    let others = [
        rotation.old.issuing.clone(),
        rotation.new.root.clone(),
        rotation.cross.clone(),
        leaf_and_issuing[0].clone(),
        CertificateDer::from(b"garbage".to_vec()),
    ];
    for other in others {
        let chain = [leaf_and_issuing.clone(), vec![other]].concat();
        assert_eq!(
            rotation.new.roots().verify(&chain, Role::ControlPlane, NOW_MS),
            Err(VerifyError::Length(3))
        );
    }
    let four = [rotation.bridged(), vec![rotation.bridge.clone()]].concat();
    assert_eq!(
        rotation.new.roots().verify(&four, Role::ControlPlane, NOW_MS),
        Err(VerifyError::Length(4))
    );
}

#[test]
fn a_message_of_the_new_authority_is_verified_under_the_old_root_alone() {
    let rotation = Rotation::new();
    let policy = rotation.new.policy_member();
    let chain = [policy.chain, vec![rotation.bridge.clone()]].concat();
    let signed = ready(Envelope::sign(
        PayloadType::Beacon,
        b"{}".to_vec(),
        &policy.key,
        &chain,
    ))
    .expect("signed");
    signed
        .verify(PayloadType::Beacon, &rotation.old.roots(), NOW_MS)
        .expect("verified");
}

#[test]
fn nothing_is_accepted_from_an_authority_that_was_denied() {
    let rotation = Rotation::new();
    let key = AuthorityFacts::of(&rotation.new.issuing)
        .expect("facts")
        .public_key;
    let chain = rotation.bridged();
    let mut swapped = chain.clone();
    swapped.swap(1, 2);
    let old = (*rotation.old.roots()).clone().denying(vec![key.fingerprint()]);
    for chain in [chain, swapped] {
        assert_eq!(
            old.verify(&chain, Role::ControlPlane, NOW_MS),
            Err(VerifyError::Denied)
        );
    }
    old.verify(&rotation.old.node_member().chain, Role::Node, NOW_MS)
        .expect("others are accepted as before");
}

#[test]
fn a_pinned_root_vouches_for_the_one_that_it_certified_and_for_no_other() {
    let rotation = Rotation::new();
    let stranger = Collective::with_id(rotation.old.id, 3);
    let pins = [Digest::of(&rotation.old.root)];
    let offered = Roots::new(vec![rotation.new.root.clone(), stranger.root.clone()]).expect("roots");
    let accepted = offered
        .pinned_across(&pins, &rotation.crosses(), NOW_MS)
        .expect("vouched for");
    assert_eq!(accepted.fingerprints(), [Digest::of(&rotation.new.root)]);
    assert!(offered.pinned(&pins).is_none());

    let by_stranger = [CrossRoot {
        root: rotation.old.root.clone(),
        certificate: cross_root(&stranger, &rotation.new),
    }];
    let unpinned = [CrossRoot {
        root: stranger.root.clone(),
        certificate: cross_root(&stranger, &rotation.new),
    }];
    let not_a_root = [CrossRoot {
        root: rotation.old.root.clone(),
        certificate: rotation.bridge.clone(),
    }];
    for crosses in [&by_stranger, &unpinned, &not_a_root] {
        assert!(offered.pinned_across(&pins, crosses, NOW_MS).is_none());
    }
    let over = NOW_MS + 301 * 24 * 3600 * 1000;
    assert!(offered.pinned_across(&pins, &rotation.crosses(), over).is_none());
}

#[test]
fn a_pin_holds_across_several_rotations() {
    let first = Rotation::new();
    let third = Collective::with_id(first.old.id, 4);
    let second_to_third = CrossRoot {
        root: first.new.root.clone(),
        certificate: cross_root(&first.new, &third),
    };
    let pins = [Digest::of(&first.old.root)];
    let offered = Roots::new(vec![third.root.clone()]).expect("root");
    for crosses in [
        [first.crosses(), vec![second_to_third.clone()]].concat(),
        [vec![second_to_third.clone()], first.crosses()].concat(),
    ] {
        assert!(offered.pinned_across(&pins, &crosses, NOW_MS).is_some());
    }
    assert!(offered.pinned_across(&pins, &[second_to_third], NOW_MS).is_none());
}

proptest! {
    #[test]
    fn a_damaged_bridge_vouches_for_nothing(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let rotation = Rotation::new();
        let mut damaged = rotation.cross.to_vec();
        let at = at.index(damaged.len());
        damaged[at] ^= 1 << bit;
        let crosses = [CrossRoot { root: rotation.old.root.clone(), certificate: CertificateDer::from(damaged) }];
        let offered = Roots::new(vec![rotation.new.root.clone()]).expect("root");
        prop_assert!(offered.pinned_across(&[Digest::of(&rotation.old.root)], &crosses, NOW_MS).is_none());
    }
}

#[test]
fn the_node_of_a_collective_in_rotation_keeps_its_identity() {
    let rotation = Rotation::new();
    let roots = Roots::new(vec![rotation.old.root.clone(), rotation.new.root.clone()]).expect("roots");
    for member in [rotation.old.node_member(), rotation.new.node_member()] {
        let facts = roots.verify(&member.chain, Role::Node, NOW_MS).expect("accepted");
        assert_eq!(facts.id.subject, Subject::Node(rotation.old.node));
    }
}
