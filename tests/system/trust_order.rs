//! Two administrators decide at once: every pair of decisions, in both orders.

use http::Method;
use muster_tests::{Person, Server, refusal, unique};
use serde_json::{Value, json};

use crate::trust::{BLOCKS, ITEMS, REVOCATIONS, SIGNERS, lift, send, signed_version};

/// A decision, as an administrator sends it: method, path, body, which names what is taken back where it is a deletion.
type Act = (&'static str, Method, &'static str, Value);

/// Decisions that touch each other, about one user, one item and one certificate.
fn acts(user: &str, hash: &str) -> Vec<Act> {
    let item = json!({ "type": "visualization_mod", "hash": hash });
    let certificate = json!({ "issuer": hash, "serial": "1a" });
    let signer = |expires: Value| {
        json!({
            "principal": { "group": "Everyone" }, "signer": { "user": user, "role": "developer" }, "expires": expires,
        })
    };
    let none = Value::Null;
    vec![
        ("block the item", Method::POST, BLOCKS, json!({ "item": item })),
        (
            "block the item for another reason",
            Method::POST,
            BLOCKS,
            json!({ "item": item, "reason": "b" }),
        ),
        ("block the user", Method::POST, BLOCKS, json!({ "user": user })),
        ("block the certificate", Method::POST, BLOCKS, certificate),
        (
            "lift the block of the item",
            Method::DELETE,
            BLOCKS,
            json!({ "item": item }),
        ),
        (
            "lift the block of the user",
            Method::DELETE,
            BLOCKS,
            json!({ "user": user }),
        ),
        ("trust the signer", Method::POST, SIGNERS, signer(none)),
        (
            "trust the signer until 2999",
            Method::POST,
            SIGNERS,
            signer(json!("2999-01-01T00:00:00Z")),
        ),
        (
            "withdraw the signer",
            Method::DELETE,
            SIGNERS,
            json!({ "user": user }),
        ),
        (
            "trust the item",
            Method::POST,
            ITEMS,
            json!({ "principal": { "group": "Everyone" }, "item": item }),
        ),
        (
            "withdraw the item",
            Method::DELETE,
            ITEMS,
            json!({ "item": item }),
        ),
        (
            "revoke",
            Method::POST,
            REVOCATIONS,
            json!({ "user": user, "from": "2020-01-01T00:00:00Z" }),
        ),
    ]
}

/// What decisions made, with the identity that it was given: path, body, identity.
type Made = Vec<(&'static str, Value, String)>;

/// Does one decision. Gives the kind of the problem where it was refused.
async fn act(person: &Person, made: &mut Made, (_, method, path, body): &Act) -> Option<String> {
    let done = if *method == Method::POST {
        send(person, path, body).await.map(|row| {
            let id = row["id"].as_str().expect("an identity").to_owned();
            made.push((path, body.clone(), id));
        })
    } else {
        let about = |at: &str, row: &Value| {
            at == *path
                && match at {
                    SIGNERS => row["signer"]["user"] == body["user"],
                    _ => row["item"] == body["item"] && row["user"] == body["user"],
                }
        };
        // Who finds nothing to lift asks for what is not there.
        let id = made
            .iter()
            .find(|(at, row, _)| about(at, row))
            .map_or("nothing", |(.., id)| id);
        lift(person, path, id).await
    };
    match done {
        Ok(()) => None,
        refused => Some(refusal(refused).1),
    }
}

/// What decides now, without who decided it and when.
async fn state(admin: &Person) -> Vec<String> {
    let mut state = Vec::new();
    for path in [BLOCKS, SIGNERS, ITEMS, REVOCATIONS] {
        let mut next = String::new();
        loop {
            let page: Value = admin.get(&format!("{path}?limit=1000{next}")).await;
            for row in page["items"].as_array().expect("a page") {
                let mut row = row.clone();
                row.as_object_mut().expect("an object").remove("decided");
                state.push(format!("{path} {row}"));
            }
            let Some(more) = page["next"].as_str() else { break };
            next = format!("&next={more}");
        }
    }
    state
}

/// What of `state` is about this user or this item, in words that are the same for all of them.
fn of_subject(state: &[String], [user, hash]: [&str; 2]) -> Vec<String> {
    let mut plain: Vec<String> = state
        .iter()
        .filter(|row| row.contains(user) || row.contains(hash))
        .map(|row| row.replace(user, "USER").replace(hash, "HASH"))
        .map(|row| {
            row.split("sha256:")
                .map(|part| part.get(64..).unwrap_or(part))
                .collect()
        })
        .collect();
    plain.sort();
    plain
}

#[tokio::test(flavor = "multi_thread")]
async fn two_decisions_of_two_administrators_lead_to_one_state_in_either_order_or_to_a_named_conflict() {
    let server = Server::private();
    let (one, other) = (server.administrator().await, server.administrator().await);
    let subject = async || {
        let user = format!("{}@SPOTFIRE", unique("signer"));
        let new = json!({ "name": user });
        one.post("/api/v1/users", &new)
            .await
            .expect("a user without a password");
        let version = signed_version(&one, &unique("rose")).await;
        (user, version["hash"].as_str().expect("a hash").to_owned())
    };
    let count = acts("x", "x").len();
    let mut played = Vec::new();
    for begin in [None, Some(0), Some(6)] {
        for first in 0..count {
            for second in first + 1..count {
                let mut ends = Vec::new();
                for order in [[first, second], [second, first]] {
                    let (user, hash) = subject().await;
                    let acts = acts(&user, &hash);
                    let mut made = Made::new();
                    if let Some(begin) = begin {
                        assert_eq!(act(&one, &mut made, &acts[begin]).await, None);
                    }
                    let said = [
                        act(&one, &mut made, &acts[order[0]]).await,
                        act(&other, &mut made, &acts[order[1]]).await,
                    ];
                    ends.push((said, user, hash, (acts[first].0, acts[second].0)));
                }
                played.push((begin, ends));
            }
        }
    }
    // Nothing that was decided later about others changed what was decided before.
    let state = state(&one).await;
    let mut named = 0;
    for (begin, ends) in played {
        let ends: Vec<_> = ends
            .into_iter()
            .map(|(said, user, hash, acts)| (said, of_subject(&state, [&user, &hash]), acts))
            .collect();
        let conflict = ends.iter().any(|(said, ..)| said.iter().any(Option::is_some));
        named += usize::from(conflict);
        let known = ["duplicate", "blocked", "not-found"];
        for problem in ends.iter().flat_map(|(said, ..)| said.iter().flatten()) {
            assert!(known.contains(&problem.as_str()), "{problem}: {:?}", ends[0].2);
        }
        assert!(conflict || ends[0].1 == ends[1].1, "{begin:?}: {ends:#?}");
    }
    assert!(named > 0, "some decisions contradict each other");
    assert_eq!(one.audit_broken().await, None);
}
