use std::collections::BTreeSet;

use muster_ids::UserId;
use muster_model::permission::{ADMINISTRATOR, UserCaller};
use muster_pki::{PayloadType, Role, Roots};
use muster_store::{AuditFilter, AuditFrom};

use super::*;
use crate::fixture;

fn administrator() -> Caller {
    Caller::User(UserCaller {
        id: UserId::new(1, [1; 10]),
        name: "admin@SPOTFIRE".parse().expect("a name"),
        groups: BTreeSet::from([ADMINISTRATOR.to_owned()]),
        features: BTreeSet::new(),
    })
}

async fn step(app: &App, step: &str) -> Result<WireAuthority, Error> {
    let rotate = Rotate {
        step: step.to_owned(),
        force: false,
    };
    app.rotate_authority(&administrator(), &rotate).await
}

/// What this control plane signs now verifies under these roots.
async fn signs_under(app: &App, roots: &Roots) -> bool {
    let authority = app.authority();
    let signed = authority
        .sign(PayloadType::Beacon, &json!({}))
        .await
        .expect("signed");
    signed.verify(PayloadType::Beacon, roots, app.now()).is_ok()
}

fn only(app: &App, root: &Digest) -> Roots {
    let all = app.authority();
    let of = all
        .roots
        .certificates()
        .iter()
        .filter(|der| Digest::of(der) == *root);
    Roots::new(of.cloned().collect()).expect("an accepted root")
}

#[tokio::test]
async fn a_rotation_leads_from_one_authority_to_another_in_four_steps() {
    let (app, _folder) = fixture::app().await;
    let first = app.authority().root;
    let old = only(&app, &first);
    let shown = step(&app, "prepare").await.expect("prepared");
    assert_eq!(
        (shown.stage.as_str(), shown.root_fingerprints.len()),
        ("prepared", 2)
    );
    assert_eq!(app.authority().root, first, "the old authority signs");
    assert!(signs_under(&app, &old).await);

    let shown = step(&app, "activate").await.expect("activated");
    assert_eq!(shown.stage, "activated");
    let second = app.authority().root;
    assert_ne!(second, first);
    let new = only(&app, &second);
    assert!(signs_under(&app, &new).await, "under the new root");
    assert!(
        signs_under(&app, &old).await,
        "and under the old one, over the bridge"
    );

    assert_eq!(step(&app, "taint").await.expect("tainted").stage, "tainted");
    let shown = step(&app, "revoke").await.expect("revoked");
    assert_eq!((shown.stage.as_str(), shown.root_fingerprints.len()), ("idle", 1));
    assert!(
        app.keys().root(&first).expect("looked").is_none(),
        "its keys are destroyed"
    );
    assert!(
        signs_under(&app, &old).await,
        "who slept through it believes the new one"
    );
    let offered = Roots::new(app.authority().roots.certificates().to_vec()).expect("roots");
    assert!(
        offered
            .pinned_across(&[first], &app.authority().crosses, app.now())
            .is_some(),
        "a pin of the old root is satisfied"
    );

    step(&app, "prepare").await.expect("a second rotation");
    step(&app, "activate").await.expect("activated");
    assert!(
        app.authority()
            .roots
            .pinned_across(&[first], &app.authority().crosses, app.now())
            .is_some(),
        "a pin holds across two rotations"
    );
}

#[tokio::test]
async fn every_step_but_the_last_can_be_taken_back() {
    for taken in [
        &["prepare"][..],
        &["prepare", "activate"],
        &["prepare", "activate", "taint"],
    ] {
        let (app, _folder) = fixture::app().await;
        let first = app.authority().root;
        let old = only(&app, &first);
        for name in taken {
            step(&app, name).await.expect("taken");
        }
        let given_up = app.authority();
        step(&app, "abort").await.expect("aborted");
        assert_eq!(app.authority().root, first, "{taken:?}");
        assert!(signs_under(&app, &old).await);
        app.reconcile_rotation().await.expect("tidied");
        let shown = app.show_authority(&administrator()).await.expect("shown");
        assert_eq!(
            (shown.stage.as_str(), shown.root_fingerprints),
            ("idle", vec![first.to_string()]),
            "{taken:?}"
        );
        if taken.len() > 1 {
            let chain = &given_up.policy_chain;
            let refused = app.authority().roots.verify(chain, Role::Policy, app.now());
            assert!(
                refused.is_err(),
                "nothing of the authority that was given up is accepted"
            );
            let before = Roots::new(old.certificates().to_vec()).expect("roots");
            assert!(
                before.verify(chain, Role::Policy, app.now()).is_ok(),
                "its bridge alone would be"
            );
        }
        step(&app, "prepare").await.expect("another rotation can begin");
    }
}

