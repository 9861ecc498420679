//! The audit log: everything leaves its record, no record can be changed unseen, and no secret is in it.

use muster_client::Request;
use muster_model::audit::Event;
use muster_tests::{Applicant, Person, Server, challenge, problem, refusal};
use serde_json::{Value, json};

/// Events of the control plane's own clock, of tokens, several approvers, copies, rotations, epochs, signatures and openings:
/// the tests of those tell their stories. And what only older versions wrote.
const NOT_HERE: &[Event] = &[
    Event::JoinRefused,
    Event::JoinVoted,
    Event::JoinVoteVoid,
    Event::JoinAnswerRefused,
    Event::JoinReplay,
    Event::JoinOldKey,
    Event::JoinTokenCreated,
    Event::JoinTokenRevoked,
    Event::JoinTokenRefused,
    Event::SecretLeaked,
    Event::CertificateFirstUsed,
    Event::CertificateRevoked,
    Event::TrustReset,
    Event::NodeDrained,
    Event::NodeCloneDetected,
    Event::NodeDuplicateRefused,
    Event::AuthorityRecorded,
    Event::AuthorityPrepared,
    Event::AuthorityActivated,
    Event::AuthorityTainted,
    Event::AuthorityRevoked,
    Event::AuthorityAborted,
    Event::AuthorityRenewed,
    Event::EpochBegun,
    Event::EpochUnited,
    Event::EpochReportRefused,
    Event::TombstonesExpired,
    Event::SigningRootMade,
    Event::SigningRootImported,
    Event::SigningRootRemoved,
    Event::CodeTrustReset,
    Event::SigningCertificateIssued,
    Event::SigningCertificateImported,
    Event::ItemSigned,
    Event::TimeStamped,
    Event::LicenseChanged,
    Event::ItemSignedAgain,
    Event::ItemPrompted,
    Event::ItemDeclined,
    Event::ItemDenied,
];

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_done_leaves_its_record() {
    let server = Server::private();
    everything(&server).await;
    let rows = server
        .database()
        .rows("SELECT DISTINCT event FROM audit ORDER BY event");
    let found: Vec<&str> = rows.iter().filter_map(|row| row["event"].as_str()).collect();
    let missing: Vec<&str> = Event::ALL
        .iter()
        .filter(|event| !NOT_HERE.contains(event))
        .map(|event| event.as_str())
        .filter(|event| !found.contains(event))
        .collect();
    assert!(missing.is_empty(), "not recorded: {missing:?}");
    let admin = server.admin().await;
    assert_eq!(admin.audit_broken().await, None);
    let (ok, said) = server.command("doctor");
    assert!(ok, "doctor: {said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_kept_or_logged() {
    let server = Server::private();
    let secrets = everything(&server).await;
    let kept = server.database().dump() + &server.log();
    for secret in secrets {
        assert!(!kept.contains(&secret), "a secret is kept or logged: {secret}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_row_is_named() {
    let server = Server::private();
    let admin = server.admin().await;
    for n in 0..5 {
        admin.create("/api/v1/pools", &format!("p{n}")).await;
    }
    assert_eq!(admin.audit_broken().await, None);
    let database = server.database();
    // The last rows are those of the pools.
    let end = database.number("SELECT MAX(sequence) FROM audit");
    let changes = [
        (
            format!(
                "UPDATE audit SET record = replace(record, 'admin@', 'nobody@') WHERE sequence = {}",
                end - 3
            ),
            end - 3,
        ),
        (
            format!(
                "UPDATE audit SET actor = 'user nobody@SPOTFIRE' WHERE sequence = {}",
                end - 2
            ),
            end - 2,
        ),
        (
            format!("UPDATE audit SET at = at + 1 WHERE sequence = {}", end - 1),
            end - 1,
        ),
        (format!("DELETE FROM audit WHERE sequence = {}", end - 2), end - 2),
        (format!("DELETE FROM audit WHERE sequence = {end}"), end),
    ];
    for (change, sequence) in changes {
        // Kept aside as somebody would who wants to hide what they do.
        database.change("CREATE TABLE aside AS SELECT * FROM audit");
        database.change(&change);
        let broken = admin.audit_broken().await.expect("it was changed");
        assert!(
            broken.starts_with(&format!("row {sequence} of the audit writer ")),
            "{change}: {broken}"
        );
        let (ok, said) = server.command("doctor");
        assert!(!ok && said.contains("The audit log is damaged"), "{said}");
        database.change("DELETE FROM audit; INSERT INTO audit SELECT * FROM aside; DROP TABLE aside");
        assert_eq!(admin.audit_broken().await, None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_and_refusals_name_who_and_from_where() {
    let server = Server::shared();
    let admin = server.admin().await;
    let analyst = server.analyst().await;
    let tried = analyst
        .ask(&http::Method::GET, "/api/v1/nodes", &Value::Null)
        .await;
    assert_eq!(refusal(tried).0, 403);
    let name = analyst.name();
    // What they tried, and on what, is told and recorded.
    let said = problem(analyst.delete(&["groups", "Sub"]).await);
    let wanted =
        format!("user {name} may not delete the group Sub; ask for membership of the group Administrator");
    assert_eq!((said.status, said.detail), (403, wanted));
    let wrong: Result<Value, _> = Person::stranger(server)
        .post(
            "/api/v1/sessions",
            &json!({ "user": name, "password": "a wrong password" }),
            None,
        )
        .await;
    assert_eq!(refusal(wrong).0, 401);
    let of = |rows: &[Value], key: &str, value: &str| -> Vec<Value> {
        rows.iter().filter(|row| row[key] == value).cloned().collect()
    };
    let logins = of(&admin.audited("login.succeeded").await, "subject", name);
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0]["detail"]["source"], "127.0.0.1");
    let failed = of(&admin.audited("login.failed").await, "subject", name);
    assert_eq!(failed.len(), 1);
    assert_eq!(failed[0]["detail"]["source"], "127.0.0.1");
    let denied = admin.audited("request.denied").await;
    let caller = format!("user {name}");
    let mine: Vec<&Value> = denied
        .iter()
        .filter(|row| row["actor"] == caller.as_str())
        .collect();
    let recorded: Vec<(&Value, &Value)> = mine.iter().map(|row| (&row["subject"], &row["detail"])).collect();
    let (nodes, delete) = (json!("list nodes"), json!("delete the group"));
    assert_eq!(
        recorded,
        [
            (&json!("Sub"), &json!({ "attempted": delete })),
            (&nodes, &json!({ "attempted": nodes })),
        ]
    );
}

/// Does one of everything. Returns what must be found nowhere.
async fn everything(server: &Server) -> Vec<String> {
    let admin = server.admin().await;
    let author = server.author().await;
    let mut secrets = vec![
        admin.token().to_owned(),
        author.token().to_owned(),
        std::fs::read_to_string(server.state_dir().join("admin-password"))
            .expect("init writes it")
            .trim()
            .to_owned(),
    ];

    // People.
    let password = "a secret that nobody keeps";
    let name = "ann@SPOTFIRE";
    admin.create_user(name, password).await;
    let ann = Person::log_in(server, name, password).await;
    secrets.extend([password.to_owned(), ann.token().to_owned()]);
    let wrong: Result<Value, _> = Person::stranger(server)
        .post(
            "/api/v1/sessions",
            &json!({ "user": name, "password": "wrong but secret" }),
            None,
        )
        .await;
    assert!(wrong.is_err());
    secrets.push("wrong but secret".to_owned());
    assert!(
        ann.post("/api/v1/pools", &json!({ "name": "hers" }))
            .await
            .is_err()
    );
    ann.delete(&["sessions", "current"]).await.expect("logged out");
    let request = Request::put("/api/v1/users/ann%40SPOTFIRE/password");
    let new = "another secret that nobody keeps";
    admin
        .send(request.json(&json!({ "password": new })))
        .await
        .expect("set");
    secrets.push(new.to_owned());
    admin
        .patch(&["users", name], &json!({ "state": "disabled" }))
        .await
        .expect("disabled");
    admin.create("/api/v1/groups", "g").await;
    admin.add_member("g", name).await;
    admin
        .put_empty(&["groups", "g", "licenses", "Author Scripts"])
        .await;
    admin.put_empty(&["groups", "g", "licenses", "Trust Mods"]).await;
    admin.create("/api/v1/groups", "above").await;
    admin.put_empty(&["groups", "g", "parents", "above"]).await;
    let preference = Request::put("/api/v1/groups")
        .segment("g")
        .segment("preferences")
        .segment("Require valid signature to allow trust")
        .json(&json!({ "value": "false" }));
    admin.send(preference).await.expect("set");
    let license = Request::put("/api/v1/groups")
        .segment("g")
        .segment("licenses")
        .json(&json!({
            "license": "Spotfire.Dxp.Extensions", "of": ["Trust Mods", "Author Scripts"], "features": ["Author Scripts"],
        }));
    admin.send(license).await.expect("set without the others");
    let license = ["groups", "g", "licenses", "Author Scripts"];
    admin.delete(&license).await.expect("taken away");
    admin
        .delete(&["groups", "g", "members", name])
        .await
        .expect("removed");
    admin.delete(&["groups", "g"]).await.expect("deleted");
    admin.create_user("gone@SPOTFIRE", new).await;
    admin.delete(&["users", "gone@SPOTFIRE"]).await.expect("deleted");
    let principal = json!({ "user": author.name() });
    let certificate = crate::signing::known_signer(&admin).await;
    let version = crate::trust::signed_version(&admin, "rose").await;
    for (kind, decision) in [
        ("blocks", json!({ "user": name })),
        (
            "signers",
            json!({ "principal": principal, "signer": { "user": author.name(), "role": "developer" } }),
        ),
        (
            "signers",
            json!({ "principal": principal, "signer": certificate }),
        ),
        ("items", json!({ "principal": principal, "item": version })),
    ] {
        let made = admin.post(&format!("/api/v1/trust/{kind}"), &decision).await;
        let id = made.expect("decided")["id"]
            .as_str()
            .expect("an identity")
            .to_owned();
        admin.delete(&["trust", kind, &id]).await.expect("withdrawn");
    }
    let revoked =
        json!({ "user": author.name(), "from": "2020-01-01T00:00:00Z", "until": "2020-02-01T00:00:00Z" });
    admin
        .post("/api/v1/trust/revocations", &revoked)
        .await
        .expect("revoked");
    for (path, parts) in [
        ("/api/v1/pools", ["pools", "p"]),
        ("/api/v1/sites", ["sites", "p"]),
    ] {
        admin.create(path, "p").await;
        admin.delete(&parts).await.expect("deleted");
    }
    let folder = json!({ "folder": "/", "name": "folder" });
    let folder = admin
        .post("/api/v1/library/folders", &folder)
        .await
        .expect("made");
    let analysis = json!({
        "folder": "/folder", "name": "plan", "kind": "analysis", "manifest": "{\"muster_analysis\":1}",
    });
    let analysis = admin
        .post("/api/v1/library/items", &analysis)
        .await
        .expect("saved");
    let analysis = analysis["id"].as_str().expect("an identity");
    admin.delete(&["library", analysis]).await.expect("deleted");
    let folder = folder["id"].as_str().expect("an identity").to_owned();
    let permissions = Request::put("/api/v1/library")
        .segment(&folder)
        .segment("permissions")
        .json(&json!({ "grants": [] }));
    admin.send(permissions).await.expect("closed");
    admin
        .patch(&["library", &folder], &json!({ "name": "another" }))
        .await
        .expect("renamed");
    admin.delete(&["library", &folder]).await.expect("deleted");

    // Joins.
    let node = Applicant::new("rejected").await;
    let transcript = node.apply(server).await;
    let id = transcript.join_id().to_string();
    secrets.push(transcript.code().to_string());
    let wrong = admin
        .tell(&["joins", &id, "approve"], &json!({ "code": "0000-0000-0000" }))
        .await;
    assert!(wrong.is_err());
    admin
        .tell(&["joins", &id, "reject"], &json!({}))
        .await
        .expect("rejected");
    let member = Applicant::new("member").await.join(server).await;
    let connection = member.connect().await;
    let _lines = member.control(&connection, &challenge()).await;
    admin
        .patch(&["nodes", "member"], &json!({ "scheduling": "active" }))
        .await
        .expect("changed");

    // Trust and runs.
    let function = author.register("f", "terr", "1").await;
    author.trust(&function).await;
    let policy = format!("/api/v1/functions/{}/policy", function.id);
    admin
        .send(Request::put(policy).json(&json!({ "policy": {} })))
        .await
        .expect("a policy");
    author
        .tell(&["functions", "f", "untrust"], &Value::Null)
        .await
        .expect("untrusted");
    admin.set("restricted_engines", "all", "r_service").await;
    let signer = member.receipt_signer(&connection).await;
    let run = author.run(&function, &json!({})).await;
    let claimed = member.claim(&connection).await.expect("a run");
    member
        .put_back(&connection, run.id, 1)
        .await
        .expect("handed back");
    let old = member.outcome(&claimed, &signer, "succeeded").await;
    assert!(member.report(&connection, run.id, &old).await.is_err());
    let claimed = member.claim(&connection).await.expect("a run");
    author
        .tell(&["runs", &run.id.to_string(), "cancel"], &Value::Null)
        .await
        .expect("asked");
    let outcome = member.outcome(&claimed, &signer, "succeeded").await;
    member
        .report(&connection, run.id, &outcome)
        .await
        .expect("counts");

    // The end of a node.
    admin
        .tell(&["nodes", "member", "untrust"], &json!({}))
        .await
        .expect("untrusted");
    admin.delete(&["nodes", "member"]).await.expect("deleted");
    secrets
}
