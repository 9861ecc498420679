//! Random entries of the trust state. Small alphabets, so that things meet.

use muster_code_trust::{
    Block, CodeType, Engine, Entry, Feature, Group, ItemHash, ItemRef, ItemType, Label, Principal,
    Revocation, Role, Scope, Setting, SignedKind, SignedRef, Signer, Stamp, StampsCount, Target, TrustEntry,
};
use muster_ids::{NodeId, UserName};
use proptest::{collection, option, prelude::*, sample::select};

use crate::scene::{GROUPS, USERS, certificate, hash, moment, name, stamp_id};

pub(crate) fn user() -> impl Strategy<Value = UserName> {
    select(&USERS[..]).prop_map(|text| text.parse().expect(text))
}

pub(crate) fn some_hash() -> impl Strategy<Value = ItemHash> {
    select(&["h1", "h2", "h3"][..]).prop_map(hash)
}

pub(crate) fn signer() -> impl Strategy<Value = Signer> {
    prop_oneof![
        user().prop_map(Signer::User),
        select(&["1", "2"][..]).prop_map(|serial| Signer::Certificate(certificate(serial)))
    ]
}

pub(crate) fn groups() -> impl Strategy<Value = Vec<Group>> {
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

pub(crate) fn block() -> impl Strategy<Value = Entry> {
    prop_oneof![
        (select(ItemType::ALL), some_hash()).prop_map(|(r#type, hash)| Block::Item(ItemRef { r#type, hash })),
        signer().prop_map(|signer| match signer {
            Signer::User(user) => Block::User(user),
            Signer::Certificate(certificate) => Block::Certificate(certificate),
        })
    ]
    .prop_map(Entry::Block)
}

pub(crate) fn revocation() -> impl Strategy<Value = Entry> {
    (user(), 0..100_i64, option::of(0..100_i64)).prop_map(|(user, from, until)| {
        Entry::Revocation(Revocation {
            user,
            from: moment(from),
            until: until.map(moment),
        })
    })
}

pub(crate) fn stamp() -> impl Strategy<Value = Entry> {
    let made = (some_hash(), user(), 0..100_i64);
    (0..8_u8, select(CodeType::ALL), made, library_item()).prop_map(|(number, kind, made, library_item)| {
        let (hash, author, at) = made;
        Entry::Stamp(Stamp {
            id: stamp_id(number),
            kind,
            hash,
            library_item,
            author,
            at: moment(at),
        })
    })
}

/// One of the few library items that there are.
pub(crate) fn library_item() -> impl Strategy<Value = Label> {
    select(&["F", "G"][..]).prop_map(|item| item.parse().expect("label"))
}

pub(crate) fn trust() -> impl Strategy<Value = Entry> {
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

pub(crate) fn setting() -> impl Strategy<Value = Entry> {
    let engines = collection::btree_set(
        select(&[Engine::PythonService, Engine::RService, Engine::PythonLocal][..]),
        0..3,
    );
    prop_oneof![
        any::<bool>().prop_map(Setting::TerrRestrictedExecutionMode),
        any::<bool>().prop_map(Setting::DisableTrustChecks),
        engines.prop_map(Setting::RestrictedEngines),
        select(StampsCount::ALL).prop_map(Setting::TrustStamps)
    ]
    .prop_map(|setting| Entry::Setting(Scope::All, setting))
}

pub(crate) fn entries() -> impl Strategy<Value = Vec<Entry>> {
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

/// Entries about people, items and places that no scene knows.
pub(crate) fn unrelated() -> impl Strategy<Value = Entry> {
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
