use proptest::{collection::btree_set, option, prelude::*};

use super::*;

const HOSTS: [&str; 5] = [
    "a.example.com:443",
    "*.example.com:443",
    "*.a.example.com:443",
    "b.a.example.com:443",
    "a.example.com:80",
];

fn paths() -> impl Strategy<Value = BTreeSet<HostPath>> {
    let part = prop_oneof![Just("a"), Just("b"), Just("ab")];
    let path = proptest::collection::vec(part, 1..4);
    btree_set(
        path.prop_map(|parts| format!("/{}", parts.join("/")).parse().expect("a path")),
        0..4,
    )
}

fn policies() -> impl Strategy<Value = RunPolicy> {
    let to = btree_set(prop::sample::select(&HOSTS[..]), 1..4).prop_map(|names| {
        names
            .iter()
            .map(|name| name.parse().expect("a destination"))
            .collect()
    });
    let network = prop_oneof![
        Just(NetworkClass::None),
        Just(NetworkClass::Host),
        to.prop_map(|to| NetworkClass::Brokered(widest(to)))
    ];
    let listed = paths().prop_filter("not empty", |paths| !paths.is_empty());
    let programs = prop_oneof![
        Just(ProgramList::All),
        Just(ProgramList::None),
        listed.prop_map(|listed| ProgramList::Listed(outermost(listed)))
    ];
    (paths(), paths(), network, programs, option::of(1..5_u64)).prop_map(
        |(read, write, network, programs, wall)| RunPolicy {
            network,
            programs,
            limits: PolicyLimits {
                wall_seconds: wall,
                ..PolicyLimits::default()
            },
            ..RunPolicy::of_paths(read, write)
        },
    )
}

/// Each thing that one may ask of a policy, and its answer.
fn answers(policy: &RunPolicy) -> Vec<bool> {
    let mut all = vec!["/".to_owned()];
    for _ in 0..4 {
        let deeper = all
            .iter()
            .flat_map(|above| ["a", "b", "ab"].map(|part| format!("{above}{part}/")));
        let deeper: Vec<_> = deeper.collect();
        all.extend(deeper);
        all.sort_unstable();
        all.dedup();
    }
    let paths = all
        .iter()
        .filter_map(|path| path.strip_suffix('/')?.parse::<HostPath>().ok());
    let mut answers = Vec::new();
    for path in paths {
        let within = |set: &BTreeSet<HostPath>| set.iter().any(|above| path.is_within(above));
        answers.push(within(&policy.write));
        answers.push(within(&policy.read) || within(&policy.write));
        answers.push(match &policy.programs {
            ProgramList::All => true,
            ProgramList::None => false,
            ProgramList::Listed(listed) => within(listed),
        });
    }
    for host in [
        "a.example.com:443",
        "x.example.com:443",
        "b.a.example.com:443",
        "a.example.com:80",
        "else:1",
    ] {
        let host: Destination = host.parse().expect("a destination");
        answers.push(match &policy.network {
            NetworkClass::None => false,
            NetworkClass::Host => true,
            NetworkClass::Brokered(to) => to.iter().any(|one| one.holds(&host)),
        });
    }
    answers.extend((1..6).map(|wall| policy.limits.wall_seconds.is_none_or(|most| wall <= most)));
    answers
}

proptest! {
    #[test]
    fn both_allow_exactly_what_each_of_them_allows(one in policies(), two in policies()) {
        let both = one.both(&two);
        let expected: Vec<bool> =
            answers(&one).into_iter().zip(answers(&two)).map(|(one, two)| one && two).collect();
        prop_assert_eq!(answers(&both), expected);
    }

    #[test]
    fn the_order_of_policies_does_not_matter(one in policies(), two in policies(), three in policies()) {
        prop_assert_eq!(one.both(&two), two.both(&one));
        prop_assert_eq!(one.both(&two).both(&three), one.both(&two.both(&three)));
        prop_assert_eq!(&one.both(&one), &one);
        // What was tightened is not loosened by asking again.
        prop_assert_eq!(one.both(&two).both(&two), one.both(&two));
    }

    #[test]
    fn a_policy_is_read_as_it_is_written(policy in policies()) {
        let json = policy.to_json();
        let read = RunPolicy::parse(&json).expect("its own JSON");
        prop_assert_eq!(read.to_json(), json);
        prop_assert_eq!(read.digest(), policy.digest());
        prop_assert_eq!(read, policy);
    }

    #[test]
    fn no_text_breaks_the_reader(text in ".{0,200}") {
        if let Ok(policy) = RunPolicy::parse(&text) {
            prop_assert_eq!(RunPolicy::parse(&policy.to_json()), Ok(policy));
        }
    }
}

