//! Who may do what: the one table, and the only maker of [`Authorized`].
//!
//! Writes of the store demand an `Authorized`, so a change that nobody checked does not compile.

use std::collections::BTreeSet;

use muster_ids::{NodeId, UserId, UserName, is_deceptive};

/// The group whose members administrate.
pub const ADMINISTRATOR: &str = "Administrator";
/// The group whose members' stamps are trusted, and whose own functions run as trusted.
pub const SCRIPT_AUTHOR: &str = "Script Author";
/// The group whose members do everything in the library, as administrators do.
pub const LIBRARY_ADMINISTRATOR: &str = "Library Administrator";
/// The groups that every collective has, and that cannot be deleted.
pub const BUILTIN_GROUPS: [&str; 12] = [
    EVERYONE,
    ADMINISTRATOR,
    SCRIPT_AUTHOR,
    "Custom Query Author",
    LIBRARY_ADMINISTRATOR,
    "Deployment Administrator",
    "Diagnostics Administrator",
    "Scheduling and Routing Administrator",
    "Scheduled Updates Users",
    "Automation Services Users",
    "Anonymous User",
    "API User",
];
/// The group that everybody is in.
pub const EVERYONE: &str = "Everyone";
/// The license feature that lets a user write and trust scripts.
pub const AUTHOR_SCRIPTS: &str = "Author Scripts";
/// The license feature that lets a user save functions in the library.
pub const REGISTER_DATA_FUNCTIONS: &str = "Register Data Functions";

/// The license feature that lets a user develop mods of both kinds, and so sign them.
pub const DEVELOP_MODS: &str = "Develop Visualization Mod";
/// The license feature that lets a user configure external actions, and so sign them.
pub const CONFIGURE_ACTIONS: &str = "Configure External Actions";
/// The group whose members' stamps on custom queries are trusted.
pub const CUSTOM_QUERY_AUTHOR: &str = "Custom Query Author";
/// The license feature that lets a user write custom queries.
pub const CUSTOM_QUERY: &str = "Custom Query in Connections";

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A person or service account that was authenticated.
    User(UserCaller),
    /// A node, by its certificate.
    Node(NodeId),
    /// Somebody on the registration listener, by address.
    Stranger(String),
    /// The control plane itself: a reconciler, or the command `init`.
    System,
}

/// An authenticated user with the closed set of groups and features at the time of the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    /// Identity.
    pub id: UserId,
    /// Name.
    pub name: UserName,
    /// All groups, inherited ones and `Everyone` included.
    pub groups: BTreeSet<String>,
    /// All license features, inherited ones included.
    pub features: BTreeSet<String>,
}

impl UserCaller {
    /// Whether the user is in this group, directly or by inheritance.
    pub fn is_in(&self, group: &str) -> bool {
        self.groups.contains(group)
    }

    /// Whether the user does everything in the library, whatever the permissions there say.
    pub fn controls_library(&self) -> bool {
        self.is_in(ADMINISTRATOR) || self.is_in(LIBRARY_ADMINISTRATOR)
    }
}

impl std::fmt::Display for Caller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::User(user) => write!(f, "user {}", user.name),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Stranger(address) => write!(f, "stranger {address}"),
            Self::System => f.write_str("system"),
        }
    }
}

/// What can be asked for, as far as rights differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Reveal, poll on the registration listener.
    Join,
    /// Read joins, nodes, certificates, audit, users: what only administrators see.
    ReadAdministration,
    /// Approve and reject joins, untrust and change nodes, pools, sites.
    ManageNodes,
    /// Exchange the certificate authority.
    ManageAuthority,
    /// Users, groups, licenses, passwords of others.
    ManageUsers,
    /// Change the own password.
    ChangeOwnPassword,
    /// Trust settings.
    ManageSettings,
    /// Block, revoke, and trust for everybody.
    ManageTrust,
    /// Trust for oneself, where the license for it is held, and revoke own signatures.
    TrustForOneself,
    /// Sign mods.
    SignMods,
    /// Sign external actions.
    SignActions,
    /// Sign scripts and data functions.
    SignScripts,
    /// Sign custom queries.
    SignQueries,
    /// Read the library and the own runs; explain own verdicts.
    Use,
    /// Make, move and delete folders and items of the library, where the permissions of these allow it.
    ChangeLibrary,
    /// Write functions and save them in the library, and delete them there.
    RegisterFunctions,
    /// Trust and untrust functions and scripts.
    StampFunctions,
    /// Trust and untrust custom queries.
    StampQueries,
    /// Say what the unrestricted runs of a function may use.
    ManagePolicies,
    /// Queue, read and cancel own runs.
    Run,
    /// Have listed what own runs overstep.
    TraceRuns,
    /// Read and cancel runs of others.
    ManageRuns,
    /// Speak as a node: heartbeat, claim, report.
    ActAsNode,
    /// Have it recorded that one was refused.
    BeRefused,
    /// What the control plane does on its own.
    Maintain,
}

