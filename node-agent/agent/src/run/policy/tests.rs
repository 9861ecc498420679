use muster_code_trust::{Entry, Scope, Setting};
use muster_ids::{FunctionId, NodeId};
use muster_wire::node::v1::run::GrantPolicy;

use super::*;
use crate::run::admit::tests::admitted;

fn policy(json: &str) -> RunPolicy {
    RunPolicy::parse(json).expect("a policy")
}

/// As node.toml says it.
fn config(unrestricted: &str) -> Config {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("node.toml");
    std::fs::write(&file, format!("[unrestricted]\n{unrestricted}")).expect("written");
    Config::load(&file, true, []).expect("a configuration")
}

/// What is in force where the setting, the function's policy and the grant say this.
fn decided(here: Option<&str>, function: Option<&str>, granted: Option<&str>, unrestricted: &str) -> InForce {
    let node = NodeId::new(1, [9; 10]);
    let setting = here.map(|json| {
        Entry::Setting(
            Scope::Node(node),
            Setting::UnrestrictedPolicy(Some(Box::new(policy(json)))),
        )
    });
    let function = function.map(|json| Entry::Policy(FunctionId::new(1, [1; 10]), policy(json)));
    // Elsewhere holds what is wider.
    let wide = policy(r#"{"read": ["/srv"], "network": {"class": "host"}, "programs": "all"}"#);
    let all = here.map(|_| Entry::Setting(Scope::All, Setting::UnrestrictedPolicy(Some(Box::new(wide)))));
    let state = TrustState::from_entries(setting.into_iter().chain(function).chain(all));
    let place = Place {
        node: Some((node, "terr01".parse().expect("name"))),
        ..Place::default()
    };
    let config = config(unrestricted);
    let own = Arc::new(crate::engines::own_policy(&config));
    let admitted = admitted(granted.map(|json| {
        let policy = policy(json);
        GrantPolicy {
            digest: policy.digest(),
            policy: serde_json::to_value(&policy).expect("JSON"),
        }
    }));
    in_force(&admitted, &state, &place, &config, &own)
}

const FILE: &str = "readable = [\"/srv/file:/data\", \"/srv/data\"]\nwritable = [\"/srv/out\"]\n";

#[test]
fn where_nobody_set_a_policy_the_nodes_file_is_it() {
    let InForce { policy, digest } = decided(None, None, None, FILE);
    assert_eq!((policy.shown.len(), digest), (3, None));
    assert_eq!((&policy.programs, policy.read.len()), (&Programs::All, 0));
}

#[test]
fn a_policy_takes_the_place_of_the_nodes_file() {
    let set = r#"{"read": ["/srv/data"], "programs": ["/usr/bin/git"], "limits": {"memory_mib": 64}}"#;
    for (here, function, granted) in [
        (Some(set), None, None),
        (None, Some(set), None),
        (None, None, Some(set)),
        (Some(set), Some(set), Some(set)),
    ] {
        let InForce {
            policy: found,
            digest,
        } = decided(here, function, granted, FILE);
        assert_eq!(digest, Some(policy(set).digest()));
        assert_eq!(found.read, ["/srv/data"].map(std::path::PathBuf::from));
        assert!(found.shown.is_empty() && found.write.is_empty());
        assert_eq!(found.network, NetworkPolicy::None);
        assert_eq!(found.programs, Programs::Listed(["/usr/bin/git".into()].into()));
        let limits = found.limits.expect("limits");
        assert_eq!((limits.memory_bytes, limits.wall_ms), (64 << 20, u64::MAX));
    }
}

#[test]
fn a_run_gets_what_grant_node_and_function_all_allow() {
    let here =
        r#"{"read": ["/srv/data"], "write": ["/srv/out"], "network": {"class": "host"}, "programs": "all"}"#;
    let function = r#"{"read": ["/srv/data/a", "/srv/out", "/home"], "network": {"class": "brokered",
        "to": ["a.example.com:443", "b.example.com:443"]}, "programs": "all", "limits": {"processes": 4}}"#;
    let granted = r#"{"read": ["/srv"], "network": {"class": "brokered", "to": ["*.example.com:443", "c:1"]},
        "programs": ["/usr/bin"], "limits": {"processes": 8}}"#;
    let InForce { policy, .. } = decided(Some(here), Some(function), Some(granted), "");
    assert_eq!(
        policy.read,
        ["/srv/data/a", "/srv/out"].map(std::path::PathBuf::from)
    );
    assert!(policy.write.is_empty());
    let to = |host: &str| Destination {
        host: host.to_owned(),
        port: 443,
    };
    assert_eq!(
        policy.network,
        NetworkPolicy::Brokered([to("a.example.com"), to("b.example.com")].into())
    );
    assert_eq!(policy.programs, Programs::Listed(["/usr/bin".into()].into()));
    assert_eq!(policy.limits.expect("limits").processes, 4);
}

#[test]
fn the_nodes_file_narrows_a_policy_only_where_it_says_so() {
    let set = r#"{"read": ["/srv"], "write": ["/srv/out/a", "/home"], "network": {"class": "host"}, "programs": "all"}"#;
    let wide = decided(Some(set), None, None, FILE).policy;
    assert_eq!(wide.network, NetworkPolicy::Host);
    let narrow = decided(Some(set), None, None, &format!("{FILE}at_most = true\n")).policy;
    assert_eq!(narrow.network, NetworkPolicy::None);
    assert_eq!(narrow.write, ["/srv/out/a"].map(std::path::PathBuf::from));
    assert_eq!(
        narrow.read,
        ["/srv/data", "/srv/file", "/srv/out"].map(std::path::PathBuf::from)
    );
}

#[test]
fn no_policy_shows_a_folder_that_a_jail_makes_itself() {
    for own in muster_engines::JAILS_OWN {
        let json = serde_json::json!({ "read": [own] }).to_string();
        assert!(RunPolicy::parse(&json).is_err(), "{own}");
    }
}
