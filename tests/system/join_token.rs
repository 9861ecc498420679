//! Join tokens: they let in whom they are for, as often as they say, and tell strangers nothing.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use muster_pki::join::JoinToken;
use muster_tests::{
    Applicant, CommandLine, RealNode, Server, Settings, answer_of, problem, refusal, unique, until,
};
use muster_wire::node::v1::join::{HELLO_PATH, REVEAL_PATH};
use serde_json::{Value, json};

/// The refusal that strangers get, whatever is wrong with their token.
const REFUSED: (u16, &str) = (403, "join-token-refused");

#[tokio::test(flavor = "multi_thread")]
async fn a_token_lets_a_node_in_without_a_person() {
    let server = Server::shared();
    let (pool, site) = (server.pool().await, server.site().await);
    let wishes = json!({ "capabilities": ["R", "TERR", "PYTHON"], "pool": pool, "site": site });
    let token = server.join_token(&wishes).await;
    let node = Applicant::new(&unique("terr")).await.with_token(&token);
    let name = node.hello.name.to_string();
    let member = node.join_by_token(server).await;
    assert_eq!(
        (member.issued.pool.as_str(), member.issued.site.as_str()),
        (pool.as_str(), site.as_str()),
        "a node that asks for none gets those of the token"
    );
    let connection = member.connect().await;
    member.heartbeat(&connection, &[]).await.expect("a member");
    let admin = server.admin().await;
    let shown = shown(server, &token).await;
    assert_eq!((&shown["state"], &shown["used"]), (&json!("spent"), &json!(1)));
    let approved = admin.audited("join.approved").await;
    let mine = approved.iter().find(|row| row["subject"] == name.as_str());
    let mine = mine.expect("recorded");
    assert_eq!(
        (&mine["detail"]["by"], &mine["detail"]["token"]),
        (&json!("token"), &shown["id"])
    );
    assert_eq!(mine["actor"], "stranger 127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_use_belongs_to_one_key_and_a_retry_is_the_same_use() {
    let server = Server::shared();
    let token = server.join_token(&json!({ "uses": 1 })).await;
    let node = Applicant::new(&unique("terr")).await.with_token(&token);
    let offered = node.greet(server).await;
    let reveal = node.reveal(&offered).await;
    let mut nodes = Vec::new();
    for _ in 0..2 {
        let answer = server.registers(REVEAL_PATH, &reveal).await.expect("let in");
        let issued = answer_of(&server.roots(), &answer).issued.expect("issued");
        nodes.push((issued.node, issued.chain));
    }
    assert_eq!(nodes[0], nodes[1], "the same message, the same certificate");
    let transcript = node.transcript(&offered);
    assert!(node.ask(server, &transcript, 1).await.issued.is_some());

    // It lost everything but its key, and begins again.
    let again = Applicant::with_key(node.hello.name.as_str(), node.key)
        .await
        .with_token(&token);
    let issued = again
        .enter(server)
        .await
        .expect("let in again")
        .issued
        .expect("issued");
    assert_eq!(issued.node, nodes[0].0);
    assert_eq!(shown(server, &token).await["used"], 1);

    let other = Applicant::new(&unique("terr")).await.with_token(&token);
    let refused = refusal(other.enter(server).await);
    assert_eq!(
        (refused.0, refused.1.as_str()),
        REFUSED,
        "another node finds it spent"
    );
    let joins: Value = server.admin().await.get("/api/v1/joins?limit=1000").await;
    let named = |join: &&Value| join["name"] == other.hello.name.as_str();
    assert_eq!(joins["items"].as_array().expect("items").iter().find(named), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_nodes_that_race_for_the_last_use_one_gets_in() {
    let server = Server::shared();
    let token = server.join_token(&json!({ "uses": 3 })).await;
    let mut racing = tokio::task::JoinSet::new();
    for _ in 0..12 {
        let node = Applicant::new(&unique("terr")).await.with_token(&token);
        racing.spawn(async move { node.enter(server).await });
    }
    let (mut won, mut lost) = (0, 0);
    while let Some(ended) = racing.join_next().await {
        match ended.expect("no panic") {
            Ok(answer) => {
                assert!(answer.issued.is_some());
                won += 1;
            }
            refused => {
                assert_eq!(refusal(refused).0, REFUSED.0);
                lost += 1;
            }
        }
    }
    assert_eq!((won, lost), (3, 9));
    assert_eq!(shown(server, &token).await["used"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_gets_one_and_the_same_refusal() {
    let server = Server::private();
    let live = server.join_token(&json!({})).await;
    let (spent, expired, revoked) = (
        server.join_token(&json!({})).await,
        server.join_token(&json!({})).await,
        server.join_token(&json!({})).await,
    );
    Applicant::new("first")
        .await
        .with_token(&spent)
        .join_by_token(&server)
        .await;
    let admin = server.admin().await;
    let reason = json!({ "reason": "lost a laptop" });
    let id = id(&revoked);
    admin
        .tell(&["join-tokens", &id, "revoke"], &reason)
        .await
        .expect("revoked");
    server.database().change(&format!(
        "UPDATE join_tokens SET expires_at = created_at WHERE id = '{}'",
        self::id(&expired)
    ));
    let unknown = live.replace(
        &self::id(&live),
        &muster_ids::TokenId::new(1, [1; 10]).to_string(),
    );
    let wrong = {
        let secret = live.split(':').nth(2).expect("a secret");
        live.replace(secret, &"A".repeat(43))
    };
    let mut said = Vec::new();
    for token in [&spent, &expired, &revoked, &unknown, &wrong] {
        let node = Applicant::new(&unique("terr")).await.with_token(token);
        said.push(problem(node.enter(&server).await));
    }
    // A good proof, but for another exchange.
    let (one, other) = (
        Applicant::new(&unique("terr")).await.with_token(&live),
        Applicant::new(&unique("terr")).await.with_token(&live),
    );
    let (offered, others) = (one.greet(&server).await, other.greet(&server).await);
    let mut replayed = one.reveal(&offered).await;
    replayed.token_proof = other.reveal(&others).await.token_proof;
    said.push(problem(server.registers(REVEAL_PATH, &replayed).await));
    for problem in &said {
        assert_eq!(problem, &said[0], "every refusal is the same");
    }
    assert_eq!(said[0].status, 403);

    // Administrators see more, once the minute is over or the control plane ends.
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    server.restart();
    let admin = server.admin().await;
    for (token, state, why) in [
        (&spent, "spent", "spent"),
        (&expired, "expired", "expired"),
        (&revoked, "revoked", "revoked"),
        (&live, "live", "wrong proof"),
    ] {
        let shown = shown(&server, token).await;
        assert_eq!(
            (&shown["state"], &shown["last_refused"]["why"]),
            (&json!(state), &json!(why))
        );
        let rows = admin.audited("join_token.refused").await;
        let row = rows
            .iter()
            .find(|row| row["subject"] == shown["id"])
            .expect("recorded");
        assert!(
            row["detail"]["why"][why].as_u64().is_some_and(|count| count >= 1),
            "{row}"
        );
    }
    let strangers = admin.audited("join.refused").await;
    assert_eq!(strangers.len(), 1, "one row a prefix and minute");
    assert_eq!(strangers[0]["subject"], "127.0.0.0/24");
    assert_eq!(strangers[0]["detail"]["why"]["join-token-refused"], 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_grants_no_more_than_it_says() {
    let server = Server::shared();
    let (pool, other) = (server.pool().await, server.pool().await);
    let name = unique("terr");
    let bounds = json!({
        "capabilities": ["R"], "pool": pool, "name": format!("{name}-*"), "address": "127.0.0.0/8", "uses": 9,
    });
    let token = server.join_token(&bounds).await;
    let elsewhere = server
        .join_token(&json!({ "capabilities": ["R"], "address": "10.0.0.0/8" }))
        .await;
    let applicant = async |name: &str, capabilities: &[&str], token: &str| {
        let mut node = Applicant::new(name).await.with_token(token);
        node.hello.capabilities = capabilities.iter().map(|&text| text.to_owned()).collect();
        node
    };
    let good = format!("{name}-1");
    let refused = [
        (
            applicant(&good, &["R", "PYTHON"], &token).await,
            "does not grant PYTHON",
        ),
        (applicant(&unique("web"), &["R"], &token).await, "named"),
        (applicant(&good, &["R"], &token).await.in_pool(&other), &pool),
        (applicant(&good, &["R"], &token).await.in_site("north"), "site"),
        (
            applicant(&unique("terr"), &["R"], &elsewhere).await,
            "other addresses",
        ),
    ];
    for (node, says) in refused {
        let said = problem(node.enter(server).await);
        assert!(
            said.status == 403 && said.detail.contains(says),
            "{says}: {}",
            said.detail
        );
    }
    assert_eq!(shown(server, &token).await["used"], 0, "a refusal uses nothing");
    let member = applicant(&good, &["R"], &token)
        .await
        .in_pool(&pool)
        .join_by_token(server)
        .await;
    assert_eq!(member.issued.capabilities, ["R"]);
    // The name is taken now: the token does not change that.
    let second = applicant(&good, &["R"], &token).await;
    assert_eq!(
        refusal(second.enter(server).await),
        (409, "duplicate-node-name".to_owned())
    );
    assert_eq!(shown(server, &token).await["used"], 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_join_that_names_a_token_is_never_approved_by_code() {
    let server = Server::shared();
    let admin = server.administrator().await;
    let token = server.join_token(&json!({})).await;
    let node = Applicant::new(&unique("terr")).await.with_token(&token);
    let offered = node.greet(server).await;
    let transcript = node.transcript(&offered);
    // Without the proof there is no request, and so nothing to approve.
    let mut reveal = node.reveal(&offered).await;
    reveal.token_proof = None;
    assert_eq!(refusal(server.registers(REVEAL_PATH, &reveal).await).0, 422);
    let code = json!({ "code": transcript.code().to_string() });
    assert_eq!(refusal(admin.post("/api/v1/joins/match", &code).await).0, 404);
    // A proof without a token is as wrong.
    let plain = Applicant::new(&unique("terr")).await;
    let offered = plain.greet(server).await;
    let mut proved = plain.reveal(&offered).await;
    proved.token_proof = node.reveal(&node.greet(server).await).await.token_proof;
    assert_eq!(refusal(server.registers(REVEAL_PATH, &proved).await).0, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_for_tokens_have_a_budget_of_their_own() {
    let settings = Settings {
        offers_per_second: 1,
        ..Settings::default()
    };
    let server = Server::start(&settings);
    let token = server.join_token(&json!({ "uses": 5 })).await;
    let flooding = Applicant::new("flood").await;
    let spend = async || {
        until("the budget is spent", async || {
            refused_for_now(server.registers(HELLO_PATH, &flooding.hello).await)
        })
        .await;
    };
    spend().await;
    for n in 0..5 {
        Applicant::new(&format!("node-{n}"))
            .await
            .with_token(&token)
            .join_by_token(&server)
            .await;
    }
    // To name a token that is none helps nobody.
    let unknown = token.replace(&id(&token), &muster_ids::TokenId::new(1, [1; 10]).to_string());
    let node = Applicant::new("stranger").await.with_token(&unknown);
    until("the common budget is spent for it too", async || {
        refused_for_now(server.registers(HELLO_PATH, &node.hello).await)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_of_a_token_is_in_no_log_and_in_no_file_of_the_control_plane() {
    let server = Server::private();
    let text = server.join_token(&json!({ "uses": 2 })).await;
    let secret = text.split(':').nth(2).expect("a secret").to_owned();
    Applicant::new("one")
        .await
        .with_token(&text)
        .join_by_token(&server)
        .await;
    let list: Value = server.admin().await.get("/api/v1/join-tokens").await;
    assert!(!list.to_string().contains(&secret));
    let admin = server.admin().await;
    let under_a_key = muster_client::Request::post("/api/v1/join-tokens")
        .json(&json!({}))
        .idempotency_key("once");
    let refused = problem(admin.send(under_a_key).await);
    assert_eq!(refused.status, 422, "{}", refused.detail);
    assert!(
        refused.detail.contains("a secret, which is not kept"),
        "{}",
        refused.detail
    );
    let status = server.terminate().await;
    assert!(status.success(), "{status}");
    let raw = |text: &str| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(text)
            .expect("base64url")
    };
    let mut looked_at = 0;
    for file in files(server.state_dir().parent().expect("the folder")) {
        let bytes = fs::read(&file).expect("readable");
        looked_at += bytes.len();
        for needle in [secret.as_bytes(), &raw(&secret)] {
            let found = bytes.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "the secret is in {}", file.display());
        }
    }
    assert!(looked_at > 100_000, "the database was looked at: {looked_at}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_does_not_give_a_use_back() {
    let server = Server::private();
    let token = server.join_token(&json!({})).await;
    Applicant::new("one")
        .await
        .with_token(&token)
        .join_by_token(&server)
        .await;
    server.kill();
    server.restart();
    let other = Applicant::new("two").await.with_token(&token);
    assert_eq!(refusal(other.enter(&server).await).0, REFUSED.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn wishes_for_a_token_that_cannot_be_met_are_refused() {
    let server = Server::shared();
    let admin = server.admin().await;
    for wishes in [
        json!({ "uses": 0 }),
        json!({ "uses": 100_001 }),
        json!({ "ttl_seconds": 59 }),
        json!({ "ttl_seconds": 366 * 24 * 3600 }),
        json!({ "ttl_seconds": u64::MAX }),
        json!({ "capabilities": ["ADMIN"] }),
        json!({ "name": "" }),
        json!({ "address": "anywhere" }),
        json!({ "address": "10.0.0.1/8" }),
        json!({ "role": "control-plane" }),
    ] {
        assert_eq!(
            refusal(admin.post("/api/v1/join-tokens", &wishes).await).0,
            422,
            "{wishes}"
        );
    }
    let nowhere = json!({ "pool": unique("pool") });
    assert_eq!(refusal(admin.post("/api/v1/join-tokens", &nowhere).await).0, 404);
    let many = json!({ "uses": 100_000, "ttl_seconds": 365 * 24 * 3600 });
    admin.post("/api/v1/join-tokens", &many).await.expect("the most");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_node_joins_by_its_token_without_anybody() {
    let server = Server::shared();
    let pool = server.pool().await;
    let node = RealNode::folder(server, &pool, server.root());
    let muster = CommandLine::log_in(server);
    let file = node.token_file();
    let path = file.to_string_lossy().into_owned();
    let create = [
        "join-token",
        "create",
        "--pool",
        &pool,
        "--name",
        node.name(),
        "--out",
        &path,
    ];
    let (exit, said, complained) = muster.run(&create);
    assert_eq!(exit, Some(0), "{complained}");
    assert!(
        said.contains("lets in one node") && !said.contains("muster-join-token:"),
        "{said}"
    );
    let mode = fs::metadata(&file).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("written");

    // No pin: the token alone proves the control plane.
    node.rely_on_token();
    node.run(&[]);
    node.connected(server).await;
    let secret = text.split(':').nth(2).expect("a secret");
    assert!(
        node.log().contains("asks to be let in by a join token"),
        "{}",
        node.log()
    );
    for kept in files(file.parent().expect("the folder")) {
        let bytes = fs::read(&kept).unwrap_or_default();
        let found = bytes
            .windows(secret.len())
            .any(|window| window == secret.as_bytes());
        assert_eq!(found, kept == file, "{}", kept.display());
    }
    assert_eq!(shown(server, text.trim()).await["state"], "spent");
    let (exit, listed, _) = muster.run(&["join-token", "list", "--state", "spent"]);
    assert!(exit == Some(0) && listed.contains("1/1"), "{listed}");
}

/// The answer of the control plane to a hello that it has no offer for now.
fn refused_for_now<T>(answer: Result<T, muster_client::ClientError>) -> Option<()> {
    let error = answer.err()?;
    (error.problem()?.status == 429).then_some(())
}

/// The public name of a token.
fn id(text: &str) -> String {
    let token: JoinToken = text.parse().expect("a join token");
    token.id().to_string()
}

/// A token as administrators see it.
async fn shown(server: &Server, text: &str) -> Value {
    server.admin().await.show(&["join-tokens", &id(text)]).await
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.is_file() {
            found.push(path);
        }
    }
    found
}
