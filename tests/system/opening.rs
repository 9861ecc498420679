//! Opening items as clients do: who is asked, who declines, what is refused, and what of it is recorded.

use muster_client::ClientError;
use muster_ids::Sha512;
use muster_tests::{CommandLine, Person, Server, folder, refusal, unique};
use serde_json::{Value, json};

const OPENINGS: &str = "/api/v1/trust/openings";

/// Somebody with these license features.
async fn licensed(server: &Server, features: &[&str]) -> Person {
    let (admin, group) = (server.admin().await, unique("licensed"));
    admin.create("/api/v1/groups", &group).await;
    for feature in features {
        admin.put_empty(&["groups", &group, "licenses", feature]).await;
    }
    server.person(&[&group]).await
}

fn manifest(name: &str) -> String {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": name, "id": "rose", "icon": "icon.svg", "files": [],
    });
    manifest.to_string()
}

fn rose(name: &str) -> Value {
    json!({
        "type": "visualization_mod", "manifest": manifest(name), "files": { "icon.svg": Sha512::of(b"<svg/>") },
    })
}

async fn open(person: &Person, item: &Value, declined: bool) -> Result<Value, ClientError> {
    let body = json!({ "item": item, "declined": declined });
    person.post(OPENINGS, &body).await
}

/// How often this was recorded of a person, and the rule of the last time.
async fn recorded(server: &Server, person: &Person, event: &str) -> (usize, Value) {
    let rows = server.admin().await.audited(event).await;
    let actor = format!("user {}", person.name());
    let mine: Vec<&Value> = rows.iter().filter(|row| row["actor"] == actor.as_str()).collect();
    let rule = mine
        .first()
        .map_or(Value::Null, |row| row["detail"]["rule"].clone());
    (mine.len(), rule)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_opens_what_nobody_trusts_is_asked_and_question_answer_and_refusal_are_recorded() {
    let server = Server::shared();
    let open_mods = "Open Visualization Mod from Library";
    let developer = licensed(server, &["Develop Visualization Mod"]).await;
    let reader = licensed(server, &[open_mods, "Trust Mods"]).await;
    let viewer = licensed(server, &[open_mods]).await;
    let item = rose(&unique("rose"));
    let signed = developer
        .post("/api/v1/trust/signatures", &json!({ "item": item }))
        .await;
    signed.expect("signed");

    let asked = open(&reader, &item, false).await.expect("an answer");
    assert_eq!(asked["outcome"], "prompt", "{asked}");
    let prompted = recorded(server, &reader, "codetrust.prompted").await;
    assert_eq!(prompted, (1, json!("ask-user")));
    open(&reader, &item, true).await.expect("declined");
    assert_eq!(recorded(server, &reader, "codetrust.declined").await.0, 1);
    assert_eq!(recorded(server, &reader, "codetrust.prompted").await.0, 1);

    // Who may not decide is not asked, and cannot decline.
    let refused = open(&viewer, &item, false).await.expect("an answer");
    assert_eq!(refused["outcome"], "deny", "{refused}");
    let denied = recorded(server, &viewer, "codetrust.denied").await;
    assert_eq!(denied, (1, json!("trust-permission-missing")));
    assert_eq!(
        refusal(open(&viewer, &item, true).await),
        (409, "not-asked".to_owned())
    );
    assert_eq!(recorded(server, &viewer, "codetrust.declined").await.0, 0);

    // Who said yes is asked no more, and nothing is left to decline.
    let trusted = json!({ "item": { "type": "visualization_mod", "hash": asked["item"]["hash"] } });
    reader
        .post("/api/v1/trust/items", &trusted)
        .await
        .expect("trusted");
    let allowed = open(&reader, &item, false).await.expect("an answer");
    assert_eq!(allowed["outcome"], "allow", "{allowed}");
    assert_eq!(refusal(open(&reader, &item, true).await).0, 409);
    assert_eq!(recorded(server, &reader, "codetrust.prompted").await.0, 1);
    assert_eq!(recorded(server, &reader, "codetrust.denied").await.0, 0);

    // Signed once more, it is said so.
    let again = developer
        .post("/api/v1/trust/signatures", &json!({ "item": item }))
        .await;
    again.expect("signed");
    let rows = server.admin().await.audited("codetrust.re_sign").await;
    let hash = asked["item"]["hash"].as_str().expect("a hash");
    let of_item = rows.iter().filter(|row| {
        row["subject"]
            .as_str()
            .is_some_and(|subject| subject.ends_with(hash))
    });
    assert_eq!(of_item.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_command_line_no_answer_is_no_and_an_option_is_one() {
    let server = Server::private();
    let admin = server.admin().await;
    admin.create("/api/v1/groups", "Openers").await;
    for feature in ["Open Visualization Mod from Library", "Trust Mods"] {
        admin.put_empty(&["groups", "Openers", "licenses", feature]).await;
    }
    admin.add_member("Openers", "admin@SPOTFIRE").await;
    admin.create_user("dan@SPOTFIRE", "a long enough password").await;
    let as_dan = json!({ "item": rose("rose"), "user": "dan@SPOTFIRE" });
    let signed = admin.post("/api/v1/trust/signatures", &as_dan).await;
    signed.expect("signed");
    let place = folder("mods").join("rose");
    std::fs::create_dir_all(&place).expect("a folder");
    std::fs::write(place.join("mod-manifest.json"), manifest("rose")).expect("written");
    std::fs::write(place.join("icon.svg"), "<svg/>").expect("written");
    let place = place.to_string_lossy().into_owned();
    let command_line = CommandLine::log_in(&server);
    let open = |option: &[&str]| {
        let arguments = ["trust", "open", place.as_str()];
        command_line.run(&[&arguments[..], option].concat())
    };
    // Nobody is there to be asked, so nobody has declined.
    let (code, said, complained) = open(&[]);
    assert!(
        code == Some(1)
            && said.contains("prompt")
            && complained.contains("give --trust, --trust-signer or --decline"),
        "{said}{complained}"
    );
    assert!(admin.audited("codetrust.declined").await.is_empty());
    let (code, said, complained) = open(&["--decline"]);
    assert!(code == Some(1) && said.contains("declined"), "{said}{complained}");
    let (code, said, _) = open(&["--decline", "--output", "json"]);
    let answer: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!((code, &answer["answer"]), (Some(1), &json!("declined")));
    let script = folder("scripts").join("refresh.py");
    std::fs::write(&script, "x = 1").expect("written");
    let (code, _, complained) = command_line.run(&["trust", "open", &script.to_string_lossy()]);
    assert!(
        code == Some(2) && complained.contains("muster trust explain"),
        "{complained}"
    );
    let (code, said, complained) = open(&["--trust"]);
    assert!(code == Some(0) && said.contains("trusted"), "{said}{complained}");
    let (code, said, complained) = open(&[]);
    assert!(code == Some(0) && said.contains("allow"), "{said}{complained}");
    std::fs::write(format!("{place}/icon.svg"), "<svg></svg>").expect("written");
    let (code, said, _) = open(&["--trust"]);
    assert!(code == Some(1) && said.contains("deny"), "{said}");
    assert_eq!(admin.audited("codetrust.prompted").await.len(), 4);
    // The prompt of what is signed offers the signer too, and then nobody is asked about their next one.
    for name in ["lily", "iris"] {
        let as_dan = json!({ "item": rose(name), "user": "dan@SPOTFIRE" });
        let signed = admin.post("/api/v1/trust/signatures", &as_dan).await;
        signed.expect("signed");
        std::fs::write(format!("{place}/mod-manifest.json"), manifest(name)).expect("written");
        std::fs::write(format!("{place}/icon.svg"), "<svg/>").expect("written");
        let (code, _, complained) = open(&["--trust", "--trust-signer"]);
        assert_eq!(code, Some(2), "{complained}");
        let (code, said, complained) = open(&["--trust-signer", "--output", "json"]);
        assert_eq!(code, Some(0), "{complained}");
        let opened: Value = serde_json::from_str(&said).expect("JSON");
        let told = (opened["outcome"].as_str(), opened["answer"].as_str());
        if name == "lily" {
            assert_eq!(told, (Some("prompt"), Some("trusted signer")), "{opened}");
            assert_eq!(
                opened["offered"],
                json!({ "user": "dan@SPOTFIRE", "role": "developer" })
            );
        } else {
            assert_eq!(told, (Some("allow"), None), "{opened}");
        }
    }
    assert_eq!(admin.audited("codetrust.declined").await.len(), 2);
    assert_eq!(admin.audited("codetrust.denied").await.len(), 1);
    assert_eq!(admin.audited("codetrust.add_hash").await.len(), 1);
}
