use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _};

use muster_ids::{FunctionId, Incarnation, NodeId};
use muster_wire::{
    function::Blobs,
    node::v1::{
        outcome::{Contents, Ending},
        run::GrantLimits,
        trust_state::TrustVersion,
    },
};
use proptest::prelude::*;

use super::*;

fn spool() -> (tempfile::TempDir, Spool) {
    let folder = tempfile::tempdir().expect("folder");
    let spool = Spool::open(&folder.path().join("spool")).expect("opened");
    (folder, spool)
}

fn run(number: u8) -> RunId {
    RunId::new(i64::from(number), [number; 10])
}

fn claim(number: u8, fence: i64) -> Claim {
    let digest = Digest::of(b"x");
    let grant = RunGrant {
        run: run(number),
        fence,
        user: "ann@SPOTFIRE".parse().expect("name"),
        facts: serde_json::json!({}),
        client: "web".to_owned(),
        function: Some(FunctionId::new(1, [1; 10])),
        item: digest,
        engine: "r".to_owned(),
        inputs: Blobs::new(),
        outputs: Vec::new(),
        packages: digest,
        mode: "restricted".to_owned(),
        rule: "terr-restricted-mode".to_owned(),
        trace: false,
        session: None,
        limits: GrantLimits {
            wall_seconds: 1,
            memory_mib: 0,
        },
        network: "none".to_owned(),
        policy: None,
        node: NodeId::new(1, [1; 10]),
        boot_nonce: "n".to_owned(),
        trust: TrustVersion {
            incarnation: Incarnation::new(1, [1; 10]),
            epoch: 1,
            number: 1,
            digest,
            previous: digest,
        },
        issued: 0,
        expires: 1,
    };
    Claim {
        grant,
        digest,
        claimed_at: 5,
    }
}

fn outcome(fence: i64, state: &str) -> Outcome {
    Outcome {
        fence,
        state: state.to_owned(),
        ending: Ending {
            problem: None,
            message: "The run succeeded.".to_owned(),
            mode: Some("restricted".to_owned()),
            rule: "terr-restricted-mode".to_owned(),
            entry: None,
            engine: "GNU R 4.2.2".to_owned(),
            stdout: None,
            stderr: None,
            timings: BTreeMap::new(),
            peak_bytes: 0,
            limits_degraded: Vec::new(),
            oversteps: Vec::new(),
            packages: None,
        },
        outputs: Blobs::new(),
        contents: Contents::new(),
        receipt: serde_json::json!({}),
    }
}

#[test]
fn a_claim_becomes_an_outcome_and_goes_when_it_is_acknowledged() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    let entries = spool.entries().expect("read");
    assert!(
        matches!(&entries[..], [Entry { fence: 7, progress: Progress::InFlight(found), .. }] if **found == claim(1, 7))
    );
    spool.end(run(1), &outcome(7, "succeeded")).expect("ended");
    let reopened = Spool::open(&folder.path().join("spool")).expect("opened");
    let entries = reopened.entries().expect("read");
    assert!(matches!(&entries[0].progress, Progress::Ended(found) if found.state == "succeeded"));
    assert_eq!(reopened.claims().len(), 1);
    reopened.remove(run(1), 7).expect("removed");
    reopened.remove(run(1), 7).expect("removed already");
    assert!(reopened.is_empty() && reopened.entries().expect("read").is_empty());
}

#[test]
fn two_claims_of_one_run_do_not_touch_each_other() {
    let (_folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    spool.claim(&claim(1, 8)).expect("claimed");
    spool.end(run(1), &outcome(8, "failed")).expect("ended");
    spool.remove(run(1), 7).expect("removed");
    let entries = spool.entries().expect("read");
    assert_eq!((entries.len(), entries[0].fence), (1, 8));
}

#[test]
fn blobs_are_named_by_what_they_hold() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    let digest = spool.put(run(1), 7, b"printed").expect("stored");
    assert_eq!(digest, Digest::of(b"printed"));
    let file = folder.path().join("out");
    fs::write(&file, vec![7; 200_000]).expect("written");
    let (digest, size) = spool.adopt(run(1), 7, &file).expect("taken over");
    assert_eq!((digest, size), (Digest::of(&vec![7; 200_000]), 200_000));
    spool.settle(run(1), 7, [&digest]).expect("settled");
    let missing = spool.settle(run(1), 7, [&Digest::of(b"nothing")]);
    assert!(missing.is_err(), "what is not there is not durable");
    assert!(!file.exists());
    assert_eq!(
        fs::read(spool.blob(run(1), 7, &digest)).expect("read").len(),
        200_000
    );
}

