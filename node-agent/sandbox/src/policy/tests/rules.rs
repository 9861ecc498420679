//! What a policy file says about a call, read from its rules one by one: slow, and nothing like the compiler.

use super::{
    ALLOW, KILL, REFUSE, SECCOMP_RET_ERRNO,
    interpreter::Call,
    policy::{Condition, Policy},
    syscalls::Architecture,
};

/// The answer that the kernel must give.
pub(super) fn ruled(policy: &Policy, architecture: &Architecture, call: &Call) -> u32 {
    let foreign = architecture
        .foreign_from
        .is_some_and(|first| call.number >= first);
    if call.audit != architecture.audit || foreign {
        return KILL;
    }
    let Some((name, _)) = architecture.calls.iter().find(|known| known.1 == call.number) else {
        return REFUSE;
    };
    let fitting = policy
        .syscalls
        .iter()
        .filter(|rule| rule.names.iter().any(|one| one == name))
        .rfind(|rule| rule.when.iter().all(|condition| holds(condition, call)));
    match fitting {
        None => REFUSE,
        Some(rule) => match &rule.errno {
            None => ALLOW,
            Some(error) => SECCOMP_RET_ERRNO | error.value().expect("a number"),
        },
    }
}

fn holds(condition: &Condition, call: &Call) -> bool {
    let argument = call.arguments[usize::try_from(condition.argument).expect("an index")];
    let low = u32::try_from(argument & 0xffff_ffff).expect("32 bits");
    let among = |list: &[super::policy::Number]| list.iter().any(|one| one.value() == Ok(low));
    condition.one_of.as_deref().is_none_or(among)
        && !condition.none_of.as_deref().is_some_and(among)
        && (condition.mask).is_none_or(|mask| Some(low & mask) == condition.equals)
}

/// Arguments at which an answer may change: all that the conditions on this call name, what is beside it, and the same
/// with other upper halves.
pub(super) fn interesting(policy: &Policy, architecture: &Architecture, number: u32) -> Vec<[u64; 6]> {
    let name = architecture.calls.iter().find(|known| known.1 == number);
    let mut values: [Vec<u64>; 6] = Default::default();
    let rules = policy.syscalls.iter();
    for rule in rules.filter(|rule| name.is_some_and(|(name, _)| rule.names.iter().any(|one| one == name))) {
        for condition in &rule.when {
            let named: Vec<u32> = [&condition.one_of, &condition.none_of]
                .into_iter()
                .flatten()
                .flatten()
                .map(|one| one.value().expect("a number"))
                .chain(condition.equals)
                .chain(condition.mask)
                .collect();
            let list = &mut values[usize::try_from(condition.argument).expect("an index")];
            for one in named {
                let near = [one, one.wrapping_add(1), one.wrapping_sub(1), !one];
                let flipped = (0..32).map(|bit| one ^ (1 << bit));
                for low in near.into_iter().chain(flipped) {
                    list.extend([
                        u64::from(low),
                        u64::from(low) | 0xffff_ffff_0000_0000,
                        u64::from(low) | 1 << 32,
                    ]);
                }
            }
        }
    }
    // Everything that is not asked about is given as nothing and as all.
    for list in &mut values {
        list.extend([0, u64::MAX]);
        list.sort_unstable();
        list.dedup();
    }
    let asked: Vec<usize> = (0..6).filter(|index| values[*index].len() > 2).collect();
    let mut all = vec![[0; 6], [u64::MAX; 6]];
    for index in asked {
        all = all
            .iter()
            .flat_map(|arguments| {
                values[index].iter().map(move |value| {
                    let mut arguments = *arguments;
                    arguments[index] = *value;
                    arguments
                })
            })
            .collect();
    }
    all
}
