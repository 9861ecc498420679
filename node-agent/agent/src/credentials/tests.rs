use std::os::unix::fs::{PermissionsExt as _, symlink};

use proptest::prelude::*;

use super::*;

mod crashes;

fn home() -> (tempfile::TempDir, Home) {
    let outer = tempfile::tempdir().expect("folder");
    let home = Home::create(&outer.path().join("node")).expect("made");
    (outer, home)
}

fn joining() -> Joining {
    Joining {
        registration: vec!["control:9080".to_owned()],
        pins: vec![Digest::of(b"root")],
        name: "terr01".parse().expect("name"),
        capabilities: vec![crate::capability::Capability::Terr],
        pool: None,
        site: None,
        addresses: Vec::new(),
        exchange: None,
        previous: None,
        renewal: None,
        former: None,
    }
}

fn exchange() -> Exchange {
    serde_json::from_value(serde_json::json!({
        "r_n": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=", "hello": "aGVsbG8=", "offer": "b2ZmZXI=", "mac": "bWFj",
        "roots": [], "begun": 7, "revealed": false, "counter": 3,
    }))
    .expect("an exchange")
}

#[test]
fn what_was_stored_is_what_is_loaded() {
    let (_outer, home) = home();
    assert!(Credentials::load(&home, 0).expect("readable").is_none());
    let mut made = Credentials::create(&home, joining()).expect("made");
    let stage = Stage::Joining(Joining {
        exchange: Some(exchange()),
        ..joining()
    });
    made.advance(stage.clone(), "join.offer").expect("stored");
    let loaded = Credentials::load(&home, 0).expect("readable").expect("there");
    assert_eq!(
        (loaded.fingerprint(), loaded.stage()),
        (made.fingerprint(), &stage)
    );
    assert!(loaded.trusted().is_none());
}

#[test]
fn a_looser_mode_a_link_and_a_folder_are_refused_and_left_alone() {
    let (_outer, home) = home();
    Credentials::create(&home, joining()).expect("made");
    for mode in [0o640, 0o604, 0o620, 0o700] {
        fs::set_permissions(home.identity(), fs::Permissions::from_mode(mode)).expect("changed");
        let error = Credentials::load(&home, 0).expect_err("too open");
        assert!(
            matches!(error, CredentialsError::File(FileError::Mode { .. })),
            "{mode:o}: {error}"
        );
    }
    fs::set_permissions(home.identity(), fs::Permissions::from_mode(0o600)).expect("changed");
    let elsewhere = home.root().join("elsewhere");
    fs::rename(home.identity(), &elsewhere).expect("moved");
    symlink(&elsewhere, home.identity()).expect("linked");
    let error = Credentials::load(&home, 0).expect_err("a link");
    assert!(
        matches!(error, CredentialsError::File(FileError::Link(_))),
        "{error}"
    );
    fs::remove_file(home.identity()).expect("removed");
    fs::create_dir(home.identity()).expect("made");
    assert!(Credentials::load(&home, 0).is_err());
    assert!(home.quarantined().is_empty());
}

#[test]
fn a_damaged_file_is_moved_aside_and_never_replaced() {
    let (_outer, home) = home();
    Credentials::create(&home, joining()).expect("made");
    let bytes = fs::read(home.identity()).expect("read");
    file::write(&home.identity(), &bytes[..bytes.len() / 2], 0o600, "test").expect("cut");
    let error = Credentials::load(&home, 42).expect_err("damaged").to_string();
    assert!(
        error.contains("identity.json.damaged-42") && error.contains("muster-node join"),
        "{error}"
    );
    assert_eq!(home.quarantined().len(), 1);
    assert_eq!(
        fs::read(&home.quarantined()[0]).expect("kept"),
        bytes[..bytes.len() / 2]
    );
    assert!(Credentials::load(&home, 43).expect("readable").is_none());
}

#[test]
fn a_file_of_a_later_version_is_left_alone() {
    let (_outer, home) = home();
    Credentials::create(&home, joining()).expect("made");
    let text = fs::read_to_string(home.identity()).expect("read");
    let later = text.replacen("\"format\":1", "\"format\":2", 1);
    file::write(&home.identity(), later.as_bytes(), 0o600, "test").expect("written");
    assert!(matches!(
        Credentials::load(&home, 0),
        Err(CredentialsError::Version { found: 2, .. })
    ));
    assert!(home.identity().exists());
}

