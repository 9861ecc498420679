use muster_ids::Sha512;
use muster_store::{AuditFilter, AuditFrom};

use super::*;
use crate::fixture::{self, form as of, name};

const ADMIN: &str = "admin@SPOTFIRE";
const ANN: &str = "ann@SPOTFIRE";
const SAM: &str = "sam@SPOTFIRE";
const CIRCLE: &str = "Circle";

/// A control plane, ann with the license to trust mods by her group Circle, and sam who signs.
struct World {
    app: App,
    _folder: tempfile::TempDir,
    admin: Caller,
}

impl World {
    async fn new() -> Self {
        let (app, folder) = fixture::app().await;
        let user = app.user_named(&name(ADMIN)).await.expect("a user");
        let admin = Caller::User(app.user_caller(&user).await.expect("their rights"));
        for user in [ANN, SAM] {
            let new = of(json!({ "name": user }));
            app.create_user(&admin, new).await.expect("made");
        }
        app.create_group(&admin, name(CIRCLE)).await.expect("made");
        let licensed = app.set_feature(&admin, &name(CIRCLE), "Trust Mods", true).await;
        licensed.expect("given");
        let added = app.add_member(&admin, &name(CIRCLE), &name(ANN)).await;
        added.expect("added");
        Self {
            app,
            _folder: folder,
            admin,
        }
    }

    async fn ann(&self) -> Caller {
        let user = self.app.user_named(&name(ANN)).await.expect("a user");
        Caller::User(self.app.user_caller(&user).await.expect("their rights"))
    }

    async fn sign(&self, item: &Value) -> Value {
        let new = of(json!({ "item": item, "user": SAM }));
        let signed = self.app.sign_item(&self.admin, &new).await.expect("signed");
        signed.bundle
    }

    async fn save(&self, name: &str) {
        let new = of(json!({
            "folder": "/", "name": name, "kind": "visualization_mod", "description": "", "manifest": manifest(name),
            "files": { "icon.svg": "PHN2Zy8+" },
        }));
        self.app.library_save(&self.admin, &new).await.expect("saved");
    }

    async fn revoke(&self) {
        let revoked = of(json!({ "user": SAM, "from": "2020-01-01T00:00:00Z" }));
        let made = self.app.create_revocation(&self.admin, &revoked).await;
        made.expect("revoked");
    }

    async fn relax(&self, value: Option<&str>) {
        let preference = "Require valid signature to allow trust";
        let set = self
            .app
            .set_preference(&self.admin, &name(CIRCLE), preference, value)
            .await;
        set.expect("set");
    }

    /// What comes of it if ann trusts a mod for herself, and an administrator for her group; the trust is taken back.
    async fn trusting(&self, item: &Value, more: &Value) -> [Result<(), Error>; 2] {
        let hash = crate::signing::named(&of(item.clone())).expect("an item").hash;
        let mut done = Vec::new();
        for (caller, principal) in [
            (self.ann().await, Value::Null),
            (self.admin.clone(), json!({ "group": CIRCLE })),
        ] {
            let mut new =
                json!({ "item": { "type": "visualization_mod", "hash": hash }, "principal": principal });
            for (field, value) in more.as_object().expect("fields") {
                new[field] = value.clone();
            }
            let trusted = self.app.trust_item(&caller, &of(new)).await;
            done.push(match trusted {
                Ok(made) => {
                    let withdrawn = self.app.withdraw_item(&caller, &made.id.to_string()).await;
                    withdrawn.expect("withdrawn");
                    Ok(())
                }
                Err(error) => Err(error),
            });
        }
        done.try_into().expect("two of them")
    }

    /// That both are refused for this reason, in these words.
    async fn refused(&self, item: &Value, more: Value, (kind, words): (&str, &str)) {
        for refused in self.trusting(item, &more).await {
            let error = refused.expect_err("it must be refused");
            let found = match &error {
                Error::Conflict { kind, .. } | Error::Invalid { kind, .. } => kind,
                Error::NotFound { .. } => "not-found",
                other => panic!("{other:?}"),
            };
            assert_eq!(found, kind, "{error}");
            assert!(error.to_string().contains(words), "{error}");
        }
    }

