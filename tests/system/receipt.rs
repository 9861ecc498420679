//! What the receipt of a real run proves, with the control plane gone.

use std::fs;

use muster_ids::Digest;
use muster_tests::{CommandLine, RealNode, Server, folder, run_program, unique};
use serde_json::{Value, json};

use crate::real_node::ended;

#[tokio::test(flavor = "multi_thread")]
async fn the_receipt_of_a_real_run_is_verified_with_the_control_plane_gone() {
    let server = Server::private();
    let (author, admin) = (server.author().await, server.admin().await);
    let pool = server.pool().await;
    let _node = RealNode::start(&server, &pool).await;
    let definition = json!({
        "name": unique("f"), "language": "python", "script": "y = x * 2",
        "inputs": [{ "name": "x", "kind": "value" }], "outputs": [{ "name": "y", "kind": "value" }],
    });
    let function = author.register_definition(&definition).await;
    author.trust(&function).await;
    let head: Value = admin.get("/api/v1/status").await;
    let run = author
        .run(&function, &json!({ "pool": pool, "inputs": { "x": 21 } }))
        .await;
    let run = ended(&author, &run).await;
    assert_eq!(run.state, "succeeded", "{:?}", run.ending);

    // The authority is exchanged meanwhile: the receipt is still under the root of before.
    let (muster, old, id) = (CommandLine::log_in(&server), server.root(), run.id.to_string());
    for step in ["prepare", "activate", "taint", "revoke"] {
        let (exit, _, complained) = muster.run(&["ca", "rotate", step, "--force"]);
        assert_eq!(exit, Some(0), "{step}: {complained}");
    }
    let (_, pem, _) = muster.run(&["ca", "show", "--pem"]);
    let place = folder("receipts");
    let path = |name: &str| place.join(name).to_string_lossy().into_owned();
    fs::write(path("roots.pem"), pem).expect("written");
    let (exit, _, complained) = muster.run(&["run", "receipt", "show", &id, "--save", &path("r.json")]);
    assert_eq!(exit, Some(0), "{complained}");
    server.kill();

    // Nobody is logged in here, and nothing is remembered.
    let nobody = folder("people").to_string_lossy().into_owned();
    let verify = |file: &str, more: &[&str]| {
        let start = ["--profile-dir", &nobody, "run", "receipt", "verify", file];
        run_program("muster", &[&start[..], more].concat())
    };
    let pin = ["--ca-fingerprint", &old.to_string(), "--output", "json"];
    let (exit, said, complained) = verify(&path("r.json"), &pin);
    assert_eq!(exit, Some(0), "{complained}");
    let shown: Value = serde_json::from_str(&said).expect("JSON");
    let predicate = &shown["receipt"]["predicate"];
    assert_eq!(
        (&predicate["run"], &predicate["item"], &predicate["user"]),
        (&json!(id), &json!(function.digest), &json!(run.user))
    );
    assert_eq!(
        (&predicate["mode"], &predicate["rule"], &predicate["state"]),
        (&json!("unrestricted"), &json!("stamped"), &json!("succeeded"))
    );
    assert_eq!(predicate["node"], json!(run.node), "its own node signed it");
    assert_eq!(predicate["trust_number"], head["trust_number"]);
    assert_eq!(
        (&predicate["trust"]["number"], &predicate["trust"]["epoch"]),
        (&head["trust_number"], &json!(1))
    );
    let output = &run.outputs["y"].digest;
    assert_eq!(
        shown["receipt"]["subject"][0]["digest"]["sha256"],
        json!(output.hex())
    );
    assert_eq!(shown["roots"], json!([old]));
    let (exit, said, _) = verify(&path("r.json"), &pin[..2]);
    assert_eq!(exit, Some(0));
    assert!(
        said.contains(&id) && said.contains("stamped") && said.contains("of epoch 1"),
        "{said}"
    );

    // Without a root that is named it is verified by its own, and who reads it is told to compare that.
    let (exit, said, complained) = verify(&path("r.json"), &["--output", "json"]);
    assert_eq!(exit, Some(0), "{complained}");
    let shown: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(
        (&shown["roots"], &shown["roots_from"]),
        (&json!([old]), &json!("file"))
    );
    let compare = shown["compare"].as_str().expect("a sentence");
    assert!(
        compare.contains(&old.to_string()) && compare.contains("compare it with the control plane's"),
        "{compare}"
    );
    assert_eq!(complained, format!("{compare}\n"));
    let (exit, said, _) = verify(&path("r.json"), &[]);
    assert_eq!(exit, Some(0));
    assert!(
        said.contains("Root to compare") && said.contains(&old.to_string()),
        "{said}"
    );

    // A session knows better: it follows the roots of its control plane, and this one was revoked.
    let (exit, said, complained) = muster.run(&["run", "receipt", "verify", &path("r.json")]);
    assert_eq!((exit, said.as_str()), (Some(1), ""));
    assert!(
        complained.contains("what counts are the roots of the session"),
        "{complained}"
    );

    // The root of today has nothing to do with it, nor has one of another collective.
    for (anchor, wanted) in [
        (["--roots", &path("roots.pem")], "does not lead to a known root"),
        (
            ["--ca-fingerprint", &Digest::of(b"").to_string()],
            "none of the roots in it",
        ),
    ] {
        let (exit, said, complained) = verify(&path("r.json"), &anchor);
        assert_eq!((exit, said.as_str()), (Some(1), ""));
        assert!(
            complained.contains("proves nothing") && complained.contains(wanted),
            "{complained}"
        );
    }

    // Another run's number, another rule, another time: what a person would change.
    let whole = fs::read_to_string(path("r.json")).expect("read");
    for (part, wanted) in [
        ("receipt", "its countersignature is that of another receipt"),
        ("countersignature", "its countersignature is not accepted"),
    ] {
        let mut bundle: Value = serde_json::from_str(&whole).expect("JSON");
        let payload = bundle[part]["payload"].as_str().expect("a payload").to_owned();
        let middle = payload.len() / 2;
        let other = if payload.as_bytes()[middle] == b'A' {
            "B"
        } else {
            "A"
        };
        let changed = format!("{}{other}{}", &payload[..middle], &payload[middle + 1..]);
        bundle[part]["payload"] = json!(changed);
        fs::write(path("changed.json"), bundle.to_string()).expect("written");
        let (exit, _, complained) = verify(&path("changed.json"), &pin);
        assert_eq!(exit, Some(1));
        let unreadable = format!("what its {part} says cannot be read");
        assert!(
            complained.contains(wanted) || complained.contains(&unreadable),
            "{complained}"
        );
    }
}
