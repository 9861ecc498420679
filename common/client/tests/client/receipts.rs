//! What a receipt proves, and that nothing in it can be changed.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::receipt::{Anchors, Proven, ReceiptError, verify};
use muster_ids::{AuditWriter, CollectiveId, ControlPlaneId, Digest, Incarnation, NodeId, RunId};
use muster_pki::{
    CertificateDer, Envelope, EnvelopeError, KeyUse, PayloadType, Profile, Roots, Serial, Signer as _,
    SoftwareSigner, SpiffeId, Subject, Validity, VerifyError, create_root, issue,
};
use muster_wire::node::v1::{
    outcome::{
        Countersignature, PREDICATE_TYPE, Predicate, Receipt, STATEMENT_TYPE, Statement, Subject as Output,
    },
    trust_state::TrustVersion,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// When everything here happens, milliseconds since 1970, UTC.
const NOW: i64 = 1_800_000_000_000;
const DAY: Duration = Duration::from_hours(24);

/// A key with its certificate and the intermediate.
struct Member {
    key: SoftwareSigner,
    chain: Vec<CertificateDer<'static>>,
}

/// A collective with one control plane and one node.
struct Collective {
    id: CollectiveId,
    root: CertificateDer<'static>,
    issuing: CertificateDer<'static>,
    issuing_key: SoftwareSigner,
    node: NodeId,
    policy: Member,
    receipt: Member,
}

impl Collective {
    async fn new(number: u8) -> Self {
        let id = CollectiveId::new(NOW, [number; 10]);
        let control_plane = ControlPlaneId::new(NOW, [number; 10]);
        let node = NodeId::new(NOW, [number; 10]);
        let [root_key, issuing_key] =
            [(); 2].map(|()| SoftwareSigner::generate(KeyUse::Authority).expect("a key"));
        let validity = Validity::starting(NOW, DAY * 365);
        let root = create_root(id, &root_key, &serial(1), &validity)
            .await
            .expect("a root");
        let profile = Profile::Issuing {
            collective: id,
            control_plane,
        };
        let (key, second) = (issuing_key.public_key(), serial(2));
        let issuing = issue(&profile, key, &root, &root_key, &second, &validity);
        let issuing = issuing.await.expect("an intermediate");
        let authority = (id, &issuing, &issuing_key);
        let policy = member(authority, Subject::Policy(control_plane), KeyUse::Policy).await;
        let receipt = member(authority, Subject::Receipt(node), KeyUse::Receipt).await;
        Self {
            id,
            root,
            issuing,
            issuing_key,
            node,
            policy,
            receipt,
        }
    }

    async fn member(&self, subject: Subject, key_use: KeyUse) -> Member {
        member((self.id, &self.issuing, &self.issuing_key), subject, key_use).await
    }

    fn statement(&self) -> Statement {
        let digest = |text: &str| Digest::of(text.as_bytes());
        Statement {
            kind: STATEMENT_TYPE.to_owned(),
            subject: vec![Output {
                name: "y".to_owned(),
                digest: BTreeMap::from([("sha256".to_owned(), digest("y").hex())]),
            }],
            predicate_type: PREDICATE_TYPE.to_owned(),
            predicate: Predicate {
                grant: digest("grant"),
                run: RunId::new(NOW, [7; 10]),
                fence: 3,
                user: "ann@SPOTFIRE".parse().expect("a name"),
                item: digest("item"),
                mode: Some("unrestricted".to_owned()),
                rule: "stamped".to_owned(),
                entry: Some("stamp/1".to_owned()),
                policy: Some(digest("policy")),
                packages: Some(digest("packages")),
                node: self.node,
                trust_number: 9,
                trust: Some(TrustVersion {
                    incarnation: Incarnation::new(NOW, [8; 10]),
                    epoch: 2,
                    number: 9,
                    digest: digest("state"),
                    previous: digest("before"),
                }),
                inputs: BTreeMap::from([("x".to_owned(), digest("x"))]),
                state: "succeeded".to_owned(),
                started: NOW,
                finished: NOW + 20,
                limits: vec!["degraded: memory".to_owned()],
            },
        }
    }

    async fn countersigned(&self, receipt: Envelope, digest: Digest, time: i64) -> Receipt {
        let word = Countersignature {
            receipt: digest,
            time,
            audit_writer: AuditWriter::new(NOW, [4; 10]),
            audit_sequence: 12,
        };
        let word = serde_json::to_vec(&word).expect("JSON");
        let word = sign(PayloadType::Countersignature, word, &self.policy).await;
        Receipt {
            receipt: wire(&receipt),
            countersignature: wire(&word),
            roots: vec![STANDARD.encode(&self.root)],
        }
    }

    /// A receipt with this payload, taken at this time.
    async fn taken(&self, payload: &[u8], by: &Member, time: i64) -> Receipt {
        let receipt = sign(PayloadType::Receipt, payload.to_vec(), by).await;
        self.countersigned(receipt, Digest::of(payload), time).await
    }

    async fn of(&self, statement: &Statement) -> Receipt {
        self.taken(&bytes(statement), &self.receipt, NOW + 60).await
    }

    fn pin(&self) -> Anchors {
        Anchors::Pins(vec![Digest::of(&self.root)])
    }

    fn roots(&self) -> Anchors {
        Anchors::Roots(Roots::new(vec![self.root.clone()]).expect("roots"))
    }
}

async fn member(
    (collective, issuing, issuing_key): (CollectiveId, &CertificateDer<'static>, &SoftwareSigner),
    subject: Subject,
    key_use: KeyUse,
) -> Member {
    let key = SoftwareSigner::generate(key_use).expect("a key");
    let profile = Profile::Identity(SpiffeId::new(collective, subject));
    let validity = Validity::starting(NOW, DAY * 7);
    let (public, third) = (key.public_key(), serial(3));
    let leaf = issue(&profile, public, issuing, issuing_key, &third, &validity);
    let chain = vec![leaf.await.expect("a leaf"), issuing.clone()];
    Member { key, chain }
}

async fn sign(payload_type: PayloadType, payload: Vec<u8>, by: &Member) -> Envelope {
    let signed = Envelope::sign(payload_type, payload, &by.key, &by.chain).await;
    signed.expect("signed")
}

fn serial(number: u8) -> Serial {
    Serial::from_random([number; 16])
}

fn wire(envelope: &Envelope) -> Value {
    serde_json::to_value(envelope).expect("JSON")
}

fn bytes<T: serde::Serialize>(value: &T) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON")
}

fn refused(receipt: &Receipt, anchors: &Anchors) -> ReceiptError {
    verify(&bytes(receipt), anchors).expect_err("it is refused")
}

#[tokio::test]
async fn a_receipt_proves_what_its_node_said_and_when_a_control_plane_took_it() {
    let collective = Collective::new(1).await;
    let statement = collective.statement();
    let receipt = collective.of(&statement).await;
    for anchors in [collective.pin(), collective.roots(), Anchors::Bundle] {
        let Proven {
            statement: said,
            countersignature,
            roots,
            ..
        } = verify(&bytes(&receipt), &anchors).expect("proven");
        assert_eq!(said, statement);
        assert_eq!(
            (countersignature.time, countersignature.audit_sequence),
            (NOW + 60, 12)
        );
        assert_eq!(roots, [Digest::of(&collective.root)]);
    }
    let without = Receipt {
        roots: Vec::new(),
        ..receipt
    };
    verify(&bytes(&without), &collective.roots()).expect("proven by roots of a file alone");
    assert!(matches!(refused(&without, &collective.pin()), ReceiptError::Unknown(roots) if roots.is_empty()));
    assert!(matches!(
        refused(&without, &Anchors::Bundle),
        ReceiptError::NoRoot
    ));
}

#[tokio::test]
async fn a_receipt_without_a_named_root_says_on_which_of_its_own_it_rests() {
    let [collective, other] = [Collective::new(1).await, Collective::new(2).await];
    let mut receipt = collective.of(&collective.statement()).await;
    // Of one collective, and not that of the signatures: as after an exchange of the authority.
    let validity = Validity::starting(NOW, DAY * 365);
    let key = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
    let later = create_root(collective.id, &key, &serial(9), &validity)
        .await
        .expect("a root");
    receipt.roots.insert(0, STANDARD.encode(&later));
    let proven = verify(&bytes(&receipt), &Anchors::Bundle).expect("proven");
    assert_eq!(proven.roots, [Digest::of(&collective.root)]);

    receipt.roots = vec![STANDARD.encode(&other.root)];
    assert!(matches!(
        refused(&receipt, &Anchors::Bundle),
        ReceiptError::Signed(PayloadType::Countersignature, _)
    ));
}

#[tokio::test]
async fn a_receipt_of_before_the_version_of_the_trust_state_proves_the_rest() {
    let collective = Collective::new(1).await;
    let mut statement = collective.statement();
    statement.predicate.trust = None;
    let receipt = collective.of(&statement).await;
    let proven = verify(&bytes(&receipt), &collective.pin()).expect("proven");
    assert_eq!(proven.statement.predicate.trust_number, 9);
}

#[tokio::test]
async fn each_field_of_a_receipt_is_bound_by_its_signatures() {
    let collective = Collective::new(1).await;
    let receipt = collective.of(&collective.statement()).await;
    let whole: Value = serde_json::to_value(&receipt).expect("JSON");
    for (part, name) in [
        ("receipt", "its receipt is not accepted"),
        ("countersignature", "its countersignature is not accepted"),
    ] {
        let payload = whole[part]["payload"].as_str().expect("a payload");
        let said: Value = serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON");
        let mut places = Vec::new();
        leaves(&said, "", &mut places);
        assert!(places.len() >= 4, "{places:?}");
        for place in places {
            let mut changed = said.clone();
            let leaf = changed.pointer_mut(&place).expect("a leaf");
            *leaf = match &*leaf {
                Value::Number(number) => json!(number.as_i64().expect("an integer") + 1),
                // Still a digest, identifier or name: what is refused is the signature, not the form.
                Value::String(text) => json!(nudged(text)),
                other => panic!("{place}: {other}"),
            };
            let mut bundle = whole.clone();
            bundle[part]["payload"] = json!(STANDARD.encode(changed.to_string()));
            let error = verify(bundle.to_string().as_bytes(), &collective.pin());
            let error = error.expect_err("refused").to_string();
            let named = match part {
                "receipt" => "its countersignature is that of another receipt",
                _ => name,
            };
            assert!(error.starts_with(named), "{part}{place}: {error}");
        }
    }
    // The same change with the countersignature's consent is still not what the node signed.
    let mut statement = collective.statement();
    statement.predicate.rule = "author".to_owned();
    let changed = bytes(&statement);
    let mut signed = receipt.receipt.clone();
    signed["payload"] = json!(STANDARD.encode(&changed));
    let envelope = Envelope::from_json(signed.to_string().as_bytes(), PayloadType::Receipt).expect("read");
    let forged = collective
        .countersigned(envelope, Digest::of(&changed), NOW + 60)
        .await;
    assert!(matches!(
        refused(&forged, &collective.pin()),
        ReceiptError::Signed(PayloadType::Receipt, EnvelopeError::Signature(..))
    ));
}

/// Where the texts and numbers of `value` are.
fn leaves(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                leaves(field, &format!("{place}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                leaves(item, &format!("{place}/{index}"), found);
            }
        }
        _ => found.push(place.to_owned()),
    }
}