/// What somebody tries, as refusals and the audit log say it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// A verb phrase: `delete the group`.
    pub what: &'static str,
    /// Its object, as people name it; empty where there is only one, or the phrase says all.
    pub on: String,
}

impl Attempt {
    /// The longest object, in characters: it may be what somebody sent.
    const LONGEST: usize = 200;

    /// To do `what` with `on`.
    pub fn new(what: &'static str, on: impl std::fmt::Display) -> Self {
        let on = on.to_string();
        let plain = on.chars().filter(|character| !is_deceptive(*character));
        Self {
            what,
            on: plain.take(Self::LONGEST).collect(),
        }
    }
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.on.as_str() {
            "" => f.write_str(self.what),
            on => write!(f, "{} {on}", self.what),
        }
    }
}

impl From<&'static str> for Attempt {
    fn from(what: &'static str) -> Self {
        Self::new(what, "")
    }
}

impl<T: std::fmt::Display> From<(&'static str, T)> for Attempt {
    fn from((what, on): (&'static str, T)) -> Self {
        Self::new(what, on)
    }
}

/// The proof that [`authorize`] said yes.
#[derive(Debug, Clone)]
pub struct Authorized {
    caller: Caller,
    operation: Operation,
    attempt: Attempt,
}

impl Authorized {
    /// Who asked.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// What for.
    pub fn operation(&self) -> Operation {
        self.operation
    }

    /// What exactly.
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }
}

/// Why not, as one sentence with the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{caller} may not {what}; {cure}")]
pub struct Denied {
    /// Who asked.
    pub caller: String,
    /// What for.
    pub what: Attempt,
    /// What would help.
    pub cure: &'static str,
}

/// Whether `caller` may do this, in the words of the operation.
pub fn authorize(caller: &Caller, operation: Operation) -> Result<Authorized, Denied> {
    authorize_to(caller, operation, words(operation).0.into())
}

/// The table. Whether `caller` may do this; `attempt` says what exactly.
pub fn authorize_to(caller: &Caller, operation: Operation, attempt: Attempt) -> Result<Authorized, Denied> {
    let allowed = match (caller, operation) {
        (_, Operation::BeRefused)
        | (Caller::System, Operation::Maintain)
        | (Caller::Stranger(_), Operation::Join)
        | (Caller::Node(_), Operation::ActAsNode) => true,
        (Caller::User(user), operation) => user_may(user, operation),
        _ => false,
    };
    if allowed {
        return Ok(Authorized {
            caller: caller.clone(),
            operation,
            attempt,
        });
    }
    Err(Denied {
        caller: caller.to_string(),
        what: attempt,
        cure: words(operation).1,
    })
}

fn user_may(user: &UserCaller, operation: Operation) -> bool {
    let administrator = user.is_in(ADMINISTRATOR);
    match operation {
        Operation::Use
        | Operation::ChangeLibrary
        | Operation::Run
        | Operation::ChangeOwnPassword
        | Operation::TrustForOneself
        | Operation::BeRefused => true,
        Operation::ReadAdministration
        | Operation::ManageNodes
        | Operation::ManageAuthority
        | Operation::ManageUsers
        | Operation::ManageSettings
        | Operation::ManageTrust
        | Operation::ManagePolicies
        | Operation::ManageRuns => administrator,
        Operation::RegisterFunctions => {
            user.controls_library()
                || (user.features.contains(REGISTER_DATA_FUNCTIONS) && user.features.contains(AUTHOR_SCRIPTS))
        }
        Operation::SignMods => user.features.contains(DEVELOP_MODS),
        Operation::SignActions => user.features.contains(CONFIGURE_ACTIONS),
        Operation::SignScripts => user.features.contains(AUTHOR_SCRIPTS),
        Operation::SignQueries => user.features.contains(CUSTOM_QUERY),
        Operation::TraceRuns => administrator || user.is_in(SCRIPT_AUTHOR),
        // Administrators are not script authors by themselves (trust.md 6.4, row 55).
        Operation::StampFunctions => user.is_in(SCRIPT_AUTHOR) && user.features.contains(AUTHOR_SCRIPTS),
        Operation::StampQueries => user.is_in(CUSTOM_QUERY_AUTHOR) && user.features.contains(CUSTOM_QUERY),
        Operation::Join | Operation::ActAsNode | Operation::Maintain => false,
    }
}