    async fn allowed(&self, item: &Value, more: Value) {
        for done in self.trusting(item, &more).await {
            done.expect("trusted");
        }
    }

    /// For how many versions it is recorded that they got known.
    async fn uploads(&self) -> usize {
        let rows = self
            .app
            .store()
            .audit_list(&AuditFilter::default(), AuditFrom::Newest, 1000)
            .await
            .expect("read");
        let of_hashes = rows.iter().filter(|row| row.record.event == Event::HashUploaded);
        of_hashes.count()
    }
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

/// Row 17 of the specification, and its relaxation, where people decide.
#[tokio::test]
async fn a_version_is_trusted_by_a_valid_signature_and_without_one_only_where_the_preference_says_so() {
    let world = World::new().await;
    let (signed, saved, unknown) = (rose("signed"), rose("saved"), rose("unknown"));
    let required = "signature-required";
    world
        .refused(&signed, json!({}), (required, "nothing is known of it"))
        .await;
    let bundle = world.sign(&signed).await;
    world.allowed(&signed, json!({})).await;
    world.save("saved").await;
    world.refused(&saved, json!({}), (required, "not signed")).await;
    // A signature of something else says nothing about this version.
    let other = json!({ "bundle": bundle });
    world
        .refused(&saved, other.clone(), (required, "not the one that was signed"))
        .await;
    world
        .refused(&saved, json!({ "bundle": "x" }), (required, "counts as unsigned"))
        .await;

    world.relax(Some("false")).await;
    world.allowed(&saved, json!({})).await;
    world
        .refused(&unknown, json!({}), ("not-found", "nothing is known here"))
        .await;
    // Nor does one that anybody could make say what it is.
    let other_world = World::new().await;
    let stranger = json!({ "bundle": other_world.sign(&unknown).await });
    for sent in [other, stranger] {
        world
            .refused(&unknown, sent, ("not-found", "nothing is known here"))
            .await;
    }
    world
        .refused(
            &unknown,
            json!({ "content": saved }),
            ("invalid-item", "content that was sent"),
        )
        .await;
    world.allowed(&unknown, json!({ "content": unknown })).await;
    world.relax(None).await;

    world.revoke().await;
    world.refused(&signed, json!({}), (required, "was revoked")).await;
    world.relax(Some("false")).await;
    world.allowed(&signed, json!({})).await;
    let blocked = world
        .app
        .create_block(&world.admin, &of(json!({ "user": SAM })))
        .await;
    blocked.expect("blocked");
    world
        .refused(&signed, json!({}), ("blocked", "whoever signed"))
        .await;
}

#[tokio::test]
async fn a_signature_that_is_sent_counts_as_one_that_is_kept() {
    let (here, elsewhere) = (World::new().await, World::new().await);
    let item = rose("rose");
    let bundle = elsewhere.sign(&item).await;
    let sent = json!({ "bundle": bundle });
    here.refused(&item, sent.clone(), ("signature-required", "root"))
        .await;
    let root = elsewhere.app.own_signing_root(&elsewhere.admin).await;
    let import = of(json!({ "pem": root.expect("a root").pem }));
    let imported = here.app.import_signing_certificate(&here.admin, &import).await;
    imported.expect("imported");
    here.allowed(&item, sent).await;
    here.refused(&item, json!({}), ("signature-required", "nothing is known"))
        .await;
}

#[tokio::test]
async fn a_version_gets_known_once_and_a_misspelled_hash_never() {
    let world = World::new().await;
    world.sign(&rose("first")).await;
    assert_eq!(world.uploads().await, 1);
    world.sign(&rose("first")).await;
    world.save("first").await;
    assert_eq!(world.uploads().await, 1, "it was known");
    world.save("second").await;
    world.sign(&rose("second")).await;
    assert_eq!(world.uploads().await, 2);
    // Of other kinds nobody trusts a version.
    let function = json!({ "type": "data_function", "hash": Digest::of(b"1") });
    world.sign(&function).await;
    assert_eq!(world.uploads().await, 2);
    let hash = crate::signing::named(&of(rose("first"))).expect("an item").hash;
    let base64 = hash.as_str().trim_start_matches("sha512=").to_owned();
    for hash in ["h", &base64, &hash.to_string().replace('=', "")] {
        let new = of(json!({ "item": { "type": "visualization_mod", "hash": hash } }));
        let refused = world.app.trust_item(&world.ann().await, &new).await;
        assert!(
            matches!(refused, Err(Error::Invalid { .. })),
            "{hash}: {refused:?}"
        );
    }
}

#[tokio::test]
async fn who_signs_with_many_certificates_hides_nobody() {
    let world = World::new().await;
    let item = rose("rose");
    world.sign(&item).await;
    // An administrator signs with one certificate after the other, and each of them is void.
    for _ in 0..70 {
        let new = of(json!({ "item": item, "user": ADMIN }));
        let made = world.app.sign_item(&world.admin, &new).await.expect("signed");
        let void = of(json!({ "from": "2020-01-01T00:00:00Z" }));
        let revoked = world
            .app
            .revoke_signing_certificate(&world.admin, &made.serial, &void)
            .await;
        revoked.expect("revoked");
    }
    let asked = of(json!({ "item": item }));
    let found = world
        .app
        .verify_item(&world.admin, &asked)
        .await
        .expect("an answer");
    assert_eq!(
        (found.status.as_str(), found.signer.as_deref()),
        ("valid", Some("CN=sam@SPOTFIRE"))
    );
}

#[tokio::test]
async fn trust_that_is_over_does_not_stand_in_the_way_of_new_trust() {
    let world = World::new().await;
    let entry = TrustEntry {
        principal: Principal::Group(name(CIRCLE)),
        target: Target::Signer(Signer::User(name(SAM)), Role::Developer),
        expires: Some(Moment::from_unix_ms(world.app.now() - 1)),
    };
    let over = Entry::Trust(entry);
    let mut tx = world
        .app
        .store()
        .begin(&App::system())
        .await
        .expect("a transaction");
    tx.trust_change(&[(over.key(), Some(over.value()))], 1)
        .await
        .expect("changed");
    let draft = Draft::new(Event::SignerAdded, "sam", json!({}));
    tx.commit(draft, 1).await.expect("committed");
    let again =
        || of(json!({ "principal": { "group": CIRCLE }, "signer": { "user": SAM, "role": "developer" } }));
    let trusted = world.app.trust_signer(&world.admin, &again()).await;
    trusted.expect("trusted anew");
    let twice = world.app.trust_signer(&world.admin, &again()).await;
    let refused = twice.expect_err("it is trusted now").to_string();
    assert!(refused.contains("already; withdraw"), "{refused}");
}

#[tokio::test]
async fn a_member_is_told_who_decided_the_trust_of_their_group_however_it_is_spelled() {
    let world = World::new().await;
    let spelled = of(json!({
        "principal": { "group": CIRCLE.to_uppercase() }, "signer": { "user": SAM, "role": "developer" },
    }));
    let made = world
        .app
        .trust_signer(&world.admin, &spelled)
        .await
        .expect("trusted");
    let refused = world
        .app
        .withdraw_signer(&world.ann().await, &made.id.to_string())
        .await;
    let refused = refused.expect_err("an administrator decided it").to_string();
    assert!(refused.contains("decided by an administrator"), "{refused}");
}

#[tokio::test]
async fn what_is_revoked_until_now_leaves_what_is_signed_from_now_on() {
    let world = World::new().await;
    let lily = rose("lily");
    world.sign(&lily).await;
    let until_now = of(json!({ "user": SAM, "from": "2020-01-01T00:00:00Z", "until": "now" }));
    let made = world
        .app
        .create_revocation(&world.admin, &until_now)
        .await
        .expect("revoked");
    assert!(made.until.is_some(), "{made:?}");
    let verified = async || {
        let asked = of(json!({ "item": lily }));
        let found = world
            .app
            .verify_item(&world.admin, &asked)
            .await
            .expect("an answer");
        found.status
    };
    assert_eq!(verified().await, "revoked");
    world.sign(&lily).await;
    assert_eq!(verified().await, "valid");
    // Without an end nothing can be signed any more.
    world.revoke().await;
    assert_eq!(verified().await, "revoked");
    let again = of(json!({ "item": lily, "user": SAM }));
    assert!(world.app.sign_item(&world.admin, &again).await.is_err());
}
