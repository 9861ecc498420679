use std::{sync::Arc, time::Duration};

use muster_daemon::clock::{Clock, ClockHand};
use muster_ids::UserName;
use muster_wire::admin::v1::{PageQuery, trust::CreateRevocation};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::fixture::{self, Memory, form as of};

const NOW: i64 = 1_800_000_000_000;
const ADMIN: &str = "admin@SPOTFIRE";

fn at(ms: i64) -> String {
    Moment::from_unix_ms(NOW + ms).to_string()
}

async fn administrator(app: &App) -> Caller {
    let user = app
        .user_named(&ADMIN.parse().expect("a name"))
        .await
        .expect("a user");
    Caller::User(app.user_caller(&user).await.expect("their rights"))
}

/// One database, and a control plane over it whose clock is this much ahead of another's.
async fn two(ahead: Duration) -> (App, App, TempDir) {
    let keys: Arc<Memory> = Arc::default();
    let (slow, _) = Clock::by_hand(NOW);
    let (fast, hand): (Clock, ClockHand) = Clock::by_hand(NOW);
    hand.advance(ahead);
    let (slow, folder) = fixture::app_with(slow, Arc::clone(&keys)).await;
    let fast = fixture::open(folder.path(), slow.blobs().clone(), fast, keys).await;
    (slow, fast, folder)
}

async fn sign(app: &App, user: &str) -> Result<SignedItem, Error> {
    let item = json!({ "type": "external_action", "manifest": "{\"service\":\"crm\"}" });
    let new = of(json!({ "item": item, "user": user }));
    app.sign_item(&administrator(app).await, &new).await
}

async fn revoke(app: &App, user: Option<&str>) -> Result<Option<String>, Error> {
    let new: CreateRevocation = of(match user {
        Some(user) => json!({ "user": user, "from": Moment::from_unix_ms(app.now()) }),
        None => json!({ "from": at(-1000) }),
    });
    let made = app.create_revocation(&administrator(app).await, &new).await?;
    Ok(made.until)
}

async fn status(app: &App, signed: &SignedItem) -> String {
    let item = json!({ "type": "external_action", "manifest": "{\"service\":\"crm\"}" });
    let asked = of(json!({ "item": item, "bundle": signed.bundle }));
    let found = app.verify_item(&administrator(app).await, &asked).await;
    found.expect("an answer").status
}

async fn states(app: &App) -> Vec<String> {
    let admin = administrator(app).await;
    let listed = app.list_signing_certificates(&admin, &of(json!({}))).await;
    let listed = listed.expect("a list").items.into_iter();
    listed.map(|certificate| certificate.state).collect()
}

