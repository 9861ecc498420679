//! Which host ids a launcher gives to its jail.
//!
//! Invariant: an agent's word alone maps no id of the host. Ids of the host's own users are never mapped, and a launcher
//! that is not root maps only what the administrator entered for its user in both files below.

use std::fs;

use crate::{
    failure::{Attempt as _, Failure},
    protocol::IdRange,
};

/// Below are the host's users and groups (`shadow` among them), nobody included.
const LEAST: u32 = 65_536;
/// Where an administrator enters which ids a user may give away, and the option of usermod that does it.
const ENTRIES: [(&str, &str); 2] = [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")];

/// Refuses a range that is none, that is the host's, or that is not this launcher's to give.
pub(super) fn check(ids: IdRange) -> Result<(), Failure> {
    let IdRange { first, count } = ids;
    let last = match first.checked_add(count) {
        Some(end) if count >= 2 => end - 1,
        _ => {
            return Err(Failure::Rule(format!(
                "{count} ids from {first} on are no range for a jail"
            )));
        }
    };
    if first < LEAST {
        return Err(Failure::Rule(format!(
            "the ids {first} to {last} cannot be given to runs: ids below {LEAST} belong to users of the host; set \
             jail.id_first to {LEAST} or more"
        )));
    }
    let user = rustix::process::geteuid();
    if user.is_root() {
        return Ok(());
    }
    let passwd = fs::read_to_string("/etc/passwd").attempt("read /etc/passwd for the launcher's name")?;
    let names = names(&passwd, user.as_raw());
    for (path, option) in ENTRIES {
        let entries = fs::read_to_string(path)
            .attempt(format!("read {path}, which says what ids may be given to runs"))?;
        if !gives(&entries, &names, ids) {
            let name = &names[0];
            return Err(Failure::Rule(format!(
                "{path} does not give the ids {first} to {last} to the launcher's user {name}; enter them (usermod \
                 {option} {first}-{last} {name}), or set jail.id_first and jail.id_count to what is entered"
            )));
        }
    }
    Ok(())
}

/// How the files may call the user: by its names and by its number, which is last.
fn names(passwd: &str, user: u32) -> Vec<String> {
    let number = user.to_string();
    let mut names: Vec<String> = passwd
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let (name, _, id) = (fields.next()?, fields.next()?, fields.next()?);
            (id == number && !name.is_empty()).then(|| name.to_owned())
        })
        .collect();
    names.push(number);
    names
}

/// Whether one entry of one of these names holds the whole range.
fn gives(entries: &str, names: &[String], ids: IdRange) -> bool {
    let (first, end) = (u64::from(ids.first), u64::from(ids.first) + u64::from(ids.count));
    entries.lines().any(|line| {
        let fields: Vec<&str> = line.trim().split(':').collect();
        let [name, begin, count] = fields.as_slice() else {
            return false;
        };
        let (Ok(begin), Ok(count)) = (begin.parse::<u32>(), count.parse::<u32>()) else {
            return false;
        };
        let begin = u64::from(begin);
        names.iter().any(|ours| ours == name) && begin <= first && end <= begin + u64::from(count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nmuster-jail:x:998:997::/:/sbin/nologin\nbroken\n";

    #[test]
    fn a_user_is_known_by_name_and_number() {
        assert_eq!(names(PASSWD, 998), ["muster-jail", "998"]);
        assert_eq!(names(PASSWD, 997), ["997"], "a group is no user");
    }

    #[test]
    fn only_the_whole_range_in_one_entry_of_the_user_is_given() {
        let names = names(PASSWD, 998);
        let wanted = |first, count| IdRange { first, count };
        let entries = "root:0:4294967295\nmuster-jail:200000:64\n998:300000:64\nmuster-jail:200064:64\n";
        for (first, count, given) in [
            (200_000, 64, true),
            (200_001, 63, true),
            (300_000, 64, true),
            (200_000, 65, false),
            (199_999, 64, false),
            (200_032, 64, false),
            (70_000, 64, false),
        ] {
            assert_eq!(
                gives(entries, &names, wanted(first, count)),
                given,
                "{first} {count}"
            );
        }
    }

    #[test]
    fn entries_that_are_none_give_nothing() {
        let names = names(PASSWD, 998);
        let ids = IdRange {
            first: 200_000,
            count: 64,
        };
        for entry in [
            "",
            "muster-jail",
            "muster-jail:200000",
            "muster-jail:200000:",
            "muster-jail:-1:999999999",
            "muster-jail:200000:64:1",
            "muster-jai:200000:64",
            "#muster-jail:200000:64",
            ":200000:64",
        ] {
            assert!(!gives(entry, &names, ids), "{entry:?}");
        }
    }

    #[test]
    fn the_ids_of_the_host_are_refused_to_everybody() {
        for first in [0, 1, 40, 1000, 65_534, 65_535] {
            let why = check(IdRange { first, count: 64 })
                .expect_err("the host's")
                .to_string();
            assert!(why.contains("jail.id_first to 65536 or more"), "{why}");
        }
        for ids in [(70_000, 1), (70_000, 0), (u32::MAX - 5, 64)] {
            let (first, count) = ids;
            let why = check(IdRange { first, count }).expect_err("no range").to_string();
            assert!(why.contains("no range"), "{why}");
        }
    }
}
