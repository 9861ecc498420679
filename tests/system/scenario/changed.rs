//! What comes with a grant, or in it, and is not what the control plane signed.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_agent::run::admit::{Admitted, Answer, Ground, NotAdmitted, Refused, Used, check};
use muster_client::Request;
use muster_ids::Digest;
use muster_tests::unique;
use muster_wire::node::v1::run::{CLAIM_PATH, Claim, Granted};
use serde_json::{Value, json};

use crate::{
    real_node::{ended, shared},
    run::Work,
};

/// What somebody between control plane and node does to what comes with a grant.
type Change = fn(&mut Granted);

#[tokio::test(flavor = "multi_thread")]
async fn sandbox_59_a_script_an_argument_or_a_package_that_is_not_what_was_granted_does_not_run() {
    let work = Work::new().await;
    let request = json!({ "pool": work.pool, "inputs": { "x": 1 } });
    work.author.run(&work.function, &request).await;
    let claim = Claim {
        boot_nonce: work.member.boot_nonce.clone(),
        engines: vec!["terr".to_owned()],
        sessions: false,
    };
    let answer = work.connection.send(Request::post(CLAIM_PATH).json(&claim)).await;
    let granted: Granted = answer.expect("a run").json().expect("a grant");
    let mut used = Used::default();
    let mut admit = |granted: Granted| -> Result<Admitted, Refused> {
        let ground = Ground {
            node: work.member.id(),
            boot_nonce: &work.member.boot_nonce,
            roots: work.member.roots(),
            now_ms: muster_tests::now(),
        };
        check(granted, &ground, &mut used)
    };

    // Beside the signed grant: the script, what it takes and gives, its language, its packages …
    let changes: [Change; 6] = [
        |granted| granted.definition.script = "y <- z".to_owned(),
        |granted| granted.definition.script.push(' '),
        |granted| granted.definition.language = "r".to_owned(),
        |granted| granted.definition.inputs[0].optional = false,
        |granted| granted.definition.outputs.clear(),
        |granted| {
            let line = format!("jsonlite 1.8.4 {}", Digest::of(b"another file"));
            granted.definition.packages.push(line);
        },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut changed = granted.clone();
        change(&mut changed);
        let refused = admit(changed).expect_err("changed");
        assert!(
            matches!(refused.why, NotAdmitted::OtherFunction { .. }),
            "{number}: {:?}",
            refused.why
        );
        assert_eq!(refused.why.answer(), Answer::PutBack, "{number}");
    }
    // … and the arguments.
    for (name, value) in [("x", "2"), ("t", "1")] {
        let mut changed = granted.clone();
        changed.arguments.insert(name.to_owned(), value.to_owned());
        let refused = admit(changed).expect_err("changed");
        assert!(
            matches!(&refused.why, NotAdmitted::Inconsistent(why) if why.contains("not the granted one")),
            "{name}: {:?}",
            refused.why
        );
    }

    // In the grant, under its signature: everything that decides.
    let sent = serde_json::to_value(&granted.grant).expect("JSON");
    let payload = STANDARD
        .decode(sent["payload"].as_str().expect("base64"))
        .expect("base64");
    let payload: Value = serde_json::from_slice(&payload).expect("JSON");
    let another = Digest::of(b"another").to_string();
    for (field, value) in [
        ("item", json!(another)),
        ("packages", json!(another)),
        ("mode", json!("unrestricted")),
        ("network", json!("host")),
        ("engine", json!("python")),
        ("user", json!("eve@SPOTFIRE")),
    ] {
        assert_ne!(payload[field], value, "{field}");
        let mut other = payload.clone();
        other[field] = value;
        let mut envelope = sent.clone();
        envelope["payload"] = json!(STANDARD.encode(other.to_string()));
        let changed = Granted {
            grant: serde_json::from_value(envelope).expect("an envelope"),
            ..granted.clone()
        };
        let refused = admit(changed).expect_err(field);
        assert!(
            matches!(refused.why, NotAdmitted::Envelope(_)) && refused.claim.is_none(),
            "{field}: {:?}",
            refused.why
        );
    }
    // None of these has burnt the real one.
    let admitted = admit(granted)
        .map_err(|refused| refused.why)
        .expect("as it was sent");
    assert_eq!(admitted.definition.script, "y <- x");

    // One byte of a trusted function is changed: what was trusted was another one.
    let world = shared().await;
    let script = format!("y <- 1 {}", unique("#"));
    let function = world.function("terr", &script).await;
    world.author.trust(&function).await;
    let analyst = work.server.analyst().await;
    let request = json!({ "pool": world.pool });
    let run = ended(&analyst, &analyst.run(&function, &request).await).await;
    assert_eq!(run.mode.as_deref(), Some("unrestricted"), "{:?}", run.ending);
    let mut definition = serde_json::to_value(&function.definition).expect("JSON");
    definition["script"] = json!(script.replace("y <- 1", "y <- 2"));
    let changed = world.author.register_definition(&definition).await;
    assert_eq!(changed.id, function.id);
    let run = ended(&analyst, &analyst.run(&changed, &request).await).await;
    assert_eq!(run.mode.as_deref(), Some("restricted"), "{:?}", run.ending);
}
