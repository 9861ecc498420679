use std::collections::BTreeMap;

use muster_ids::Incarnation;
use muster_wire::node::v1::{
    epoch::{EpochBump, Line},
    trust_state::{TrustChange, TrustHead},
};

use super::*;
use crate::fixture::Collective;

const NOW: i64 = 1_767_225_600_000;
const STALENESS: Duration = Duration::from_mins(15);

struct World {
    collective: Collective,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self {
            collective: Collective::new(1, NOW),
            folder: tempfile::tempdir().expect("folder"),
        }
    }

    fn load(&self) -> Trust {
        let path = self.folder.path().join("trust-state.json");
        Trust::load(path, &self.collective.roots(), 1, STALENESS, NOW)
    }

    fn install(&self, trust: &Trust, reply: &TrustStateReply) -> Result<(), TrustError> {
        trust.install(reply, &self.collective.roots(), NOW)
    }

    fn head(&self, version: StateVersion, requires: &[&str]) -> muster_wire::node::v1::Envelope {
        let head = TrustHead {
            version: wire_version(&version),
            requires: requires.iter().map(|feature| (*feature).to_owned()).collect(),
        };
        self.collective.signed(PayloadType::TrustState, &head)
    }

    fn whole(&self, number: u64, roots: &[&str]) -> TrustStateReply {
        let (version, entries) = state(number, roots);
        TrustStateReply {
            bump: None,
            head: self.head(version, &["roots/1"]),
            entries: Some(entries),
            changes: None,
        }
    }

    fn beacon(&self, version: StateVersion, challenge: String) -> Envelope {
        let beacon = Beacon {
            version: wire_version(&version),
            issued: NOW,
            time_to_live: 90,
            challenge,
        };
        self.collective.sign(PayloadType::Beacon, &beacon)
    }
}

fn entry(root: &str) -> (String, String) {
    (format!("root/{root}"), format!("\"{root}\""))
}

/// The state with these accepted roots, as the only entries.
fn state(number: u64, roots: &[&str]) -> (StateVersion, BTreeMap<String, String>) {
    let entries: BTreeMap<String, String> = roots.iter().map(|root| entry(root)).collect();
    let state = TrustState::from_pairs(entries.clone()).expect("entries");
    let before = TrustState::from_pairs(
        roots
            .iter()
            .take(roots.len().saturating_sub(1))
            .map(|root| entry(root)),
    );
    let version = StateVersion {
        incarnation: Incarnation::new(1, [1; 10]),
        epoch: 1,
        number,
        digest: state.digest(),
        previous: before.expect("entries").digest(),
    };
    (version, entries)
}

#[test]
fn a_signed_state_is_taken_kept_and_found_again() {
    let world = World::new();
    let trust = world.load();
    assert!(trust.held().is_none());
    world
        .install(&trust, &world.whole(7, &["a", "b"]))
        .expect("accepted");
    assert_eq!(trust.held().expect("held").state.len(), 2);
    let found = world.load().held().expect("verified again");
    assert_eq!(found.version, state(7, &["a", "b"]).0);
    assert!(!world.load().is_fresh(Duration::ZERO));
}

#[test]
fn changes_lead_to_the_signed_digest_or_are_refused() {
    let world = World::new();
    let trust = world.load();
    world.install(&trust, &world.whole(7, &["a"])).expect("accepted");
    let (version, _) = state(8, &["a", "b"]);
    let (key, value) = entry("b");
    let change = |key: &str| TrustStateReply {
        bump: None,
        head: world.head(version, &["roots/1"]),
        entries: None,
        changes: Some(vec![TrustChange {
            number: 8,
            key: key.to_owned(),
            value: Some(value.clone()),
        }]),
    };
    let wrong = change("root/c");
    assert!(matches!(world.install(&trust, &wrong), Err(TrustError::State(_))));
    assert_eq!(trust.held().expect("held").version.number, 7);
    world.install(&trust, &change(&key)).expect("accepted");
    assert_eq!(trust.held().expect("held").version, version);
    let empty = world.load();
    let nothing = Trust::load(
        world.folder.path().join("other.json"),
        &world.collective.roots(),
        1,
        STALENESS,
        NOW,
    );
    assert!(empty.held().is_some());
    assert!(matches!(
        world.install(&nothing, &change(&key)),
        Err(TrustError::Nothing)
    ));
}

