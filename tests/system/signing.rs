//! Items that are signed: what a signature vouches for, who may make one, and what ends it.

use std::{collections::BTreeMap, time::Duration};

use muster_client::ClientError;
use muster_code_trust::{CodeLanguage, CodeManifest, CodeParameter, SignatureBundle};
use muster_ids::Sha512;
use muster_pki::{CertificateDer, code_signing::CodeCertificate, pem};
use muster_tests::{CommandLine, Person, Server, folder, problem, refusal, unique};
use serde_json::{Value, json};

use self::elsewhere::Elsewhere;
use crate::trust::{BLOCKS, SIGNERS, send};

pub(crate) use self::elsewhere::{known_root, known_signer};

mod elsewhere;
mod files;
mod issuers;
mod offline;
mod published;
mod several;
mod systems;

const SIGNATURES: &str = "/api/v1/trust/signatures";
const VERIFY: &str = "/api/v1/trust/signatures/verify";
const ROOTS: &str = "/api/v1/trust/roots";
const CERTIFICATES: &str = "/api/v1/trust/certificates";

/// Somebody with these license features.
async fn licensed(server: &Server, features: &[&str]) -> Person {
    let (admin, group) = (server.admin().await, unique("licensed"));
    admin.create("/api/v1/groups", &group).await;
    for feature in features {
        admin.put_empty(&["groups", &group, "licenses", feature]).await;
    }
    server.person(&[&group]).await
}

/// A visualization whose page has these bytes.
fn rose(name: &str, page: &str) -> Value {
    let manifest = json!({
        "apiVersion": "1.2", "version": "1.0", "name": name, "id": "rose", "icon": "icon.svg", "files": ["index.html"],
    });
    json!({
        "type": "visualization_mod", "manifest": manifest.to_string(),
        "files": { "icon.svg": Sha512::of(b"<svg/>"), "index.html": Sha512::of(page.as_bytes()) },
    })
}

fn script(code: &str, parameter: &str, package: &str) -> Value {
    let declared = CodeManifest {
        language: CodeLanguage::IronPython,
        parameters: vec![CodeParameter {
            name: parameter.to_owned(),
            r#type: "String".to_owned(),
        }],
        packages: [package.to_owned()].into(),
        transaction: true,
    };
    json!({ "type": "script", "manifest": declared.to_json(), "files": { "code": Sha512::of(code.as_bytes()) } })
}

async fn sign(person: &Person, item: &Value) -> Result<Value, ClientError> {
    send(person, SIGNATURES, &json!({ "item": item })).await
}

