//! The matrix of roles: a certificate of one role is accepted in that role and in no other.

use muster_pki::{FactsError, Role, VerifyError};

use crate::fixture::{Collective, Member, NOW_MS};

fn members(collective: &Collective) -> [(Option<Role>, Member); 5] {
    [
        (Some(Role::Node), collective.node_member()),
        (Some(Role::ControlPlane), collective.control_plane_member()),
        (Some(Role::Policy), collective.policy_member()),
        (Some(Role::Receipt), collective.receipt_member()),
        (None, collective.front_end_member()),
    ]
}

#[test]
fn every_certificate_is_refused_in_every_other_role() {
    let collective = Collective::new(1);
    let roots = collective.roots();
    for (own, member) in members(&collective) {
        for role in Role::ALL {
            let result = roots.verify(&member.chain, role, NOW_MS);
            assert_eq!(result.is_ok(), own == Some(role), "{own:?} as {role}: {result:?}");
        }
    }
}

#[test]
fn a_front_end_certificate_names_nobody() {
    let collective = Collective::new(1);
    let chain = collective.front_end_member().chain;
    assert_eq!(
        collective.roots().verify(&chain, Role::ControlPlane, NOW_MS),
        Err(VerifyError::Leaf(FactsError::Names))
    );
}

#[test]
fn policy_and_receipt_differ_though_their_usage_is_the_same() {
    let collective = Collective::new(1);
    let chain = collective.receipt_member().chain;
    assert_eq!(
        collective.roots().verify(&chain, Role::Policy, NOW_MS),
        Err(VerifyError::Role {
            expected: Role::Policy,
            found: Role::Receipt
        })
    );
}

#[test]
fn another_collective_and_another_time_are_refused() {
    let (ours, other) = (Collective::new(1), Collective::new(2));
    let chain = ours.node_member().chain;
    let verify = |collective: &Collective, ms| collective.roots().verify(&chain, Role::Node, ms);
    let week = 7 * 86_400_000;
    assert_eq!(verify(&other, NOW_MS), Err(VerifyError::UnknownIssuer));
    assert!(verify(&ours, NOW_MS + week).is_ok());
    assert_eq!(verify(&ours, NOW_MS + week + 1000), Err(VerifyError::Expired));
    assert!(verify(&ours, NOW_MS - 5 * 60_000).is_ok());
    assert_eq!(
        verify(&ours, NOW_MS - 5 * 60_000 - 1),
        Err(VerifyError::NotYetValid)
    );
    assert_eq!(verify(&ours, -1), Err(VerifyError::NotYetValid));
    let impostor = Collective::with_id(ours.id, 3);
    assert_eq!(verify(&impostor, NOW_MS), Err(VerifyError::UnknownIssuer));
}

#[test]
fn only_a_leaf_with_its_intermediate_is_a_chain() {
    let collective = Collective::new(1);
    let roots = collective.roots();
    let chain = collective.node_member().chain;
    let verify = |chain: &[muster_pki::CertificateDer<'_>]| roots.verify(chain, Role::Node, NOW_MS);
    assert_eq!(verify(&[]), Err(VerifyError::Length(0)));
    assert_eq!(verify(&chain[..1]), Err(VerifyError::Length(1)));
    let long = [chain[0].clone(), chain[1].clone(), collective.root.clone()];
    assert_eq!(verify(&long), Err(VerifyError::Length(3)));
    assert!(verify(&[chain[1].clone(), chain[0].clone()]).is_err());
    assert!(verify(&[chain[0].clone(), collective.root.clone()]).is_err());
    assert!(verify(&[chain[1].clone(), collective.root.clone()]).is_err());
    assert!(verify(&[chain[0].clone(), b"garbage".to_vec().into()]).is_err());
    let mut leaf = chain[0].to_vec();
    for position in 0..leaf.len() {
        leaf[position] ^= 1;
        assert!(
            verify(&[leaf.clone().into(), chain[1].clone()]).is_err(),
            "byte {position}"
        );
        leaf[position] ^= 1;
    }
}