/// The text with its last letter or digit exchanged.
fn nudged(text: &str) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    let last = letters.last_mut().expect("a text");
    *last = if *last == '0' { '1' } else { '0' };
    letters.into_iter().collect()
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused_by_name() {
    let collective = Collective::new(1).await;
    let statement = collective.statement();
    let receipt = collective.of(&statement).await;
    let mut later = statement.clone();
    later.predicate.run = RunId::new(NOW + 1, [9; 10]);
    let other_run = collective.of(&later).await;

    // The word about another run's receipt.
    let swapped = Receipt {
        countersignature: other_run.countersignature.clone(),
        ..receipt.clone()
    };
    assert!(matches!(
        refused(&swapped, &collective.pin()),
        ReceiptError::Binding { .. }
    ));

    // The two envelopes in each other's place.
    let crossed = Receipt {
        receipt: receipt.countersignature.clone(),
        countersignature: receipt.receipt.clone(),
        ..receipt.clone()
    };
    assert!(matches!(
        refused(&crossed, &collective.pin()),
        ReceiptError::Signed(PayloadType::Countersignature, EnvelopeError::Type { .. })
    ));

    // Another node's key signs in this node's name, and a control plane takes it.
    let other = NodeId::new(NOW, [99; 10]);
    let thief = collective.member(Subject::Receipt(other), KeyUse::Receipt).await;
    let stolen = collective.taken(&bytes(&statement), &thief, NOW + 60).await;
    let error = refused(&stolen, &collective.pin());
    assert!(
        matches!(error, ReceiptError::Node { named, signed } if (named, signed) == (collective.node, other)),
        "{error}"
    );

    // A node countersigns its own receipt.
    let own = Member {
        key: SoftwareSigner::from_pkcs8(&collective.receipt.key.to_pkcs8().expect("DER"), KeyUse::Policy)
            .expect("a key"),
        chain: collective.receipt.chain.clone(),
    };
    let word = STANDARD.decode(receipt.countersignature["payload"].as_str().expect("a payload"));
    let word = sign(PayloadType::Countersignature, word.expect("base64"), &own).await;
    let alone = Receipt {
        countersignature: wire(&word),
        ..receipt.clone()
    };
    assert!(matches!(
        refused(&alone, &collective.pin()),
        ReceiptError::Signed(
            PayloadType::Countersignature,
            EnvelopeError::Signer {
                source: VerifyError::Path(_) | VerifyError::Role { .. },
                ..
            }
        )
    ));

    // Statements of other kinds, and one that contradicts itself.
    let mut kinds = [statement.clone(), statement.clone(), statement.clone()];
    kinds[0].kind = "https://in-toto.io/Statement/v0.1".to_owned();
    kinds[1].predicate_type = "https://slsa.dev/provenance/v1".to_owned();
    kinds[2].predicate.trust_number = 8;
    let errors = [
        "of another kind",
        "of another kind",
        "two trust states, number 8 and number 9",
    ];
    for (kind, wanted) in kinds.iter().zip(errors) {
        let error = refused(&collective.of(kind).await, &collective.pin()).to_string();
        assert!(error.contains(wanted), "{error}");
    }
    let nothing = collective.taken(b"{}", &collective.receipt, NOW + 60).await;
    assert!(matches!(
        refused(&nothing, &collective.pin()),
        ReceiptError::Payload(PayloadType::Receipt, _)
    ));
}

