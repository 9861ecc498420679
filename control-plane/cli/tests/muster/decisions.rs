//! Decisions about trust, natively and under their documented names, against a front end that gives prepared answers.

use muster_ids::Digest;
use serde_json::{Value, json};

use crate::{
    program::Home,
    server::{Asked, Server},
};

const BLOCKS: &str = "POST /api/v1/trust/blocks";
const SIGNERS: &str = "POST /api/v1/trust/signers";

pub(crate) fn id(key: &str) -> String {
    Digest::of(key.as_bytes()).to_string()
}

pub(crate) fn decided() -> Value {
    json!({ "by": "admin@SPOTFIRE", "at": "2026-11-21T22:12:39.000Z", "reason": "has left" })
}

pub(crate) fn block(user: &str) -> Value {
    json!({ "id": id(user), "user": user, "decided": decided() })
}

pub(crate) fn signer(principal: &Value, signer: &Value) -> Value {
    json!({ "id": id("x"), "principal": principal, "signer": signer, "decided": decided() })
}

#[test]
fn blocks_are_made_listed_and_lifted_by_what_they_are_about() {
    let server = Server::start();
    server.on(BLOCKS, 200, &block("eve@SPOTFIRE"));
    let lists = "GET /api/v1/trust/blocks?limit=1000";
    server.on(lists, 200, &json!({ "items": [block("eve@SPOTFIRE")] }));
    let lifts = format!(
        "DELETE /api/v1/trust/blocks/{}",
        id("block/user/eve@spotfire").replace(':', "%3A")
    );
    server.on_empty(&lifts);
    server.on_empty(&lifts.replace("%3A", ":"));
    let home = Home::at(&server);
    let said = home
        .muster(&["trust", "block", "--user", "eve@SPOTFIRE", "--reason", "has left"])
        .printed();
    assert_eq!(said, "user eve@SPOTFIRE is blocked for everybody now.\n");
    let asked = json!({ "user": "eve@SPOTFIRE", "reason": "has left" });
    assert_eq!(server.asked(BLOCKS)[0].json(), asked);
    let listed = home.muster(&["trust", "list", "--blocks"]).printed();
    assert!(
        listed.contains("user eve@SPOTFIRE  admin@SPOTFIRE  2026-11-21 22:12:39Z  has left"),
        "{listed}"
    );
    home.muster(&["trust", "unblock", "--user", "EVE@spotfire"])
        .printed();
    assert_eq!(server.asked("DELETE").len(), 1);
    for wrong in [
        &["trust", "block"][..],
        &["trust", "block", "--user", "eve@SPOTFIRE", "--function", "f"],
        &["trust", "block", "--type", "script"],
        &["trust", "block", "--issuer", "CN=Corp"],
        &["trust", "list", "--blocks", "--items"],
        &["trust", "add", "--signer", "ann@SPOTFIRE"],
        &[
            "trust",
            "add",
            "--type",
            "action_mod",
            "--hash",
            "h",
            "--role",
            "developer",
        ],
        &[
            "trust",
            "add",
            "--user",
            "a@B",
            "--group",
            "G",
            "--type",
            "action_mod",
            "--hash",
            "h",
        ],
    ] {
        home.muster(wrong).complaint(2);
    }
}

