use std::collections::BTreeSet;

use muster_ids::UserId;
use proptest::prelude::*;

use super::{
    approval::{ApprovalRule, Ballot, people_needed},
    *,
};

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

fn person(number: u8) -> UserId {
    UserId::new(1, [number; 10])
}

fn vote(number: u8, at: i64) -> Vote {
    Vote {
        by: person(number),
        name: format!("user{number}@SPOTFIRE").parse().expect("name"),
        at,
    }
}

#[test]
fn two_people_approve_what_needs_two() {
    let Ballot { request, void } = request().vote(vote(1, 1), 2, |_| true).expect("first");
    assert_eq!(
        (request.state, request.version, void.len()),
        (JoinState::Pending, 2, 0)
    );
    assert_eq!(
        request.clone().vote(vote(1, 2), 2, |_| true),
        Err(JoinRefused::SamePerson)
    );
    let ballot = request.vote(vote(2, 2), 2, |_| true).expect("second");
    assert_eq!(ballot.request.state, JoinState::Approved);
}

#[test]
fn the_vote_of_one_who_may_not_any_more_is_void_when_the_last_one_votes() {
    let first = request().vote(vote(1, 1), 2, |_| true).expect("first").request;
    let Ballot { request, void } = first
        .vote(vote(2, 2), 2, |vote| vote.by != person(1))
        .expect("second");
    assert_eq!((request.state, void), (JoinState::Pending, vec![vote(1, 1)]));
    assert_eq!(request.votes, [vote(2, 2)]);
}

#[test]
fn a_vote_counts_for_one_transcript() {
    let voted = request().vote(vote(1, 1), 2, |_| true).expect("first").request;
    let renewed = voted
        .renew(JoinRequest {
            transcript: Digest::of(b"T2"),
            applicant: asked(10),
            ..request()
        })
        .expect("renewed");
    assert_eq!(renewed.votes, []);
}

#[test]
fn the_strictest_rule_that_applies_says_how_many_people() {
    let rule = |capability, pool: Option<&str>, count| ApprovalRule {
        capability,
        pool: pool.map(|pool| pool.parse().expect("name")),
        count,
    };
    let rules = [
        rule(Some(Capability::R), None, 2),
        rule(None, Some("Prod"), 3),
        rule(Some(Capability::Terr), Some("default"), 4),
    ];
    for (capability, pool, needed) in [
        (Capability::Python, None, 1),
        (Capability::R, None, 2),
        (Capability::R, Some("prod"), 3),
        (Capability::Python, Some("prod"), 3),
        (Capability::Terr, None, 4),
        (Capability::Terr, Some("other"), 1),
    ] {
        let applicant = Applicant {
            capabilities: vec![capability],
            pool: pool.map(|pool| pool.parse().expect("name")),
            ..request().applicant
        };
        assert_eq!(people_needed(&rules, &applicant), needed, "{capability} {pool:?}");
    }
}

#[test]
fn what_names_a_token_is_not_approved_by_people() {
    let named = JoinRequest {
        token: Some(TokenId::new(1, [1; 10])),
        ..request()
    };
    assert_eq!(named.vote(vote(1, 1), 1, |_| true), Err(JoinRefused::NamesToken));
}

#[derive(Debug, Clone)]
enum Event {
    Renew { token: bool },
    Vote { by: u8, needed: u32 },
    Demote(u8),
    Token,
    Reject,
    Issue,
    Supersede,
    GiveWay,
    Wait(i64),
}

/// Where the control plane is killed in a change: nothing of it is stored, or all of it and nobody was answered. In
/// both cases it is asked for once more.
#[derive(Debug, Clone, Copy)]
enum Killed {
    Before,
    After,
}

fn killed() -> impl Strategy<Value = Option<Killed>> {
    prop::option::weighted(0.3, prop_oneof![Just(Killed::Before), Just(Killed::After)])
}

