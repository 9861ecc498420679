//! Who may run what in which mode: the grants that nodes get, and the explanations that people get.

use muster_tests::{Applicant, Claimed, Member, Person, Server, problem, refusal, unique};
use muster_wire::admin::v1::{
    function::{Function, Untrusted},
    run::Run,
    trust::Explanation,
};
use serde_json::json;

/// A node alone in its pool and site, so that it gets the runs of its test and no others.
struct Place {
    server: &'static Server,
    pool: String,
    site: String,
    member: Member,
    connection: muster_client::Connection,
}

impl Place {
    async fn new() -> Self {
        let server = Server::shared();
        let (pool, site) = (server.pool().await, server.site().await);
        let node = Applicant::new(&unique("terr")).await;
        let member = node.in_pool(&pool).in_site(&site).join(server).await;
        let connection = member.connect().await;
        Self {
            server,
            pool,
            site,
            member,
            connection,
        }
    }

    async fn set(&self, name: &str, level: &str, value: &str) {
        self.server
            .admin()
            .await
            .set(name, &self.scope(level), value)
            .await;
    }

    fn scope(&self, level: &str) -> String {
        let name = match level {
            "node" => self.member.name(),
            "pool" => &self.pool,
            "site" => &self.site,
            other => panic!("no level {other}"),
        };
        format!("{level}:{name}")
    }

    /// Queues a run here and has the node claim it.
    async fn claim(&self, person: &Person, function: &Function) -> (Run, Option<Claimed>) {
        let request = json!({ "pool": self.pool, "site": self.site });
        let run = person.run(function, &request).await;
        let claimed = self.member.claim(&self.connection).await;
        if let Some(claimed) = &claimed {
            assert_eq!(claimed.grant.run, run.id);
        }
        (person.run_now(run.id).await, claimed)
    }

