//! The renewal of a certificate: what a node asks for, and what it is answered.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_agent::renew;
use muster_app::renewal;
use muster_pki::{Facts, Signer as _, Subject};
use muster_wire::node::v1::renew::{Renew, Renewed};

use super::{
    certificates,
    world::{NOW, World},
};

/// The request, as a control plane reads it.
pub(super) fn request(bytes: &[u8]) {
    let Ok(request) = muster_app::object::<Renew>(bytes) else {
        return;
    };
    if let Ok(key) = renewal::asked_key(&request) {
        let csr = STANDARD.decode(&request.csr).expect("it was read");
        assert!(
            csr.windows(key.spki().len()).any(|window| window == key.spki()),
            "the key is the one in the request"
        );
    }
}

pub(super) fn request_seeds() -> Vec<Vec<u8>> {
    let request = Renew {
        csr: STANDARD.encode(&World::get().csr),
        generation: 1,
    };
    vec![serde_json::to_vec(&request).expect("JSON")]
}

/// The answer, as a node reads it: the bytes as the answer, and as the chain in one.
pub(super) fn answer(bytes: &[u8]) {
    let world = World::get();
    let key = world.node_key.public_key();
    let chain = certificates::split(bytes);
    let around = Renewed {
        chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
        generation: 2,
    };
    for reply in serde_json::from_slice(bytes).into_iter().chain([around]) {
        if let Ok(chain) = renew::accept(&reply, (world.node, key), &world.roots, NOW) {
            let facts = Facts::of(&chain[0]).expect("a certificate of this node");
            assert_eq!(facts.public_key, *key);
            assert_eq!(facts.id.subject, Subject::Node(world.node));
        }
    }
}

pub(super) fn answer_seeds() -> Vec<Vec<u8>> {
    let world = World::get();
    let answers = world.chains.iter().map(|chain| {
        let renewed = Renewed {
            chain: chain.iter().map(|der| STANDARD.encode(der)).collect(),
            generation: 2,
        };
        serde_json::to_vec(&renewed).expect("JSON")
    });
    answers.chain([certificates::joined(&world.chains[0])]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_are_accepted() {
        let world = World::get();
        let request = muster_app::object::<Renew>(&request_seeds()[0]).expect("a request");
        let key = renewal::asked_key(&request).expect("a key");
        assert_eq!(&key, world.node_key.public_key());
        let accepted = answer_seeds().into_iter().filter(|seed| {
            let reply = serde_json::from_slice(seed);
            reply.is_ok_and(|reply| renew::accept(&reply, (world.node, &key), &world.roots, NOW).is_ok())
        });
        assert_eq!(accepted.count(), 1, "the certificate of the node only");
    }
}
