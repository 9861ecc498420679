//! Certificate requests, certificates and chains.

use muster_pki::{AuthorityFacts, CertificateDer, Facts, Role, Roots, csr as request, not_after_ms};

use super::world::{NOW, World};

/// A certificate request as it stands in a hello and in a renewal.
pub(super) fn csr(bytes: &[u8]) {
    if let Ok(key) = request::public_key(bytes) {
        assert!(
            bytes.windows(key.spki().len()).any(|window| window == key.spki()),
            "the key is the one in the request"
        );
    }
}

pub(super) fn csr_seeds() -> Vec<Vec<u8>> {
    vec![World::get().csr.clone()]
}

/// One certificate, of whatever kind.
pub(super) fn certificate(bytes: &[u8]) {
    let (leaf, authority) = (Facts::of(bytes), AuthorityFacts::of(bytes));
    assert!(
        leaf.is_err() || authority.is_err(),
        "nothing is both a leaf and an authority"
    );
    if let Ok(facts) = leaf {
        assert_eq!(
            not_after_ms(bytes),
            Some(facts.validity.not_after_ms()),
            "both readers see one end"
        );
        assert_eq!(
            facts.id.to_string().parse(),
            Ok(facts.id),
            "one identity, one spelling"
        );
    }
    if let Ok(roots) = Roots::new(vec![CertificateDer::from(bytes.to_vec())]) {
        let facts = authority.expect("a root is an authority");
        assert_eq!(roots.collective(), facts.collective);
        assert!(facts.self_signed && facts.path_length == 1);
    }
}

pub(super) fn certificate_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let leaves = world.chains.iter().map(|chain| chain[0].to_vec());
    leaves
        .chain([world.root.to_vec(), world.chains[0][1].to_vec()])
        .collect()
}

/// A chain: certificates, each after its length in two bytes, big-endian.
pub(super) fn chain(bytes: &[u8]) {
    let world = World::get();
    let chain = split(bytes);
    for role in Role::ALL {
        if let Ok(facts) = world.roots.verify(&chain, role, NOW) {
            assert_eq!(facts.id.role(), role);
            assert_eq!(facts.id.collective, world.collective);
            assert!(facts.validity.not_before_ms() <= NOW && NOW <= facts.validity.not_after_ms());
        }
    }
    // Roots that a stranger offers are read in the same way.
    if let Ok(roots) = Roots::new(chain.clone()) {
        assert_eq!(roots.certificates(), chain);
    }
}

pub(super) fn chain_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let mut seeds: Vec<_> = world.chains.iter().map(|chain| joined(chain)).collect();
    seeds.push(joined(std::slice::from_ref(&world.root)));
    let three = [world.chains[0].clone(), vec![world.root.clone()]].concat();
    seeds.push(joined(&three));
    seeds
}

/// The certificates of such bytes.
pub(super) fn split(mut bytes: &[u8]) -> Vec<CertificateDer<'static>> {
    let mut chain = Vec::new();
    while let [high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(rest.len());
        let (certificate, after) = rest.split_at(length);
        chain.push(CertificateDer::from(certificate.to_vec()));
        bytes = after;
    }
    chain
}

/// A chain as such bytes.
pub(super) fn joined(chain: &[CertificateDer<'_>]) -> Vec<u8> {
    chain
        .iter()
        .flat_map(|certificate| {
            let length = u16::try_from(certificate.len()).expect("a certificate is short");
            [&length.to_be_bytes()[..], certificate].concat()
        })
        .collect()
}
