mod decide;

use muster_code_trust::{Entry, Scope, Setting, Stamp, StateVersion, TrustState};
use muster_ids::{Incarnation, StampId};
use muster_wire::{
    function::{BlobRef, Limits, Parameter},
    node::v1::run::{GrantLimits, GrantPolicy, WantedOutput},
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::{fixture::Collective, trust::wire_version};

const NOW: i64 = 1_767_225_600_000;
const NONCE: &str = "AAAAAAAAAAAAAAAAAAAAAA==";

fn parameter(name: &str) -> Parameter {
    Parameter {
        name: name.to_owned(),
        kind: "table".to_owned(),
        types: Vec::new(),
        optional: false,
    }
}

fn definition() -> FunctionDefinition {
    FunctionDefinition {
        name: "Forecast".parse().expect("name"),
        language: "terr".to_owned(),
        script: "y <- x\n".to_owned(),
        inputs: vec![parameter("x")],
        outputs: vec![parameter("y")],
        packages: Vec::new(),
        description: String::new(),
        limits: Limits::default(),
    }
}

fn version() -> StateVersion {
    StateVersion {
        incarnation: Incarnation::new(1, [1; 10]),
        epoch: 1,
        number: 7,
        digest: TrustState::default().digest(),
        previous: TrustState::default().digest(),
    }
}

fn stamp() -> StampId {
    StampId::new(1, [3; 10])
}

fn grant(collective: &Collective) -> RunGrant {
    RunGrant {
        run: RunId::new(NOW, [7; 10]),
        fence: 3,
        user: "ann@SPOTFIRE".parse().expect("name"),
        facts: json!({
            "user": "ann@SPOTFIRE", "groups": {"Everyone": null}, "features": {}, "readable_stamps": [stamp()],
        }),
        client: "web".to_owned(),
        function: Some(muster_ids::FunctionId::new(1, [1; 10])),
        item: function::digest(&definition()).expect("valid"),
        engine: "terr".to_owned(),
        inputs: [("x".to_owned(), blob())].into(),
        outputs: vec![WantedOutput {
            parameter: parameter("y"),
            format: "csv".to_owned(),
        }],
        packages: Digest::of(b"packages"),
        mode: "unrestricted".to_owned(),
        rule: "stamped".to_owned(),
        trace: false,
        session: None,
        limits: GrantLimits {
            wall_seconds: 60,
            memory_mib: 0,
        },
        network: "none".to_owned(),
        policy: None,
        node: collective.node,
        boot_nonce: NONCE.to_owned(),
        trust: wire_version(&version()),
        issued: NOW,
        expires: NOW + 60_000,
    }
}

fn blob() -> BlobRef {
    BlobRef {
        digest: Digest::of(b"x"),
        size: 1,
        format: "csv".to_owned(),
    }
}

fn granted(collective: &Collective, grant: &RunGrant) -> Granted {
    Granted {
        grant: collective.signed(PayloadType::RunGrant, grant),
        definition: definition(),
        arguments: Arguments::new(),
    }
}

fn admit(
    collective: &Collective,
    granted: Granted,
    used: &mut Used,
    now_ms: i64,
) -> Result<Admitted, NotAdmitted> {
    let roots = collective.roots();
    let ground = Ground {
        node: collective.node,
        boot_nonce: NONCE,
        roots: &roots,
        now_ms,
    };
    check(granted, &ground, used).map_err(|refused| refused.why)
}

/// A run that may use this at the most.
pub(in crate::run) fn admitted(policy: Option<GrantPolicy>) -> Admitted {
    let collective = Collective::new(1, NOW);
    let word = |policy: &GrantPolicy| policy.policy["network"]["class"].as_str().map(str::to_owned);
    let grant = RunGrant {
        network: policy
            .as_ref()
            .and_then(word)
            .unwrap_or_else(|| "none".to_owned()),
        policy,
        ..grant(&collective)
    };
    let granted = granted(&collective, &grant);
    admit(&collective, granted, &mut Used::default(), NOW).expect("admitted")
}

#[test]
fn a_policy_is_what_its_digest_and_its_network_say() {
    let collective = Collective::new(1, NOW);
    let policy = RunPolicy::parse(r#"{"read": ["/srv/data"]}"#).expect("a policy");
    let right = GrantPolicy {
        digest: policy.digest(),
        policy: serde_json::to_value(&policy).expect("JSON"),
    };
    let wider = GrantPolicy {
        policy: json!({ "read": ["/srv"], "network": {"class": "none"}, "programs": "none", "limits": {} }),
        ..right.clone()
    };
    let unknown = GrantPolicy {
        policy: json!({ "reads": ["/srv"] }),
        ..right.clone()
    };
    for (policy, network, fits) in [
        (Some(&right), "none", true),
        (Some(&right), "host", false),
        (Some(&wider), "none", false),
        (Some(&unknown), "none", false),
        (None, "brokered", false),
        (None, "host", true),
    ] {
        let grant = RunGrant {
            network: network.to_owned(),
            policy: policy.cloned(),
            ..grant(&collective)
        };
        let granted = granted(&collective, &grant);
        let admitted = admit(&collective, granted, &mut Used::default(), NOW);
        assert_eq!(admitted.is_ok(), fits, "{policy:?} {network}: {admitted:?}");
    }
}

#[test]
fn a_grant_for_this_node_is_admitted_once() {
    let collective = Collective::new(1, NOW);
    let grant = grant(&collective);
    let mut used = Used::default();
    let admitted = admit(&collective, granted(&collective, &grant), &mut used, NOW).expect("admitted");
    assert_eq!(
        (admitted.mode, admitted.language),
        (Mode::Unrestricted, Language::Terr)
    );
    let again = admit(&collective, granted(&collective, &grant), &mut used, NOW);
    assert!(matches!(again, Err(NotAdmitted::Used)));
    let older = RunGrant {
        fence: 2,
        ..grant.clone()
    };
    assert!(matches!(
        admit(&collective, granted(&collective, &older), &mut used, NOW),
        Err(NotAdmitted::Used)
    ));
    let next = RunGrant { fence: 4, ..grant };
    admit(&collective, granted(&collective, &next), &mut used, NOW).expect("a new claim");
}

#[test]
fn a_grant_for_others_for_another_life_or_another_time_is_not_used() {
    let collective = Collective::new(1, NOW);
    let good = grant(&collective);
    let try_with = |grant: &RunGrant, now| {
        admit(
            &collective,
            granted(&collective, grant),
            &mut Used::default(),
            now,
        )
    };
    let other = RunGrant {
        node: NodeId::new(1, [9; 10]),
        ..good.clone()
    };
    let refused = try_with(&other, NOW).expect_err("another node");
    assert!(matches!(refused, NotAdmitted::OtherNode(_)) && refused.answer() == Answer::Ignore);
    let life = RunGrant {
        boot_nonce: "BBBB".to_owned(),
        ..good.clone()
    };
    let refused = try_with(&life, NOW).expect_err("another life");
    assert!(matches!(refused, NotAdmitted::OtherLife) && refused.answer() == Answer::PutBack);
    for (now, admitted) in [
        (NOW - TOLERANCE_MS, true),
        (NOW - TOLERANCE_MS - 1, false),
        (good.expires + TOLERANCE_MS, true),
        (good.expires + TOLERANCE_MS + 1, false),
    ] {
        assert_eq!(try_with(&good, now).is_ok(), admitted, "{now}");
    }
}

#[test]
fn a_grant_of_another_collective_or_another_kind_of_message_is_not_used() {
    let (collective, stranger) = (Collective::new(1, NOW), Collective::new(2, NOW));
    let grant = grant(&collective);
    let mut foreign = granted(&collective, &grant);
    foreign.grant = stranger.signed(PayloadType::RunGrant, &grant);
    let mut other = granted(&collective, &grant);
    other.grant = collective.signed(PayloadType::Beacon, &grant);
    for refused in [foreign, other] {
        let error = admit(&collective, refused, &mut Used::default(), NOW).expect_err("not signed for this");
        assert!(matches!(error, NotAdmitted::Envelope(_)) && error.answer() == Answer::Ignore);
    }
}

#[test]
fn a_function_that_was_changed_after_the_grant_is_not_run() {
    let collective = Collective::new(1, NOW);
    let edits: [fn(&mut FunctionDefinition); 6] = [
        |definition| definition.script.push(' '),
        |definition| definition.language = "r".to_owned(),
        |definition| definition.inputs.clear(),
        |definition| definition.outputs[0].kind = "value".to_owned(),
        |definition| definition.packages.push("numpy".to_owned()),
        |definition| definition.inputs[0].optional = true,
    ];
    for edit in edits {
        let mut changed = granted(&collective, &grant(&collective));
        edit(&mut changed.definition);
        let error = admit(&collective, changed, &mut Used::default(), NOW).expect_err("changed");
        assert!(matches!(error, NotAdmitted::OtherFunction { .. }), "{error}");
    }
}

#[test]
fn a_grant_that_contradicts_itself_is_not_used() {
    let collective = Collective::new(1, NOW);
    let edits: [fn(&mut RunGrant); 9] = [
        |grant| grant.user = "eve@SPOTFIRE".parse().expect("name"),
        |grant| grant.engine = "r".to_owned(),
        |grant| grant.mode = "free".to_owned(),
        |grant| grant.client = "friend".to_owned(),
        |grant| grant.network = "internet".to_owned(),
        |grant| grant.inputs.clear(),
        |grant| {
            grant.inputs.insert("z".to_owned(), blob());
        },
        |grant| grant.outputs[0].parameter.name = "z".to_owned(),
        |grant| grant.outputs[0].format = "exe".to_owned(),
    ];
    for (index, edit) in edits.into_iter().enumerate() {
        let mut wrong = grant(&collective);
        edit(&mut wrong);
        let error = admit(
            &collective,
            granted(&collective, &wrong),
            &mut Used::default(),
            NOW,
        )
        .expect_err("wrong");
        assert!(matches!(error, NotAdmitted::Inconsistent(_)), "{index}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever single thing is changed after signing, anywhere in the envelope, nothing is admitted, and the real
    /// grant is still good afterwards.
    #[test]
    fn a_grant_that_was_touched_is_not_used(at in any::<prop::sample::Index>(), flip in 1_u8..128) {
        let collective = Collective::new(1, NOW);
        let grant = grant(&collective);
        let good = granted(&collective, &grant);
        let mut text = good.grant.to_string().into_bytes();
        let at = at.index(text.len());
        text[at] ^= flip;
        let mut used = Used::default();
        if let Ok(changed) = serde_json::from_slice::<Value>(&text)
            && changed != good.grant
        {
            let forged = Granted { grant: changed, definition: definition(), arguments: Arguments::new() };
            prop_assert!(admit(&collective, forged, &mut used, NOW).is_err());
        }
        prop_assert!(admit(&collective, good, &mut used, NOW).is_ok());
    }
}

#[test]
fn every_field_of_the_payload_is_under_the_signature() {
    let collective = Collective::new(1, NOW);
    let good = granted(&collective, &grant(&collective));
    let payload: Value = serde_json::to_value(grant(&collective)).expect("JSON");
    for field in payload.as_object().expect("object").keys() {
        let mut changed = payload.clone();
        changed[field] = json!("changed");
        let mut forged = good.clone();
        forged.grant["payload"] = {
            use base64::{Engine as _, engine::general_purpose::STANDARD};
            STANDARD.encode(changed.to_string()).into()
        };
        let error = admit(&collective, forged, &mut Used::default(), NOW).expect_err(field);
        assert!(matches!(error, NotAdmitted::Envelope(_)), "{field}: {error}");
    }
}
