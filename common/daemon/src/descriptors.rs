//! How many files and connections this process may have open at once (`RLIMIT_NOFILE`).

use rustix::process::{Resource, getrlimit, setrlimit};

/// The most that this process may allow itself.
pub fn most() -> u64 {
    getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX)
}

/// Allows this process the most that it may; says how many that are. Programs that use `select` keep the usual 1,024 as
/// their limit, so it has to be asked for.
pub fn raise() -> u64 {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        limit = getrlimit(Resource::Nofile);
    }
    limit.current.unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn raising_reaches_the_most() {
        assert_eq!(raise(), most());
    }
}
