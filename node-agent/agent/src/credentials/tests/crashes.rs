//! The stages of a node under random events, with a crash at any step of any write.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;
use crate::fixture::ready;

/// What the process does with its identity.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// An offer came for a hello with a new nonce.
    Begin,
    /// The nonce is revealed, and that is accepted.
    Reveal,
    /// The answer is asked for.
    Poll,
    /// The certificate came; whether a pin proves who signed it.
    Issued { pinned: bool },
    /// A person compared the fingerprints.
    Confirm,
    /// An administrator said no.
    Reject,
    /// The exchange is given up.
    Forget,
    /// The certificate is over, or its authority was left.
    Rejoin,
    /// The key of a renewal is made.
    MakeKey,
    /// A certificate is asked for with it; the answer gets lost.
    Ask,
    /// A certificate is asked for with it, and came.
    Renewed,
    /// The trust state names other roots.
    Roots(u8),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Begin),
        3 => Just(Act::Reveal),
        3 => Just(Act::Poll),
        3 => any::<bool>().prop_map(|pinned| Act::Issued { pinned }),
        2 => Just(Act::Confirm),
        1 => Just(Act::Reject),
        1 => Just(Act::Forget),
        1 => Just(Act::Rejoin),
        3 => Just(Act::MakeKey),
        2 => Just(Act::Ask),
        3 => Just(Act::Renewed),
        2 => any::<u8>().prop_map(Act::Roots),
    ]
}

/// What happens outside of the node's disk.
#[derive(Default)]
struct World {
    /// Offers that were made, no two of them alike.
    offers: u64,
    /// The generation of the newest certificate.
    generation: u64,
    offer_of_nonce: BTreeMap<[u8; 32], Vec<u8>>,
    counters: BTreeSet<(Vec<u8>, u64)>,
    /// The key that was asked for by the holder of each generation.
    asked: BTreeMap<u64, Digest>,
}

impl World {
    fn member(&self) -> Member {
        member(self.generation)
    }

    fn exchange(&self) -> Exchange {
        let mut made = serde_json::to_value(exchange()).expect("JSON");
        let mut nonce = [7; 32];
        nonce[..8].copy_from_slice(&self.offers.to_be_bytes());
        made["r_n"] = STANDARD.encode(nonce).into();
        made["offer"] = STANDARD.encode(self.offers.to_be_bytes()).into();
        made["counter"] = 0.into();
        serde_json::from_value(made).expect("an exchange")
    }

    /// What goes out before what follows from it is stored.
    fn hear(&mut self, act: Act, credentials: &Credentials) {
        match (act, credentials.stage(), credentials.next()) {
            (Act::Begin, Stage::Joining(_), _) => self.offers += 1,
            (Act::Reveal, Stage::Joining(joining), _) => {
                if let Some(made) = &joining.exchange {
                    let offer = self.offer_of_nonce.entry(made.nonce());
                    let offer = offer.or_insert_with(|| made.offer.clone());
                    assert_eq!(*offer, made.offer, "one nonce, one offer");
                }
            }
            (Act::Issued { .. }, Stage::Joining(_), _) => self.generation += 1,
            (Act::Ask | Act::Renewed, Stage::Trusted(member), Some(next)) => {
                let key = next.key.public_key().fingerprint();
                let asked = self.asked.entry(member.generation).or_insert(key);
                assert_eq!(*asked, key, "one key for one generation");
                self.generation = member.generation + 1;
            }
            _ => {}
        }
    }

    /// `act` where it can happen; `None` where it cannot.
    fn take(&self, act: Act, credentials: &mut Credentials) -> Option<()> {
        let with = |joining: &Joining, exchange: Option<Exchange>| {
            Stage::Joining(Joining {
                exchange,
                ..joining.clone()
            })
        };
        let stage = credentials.stage().clone();
        let next = match (act, &stage) {
            (Act::Begin, Stage::Joining(joining)) => with(joining, Some(self.exchange())),
            (Act::Reveal, Stage::Joining(joining)) => {
                let mut made = joining.exchange.clone()?;
                made.revealed = true;
                with(joining, Some(made))
            }
            (Act::Poll, Stage::Joining(joining)) => {
                let mut made = joining.exchange.clone().filter(|made| made.revealed)?;
                made.counter += 1;
                with(joining, Some(made))
            }
            (Act::Issued { pinned }, Stage::Joining(joining)) => {
                joining.exchange.as_ref().filter(|made| made.revealed)?;
                if pinned {
                    Stage::Trusted(self.member())
                } else {
                    Stage::Unconfirmed(self.member())
                }
            }
            (Act::Confirm, Stage::Unconfirmed(member)) => Stage::Trusted(member.clone()),
            (Act::Reject, Stage::Joining(_)) => Stage::Rejected(Rejected { reason: None, at: 1 }),
            (Act::Forget, Stage::Joining(joining)) => with(joining, None),
            (Act::Rejoin, Stage::Trusted(_)) => Stage::Joining(joining()),
            (Act::MakeKey, Stage::Trusted(_)) => {
                ready(credentials.begin_renewal(7)).expect("stored");
                return Some(());
            }
            (Act::Renewed, Stage::Trusted(member)) => {
                credentials.next()?;
                let renewed = Member {
                    generation: self.generation,
                    ..member.clone()
                };
                credentials.finish_renewal(renewed).expect("stored");
                return Some(());
            }
            (Act::Roots(number), Stage::Trusted(member)) => {
                let other = Member {
                    denied: vec![Digest::of(&[number])],
                    ..member.clone()
                };
                credentials.exchange_roots(other).expect("stored");
                return Some(());
            }
            _ => return None,
        };
        credentials.advance(next, "test").expect("stored");
        Some(())
    }
}

