//! What people decide about trust: blocks, trust in signers and items, revocations.

use muster_client::{ClientError, Request};
use muster_code_trust::{Item, ItemKind};
use muster_ids::Sha512;
use muster_tests::{Applicant, Person, Server, problem, refusal, unique};
use muster_wire::admin::v1::{
    Page,
    trust::{Block, Revocation, TrustedItem, TrustedSigner},
};
use serde_json::{Value, json};

pub(crate) const BLOCKS: &str = "/api/v1/trust/blocks";
pub(crate) const SIGNERS: &str = "/api/v1/trust/signers";
pub(crate) const ITEMS: &str = "/api/v1/trust/items";
pub(crate) const REVOCATIONS: &str = "/api/v1/trust/revocations";

pub(crate) async fn send(person: &Person, path: &str, body: &Value) -> Result<Value, ClientError> {
    person.post(path, body).await
}

pub(crate) async fn lift(person: &Person, path: &str, id: impl ToString) -> Result<(), ClientError> {
    let request = Request::delete(path).segment(&id.to_string());
    person.send(request).await.map(drop)
}

async fn all<T: serde::de::DeserializeOwned>(person: &Person, path: &str) -> Vec<T> {
    let page: Page<T> = person.get(&format!("{path}?limit=1000")).await;
    page.items
}

/// Somebody who may trust mods.
async fn modder(server: &Server) -> Person {
    let (admin, group) = (server.admin().await, unique("modders"));
    admin.create("/api/v1/groups", &group).await;
    admin
        .put_empty(&["groups", &group, "licenses", "Trust Mods"])
        .await;
    server.person(&[&group]).await
}

/// The version of a mod of this name that an administrator has signed.
pub(crate) async fn signed_version(admin: &Person, name: &str) -> Value {
    let new = json!({ "item": mod_content(name), "user": admin.name() });
    let made = send(admin, "/api/v1/trust/signatures", &new).await;
    made.expect("signed")["item"].clone()
}

