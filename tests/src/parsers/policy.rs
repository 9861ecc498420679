//! Files of the policy test, which administrators pass around.

use muster_code_trust::run_policy_test;
use serde_json::Value;

/// A whole file. What is accepted has an answer for each case, the same each time, in lines that a terminal can show.
pub(super) fn test(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let safe = |line: &str| assert!(!line.chars().any(char::is_control), "{line:?}");
    match run_policy_test(text) {
        Ok(report) => {
            let file: Value = serde_json::from_str(text).expect("what is accepted is JSON");
            let cases = file["cases"].as_array().expect("a list of cases").len();
            assert_eq!(report.passed + report.failed, cases);
            assert_eq!(report.lines.len(), report.failed);
            report.lines.iter().for_each(|line| safe(line));
            assert_eq!(run_policy_test(text).expect("accepted before"), report);
        }
        Err(error) => safe(&error.to_string()),
    }
}

pub(super) fn test_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"world":{},"cases":[]}"#,
        concat!(
            r#"{"world":{"groups":[{"name":"Everyone","licenses":["Open Visualization Mod from Library"]},"#,
            r#"{"name":"Staff","parents":["Script Author"]}],"#,
            r#""users":[{"name":"ann@SPOTFIRE","groups":["Staff"],"state":"active"}],"#,
            r#""preferences":{"require_valid_signature":true,"restricted_engines":["r_service"]},"#,
            r#""roots":["internal","corp-ca"],"#,
            r#""trust":[{"principal":{"group":"Staff"},"signer":{"user":"bob@SPOTFIRE","role":"developer"}},"#,
            r#"{"principal":{"user":"ann@SPOTFIRE"},"item":{"type":"action_mod","hash":"h1"},"#,
            r#""expires":"2026-01-01T00:00:00Z"},"#,
            r#"{"principal":{"group":"Everyone"},"#,
            r#""signer":{"issuer":"CN=Corp CA","serial":"01","role":"configurator"}}],"#,
            r#""blocks":[{"item":{"type":"script","hash":"h9"}},{"user":"eve@SPOTFIRE"},"#,
            r#"{"issuer":"CN=Corp CA","serial":"02"}],"#,
            r#""revocations":[{"user":"bob@SPOTFIRE","from":"2020-12-31T00:00:00Z","#,
            r#""until":"2021-12-31T00:00:00Z"}],"#,
            r#""stamps":[{"library_item":"F","hash":"s1","readable_by":["ann@SPOTFIRE"],"#,
            r#""author":"bob@SPOTFIRE","at":"2021-06-01T00:00:00Z"}],"settings":{"trust.stamps":"same_item"},"#,
            r#""now":"2025-06-01T00:00:00Z"},"cases":["#,
            r#"{"name":"signed","user":"ann@SPOTFIRE","client":"web","item":{"type":"visualization_mod","#,
            r#""hash":"h2","signature":{"root":"internal","user":"bob@SPOTFIRE","#,
            r#""time":"2020-06-01T00:00:00Z"}},"action":"open","expect":{"outcome":"deny"}},"#,
            r#"{"name":"external","user":"ann@SPOTFIRE","client":"automation","item":{"type":"#,
            r#""external_action","hash":"h2","signature":{"root":"corp-ca","issuer":"CN=Corp CA","#,
            r#""serial":"02","time":"2020-06-01T00:00:00Z","tampered":true}},"action":"run","#,
            r#""expect":{"outcome":"deny","reason":"blocked_certificate"}},"#,
            r#"{"name":"code","user":"ann@SPOTFIRE","client":"installed","item":{"type":"script","#,
            r#""language":"javascript","hash":"s1","library_item":"F","trusted_by_user":true},"action":"save_trusted","#,
            r#""expect":{"outcome":"prompt","options":["item","signer"]}},"#,
            r#"{"name":"service","user":"eve@SPOTFIRE","client":"web","item":{"type":"data_function","#,
            r#""engine":"terr_service","hash":"d1","restricted_execution_mode":false,"#,
            r#""disable_trust_checks":true},"action":"run","expect":{"outcome":"restricted"}},"#,
            r#"{"name":"job","user":"ann@SPOTFIRE","client":"automation","item":{"type":"job_script","#,
            r#""executing_account":"bob@SPOTFIRE"},"action":"run","expect":{}}]}"#
        ),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
