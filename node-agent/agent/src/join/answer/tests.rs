use muster_ids::Digest;
use muster_pki::{KeyUse, Signer as _, SoftwareSigner};
use muster_wire::node::v1::join::{HelloReply, Offer, OfferedCross};

use super::*;
use crate::{
    fixture::Collective,
    join::exchange::{OfferError, accept},
};

const NOW: i64 = 1_767_225_600_000;
/// Within the life of everything that the fixture makes.
const LATER: i64 = NOW + 60_000;

/// An authority of the collective, one that follows it over a bridge, and one that a forger has made up: all name the
/// same collective.
struct World {
    old: Collective,
    new: Collective,
    forger: Collective,
    node_key: SoftwareSigner,
}

impl World {
    fn new() -> Self {
        let [old, mut new, forger] = [(); 3].map(|()| Collective::new(1, NOW));
        new.follow(&old);
        let node_key = SoftwareSigner::generate(KeyUse::Tls).expect("a key");
        Self {
            old,
            new,
            forger,
            node_key,
        }
    }

    /// What `signer` answers in an exchange whose offer led to the roots of `offered`, with the anchors of `named`.
    fn answered(
        &self,
        signer: &Collective,
        offered: &[&Collective],
        named: &[&Collective],
    ) -> Result<Member, AnswerError> {
        let exchange = exchange(offered);
        let reply = self.reply(signer, &exchange, named).to_json();
        self.accepted(&reply, &exchange)
    }

    fn accepted(&self, reply: &[u8], exchange: &Exchange) -> Result<Member, AnswerError> {
        let opened = open(reply, exchange, 1, LATER)?;
        member(opened, exchange, self.node_key.public_key(), &[], LATER)
    }

