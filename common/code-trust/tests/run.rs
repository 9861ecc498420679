//! A data function's run as control plane and node decide it, one after the other.

use muster_code_trust::{
    Block, Change, Client, CodeType, DenyReason, Engine, Entry, Group, GroupGraph, ItemHash, ItemRef,
    ItemType, Label, Mode, Moment, Outcome, Place, Question, Revocation, Scope, Setting, Stamp, StampsCount,
    TrustState, UserFacts, Verdict, decide, stricter,
};
use muster_ids::{Digest, Name, NodeId, StampId};

fn name(text: &str) -> Name {
    text.parse().expect(text)
}

fn now() -> Moment {
    Moment::from_unix_ms(1_700_000_000_000)
}

fn node() -> NodeId {
    NodeId::new(1, [7; 10])
}

fn place() -> Place {
    Place {
        node: Some((node(), name("terr01"))),
        ..Place::default()
    }
}

fn content() -> ItemHash {
    Digest::of(b"script").into()
}

/// Where the function lies.
fn library_item() -> Option<Label> {
    "smooth".parse().ok()
}

fn stamp() -> Stamp {
    Stamp {
        id: StampId::new(1, [1; 10]),
        kind: CodeType::DataFunction,
        hash: content(),
        library_item: "smooth".parse().expect("label"),
        author: "ann@SPOTFIRE".parse().expect("user"),
        at: now(),
    }
}

/// Restricted mode is off on the node, and the content is stamped.
fn entries() -> Vec<Entry> {
    vec![
        Entry::Setting(Scope::Node(node()), Setting::TerrRestrictedExecutionMode(false)),
        Entry::Stamp(stamp()),
    ]
}

fn analyst() -> UserFacts {
    let group = Group {
        name: name("Analysts"),
        parents: Vec::new(),
        features: Vec::new(),
    };
    GroupGraph::new([group]).facts("bob@SPOTFIRE".parse().expect("user"), [&name("Analysts")])
}

/// The facts that a grant carries: with the stamps of this content that the user can read.
fn granted(state: &TrustState) -> UserFacts {
    let stamps: Vec<StampId> = state
        .stamps_of(CodeType::DataFunction, &content())
        .map(|stamp| stamp.id)
        .collect();
    analyst().reading(stamps)
}

fn run(facts: &UserFacts, state: &TrustState, engine: Engine) -> Verdict {
    let question = Question::run_function(facts, Client::Web, engine, (content(), library_item()), now());
    decide(&question, state, &state.settings_at(&place())).verdict()
}

#[test]
fn a_stamp_lets_an_analyst_run_terr_unrestricted_where_the_mode_is_off() {
    let state = TrustState::from_entries(entries());
    let verdict = run(&granted(&state), &state, Engine::TerrService);
    assert_eq!(
        (verdict.outcome.mode(), verdict.rule),
        (Some(Mode::Unrestricted), "stamped")
    );
    assert_eq!(verdict.entry, Some(format!("stamp/{}", stamp().id)));
    assert_eq!(
        verdict.reasons,
        ["This content is trusted through the library item smooth, which bob@SPOTFIRE can read."]
    );
}

#[test]
fn elsewhere_the_default_holds_and_says_so() {
    let state = TrustState::from_entries(entries());
    let facts = granted(&state);
    let question = Question::run_function(
        &facts,
        Client::Web,
        Engine::TerrService,
        (content(), library_item()),
        now(),
    );
    let settings = state.settings_at(&Place::default());
    let verdict = decide(&question, &state, &settings).verdict();
    assert_eq!(
        (verdict.outcome, verdict.rule),
        (Outcome::Restricted, "terr-restricted-mode")
    );
    assert_eq!(
        verdict.entry.as_deref(),
        Some("setting terr.restricted.execution.mode by default")
    );
}

#[test]
fn an_author_of_a_subgroup_is_explained_by_the_path() {
    let parents = vec![name("Script Author")];
    let group = Group {
        name: name("Analysts"),
        parents,
        features: Vec::new(),
    };
    let facts = GroupGraph::new([group]).facts("bob@SPOTFIRE".parse().expect("user"), [&name("Analysts")]);
    let verdict = run(&facts, &TrustState::default(), Engine::RService);
    assert_eq!((verdict.outcome, verdict.rule), (Outcome::Allow, "script-author"));
    assert_eq!(verdict.group_path, [name("Analysts"), name("Script Author")]);
}

#[test]
fn a_stamp_that_the_node_no_longer_has_does_not_count_there() {
    let server = TrustState::from_entries(entries());
    let facts = granted(&server);
    let node = TrustState::from_entries(entries().into_iter().take(1));
    let by_server = run(&facts, &server, Engine::TerrService);
    let by_node = run(&facts, &node, Engine::TerrService);
    assert_eq!(
        (by_server.outcome, by_node.outcome),
        (Outcome::Allow, Outcome::Restricted)
    );
    assert_eq!(
        stricter(by_server, by_node).outcome.mode(),
        Some(Mode::Restricted)
    );
    assert_eq!(
        run(&facts, &node, Engine::PythonService).outcome,
        Outcome::Deny {
            reason: DenyReason::EngineRefused
        }
    );
}