#[tokio::test]
async fn steps_out_of_order_change_nothing_and_say_what_comes_next() {
    let (app, _folder) = fixture::app().await;
    for name in ["activate", "taint", "revoke", "abort"] {
        let said = step(&app, name).await.expect_err("refused").to_string();
        assert!(said.contains("muster ca rotate prepare"), "{said}");
    }
    step(&app, "prepare").await.expect("prepared");
    let root = step(&app, "prepare")
        .await
        .expect("once more is the same")
        .root_fingerprints;
    let said = step(&app, "revoke").await.expect_err("refused").to_string();
    assert!(said.contains("muster ca rotate activate"), "{said}");
    let shown = app.show_authority(&administrator()).await.expect("shown");
    assert_eq!(shown.root_fingerprints, root);
    assert!(step(&app, "sideways").await.is_err());
    let everybody = Caller::Stranger("10.0.0.1".to_owned());
    let rotate = Rotate {
        step: "activate".to_owned(),
        force: true,
    };
    assert!(app.rotate_authority(&everybody, &rotate).await.is_err());
}

#[tokio::test]
async fn a_rotation_says_that_the_roots_key_is_missing() {
    let (app, _folder) = fixture::app().await;
    let root = app.authority().root;
    app.keys().forget(&root).expect("taken away");
    let said = step(&app, "prepare").await.expect_err("refused").to_string();
    assert!(said.contains("muster-server root-key import"), "{said}");
    assert_eq!(app.store().authorities().await.expect("read").len(), 1);
}

#[tokio::test]
async fn a_restart_finds_the_rotation_where_it_was() {
    let (app, _folder) = fixture::app().await;
    for name in ["prepare", "activate", "taint", "revoke"] {
        step(&app, name).await.expect("taken");
        let again = super::super::load(app.store(), app.keys()).await.expect("loaded");
        assert_eq!(again.root, app.authority().root, "{name}");
        assert_eq!(again.roots.fingerprints(), app.authority().roots.fingerprints());
        assert_eq!(again.roots.denied(), app.authority().roots.denied());
    }
    let filter = AuditFilter::default();
    let entries = app
        .store()
        .audit_list(&filter, AuditFrom::Newest, 100)
        .await
        .expect("read");
    for event in [
        Event::AuthorityPrepared,
        Event::AuthorityActivated,
        Event::AuthorityTainted,
        Event::AuthorityRevoked,
    ] {
        assert!(
            entries.iter().any(|entry| entry.record.event == event),
            "{event:?}"
        );
    }
}

#[tokio::test]
async fn what_a_crash_or_an_error_left_of_a_step_is_made_up_for() {
    let (app, _folder) = fixture::app().await;
    let first = app.authority().root;
    step(&app, "prepare").await.expect("prepared");
    // As when the commit was the last thing that worked, or another process has taken the step.
    let mut tx = app.store().begin(&App::system()).await.expect("begun");
    for row in tx.authorities().await.expect("read") {
        let state = if row.standing.root == first {
            AuthorityState::Revoked
        } else {
            AuthorityState::Active
        };
        tx.authority_put(&row.enter(state, app.now())).await.expect("put");
    }
    let draft = Draft::new(Event::AuthorityRevoked, first.to_string(), json!({}));
    tx.commit(draft, app.now()).await.expect("committed");
    assert_eq!(app.authority().root, first, "nobody has told this process");
    app.reconcile_rotation().await.expect("followed");
    assert_ne!(app.authority().root, first);
    assert!(
        app.keys().root(&first).expect("looked").is_none(),
        "its keys are destroyed"
    );
}