fn events() -> impl Strategy<Value = Vec<(Event, Option<Killed>)>> {
    let event = prop_oneof![
        1 => any::<bool>().prop_map(|token| Event::Renew { token }),
        4 => (0_u8..4, 1_u32..4).prop_map(|(by, needed)| Event::Vote { by, needed }),
        1 => (0_u8..4).prop_map(Event::Demote),
        1 => Just(Event::Token),
        1 => Just(Event::Reject),
        2 => Just(Event::Issue),
        1 => Just(Event::Supersede),
        1 => Just(Event::GiveWay),
        1 => (0..REQUEST_LIFETIME_MS / 10).prop_map(Event::Wait),
        1 => (0..REQUEST_LIFETIME_MS * 2).prop_map(Event::Wait),
    ];
    prop::collection::vec((event, killed()), 0..60)
}

/// What must have happened for a certificate: the typed codes of enough people for this transcript, each entitled when
/// the last one voted, or the token's proof for it.
#[derive(Default)]
struct Seen {
    voted: BTreeSet<(Digest, UserId)>,
    approved: Option<Digest>,
    issued: BTreeSet<Digest>,
}

proptest! {
    /// Whatever happens in whatever order, and wherever the control plane is killed: a certificate follows an approval of
    /// the same transcript, by as many different people as it needed, or by a token that it names, and is made once.
    #[test]
    fn no_order_of_events_issues_what_was_not_approved(events in events()) {
        let mut now = 0;
        let mut current = request();
        let mut seen = Seen::default();
        let mut demoted = BTreeSet::new();
        let attempts = events.into_iter().flat_map(|(event, killed)| match killed {
            None => vec![(event, true)],
            Some(Killed::Before) => vec![(event.clone(), false), (event, true)],
            Some(Killed::After) => vec![(event.clone(), true), (event, true)],
        });
        for (event, stored) in attempts {
            let before = current.clone();
            let next = match event {
                Event::Wait(ms) => { now += ms; Ok(before.clone().at(now)) }
                Event::Renew { token } => before.clone().renew(JoinRequest {
                    transcript: Digest::of(&now.to_be_bytes()),
                    revealed_at: now,
                    created_at: now,
                    applicant: asked(now),
                    token: token.then(|| TokenId::new(1, [1; 10])),
                    ..request()
                }),
                Event::Demote(by) => { demoted.insert(person(by)); Ok(before.clone()) }
                Event::Vote { by, needed } => {
                    // Who votes is entitled at that moment: the caller has checked it.
                    demoted.remove(&person(by));
                    let ballot = before.clone().vote(vote(by, now), needed, |vote| !demoted.contains(&vote.by));
                    if let Ok(Ballot { request, void }) = &ballot {
                        seen.voted.insert((request.transcript, person(by)));
                        prop_assert!(void.iter().all(|vote| demoted.contains(&vote.by)));
                        let voters: BTreeSet<_> = request.votes.iter().map(|vote| vote.by).collect();
                        prop_assert_eq!(voters.len(), request.votes.len(), "each person once");
                        for voter in &voters {
                            prop_assert!(!demoted.contains(voter));
                            prop_assert!(seen.voted.contains(&(request.transcript, *voter)), "for this transcript");
                        }
                        if request.state == JoinState::Approved {
                            prop_assert!(voters.len() >= usize::try_from(needed).expect("few"));
                            prop_assert!(before.token.is_none());
                        }
                    }
                    ballot.map(|ballot| ballot.request)
                }
                Event::Token if before.token.is_some() => before.clone().approve(now),
                Event::Token => Ok(before.clone()),
                Event::Reject => before.clone().reject(now, None),
                Event::Issue => before.clone().issue(node()),
                Event::Supersede => before.clone().supersede(JoinId::from_bytes([9; 16])),
                Event::GiveWay => before.clone().expire("too many"),
            };
            if let Ok(next) = next && stored {
                if next.state == JoinState::Approved && before.state == JoinState::Pending {
                    prop_assert!(now - before.revealed_at < CODE_LIFETIME_MS);
                    seen.approved = Some(next.transcript);
                }
                if next.state == JoinState::Issued {
                    prop_assert_eq!(seen.approved, Some(next.transcript));
                    let new = seen.issued.insert(next.transcript);
                    prop_assert!(new || before.state == JoinState::Issued, "one certificate");
                }
                if matches!(before.state, JoinState::Approved) {
                    prop_assert!(
                        matches!(next.state, JoinState::Approved | JoinState::Issued),
                        "what was approved does not give way"
                    );
                }
                prop_assert!(next.version >= before.version);
                current = next;
            }
        }
    }
}
