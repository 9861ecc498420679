//! The stages of a join under random events, with a crash at any step of any write.

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::*;

/// What the process does with its identity.
#[derive(Debug, Clone, Copy)]
enum Act {
    /// An offer came for a hello with this nonce.
    Begin(u8),
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
    /// The certificate is over.
    Renew,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        any::<u8>().prop_map(Act::Begin),
        Just(Act::Reveal),
        Just(Act::Reveal),
        Just(Act::Poll),
        Just(Act::Poll),
        any::<bool>().prop_map(|pinned| Act::Issued { pinned }),
        Just(Act::Confirm),
        Just(Act::Reject),
        Just(Act::Forget),
        Just(Act::Renew),
    ]
}

/// Where `act` leads from `stage`, if it can happen there.
fn after(act: Act, stage: &Stage, member: &Member, offers: &mut u64) -> Option<Stage> {
    let with = |joining: &Joining, exchange: Option<Exchange>| {
        Some(Stage::Joining(Joining {
            exchange,
            ..joining.clone()
        }))
    };
    match (act, stage) {
        (Act::Begin(nonce), Stage::Joining(joining)) => {
            // No two offers are alike.
            *offers += 1;
            let mut made = serde_json::to_value(exchange()).expect("JSON");
            let mut nonce = [nonce; 32];
            nonce[..8].copy_from_slice(&offers.to_be_bytes());
            made["r_n"] = STANDARD.encode(nonce).into();
            made["offer"] = STANDARD.encode(offers.to_be_bytes()).into();
            made["counter"] = 0.into();
            with(joining, serde_json::from_value(made).ok())
        }
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
            Some(if pinned {
                Stage::Trusted(member.clone())
            } else {
                Stage::Unconfirmed(member.clone())
            })
        }
        (Act::Confirm, Stage::Unconfirmed(member)) => Some(Stage::Trusted(member.clone())),
        (Act::Reject, Stage::Joining(_)) => Some(Stage::Rejected(Rejected { reason: None, at: 1 })),
        (Act::Forget, Stage::Joining(joining)) => with(joining, None),
        (Act::Renew, Stage::Trusted(_)) => Some(Stage::Joining(joining())),
        _ => None,
    }
}

/// What a crash at the step `point` of a write leaves on disk.
fn crash(credentials: Credentials, home: &Home, next: &Stage, point: usize) -> Credentials {
    let bytes = form::write(&credentials.key.to_pkcs8().expect("DER"), next, None);
    drop(credentials);
    if file::WRITE_POINTS[point] == "renamed" || file::WRITE_POINTS[point] == "settled" {
        file::write(&home.identity(), &bytes, 0o600, "test").expect("written");
    } else {
        let written = if point == 0 { 0 } else { bytes.len() };
        let unfinished = home.root().join(".identity.json.1.0.muster-new");
        fs::write(&unfinished, &bytes[..written]).expect("written");
    }
    // The next process.
    let lock = home.lock().expect("free");
    let loaded = Credentials::load(home, 0).expect("readable").expect("there");
    drop(lock);
    loaded
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever happens in whatever order, and wherever processes are killed: the disk holds one whole stage, the key
    /// stays, a nonce meets one offer, a poll counter is used once, and trust follows a proof.
    #[test]
    fn no_order_of_events_and_crashes_loses_or_repeats_anything(
        acts in prop::collection::vec((act(), prop::option::weighted(0.4, 0..5_usize)), 0..40),
    ) {
        let (_outer, home) = home();
        let member = member(1);
        let mut credentials = Credentials::create(&home, joining()).expect("made");
        let key = credentials.fingerprint();
        let (mut offers, mut proved) = (0, false);
        let mut offer_of_nonce = std::collections::BTreeMap::new();
        let mut sent = std::collections::BTreeSet::new();
        for (act, killed) in acts {
            let before = credentials.stage().clone();
            let Some(next) = after(act, &before, &member, &mut offers) else { continue };
            if let (Act::Reveal, Stage::Joining(Joining { exchange: Some(made), .. })) = (act, &before) {
                // It goes out before it is noted that it was accepted.
                let offer = offer_of_nonce.entry(made.nonce()).or_insert_with(|| made.offer.clone());
                prop_assert_eq!(&*offer, &made.offer, "one nonce, one offer");
            }
            if let Some(point) = killed {
                credentials = crash(credentials, &home, &next, point);
                let expected = if point < 3 { &before } else { &next };
                prop_assert_eq!(credentials.stage(), expected);
                let left = fs::read_dir(home.root()).expect("read").filter_map(Result::ok);
                let unfinished = left.filter(|entry| entry.file_name().to_string_lossy().contains("muster-new"));
                prop_assert_eq!(unfinished.count(), 0);
            } else {
                credentials.advance(next, "test").expect("stored");
                if let (Act::Poll, Stage::Joining(Joining { exchange: Some(made), .. })) = (act, credentials.stage()) {
                    // It is on disk before it goes out.
                    prop_assert!(sent.insert((made.offer.clone(), made.counter)), "a counter is used once");
                }
            }
            proved = match (credentials.stage(), act) {
                (Stage::Trusted(_), Act::Issued { pinned }) => pinned,
                (Stage::Trusted(_), Act::Confirm) => true,
                (Stage::Trusted(_), _) => proved,
                _ => false,
            };
            prop_assert!(credentials.trusted().is_none() || proved, "trusted without a proof");
            prop_assert_eq!(credentials.fingerprint(), key);
        }
    }
}
