//! Whatever somebody sends, no parser fails: a short run of what `make fuzz` does for long.

use std::{fs, panic};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_ids::Digest;
use muster_tests::parsers::{TARGETS, Target};

/// Changed messages for each target.
const MUTATIONS: usize = 3000;
/// What stands in messages, and what makes parsers stumble.
const TOKENS: [&str; 20] = [
    "\"",
    "\\",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "null",
    "true",
    "-1",
    "1e999",
    "18446744073709551615",
    "\"\"",
    "\\u0000",
    "\\ud800",
    "sha256:",
    "=",
    "\u{0}",
    "\u{202e}",
];

#[test]
fn no_parser_fails_on_its_corpus_or_on_changed_messages_of_it() {
    for target in TARGETS {
        let corpus = target.corpus();
        assert!(!corpus.is_empty(), "{} has a corpus", target.name);
        for message in &corpus {
            give(target, message);
        }
        let mut chance = Chance::of(target.name);
        for _ in 0..MUTATIONS {
            give(target, &mutated(&corpus, &mut chance));
        }
    }
}

/// A new target gets its first corpus with `make bless`.
#[test]
fn every_target_has_messages_that_it_accepts() {
    for target in TARGETS {
        let folder = target.folder();
        if std::env::var_os("MUSTER_BLESS").is_some() && !folder.exists() {
            fs::create_dir_all(&folder).expect("a folder for the corpus");
            for (number, seed) in (target.seeds)().iter().enumerate() {
                fs::write(folder.join(format!("seed-{number}")), seed).expect("write a seed");
            }
        }
        assert!(folder.exists(), "{} has no corpus: run make bless", target.name);
        for seed in (target.seeds)() {
            give(target, &seed);
            assert!(!seed.is_empty());
        }
    }
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus_of_its_own() {
    let fuzz = muster_tests::workspace().join("tests/fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).expect("the fuzzers' manifest");
    let names = |folder: &str| {
        let entries = fs::read_dir(fuzz.join(folder)).expect("a folder of the fuzzers");
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        names
    };
    let targets: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert!(targets.is_sorted(), "{targets:?}");
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
    for name in targets {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
        let text =
            fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{name}.rs"))).expect("a fuzzer");
        assert!(
            text.contains(&format!("\"{name}\"")),
            "{name} calls another target"
        );
    }
}

fn give(target: &Target, message: &[u8]) {
    let run = target.run;
    assert!(
        panic::catch_unwind(|| run(message)).is_ok(),
        "the target {} fails on (base64) {}",
        target.name,
        STANDARD.encode(message)
    );
}

/// A message of the corpus with a few changes.
fn mutated(corpus: &[Vec<u8>], chance: &mut Chance) -> Vec<u8> {
    let mut message = corpus[chance.below(corpus.len())].clone();
    for _ in 0..=chance.below(4) {
        let at = chance.below(message.len() + 1);
        let end = at + chance.below(message.len() - at + 1).min(64);
        match chance.below(6) {
            0 if at < message.len() => message[at] ^= 1 << chance.below(8),
            1 => drop(message.drain(at..end)),
            2 => {
                let part = message[at..end].to_vec();
                message.splice(at..at, part);
            }
            3 => drop(message.splice(at..end, TOKENS[chance.below(TOKENS.len())].bytes())),
            4 => message.truncate(at),
            _ => {
                let other = &corpus[chance.below(corpus.len())];
                let from = chance.below(other.len() + 1);
                message.truncate(at);
                message.extend_from_slice(&other[from..]);
            }
        }
    }
    message
}

/// Numbers that are the same in each run.
struct Chance(Digest);

impl Chance {
    fn of(name: &str) -> Self {
        Self(Digest::of(name.as_bytes()))
    }

    /// Below `end`, which is not 0.
    fn below(&mut self, end: usize) -> usize {
        self.0 = Digest::of(self.0.as_bytes());
        let (first, _) = self.0.as_bytes().split_first_chunk().expect("32 bytes");
        usize::try_from(u64::from_be_bytes(*first)).expect("64 bits") % end
    }
}
