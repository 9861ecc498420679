//! The decision beside a slow one that was written separately, on random worlds and questions.
//!
//! Invariant: the two share nothing but the text of the policy test, so what both misread they misread apart. Where
//! they differ, the smallest world that was found is printed as a file that `muster policy test` takes.

mod generator;
mod rules;
mod world;

use std::{collections::BTreeMap, fmt::Write as _};

use muster_code_trust::run_policy_test;

use crate::{
    generator::Random,
    world::{Answer, Question, World, file},
};

/// Worlds, and the questions asked in each.
const WORLDS: usize = 3_500;
const QUESTIONS: usize = 30;

/// The world and question of a case that comes out otherwise than `answer` says.
fn disagreement(
    worlds: usize,
    seed: u64,
    answer: impl Fn(&World, &Question) -> Answer,
    counts: &mut BTreeMap<String, usize>,
) -> Option<(World, Question)> {
    let mut random = Random(seed);
    for _ in 0..worlds {
        let world = generator::world(&mut random);
        let cases: Vec<(Question, Answer)> = (0..QUESTIONS)
            .map(|_| generator::question(&mut random))
            .map(|question| (question.clone(), answer(&world, &question)))
            .collect();
        for (question, answer) in &cases {
            let kind = match question.item.kind {
                "visualization_mod" | "action_mod" | "external_action" => "signed",
                "job_script" => "job",
                _ => "code",
            };
            *counts.entry(format!("{kind} {answer:?}")).or_default() += 1;
        }
        let text = file(&world, &cases).to_string();
        let report = run_policy_test(&text).unwrap_or_else(|error| panic!("{error}:\n{text}"));
        assert_eq!(report.passed + report.failed, cases.len());
        if report.failed > 0 {
            let differing = (cases.into_iter().map(|(question, _)| question))
                .find(|question| differs(&world, question, &answer))
                .expect("a case that differs among others differs alone");
            return Some((smaller(world, &differing, &answer), differing));
        }
    }
    None
}

/// Whether this one case comes out otherwise; a world that is not valid decides nothing.
fn differs(world: &World, question: &Question, answer: impl Fn(&World, &Question) -> Answer) -> bool {
    let case = [(question.clone(), answer(world, question))];
    run_policy_test(&file(world, &case).to_string()).is_ok_and(|report| report.failed > 0)
}

/// The world without all that the difference does not need.
fn smaller(mut world: World, question: &Question, answer: impl Fn(&World, &Question) -> Answer) -> World {
    macro_rules! without {
        ($($list:ident),*) => {$(
            for place in (0..world.$list.len()).rev() {
                let mut fewer = world.clone();
                fewer.$list.remove(place);
                if differs(&fewer, question, &answer) {
                    world = fewer;
                }
            }
        )*};
    }
    without!(
        trust,
        blocks,
        revocations,
        stamps,
        users,
        groups,
        roots,
        restricted_engines
    );
    world
}

/// The file of one case, with what came of it.
fn shown(world: &World, question: &Question, answer: Answer) -> String {
    let file = file(world, &[(question.clone(), answer)]);
    let report = run_policy_test(&file.to_string()).map_or_else(|error| error.to_string(), |r| r.to_string());
    let mut text = serde_json::to_string_pretty(&file).expect("a file of JSON");
    write!(text, "\n{report}").expect("a text grows");
    text
}

#[test]
fn the_reference_and_the_product_answer_every_question_alike() {
    let mut counts = BTreeMap::new();
    let found = disagreement(WORLDS, 1, rules::answer, &mut counts);
    if let Some((world, question)) = found {
        let answer = rules::answer(&world, &question);
        panic!("{}", shown(&world, &question, answer));
    }
    assert!(counts.values().sum::<usize>() >= 100_000, "{counts:#?}");
    // No answer is left to chance.
    assert_eq!(counts.len(), 27, "{counts:#?}");
    assert!(counts.values().all(|count| *count >= 100), "{counts:#?}");
}

/// A reference that does not know about one part of the world.
type Blind = fn(&mut World);

#[test]
fn a_reference_that_is_blind_to_any_part_of_the_world_is_caught() {
    let blinds: [(&str, Blind); 16] = [
        ("trust", |world| world.trust.clear()),
        ("expiry", |world| {
            world.trust.iter_mut().for_each(|entry| entry.expires = None);
        }),
        ("blocks", |world| world.blocks.clear()),
        ("revocations", |world| world.revocations.clear()),
        ("ends of revocations", |world| {
            world
                .revocations
                .iter_mut()
                .for_each(|revocation| revocation.until = None);
        }),
        ("stamps", |world| world.stamps.clear()),
        ("authors of stamps", |world| {
            world.stamps.iter_mut().for_each(|stamp| stamp.author = None);
        }),
        ("times of stamps", |world| {
            world.stamps.iter_mut().for_each(|stamp| stamp.at = None);
        }),
        ("items of stamps", |world| {
            world.stamps.iter_mut().for_each(|stamp| stamp.library_item = "F");
        }),
        ("where stamps count", |world| world.same_item = false),
        ("users", |world| world.users.clear()),
        ("states of users", |world| {
            world.users.iter_mut().for_each(|user| user.state = "active");
        }),
        ("parents of groups", |world| {
            world.groups.iter_mut().for_each(|group| group.parents.clear());
        }),
        ("roots", |world| world.roots.clear()),
        ("preference", |world| world.any_signature = false),
        ("restricted engines", |world| world.restricted_engines.clear()),
    ];
    for (part, blind) in blinds {
        let answer = |world: &World, question: &Question| {
            let mut seen = world.clone();
            blind(&mut seen);
            rules::answer(&seen, question)
        };
        let found = disagreement(WORLDS, 2, answer, &mut BTreeMap::new());
        let (world, question) = found.unwrap_or_else(|| panic!("nothing tells whether {part} matter"));
        let text = shown(&world, &question, answer(&world, &question));
        assert!(text.ends_with("0 passed, 1 failed"), "{part}: {text}");
    }
}