#[tokio::test]
async fn only_trusted_roots_count_at_the_time_of_the_countersignature() {
    let collective = Collective::new(1).await;
    let stranger = Collective::new(2).await;
    let receipt = collective.of(&collective.statement()).await;
    let error = refused(&receipt, &stranger.pin()).to_string();
    assert!(
        error.contains(&Digest::of(&collective.root).to_string()),
        "{error}"
    );
    assert!(matches!(
        refused(&receipt, &stranger.roots()),
        ReceiptError::Signed(
            PayloadType::Countersignature,
            EnvelopeError::Signer {
                source: VerifyError::UnknownIssuer,
                ..
            }
        )
    ));
    // A stranger's receipt with the trusted root put beside it.
    let mut offered = stranger.of(&stranger.statement()).await;
    offered.roots = receipt.roots.clone();
    assert!(matches!(
        refused(&offered, &collective.pin()),
        ReceiptError::Signed(
            PayloadType::Countersignature,
            EnvelopeError::Signer {
                source: VerifyError::UnknownIssuer,
                ..
            }
        )
    ));
    offered.roots.push(STANDARD.encode(&stranger.root));
    assert!(matches!(
        refused(&offered, &collective.pin()),
        ReceiptError::Roots(muster_pki::RootsError::Mixed(..))
    ));
    // Certificates count while they are valid: the time is that of the countersignature.
    let week = i64::try_from((DAY * 8).as_millis()).expect("a short time");
    for (time, wanted) in [
        (NOW + week, VerifyError::Expired),
        (NOW - week, VerifyError::NotYetValid),
    ] {
        let statement = bytes(&collective.statement());
        let outside = collective.taken(&statement, &collective.receipt, time).await;
        let ReceiptError::Signed(_, EnvelopeError::Signer { source, .. }) =
            refused(&outside, &collective.pin())
        else {
            panic!("another reason");
        };
        assert_eq!(source, wanted);
    }
    // Chains that were cut, and signatures that are gone.
    let mut cut = receipt.clone();
    cut.receipt["signatures"][0]["chain"] = json!([cut.receipt["signatures"][0]["chain"][0]]);
    assert!(matches!(
        refused(&cut, &collective.pin()),
        ReceiptError::Signed(PayloadType::Receipt, EnvelopeError::Signer { .. })
    ));
    let mut unsigned = receipt;
    unsigned.countersignature["signatures"] = json!([]);
    assert!(matches!(
        refused(&unsigned, &collective.pin()),
        ReceiptError::Signed(PayloadType::Countersignature, EnvelopeError::Signatures { .. })
    ));
}