#[test]
fn a_removal_that_was_cut_short_is_finished_at_the_next_start() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    let root = folder.path().join("spool");
    let name = format!("{}-7", run(1));
    fs::rename(root.join(&name), root.join(format!("done-{name}"))).expect("renamed");
    let spool = Spool::open(&root).expect("opened");
    assert!(spool.is_empty());
    assert_eq!(fs::read_dir(&root).expect("read").count(), 0);
}

#[test]
fn a_damaged_outcome_is_said_and_kept() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    let path = folder
        .path()
        .join("spool")
        .join(format!("{}-7/outcome.json", run(1)));
    file::write(&path, b"{", 0o600, "test").expect("written");
    let error = spool.entries().expect_err("damaged");
    assert!(matches!(error, SpoolError::Damaged { .. }) && path.exists());
}

#[test]
fn an_outcome_that_a_power_cut_left_unfinished_is_none_and_the_claim_counts() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    spool.note_end(run(1), &outcome(7, "succeeded")).expect("noted");
    let path = folder
        .path()
        .join("spool")
        .join(format!("{}-7/outcome.json", run(1)));
    let whole = fs::read(&path).expect("read");
    let ended = |spool: &Spool| {
        let entries = spool.entries().expect("read");
        matches!(
            &entries[..],
            [Entry {
                progress: Progress::Ended(_),
                ..
            }]
        )
    };
    assert!(ended(&spool));
    let zeros = vec![0; whole.len()];
    for left in [&whole[..whole.len() - 1], &whole[..10], &zeros, b""] {
        fs::write(&path, left).expect("written");
        let spool = Spool::open(&folder.path().join("spool")).expect("opened");
        assert!(!ended(&spool), "{} bytes", left.len());
        assert_eq!(spool.claims().len(), 1);
    }
    spool.end(run(1), &outcome(7, "failed")).expect("another end");
    assert!(ended(&spool));
    // As agents of before wrote it.
    let json = serde_json::to_vec(&outcome(7, "succeeded")).expect("JSON");
    fs::write(&path, json).expect("written");
    assert!(ended(&spool));
}

#[test]
fn a_claim_that_a_power_cut_left_unfinished_is_none() {
    let (folder, spool) = spool();
    spool.claim(&claim(1, 7)).expect("claimed");
    let root = folder.path().join("spool");
    let path = root.join(format!("{}-7/claim.json", run(1)));
    let whole = fs::read(&path).expect("read");
    for left in [&whole[..whole.len() - 1], &vec![0; whole.len()]] {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, left).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("private");
        let spool = Spool::open(&root).expect("opened");
        assert!(spool.is_empty(), "its name alone keeps no lease alive");
    }
}

#[derive(Debug, Clone)]
enum Step {
    Claim(u8),
    End(u8),
    Acknowledge(u8),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let number = 0_u8..4;
    prop_oneof![
        number.clone().prop_map(Step::Claim),
        number.clone().prop_map(Step::End),
        number.prop_map(Step::Acknowledge),
        Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// After every step and every restart, each claimed run that is not acknowledged is there exactly once, ended if it
    /// was.
    #[test]
    fn nothing_is_lost_and_nothing_is_there_twice(steps in proptest::collection::vec(step(), 1..24)) {
        let (folder, mut spool) = spool();
        let mut model: BTreeMap<u8, bool> = BTreeMap::new();
        for step in steps {
            match step {
                Step::Claim(number) => {
                    if let std::collections::btree_map::Entry::Vacant(place) = model.entry(number) {
                        spool.claim(&claim(number, 1)).expect("claimed");
                        place.insert(false);
                    }
                }
                Step::End(number) => {
                    if let Some(ended) = model.get_mut(&number) {
                        spool.end(run(number), &outcome(1, "failed")).expect("ended");
                        *ended = true;
                    }
                }
                Step::Acknowledge(number) => {
                    spool.remove(run(number), 1).expect("removed");
                    model.remove(&number);
                }
                Step::Restart => spool = Spool::open(&folder.path().join("spool")).expect("opened"),
            }
            let found: Vec<(RunId, bool)> = spool
                .entries()
                .expect("read")
                .iter()
                .map(|entry| (entry.run, matches!(entry.progress, Progress::Ended(_))))
                .collect();
            let expected: Vec<(RunId, bool)> = model.iter().map(|(number, ended)| (run(*number), *ended)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

#[test]
fn a_claim_that_cannot_be_stored_leaves_no_name_behind() {
    let (folder, spool) = spool();
    let claim = claim(1, 7);
    let name = format!("{}-7", claim.grant.run);
    // A file cannot take the place of a folder.
    let in_the_way = folder.path().join("spool").join(name).join("claim.json/x");
    fs::create_dir_all(in_the_way).expect("made");
    assert!(spool.claim(&claim).is_err());
    assert!(spool.is_empty(), "{:?}", spool.claims());
    spool.claim(&claim).expect("stored");
    assert_eq!(spool.entries().expect("listed").len(), 1);
}