#[test]
fn an_older_number_a_fork_a_second_copy_and_an_older_epoch_are_refused() {
    let world = World::new();
    let trust = world.load();
    world
        .install(&trust, &world.whole(7, &["a", "b"]))
        .expect("accepted");
    for refused in [world.whole(6, &["a"]), world.whole(7, &["a", "c"])] {
        assert!(matches!(
            world.install(&trust, &refused),
            Err(TrustError::Version(_))
        ));
    }
    let with = |edit: &dyn Fn(&mut StateVersion)| {
        let (mut version, entries) = state(9, &["a", "b"]);
        edit(&mut version);
        TrustStateReply {
            bump: None,
            head: world.head(version, &[]),
            entries: Some(entries),
            changes: None,
        }
    };
    let copy = with(&|version| version.incarnation = Incarnation::new(2, [2; 10]));
    assert!(matches!(
        world.install(&trust, &copy),
        Err(TrustError::Version(VersionError::SecondCopy(1)))
    ));
    let old = with(&|version| version.epoch = 0);
    assert!(matches!(
        world.install(&trust, &old),
        Err(TrustError::BeforeJoin {
            offered: 0,
            joined: 1
        })
    ));
    assert!(world.install(&trust, &with(&|_| {})).is_ok());
}

#[test]
fn what_is_tampered_with_signed_by_others_or_not_understood_is_refused() {
    let world = World::new();
    let trust = world.load();
    let good = world.whole(7, &["a"]);
    let mut more = good.clone();
    more.entries.as_mut().expect("whole").extend([entry("evil")]);
    assert!(matches!(
        world.install(&trust, &more),
        Err(TrustError::Digest { .. })
    ));
    let stranger = Collective::new(2, NOW);
    let mut foreign = good.clone();
    foreign.head = stranger.signed(
        PayloadType::TrustState,
        &TrustHead {
            version: wire_version(&state(7, &["a"]).0),
            requires: Vec::new(),
        },
    );
    assert!(matches!(
        world.install(&trust, &foreign),
        Err(TrustError::Envelope(_))
    ));
    let mut beacon = good.clone();
    beacon.head = world
        .collective
        .signed(PayloadType::Beacon, &wire_version(&state(7, &["a"]).0));
    assert!(matches!(
        world.install(&trust, &beacon),
        Err(TrustError::Envelope(_))
    ));
    let mut future = good.clone();
    future.head = world.head(state(7, &["a"]).0, &["quantum/9"]);
    assert!(matches!(
        world.install(&trust, &future),
        Err(TrustError::State(StateError::Requires(_)))
    ));
    assert!(trust.held().is_none());
    world.install(&trust, &good).expect("accepted");
}

#[test]
fn a_state_that_was_changed_on_disk_is_not_used_but_its_version_stays_the_floor() {
    let world = World::new();
    world
        .install(&world.load(), &world.whole(7, &["a", "b"]))
        .expect("accepted");
    let path = world.folder.path().join("trust-state.json");
    let text = std::fs::read_to_string(&path).expect("read");
    let evil = text.replace("\"root/b\":\"\\\"b\\\"\"", "\"root/e\":\"\\\"e\\\"\"");
    assert_ne!(text, evil);
    muster_daemon::file::write(&path, evil.as_bytes(), 0o600, "test").expect("written");
    let trust = world.load();
    assert!(trust.held().is_none());
    assert!(matches!(
        world.install(&trust, &world.whole(6, &["a"])),
        Err(TrustError::Version(_))
    ));
    world
        .install(&trust, &world.whole(7, &["a", "b"]))
        .expect("accepted");
}

