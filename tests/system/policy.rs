//! What administrators allow unrestricted runs, from their command to the grant.

use std::os::unix::fs::PermissionsExt as _;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_client::Request;
use muster_code_trust::RunPolicy;
use muster_ids::Digest;
use muster_tests::{Applicant, Person, Server, problem, unique};
use muster_wire::admin::v1::function::{Function, FunctionPolicy};
use serde_json::{Value, json};

use crate::real_node::{ended, shared, value};

async fn put(
    person: &Person,
    function: &Function,
    policy: &Value,
) -> Result<FunctionPolicy, muster_client::ClientError> {
    let path = format!("/api/v1/functions/{}/policy", function.id);
    let request = Request::put(path).json(&json!({ "policy": policy }));
    Ok(person.send(request).await?.json().expect("a policy"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_carries_what_the_setting_and_the_function_both_allow() {
    let server = Server::shared();
    let (pool, site) = (server.pool().await, server.site().await);
    let node = Applicant::new(&unique("terr")).await;
    let member = node.in_pool(&pool).in_site(&site).join(server).await;
    let connection = member.connect().await;
    let (admin, author) = (server.admin().await, server.author().await);
    let scope = format!("node:{}", member.name());
    admin.set("terr.restricted.execution.mode", &scope, "false").await;
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    author.trust(&function).await;
    let claimed = async || {
        author
            .run(&function, &json!({ "pool": pool, "site": site }))
            .await;
        member.claim(&connection).await.expect("a grant").grant
    };
    // The node's own file says it.
    let grant = claimed().await;
    assert_eq!((grant.policy, grant.network.as_str()), (None, "host"));

    // The nearest place holds.
    let wide = r#"{"read": ["/srv", "/home"], "network": {"class": "host"}, "programs": "all"}"#;
    admin
        .set("unrestricted_policy", &format!("pool:{pool}"), "{}")
        .await;
    admin.set("unrestricted_policy", &scope, wide).await;
    let grant = claimed().await;
    let granted = grant.policy.expect("a policy");
    let expected = RunPolicy::parse(wide).expect("a policy");
    assert_eq!(
        granted.policy.to_string(),
        serde_json::to_value(&expected).expect("JSON").to_string()
    );
    assert_eq!(
        (granted.digest, grant.network.as_str()),
        (expected.digest(), "host")
    );

    let own = json!({
        "write": ["/srv/out"], "read": ["/opt"], "limits": { "memory_mib": 64 },
        "network": { "class": "brokered", "to": ["db.example.com:5432"] },
    });
    let set = put(&admin, &function, &own).await.expect("set");
    let both = expected.both(&RunPolicy::parse(&own.to_string()).expect("a policy"));
    let grant = claimed().await;
    let granted = grant.policy.expect("a policy");
    assert_eq!(
        (granted.digest, grant.network.as_str()),
        (both.digest(), "brokered")
    );
    assert_eq!(granted.policy, serde_json::to_value(&both).expect("JSON"));
    assert_ne!(set.digest, Some(granted.digest));

    // It holds for another version of the function as well.
    author
        .register(function.definition.name.as_str(), "terr", &unique("#"))
        .await;
    let shown: FunctionPolicy = author
        .show(&["functions", &function.id.to_string(), "policy"])
        .await;
    assert_eq!(shown, set);

    admin
        .delete(&["functions", &function.id.to_string(), "policy"])
        .await
        .expect("removed");
    let shown: FunctionPolicy = author
        .show(&["functions", &function.id.to_string(), "policy"])
        .await;
    assert_eq!((shown.policy, shown.digest), (None, None::<Digest>));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_but_administrators_says_what_a_function_may_use() {
    let server = Server::shared();
    let (author, analyst) = (server.author().await, server.analyst().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let policy = json!({ "read": ["/srv/data"] });
    for person in [&author, &analyst] {
        assert_eq!(problem(put(person, &function, &policy).await).status, 403);
        let parts = ["functions", &function.id.to_string(), "policy"];
        assert_eq!(problem(person.delete(&parts).await).status, 403);
    }
    let admin = server.admin().await;
    for (wrong, words) in [
        (json!({ "reads": [] }), "unknown field"),
        (
            json!({ "read": ["/var/lib/muster/node"] }),
            "belongs to the node's agent",
        ),
        (
            json!({ "network": { "class": "brokered" } }),
            "needs destinations",
        ),
    ] {
        let problem = problem(put(&admin, &function, &wrong).await);
        assert_eq!(problem.status, 422);
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    let refused = admin
        .try_set("unrestricted_policy", "all", r#"{"write": ["/"]}"#)
        .await;
    assert_eq!(problem(refused).status, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_on_a_real_node_sees_what_the_policy_of_its_function_shows() {
    let world = shared().await;
    let admin = Server::shared().admin().await;
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("permissions");
    let (file, link) = (folder.path().join("file"), folder.path().join("link"));
    std::fs::write(&file, "7\n").expect("written");
    std::os::unix::fs::symlink("/proc", &link).expect("a link");
    for (language, script) in [
        ("python", format!("y = int(open('{}').read())", file.display())),
        ("r", format!("y <- as.integer(readLines('{}'))", file.display())),
    ] {
        let function = world
            .function(language, &format!("{script} {}", unique("#")))
            .await;
        world.author.trust(&function).await;
        let run = async || {
            let run = world.author.run(&function, &json!({ "pool": world.pool })).await;
            ended(&world.author, &run).await
        };
        assert_eq!(run().await.state, "failed", "{language}");
        let set = put(&admin, &function, &json!({ "read": [file] }))
            .await
            .expect("set");
        let shown = run().await;
        assert_eq!(shown.state, "succeeded", "{language}: {:?}", shown.ending);
        assert_eq!(value(&world.author, shown.id, "y").await, 7);
        let path = format!("/api/v1/runs/{}/receipt", shown.id);
        let receipt: Value = world.author.get(&path).await;
        let payload = receipt["receipt"]["payload"].as_str().expect("a payload");
        let statement: Value =
            serde_json::from_slice(&STANDARD.decode(payload).expect("base64")).expect("JSON");
        assert_eq!(statement["predicate"]["policy"], json!(set.digest), "{language}");

        // What is not for runs is not shown, whatever leads there.
        put(&admin, &function, &json!({ "read": [link] }))
            .await
            .expect("set");
        let refused = run().await;
        let message = refused.ending.expect("an ending").message;
        assert!(message.contains("cannot be shown to runs"), "{message}");
    }
}