#[test]
fn equal_meanings_are_equal_bytes() {
    let wordy = r#" { "write": ["/srv/out"], "read": ["/srv/data/a", "/srv/data", "/srv/out/in"],
        "network": {"to": ["DB.example.com:5432", "[2001:DB8:0::1]:443"], "class": "brokered"}, "programs": [],
        "limits": {"memory_mib": 512} }"#;
    let policy = RunPolicy::parse(wordy).expect("a policy");
    assert_eq!(
        policy.to_json(),
        r#"{"limits":{"memory_mib":512},"network":{"class":"brokered","to":["[2001:db8::1]:443","db.example.com:5432"]},"programs":"none","read":["/srv/data"],"write":["/srv/out"]}"#
    );
    let nothing = RunPolicy::parse("{}").expect("nothing is allowed");
    assert_eq!(
        nothing.to_json(),
        r#"{"limits":{},"network":{"class":"none"},"programs":"none"}"#
    );
}

#[test]
fn what_is_no_policy_is_refused_with_the_cure() {
    let cases = [
        (r#"{"reads": []}"#, "unknown field `reads`"),
        (r#"{"read": ["/"]}"#, "name the folders that runs need"),
        (r#"{"read": ["srv"]}"#, "write it as /srv/data"),
        (r#"{"read": ["/srv/../etc"]}"#, "write it as /srv/data"),
        (r#"{"write": ["/srv/"]}"#, "without a slash at the end"),
        (r#"{"read": ["/proc/1"]}"#, "a jail has its own /proc"),
        (r#"{"write": ["/dev"]}"#, "a jail has its own /dev"),
        (r#"{"read": ["/tmp/x"]}"#, "a jail has its own /tmp"),
        (
            r#"{"read": ["/var/lib"]}"#,
            "/var/lib/muster belongs to the node's agent",
        ),
        (
            r#"{"read": ["/var/lib/muster/node"]}"#,
            "belongs to the node's agent",
        ),
        (
            r#"{"write": ["/etc"]}"#,
            "/etc/muster belongs to the node's agent",
        ),
        (r#"{"network": {"class": "brokered"}}"#, "needs destinations"),
        (
            r#"{"network": {"class": "host", "to": ["a:1"]}}"#,
            "leave them out",
        ),
        (
            r#"{"network": {"class": "brokered", "to": ["a"]}}"#,
            "write it as db.example.com:5432",
        ),
        (
            r#"{"network": {"class": "brokered", "to": ["*.com:0"]}}"#,
            "write it as db.example.com:5432",
        ),
        (
            r#"{"network": {"class": "brokered", "to": ["*:443"]}}"#,
            "write it as db.example.com:5432",
        ),
        (
            r#"{"network": {"class": "brokered", "to": ["*.0.1:443"]}}"#,
            "write it as db.example.com:5432",
        ),
        (r#"{"network": {"class": "all"}}"#, "unknown variant"),
        (
            r#"{"programs": "some"}"#,
            "programs are \"all\", \"none\" or a list",
        ),
        (r#"{"limits": {"wall_seconds": 0}}"#, "above 0"),
        (r#"{"limits": {"wall": 1}}"#, "unknown field `wall`"),
        ("[]", "write it as"),
    ];
    for (text, words) in cases {
        let error = RunPolicy::parse(text).expect_err(text).to_string();
        assert!(error.contains(words), "{text}: {error}");
        assert!(error.contains("write it as"), "{text}: {error}");
    }
    let many: Vec<String> = (0..4000).map(|number| format!("/srv/{number}")).collect();
    let many = serde_json::json!({ "read": many }).to_string();
    assert!(
        RunPolicy::parse(&many)
            .expect_err("many")
            .to_string()
            .contains("more than 32768 bytes")
    );
}
