//! Random worlds and questions, out of so few names that they meet often.

use crate::world::{
    Block, Group, Item, Principal, Question, Revocation, Signature, Signer, Stamp, Target, Trust, User, World,
};

const USERS: [&str; 5] = [
    // What the product calls the author of a stamp that has none, unless it is named.
    "author0@SPOTFIRE",
    "bob@SPOTFIRE",
    "cat@SPOTFIRE",
    "dan@SPOTFIRE",
    "eve@SPOTFIRE",
];
const GROUPS: [&str; 6] = [
    "Everyone",
    "Script Author",
    "Custom Query Author",
    "Staff",
    "Analysts",
    "Quality",
];
const LICENSES: [&str; 10] = [
    "Use External Actions",
    "Configure External Actions",
    "Trust External Actions",
    "Trust Mods",
    "Develop Visualization Mod",
    "Open Visualization Mod from Library",
    "Open Action Mod from Library",
    "Author Scripts",
    "Custom Query in Connections",
    "Register Data Functions",
];
const CLIENTS: [&str; 5] = [
    "installed",
    "installed_no_server",
    "web",
    "automation",
    "scheduled_update",
];
const SIGNED: [&str; 3] = ["visualization_mod", "action_mod", "external_action"];
const CODE: [&str; 3] = ["script", "data_function", "custom_query"];
const ENGINES: [&str; 6] = [
    "terr_local",
    "terr_service",
    "terr_inline",
    "python_local",
    "python_service",
    "r_service",
];
const RESTRICTED: [&str; 3] = ["python_service", "r_service", "python_local"];
const FILES: [&str; 2] = ["F", "G"];
const HASHES: [&str; 3] = ["h1", "h2", "h3"];
const ROOTS: [&str; 3] = ["internal", "corp-ca", "test-ca"];
const ISSUERS: [&str; 2] = ["CN=Corp CA", "CN=Other CA"];
const SERIALS: [&str; 2] = ["01", "02"];
const ROLES: [&str; 2] = ["developer", "configurator"];
const TIMES: [&str; 5] = [
    "2020-01-01T00:00:00Z",
    "2020-03-01T00:00:00Z",
    "2020-05-01T00:00:00Z",
    "2020-07-01T00:00:00Z",
    "2020-09-01T00:00:00Z",
];

/// The same numbers each time: splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 33).unwrap_or(0) % bound
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn maybe<T: Copy>(&mut self, chance: usize, of: &[T]) -> Option<T> {
        self.percent(chance).then(|| self.one(of))
    }

    fn some<T: Copy>(&mut self, chance: usize, of: &[T]) -> Vec<T> {
        of.iter().copied().filter(|_| self.percent(chance)).collect()
    }

    /// The same things in another order.
    fn shuffled<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let mut left = of.to_vec();
        (0..of.len())
            .map(|_| left.swap_remove(self.below(left.len())))
            .collect()
    }
}

pub(crate) fn world(random: &mut Random) -> World {
    // A group's parents come before it in an order of this world, so that none is its own ancestor.
    let order = random.shuffled(&GROUPS);
    let mut groups = Vec::new();
    for (place, name) in order.iter().enumerate() {
        groups.push(Group {
            name,
            parents: random.some(25, &order[..place]),
            licenses: random.some(20, &LICENSES),
        });
    }
    let groups = random.shuffled(&groups.iter().collect::<Vec<_>>());
    let mut users = Vec::new();
    for name in USERS {
        if random.percent(85) {
            users.push(User {
                name,
                groups: random.some(20, &GROUPS),
                state: random.one(&["active", "active", "active", "disabled", "deleted"]),
            });
        }
    }
    World {
        groups: groups.into_iter().cloned().collect(),
        users,
        any_signature: random.percent(20),
        restricted_engines: random.some(25, &RESTRICTED),
        roots: random.some(70, &ROOTS),
        trust: (0..random.below(12)).map(|_| trust(random)).collect(),
        blocks: (0..random.below(5)).map(|_| block(random)).collect(),
        revocations: (0..random.below(4)).map(|_| revocation(random)).collect(),
        stamps: (0..random.below(5))
            .map(|_| Stamp {
                library_item: random.one(&FILES),
                hash: random.one(&HASHES),
                author: random.maybe(80, &USERS),
                at: random.maybe(80, &TIMES),
                readable_by: random.some(40, &USERS),
            })
            .collect(),
        same_item: random.percent(30),
        now: random.one(&TIMES),
    }
}

fn trust(random: &mut Random) -> Trust {
    let principal = if random.percent(40) {
        Principal::User(random.one(&USERS))
    } else {
        Principal::Group(random.one(&GROUPS))
    };
    let role = random.one(&ROLES);
    let target = match random.below(3) {
        0 => Target::User {
            user: random.one(&USERS),
            role,
        },
        1 => Target::Certificate {
            issuer: random.one(&ISSUERS),
            serial: random.one(&SERIALS),
            role,
        },
        _ => Target::Item {
            kind: random.one(&SIGNED),
            hash: random.one(&HASHES),
        },
    };
    Trust {
        principal,
        target,
        expires: random.maybe(25, &TIMES),
    }
}

fn block(random: &mut Random) -> Block {
    match random.below(4) {
        0 => Block::User(random.one(&USERS)),
        1 => Block::Certificate {
            issuer: random.one(&ISSUERS),
            serial: random.one(&SERIALS),
        },
        2 => Block::Item {
            kind: random.one(&SIGNED),
            hash: random.one(&HASHES),
        },
        _ => Block::Item {
            kind: random.one(&["script", "data_function", "custom_query", "job_script"]),
            hash: random.one(&HASHES),
        },
    }
}

fn revocation(random: &mut Random) -> Revocation {
    let from = random.below(TIMES.len());
    Revocation {
        user: random.one(&USERS),
        from: TIMES[from],
        until: random.maybe(50, &TIMES[from..]),
    }
}

pub(crate) fn question(random: &mut Random) -> Question {
    let (kind, action) = match random.below(11) {
        0..=5 => (
            random.one(&SIGNED),
            random.one(&[
                "open",
                "open",
                "add",
                "run",
                "run",
                "create",
                "trust_item",
                "trust_signer",
            ]),
        ),
        6..=9 => (
            random.one(&CODE),
            random.one(&["run", "run", "run", "create", "trust_item", "save_trusted"]),
        ),
        _ => ("job_script", "run"),
    };
    Question {
        user: random.one(&USERS),
        client: random.one(&CLIENTS),
        item: Item {
            kind,
            hash: random.one(&HASHES),
            held_by: random.maybe(80, &FILES),
            language: random.one(&["ironpython", "javascript"]),
            engine: random.one(&ENGINES),
            restricted_mode: random.percent(40),
            no_checks: random.percent(20),
            trusted_by_user: random.percent(40),
            executing_account: random.one(&USERS),
            signature: random.percent(90).then(|| signature(random)),
        },
        action,
    }
}

fn signature(random: &mut Random) -> Signature {
    let (root, time) = (random.one(&ROOTS), random.one(&TIMES));
    let signer = match random.below(20) {
        0 => Signer::Vendor,
        1..=11 => Signer::User {
            root,
            user: random.one(&USERS),
            time,
        },
        _ => Signer::Certificate {
            root,
            issuer: random.one(&ISSUERS),
            serial: random.one(&SERIALS),
            time,
        },
    };
    Signature {
        signer,
        tampered: random.percent(8),
    }
}
