//! From a policy to a classic BPF program for seccomp, for one architecture.
//!
//! The program checks the instruction set, then finds the call by binary search over ranges of numbers that are
//! treated alike; a ready-made compiler compares one call after the other and costs seven times as much per run.
//! Invariant: what no rule names is refused with EPERM, and jumps go forward only, so every program ends.

use std::collections::BTreeMap;

use super::{
    policy::{Condition, Policy, Rule},
    syscalls::Architecture,
};

/// `struct sock_filter`: code, jump if true, jump if false, operand.
pub(crate) type Instruction = (u16, u8, u8, u32);

pub(crate) const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
pub(crate) const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
pub(crate) const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
pub(crate) const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
pub(crate) const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// `SECCOMP_RET_ALLOW`.
pub(crate) const ALLOW: u32 = 0x7fff_0000;
/// `SECCOMP_RET_ERRNO | EPERM`.
pub(crate) const REFUSE: u32 = 0x0005_0001;
/// `SECCOMP_RET_KILL_PROCESS`.
pub(crate) const KILL: u32 = 0x8000_0000;
/// `SECCOMP_RET_ERRNO`; the error stands in the low half.
pub(crate) const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;

/// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// How calls of one number are treated.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Treatment {
    /// One answer whatever the arguments are.
    Always(u32),
    /// Allowed when all conditions of one alternative hold.
    When(Vec<Vec<Test>>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    argument: u32,
    mask: Option<u32>,
    values: Vec<u32>,
    wanted: bool,
}

/// A place that is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Answer(u32),
    Block(usize),
    Next,
}

#[derive(Default)]
struct Program {
    code: Vec<(u16, Label, Label, u32)>,
    places: BTreeMap<Label, usize>,
    blocks: usize,
}

/// The program of a policy.
pub(crate) fn compile(policy: &Policy, architecture: &Architecture) -> Result<Vec<Instruction>, String> {
    let treatments = treatments(&policy.syscalls, architecture)?;
    let ranges = ranges(&treatments);
    let mut program = Program::default();
    program.load(ARCHITECTURE_OFFSET);
    program.branch(JUMP_EQUAL, architecture.audit, Label::Next, Label::Answer(KILL));
    program.load(NUMBER_OFFSET);
    if let Some(first) = architecture.foreign_from {
        program.branch(JUMP_AT_LEAST, first, Label::Answer(KILL), Label::Next);
    }
    let mut leaves = Vec::new();
    let targets: Vec<(u32, Label)> = ranges
        .into_iter()
        .map(|(start, treatment)| match treatment {
            Treatment::Always(answer) => (start, Label::Answer(answer)),
            Treatment::When(alternatives) => {
                let label = program.label();
                leaves.push((label, alternatives));
                (start, label)
            }
        })
        .collect();
    program.search(&targets);
    for (label, alternatives) in leaves {
        program.place(label);
        program.alternatives(&alternatives);
    }
    program.finish()
}

fn treatments(rules: &[Rule], architecture: &Architecture) -> Result<BTreeMap<u32, Treatment>, String> {
    let mut all = BTreeMap::new();
    for rule in rules {
        let tests = rule.when.iter().map(test).collect::<Result<Vec<_>, _>>()?;
        for name in &rule.names {
            let Some(number) = architecture.number(name)? else {
                continue;
            };
            let treatment = match (&rule.errno, tests.is_empty()) {
                (Some(errno), true) => Treatment::Always(SECCOMP_RET_ERRNO | errno.value()?),
                (Some(_), false) => return Err(format!("{name}: errno and when cannot stand together")),
                (None, true) => Treatment::Always(ALLOW),
                (None, false) => match all.remove(&number) {
                    None => Treatment::When(vec![tests.clone()]),
                    Some(Treatment::When(mut alternatives)) => {
                        alternatives.push(tests.clone());
                        Treatment::When(alternatives)
                    }
                    Some(Treatment::Always(_)) => {
                        return Err(format!("{name} has a rule without conditions"));
                    }
                },
            };
            all.insert(number, treatment);
        }
    }
    Ok(all)
}

fn test(condition: &Condition) -> Result<Test, String> {
    let argument = condition.argument;
    let (mask, values, wanted) = match (
        &condition.one_of,
        &condition.none_of,
        condition.mask,
        condition.equals,
    ) {
        (Some(values), None, None, None) => (None, values.clone(), true),
        (None, Some(values), None, None) => (None, values.clone(), false),
        (None, None, Some(mask), Some(equals)) => {
            return Ok(Test {
                argument,
                mask: Some(mask),
                values: vec![equals],
                wanted: true,
            });
        }
        _ => return Err("a condition has one of: one_of, none_of, mask with equals".to_owned()),
    };
    if argument > 5 || values.is_empty() {
        return Err("a condition names argument 0 to 5 and at least one value".to_owned());
    }
    let values = values
        .iter()
        .map(super::policy::Number::value)
        .collect::<Result<_, _>>()?;
    Ok(Test {
        argument,
        mask,
        values,
        wanted,
    })
}

