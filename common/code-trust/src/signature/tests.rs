use std::{
    task::{Context, Poll, Waker},
    time::Duration,
};

use muster_ids::{CollectiveId, UserId};
use muster_pki::{
    KeyUse, PublicKey, Serial, Signer as _, SoftwareSigner, Validity,
    code_signing::{CodeHolder, create_code_root, issue_code_certificate},
};
use proptest::prelude::*;

use super::*;
use crate::SignedKind;

/// 2026-01-01, when everything here is made.
const NOW: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a key in memory answers at once"),
    }
}

/// A code-signing authority in memory.
struct Authority {
    key: SoftwareSigner,
    root: CertificateDer<'static>,
    stamps: (SoftwareSigner, CertificateDer<'static>),
}

impl Authority {
    fn new(number: u8) -> Self {
        let collective = CollectiveId::new(1, [number; 10]);
        let validity = Validity::starting(NOW, Duration::from_hours(10 * 365 * 24));
        let key = SoftwareSigner::generate(KeyUse::Authority).expect("a key");
        let root = ready(create_code_root(
            collective,
            &key,
            &Serial::from_random([number; 16]),
            &validity,
        ));
        let root = root.expect("a root");
        let stamp_key = SoftwareSigner::generate(KeyUse::TimeStamp).expect("a key");
        let holder = CodeHolder::TimeStamp(collective);
        let stamp = issued(&holder, stamp_key.public_key(), (&root, &key), &validity);
        Self {
            key,
            root,
            stamps: (stamp_key, stamp),
        }
    }

    fn user(&self, days: u64) -> (SoftwareSigner, CertificateDer<'static>) {
        let key = SoftwareSigner::generate(KeyUse::Code).expect("a key");
        let holder = CodeHolder::User {
            name: "ann@SPOTFIRE".parse().expect("a name"),
            id: UserId::new(1, [7; 10]),
        };
        let validity = Validity::starting(NOW, Duration::from_hours(days * 24));
        let certificate = issued(&holder, key.public_key(), (&self.root, &self.key), &validity);
        (key, certificate)
    }

    fn stamp(&self, signature: &CodeSigned, at: i64) -> CodeSigned {
        self.stamp_as(signature, at, true)
    }

    fn stamp_as(&self, signature: &CodeSigned, at: i64, signed_here: bool) -> CodeSigned {
        let statement = TimeStatement {
            digest: SignatureBundle::stamped_digest(signature),
            at: Moment::from_unix_ms(at),
            signed_here,
        };
        let payload = serde_json::to_vec(&statement).expect("JSON");
        let (key, certificate) = &self.stamps;
        let chain = [certificate.clone()];
        ready(CodeSigned::sign(CodeMessage::TimeStamp, payload, key, &chain)).expect("a stamp")
    }