#[test]
fn what_is_no_receipt_is_refused_with_its_name() {
    let anchors = Anchors::Pins(vec![Digest::of(b"root")]);
    let long = vec![b' '; muster_client::receipt::MOST_RECEIPT + 1];
    for (file, wanted) in [
        (&b""[..], "it is not the receipt of a run"),
        (b"{}", "it is not the receipt of a run"),
        (&long, "a receipt has at most"),
        (
            br#"{"receipt":{},"countersignature":{},"roots":["?"]}"#,
            "is not base64",
        ),
        (
            br#"{"receipt":{},"countersignature":{},"roots":["AAAA"]}"#,
            "the roots in it",
        ),
    ] {
        let error = verify(file, &anchors).expect_err("refused").to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

proptest! {
    #[test]
    fn no_byte_of_a_receipt_can_be_changed(places in proptest::collection::vec((any::<usize>(), 1u8..), 32)) {
        thread_local! {
            static TAKEN: (Collective, Vec<u8>) = Runtime::new().expect("a runtime").block_on(async {
                let collective = Collective::new(1).await;
                let receipt = collective.of(&collective.statement()).await;
                (collective, bytes(&receipt))
            });
        }
        TAKEN.with(|(collective, whole)| {
            verify(whole, &collective.pin()).expect("as it was");
            for (place, change) in places {
                let mut changed = whole.clone();
                let place = place % changed.len();
                changed[place] ^= change;
                for anchors in [collective.pin(), collective.roots()] {
                    let proven = verify(&changed, &anchors);
                    prop_assert!(proven.is_err(), "byte {} of {}", place, changed.len());
                }
            }
            Ok(())
        })?;
    }
}