    /// What the node was granted, and what the explanation says: `mode rule`, or `refused rule`.
    async fn verdict(&self, person: &Person, function: &Function) -> String {
        let explanation: Explanation = {
            let path = format!(
                "/api/v1/trust/explain?function={}&node={}",
                function.id,
                self.member.name()
            );
            // Others than administrators may not look at nodes, so the administrator asks for them.
            let path = format!("{path}&user={}", person.name());
            self.server.admin().await.get(&path).await
        };
        let explained = explanation.mode.unwrap_or_else(|| "refused".to_owned());
        let explained = format!("{explained} {}", explanation.why.rule);
        let (run, claimed) = self.claim(person, function).await;
        let granted = match claimed {
            Some(claimed) => {
                let grant = claimed.grant;
                assert_eq!(run.mode.as_deref(), Some(grant.mode.as_str()));
                assert_eq!(run.why.map(|why| why.rule), Some(grant.rule.clone()));
                let network = if grant.mode == "unrestricted" {
                    "host"
                } else {
                    "none"
                };
                assert_eq!(grant.network, network);
                format!("{} {}", grant.mode, grant.rule)
            }
            None => format!("{} {}", run.state, run.why.expect("a reason").rule),
        };
        assert_eq!(explained, granted, "the explanation and the grant differ");
        granted
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terr_runs_everything_restricted_until_an_administrator_says_otherwise() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    for person in [&analyst, &author] {
        assert_eq!(
            place.verdict(person, &function).await,
            "restricted terr-restricted-mode"
        );
    }
    author.trust(&function).await;
    for person in [&analyst, &author] {
        assert_eq!(
            place.verdict(person, &function).await,
            "restricted terr-restricted-mode",
            "restricted mode means everything"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn terr_with_restricted_mode_off_trusts_stamps_and_script_authors() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    let script = unique("#");
    let function = author.register(&unique("f"), "terr", &script).await;
    place.set("terr.restricted.execution.mode", "pool", "false").await;
    assert_eq!(
        place.verdict(&analyst, &function).await,
        "restricted terr-untrusted"
    );
    assert_eq!(
        place.verdict(&author, &function).await,
        "unrestricted script-author"
    );
    author.trust(&function).await;
    assert_eq!(place.verdict(&analyst, &function).await, "unrestricted stamped");

    let name = function.definition.name.as_str();
    let changed = author.register(name, "terr", &format!("{script} ")).await;
    assert_eq!(changed.id, function.id);
    assert_eq!(
        place.verdict(&analyst, &changed).await,
        "restricted terr-untrusted",
        "one byte more"
    );
    let back = author.register(name, "terr", &script).await;
    assert_eq!(
        place.verdict(&analyst, &back).await,
        "unrestricted stamped",
        "the content is trusted, not the version"
    );
    author
        .tell(&["functions", name, "untrust"], &json!(null))
        .await
        .expect("untrusted");
    assert_eq!(place.verdict(&analyst, &back).await, "restricted terr-untrusted");
    place.set("disable.spotfire.trust.checks", "node", "true").await;
    assert_eq!(
        place.verdict(&analyst, &back).await,
        "unrestricted trust-checks-disabled"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn r_and_python_refuse_what_nobody_trusts() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    for language in ["r", "python"] {
        let function = author.register(&unique("f"), language, &unique("#")).await;
        assert_eq!(
            place.verdict(&analyst, &function).await,
            "refused service-refuses-untrusted"
        );
        let (run, _) = place.claim(&analyst, &function).await;
        let ending = run.ending.expect("an ending");
        assert_eq!(ending.problem.as_deref(), Some("not-trusted"));
        assert!(
            ending.message.contains("muster function trust"),
            "the cure: {}",
            ending.message
        );
        let denied = place.server.admin().await.audited("codetrust.denied").await;
        let row = denied
            .iter()
            .find(|row| row["detail"]["run"] == run.id.to_string());
        let row = row.expect("a record beside that of the end");
        assert_eq!(row["detail"]["user"], analyst.name());
        assert_eq!(row["detail"]["rule"], "service-refuses-untrusted");
        assert_eq!(row["actor"], "system", "the node only asked for work");
        assert_eq!(
            place.verdict(&author, &function).await,
            "unrestricted script-author"
        );
        author.trust(&function).await;
        assert_eq!(place.verdict(&analyst, &function).await, "unrestricted stamped");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_is_refused_with_the_reason_and_who_lifts_it() {
    let place = Place::new().await;
    let server = place.server;
    let (admin, author) = (server.admin().await, server.author().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    author.trust(&function).await;
    let item = json!({ "type": "data_function", "hash": function.digest });
    let block = json!({ "item": item, "reason": "it leaks" });
    admin.post("/api/v1/trust/blocks", &block).await.expect("blocked");
    assert_eq!(place.verdict(&author, &function).await, "refused item-blocked");
    let (run, _) = place.claim(&author, &function).await;
    let ending = run.ending.expect("an ending");
    assert_eq!(ending.problem.as_deref(), Some("blocked-item"));
    for said in [
        "it leaks",
        "muster trust unblock",
        function.digest.to_string().as_str(),
    ] {
        assert!(ending.message.contains(said), "{said}: {}", ending.message);
    }
    assert!(
        !ending.message.contains("muster function trust"),
        "{}",
        ending.message
    );
    for event in ["codetrust.denied", "run.ended"] {
        let rows = admin.audited(event).await;
        let id = run.id.to_string();
        let row = rows
            .iter()
            .find(|row| row["detail"]["run"] == id.as_str() || row["subject"] == id.as_str());
        assert_eq!(row.expect(event)["actor"], "system");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn restricted_engines_run_untrusted_code_restricted() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    place.set("restricted_engines", "pool", "python_service").await;
    let python = author.register(&unique("f"), "python", &unique("#")).await;
    let r = author.register(&unique("f"), "r", &unique("#")).await;
    assert_eq!(
        place.verdict(&analyst, &python).await,
        "restricted restricted-engine"
    );
    assert_eq!(
        place.verdict(&analyst, &r).await,
        "refused service-refuses-untrusted"
    );
    author.trust(&python).await;
    assert_eq!(place.verdict(&analyst, &python).await, "unrestricted stamped");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nearest_setting_counts() {
    const NAME: &str = "terr.restricted.execution.mode";
    let place = Place::new().await;
    let (admin, author) = (place.server.admin().await, place.server.author().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let mut off = false;
    // From the widest level to the nearest, each against the one before.
    for level in ["site", "pool", "node"] {
        off = !off;
        place.set(NAME, level, &(!off).to_string()).await;
        let expected = if off {
            "unrestricted script-author"
        } else {
            "restricted terr-restricted-mode"
        };
        assert_eq!(
            place.verdict(&author, &function).await,
            expected,
            "set at the {level}"
        );
    }
    for level in ["node", "pool", "site"] {
        admin.unset(NAME, &place.scope(level)).await;
        off = !off && level != "site";
        let expected = if off {
            "unrestricted script-author"
        } else {
            "restricted terr-restricted-mode"
        };
        assert_eq!(
            place.verdict(&author, &function).await,
            expected,
            "removed at the {level}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_for_all_is_the_widest() {
    const NAME: &str = "terr.restricted.execution.mode";
    let server = Server::private();
    let (admin, author) = (server.admin().await, server.author().await);
    let member = Applicant::new("terr01").await.join(&server).await;
    let connection = member.connect().await;
    let function = author.register("f", "terr", "1").await;
    let steps = [
        (None, "restricted"),
        (Some(("all", "false")), "unrestricted"),
        (Some(("site:default", "true")), "restricted"),
        (Some(("pool:default", "false")), "unrestricted"),
        (Some(("node:terr01", "true")), "restricted"),
    ];
    for (set, mode) in steps {
        if let Some((scope, value)) = set {
            admin.set(NAME, scope, value).await;
        }
        author.run(&function, &json!({})).await;
        let claimed = member.claim(&connection).await.expect("a run");
        assert_eq!(claimed.grant.mode, mode, "{set:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_moves_is_told_so_and_the_settings_of_its_new_pool_hold() {
    let place = Place::new().await;
    let admin = place.server.admin().await;
    let author = place.server.author().await;
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let mut lines = place
        .member
        .control(&place.connection, &muster_tests::challenge())
        .await;
    let first = told(&mut lines).await;
    let free = place.server.pool().await;
    admin
        .set("terr.restricted.execution.mode", &format!("pool:{free}"), "false")
        .await;
    admin
        .patch(&["nodes", place.member.name()], &json!({ "pool": free }))
        .await
        .expect("moved");
    let second = told(&mut lines).await;
    assert_ne!(first.0, second.0, "another pool");
    assert_eq!(first.1, second.1, "the same site");
    let request = json!({ "pool": free, "site": place.site });
    author.run(&function, &request).await;
    let claimed = place.member.claim(&place.connection).await.expect("a run");
    assert_eq!(claimed.grant.mode, "unrestricted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grant_says_everything_that_the_node_needs_and_is_for_this_node_alone() {
    let place = Place::new().await;
    let analyst = place.server.analyst().await;
    let author = place.server.author().await;
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let (run, claimed) = place.claim(&analyst, &function).await;
    let claimed = claimed.expect("a run");
    let grant = &claimed.grant;
    assert_eq!((grant.node, grant.fence), (place.member.id(), 1));
    assert_eq!(grant.boot_nonce, place.member.boot_nonce);
    assert_eq!((grant.item, grant.function), (function.digest, Some(function.id)));
    assert_eq!(grant.user.as_str(), analyst.name());
    assert_eq!(grant.client, "web");
    assert!(grant.expires > grant.issued && grant.issued <= muster_tests::now());
    let (head, _) = place.member.trust_state(&place.connection, None).await;
    assert!(grant.trust.number <= head.version.number);
    assert_eq!(claimed.definition, function.definition);
    assert_eq!(
        (run.state.as_str(), run.node),
        ("running", Some(place.member.id()))
    );
    assert!(
        place.member.claim(&place.connection).await.is_none(),
        "a run is granted once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_script_authors_trust() {
    let server = Server::shared();
    let (author, registrar) = (server.author().await, server.registrar().await);
    let (admin, analyst) = (server.administrator().await, server.analyst().await);
    let function = registrar.register(&unique("f"), "r", &unique("#")).await;
    for person in [&registrar, &analyst, &admin] {
        assert_eq!(
            refusal(person.try_trust(&function).await),
            (403, "denied".to_owned())
        );
    }
    author.trust(&function).await;
    author.trust(&function).await;
    let shown: Function = author.show(&["functions", &function.id.to_string()]).await;
    assert!(shown.trusted);
    let untrust = ["functions", &function.id.to_string(), "untrust"];
    for person in [&registrar, &analyst] {
        let tried = person.tell(&untrust, &json!(null)).await;
        assert_eq!(refusal(tried), (403, "denied".to_owned()));
    }
    admin
        .tell(&untrust, &json!(null))
        .await
        .expect("an administrator may take trust away");
    let again: Untrusted = author
        .tell(&untrust, &json!(null))
        .await
        .and_then(|answer| answer.json())
        .expect("nothing to do");
    assert_eq!((again.removed, again.others), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_read_is_what_is_trusted() {
    let server = Server::shared();
    let (author, registrar) = (server.author().await, server.registrar().await);
    let read = registrar
        .register(&unique("f"), "r", &unique("harmless # "))
        .await;
    registrar
        .register(read.definition.name.as_str(), "r", &unique("harmful # "))
        .await;
    let problem = problem(author.try_trust(&read).await);
    assert_eq!(problem.status, 409);
    assert!(
        problem.detail.contains("muster function show"),
        "{}",
        problem.detail
    );
    let shown: Function = author.show(&["functions", &read.id.to_string()]).await;
    assert!(!shown.trusted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_author_in_a_subgroup_is_one_and_loses_it_at_once() {
    let place = Place::new().await;
    let admin = place.server.admin().await;
    place.set("terr.restricted.execution.mode", "pool", "false").await;
    let (inner, outer) = (unique("inner"), unique("outer"));
    for group in [&inner, &outer] {
        admin.create("/api/v1/groups", group).await;
    }
    admin
        .put_empty(&["groups", &outer, "parents", "Script Author"])
        .await;
    admin.put_empty(&["groups", &inner, "parents", &outer]).await;
    let author = place.server.author().await;
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let nested = place.server.person(&[&inner]).await;
    assert_eq!(
        place.verdict(&nested, &function).await,
        "unrestricted script-author"
    );
    admin
        .delete(&["groups", &inner, "parents", &outer])
        .await
        .expect("taken out");
    assert_eq!(
        place.verdict(&nested, &function).await,
        "restricted terr-untrusted"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_user_who_was_disabled_meanwhile_is_refused() {
    let place = Place::new().await;
    let (admin, author) = (place.server.admin().await, place.server.author().await);
    let analyst = place.server.analyst().await;
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let request = json!({ "pool": place.pool, "site": place.site });
    let run = analyst.run(&function, &request).await;
    admin
        .patch(&["users", analyst.name()], &json!({ "state": "disabled" }))
        .await
        .expect("disabled");
    assert!(place.member.claim(&place.connection).await.is_none());
    let run = admin.run_now(run.id).await;
    assert_eq!(run.state, "refused");
    let ending = run.ending.expect("an ending");
    assert_eq!(ending.problem.as_deref(), Some("user-disabled"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_grant_carries_whether_the_user_may_trust_what_has_no_valid_signature() {
    let place = Place::new().await;
    let (admin, author) = (place.server.admin().await, place.server.author().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    let group = unique("group");
    admin.create("/api/v1/groups", &group).await;
    let member = place.server.person(&[&group]).await;
    let parts = [
        "groups",
        &group,
        "preferences",
        "Require valid signature to allow trust",
    ];
    for value in ["true", "false"] {
        let request = (parts.iter()).fold(muster_client::Request::put("/api/v1"), |request, part| {
            request.segment(part)
        });
        let request = request.json(&json!({ "value": value }));
        admin.send(request).await.expect("set");
        let (_, claimed) = place.claim(&member, &function).await;
        let facts = claimed.expect("a run").grant.facts;
        let accepts = facts["accepts_invalid_signatures"].as_bool().unwrap_or(false);
        assert_eq!(accepts, value == "false");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_runs_for_a_user_who_is_disabled_or_deleted_is_stopped_and_what_waits_is_refused() {
    let place = Place::new().await;
    let (admin, author) = (place.server.admin().await, place.server.author().await);
    let function = author.register(&unique("f"), "terr", &unique("#")).await;
    for deleted in [false, true] {
        let analyst = place.server.analyst().await;
        let (running, claimed) = place.claim(&analyst, &function).await;
        let claimed = claimed.expect("a run");
        let request = json!({ "pool": place.pool, "site": place.site });
        let waiting = analyst.run(&function, &request).await;
        let parts = ["users", analyst.name()];
        if deleted {
            admin.delete(&parts).await.expect("deleted");
        } else {
            let disabled = json!({ "state": "disabled" });
            admin.patch(&parts, &disabled).await.expect("disabled");
        }
        let held = [(running.id, claimed.grant.fence)];
        let reply = place.member.heartbeat(&place.connection, &held).await;
        assert_eq!(reply.expect("a reply").stop, [running.id]);
        assert!(place.member.claim(&place.connection).await.is_none());
        let waiting = admin.run_now(waiting.id).await;
        let ending = waiting.ending.expect("an ending");
        assert_eq!(
            (waiting.state.as_str(), ending.problem.as_deref()),
            ("refused", Some("user-disabled"))
        );
        let event = if deleted { "user.deleted" } else { "user.changed" };
        let written = admin.audited(event).await;
        let row = written.iter().find(|row| row["subject"] == analyst.name());
        assert_eq!(row.expect("a record")["detail"]["runs_stopped"], 1);
        let me = analyst
            .send(muster_client::Request::get("/api/v1/sessions/current"))
            .await;
        assert_eq!(problem(me).status, 401);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_function_that_was_deleted_meanwhile_is_refused_and_holds_up_no_other() {
    let place = Place::new().await;
    let author = place.server.author().await;
    let request = json!({ "pool": place.pool, "site": place.site });
    let (gone, stays) = (
        author.register(&unique("gone"), "terr", &unique("#")).await,
        author.register(&unique("stays"), "terr", &unique("#")).await,
    );
    let run = author.run(&gone, &request).await;
    let next = author.run(&stays, &request).await;
    author
        .delete(&["library", &gone.id.to_string()])
        .await
        .expect("deleted");
    let claimed = place.member.claim(&place.connection).await.expect("the next run");
    assert_eq!(claimed.grant.run, next.id);
    let run = author.run_now(run.id).await;
    assert_eq!(run.state, "refused");
    let ending = run.ending.expect("an ending");
    assert_eq!(ending.problem.as_deref(), Some("function-deleted"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_function_that_was_closed_meanwhile_is_refused_and_holds_up_no_other() {
    let place = Place::new().await;
    let (admin, author) = (place.server.admin().await, place.server.author().await);
    let analyst = place.server.analyst().await;
    let request = json!({ "pool": place.pool, "site": place.site });
    let script = unique("#");
    let closed = author.register(&unique("closed"), "terr", &script).await;
    // She can read a stamp on the same content.
    let open = author.register(&unique("open"), "terr", &script).await;
    author.trust(&open).await;
    let run = analyst.run(&closed, &request).await;
    let next = analyst.run(&open, &request).await;
    let permissions = muster_client::Request::put("/api/v1/library")
        .segment(&closed.id.to_string())
        .segment("permissions")
        .json(&json!({ "grants": [{ "user": author.name(), "right": "write" }] }));
    admin.send(permissions).await.expect("closed");
    let claimed = place.member.claim(&place.connection).await.expect("the next run");
    assert_eq!(claimed.grant.run, next.id);
    let run = admin.run_now(run.id).await;
    assert_eq!(run.state, "refused");
    let ending = run.ending.expect("an ending");
    assert_eq!(ending.problem.as_deref(), Some("function-not-readable"));
}

/// The next word about where the node is.
async fn told(lines: &mut muster_client::Lines) -> (String, String) {
    loop {
        let message = muster_tests::member::next(lines).await;
        if let muster_wire::node::v1::control::ControlMessage::Placement { pool, site } = message {
            return (pool, site);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_checks_are_off_the_record_says_what_they_would_have_refused() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    place.set("disable.spotfire.trust.checks", "pool", "true").await;
    let function = author.register(&unique("f"), "python", &unique("#")).await;
    let would_have = async |run: &Run| {
        let records = place.server.admin().await.audited("run.granted").await;
        let record = records
            .iter()
            .find(|record| record["subject"] == run.id.to_string());
        record.expect("a record")["detail"]["would_have"].clone()
    };
    let (run, claimed) = place.claim(&analyst, &function).await;
    assert_eq!(claimed.expect("a grant").grant.rule, "trust-checks-disabled");
    assert_eq!(
        would_have(&run).await,
        json!({ "outcome": "deny", "rule": "service-refuses-untrusted" })
    );
    let why = run.why.expect("a reason");
    assert!(
        why.reasons
            .iter()
            .any(|reason| reason.contains("deny (service-refuses-untrusted)")),
        "{why:?}"
    );
    // What is trusted needs no such record.
    author.trust(&function).await;
    let (run, _) = place.claim(&analyst, &function).await;
    assert_eq!(would_have(&run).await, json!(null));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_stamps_count_on_their_own_item_a_twin_of_the_same_content_is_not_trusted() {
    let place = Place::new().await;
    let (author, analyst) = (place.server.author().await, place.server.analyst().await);
    let script = unique("#");
    let stamped = author.register(&unique("f"), "r", &script).await;
    let twin = author.register(&unique("twin"), "r", &script).await;
    author.trust(&stamped).await;
    assert_eq!(place.verdict(&analyst, &twin).await, "unrestricted stamped");
    place.set("trust.stamps", "pool", "same_item").await;
    assert_eq!(
        place.verdict(&analyst, &twin).await,
        "refused service-refuses-untrusted"
    );
    assert_eq!(place.verdict(&analyst, &stamped).await, "unrestricted stamped");
}