    fn reply(&self, signer: &Collective, exchange: &Exchange, named: &[&Collective]) -> Envelope {
        let chain = signer.certify(Subject::Node(signer.node), self.node_key.public_key());
        let list = |chain: &[CertificateDer<'_>]| chain.iter().map(|der| STANDARD.encode(der)).collect();
        let answer = Answer {
            transcript: exchange.transcript().digest(),
            counter: 1,
            state: "issued".to_owned(),
            reason: None,
            retry_after: 5,
            issued: Some(Issued {
                node: signer.node,
                collective: signer.id,
                name: "terr01".parse().expect("a name"),
                role: "node".to_owned(),
                capabilities: vec!["TERR".to_owned()],
                pool: "default".parse().expect("a name"),
                site: "default".parse().expect("a name"),
                chain: list(&chain),
                back_ends: vec!["control:9443".to_owned()],
                server_identity: format!("spiffe://{}/control-plane/", signer.id),
                anchors: named.iter().map(|one| STANDARD.encode(&one.root)).collect(),
                generation: 1,
                epoch: 1,
            }),
        };
        signer.sign(PayloadType::JoinAnswer, &answer)
    }
}

fn exchange(offered: &[&Collective]) -> Exchange {
    let roots = offered.iter().map(|one| one.root.clone()).collect();
    let roots = Roots::new(roots).expect("roots of one collective");
    let [hello, offer] = [b"hello".to_vec(), b"offer".to_vec()];
    Exchange::new(&[1; 32], hello, offer, String::new(), &roots, NOW)
}

fn shown(member: &Member) -> Vec<Digest> {
    member.ca_fingerprints()
}

fn root_of(collective: &Collective) -> Digest {
    Digest::of(&collective.root)
}

#[test]
fn a_forger_who_names_the_true_root_beside_his_own_is_shown_as_himself() {
    let world = World::new();
    let (old, forger) = (&world.old, &world.forger);
    // Without a pin both roots of the offer are kept until somebody compares.
    let member = world
        .answered(forger, &[old, forger], &[old, forger])
        .expect("nothing tells him from a control plane yet");
    assert_eq!(
        shown(&member),
        [root_of(forger)],
        "who compares sees his root only"
    );
    let nothing = world
        .answered(forger, &[old, forger], &[old])
        .expect_err("refused");
    assert!(
        nothing.to_string().contains("names no root that proves"),
        "{nothing}"
    );
}

#[test]
fn a_pin_keeps_out_whatever_a_forger_signs() {
    let world = World::new();
    let (old, forger) = (&world.old, &world.forger);
    for named in [&[old][..], &[old, forger], &[forger]] {
        let refused = world.answered(forger, &[old], named).expect_err("refused");
        assert!(matches!(refused, AnswerError::Envelope(_)), "{refused}");
    }
}

#[test]
fn who_certifies_the_true_intermediate_gains_nothing() {
    let world = World::new();
    let (old, forger) = (&world.old, &world.forger);
    let exchange = exchange(&[old, forger]);
    let reply = world.reply(old, &exchange, &[old]);
    let mut changed = serde_json::to_value(&reply).expect("JSON");
    // The chain is not part of what is signed: anybody on the way can add to it.
    let chain = changed["signatures"][0]["chain"].as_array_mut().expect("a chain");
    chain.push(STANDARD.encode(forger.bridge(old)).into());
    let bytes = serde_json::to_vec(&changed).expect("JSON");
    let opened = open(&bytes, &exchange, 1, LATER).expect("the true answer");
    assert!(
        opened.is_proved_by(&forger.root, LATER),
        "his root now leads to the true signer"
    );
    let member = world.accepted(&bytes, &exchange).expect("as it was meant");
    assert_eq!(shown(&member), [root_of(old)], "but the signer has not named it");
}

#[test]
fn a_member_begins_with_the_roots_that_prove_the_answer() {
    let world = World::new();
    let (old, new) = (&world.old, &world.new);
    // Prepared: the new root signs nothing yet; the trust state will bring it.
    let prepared = world.answered(old, &[old], &[old, new]).expect("accepted");
    assert_eq!(shown(&prepared), [root_of(old)]);
    // Activated, in an exchange that began before: the bridge leads to the old root too.
    let activated = world.answered(new, &[old], &[old, new]).expect("accepted");
    assert_eq!(shown(&activated), [root_of(old), root_of(new)]);
    // Revoked: an exchange of before still proves the answer, and the old root is not named any more.
    let revoked = world.answered(new, &[old], &[new]).expect("accepted");
    assert_eq!(shown(&revoked), [root_of(new)]);
    // Aborted: the old one signs again, and nothing of the new one is believed.
    let aborted = world.answered(old, &[old, new], &[old, new]).expect("accepted");
    assert_eq!(shown(&aborted), [root_of(old)]);
    let stranger = Collective::new(2, NOW);
    let foreign = world.answered(old, &[old], &[&stranger]).expect_err("refused");
    assert!(foreign.to_string().contains("another collective"), "{foreign}");
}

#[test]
fn a_root_that_the_pinned_one_has_not_vouched_for_is_not_kept_from_an_offer() {
    let world = World::new();
    let (old, new, forger) = (&world.old, &world.new, &world.forger);
    let kept = |pins: &[&Collective], crosses: &[(&Collective, CertificateDer<'_>)]| {
        let crosses = crosses.iter().map(|(root, certificate)| OfferedCross {
            root: STANDARD.encode(&root.root),
            certificate: STANDARD.encode(certificate),
        });
        let pins: Vec<Digest> = pins.iter().map(|one| root_of(one)).collect();
        offered(&[new, forger], crosses.collect(), &pins)
    };
    let vouched = kept(&[old], &[(old, old.cross(new))]).expect("the bridge counts");
    assert_eq!(vouched, [root_of(new)], "only what it was built for");
    for (name, crosses) in [
        ("none", vec![]),
        ("by the forger himself", vec![(forger, forger.cross(new))]),
        (
            "in the name of the pinned root",
            vec![(old, forger.cross(forger))],
        ),
        ("of an intermediate", vec![(old, old.bridge(forger))]),
    ] {
        let refused = kept(&[old], &crosses).expect_err(name);
        assert!(matches!(refused, OfferError::Pin { .. }), "{name}: {refused}");
    }
}

/// The fingerprints that a node keeps of an offer with these roots.
fn offered(
    roots: &[&Collective],
    cross: Vec<OfferedCross>,
    pins: &[Digest],
) -> Result<Vec<Digest>, OfferError> {
    let hello = serde_json::json!({
        "type": "hello", "suite": "muster-join/1", "csr": "", "name": "terr01", "capabilities": ["R"],
        "addresses": [], "agent_version": "0.1.0", "created": LATER, "expires": LATER + 1,
        "commit": Digest::of(b"commit"),
    });
    let hello = hello.to_string().into_bytes();
    let offer = Offer {
        kind: "offer".to_owned(),
        suite: "muster-join/1".to_owned(),
        hello: Digest::of(&hello),
        roots: roots.iter().map(|one| STANDARD.encode(&one.root)).collect(),
        r_s: STANDARD.encode([2; 32]),
        cross,
    };
    let reply = HelloReply {
        offer: STANDARD.encode(serde_json::to_vec(&offer).expect("JSON")),
        mac: STANDARD.encode([3; 32]),
        server_time: LATER,
        chain: Vec::new(),
    };
    accept(&hello, &reply, pins).map(|accepted| accepted.roots.fingerprints())
}