fn words(operation: Operation) -> (&'static str, &'static str) {
    const ADMIN: &str = "ask for membership of the group Administrator";
    match operation {
        Operation::Join => (
            "join",
            "join messages come from nodes on the registration listener",
        ),
        Operation::ReadAdministration => ("read what only administrators see", ADMIN),
        Operation::ManageNodes => ("manage nodes", ADMIN),
        Operation::ManageAuthority => ("exchange the certificate authority", ADMIN),
        Operation::ManageUsers => ("manage users, groups and licenses", ADMIN),
        Operation::ChangeOwnPassword => ("change a password", "log in first"),
        Operation::ManageSettings => ("change settings", ADMIN),
        Operation::ManageTrust => ("sign, trust, revoke or block for others", ADMIN),
        Operation::TrustForOneself => ("trust for themselves", "log in first"),
        Operation::SignMods => (
            "sign mods",
            "ask for a group with the license feature Develop Visualization Mod",
        ),
        Operation::SignActions => (
            "sign external actions",
            "ask for a group with the license feature Configure External Actions",
        ),
        Operation::SignScripts => (
            "sign scripts and data functions",
            "ask for a group with the license feature Author Scripts",
        ),
        Operation::SignQueries => (
            "sign custom queries",
            "ask for a group with the license feature Custom Query in Connections",
        ),
        Operation::ManagePolicies => ("set what functions may use", ADMIN),
        Operation::Use => ("use the library", "log in first"),
        Operation::ChangeLibrary => ("change the library", "log in first"),
        Operation::RegisterFunctions => (
            "register functions",
            "ask for a group with the license features Author Scripts, to write them, and Register Data Functions, to save them",
        ),
        Operation::StampFunctions => (
            "trust scripts and data functions",
            "ask for membership of the group Script Author and the license feature Author Scripts",
        ),
        Operation::StampQueries => (
            "trust custom queries",
            "ask for membership of the group Custom Query Author and the license feature Custom Query in Connections",
        ),
        Operation::Run => ("run functions", "log in first"),
        Operation::TraceRuns => (
            "trace runs",
            "ask for membership of the group Script Author or Administrator",
        ),
        Operation::ManageRuns => ("see or end the runs of others", ADMIN),
        Operation::ActAsNode => ("act as a node", "nodes are known by their certificates"),
        Operation::BeRefused => ("have a refusal recorded", "everybody may"),
        Operation::Maintain => ("do this", "only the control plane itself does"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(groups: &[&str], features: &[&str]) -> Caller {
        Caller::User(UserCaller {
            id: UserId::new(1, [1; 10]),
            name: "ann@SPOTFIRE".parse().expect("name"),
            groups: groups.iter().map(|&g| g.to_owned()).collect(),
            features: features.iter().map(|&f| f.to_owned()).collect(),
        })
    }

    #[test]
    fn an_administrator_is_not_a_script_author() {
        assert!(
            authorize(
                &user(&[ADMINISTRATOR], &[AUTHOR_SCRIPTS]),
                Operation::StampFunctions
            )
            .is_err()
        );
        assert!(authorize(&user(&[SCRIPT_AUTHOR], &[]), Operation::StampFunctions).is_err());
        assert!(
            authorize(
                &user(&[SCRIPT_AUTHOR], &[AUTHOR_SCRIPTS]),
                Operation::StampFunctions
            )
            .is_ok()
        );
    }

    #[test]
    fn a_node_a_stranger_and_the_system_do_only_their_own() {
        let node = Caller::Node(NodeId::new(1, [1; 10]));
        for caller in [
            node,
            Caller::Stranger("10.0.0.5".into()),
            Caller::System,
            user(&[EVERYONE], &[]),
        ] {
            assert!(authorize(&caller, Operation::ManageNodes).is_err(), "{caller}");
            assert!(authorize(&caller, Operation::ManageSettings).is_err(), "{caller}");
        }
    }

    #[test]
    fn authors_and_administrators_trace_runs() {
        for (groups, may) in [
            (&[EVERYONE][..], false),
            (&[SCRIPT_AUTHOR], true),
            (&[ADMINISTRATOR], true),
        ] {
            let allowed = authorize(&user(groups, &[]), Operation::TraceRuns).is_ok();
            assert_eq!(allowed, may, "{groups:?}");
        }
    }

    #[test]
    fn what_a_function_may_use_is_said_by_administrators_only() {
        for (groups, may) in [
            (&[EVERYONE][..], false),
            (&[SCRIPT_AUTHOR], false),
            (&[ADMINISTRATOR], true),
        ] {
            let features = [AUTHOR_SCRIPTS, REGISTER_DATA_FUNCTIONS];
            let allowed = authorize(&user(groups, &features), Operation::ManagePolicies).is_ok();
            assert_eq!(allowed, may, "{groups:?}");
        }
    }

    #[test]
    fn each_kind_of_item_is_signed_by_the_license_to_make_it_and_by_nothing_else() {
        let all = [
            (Operation::SignMods, DEVELOP_MODS),
            (Operation::SignActions, CONFIGURE_ACTIONS),
            (Operation::SignScripts, AUTHOR_SCRIPTS),
            (Operation::SignQueries, CUSTOM_QUERY),
        ];
        for (operation, _) in all {
            for (other, feature) in all {
                let allowed = authorize(&user(&[ADMINISTRATOR], &[feature]), operation).is_ok();
                assert_eq!(allowed, operation == other, "{operation:?} by {feature}");
            }
        }
    }

    #[test]
    fn a_function_is_saved_by_who_may_write_it_and_save_it() {
        for (features, may) in [
            (&[][..], false),
            (&[REGISTER_DATA_FUNCTIONS], false),
            (&[AUTHOR_SCRIPTS], false),
            (&[REGISTER_DATA_FUNCTIONS, AUTHOR_SCRIPTS], true),
        ] {
            let allowed = authorize(&user(&[EVERYONE], features), Operation::RegisterFunctions).is_ok();
            assert_eq!(allowed, may, "{features:?}");
        }
    }

    #[test]
    fn a_library_administrator_controls_the_library_and_nothing_else() {
        let all = [
            (Operation::RegisterFunctions, true),
            (Operation::ChangeLibrary, true),
            (Operation::StampFunctions, false),
            (Operation::ManageUsers, false),
            (Operation::ManageTrust, false),
            (Operation::ManageSettings, false),
            (Operation::ManageRuns, false),
            (Operation::ReadAdministration, false),
            (Operation::SignScripts, false),
        ];
        for (operation, may) in all {
            let allowed = authorize(&user(&[EVERYONE, LIBRARY_ADMINISTRATOR], &[]), operation).is_ok();
            assert_eq!(allowed, may, "{operation:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_was_tried_on_what() {
        let caller = user(&[EVERYONE], &[]);
        let tried = Attempt::new("delete the group", "Sub\u{202e}\n");
        let denied = authorize_to(&caller, Operation::ManageUsers, tried).expect_err("denied");
        assert_eq!(
            denied.to_string(),
            "user ann@SPOTFIRE may not delete the group Sub; ask for membership of the group Administrator"
        );
        let long = Attempt::new("import", "x".repeat(1_000));
        assert_eq!(long.on.len(), Attempt::LONGEST);
        assert!(authorize(&caller, Operation::BeRefused).is_ok());
    }

    #[test]
    fn a_refusal_names_the_cure() {
        let denied = authorize(&user(&[EVERYONE], &[]), Operation::ManageNodes).expect_err("denied");
        assert_eq!(
            denied.to_string(),
            "user ann@SPOTFIRE may not manage nodes; ask for membership of the group Administrator"
        );
    }
}