/// Starts of ranges with their treatment; the first begins at 0, the last has no end.
fn ranges(treatments: &BTreeMap<u32, Treatment>) -> Vec<(u32, Treatment)> {
    let refuse = Treatment::Always(REFUSE);
    let mut ranges = vec![(0, refuse.clone())];
    for (number, treatment) in treatments {
        ranges.push((*number, treatment.clone()));
        ranges.push((number + 1, refuse.clone()));
    }
    // Of two starts at one number the later counts; equal neighbours are one range.
    let mut merged: Vec<(u32, Treatment)> = Vec::new();
    for (start, treatment) in ranges {
        if merged.last().is_some_and(|last| last.0 == start) {
            merged.pop();
        }
        if merged.last().is_none_or(|last| last.1 != treatment) {
            merged.push((start, treatment));
        }
    }
    merged
}

impl Program {
    fn load(&mut self, offset: u32) {
        self.code.push((LOAD, Label::Next, Label::Next, offset));
    }

    fn branch(&mut self, code: u16, operand: u32, yes: Label, no: Label) {
        self.code.push((code, yes, no, operand));
    }

    fn label(&mut self) -> Label {
        self.blocks += 1;
        Label::Block(self.blocks)
    }

    fn place(&mut self, label: Label) {
        self.places.insert(label, self.code.len());
    }

    fn search(&mut self, targets: &[(u32, Label)]) {
        let (left, right) = targets.split_at(targets.len() / 2);
        let Some(&(start, _)) = right.first() else { return };
        if left.is_empty() {
            return;
        }
        let (below, above) = (self.side(left), self.side(right));
        self.branch(JUMP_AT_LEAST, start, above, below);
        for (label, side) in [(below, left), (above, right)] {
            if side.len() > 1 {
                self.place(label);
                self.search(side);
            }
        }
    }

    fn side(&mut self, targets: &[(u32, Label)]) -> Label {
        match targets {
            [(_, only)] => *only,
            _ => self.label(),
        }
    }

    fn alternatives(&mut self, alternatives: &[Vec<Test>]) {
        for (index, tests) in alternatives.iter().enumerate() {
            let last = index + 1 == alternatives.len();
            let failed = if last { Label::Answer(REFUSE) } else { self.label() };
            for (position, test) in tests.iter().enumerate() {
                let passed = if position + 1 == tests.len() {
                    Label::Answer(ALLOW)
                } else {
                    self.label()
                };
                self.test(test, passed, failed);
                if passed != Label::Answer(ALLOW) {
                    self.place(passed);
                }
            }
            if !last {
                self.place(failed);
            }
        }
    }

    fn test(&mut self, test: &Test, passed: Label, failed: Label) {
        self.load(ARGUMENTS_OFFSET + 8 * test.argument);
        if let Some(mask) = test.mask {
            self.branch(AND, mask, Label::Next, Label::Next);
        }
        let (found, absent) = if test.wanted {
            (passed, failed)
        } else {
            (failed, passed)
        };
        for (index, value) in test.values.iter().enumerate() {
            let otherwise = if index + 1 == test.values.len() {
                absent
            } else {
                Label::Next
            };
            self.branch(JUMP_EQUAL, *value, found, otherwise);
        }
    }

    /// Places the answers at the end and turns labels into distances.
    fn finish(mut self) -> Result<Vec<Instruction>, String> {
        let mut answers: Vec<Label> = self.code.iter().flat_map(|line| [line.1, line.2]).collect();
        answers.retain(|label| matches!(label, Label::Answer(_)));
        answers.sort_unstable();
        answers.dedup();
        for label in answers {
            self.place(label);
            if let Label::Answer(answer) = label {
                self.code.push((RETURN, Label::Next, Label::Next, answer));
            }
        }
        let distance = |from: usize, label: Label| match label {
            Label::Next => Ok(0),
            other => {
                let to = self.places.get(&other).ok_or("a label has no place")?;
                u8::try_from(to - from - 1).map_err(|_| "the program is too long for its jumps".to_owned())
            }
        };
        self.code
            .iter()
            .enumerate()
            .map(|(at, line)| Ok((line.0, distance(at, line.1)?, distance(at, line.2)?, line.3)))
            .collect()
    }
}