#[test]
fn a_beacon_makes_the_held_state_fresh_and_a_newer_one_waits_for_its_state() {
    let world = World::new();
    let trust = world.load();
    let roots = world.collective.roots();
    let (version, _) = state(7, &["a"]);
    let ask = |seed: u8| trust.challenge([seed; 32], Duration::from_secs(10));
    let heard = trust
        .hear(world.beacon(version, ask(1)), &roots, NOW)
        .expect("asked");
    assert_eq!(heard.0, Heard::Behind);
    assert!(!trust.is_fresh(Duration::from_secs(11)));
    world.install(&trust, &world.whole(7, &["a"])).expect("accepted");
    assert!(trust.is_fresh(Duration::from_secs(99)) && !trust.is_fresh(Duration::from_secs(100)));
    let heard = trust
        .hear(world.beacon(version, ask(2)), &roots, NOW)
        .expect("asked");
    assert_eq!(heard.0, Heard::Current);
}

#[test]
fn a_beacon_of_others_a_tampered_a_recorded_and_one_of_an_older_epoch_count_for_nothing() {
    let world = World::new();
    let trust = world.load();
    let roots = world.collective.roots();
    world.install(&trust, &world.whole(7, &["a"])).expect("accepted");
    let (version, _) = state(7, &["a"]);
    let challenge = trust.challenge([1; 32], Duration::ZERO);
    let stranger = World {
        collective: Collective::new(2, NOW),
        folder: tempfile::tempdir().expect("folder"),
    };
    let foreign = stranger.beacon(version, challenge.clone());
    assert!(matches!(
        trust.hear(foreign, &roots, NOW),
        Err(TrustError::Envelope(_))
    ));
    let text = String::from_utf8(world.beacon(version, challenge.clone()).to_json()).expect("JSON");
    let mut tampered: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let payload = tampered["payload"].as_str().expect("text").replacen('e', "f", 1);
    tampered["payload"] = payload.into();
    let tampered = crate::envelope::read(&tampered, PayloadType::Beacon).expect("readable");
    assert!(matches!(
        trust.hear(tampered, &roots, NOW),
        Err(TrustError::Envelope(_))
    ));
    let old = StateVersion { epoch: 0, ..version };
    assert!(
        trust
            .hear(world.beacon(old, challenge.clone()), &roots, NOW)
            .is_err()
    );
    let unasked = world.beacon(version, "AAAA".to_owned());
    assert!(matches!(
        trust.hear(unasked, &roots, NOW),
        Err(TrustError::Challenge(_))
    ));
    assert!(!trust.is_fresh(Duration::ZERO));
    let asked = world.beacon(version, trust.challenge([2; 32], Duration::ZERO));
    let recorded = asked.clone();
    trust.hear(asked, &roots, NOW).expect("asked");
    assert!(matches!(
        trust.hear(recorded, &roots, NOW),
        Err(TrustError::Challenge(_))
    ));
}

#[tokio::test]
async fn a_run_waits_until_the_state_of_its_grant_is_held() {
    let world = World::new();
    let trust = world.load();
    world.install(&trust, &world.whole(7, &["a"])).expect("accepted");
    let wanted = wire_version(&state(8, &["a", "b"]).0);
    let early = tokio::time::timeout(Duration::from_millis(50), trust.reach(&wanted)).await;
    assert!(early.is_err());
    let (reached, ()) = tokio::join!(trust.reach(&wanted), async {
        world
            .install(&trust, &world.whole(8, &["a", "b"]))
            .expect("accepted");
    });
    assert_eq!(reached.expect("reachable").version.number, 8);
    let old = wire_version(&StateVersion {
        epoch: 0,
        ..state(8, &["a", "b"]).0
    });
    assert!(trust.reach(&old).await.is_err());
}

impl World {
    /// The state of a database that was put back: another copy, a later epoch, an older number.
    fn restored(
        &self,
        (copy, epoch): (u8, u64),
        number: u64,
        bump: Option<serde_json::Value>,
    ) -> TrustStateReply {
        let (mut version, entries) = state(number, &["a"]);
        (version.epoch, version.incarnation) = (epoch, Incarnation::new(1, [copy; 10]));
        TrustStateReply {
            head: self.head(version, &["roots/1"]),
            entries: Some(entries),
            changes: None,
            bump,
        }
    }
}