/// Everything that is on disk, to be compared: the key, the stage, and the next key.
type Content = (Digest, Stage, Option<Digest>);

fn content(credentials: &Credentials) -> Content {
    let next = credentials.next().map(|next| next.key.public_key().fingerprint());
    (credentials.fingerprint(), credentials.stage().clone(), next)
}

/// The next process.
fn start(home: &Home) -> Credentials {
    let lock = home.lock().expect("free");
    let loaded = Credentials::load(home, 0).expect("readable").expect("there");
    drop(lock);
    loaded
}

/// What a kill at the step `point` of the write of `after` leaves on disk, and what the next process finds.
fn crash(home: &Home, after: &[u8], point: usize) -> Credentials {
    if point < RENAMED {
        let written = if point == 0 { 0 } else { after.len() };
        let unfinished = home.root().join(".identity.json.1.0.muster-new");
        fs::write(&unfinished, &after[..written]).expect("written");
    } else {
        file::write(&home.identity(), after, 0o600, "test").expect("written");
    }
    start(home)
}

/// From this point of a write on the new content is there.
const RENAMED: usize = 3;

/// Takes `act` in a copy of the folder: the bytes that it leaves, and what they say.
fn tried(home: &Home, world: &World, act: Act) -> Option<(Vec<u8>, Content)> {
    let (_outer, copy) = self::home();
    fs::copy(home.identity(), copy.identity()).expect("copied");
    let mut credentials = start(&copy);
    world.take(act, &mut credentials)?;
    let bytes = fs::read(copy.identity()).expect("read");
    Some((bytes, content(&credentials)))
}

#[test]
fn the_new_content_is_there_from_the_rename_on() {
    assert_eq!(file::WRITE_POINTS[RENAMED], "renamed");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens in whatever order, and wherever processes are killed: the disk holds one whole state, a nonce
    /// meets one offer, a poll counter is used once, a generation is renewed with one key, keys change with the
    /// certificate only, and trust follows a proof.
    #[test]
    fn no_order_of_events_and_crashes_loses_or_repeats_anything(
        is_member: bool,
        acts in prop::collection::vec((act(), prop::option::weighted(0.3, 0..5_usize)), 0..60),
    ) {
        let (_outer, home) = home();
        let mut credentials = Credentials::create(&home, joining()).expect("made");
        let (mut world, mut proved) = (World::default(), is_member);
        if is_member {
            world.generation = 1;
            credentials.advance(Stage::Trusted(world.member()), "test").expect("stored");
        }
        for (act, killed) in acts {
            world.hear(act, &credentials);
            let before = content(&credentials);
            if let Some(point) = killed {
                let Some((bytes, after)) = tried(&home, &world, act) else { continue };
                drop(credentials);
                credentials = crash(&home, &bytes, point);
                let expected = if point < RENAMED { &before } else { &after };
                prop_assert_eq!(&content(&credentials), expected);
                let left = fs::read_dir(home.root()).expect("read").filter_map(Result::ok);
                let unfinished = left.filter(|entry| entry.file_name().to_string_lossy().contains("muster-new"));
                prop_assert_eq!(unfinished.count(), 0);
            } else if world.take(act, &mut credentials).is_some()
                && let (Act::Poll, Stage::Joining(joining)) = (act, credentials.stage())
                && let Some(made) = &joining.exchange
            {
                // It is on disk before it goes out.
                let new = world.counters.insert((made.offer.clone(), made.counter));
                prop_assert!(new, "a counter is used once");
            }
            let after = content(&credentials);
            prop_assert_eq!(&content(&start(&home)), &after, "what is believed is what is on disk");
            proved = match (credentials.stage(), act) {
                (Stage::Trusted(_), Act::Issued { pinned }) => pinned || proved,
                (Stage::Trusted(_), Act::Confirm) => true,
                (Stage::Trusted(_), _) => proved,
                _ => false,
            };
            prop_assert!(credentials.trusted().is_none() || proved, "trusted without a proof");
            let renewed = matches!(act, Act::Renewed) && before.2 == Some(after.0);
            prop_assert!(after.0 == before.0 || renewed, "another key without a certificate");
            if let (Stage::Trusted(old), Stage::Trusted(new)) = (&before.1, &after.1) {
                prop_assert!(new.generation == old.generation + u64::from(after.0 != before.0));
            }
            let trusted = matches!(after.1, Stage::Trusted(_));
            prop_assert!(trusted || after.2.is_none(), "a renewal of nothing");
        }
    }
}