#[test]
fn a_signer_is_trusted_natively_and_as_documented() {
    let server = Server::start();
    let (everyone, ann) = (
        json!({ "group": "Everyone" }),
        json!({ "user": "ann@SPOTFIRE", "role": "developer" }),
    );
    server.on(SIGNERS, 200, &signer(&everyone, &ann));
    let key = "trust/group/everyone/user/developer/ann@spotfire";
    let path = format!("DELETE /api/v1/trust/signers/{}", id(key));
    server.on_empty(&path);
    server.on_empty(&path.replace("sha256:", "sha256%3A"));
    let home = Home::at(&server);
    let said = home
        .muster(&[
            "trust",
            "add",
            "--group",
            "Everyone",
            "--signer",
            "ann@SPOTFIRE",
            "--role",
            "developer",
        ])
        .printed();
    assert_eq!(
        said,
        "group Everyone trusts user ann@SPOTFIRE as developer now.\n"
    );
    home.muster(&[
        "compat",
        "add-code-trust",
        "-g",
        "Everyone",
        "--trust-user",
        "ann@SPOTFIRE",
        "--trust-user-role",
        "developer",
    ])
    .printed();
    let asked = server.asked(SIGNERS);
    assert_eq!(asked[0].json(), json!({ "principal": everyone, "signer": ann }));
    assert_eq!(asked[1].json(), asked[0].json());
    home.muster(&[
        "trust",
        "remove",
        "--group",
        "Everyone",
        "--signer",
        "ann@SPOTFIRE",
        "--role",
        "developer",
    ])
    .printed();
    home.muster(&[
        "compat",
        "remove-code-trust",
        "-g",
        "Everyone",
        "--trusted-user",
        "ann@SPOTFIRE",
        "--trusted-user-role",
        "developer",
    ])
    .printed();
    assert_eq!(server.asked("DELETE").len(), 2);
    for (command, wrong) in [
        (
            "add-code-trust",
            &[
                "-u",
                "a@B",
                "-g",
                "G",
                "--trust-user",
                "c@D",
                "--trust-user-role",
                "developer",
            ][..],
        ),
        (
            "add-code-trust",
            &["--trust-user", "c@D", "--trust-user-role", "developer"],
        ),
        ("add-code-trust", &["-g", "G", "-n", "01"]),
        ("add-code-trust", &["-g", "G"]),
        (
            "add-code-trust",
            &[
                "-g",
                "G",
                "--type",
                "external_action",
                "--trust-user",
                "c@D",
                "--trust-user-role",
                "developer",
            ],
        ),
        ("remove-code-trust", &["-g", "G", "-h", "h1"]),
        ("remove-code-trust", &["-g", "G", "-h", "h1", "--type", "script"]),
        ("block-code-trust", &["-h", "h1", "--type", "mods"]),
        ("block-code-trust", &["-n", "zz", "-i", "CN=X"]),
        (
            "add-code-trust",
            &["-g", "G", "--trust-user", "c@D", "--trust-user-role", "boss"],
        ),
        (
            "revoke-code-signing-certificate",
            &["-s", "22.11.2026", "-u", "a@B"],
        ),
        (
            "revoke-code-signing-certificate",
            &["-s", "2026-1-2", "-u", "a@B"],
        ),
        (
            "revoke-code-signing-certificate",
            &["-s", "2026-13-22", "-u", "a@B"],
        ),
        (
            "revoke-code-signing-certificate",
            &["-s", "2026-01-01T00:00:00Z", "-u", "a@B"],
        ),
        ("block-code-trust", &["--serial-number", "01"]),
        ("block-code-trust", &["-h", "h1"]),
        ("block-code-trust", &["--path", "a.cer"]),
        ("block-code-trust", &[]),
        ("revoke-code-signing-certificate", &["-u", "a@B"]),
        (
            "revoke-code-signing-certificate",
            &["-s", "2026-01-01", "-n", "01", "-u", "a@B"],
        ),
        ("trust", &["-i", "0192d4c0-0000-7000-8000-000000000001"]),
        ("trust", &["-S", "h1"]),
    ] {
        let arguments = [&["compat", command][..], wrong].concat();
        home.muster(&arguments).complaint(2);
    }
}