fn line(copy: u8, epoch: u64) -> Line {
    let incarnation = Incarnation::new(1, [copy; 10]);
    Line { incarnation, epoch }
}

fn bump(collective: &Collective, from: Line, to: Line) -> EpochBump {
    EpochBump {
        collective: collective.id,
        from,
        to,
        issued: NOW,
    }
}

#[test]
fn a_later_epoch_is_taken_only_with_a_bump_that_the_root_signed() {
    let world = World::new();
    let trust = world.load();
    world
        .install(&trust, &world.whole(7, &["a", "b"]))
        .expect("accepted");
    let real = bump(&world.collective, line(1, 1), line(2, 2));
    let stranger = Collective::new(2, NOW);
    let other = EpochBump {
        collective: stranger.id,
        ..real.clone()
    };
    let kind = PayloadType::EpochBump;
    for (refused, why) in [
        (None, "no bump"),
        (Some(stranger.signed_by_root(kind, &real)), "another root"),
        (
            Some(world.collective.signed_by_root(kind, &other)),
            "another collective",
        ),
        (
            Some(
                world
                    .collective
                    .signed_by_root(kind, &bump(&world.collective, line(1, 1), line(3, 2))),
            ),
            "to another copy",
        ),
        (
            Some(
                world
                    .collective
                    .signed_by_root(kind, &bump(&world.collective, line(3, 1), line(2, 2))),
            ),
            "from a copy that contradicts",
        ),
    ] {
        let refused = world.restored((2, 2), 3, refused);
        assert!(world.install(&trust, &refused).is_err(), "{why}");
        assert_eq!(trust.held().expect("held").version.epoch, 1, "{why}");
    }
    let signed = world.collective.signed_by_root(kind, &real);
    world
        .install(&trust, &world.restored((2, 2), 3, Some(signed)))
        .expect("the root said so");
    for trust in [trust, world.load()] {
        assert_eq!(trust.held().expect("held").version.epoch, 2);
        let before = world.install(&trust, &world.whole(9, &["a", "b"]));
        assert!(matches!(
            before,
            Err(TrustError::Version(VersionError::OldEpoch { .. }))
        ));
        let copy = world.install(&trust, &world.restored((3, 2), 9, None));
        assert!(matches!(
            copy,
            Err(TrustError::Version(VersionError::SecondCopy(2)))
        ));
    }
}

#[test]
fn what_is_handed_in_when_an_epoch_begins_is_the_state_with_its_signature() {
    let world = World::new();
    let trust = world.load();
    assert!(trust.known().state.is_none());
    let whole = world.whole(7, &["a", "b"]);
    world.install(&trust, &whole).expect("accepted");
    let known = trust.known().state.expect("held");
    assert_eq!(
        (Some(&known.entries), &known.head),
        (whole.entries.as_ref(), &whole.head)
    );
}

#[test]
fn a_beacon_of_an_older_database_is_told_from_one_that_was_on_its_way() {
    let world = World::new();
    let trust = world.load();
    let roots = world.collective.roots();
    world.install(&trust, &world.whole(7, &["a"])).expect("accepted");
    let early = trust.challenge([1; 32], Duration::ZERO);
    world
        .install(&trust, &world.whole(8, &["a", "b"]))
        .expect("accepted");
    let (older, _) = state(7, &["a"]);
    let heard = trust
        .hear(world.beacon(older, early), &roots, NOW)
        .expect("it was on its way");
    assert_eq!(heard.0, Heard::Current);
    let late = trust.challenge([2; 32], Duration::ZERO);
    let error = trust
        .hear(world.beacon(older, late), &roots, NOW)
        .expect_err("the database knew number 8 when it was asked");
    assert!(error.is_of_another_database(), "{error}");
    assert!(crate::sentence(&error).contains("new-epoch"));
}