fn kind<T: std::fmt::Debug>(done: Result<T, Error>) -> &'static str {
    match done {
        Err(Error::Conflict { kind, .. }) => kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_waited_for_its_turn_is_dated_when_its_turn_comes() {
    let (clock, hand) = Clock::by_hand(NOW);
    let (app, _folder) = fixture::app_with(clock, Arc::default()).await;
    app.own_signing_root(&administrator(&app).await)
        .await
        .expect("made");
    let waits = async |hand: &ClockHand, done: &mut (dyn Future<Output = String> + Unpin)| {
        let mut tx = app.store().begin(&App::system()).await.expect("begun");
        locked(&mut tx).await.expect("locked");
        // It cannot end before the lock is given back, however long that takes.
        let early = tokio::time::timeout(Duration::from_millis(200), &mut *done).await;
        assert!(early.is_err(), "it does not wait");
        hand.advance(Duration::from_mins(1));
        drop(tx);
        done.await
    };
    let mut signed = Box::pin(async { sign(&app, ADMIN).await.expect("signed").time });
    assert_eq!(waits(&hand, &mut signed).await, at(60_000));
    let mut revoked = Box::pin(async { revoke(&app, None).await.expect("revoked").unwrap_or_default() });
    assert_eq!(waits(&hand, &mut revoked).await, at(120_000));
}

#[tokio::test]
async fn a_certificate_is_listed_as_revoked_where_what_it_signed_at_some_time_is_void() {
    let (app, _folder) = fixture::app().await;
    sign(&app, ADMIN).await.expect("signed");
    assert_eq!(states(&app).await, ["valid"]);
    let void = async |until: &str| {
        let new = of(json!({ "user": ADMIN, "from": "2020-01-01T00:00:00Z", "until": until }));
        let made = app.create_revocation(&administrator(&app).await, &new).await;
        made.expect("revoked");
        states(&app).await
    };
    // Before there was such a certificate.
    assert_eq!(void("2020-02-01T00:00:00Z").await, ["valid"]);
    assert_eq!(void("9999-01-01T00:00:00Z").await, ["revoked"]);
}

#[tokio::test]
async fn a_clock_that_is_behind_signs_nothing_that_was_revoked_before() {
    let (slow, fast, _folder) = two(Duration::from_mins(1)).await;
    let ann: UserName = "ann@SPOTFIRE".parse().expect("a name");
    let new = of(json!({ "name": ann }));
    slow.create_user(&administrator(&slow).await, new)
        .await
        .expect("made");
    revoke(&fast, Some(ann.as_str())).await.expect("revoked");
    assert_eq!(kind(sign(&slow, ann.as_str()).await), "signatures-revoked");
    // Until now, by the clock that is ahead: what comes after counts, and is dated after.
    revoke(&fast, None).await.expect("revoked");
    let signed = sign(&slow, ADMIN).await.expect("signed");
    assert_eq!(signed.time, at(60_001));
    assert_eq!(status(&slow, &signed).await, "valid");
}

#[tokio::test]
async fn a_clock_that_is_behind_revokes_what_was_signed_before() {
    let (slow, fast, _folder) = two(Duration::from_mins(1)).await;
    let signed = sign(&fast, ADMIN).await.expect("signed");
    assert_eq!(status(&slow, &signed).await, "valid");
    let until = revoke(&slow, None).await.expect("revoked");
    assert_eq!(until, Some(at(60_000)));
    assert_eq!(status(&slow, &signed).await, "revoked");
}

#[tokio::test]
async fn nothing_is_signed_where_clocks_differ_by_more_than_five_minutes() {
    let (slow, fast, _folder) = two(Duration::from_mins(6)).await;
    revoke(&fast, None).await.expect("revoked");
    assert_eq!(kind(sign(&slow, ADMIN).await), "clock");
    sign(&fast, ADMIN).await.expect("signed");
}

#[tokio::test]
async fn a_root_is_followed_by_another_before_its_end_and_what_it_signed_counts() {
    let (clock, hand) = Clock::by_hand(NOW);
    let (app, _folder) = fixture::app_with(clock, Arc::default()).await;
    let admin = administrator(&app).await;
    let first = sign(&app, ADMIN).await.expect("signed");
    let own = async || app.own_signing_root(&admin).await.expect("the root").fingerprint;
    let before = own().await;
    let year = Duration::from_hours(365 * 24);
    hand.advance(year * 8);
    assert_eq!(own().await, before);
    hand.advance(year);
    let second = sign(&app, ADMIN).await.expect("signed");
    let after = own().await;
    assert_ne!(before, after);
    assert_ne!(first.serial, second.serial);
    // Also when the first has ended.
    hand.advance(year * 2);
    for signed in [&first, &second] {
        assert_eq!(status(&app, signed).await, "valid");
    }
    let known = app
        .list_signing_roots(&admin, &PageQuery::default())
        .await
        .expect("roots")
        .items;
    let known: Vec<Digest> = known.into_iter().map(|root| root.fingerprint).collect();
    assert_eq!(known, [before, after]);
    // Its keys are gone, and it is not taken away like an imported one.
    let rows = app.store().signing_roots().await.expect("roots");
    let retired = rows
        .iter()
        .find(|root| root.fingerprint == before)
        .expect("a row");
    assert!(retired.sealed_key.is_empty() && retired.sealed_stamp_key.is_empty());
    let removed = app.remove_signing_root(&admin, &before.to_string()).await;
    assert_eq!(kind(removed), "own-root");
    app.reset_code_trust(&admin).await.expect("made anew");
    for signed in [&first, &second] {
        assert_eq!(status(&app, signed).await, "chain");
    }
    // Nodes are told of all that are gone.
    let gone = app.trust_state().await.expect("a state");
    let gone: Vec<_> = gone.tombstones().map(|tombstone| tombstone.gone).collect();
    for root in [before, after] {
        let label = root.to_string().parse().expect("a label");
        assert!(gone.contains(&muster_code_trust::Gone::Root(label)), "{gone:?}");
    }
}
