use proptest::prelude::*;

use super::*;

fn request() -> JoinRequest {
    JoinRequest {
        id: JoinId::from_bytes([1; 16]),
        key: Digest::of(b"key"),
        spki: b"key".to_vec(),
        transcript: Digest::of(b"T"),
        applicant: Applicant {
            name: "terr01".parse().expect("name"),
            capabilities: vec![Capability::Terr],
            pool: None,
            site: None,
            addresses: vec![],
            agent_version: "0.1.0".into(),
            asked_at: 0,
        },
        source: "10.0.0.5".into(),
        created_at: 0,
        revealed_at: 0,
        poll_counter: 0,
        state: JoinState::Pending,
        reason: None,
        renewal_of: None,
        node: None,
        token: None,
        votes: vec![],
        version: 1,
    }
}

fn node() -> NodeId {
    NodeId::new(1, [1; 10])
}

#[test]
fn an_approved_request_is_issued_once() {
    let issued = request()
        .approve(1)
        .and_then(|r| r.issue(node()))
        .expect("approved");
    assert_eq!((issued.state, issued.node), (JoinState::Issued, Some(node())));
    assert_eq!(
        issued.issue(node()),
        Err(JoinRefused::NotApproved(JoinState::Issued))
    );
}

#[test]
fn a_code_cannot_be_approved_after_an_hour_and_a_request_not_after_a_day() {
    assert_eq!(request().approve(CODE_LIFETIME_MS), Err(JoinRefused::CodeTooOld));
    assert_eq!(
        request().approve(REQUEST_LIFETIME_MS),
        Err(JoinRefused::NotPending(JoinState::Expired))
    );
}

#[test]
fn a_new_exchange_keeps_the_waiting_time_and_renews_the_code() {
    let exchange = JoinRequest {
        id: JoinId::from_bytes([2; 16]),
        transcript: Digest::of(b"T2"),
        revealed_at: 10,
        created_at: 10,
        applicant: asked(10),
        ..request()
    };
    let renewed = request().renew(exchange.clone()).expect("renewed");
    assert_eq!(
        (renewed.created_at, renewed.transcript, renewed.version),
        (0, exchange.transcript, 2)
    );
}

fn asked(at: i64) -> Applicant {
    Applicant {
        asked_at: at,
        ..request().applicant
    }
}

#[test]
fn a_recorded_exchange_does_not_replace_a_later_one() {
    let later = JoinRequest {
        applicant: asked(5),
        ..request()
    };
    for at in [4, 5] {
        let recorded = JoinRequest {
            applicant: asked(at),
            revealed_at: 100,
            ..request()
        };
        assert_eq!(later.clone().renew(recorded), Err(JoinRefused::Older));
    }
}

#[test]
fn a_retry_does_not_undo_a_rejection() {
    let rejected = request().reject(1, None).expect("rejected");
    let exchange = JoinRequest {
        revealed_at: 60_000,
        applicant: asked(60_000),
        ..request()
    };
    assert_eq!(
        rejected.renew(exchange),
        Err(JoinRefused::NotPending(JoinState::Rejected))
    );
}

#[test]
fn a_recorded_poll_is_worth_nothing() {
    let polled = request().poll(5).expect("first");
    assert_eq!(polled.clone().poll(5), Err(JoinRefused::Replayed(5)));
    assert_eq!(polled.poll(4), Err(JoinRefused::Replayed(4)));
}

#[derive(Debug, Clone)]
enum Event {
    Renew,
    Approve,
    Reject,
    Issue,
    Supersede,
    Wait(i64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec(
        prop_oneof![
            Just(Event::Renew),
            Just(Event::Approve),
            Just(Event::Reject),
            Just(Event::Issue),
            Just(Event::Supersede),
            (0..REQUEST_LIFETIME_MS * 2).prop_map(Event::Wait),
        ],
        0..40,
    )
}

proptest! {
    /// Whatever happens in whatever order, a certificate follows an approval of the same transcript.
    #[test]
    fn no_order_of_events_issues_what_was_not_approved(events in events()) {
        let mut now = 0;
        let mut current = request();
        let mut approved = None;
        for event in events {
            let before = current.clone();
            let next = match event {
                Event::Wait(ms) => { now += ms; Ok(before.clone().at(now)) }
                Event::Renew => before.clone().renew(JoinRequest {
                    transcript: Digest::of(&now.to_be_bytes()), revealed_at: now, created_at: now, applicant: asked(now), ..request()
                }),
                Event::Approve => before.clone().approve(now),
                Event::Reject => before.clone().reject(now, None),
                Event::Issue => before.clone().issue(node()),
                Event::Supersede => before.clone().supersede(JoinId::from_bytes([9; 16])),
            };
            if let Ok(next) = next {
                if next.state == JoinState::Approved && before.state == JoinState::Pending {
                    prop_assert!(now - before.revealed_at < CODE_LIFETIME_MS);
                    approved = Some(next.transcript);
                }
                if next.state == JoinState::Issued {
                    prop_assert_eq!(approved, Some(next.transcript));
                }
                prop_assert!(next.version >= before.version);
                current = next;
            }
        }
    }
}