#[test]
fn a_type_that_agrees_with_the_role_is_taken_and_a_contradiction_is_named() {
    let server = Server::start();
    let ann = json!({ "user": "ann@SPOTFIRE", "role": "developer" });
    let entry = json!({
        "id": id("t"), "principal": { "group": "Everyone" }, "signer": ann, "decided": decided(),
    });
    server.on(SIGNERS, 200, &entry);
    let home = Home::at(&server);
    let add = |role: &str, kind: &str| {
        let signer = [
            "--trust-user",
            "ann@SPOTFIRE",
            "--trust-user-role",
            role,
            "--type",
            kind,
        ];
        home.muster(&[&["compat", "add-code-trust", "-g", "Everyone"][..], &signer].concat())
    };
    let said = add("developer", "action_mod").printed();
    assert!(
        said.contains("visualization mods and action mods alike"),
        "{said}"
    );
    for (role, kind) in [("developer", "mod"), ("configurator", "external_action")] {
        assert_eq!(add(role, kind).printed(), "The signer is trusted now.\n");
    }
    assert_eq!(server.asked(SIGNERS).len(), 3);
    for (role, kind, wanted) in [
        (
            "developer",
            "external_action",
            "--type external_action contradicts the role \"developer\"",
        ),
        (
            "configurator",
            "visualization_mod",
            "--type visualization_mod contradicts the role \"configurator\"",
        ),
        ("configurator", "mod", "signed in the role developer"),
        ("developer", "script", "\"script\" is no type of items"),
    ] {
        let complaint = add(role, kind).complaint(2);
        assert!(complaint.contains(wanted), "{complaint}");
    }
    assert_eq!(server.asked(SIGNERS).len(), 3, "nothing was asked for");
}

#[test]
fn block_code_trust_and_revoke_do_what_they_say() {
    let server = Server::start();
    server.on(BLOCKS, 200, &block("eve@SPOTFIRE"));
    let revokes = "POST /api/v1/trust/revocations";
    let revoked = json!({
        "id": id("r"), "user": "bob@SPOTFIRE", "from": "2026-01-01T00:00:00Z", "decided": decided(),
    });
    server.on(revokes, 200, &revoked);
    let of_one = "POST /api/v1/trust/certificates/01/revoke";
    server.on(of_one, 200, &revoked);
    let home = Home::at(&server);
    home.muster(&[
        "compat",
        "block-code-trust",
        "-h",
        "h1",
        "--type",
        "action_mod",
        "-u",
        "eve@SPOTFIRE",
    ])
    .printed();
    home.muster(&["compat", "block-code-trust", "-n", "1A", "-i", "CN=Corp"])
        .printed();
    let asked: Vec<Value> = server.asked(BLOCKS).iter().map(Asked::json).collect();
    assert_eq!(
        asked,
        [
            json!({ "item": { "type": "action_mod", "hash": "h1" } }),
            json!({ "user": "eve@SPOTFIRE" }),
            json!({ "issuer": "CN=Corp", "serial": "1A" }),
        ]
    );
    let said = home
        .muster(&[
            "compat",
            "revoke-code-signing-certificate",
            "-s",
            "2026-01-01",
            "-u",
            "bob@SPOTFIRE",
        ])
        .printed();
    assert_eq!(
        said,
        "What bob@SPOTFIRE signed from 2026-01-01T00:00:00Z until now is invalid.\n"
    );
    let from = json!({ "user": "bob@SPOTFIRE", "from": "2026-01-01T00:00:00Z", "until": "now" });
    assert_eq!(server.asked(revokes)[0].json(), from);
    let one = [
        "compat",
        "revoke-code-signing-certificate",
        "-s",
        "2026-01-01",
        "-n",
        "01",
    ];
    home.muster(&one).printed();
    let from = json!({ "from": "2026-01-01T00:00:00Z" });
    assert_eq!(server.asked(of_one)[0].json(), from);
}

