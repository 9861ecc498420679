use proptest::prelude::*;

use super::*;

fn run() -> Run {
    Run {
        id: RunId::new(1, [1; 10]),
        state: RunState::Queued,
        fence: 0,
        node: None,
        lease_until: None,
        cancel_requested: false,
        stale_since: None,
        version: 1,
    }
}

fn node(n: u8) -> NodeId {
    NodeId::new(1, [n; 10])
}

#[test]
fn an_outcome_after_the_run_was_lost_changes_nothing() {
    let claimed = run().claim(node(1), 0).expect("claimed");
    let lost = claimed.lose(LEASE_MS).expect("lost");
    assert_eq!(
        lost.complete(node(1), 1, RunState::Succeeded),
        Err(RunRefused::Ended(RunState::Lost))
    );
}

#[test]
fn a_lease_holds_as_long_as_the_node_renews_it() {
    let claimed = run()
        .claim(node(1), 0)
        .expect("claimed")
        .renew(node(1), 1, 30_000)
        .expect("renewed");
    assert_eq!(claimed.clone().lose(LEASE_MS), None);
    assert!(claimed.lose(30_000 + LEASE_MS).is_some());
}

#[test]
fn another_node_or_an_older_fence_cannot_end_a_run() {
    let claimed = run().claim(node(1), 0).expect("claimed");
    assert_eq!(
        claimed.clone().complete(node(2), 1, RunState::Failed),
        Err(RunRefused::Fenced(1))
    );
    assert_eq!(
        claimed.complete(node(1), 0, RunState::Failed),
        Err(RunRefused::Fenced(0))
    );
}

#[test]
fn a_run_that_only_meets_stale_nodes_is_refused_after_ten_minutes() {
    let back = run()
        .claim(node(1), 0)
        .and_then(|r| r.put_back(node(1), 1, 0))
        .expect("back");
    assert_eq!(back.state, RunState::Queued);
    let again = back
        .claim(node(1), 1)
        .and_then(|r| r.put_back(node(1), 2, STALE_WAIT_MS))
        .expect("again");
    assert_eq!(again.state, RunState::Refused);
}

#[test]
fn cancelling_a_waiting_run_ends_it_and_a_running_one_asks_its_node() {
    assert_eq!(run().cancel().expect("cancelled").state, RunState::Cancelled);
    let running = run().claim(node(1), 0).and_then(Run::cancel).expect("asked");
    assert_eq!(
        (running.state, running.cancel_requested),
        (RunState::Running, true)
    );
}

proptest! {
    #[test]
    fn whatever_happens_an_end_is_final_and_fences_only_grow(
        steps in prop::collection::vec((0..7u8, 1..3u8, 0..3i64, 0..100_000i64), 0..60)
    ) {
        let mut current = run();
        let mut now = 0;
        for (step, n, fence, wait) in steps {
            now += wait;
            let before = current.clone();
            let next = match step {
                0 => before.clone().claim(node(n), now).ok(),
                1 => before.clone().renew(node(n), fence, now).ok(),
                2 => before.clone().put_back(node(n), fence, now).ok(),
                3 => before.clone().complete(node(n), fence, RunState::Succeeded).ok(),
                4 => before.clone().cancel().ok(),
                5 => before.clone().refuse().ok(),
                _ => before.clone().lose(now),
            };
            if let Some(next) = next {
                prop_assert!(!before.state.is_final(), "{:?} -> {:?}", before, next);
                prop_assert!(next.fence >= before.fence && next.version > before.version);
                prop_assert_eq!(next.state == RunState::Running, next.lease_until.is_some());
                current = next;
            }
        }
    }
}

#[test]
fn a_claim_of_a_later_epoch_has_a_fence_above_every_earlier_one() {
    let claimed = run().in_epoch(1).claim(node(1), 0).expect("claimed");
    assert_eq!(claimed.fence, 1);
    let forgotten = Run {
        fence: u32::MAX.into(),
        ..run()
    };
    let restored = run().in_epoch(2).claim(node(1), 0).expect("claimed");
    assert!(restored.fence > forgotten.fence);
    assert_eq!(restored.clone().in_epoch(2).fence, restored.fence);
    let later = restored.clone().in_epoch(3);
    assert!(later.fence > restored.fence);
}
