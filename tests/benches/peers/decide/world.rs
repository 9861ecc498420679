//! A world with a given number of trust entries, and questions about it.
//!
//! Of the entries a half are groups that trust signers, a fifth users that trust items, three in twenty stamps; the rest are
//! blocks and revocations. Of the questions three quarters open mods, one quarter runs data functions; each person is in
//! six groups or more.

use std::collections::BTreeMap;

use muster_code_trust::{
    Block, Client, CodeType, Engine, Entry, Feature, Group, GroupGraph, ItemHash, ItemRef, ItemType, Moment,
    Principal, Question, Revocation, Role, Signature, SignatureSource, Signed, SignedAction, SignedKind,
    SignedRef, Signer, SignerState, Stamp, Subject, Target, TrustEntry, UserFacts,
};
use muster_ids::{Digest, Name, StampId, UserName};

/// Questions asked in turn: many, so that what they need is not in the nearest cache each time.
const QUESTIONS: usize = 4096;
/// People who ask.
pub(super) const ASKING: usize = 64;
/// Groups that people can be in, besides `Everyone`; each of the second half is a member of one of the first.
pub(super) const GROUPS: usize = 40;
/// When everything is signed, and when the revocations begin.
pub(super) const SIGNED_AT: i64 = 1_600_000_000_000;

/// Which kind of entry has this number.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    TrustedSigner,
    TrustedItem,
    Stamp,
    BlockedItem,
    BlockedUser,
    Revocation,
}

pub(super) struct World {
    /// How many entries there are.
    pub(super) size: usize,
    questions: Vec<Question<'static>>,
}

impl World {
    pub(super) fn new(size: usize) -> Self {
        // The questions live as long as the benchmarks.
        let people: &'static [UserFacts] = Vec::leak(people());
        let stamped: BTreeMap<usize, StampId> = (0..size)
            .filter(|at| matches!(kind(*at), Kind::Stamp))
            .map(|at| (at, stamp_id(at)))
            .collect();
        let mut random = Random(7);
        let questions = (0..QUESTIONS)
            .map(|at| {
                let facts = &people[random.below(people.len())];
                let about = random.below(size);
                if at % 4 == 3 {
                    // Half of the functions have a stamp, wherever there are stamps.
                    let about = stamped.range(about..).next().map_or(about, |(at, _)| *at);
                    let (about, known) = if at % 8 == 7 {
                        (about, true)
                    } else {
                        (about + size, false)
                    };
                    let readable = stamped.get(&about).filter(|_| known).copied();
                    let facts: &'static UserFacts = Box::leak(Box::new(facts.clone().reading(readable)));
                    Question::run_function(
                        facts,
                        Client::Web,
                        Engine::PythonService,
                        (item(about), None),
                        now(),
                    )
                } else {
                    open_mod(facts, about, random.below(size))
                }
            })
            .collect();
        Self { size, questions }
    }

    pub(super) fn questions(&self) -> &[Question<'static>] {
        &self.questions
    }

    /// The entries, and the root that they need.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let root = Entry::Root("internal".parse().expect("a label"));
        (0..self.size).map(entry).chain([root])
    }
}

pub(super) fn kind(at: usize) -> Kind {
    match at % 20 {
        0..10 => Kind::TrustedSigner,
        10..14 => Kind::TrustedItem,
        14..17 => Kind::Stamp,
        17 => Kind::BlockedItem,
        18 => Kind::BlockedUser,
        _ => Kind::Revocation,
    }
}

/// A mod of the number `about`, signed by the user of the number `by`.
fn open_mod(facts: &'static UserFacts, about: usize, by: usize) -> Question<'static> {
    let source = SignatureSource::User {
        root: "internal".parse().expect("a label"),
        user: signer(by),
        state: SignerState::Active,
        certificate: None,
        time: Moment::from_unix_ms(SIGNED_AT),
    };
    let signed = Signed {
        kind: SignedKind::VisualizationMod,
        hash: Some(item(about)),
        signature: Some(Signature {
            source,
            tampered: false,
            authorities: Vec::new(),
        }),
    };
    Question {
        user: facts,
        client: Client::Web,
        subject: Subject::Signed(signed, SignedAction::Open),
        now: now(),
    }
}

fn entry(at: usize) -> Entry {
    match kind(at) {
        Kind::TrustedSigner => Entry::Trust(TrustEntry {
            principal: Principal::Group(group(at % GROUPS)),
            target: Target::Signer(Signer::User(signer(at)), Role::Developer),
            expires: None,
        }),
        Kind::TrustedItem => Entry::Trust(TrustEntry {
            principal: Principal::User(person(at % ASKING)),
            target: Target::Item(SignedRef {
                r#type: SignedKind::VisualizationMod,
                hash: item(at),
            }),
            expires: None,
        }),
        Kind::Stamp => Entry::Stamp(Stamp {
            id: stamp_id(at),
            kind: CodeType::DataFunction,
            hash: item(at),
            library_item: format!("function {at}").parse().expect("a label"),
            author: signer(at),
            at: Moment::from_unix_ms(SIGNED_AT),
        }),
        Kind::BlockedItem => Entry::Block(Block::Item(ItemRef {
            r#type: ItemType::VisualizationMod,
            hash: item(at),
        })),
        Kind::BlockedUser => Entry::Block(Block::User(signer(at))),
        Kind::Revocation => Entry::Revocation(Revocation {
            user: signer(at),
            from: Moment::from_unix_ms(SIGNED_AT),
            until: None,
        }),
    }
}

fn people() -> Vec<UserFacts> {
    let everyone = Group {
        name: "Everyone".parse().expect("a name"),
        parents: Vec::new(),
        features: vec![Feature::OpenVisualizationMod],
    };
    let groups = (0..GROUPS).map(|at| Group {
        name: group(at),
        parents: (at >= GROUPS / 2)
            .then(|| group(at - GROUPS / 2))
            .into_iter()
            .collect(),
        features: vec![Feature::ALL[at % Feature::ALL.len()]],
    });
    let graph = GroupGraph::new(groups.chain([everyone]));
    let mut random = Random(3);
    (0..ASKING)
        .map(|at| {
            let direct: Vec<Name> = (0..4).map(|_| group(random.below(GROUPS))).collect();
            graph.facts(person(at), &direct)
        })
        .collect()
}

fn now() -> Moment {
    Moment::from_unix_ms(SIGNED_AT + 1)
}

pub(super) fn group(at: usize) -> Name {
    format!("Department {at}").parse().expect("a name")
}

pub(super) fn person(at: usize) -> UserName {
    format!("person{at}@SPOTFIRE").parse().expect("a user")
}

pub(super) fn signer(at: usize) -> UserName {
    format!("developer{at}@SPOTFIRE").parse().expect("a user")
}

pub(super) fn item(at: usize) -> ItemHash {
    Digest::of(&at.to_be_bytes()).into()
}

fn stamp_id(at: usize) -> StampId {
    let number = u64::try_from(at).expect("a small number").to_be_bytes();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number);
    StampId::new(1, random)
}

/// The same numbers each time: Knuth's generator for 64 bits.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % bound
    }
}