#[test]
fn unblock_code_trust_takes_what_block_code_trust_takes() {
    let server = Server::start();
    let lifts = |key: &str| {
        let path = format!("DELETE /api/v1/trust/blocks/{}", id(key));
        path.replace(':', "%3A")
    };
    for key in [
        "block/item/action_mod/h1",
        "block/certificate/1a/CN=Corp",
        "block/user/eve@spotfire",
    ] {
        server.on_empty(&lifts(key));
    }
    server.refuse(
        &lifts("block/item/visualization_mod/h1"),
        404,
        "not-found",
        "no such block",
    );
    server.refuse(
        &lifts("block/user/bob@spotfire"),
        404,
        "not-found",
        "no such block",
    );
    let home = Home::at(&server);
    let unblock = |line: &str| home.muster(&[&["compat", "unblock-code-trust"][..], &words(line)].concat());
    // As when it is blocked, a mod of before is one of either type.
    assert_eq!(
        unblock("-h h1 --type mod").printed(),
        "Not blocked any more: mod h1.\n"
    );
    assert_eq!(
        unblock("--serial-number 1A --issuer CN=Corp -u eve").printed(),
        "Not blocked any more: certificate 1A of CN=Corp, user eve@SPOTFIRE.\n"
    );
    let complaint = unblock("-u SPOTFIRE\\bob -h h1 --type action_mod").complaint(1);
    assert!(
        complaint.contains("there is no block of user bob@SPOTFIRE")
            && complaint.contains("not blocked any more: action_mod h1"),
        "{complaint}"
    );
    assert_eq!(unblock("-u bob").complaint(1), "no such block\n");
    let asked = server.asked("DELETE").len();
    for (line, cure) in [
        ("", "name what to unblock"),
        ("-h h1", "--type"),
        ("-n zz -i CN=X", "hexadecimal"),
        ("--path absent.cer", "absent.cer"),
        ("-u eve -b bootstrap.xml", "muster login"),
        ("-u eve -t secret", "--password-file"),
        ("-u eve -k keystore", "--ca-file"),
    ] {
        let complaint = unblock(line).complaint(2);
        assert!(complaint.contains(cure), "{line}: {complaint}");
    }
    assert_eq!(server.asked("DELETE").len(), asked);
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[test]
fn values_that_cannot_be_are_refused_here_with_those_that_can() {
    let home = Home::at(&Server::start());
    for (line, allowed) in [
        ("add --type fish --hash h", "action_mod"),
        (
            "add --signer ann@SPOTFIRE --role developer --expires yesterday",
            "RFC 3339",
        ),
        ("add --issuer CN=X --serial zz --role developer", "hexadecimal"),
        ("block --type fish --hash h", "job_script"),
        ("block --issuer CN=X --serial zz", "hexadecimal"),
        ("unblock --type fish --hash h", "job_script"),
        ("revoke --from yesterday", "RFC 3339"),
        ("revoke --from 2026-01-01T00:00:00Z --until later", "RFC 3339"),
        ("explain f --client x", "scheduled_update"),
        ("explain f --action x", "save_trusted"),
        ("verify gantt --client x", "installed_no_server"),
        ("verify gantt --to x", "trust_signer"),
        ("verify gantt --to save_trusted", "trust_signer"),
    ] {
        let complaint = home.muster(&[&["trust"][..], &words(line)].concat()).complaint(2);
        assert!(complaint.contains(allowed), "{line}: {complaint}");
    }
}

#[test]
fn documented_commands_take_names_as_the_original_writes_them_and_what_it_lacks() {
    let server = Server::start();
    server.on(BLOCKS, 200, &block("eve@SPOTFIRE"));
    let (everyone, ann) = (
        json!({ "group": "Everyone" }),
        json!({ "user": "ann@SPOTFIRE", "role": "developer" }),
    );
    server.on(SIGNERS, 200, &signer(&everyone, &ann));
    let home = Home::at(&server);
    let compat = |line: &str| home.muster(&[&["compat"][..], &words(line)].concat());
    compat(
        "add-code-trust -g SPOTFIRE\\Everyone --trust-user ann --trust-user-role developer \
         --expires 2027-01-01T00:00:00Z --reason audit",
    )
    .printed();
    compat("add-code-trust -u spotfire\\bob --trust-user SPOTFIRE\\ann --trust-user-role developer")
        .printed();
    compat("block-code-trust -u eve --reason left").printed();
    let asked: Vec<Value> = server.asked("POST").iter().map(Asked::json).collect();
    assert_eq!(
        asked,
        [
            json!({
                "principal": everyone, "signer": ann, "expires": "2027-01-01T00:00:00Z", "reason": "audit",
            }),
            json!({ "principal": { "user": "bob@spotfire" }, "signer": ann }),
            json!({ "user": "eve@SPOTFIRE", "reason": "left" }),
        ]
    );
    let late = "add-code-trust -g Everyone --trust-user ann --trust-user-role developer --expires tomorrow";
    assert!(compat(late).complaint(2).contains("RFC 3339"));
    let elsewhere = "add-code-trust -g CORP\\Staff --trust-user ann --trust-user-role developer";
    assert!(compat(elsewhere).complaint(2).contains("other domains"));
}
