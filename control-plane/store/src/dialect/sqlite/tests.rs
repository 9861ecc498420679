//! Rounds of changes, with every turn in a known order.

use super::{super::Conn, *};

/// A table with one column of numbers, and a folder that keeps it.
async fn database() -> (Arc<Lite>, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.db");
    std::fs::File::create(&file).expect("made");
    let lite = Lite::open(file.to_str().expect("text"), 2).expect("opens");
    let mut change = lite.begin(true).await.expect("begins");
    change
        .execute(&"CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT".into(), &[])
        .expect("made");
    change.commit().await.expect("commits");
    (lite, folder)
}

fn add(change: &mut Change, number: i64) -> Result<u64, LiteError> {
    change.execute(
        &"INSERT INTO t (n) VALUES ($1)".into(),
        &[Value::Int(Some(number))],
    )
}

/// What a reader sees.
fn seen(lite: &Lite) -> Vec<i64> {
    let rows = lite
        .read(&"SELECT n FROM t ORDER BY n".into(), &[], usize::MAX)
        .expect("read");
    let number = |row: &LiteRow| match row.cell("n") {
        Some(Cell::Integer(number)) => *number,
        other => panic!("{other:?} is no number"),
    };
    rows.iter().map(number).collect()
}

/// Lets everybody else do what they can.
async fn others() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// `count` callers who wait behind `first`, each of whom adds its number and commits.
async fn behind(lite: &Arc<Lite>, count: i64) -> Vec<tokio::task::JoinHandle<Result<(), LiteError>>> {
    let mut callers = Vec::new();
    for number in 1..=count {
        let lite = lite.clone();
        callers.push(tokio::spawn(async move {
            let mut change = lite.begin(true).await?;
            add(&mut change, number)?;
            change.commit().await
        }));
        others().await;
    }
    callers
}

/// A change that has added 1 and waits for its commit, and the one that waited for its turn behind it.
async fn one_behind_another(
    lite: &Arc<Lite>,
    [first, second]: [bool; 2],
) -> (tokio::task::JoinHandle<Result<(), LiteError>>, Change) {
    let mut first = lite.begin(first).await.expect("begins");
    add(&mut first, 1).expect("added");
    let waiting = tokio::spawn({
        let lite = lite.clone();
        async move { lite.begin(second).await }
    });
    others().await;
    let answer = tokio::spawn(first.commit());
    (answer, waiting.await.expect("ran").expect("begins"))
}

#[tokio::test]
async fn a_change_is_answered_only_when_the_round_is_on_the_disk() {
    let (lite, _folder) = database().await;
    let (answer, mut second) = one_behind_another(&lite, [true, true]).await;
    others().await;
    assert!(!answer.is_finished(), "the second one is in the same round");
    assert_eq!(seen(&lite), Vec::<i64>::new());
    add(&mut second, 2).expect("added");
    second.commit().await.expect("commits");
    answer.await.expect("ran").expect("commits");
    assert_eq!(seen(&lite), [1, 2]);
}

#[tokio::test]
async fn whoever_shares_no_round_begins_when_what_was_released_is_on_the_disk() {
    for shares in [[true, false], [false, true], [false, false]] {
        let (lite, _folder) = database().await;
        let (answer, second) = one_behind_another(&lite, shares).await;
        assert_eq!(seen(&lite), [1], "{shares:?}");
        // It says that it is so already, and leaves.
        drop(second);
        answer.await.expect("ran").expect("commits");
    }
}

#[tokio::test]
async fn a_change_that_is_taken_back_leaves_the_others() {
    let (lite, _folder) = database().await;
    let (answer, mut second) = one_behind_another(&lite, [true, true]).await;
    add(&mut second, 2).expect("added");
    add(&mut second, 1).expect_err("it is there");
    drop(second);
    answer.await.expect("ran").expect("commits");
    assert_eq!(seen(&lite), [1]);
    // Nothing is left open: another process may write.
    let other = connect(&lite.path).expect("opens");
    other.execute("INSERT INTO t (n) VALUES (3)", ()).expect("free");
    assert_eq!(seen(&lite), [1, 3]);
}

#[tokio::test]
async fn where_sqlite_gives_up_the_transaction_the_whole_round_fails() {
    let (lite, _folder) = database().await;
    let (answer, mut second) = one_behind_another(&lite, [true, true]).await;
    // As a disk that fails would.
    let sql = "INSERT OR ROLLBACK INTO t (n) VALUES (1)".into();
    second.execute(&sql, &[]).expect_err("gives up");
    add(&mut second, 2).expect_err("there is no transaction");
    second.commit().await.expect_err("there is nothing");
    answer.await.expect("ran").expect_err("it is gone, too");
    assert_eq!(seen(&lite), Vec::<i64>::new());
    let mut third = lite.begin(true).await.expect("begins");
    add(&mut third, 3).expect("added");
    third.commit().await.expect("commits");
    assert_eq!(seen(&lite), [3]);
}

#[tokio::test]
async fn a_released_change_is_committed_although_nobody_waits_for_it() {
    let (lite, _folder) = database().await;
    let mut first = lite.begin(true).await.expect("begins");
    add(&mut first, 100).expect("added");
    let callers = behind(&lite, 5).await;
    let waiting = tokio::spawn({
        let lite = lite.clone();
        async move { lite.begin(true).await }
    });
    others().await;
    let answer = tokio::spawn(Conn::Sqlite(first).commit());
    let held = waiting.await.expect("ran").expect("begins");
    assert!(seen(&lite).is_empty(), "all of them wait for this one");
    answer.abort();
    for caller in callers {
        caller.abort();
    }
    others().await;
    drop(held);
    // Whoever comes now stands behind it in the queue.
    drop(lite.begin(true).await.expect("begins"));
    assert!(seen(&lite).contains(&100));
    lite.close().await;
    assert!(lite.begin(true).await.is_err(), "it is closed");
}

#[tokio::test]
async fn whoever_came_first_does_not_wait_for_more_than_a_round() {
    let (lite, _folder) = database().await;
    let mut first = lite.begin(true).await.expect("begins");
    add(&mut first, 100).expect("added");
    let most = i64::try_from(MOST).expect("small");
    let callers = behind(&lite, most - 1).await;
    let waiting = tokio::spawn({
        let lite = lite.clone();
        async move { lite.begin(true).await }
    });
    others().await;
    let answer = tokio::spawn(first.commit());
    let last = waiting.await.expect("ran").expect("begins");
    answer
        .await
        .expect("ran")
        .expect("committed before the last one ends");
    assert_eq!(seen(&lite).len(), MOST);
    drop(last);
    for caller in callers {
        caller.await.expect("ran").expect("commits");
    }
}

#[tokio::test]
async fn what_reads_lists_changes_nothing() {
    let (lite, _folder) = database().await;
    let error = sqlx::query("INSERT INTO t (n) VALUES (1)")
        .execute(lite.pool())
        .await
        .expect_err("it may only read");
    let said = error.as_database_error().expect("SQLite said it").message();
    assert!(said.contains("readonly"), "{said}");
    assert!(seen(&lite).is_empty());
}
