//! What holds for every world: who may run what never depends on order or place, and restrictions only restrict.

use std::collections::BTreeSet;

use muster_code_trust::{
    Block, Certificate, Change, Client, Code, CodeAction, CodeKind, CodeType, Engine, Entry, Feature, Group,
    GroupGraph, ItemHash, ItemRef, ItemType, Moment, Outcome, Place, Principal, Question, Revocation, Role,
    Scope, ScriptLanguage, Setting, Signature, SignatureSource, Signed, SignedAction, SignedKind, SignedRef,
    Signer, SignerState, Stamp, Subject, Target, TrustEntry, TrustState, UserFacts, Verdict, decide,
    stricter,
};
use muster_ids::{Name, NodeId, StampId, UserName};
use proptest::{collection, option, prelude::*, sample::select};

const GROUPS: [&str; 6] = ["Everyone", "Script Author", "Custom Query Author", "A", "B", "C"];
const USERS: [&str; 3] = ["ann@SPOTFIRE", "bob@SPOTFIRE", "eve@SPOTFIRE"];

/// A world and a question about it. Small alphabets, so that things meet.
#[derive(Debug, Clone)]
struct Scene {
    groups: Vec<Group>,
    direct: Vec<Name>,
    entries: Vec<Entry>,
    readable: BTreeSet<StampId>,
    relaxed: bool,
    client: Client,
    subject: Subject,
}

impl Scene {
    fn facts(&self) -> UserFacts {
        let graph = GroupGraph::new(self.groups.clone());
        let mut facts = graph
            .facts(USERS[0].parse().expect("user"), &self.direct)
            .reading(self.readable.iter().copied());
        facts.accepts_invalid_signatures = self.relaxed;
        facts
    }

    fn state(&self) -> TrustState {
        TrustState::from_entries(self.entries.clone())
    }

    fn verdict(&self) -> Verdict {
        self.decide_with(&self.facts(), &self.state())
    }

    fn decide_with(&self, facts: &UserFacts, state: &TrustState) -> Verdict {
        let (client, subject) = (self.client, self.subject.clone());
        let question = Question {
            user: facts,
            client,
            subject,
            now: moment(50),
        };
        decide(&question, state, &state.settings_at(&Place::default()))
    }

    fn with(&self, entry: Entry) -> Self {
        let mut other = self.clone();
        other.entries.push(entry);
        other
    }

    /// Whether one of the documented reasons to run a service unrestricted is there, read off the entries themselves.
    fn vouched_for(&self) -> bool {
        let Subject::Code(code, _) = &self.subject else {
            return false;
        };
        let stamped = self.entries.iter().any(|entry| {
            matches!(entry, Entry::Stamp(stamp) if Some(&stamp.hash) == code.hash.as_ref()
                && stamp.kind == CodeType::DataFunction && self.readable.contains(&stamp.id))
        });
        stamped || self.reaches_script_author() || self.setting(&Setting::DisableTrustChecks(true))
    }

    /// By following parents one by one, as often as there are groups.
    fn reaches_script_author(&self) -> bool {
        let mut member: BTreeSet<String> = self.direct.iter().map(Name::key).collect();
        member.insert("everyone".to_owned());
        for _ in &GROUPS {
            for group in &self.groups {
                if member.contains(&group.name.key()) {
                    member.extend(group.parents.iter().map(Name::key));
                }
            }
        }
        member.contains("script author")
    }

    /// Whether the last entry that sets this for all says so.
    fn setting(&self, wanted: &Setting) -> bool {
        let last = self.entries.iter().rev().find_map(|entry| match entry {
            Entry::Setting(Scope::All, setting) if setting.name() == wanted.name() => Some(setting),
            _ => None,
        });
        last == Some(wanted)
    }
}

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn hash(text: &str) -> ItemHash {
    text.parse().expect(text)
}

fn moment(at: i64) -> Moment {
    Moment::from_unix_ms(at)
}

fn stamp_id(number: u8) -> StampId {
    StampId::new(i64::from(number), [number; 10])
}

fn certificate(serial: &str) -> Certificate {
    Certificate {
        issuer: "CN=Corp CA".parse().expect("issuer"),
        serial: serial.parse().expect("serial"),
    }
}

fn user() -> impl Strategy<Value = UserName> {
    select(&USERS[..]).prop_map(|text| text.parse().expect(text))
}

fn some_hash() -> impl Strategy<Value = ItemHash> {
    select(&["h1", "h2", "h3"][..]).prop_map(hash)
}

fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![
        user().prop_map(Signer::User),
        select(&["1", "2"][..]).prop_map(|serial| Signer::Certificate(certificate(serial)))
    ]
}

fn groups() -> impl Strategy<Value = Vec<Group>> {
    let parents = collection::vec(select(&GROUPS[..]).prop_map(name), 0..3);
    let group = (
        select(&GROUPS[..]).prop_map(name),
        parents,
        collection::vec(select(Feature::ALL), 0..4),
    )
        .prop_map(|(name, parents, features)| Group {
            name,
            parents,
            features,
        });
    collection::vec(group, 0..6)
}

fn block() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (select(ItemType::ALL), some_hash()).prop_map(|(r#type, hash)| Block::Item(ItemRef { r#type, hash })),
        signer().prop_map(|signer| match signer {
            Signer::User(user) => Block::User(user),
            Signer::Certificate(certificate) => Block::Certificate(certificate),
        })
    ]
    .prop_map(Entry::Block)
}

fn revocation() -> impl Strategy<Value = Entry> {
    (user(), 0..100_i64, option::of(0..100_i64)).prop_map(|(user, from, until)| {
        Entry::Revocation(Revocation {
            user,
            from: moment(from),
            until: until.map(moment),
        })
    })
}

fn stamp() -> impl Strategy<Value = Entry> {
    (0..8_u8, select(CodeType::ALL), some_hash(), user()).prop_map(|(number, kind, hash, author)| {
        let library_item = "F".parse().expect("label");
        Entry::Stamp(Stamp {
            id: stamp_id(number),
            kind,
            hash,
            library_item,
            author,
            at: moment(1),
        })
    })
}

