//! Random questions, and worlds around them.

use muster_code_trust::{
    Client, Code, CodeAction, CodeKind, Engine, GroupGraph, ScriptLanguage, Signature, SignatureSource,
    Signed, SignedAction, SignedKind, SignerState, Subject,
};
use proptest::{collection, option, prelude::*, sample::select};

use crate::{
    entries::{entries, groups, library_item, some_hash, user},
    scene::{GROUPS, Scene, USERS, certificate, moment, name, stamp_id},
};

pub(crate) fn signature() -> impl Strategy<Value = Signature> {
    let root = || select(&["internal", "corp-ca"][..]).prop_map(|root| root.parse().expect(root));
    let source = prop_oneof![
        Just(SignatureSource::Vendor),
        (
            root(),
            user(),
            select(SignerState::ALL),
            option::of(select(&["1", "2"][..])),
            0..100_i64
        )
            .prop_map(|(root, user, state, serial, time)| {
                SignatureSource::User {
                    root,
                    user,
                    state,
                    certificate: serial.map(certificate),
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
    let authorities = collection::vec(select(&["1", "2"][..]).prop_map(certificate), 0..2);
    (source, prop::bool::weighted(0.2), authorities).prop_map(|(source, tampered, authorities)| Signature {
        source,
        tampered,
        authorities,
    })
}

pub(crate) fn subject() -> impl Strategy<Value = Subject> {
    let kind = prop_oneof![
        select(ScriptLanguage::ALL).prop_map(CodeKind::Script),
        select(Engine::ALL).prop_map(CodeKind::DataFunction),
        select(Engine::ALL).prop_map(CodeKind::DataFunction),
        Just(CodeKind::CustomQuery)
    ];
    let code = (
        kind,
        option::weighted(0.9, some_hash()),
        option::weighted(0.8, library_item()),
        any::<bool>(),
        select(CodeAction::ALL),
    )
        .prop_map(|(kind, hash, library_item, trusted_by_user, action)| {
            Subject::Code(
                Code {
                    kind,
                    hash,
                    library_item,
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

pub(crate) fn scene() -> impl Strategy<Value = Scene> {
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