#[test]
fn a_stage_that_cannot_be_stored_is_not_entered() {
    let (_outer, home) = home();
    let mut made = Credentials::create(&home, joining()).expect("made");
    made.path = home.root().join("missing").join("identity.json");
    let rejected = Stage::Rejected(Rejected { reason: None, at: 1 });
    made.advance(rejected, "join.rejected")
        .expect_err("no such folder");
    assert_eq!(made.stage(), &Stage::Joining(joining()));
}

#[test]
fn neither_key_nor_nonce_is_ever_shown() {
    let (_outer, home) = home();
    let mut made = Credentials::create(&home, joining()).expect("made");
    made.advance(
        Stage::Joining(Joining {
            exchange: Some(exchange()),
            ..joining()
        }),
        "t",
    )
    .expect("stored");
    let shown = format!("{made:?}");
    assert!(
        !shown.contains("AQEB") && !shown.contains("r_n") && !shown.contains("[1, 1"),
        "{shown}"
    );
    let code = exchange().transcript().code().to_string();
    assert!(!shown.contains(&code), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_cut_or_changed_byte_is_noticed(at in any::<prop::sample::Index>(), flip in 1_u8..=255, cut: bool) {
        let key = SoftwareSigner::generate(KeyUse::Tls).expect("key");
        let stage = Stage::Joining(joining());
        let bytes = form::write(&key.to_pkcs8().expect("DER"), &stage, None);
        let mut damaged = bytes.to_vec();
        // The newline at the end is no content.
        let at = at.index(bytes.len() - 1);
        if cut {
            damaged.truncate(at);
        } else {
            damaged[at] ^= flip;
        }
        prop_assert!(form::read(&damaged).is_err());
    }
}

fn member(generation: u64) -> Member {
    serde_json::from_value(serde_json::json!({
        "node": "019b76da-a800-7111-9111-111111111111", "collective": "019b76da-a800-7222-9222-222222222222",
        "name": "terr01", "capabilities": ["TERR"], "pool": "default", "site": "default", "chain": [], "roots": [],
        "back_ends": ["control:9443"], "registration": ["control:9080"], "epoch": 1, "generation": generation,
    }))
    .expect("a member")
}

#[tokio::test]
async fn a_renewal_keeps_its_key_over_a_restart_and_changes_to_it_at_the_end() {
    let (_outer, home) = home();
    let mut made = Credentials::create(&home, joining()).expect("made");
    made.advance(Stage::Trusted(member(1)), "join.issued")
        .expect("stored");
    made.begin_renewal(7).await.expect("stored");
    let asked = made.next().expect("a key").key.public_key().fingerprint();

    let mut loaded = Credentials::load(&home, 0).expect("readable").expect("there");
    loaded.begin_renewal(9).await.expect("nothing to do");
    let next = loaded.next().expect("the key");
    assert_eq!((next.key.public_key().fingerprint(), next.begun), (asked, 7));
    assert_eq!(
        loaded.fingerprint(),
        made.fingerprint(),
        "the present key is still in use"
    );

    loaded.finish_renewal(member(2)).expect("stored");
    let renewed = Credentials::load(&home, 0).expect("readable").expect("there");
    assert_eq!(renewed.fingerprint(), asked);
    assert!(renewed.next().is_none());
    assert_eq!(renewed.trusted().map(|member| member.generation), Some(2));
}

#[tokio::test]
async fn a_renewal_that_cannot_be_stored_changes_nothing() {
    let (_outer, home) = home();
    let mut made = Credentials::create(&home, joining()).expect("made");
    made.advance(Stage::Trusted(member(1)), "join.issued")
        .expect("stored");
    made.begin_renewal(7).await.expect("stored");
    let (held, asked) = (made.fingerprint(), made.next().expect("a key").csr.clone());
    fs::rename(home.root(), home.root().with_extension("away")).expect("moved");
    made.finish_renewal(member(2)).expect_err("there is no folder");
    assert_eq!(made.fingerprint(), held);
    assert_eq!(made.next().map(|next| &next.csr), Some(&asked));
    assert_eq!(made.trusted().map(|member| member.generation), Some(1));
}

#[tokio::test]
async fn joining_again_forgets_the_renewal_that_was_under_way() {
    let (_outer, home) = home();
    let mut made = Credentials::create(&home, joining()).expect("made");
    made.advance(Stage::Trusted(member(1)), "join.issued")
        .expect("stored");
    made.begin_renewal(7).await.expect("stored");
    made.advance(Stage::Joining(joining()), "join.renewal")
        .expect("stored");
    let loaded = Credentials::load(&home, 0).expect("readable").expect("there");
    assert!(loaded.next().is_none());
}
