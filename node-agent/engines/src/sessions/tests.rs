use super::*;
use crate::{Service, default_limits};

const SECOND: Duration = Duration::from_secs(1);

fn sessions(sessions: usize, pruning: Pruning) -> Arc<Sessions<u8>> {
    let service = Service {
        limits: default_limits(),
        queue: 1,
        sessions,
        pruning,
        package_path: None,
        startup_hook: None,
    };
    Sessions::new(Services {
        r: service.clone(),
        python: service.clone(),
        terr: service,
    })
}

fn key(owner: &str) -> SessionKey {
    SessionKey::new(Key::of(EngineKind::R, Mode::Restricted), default_limits(), owner)
}

fn staying(child: u8, since: Instant) -> Staying<u8> {
    Staying {
        child,
        since,
        runs: 1,
        set: None,
    }
}

/// A run that succeeded at `now` in a session that is then kept.
async fn ran(sessions: &Arc<Sessions<u8>>, owner: &str, child: u8, now: Instant) {
    let turn = sessions.turn(key(owner)).await;
    sessions.put(&turn, staying(child, now), now);
}

async fn child(sessions: &Sessions<u8>, owner: &str, now: Instant) -> Option<u8> {
    let turn = sessions.turn(key(owner)).await;
    sessions.take(&turn, now).map(|staying| staying.child)
}

#[tokio::test]
async fn a_child_comes_back_to_its_own_session_only_and_once() {
    let (sessions, now) = (sessions(9, Pruning::default()), Instant::now());
    ran(&sessions, "a", 1, now).await;
    ran(&sessions, "b", 2, now).await;
    assert_eq!(child(&sessions, "c", now).await, None);
    assert_eq!(child(&sessions, "a", now).await, Some(1));
    assert_eq!(child(&sessions, "a", now).await, None);
    assert_eq!(child(&sessions, "b", now).await, Some(2));
}

#[tokio::test]
async fn whatever_differs_is_another_session() {
    let same = key("a");
    let limits = default_limits();
    let key = |engine, mode, limits, owner| SessionKey::new(Key::of(engine, mode), limits, owner);
    let (engine, mode) = (EngineKind::R, Mode::Restricted);
    let less = |change: fn(&mut Limits)| {
        let mut limits = limits;
        change(&mut limits);
        limits
    };
    for other in [
        key(EngineKind::Terr, mode, limits, "a"),
        key(engine, Mode::Unrestricted, limits, "a"),
        key(engine, mode, limits, "b"),
        key(engine, mode, less(|limits| limits.memory_bytes -= 1), "a"),
        key(engine, mode, less(|limits| limits.cpu_seconds -= 1), "a"),
    ] {
        assert_ne!(same, other);
    }
    let own = less(|limits| (limits.wall_ms, limits.output_bytes) = (1, 1));
    assert_eq!(
        same,
        key(engine, mode, own, "a"),
        "each run has a wall time of its own"
    );
}

#[tokio::test]
async fn runs_of_a_session_take_turns() {
    let sessions = sessions(9, Pruning::default());
    let first = sessions.turn(key("a")).await;
    let mut second = Box::pin(sessions.turn(key("a")));
    let pending =
        std::future::poll_fn(|context| std::task::Poll::Ready(second.as_mut().poll(context).is_pending()));
    assert!(pending.await, "one after the other");
    let other = sessions.turn(key("b")).await;
    drop((first, other));
    assert_eq!(second.await.key, key("a"));
}

#[tokio::test]
async fn idle_sessions_end_from_the_threshold_on() {
    let pruning = Pruning {
        idle: 10 * SECOND,
        threshold: 50,
        age: None,
    };
    let (sessions, now) = (sessions(4, pruning), Instant::now());
    ran(&sessions, "a", 1, now).await;
    assert_eq!(sessions.sweep(now + 3600 * SECOND), None, "a quarter is in use");
    let _at_work = sessions.at_work(EngineKind::R);
    assert_eq!(sessions.sweep(now + 9 * SECOND), Some(now + 10 * SECOND));
    assert_eq!(sessions.waiting(EngineKind::R), 1);
    assert_eq!(sessions.sweep(now + 10 * SECOND), None);
    assert_eq!(sessions.waiting(EngineKind::R), 0);
}

#[tokio::test]
async fn a_threshold_of_zero_always_prunes_and_one_of_a_hundred_never() {
    for (threshold, left) in [(0, 0), (100, 1)] {
        let pruning = Pruning {
            threshold,
            age: None,
            ..Pruning::default()
        };
        let (sessions, now) = (sessions(1, pruning), Instant::now());
        ran(&sessions, "a", 1, now).await;
        sessions.sweep(now + 3600 * SECOND);
        assert_eq!(sessions.waiting(EngineKind::R), left, "{threshold}");
    }
}

#[tokio::test]
async fn an_old_session_ends_whether_it_waits_or_is_wanted() {
    let pruning = Pruning {
        threshold: 100,
        age: Some(60 * SECOND),
        ..Pruning::default()
    };
    let (sessions, now) = (sessions(9, pruning), Instant::now());
    ran(&sessions, "a", 1, now).await;
    ran(&sessions, "b", 2, now).await;
    assert_eq!(child(&sessions, "a", now + 59 * SECOND).await, Some(1));
    assert_eq!(child(&sessions, "b", now + 60 * SECOND).await, None);
    ran(&sessions, "a", 3, now).await;
    assert_eq!(sessions.sweep(now), Some(now + 60 * SECOND));
    sessions.sweep(now + 60 * SECOND);
    assert_eq!(sessions.waiting(EngineKind::R), 0);
}

#[tokio::test]
async fn where_there_is_no_room_the_session_goes_that_waits_longest() {
    let (sessions, now) = (sessions(3, Pruning::default()), Instant::now());
    for (owner, child, at) in [("a", 1, 2), ("b", 2, 1), ("c", 3, 3)] {
        ran(&sessions, owner, child, now + at * SECOND).await;
    }
    let _run = sessions.at_work(EngineKind::R);
    let elsewhere = sessions.at_work(EngineKind::Python);
    sessions.make_room(EngineKind::R);
    assert_eq!(sessions.waiting(EngineKind::R), 2);
    assert_eq!(
        child(&sessions, "b", now).await,
        None,
        "the one that waited longest"
    );
    drop(elsewhere);
    assert_eq!(child(&sessions, "a", now).await, Some(1));
}

#[tokio::test]
async fn what_was_ended_during_a_run_is_not_kept_after_it_and_others_are() {
    let (sessions, now) = (sessions(9, Pruning::default()), Instant::now());
    ran(&sessions, "a", 1, now).await;
    let turn = sessions.turn(key("b")).await;
    assert!(sessions.take(&turn, now).is_none());
    sessions.end(|key| key.mode() == Mode::Unrestricted);
    sessions.put(&turn, staying(2, now), now);
    assert_eq!(sessions.waiting(EngineKind::R), 2, "none of these was meant");
    assert!(sessions.take(&turn, now).is_some());
    sessions.end(|_| true);
    sessions.put(&turn, staying(2, now), now);
    assert_eq!(sessions.waiting(EngineKind::R), 0);
    assert!(sessions.take(&turn, now).is_none());
    sessions.put(&turn, staying(3, now), now);
    assert_eq!(sessions.waiting(EngineKind::R), 1, "the next run begins another");
}