#[test]
fn a_stamp_that_the_grant_does_not_name_does_not_count() {
    let state = TrustState::from_entries(entries());
    assert_eq!(
        run(&analyst(), &state, Engine::RService).rule,
        "service-refuses-untrusted"
    );
}

#[test]
fn a_named_stamp_for_another_content_or_kind_does_not_count() {
    let facts = analyst().reading([stamp().id]);
    for other in [
        Stamp {
            hash: Digest::of(b"script, one byte changed").into(),
            ..stamp()
        },
        Stamp {
            kind: CodeType::Script,
            ..stamp()
        },
    ] {
        let state = TrustState::from_entries([Entry::Stamp(other)]);
        assert_eq!(
            run(&facts, &state, Engine::RService).rule,
            "service-refuses-untrusted"
        );
    }
}

#[test]
fn a_block_that_reaches_the_node_after_the_grant_stops_the_run() {
    let server = TrustState::from_entries(entries());
    let block = Entry::Block(Block::Item(ItemRef {
        r#type: ItemType::DataFunction,
        hash: content(),
    }));
    let signed = TrustState::from_entries(entries().into_iter().chain([block.clone()])).digest();
    let change = Change {
        number: 3,
        key: block.key(),
        value: Some(block.value()),
    };
    let node = server.apply(&[change], &signed).expect("the signed state");
    let verdict = run(&granted(&server), &node, Engine::TerrService);
    assert_eq!(
        verdict.outcome,
        Outcome::Deny {
            reason: DenyReason::BlockedItem
        }
    );
    assert_eq!(verdict.entry, Some(block.key()));
}

/// The rule of what comes of the run of content that lies in `library_item`, with these entries besides.
fn run_of(library_item: &str, besides: impl IntoIterator<Item = Entry>) -> &'static str {
    verdict_of(library_item, besides).rule
}

fn verdict_of(library_item: &str, besides: impl IntoIterator<Item = Entry>) -> Verdict {
    let state = TrustState::from_entries(entries().into_iter().chain(besides));
    let facts = granted(&state);
    let content = (content(), library_item.parse().ok());
    let question = Question::run_function(&facts, Client::Web, Engine::RService, content, now());
    decide(&question, &state, &state.settings_at(&place())).verdict()
}

#[test]
fn where_stamps_count_on_their_own_item_only_those_on_others_do_not() {
    let strict = || Entry::Setting(Scope::All, Setting::TrustStamps(StampsCount::SameItem));
    assert_eq!(run_of("smooth", []), "stamped");
    assert_eq!(run_of("twin", []), "stamped", "readable is enough");
    assert_eq!(run_of("smooth", [strict()]), "stamped");
    assert_eq!(run_of("twin", [strict()]), "service-refuses-untrusted");
}

#[test]
fn why_a_stamp_that_is_there_does_not_count_is_said() {
    let author = stamp().author;
    let (block, made) = (Entry::Block(Block::User(author.clone())), stamp().at);
    let revoked = Entry::Revocation(Revocation {
        user: author.clone(),
        from: made,
        until: None,
    });
    let strict = Entry::Setting(Scope::All, Setting::TrustStamps(StampsCount::SameItem));
    let place = &stamp().library_item;
    for (item, entry, wanted) in [
        (
            "smooth",
            block,
            format!("The stamp of {author} on the library item {place} does not count: {author} is blocked."),
        ),
        (
            "smooth",
            revoked,
            format!(
                "The stamp of {author} on the library item {place} does not count: what {author} vouches for is revoked from {made} on."
            ),
        ),
        (
            "twin",
            strict,
            format!(
                "The stamp on the library item {place} does not count for another item: trust.stamps is same_item."
            ),
        ),
    ] {
        let reasons = verdict_of(item, [entry]).reasons;
        assert!(reasons.contains(&wanted), "{wanted}: {reasons:?}");
        assert!(!reasons.concat().contains("No stamp"), "{reasons:?}");
    }
}

#[test]
fn a_stamp_of_a_blocked_author_or_of_one_who_is_revoked_for_good_counts_for_nothing() {
    let author = || stamp().author;
    let revocation = |from: i64, until: Option<i64>| {
        Entry::Revocation(Revocation {
            user: author(),
            from: Moment::from_unix_ms(from),
            until: until.map(Moment::from_unix_ms),
        })
    };
    let made = stamp().at.unix_ms();
    let refused = "service-refuses-untrusted";
    assert_eq!(run_of("smooth", [Entry::Block(Block::User(author()))]), refused);
    assert_eq!(run_of("smooth", [revocation(made, None)]), refused);
    let ended = revocation(made - 1, Some(made + 1));
    assert_eq!(
        run_of("smooth", [ended]),
        "stamped",
        "signatures of that time only"
    );
    assert_eq!(
        run_of("smooth", [revocation(made + 1, None)]),
        "stamped",
        "made before"
    );
    assert_eq!(
        run_of("smooth", [revocation(0, Some(made - 1))]),
        "stamped",
        "made after"
    );
    let other = Entry::Block(Block::User("bob@SPOTFIRE".parse().expect("user")));
    assert_eq!(run_of("smooth", [other]), "stamped", "of another");
}
