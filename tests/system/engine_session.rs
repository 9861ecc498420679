//! Engine sessions: what grants say of them, and what a real node makes of it.

use muster_ids::Digest;
use muster_tests::{Applicant, Person, RealNode, Server, unique};
use muster_wire::admin::v1::function::Function;
use serde_json::{Value, json};

use crate::real_node::{ended, value};

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_names_a_session_by_user_and_analysis_to_nodes_that_ask() {
    let server = Server::shared();
    let (pool, site) = (server.pool().await, server.site().await);
    let node = Applicant::new(&unique("terr")).await;
    let member = node.in_pool(&pool).in_site(&site).join(server).await;
    let connection = member.connect().await;
    let (author, analyst) = (server.author().await, server.analyst().await);
    let definition = json!({ "name": unique("f"), "language": "terr", "script": "1" });
    let function = author.register_definition(&definition).await;
    let granted = async |person: &Person, analysis: Option<&str>, asks: bool| -> Option<Digest> {
        let mut request = json!({ "pool": pool, "site": site });
        if let Some(analysis) = analysis {
            request["analysis"] = analysis.into();
        }
        person.run(&function, &request).await;
        let claimed = member.claim_as(&connection, asks).await.expect("it may ask");
        claimed.expect("a run").grant.session
    };
    let sales = granted(&author, Some("sales"), true).await;
    assert!(sales.is_some());
    assert_eq!(granted(&author, Some(" sales "), true).await, sales);
    let others = [
        granted(&author, Some("costs"), true).await,
        granted(&analyst, Some("sales"), true).await,
    ];
    assert!(
        others.iter().all(|other| other.is_some() && *other != sales),
        "{others:?}"
    );
    assert_eq!(granted(&author, None, true).await, None);
    assert_eq!(
        granted(&author, Some("sales"), false).await,
        None,
        "an older node"
    );
    let wrong = json!({ "pool": pool, "site": site, "analysis": "two\nlines" });
    let refused = author.try_run(&function, &wrong, None).await;
    assert!(refused.is_err(), "{refused:?}");
}

/// The value `y` of a run in this pool.
async fn counted(person: &Person, function: &Function, pool: &str, analysis: Option<&str>) -> Option<i64> {
    let mut request: Value = json!({ "pool": pool });
    if let Some(analysis) = analysis {
        request["analysis"] = analysis.into();
    }
    let run = ended(person, &person.run(function, &request).await).await;
    assert_eq!(run.state, "succeeded", "{:?}", run.ending);
    value(person, run.id, "y").await.as_i64()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_one_user_and_analysis_find_what_former_ones_left_and_nobody_else_does() {
    // Any newer trust state ends sessions, so that no other test may make one.
    let server = &Server::private();
    let pool = server.pool().await;
    let scope = format!("pool:{pool}");
    server
        .admin()
        .await
        .set("restricted_engines", &scope, "python_service")
        .await;
    let node = RealNode::folder(server, &pool, server.root());
    node.configure("[engines]\n", "[engines]\nprune = \"1h\"\n");
    node.join(server, &[]).await;
    node.run(&[]);
    node.connected(server).await;
    let (author, analyst) = (server.author().await, server.analyst().await);
    let definition = json!({
        "name": unique("f"), "language": "python",
        "script": format!("# {}\ny = globals().get('y', 0) + 1", unique("s")),
        "outputs": [{ "name": "y", "kind": "value" }],
    });
    let function = author.register_definition(&definition).await;
    for (person, analysis, expected) in [
        (&analyst, Some("sales"), 1),
        (&analyst, Some("sales"), 2),
        (&analyst, Some("sales"), 3),
        (&author, Some("sales"), 1),
        (&analyst, None, 1),
        (&analyst, Some("costs"), 1),
        (&analyst, Some("costs"), 2),
    ] {
        let found = counted(person, &function, &pool, analysis).await;
        assert_eq!(found, Some(expected), "{} {analysis:?}", person.name());
    }
    // Also restricted ones: what ran in them may be blocked now.
    let block = json!({ "item": { "type": "data_function", "hash": Digest::of(b"another") } });
    let admin = server.admin().await;
    admin.post("/api/v1/trust/blocks", &block).await.expect("blocked");
    for analysis in ["sales", "costs"] {
        let found = counted(&analyst, &function, &pool, Some(analysis)).await;
        assert_eq!(found, Some(1), "{analysis}");
    }
}