fn trust() -> impl Strategy<Value = Entry> {
    let principal = prop_oneof![
        user().prop_map(Principal::User),
        select(&GROUPS[..]).prop_map(|text| Principal::Group(name(text)))
    ];
    let target = prop_oneof![
        (signer(), select(Role::ALL)).prop_map(|(signer, role)| Target::Signer(signer, role)),
        (select(SignedKind::ALL), some_hash())
            .prop_map(|(r#type, hash)| Target::Item(SignedRef { r#type, hash }))
    ];
    (principal, target, option::of(0..100_i64)).prop_map(|(principal, target, expires)| {
        Entry::Trust(TrustEntry {
            principal,
            target,
            expires: expires.map(moment),
        })
    })
}

fn setting() -> impl Strategy<Value = Entry> {
    let engines = collection::btree_set(
        select(&[Engine::PythonService, Engine::RService, Engine::PythonLocal][..]),
        0..3,
    );
    prop_oneof![
        any::<bool>().prop_map(Setting::TerrRestrictedExecutionMode),
        any::<bool>().prop_map(Setting::DisableTrustChecks),
        engines.prop_map(Setting::RestrictedEngines)
    ]
    .prop_map(|setting| Entry::Setting(Scope::All, setting))
}

fn entries() -> impl Strategy<Value = Vec<Entry>> {
    let root = select(&["internal", "corp-ca"][..]).prop_map(|root| Entry::Root(root.parse().expect(root)));
    collection::vec(
        prop_oneof![
            block(),
            revocation(),
            stamp(),
            stamp(),
            trust(),
            trust(),
            setting(),
            root
        ],
        0..20,
    )
}

fn signature() -> impl Strategy<Value = Signature> {
    let root = || select(&["internal", "corp-ca"][..]).prop_map(|root| root.parse().expect(root));
    let source = prop_oneof![
        Just(SignatureSource::Vendor),
        (root(), user(), select(SignerState::ALL), 0..100_i64).prop_map(|(root, user, state, time)| {
            SignatureSource::User {
                root,
                user,
                state,
                time: moment(time),
            }
        }),
        (root(), select(&["1", "2"][..]), 0..100_i64).prop_map(|(root, serial, time)| {
            SignatureSource::External {
                root,
                certificate: certificate(serial),
                time: moment(time),
            }
        })
    ];
    (source, prop::bool::weighted(0.2)).prop_map(|(source, tampered)| Signature { source, tampered })
}

fn subject() -> impl Strategy<Value = Subject> {
    let kind = prop_oneof![
        select(ScriptLanguage::ALL).prop_map(CodeKind::Script),
        select(Engine::ALL).prop_map(CodeKind::DataFunction),
        select(Engine::ALL).prop_map(CodeKind::DataFunction),
        Just(CodeKind::CustomQuery)
    ];
    let code = (
        kind,
        option::weighted(0.9, some_hash()),
        any::<bool>(),
        select(CodeAction::ALL),
    )
        .prop_map(|(kind, hash, trusted_by_user, action)| {
            Subject::Code(
                Code {
                    kind,
                    hash,
                    trusted_by_user,
                },
                action,
            )
        });
    let signed = (
        select(SignedKind::ALL),
        option::weighted(0.9, some_hash()),
        option::weighted(0.8, signature()),
        select(SignedAction::ALL),
    )
        .prop_map(|(kind, hash, signature, action)| {
            Subject::Signed(
                Signed {
                    kind,
                    hash,
                    signature,
                },
                action,
            )
        });
    let job = (
        option::of(some_hash()),
        groups(),
        collection::vec(select(&GROUPS[..]).prop_map(name), 0..2),
    )
        .prop_map(|(hash, groups, direct)| {
            let account = USERS[1].parse().expect("user");
            Subject::JobScript {
                hash,
                executing: Box::new(GroupGraph::new(groups).facts(account, &direct)),
            }
        });
    prop_oneof![4 => code, 4 => signed, 1 => job]
}

fn scene() -> impl Strategy<Value = Scene> {
    (
        groups(),
        collection::vec(select(&GROUPS[..]).prop_map(name), 0..3),
        entries(),
        collection::btree_set((0..8_u8).prop_map(stamp_id), 0..6),
        any::<bool>(),
        select(Client::ALL),
        subject(),
    )
        .prop_map(
            |(groups, direct, entries, readable, relaxed, client, subject)| Scene {
                groups,
                direct,
                entries,
                readable,
                relaxed,
                client,
                subject,
            },
        )
}

/// Entries about people, items and places that no scene knows.
fn unrelated() -> impl Strategy<Value = Entry> {
    let zed: UserName = "zed@ELSEWHERE".parse().expect("user");
    let elsewhere = Scope::Node(NodeId::new(1, [1; 10]));
    select(vec![
        Entry::Stamp(Stamp {
            id: stamp_id(99),
            kind: CodeType::DataFunction,
            hash: hash("other"),
            library_item: "G".parse().expect("label"),
            author: zed.clone(),
            at: moment(1),
        }),
        Entry::Block(Block::Item(ItemRef {
            r#type: ItemType::DataFunction,
            hash: hash("other"),
        })),
        Entry::Block(Block::User(zed.clone())),
        Entry::Block(Block::Certificate(certificate("99"))),
        Entry::Trust(TrustEntry {
            principal: Principal::User(zed.clone()),
            target: Target::Item(SignedRef {
                r#type: SignedKind::ActionMod,
                hash: hash("h1"),
            }),
            expires: None,
        }),
        Entry::Trust(TrustEntry {
            principal: Principal::Group(name("Elsewhere")),
            target: Target::Signer(Signer::User(USERS[1].parse().expect("user")), Role::Developer),
            expires: None,
        }),
        Entry::Revocation(Revocation {
            user: zed,
            from: moment(0),
            until: None,
        }),
        Entry::Root("elsewhere".parse().expect("label")),
        Entry::Setting(elsewhere, Setting::DisableTrustChecks(true)),
        Entry::Setting(elsewhere, Setting::TerrRestrictedExecutionMode(false)),
    ])
}

/// Whether `after` is at least as strict as `before`.
fn no_wider(before: &Verdict, after: &Verdict) -> bool {
    stricter(after.clone(), before.clone()) == *after
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_unrelated_entry_changes_nothing(scene in scene(), entry in unrelated()) {
        prop_assert_eq!(scene.verdict(), scene.with(entry).verdict());
    }

    #[test]
    fn a_block_or_revocation_never_widens(scene in scene(), entry in prop_oneof![block(), revocation()]) {
        let (before, after) = (scene.verdict(), scene.with(entry).verdict());
        prop_assert!(no_wider(&before, &after), "{:?} became {:?}", before, after);
    }

    #[test]
    fn losing_a_stamp_a_reader_or_a_trust_entry_never_widens(scene in scene(), at in any::<prop::sample::Index>()) {
        let before = scene.verdict();
        let mut without = scene.clone();
        without.readable = scene.readable.iter().skip(1).copied().collect();
        prop_assert!(no_wider(&before, &without.verdict()));
        let loosening: Vec<usize> = (0..scene.entries.len())
            .filter(|at| matches!(scene.entries[*at], Entry::Stamp(_) | Entry::Trust(_) | Entry::Root(_)))
            .collect();
        if !loosening.is_empty() {
            // Every entry with its key, so that no earlier one of that key comes back.
            let gone = scene.entries[loosening[at.index(loosening.len())]].key();
            let mut without = scene.clone();
            without.entries.retain(|entry| entry.key() != gone);
            let after = without.verdict();
            prop_assert!(no_wider(&before, &after), "{:?} became {:?}", before, after);
        }
    }

    #[test]
    fn no_service_runs_unrestricted_without_a_documented_reason(
        mut scene in scene(),
        engine in select(&[Engine::TerrService, Engine::RService, Engine::PythonService, Engine::TerrInline][..]),
        code_hash in some_hash(),
        trusted_by_user in any::<bool>(),
    ) {
        let kind = CodeKind::DataFunction(engine);
        scene.subject = Subject::Code(Code { kind, hash: Some(code_hash.clone()), trusted_by_user }, CodeAction::Run);
        // One entry a key, the last, as the state has it.
        let mut keys = BTreeSet::new();
        scene.entries.reverse();
        scene.entries.retain(|entry| keys.insert(entry.key()));
        let blocked = keys.contains(&format!("block/item/data_function/{code_hash}"));
        let allowed = !blocked && scene.vouched_for() && match engine {
            Engine::TerrService => scene.setting(&Setting::TerrRestrictedExecutionMode(false)),
            Engine::TerrInline => false,
            _ => true,
        };
        prop_assert_eq!(scene.verdict().outcome == Outcome::Allow, allowed, "{:?}", scene.verdict());
    }

    #[test]
    fn server_and_node_agree_where_their_states_agree(scene in scene()) {
        let (facts, server) = (scene.facts(), scene.state());
        let granted: UserFacts =
            serde_json::from_str(&serde_json::to_string(&facts).expect("json")).expect("facts of the grant");
        let pairs = server.pairs().map(|(key, value)| (key.to_owned(), value.to_owned()));
        let node = TrustState::from_pairs(pairs).expect("the state as it was sent");
        prop_assert_eq!(node.digest(), server.digest());
        prop_assert_eq!(scene.decide_with(&facts, &server), scene.decide_with(&granted, &node));
    }

    #[test]
    fn the_order_of_lists_does_not_matter(
        (scene, shuffled) in scene().prop_flat_map(|mut scene| {
            let mut keys = BTreeSet::new();
            scene.entries.retain(|entry| keys.insert(entry.key()));
            let (groups, entries) = (scene.groups.clone(), scene.entries.clone());
            let shuffled = (Just(groups).prop_shuffle(), Just(scene.direct.clone()).prop_shuffle(),
                Just(entries).prop_shuffle());
            let base = scene.clone();
            (Just(scene), shuffled.prop_map(move |(groups, direct, entries)| {
                Scene { groups, direct, entries, ..base.clone() }
            }))
        })
    ) {
        prop_assert_eq!(scene.facts(), shuffled.facts());
        prop_assert_eq!(scene.state().digest(), shuffled.state().digest());
        prop_assert_eq!(scene.verdict(), shuffled.verdict());
    }

    #[test]
    fn applying_changes_equals_building_from_scratch(
        before in entries(),
        steps in collection::vec((entries(), any::<prop::sample::Index>()), 0..6),
        scene in scene(),
    ) {
        let before = TrustState::from_entries(before);
        let mut map: std::collections::BTreeMap<String, String> =
            before.pairs().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        let mut changes = Vec::new();
        for (number, (put, gone)) in (1..).zip(steps) {
            if !map.is_empty() {
                let key = map.keys().nth(gone.index(map.len())).expect("within").clone();
                map.remove(&key);
                changes.push(Change { number, key, value: None });
            }
            for entry in put {
                map.insert(entry.key(), entry.value());
                changes.push(Change { number, key: entry.key(), value: Some(entry.value()) });
            }
        }
        let scratch = TrustState::from_pairs(map).expect("entries");
        let applied = before.apply(&changes, &scratch.digest()).expect("the same state");
        prop_assert!(applied.pairs().eq(scratch.pairs()));
        // The index must agree, too.
        let facts = scene.facts();
        prop_assert_eq!(scene.decide_with(&facts, &applied), scene.decide_with(&facts, &scratch));
    }

    #[test]
    fn any_change_of_the_entries_changes_the_digest(a in entries(), b in entries()) {
        let (a, b) = (TrustState::from_entries(a), TrustState::from_entries(b));
        prop_assert_eq!(a.pairs().eq(b.pairs()), a.digest() == b.digest());
    }
}
