use serde_json::json;

use crate::{program::Home, server::Server};

const PATH: &str = "/api/v1/functions/forecast/policy";

#[test]
fn a_policy_is_shown_set_from_a_file_and_removed() {
    let server = Server::start();
    let function = "0192d4c0-0000-7000-8000-00000000000f";
    let none = json!({ "function": function });
    let policy = json!({
        "read": ["/srv/data"], "network": { "class": "none" }, "programs": "none", "limits": {},
    });
    let set = json!({ "function": function, "policy": policy, "digest": muster_ids::Digest::of(b"p") });
    server.on(&format!("GET {PATH}"), 200, &none);
    server.on(&format!("PUT {PATH}"), 200, &set);
    server.on_empty(&format!("DELETE {PATH}"));
    let home = Home::at(&server);
    let shown = home.muster(&["function", "policy", "forecast"]).printed();
    assert!(shown.contains("no policy of its own"), "{shown}");
    let file = home.write("policy.json", r#"{ "read": ["/srv/data"] }"#);
    let shown = home
        .muster(&["function", "policy", "forecast", "--file", &file])
        .printed();
    assert!(shown.contains("\"/srv/data\""), "{shown}");
    assert_eq!(server.asked("PUT")[0].json(), json!({ "policy": policy }));
    let shown = home
        .muster(&["function", "policy", "forecast", "--clear"])
        .printed();
    assert_eq!(shown, "\"forecast\" has no policy of its own any more.\n");
}

#[test]
fn what_is_wrong_in_a_policy_is_said_before_anything_is_asked() {
    let home = Home::new();
    let file = home.write("policy.json", r#"{ "read": ["/var/lib/muster/node"] }"#);
    let said = home
        .muster(&["function", "policy", "forecast", "--file", &file])
        .complaint(2);
    assert!(said.contains("belongs to the node's agent"), "{said}");
    let said = home.muster(&["function", "policy", "forecast", "--file", &file, "--clear"]);
    assert_eq!(said.code, Some(2));
    let said = home
        .muster(&["setting", "set", "unrestricted_policy", "@nowhere.json"])
        .complaint(2);
    assert!(said.contains("nowhere.json"), "{said}");
}

#[test]
fn a_setting_takes_its_value_from_a_file() {
    let server = Server::start();
    let set = json!({ "name": "unrestricted_policy", "scope": "all", "value": "{}" });
    server.on("PUT /api/v1/settings", 200, &set);
    let home = Home::at(&server);
    let file = home.write("policy.json", "{}");
    home.muster(&["setting", "set", "unrestricted_policy", &format!("@{file}")])
        .printed();
    assert_eq!(server.asked("PUT")[0].json(), set);
}