/// A mod of this name, as it is signed.
fn mod_content(name: &str) -> Value {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": name, "id": "rose", "icon": "icon.svg", "files": [],
    });
    json!({
        "type": "visualization_mod", "manifest": manifest.to_string(),
        "files": { "icon.svg": Sha512::of(b"<svg/>") },
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_refuses_what_was_trusted_until_it_is_lifted_and_says_who_made_it_and_why() {
    let server = Server::shared();
    let (admin, author) = (server.admin().await, server.author().await);
    let function = author.register(&unique("f"), "r", &unique("#")).await;
    author.trust(&function).await;
    let explain = async || -> Value {
        let path = format!("/api/v1/trust/explain?function={}", function.id);
        author.get(&path).await
    };
    assert_eq!(explain().await["outcome"], "allow");
    let body = json!({
        "item": { "type": "data_function", "hash": function.digest }, "reason": "it sends data away",
    });
    let made: Block =
        serde_json::from_value(send(&admin, BLOCKS, &body).await.expect("blocked")).expect("a block");
    assert_eq!(explain().await["why"]["rule"], "item-blocked");
    assert_eq!(
        refusal(author.try_trust(&function).await),
        (409, "blocked".to_owned())
    );
    assert_eq!(
        refusal(send(&admin, BLOCKS, &body).await),
        (409, "duplicate".to_owned())
    );
    let listed = all::<Block>(&admin, BLOCKS).await;
    let shown = listed
        .iter()
        .find(|block| block.id == made.id)
        .expect("it is listed");
    assert_eq!(shown, &made);
    assert_eq!(shown.decided.reason.as_deref(), Some("it sends data away"));
    assert_eq!(
        shown.decided.by.as_ref().map(ToString::to_string).as_deref(),
        Some(admin.name())
    );

    lift(&admin, BLOCKS, made.id).await.expect("lifted");
    assert_eq!(refusal(lift(&admin, BLOCKS, made.id).await).0, 404);
    assert_eq!(explain().await["outcome"], "allow");
    let subject = format!("data_function {}", function.digest);
    for event in ["codetrust.block", "codetrust.unblock"] {
        let rows = admin.audited(event).await;
        assert_eq!(
            rows.iter()
                .filter(|row| row["subject"] == subject.as_str())
                .count(),
            1,
            "{event}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused_in_words() {
    let server = Server::shared();
    let admin = server.admin().await;
    let long = "x".repeat(501);
    let item = |kind: &str, hash: &str| json!({ "type": kind, "hash": hash });
    let signer = json!({ "user": admin.name(), "role": "developer" });
    for (path, body, word) in [
        (BLOCKS, json!({}), "exactly one"),
        (
            BLOCKS,
            json!({ "user": "eve@SPOTFIRE", "item": item("script", "h") }),
            "exactly one",
        ),
        (BLOCKS, json!({ "serial": "01" }), "exactly one"),
        (BLOCKS, json!({ "item": item("mod", "h") }), "unknown variant"),
        (
            BLOCKS,
            json!({ "item": item("data_function", "h") }),
            "64 hexadecimal digits",
        ),
        (BLOCKS, json!({ "item": item("script", "a b") }), "content hash"),
        // The same bytes, spelled as no signature has them.
        (
            BLOCKS,
            json!({ "item": item("action_mod", &"ab".repeat(64)) }),
            "sha512=",
        ),
        (
            BLOCKS,
            json!({ "issuer": "CN=Corp", "serial": "xyz" }),
            "hexadecimal",
        ),
        (
            BLOCKS,
            json!({ "issuer": "CN=Corp", "serial": "1".repeat(65) }),
            "at most 64 hexadecimal digits",
        ),
        (
            SIGNERS,
            json!({ "signer": { "issuer": "x".repeat(513), "serial": "1", "role": "developer" } }),
            "at most 512 bytes",
        ),
        (
            BLOCKS,
            json!({ "user": "eve@SPOTFIRE", "reason": long }),
            "at most 500",
        ),
        (
            BLOCKS,
            json!({ "user": "eve@SPOTFIRE", "until": "x" }),
            "unknown field",
        ),
        (
            SIGNERS,
            json!({ "signer": { "user": admin.name(), "role": "owner" } }),
            "unknown variant",
        ),
        (
            SIGNERS,
            json!({ "signer": { "role": "developer" } }),
            "issuer with a serial",
        ),
        (
            SIGNERS,
            json!({ "signer": signer, "principal": {} }),
            "cannot be used",
        ),
        (
            SIGNERS,
            json!({ "signer": signer, "expires": "2020-01-01T00:00:00Z" }),
            "is over",
        ),
        (
            SIGNERS,
            json!({ "signer": signer, "expires": "tomorrow" }),
            "RFC 3339",
        ),
        (
            ITEMS,
            json!({ "item": item("data_function", "h") }),
            "unknown variant",
        ),
        // As with blocks: another text would be trust in nothing.
        (
            ITEMS,
            json!({ "item": item("action_mod", &"ab".repeat(64)) }),
            "sha512=",
        ),
        (REVOCATIONS, json!({ "from": "2020-13-01T00:00:00Z" }), "RFC 3339"),
        (
            REVOCATIONS,
            json!({ "from": "2021-01-01T00:00:00Z", "until": "2020-01-01T00:00:00Z" }),
            "before it ends",
        ),
    ] {
        let problem = problem(send(&admin, path, &body).await);
        assert_eq!(problem.status, 422, "{body}: {problem:?}");
        assert!(problem.detail.contains(word), "{body}: {}", problem.detail);
    }
    for (path, body) in [
        (
            SIGNERS,
            json!({ "signer": { "user": "nobody@SPOTFIRE", "role": "developer" } }),
        ),
        (
            SIGNERS,
            json!({ "signer": signer, "principal": { "group": "No such group" } }),
        ),
        (
            REVOCATIONS,
            json!({ "user": "nobody@SPOTFIRE", "from": "2020-01-01T00:00:00Z" }),
        ),
    ] {
        assert_eq!(problem(send(&admin, path, &body).await).status, 404, "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_trust_for_themselves_with_the_license_and_withdraw_only_what_they_decided() {
    let server = Server::shared();
    let (admin, analyst, modder) = (server.admin().await, server.analyst().await, modder(server).await);
    let signer =
        |role: &str| json!({ "signer": { "user": analyst.name(), "role": role }, "reason": "a colleague" });
    assert_eq!(
        problem(send(&analyst, SIGNERS, &signer("developer")).await).status,
        403
    );
    let problem_of = problem(send(&modder, SIGNERS, &signer("configurator")).await);
    assert!(
        problem_of.status == 403 && problem_of.detail.contains("Trust External Actions"),
        "{problem_of:?}"
    );
    let made = send(&modder, SIGNERS, &signer("developer"))
        .await
        .expect("trusted");
    let version = signed_version(&admin, &unique("rose")).await;
    let hash = version["hash"].as_str().expect("a hash").to_owned();
    let item = json!({ "item": version, "expires": "2999-01-01T00:00:00Z" });
    let trusted = send(&modder, ITEMS, &item).await.expect("trusted");
    assert_eq!(trusted["principal"]["user"], modder.name());
    assert_eq!(trusted["expires"], "2999-01-01T00:00:00Z");
    // For others only administrators decide.
    for principal in [json!({ "user": analyst.name() }), json!({ "group": "Everyone" })] {
        let mut body = signer("developer");
        body["principal"] = principal;
        assert_eq!(problem(send(&modder, SIGNERS, &body).await).status, 403);
    }

    let mut theirs = signer("developer");
    theirs["principal"] = json!({ "user": analyst.name() });
    let theirs = send(&admin, SIGNERS, &theirs)
        .await
        .expect("trusted by an administrator");
    let mut everyone = signer("configurator");
    everyone["principal"] = json!({ "group": "Everyone" });
    let everyone = send(&admin, SIGNERS, &everyone)
        .await
        .expect("trusted by an administrator");
    let listed = all::<TrustedSigner>(&analyst, SIGNERS).await;
    let ids: Vec<String> = listed.iter().map(|entry| entry.id.to_string()).collect();
    let text = |made: &Value| made["id"].as_str().expect("an identity").to_owned();
    assert!(ids.contains(&text(&theirs)) && ids.contains(&text(&everyone)) && !ids.contains(&text(&made)));
    assert!(
        all::<TrustedItem>(&analyst, ITEMS)
            .await
            .iter()
            .all(|entry| entry.item.hash != hash)
    );
    assert_eq!(
        problem(lift(&analyst, SIGNERS, text(&theirs)).await).status,
        403,
        "an administrator decided it"
    );
    assert_eq!(
        problem(lift(&analyst, SIGNERS, text(&everyone)).await).status,
        403,
        "it is of a group of theirs"
    );
    assert_eq!(
        problem(lift(&analyst, SIGNERS, text(&made)).await).status,
        404,
        "it is of somebody else"
    );
    assert_eq!(
        problem(lift(&modder, SIGNERS, text(&trusted)).await).status,
        404,
        "it is no signer"
    );
    lift(&modder, SIGNERS, text(&made)).await.expect("withdrawn");
    // The trust of a group goes with it.
    let group = unique("group");
    admin.create("/api/v1/groups", &group).await;
    let of_group = json!({ "principal": { "group": group }, "item": version });
    send(&admin, ITEMS, &of_group).await.expect("trusted");
    admin.delete(&["groups", &group]).await.expect("deleted");
    assert!(all::<TrustedItem>(&admin, ITEMS).await.iter().all(|entry| {
        entry
            .principal
            .group
            .as_ref()
            .is_none_or(|name| name.as_str() != group)
    }));
    lift(&admin, ITEMS, text(&trusted))
        .await
        .expect("withdrawn by an administrator");
    for id in [&theirs, &everyone] {
        lift(&admin, SIGNERS, text(id)).await.expect("withdrawn");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_trusts_what_is_blocked_or_a_signer_whose_signatures_are_void() {
    let server = Server::shared();
    let (admin, modder, signer) = (server.admin().await, modder(server).await, server.analyst().await);
    let trust = json!({ "signer": { "user": signer.name(), "role": "developer" } });
    let block = json!({ "user": signer.name() });
    let made = send(&admin, BLOCKS, &block).await.expect("blocked");
    for person in [&admin, &modder] {
        assert_eq!(
            refusal(send(person, SIGNERS, &trust).await),
            (409, "blocked".to_owned())
        );
    }
    lift(&admin, BLOCKS, made["id"].as_str().expect("an identity"))
        .await
        .expect("lifted");
    // A word about oneself ends now, an administrator's about another does not.
    let own = json!({ "from": "2020-01-01T00:00:00Z" });
    let own = send(&signer, REVOCATIONS, &own).await.expect("revoked");
    assert!(own["until"].is_string() && own["user"] == signer.name());
    let of_admin = json!({ "from": "2020-01-01T00:00:00Z" });
    let of_admin = send(&admin, REVOCATIONS, &of_admin).await.expect("revoked");
    assert!(
        of_admin["until"].is_string(),
        "what an administrator signs from now on counts"
    );
    let other = json!({ "user": modder.name(), "from": "2020-01-01T00:00:00Z" });
    assert_eq!(problem(send(&signer, REVOCATIONS, &other).await).status, 403);
    let until = json!({ "from": "2020-01-01T00:00:00Z", "until": "2021-01-01T00:00:00Z" });
    assert_eq!(problem(send(&signer, REVOCATIONS, &until).await).status, 422);
    let all_of_it = json!({ "user": signer.name(), "from": "2020-01-01T00:00:00Z", "reason": "has left" });
    send(&admin, REVOCATIONS, &all_of_it).await.expect("revoked");
    assert_eq!(
        refusal(send(&admin, REVOCATIONS, &all_of_it).await),
        (409, "duplicate".to_owned())
    );
    assert_eq!(
        refusal(send(&modder, SIGNERS, &trust).await),
        (409, "signer-revoked".to_owned())
    );
    assert_eq!(all::<Revocation>(&signer, REVOCATIONS).await.len(), 2);
    assert!(all::<Revocation>(&modder, REVOCATIONS).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_reaches_nodes_with_the_next_trust_state() {
    let server = Server::shared();
    let admin = server.admin().await;
    let member = Applicant::new(&unique("terr")).await.join(server).await;
    let connection = member.connect().await;
    let before = member.trust_state(&connection, None).await.0.version.number;
    let hash = Sha512::of(unique("h").as_bytes()).to_string();
    let block = json!({ "item": { "type": "action_mod", "hash": hash } });
    let made = send(&admin, BLOCKS, &block).await.expect("blocked");
    let (_, reply) = member.trust_state(&connection, Some(before)).await;
    let key = format!("block/item/action_mod/{hash}");
    let changes = reply.changes.expect("changes");
    assert!(
        changes
            .iter()
            .any(|change| change.key == key && change.value.is_some())
    );
    lift(&admin, BLOCKS, made["id"].as_str().expect("an identity"))
        .await
        .expect("lifted");
    let (_, reply) = member.trust_state(&connection, Some(before)).await;
    let changes = reply.changes.expect("changes");
    let buried = changes
        .iter()
        .filter(|change| change.key.starts_with("tombstone/block/"))
        .count();
    assert!(
        buried > 0
            && changes
                .iter()
                .any(|change| change.key == key && change.value.is_none())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn users_make_the_state_of_all_nodes_only_so_large() {
    const MOST: usize = 1000;
    let server = Server::private();
    let (admin, modder) = (server.admin().await, modder(&server).await);
    // What is void is not revoked again.
    let ever = json!({ "user": modder.name(), "from": "2020-01-01T00:00:00Z" });
    send(&admin, REVOCATIONS, &ever).await.expect("revoked");
    let own = json!({ "from": "2021-01-01T00:00:00Z" });
    assert_eq!(
        refusal(send(&modder, REVOCATIONS, &own).await),
        (409, "duplicate".to_owned())
    );
    let item = |number: usize| {
        let content = mod_content(&format!("rose {number}"));
        let manifest = content["manifest"].as_str().expect("a text").as_bytes().to_vec();
        let files = [("icon.svg", Sha512::of(b"<svg/>"))];
        let hash = Item::new(ItemKind::VisualizationMod, manifest, files)
            .expect("a mod")
            .hash();
        json!({ "item": { "type": "visualization_mod", "hash": hash }, "content": content })
    };
    // A thousand signatures would take longer, and are not what this is about.
    let preference = "Require valid signature to allow trust";
    let request = Request::put("/api/v1/groups/Everyone/preferences").segment(preference);
    let relaxed = request.json(&json!({ "value": "false" }));
    admin.send(relaxed).await.expect("set");
    let mut last = String::new();
    for number in 0..MOST {
        let made = send(&modder, ITEMS, &item(number)).await.expect("trusted");
        last = made["id"].as_str().expect("an identity").to_owned();
    }
    let full = problem(send(&modder, ITEMS, &item(MOST)).await);
    assert!(full.kind.ends_with("too-many-entries"), "{full:?}");
    assert!(full.detail.contains("muster trust remove"), "{full:?}");
    let mut by_admin = item(MOST);
    by_admin["principal"] = json!({ "user": modder.name() });
    send(&admin, ITEMS, &by_admin)
        .await
        .expect("an administrator may");
    for _ in 0..2 {
        lift(&modder, ITEMS, &last).await.expect("withdrawn");
        last = all::<TrustedItem>(&modder, ITEMS).await[0].id.to_string();
    }
    send(&modder, ITEMS, &item(MOST + 1))
        .await
        .expect("there is room again");
}