    fn called(&self, label: &str) -> CodeRoot {
        CodeRoot {
            label: label.parse().expect("a label"),
            certificate: self.root.clone(),
        }
    }
}

fn issued(
    holder: &CodeHolder,
    key: &PublicKey,
    (root, signer): (&CertificateDer<'_>, &SoftwareSigner),
    validity: &Validity,
) -> CertificateDer<'static> {
    let serial = Serial::from_random([9; 16]);
    ready(issue_code_certificate(
        holder, key, root, signer, &serial, validity,
    ))
    .expect("a certificate")
}

fn hash() -> ItemHash {
    muster_ids::Sha512::of(b"item").into()
}

const MOD: ItemType = ItemType::VisualizationMod;

fn signed(authority: &Authority, days: u64) -> SignatureBundle {
    let (key, certificate) = authority.user(days);
    let statement = ItemStatement {
        r#type: MOD,
        hash: hash(),
    };
    let payload = serde_json::to_vec(&statement).expect("JSON");
    let signature = ready(CodeSigned::sign(
        CodeMessage::ItemSignature,
        payload,
        &key,
        &[certificate],
    ));
    let signature = signature.expect("a signature");
    let time_stamp = Some(authority.stamp(&signature, NOW + DAY));
    SignatureBundle {
        signature,
        time_stamp,
    }
}

fn found(bundle: &SignatureBundle, roots: &[CodeRoot], at: i64) -> Checked {
    let account = |_: &Account| SignerState::Active;
    bundle
        .check((MOD, &hash()), roots, Moment::from_unix_ms(at), account)
        .expect("a bundle")
}

fn problem(bundle: &SignatureBundle, roots: &[CodeRoot]) -> Option<SignatureProblem> {
    found(bundle, roots, NOW + 2 * DAY).problem
}

#[test]
fn a_signature_of_a_user_holds_after_its_certificate_has_ended() {
    let authority = Authority::new(1);
    let (bundle, roots) = (signed(&authority, 30), [authority.called(INTERNAL_ROOT)]);
    let checked = found(&bundle, &roots, NOW + 3000 * DAY);
    assert_eq!(checked.problem, None);
    assert_eq!(checked.stamped, Some(Moment::from_unix_ms(NOW + DAY)));
    assert_eq!(checked.subject, "CN=ann@SPOTFIRE");
    let expected = SignatureSource::User {
        root: INTERNAL_ROOT.parse().expect("a label"),
        user: "ann@SPOTFIRE".parse().expect("a name"),
        state: SignerState::Active,
        certificate: Some(checked.certificate.clone()),
        time: Moment::from_unix_ms(NOW + DAY),
    };
    assert_eq!(checked.signature.source, expected);
    let read = SignatureBundle::from_json(bundle.to_json().as_bytes()).expect("read");
    assert_eq!(read, bundle);
}

#[test]
fn another_item_another_type_and_another_byte_are_found_out() {
    let authority = Authority::new(1);
    let (bundle, roots) = (signed(&authority, 30), [authority.called(INTERNAL_ROOT)]);
    let other: ItemHash = muster_ids::Sha512::of(b"other").into();
    let now = Moment::from_unix_ms(NOW + 2 * DAY);
    for (r#type, hash) in [(MOD, &other), (ItemType::ActionMod, &hash())] {
        let checked = bundle
            .check((r#type, hash), &roots, now, |_| SignerState::Active)
            .expect("a bundle");
        assert!(checked.signature.tampered, "{type}");
        assert_eq!(checked.problem, Some(SignatureProblem::OtherItem));
    }
    let stranger = signed(&Authority::new(1), 30);
    let mut json: serde_json::Value = serde_json::from_str(&bundle.to_json()).expect("JSON");
    let theirs: serde_json::Value = serde_json::from_str(&stranger.to_json()).expect("JSON");
    json["signature"]["signatures"][0]["sig"] = theirs["signature"]["signatures"][0]["sig"].clone();
    let swapped = SignatureBundle::from_json(json.to_string().as_bytes()).expect("a bundle");
    assert_eq!(problem(&swapped, &roots), Some(SignatureProblem::Changed));
}

#[test]
fn a_signature_that_leads_to_no_accepted_root_names_one_that_no_state_accepts() {
    let (here, elsewhere) = (Authority::new(1), Authority::new(2));
    let bundle = signed(&elsewhere, 30);
    let checked = found(&bundle, &[here.called(INTERNAL_ROOT)], NOW + 2 * DAY);
    assert_eq!(
        checked.problem,
        Some(SignatureProblem::Chain(ChainError::UnknownIssuer))
    );
    let SignatureSource::User { root, .. } = checked.signature.source else {
        panic!("it names a user")
    };
    assert!(root.as_str().starts_with("unverified ("), "{root}");
    // The same root, imported: a certificate of another system, and none of its users is one here.
    let imported = found(
        &bundle,
        &[here.called(INTERNAL_ROOT), elsewhere.called("sha256:ab")],
        NOW + 2 * DAY,
    );
    assert_eq!(imported.problem, None);
    assert!(matches!(
        imported.signature.source,
        SignatureSource::External { .. }
    ));
}

#[test]
fn no_other_root_dates_a_signature_of_a_user_back() {
    let (here, elsewhere) = (Authority::new(1), Authority::new(2));
    let roots = [here.called(INTERNAL_ROOT), elsewhere.called("sha256:ab")];
    let bundle = signed(&here, 30);
    let dated_back = SignatureBundle {
        time_stamp: Some(elsewhere.stamp(&bundle.signature, NOW)),
        ..bundle.clone()
    };
    assert_eq!(problem(&dated_back, &roots), Some(SignatureProblem::TimeStamp));
    let unstamped = SignatureBundle {
        time_stamp: None,
        ..bundle.clone()
    };
    assert_eq!(problem(&unstamped, &roots), Some(SignatureProblem::NoTimeStamp));
    let another = signed(&here, 30);
    let borrowed = SignatureBundle {
        time_stamp: another.time_stamp,
        ..bundle.clone()
    };
    assert_eq!(problem(&borrowed, &roots), Some(SignatureProblem::TimeStamp));
    let late = SignatureBundle {
        time_stamp: Some(here.stamp(&bundle.signature, NOW + 31 * DAY)),
        ..bundle
    };
    assert_eq!(
        problem(&late, &roots),
        Some(SignatureProblem::Chain(ChainError::Expired))
    );
}

#[test]
fn the_own_root_comes_first_wherever_it_stands_and_a_former_one_accepts_nothing() {
    let authority = Authority::new(1);
    let bundle = signed(&authority, 30);
    let own = authority.called(INTERNAL_ROOT);
    for roots in [
        [authority.called("sha256:ab"), own.clone()],
        [own, authority.called("sha256:ab")],
    ] {
        let checked = found(&bundle, &roots, NOW + 2 * DAY);
        assert_eq!(checked.root.as_ref().map(Label::as_str), Some(INTERNAL_ROOT));
        assert!(matches!(checked.signature.source, SignatureSource::User { .. }));
    }
    let roots = [authority.called("sha256:ab"), authority.called(FORMER_ROOT)];
    let checked = found(&bundle, &roots, NOW + 2 * DAY);
    assert_eq!(
        checked.problem.map(|problem| problem.status()),
        Some(SignatureStatus::Chain)
    );
    assert_eq!(checked.root, None);
}

#[test]
fn a_time_stamp_is_over_what_was_signed_and_whose_certificate_it_was() {
    let authority = Authority::new(1);
    let bundle = signed(&authority, 30);
    let digest = SignatureBundle::stamped_digest(&bundle.signature);
    let text = serde_json::to_string(&bundle.signature).expect("JSON");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let with = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut json = json.clone();
        change(&mut json);
        let changed: CodeSigned = serde_json::from_value(json).expect("a message");
        SignatureBundle::stamped_digest(&changed)
    };
    assert_eq!(with(&|_| {}), digest);
    assert_ne!(with(&|json| json["payload"] = "e30=".into()), digest);
    assert_ne!(with(&|json| json["payloadType"] = "other".into()), digest);
    let other = Digest::of(b"another certificate").to_string();
    assert_ne!(
        with(&|json| json["signatures"][0]["keyid"] = other.clone().into()),
        digest
    );
    assert_ne!(with(&|json| json["signatures"][0]["sig"] = "AAAA".into()), digest);
}

#[test]
fn the_block_of_a_certificate_that_was_issued_here_or_poses_as_such_holds() {
    use crate::{
        Block, Client, Entry, Feature, Group, GroupGraph, Question, Settings, Signed, SignedAction, Subject,
        TrustState, decide,
    };
    let authority = Authority::new(1);
    let bundle = signed(&authority, 30);
    // Accepted, and where its chain is refused and it only names an account.
    for roots in [&[authority.called(INTERNAL_ROOT)][..], &[]] {
        let checked = found(&bundle, roots, NOW + 2 * DAY);
        let group = Group {
            name: "Readers".parse().expect("a name"),
            parents: Vec::new(),
            features: vec![Feature::OpenVisualizationMod],
        };
        let direct = group.name.clone();
        let user = GroupGraph::new([group]).facts("bea@SPOTFIRE".parse().expect("a name"), [&direct]);
        let question = Question {
            user: &user,
            client: Client::Web,
            subject: Subject::Signed(
                Signed {
                    kind: SignedKind::VisualizationMod,
                    hash: Some(hash()),
                    signature: Some(checked.signature),
                },
                SignedAction::Open,
            ),
            now: Moment::from_unix_ms(NOW + 2 * DAY),
        };
        let entry = Entry::Block(Block::Certificate(checked.certificate));
        let state = TrustState::from_pairs([(entry.key(), entry.value())]).expect("a state");
        let rule = decide(&question, &state, &Settings::default()).verdict();
        assert_eq!(rule.rule, "certificate-blocked");
    }
}

#[test]
fn the_certificate_of_another_authority_counts_until_it_ends_unless_it_is_stamped() {
    let (here, elsewhere) = (Authority::new(1), Authority::new(2));
    let roots = [here.called(INTERNAL_ROOT), elsewhere.called("sha256:ab")];
    let bundle = signed(&elsewhere, 30);
    let unstamped = SignatureBundle {
        time_stamp: None,
        ..bundle.clone()
    };
    assert_eq!(found(&unstamped, &roots, NOW + 29 * DAY).problem, None);
    let over = found(&unstamped, &roots, NOW + 31 * DAY).problem;
    assert_eq!(over, Some(SignatureProblem::Chain(ChainError::Expired)));
    let by_us = SignatureBundle {
        time_stamp: Some(here.stamp(&bundle.signature, NOW + DAY)),
        ..bundle
    };
    assert_eq!(found(&by_us, &roots, NOW + 31 * DAY).problem, None);
}

#[test]
fn a_signer_whose_account_is_gone_and_a_stamp_that_signs_are_refused() {
    let authority = Authority::new(1);
    let roots = [authority.called(INTERNAL_ROOT)];
    let bundle = signed(&authority, 30);
    let now = Moment::from_unix_ms(NOW + 2 * DAY);
    let gone = bundle
        .check((MOD, &hash()), &roots, now, |_| SignerState::Deleted)
        .expect("a bundle");
    assert_eq!(
        gone.problem.map(|problem| problem.status()),
        Some(SignatureStatus::UserDeleted)
    );
    let (key, certificate) = &authority.stamps;
    let payload = serde_json::to_vec(&ItemStatement {
        r#type: MOD,
        hash: hash(),
    })
    .expect("JSON");
    assert!(
        ready(CodeSigned::sign(
            CodeMessage::ItemSignature,
            payload,
            key,
            std::slice::from_ref(certificate)
        ))
        .is_err()
    );
}

#[test]
fn what_is_no_bundle_counts_as_unsigned() {
    for text in ["", "{}", "[]", "{\"signature\":1}", "\u{30}\u{82}"] {
        assert!(SignatureBundle::from_json(text.as_bytes()).is_err(), "{text}");
    }
    assert!(matches!(
        SignatureBundle::from_json(&vec![b' '; MOST_BUNDLE + 1]),
        Err(BundleError::TooLong(_))
    ));
    assert!(ItemType::from(SignedKind::VisualizationMod) == MOD);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn no_changed_byte_leaves_a_signature_valid(at in any::<prop::sample::Index>(), bit in 0u8..7) {
        let authority = Authority::new(1);
        let roots = [authority.called(INTERNAL_ROOT)];
        let bundle = signed(&authority, 30);
        let mut bytes = bundle.to_json().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(changed) = SignatureBundle::from_json(&bytes) {
            let now = Moment::from_unix_ms(NOW + 2 * DAY);
            if let Ok(checked) = changed.check((MOD, &hash()), &roots, now, |_| SignerState::Active) {
                prop_assert!(checked.problem.is_some() || changed == bundle);
            }
        }
    }
}

#[test]
fn a_signature_of_the_collective_is_not_dated_anew_by_having_it_stamped() {
    let own = Authority::new(1);
    let roots = [own.called(INTERNAL_ROOT)];
    let mut bundle = signed(&own, 365);
    assert_eq!(found(&bundle, &roots, NOW + 2 * DAY).problem, None);
    bundle.time_stamp = Some(own.stamp_as(&bundle.signature, NOW + 2 * DAY, false));
    let checked = found(&bundle, &roots, NOW + 2 * DAY);
    assert_eq!(checked.problem, Some(SignatureProblem::TimeStamp));
    // For the signature of another authority it says when that was there.
    let elsewhere = [own.called("sha256:elsewhere")];
    assert_eq!(found(&bundle, &elsewhere, NOW + 2 * DAY).problem, None);
}