async fn found(person: &Person, item: &Value, bundle: &Value) -> Value {
    let body = json!({ "item": item, "bundle": bundle });
    send(person, VERIFY, &body).await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn scenario_59_what_was_changed_after_signing_is_refused() {
    let server = Server::shared();
    let admin = server.admin().await;
    let developer = licensed(server, &["Develop Visualization Mod", "Author Scripts"]).await;
    let reader = licensed(server, &["Open Visualization Mod from Library"]).await;
    let name = unique("rose");
    let item = rose(&name, "<p>rose</p>");
    let made = sign(&developer, &item).await.expect("signed");
    let bundle = &made["bundle"];
    let whole = found(&reader, &item, bundle).await;
    assert_eq!(
        (&whole["status"], &whole["root"]),
        (&json!("valid"), &json!("internal")),
        "{whole}"
    );
    assert_eq!(whole["signer"], format!("CN={}", developer.name()));
    // Valid is not trusted: nobody has said so yet, and the reader may not.
    assert_eq!(whole["outcome"], "deny");
    let trusted = json!({
        "principal": { "group": "Everyone" }, "signer": { "user": developer.name(), "role": "developer" },
    });
    send(&admin, SIGNERS, &trusted).await.expect("trusted");
    assert_eq!(found(&reader, &item, bundle).await["outcome"], "allow");
    // What the control plane keeps itself is found by type and hash.
    let kept = send(&reader, VERIFY, &json!({ "item": item }))
        .await
        .expect("an answer");
    assert_eq!(
        (&kept["status"], &kept["outcome"]),
        (&json!("valid"), &json!("allow"))
    );

    for changed in [rose(&name, "<p>Rose</p>"), rose(&unique("rose"), "<p>rose</p>")] {
        let changed = found(&reader, &changed, bundle).await;
        assert_eq!(
            (&changed["status"], &changed["outcome"]),
            (&json!("modified"), &json!("deny")),
            "{changed}"
        );
        assert_eq!(changed["why"]["rule"], "signature-invalid");
    }
    let original = script("print(page)", "page", "numpy 1");
    let made = sign(&developer, &original).await.expect("signed");
    assert_eq!(
        found(&reader, &original, &made["bundle"]).await["status"],
        "valid"
    );
    for changed in [
        script("print(Page)", "page", "numpy 1"),
        script("print(page)", "site", "numpy 1"),
        script("print(page)", "page", "numpy 2"),
    ] {
        let changed = found(&reader, &changed, &made["bundle"]).await;
        assert_eq!(changed["status"], "modified", "{changed}");
    }
    let unsigned = send(&reader, VERIFY, &json!({ "item": rose(&unique("other"), "x") }))
        .await
        .expect("an answer");
    assert_eq!(
        (&unsigned["status"], &unsigned["outcome"]),
        (&json!("unsigned"), &json!("deny"))
    );
    // The undocumented signature of the original, or anything else that is none, counts as unsigned, and it says so.
    let foreign = found(&reader, &item, &json!({ "signature": "original" })).await;
    assert_eq!(foreign["status"], "unsigned");
    assert!(
        foreign["problem"]
            .as_str()
            .is_some_and(|words| words.contains("counts as unsigned")),
        "{foreign}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_license_to_make_an_item_signs_it_and_never_a_disabled_user() {
    let server = Server::shared();
    let (admin, analyst) = (server.admin().await, server.analyst().await);
    let developer = licensed(server, &["Develop Visualization Mod"]).await;
    let item = rose(&unique("rose"), "x");
    assert_eq!(problem(sign(&analyst, &item).await).status, 403);
    let refused = problem(sign(&developer, &script("x", "y", "z")).await);
    assert!(
        refused.status == 403 && refused.detail.contains("Author Scripts"),
        "{refused:?}"
    );
    let action = json!({ "type": "external_action", "manifest": "{\"service\":\"crm\"}" });
    assert_eq!(problem(sign(&developer, &action).await).status, 403);
    // For others only administrators sign, and nobody for whom no account is.
    let as_other = json!({ "item": item, "user": analyst.name() });
    assert_eq!(problem(send(&developer, SIGNATURES, &as_other).await).status, 403);
    let made = send(&admin, SIGNATURES, &as_other).await.expect("signed");
    assert_eq!(made["user"], analyst.name());
    admin
        .patch(&["users", analyst.name()], &json!({ "state": "disabled" }))
        .await
        .expect("disabled");
    assert_eq!(
        refusal(send(&admin, SIGNATURES, &as_other).await),
        (409, "user-disabled".to_owned())
    );
    // What a user signed who is only disabled stays valid.
    assert_eq!(found(&developer, &item, &made["bundle"]).await["status"], "valid");
    send(&admin, BLOCKS, &json!({ "user": developer.name() }))
        .await
        .expect("blocked");
    assert_eq!(
        refusal(sign(&developer, &item).await),
        (409, "blocked".to_owned())
    );
    for (wrong, word) in [
        (json!({ "type": "analysis", "manifest": "{}" }), "its parts are"),
        (
            json!({ "type": "visualization_mod", "manifest": "{}" }),
            "field \"id\"",
        ),
        (
            json!({ "type": "external_action", "manifest": "{\"a\":1,\"a\":2}" }),
            "twice",
        ),
        (
            json!({ "type": "external_action", "manifest": "{}", "files": { "../x": Sha512::of(b"") } }),
            "path within",
        ),
        (
            json!({ "type": "external_action", "manifest": "{}", "hash": "sha512=x" }),
            "not the one",
        ),
        (json!({ "type": "data_function", "hash": "h" }), "digest alone"),
    ] {
        let refused = problem(sign(&admin, &wrong).await);
        assert_eq!(refused.status, 422, "{wrong}: {refused:?}");
        assert!(refused.detail.contains(word), "{wrong}: {}", refused.detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_signed_who_is_deleted_counts_no_more_and_a_namesake_is_another_signer() {
    let server = Server::shared();
    let admin = server.admin().await;
    let developer = licensed(server, &["Develop Visualization Mod"]).await;
    let reader = licensed(server, &["Open Visualization Mod from Library"]).await;
    let item = rose(&unique("rose"), "x");
    let made = sign(&developer, &item).await.expect("signed");
    let trusted = json!({
        "principal": { "group": "Everyone" }, "signer": { "user": developer.name(), "role": "developer" },
    });
    send(&admin, SIGNERS, &trusted).await.expect("trusted");
    let bundle = &made["bundle"];
    assert_eq!(found(&reader, &item, bundle).await["outcome"], "allow");
    admin.delete(&["users", developer.name()]).await.expect("deleted");
    let gone = found(&reader, &item, bundle).await;
    assert_eq!(
        (&gone["status"], &gone["outcome"]),
        (&json!("user_deleted"), &json!("deny")),
        "{gone}"
    );
    // The name is free, and trust in it begins anew; the old signature is of somebody else.
    admin
        .create_user(developer.name(), "a long enough password")
        .await;
    assert_eq!(found(&reader, &item, bundle).await["status"], "user_deleted");
    let as_namesake = json!({ "item": item, "user": developer.name() });
    let next = send(&admin, SIGNATURES, &as_namesake).await.expect("signed");
    assert_ne!(next["serial"], made["serial"]);
    let next = found(&reader, &item, &next["bundle"]).await;
    assert_eq!(
        (&next["status"], &next["outcome"]),
        (&json!("valid"), &json!("deny")),
        "{next}"
    );
    send(&admin, SIGNERS, &trusted).await.expect("trusted anew");
    assert_eq!(found(&reader, &item, bundle).await["outcome"], "deny");
    let path = format!(
        "{CERTIFICATES}/{}/revoke",
        made["serial"].as_str().expect("a number")
    );
    let body = json!({ "from": "2020-01-01T00:00:00Z" });
    assert_eq!(problem(send(&admin, &path, &body).await).status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_takes_what_it_signed_with_it_and_the_next_signature_has_another() {
    let server = Server::shared();
    let (admin, other) = (server.admin().await, server.analyst().await);
    let features = ["Develop Visualization Mod", "Open Visualization Mod from Library"];
    let developer = licensed(server, &features).await;
    let item = rose(&unique("rose"), "x");
    let made = sign(&developer, &item).await.expect("signed");
    let again = sign(&developer, &rose(&unique("rose"), "y"))
        .await
        .expect("signed");
    let serial = made["serial"].as_str().expect("a number");
    assert_eq!(again["serial"], serial, "one certificate until it ends");
    let own: Value = developer.get(CERTIFICATES).await;
    assert_eq!(own["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(own["items"][0]["serial"], serial);
    let path = format!("{CERTIFICATES}/{serial}/revoke");
    let body = json!({ "from": "2020-01-01T00:00:00Z", "reason": "the laptop is lost" });
    assert_eq!(problem(send(&other, &path, &body).await).status, 404, "of others");
    send(&developer, &path, &body).await.expect("revoked");
    let void = found(&admin, &item, &made["bundle"]).await;
    assert_eq!(
        (&void["status"], &void["outcome"]),
        (&json!("revoked"), &json!("deny")),
        "{void}"
    );
    assert_eq!(
        refusal(send(&developer, &path, &body).await),
        (409, "duplicate".to_owned())
    );
    // Later than the revocation, which ended when it was made.
    let next = muster_tests::within(
        Duration::from_secs(20),
        "a signature after the revocation",
        async || sign(&developer, &item).await.ok(),
    )
    .await;
    assert_ne!(next["serial"], serial);
    // Nobody takes what is revoked out of that time by having it stamped anew.
    let old: SignatureBundle = serde_json::from_value(made["bundle"].clone()).expect("a bundle");
    let digest = json!({ "digest": SignatureBundle::stamped_digest(&old.signature) });
    let stamp = send(&other, "/api/v1/trust/time-stamps", &digest)
        .await
        .expect("stamped");
    let mut dated = made["bundle"].clone();
    dated["time_stamp"] = stamp["stamp"].clone();
    assert_eq!(found(&admin, &item, &dated).await["status"], "chain");
    dated.as_object_mut().expect("fields").remove("time_stamp");
    let kept = json!({ "item": item, "bundle": dated });
    assert_eq!(
        problem(send(&developer, SIGNATURES, &kept).await).status,
        422,
        "nor is it kept"
    );
    assert_eq!(found(&admin, &item, &next["bundle"]).await["status"], "valid");
    let listed: Value = admin
        .get(&format!(
            "{CERTIFICATES}?user={}",
            developer.name().replace('@', "%40")
        ))
        .await;
    let states: BTreeMap<&str, &str> = listed["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| {
            (
                one["serial"].as_str().unwrap_or_default(),
                one["state"].as_str().unwrap_or_default(),
            )
        })
        .collect();
    assert_eq!(states.get(serial), Some(&"revoked"));
    // A block of the certificate stops what it signed, and its signing.
    let block = json!({ "issuer": made_issuer(&listed, &next), "serial": next["serial"] });
    send(&admin, BLOCKS, &block).await.expect("blocked");
    let stopped = found(&developer, &item, &next["bundle"]).await;
    assert_eq!(stopped["why"]["rule"], "certificate-blocked", "{stopped}");
    assert_eq!(
        refusal(sign(&developer, &item).await),
        (409, "blocked".to_owned())
    );
    for event in ["codetrust.create_cert", "codetrust.sign", "codetrust.revoke_cert"] {
        let mine = admin
            .audited(event)
            .await
            .into_iter()
            .filter(|row| row.to_string().contains(developer.name()));
        assert!(mine.count() > 0, "{event}");
    }
}

fn made_issuer(listed: &Value, signed: &Value) -> Value {
    let items = listed["items"].as_array().expect("a list");
    let one = items.iter().find(|one| one["serial"] == signed["serial"]);
    one.expect("the certificate")["issuer"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_code_trust_was_reset_mods_are_signed_again_and_roots_move_between_systems() {
    let server = Server::private();
    let muster = CommandLine::log_in(&server);
    let place = folder("mods");
    let rose = place.join("rose");
    std::fs::create_dir_all(&rose).expect("a folder");
    for (name, text) in [
        (
            "mod-manifest.json",
            "{\"apiVersion\":\"1.2\",\"version\":\"1.0\",\"name\":\"Rose\",\"id\":\"rose\",\"icon\":\"icon.svg\",\"files\":[\"index.html\"]}",
        ),
        ("icon.svg", "<svg/>"),
        ("index.html", "<p>rose</p>\n"),
        ("notes.txt", "no part of it"),
    ] {
        std::fs::write(rose.join(name), text).expect("written");
    }
    let admin = "admin@SPOTFIRE";
    let (folder_text, rose_text) = (
        place.to_string_lossy().into_owned(),
        rose.to_string_lossy().into_owned(),
    );
    let run = |arguments: &[&str]| muster.run(arguments);
    let done = |arguments: &[&str]| {
        let (code, said, complained) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {said}{complained}");
        said
    };
    // An administrator signs for users; the license to develop mods is not theirs.
    let (code, _, complained) = run(&["trust", "sign", &rose_text]);
    assert!(
        code == Some(1) && complained.contains("Develop Visualization Mod"),
        "{complained}"
    );
    // Somebody else's folder may have a link where the signature goes.
    let (beside, victim) = (rose.join("muster-signature.json"), place.join("victim"));
    std::os::unix::fs::symlink(&victim, &beside).expect("a link");
    let resign = ["compat", "re-sign-mod", "-u", admin, "-p", &rose_text];
    let (code, _, complained) = run(&resign);
    assert!(
        code == Some(1) && complained.contains("has no signature"),
        "{complained}"
    );
    let signed = done(&[&resign[..], &["--force-re-sign"]].concat());
    assert!(!victim.exists() && !beside.is_symlink());
    assert!(
        signed.contains("sha512=UbWkqDVpObMBJ5wH") && signed.contains("is signed by"),
        "{signed}"
    );
    assert!(done(&["trust", "verify", &rose_text]).contains("valid"));
    let left = done(&[
        "compat",
        "re-sign-mod",
        "-u",
        admin,
        "-p",
        &folder_text,
        "--folder",
    ]);
    assert!(left.contains("1 has a valid signature"), "{left}");

    let export = [
        "compat",
        "export-code-signing-root-certificate",
        "-d",
        &folder_text,
    ];
    done(&export);
    let (code, _, complained) = run(&export);
    assert!(code == Some(1) && complained.contains("give -f"), "{complained}");
    done(&[&export[..], &["-f"]].concat());
    let der = std::fs::read(place.join("root-ca.cer")).expect("the root");
    let roots = place.join("roots.pem");
    std::fs::write(&roots, pem::write_certificates([&CertificateDer::from(der)])).expect("written");
    // From the bundle alone, without the control plane.
    let offline = ["trust", "verify", &rose_text, "--roots", &roots.to_string_lossy()].map(str::to_owned);
    let offline: Vec<&str> = offline.iter().map(String::as_str).collect();
    assert!(done(&offline).contains("internal"));
    std::fs::write(rose.join("index.html"), "<p>Rose</p>\n").expect("written");
    let (code, said, _) = run(&offline);
    assert!(code == Some(1) && said.contains("modified"), "{said}");
    let (code, _, complained) = run(&["compat", "re-sign-mod", "-u", admin, "-p", &rose_text]);
    assert!(
        code == Some(1) && complained.contains("is modified"),
        "{complained}"
    );
    std::fs::write(rose.join("index.html"), "<p>rose</p>\n").expect("written");

    let (code, _, complained) = run(&["compat", "reset-code-trust"]);
    assert!(code == Some(2) || code == Some(1), "{complained}");
    let reset = done(&["compat", "reset-code-trust", "-f"]);
    assert!(reset.contains("1 certificates of users were deleted"), "{reset}");
    let (code, said, _) = run(&["trust", "verify", &rose_text]);
    assert!(code == Some(1) && said.contains("chain"), "{said}");
    assert!(done(&["compat", "list-code-signing-certificates"]).contains("no such certificates"));
    done(&["compat", "re-sign-mod", "-u", admin, "-p", &rose_text]);
    assert!(done(&["trust", "verify", &rose_text]).contains("valid"));

    // The root of another system comes and goes.
    let elsewhere = Elsewhere::new().await;
    let leaf = place.join("leaf.cer");
    std::fs::write(&leaf, &*elsewhere.leaf).expect("written");
    let facts = CodeCertificate::of(&elsewhere.leaf).expect("a certificate");
    done(&["compat", "block-code-trust", "--path", &leaf.to_string_lossy()]);
    assert!(done(&["trust", "list", "--blocks"]).contains(&facts.serial));
    let file = place.join("other.cer");
    std::fs::write(&file, &*elsewhere.root).expect("written");
    done(&[
        "compat",
        "import-code-signing-certificate",
        "-p",
        &file.to_string_lossy(),
    ]);
    let facts = CodeCertificate::of(&elsewhere.root).expect("a root");
    let listed = done(&["compat", "list-code-signing-root-certificates"]);
    assert!(
        listed.contains(&facts.serial) && listed.contains("internal"),
        "{listed}"
    );
    let remove = [
        "compat",
        "remove-code-signing-root-certificate",
        "-n",
        &facts.serial,
        "-i",
        &facts.subject,
    ];
    done(&remove);
    assert_eq!(run(&remove).0, Some(1));
    let listed = done(&[
        "--output",
        "json",
        "compat",
        "list-code-signing-certificates",
        "-u",
        admin,
    ]);
    let listed: Value = serde_json::from_str(&listed).expect("JSON");
    let serial = listed[0]["serial"].as_str().expect("a number");
    done(&[
        "compat",
        "revoke-code-signing-certificate",
        "-s",
        "2020-01-01",
        "-n",
        serial,
    ]);
    let (code, said, _) = run(&["trust", "verify", &rose_text]);
    assert!(code == Some(1) && said.contains("revoked"), "{said}");
    // A second time would make void what the next certificate signs.
    let again = [
        "compat",
        "revoke-code-signing-certificate",
        "-s",
        "2020-01-01",
        "-n",
        serial,
    ];
    assert_eq!(run(&again).0, Some(1));
    let (code, _, complained) = run(&["compat", "re-sign-mod", "-u", admin, "-p", &rose_text]);
    assert!(
        code == Some(1) && complained.contains("is revoked"),
        "{complained}"
    );
    for event in [
        "codetrust.create_root",
        "codetrust.reset",
        "codetrust.import_root",
        "codetrust.remove_root",
    ] {
        assert_eq!(server.admin().await.audited(event).await.len(), 1, "{event}");
    }
}
