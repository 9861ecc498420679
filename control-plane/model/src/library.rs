//! The library: what kinds of items it has, and who may read and write which.
//!
//! A folder or item has permissions of its own, or those of the folder that it is in. Invariant: whoever cannot read a
//! folder can read and write nothing inside it, whatever the permissions there say; administrators and library administrators
//! can do everything.

use std::{fmt, str::FromStr};

use muster_ids::{LibraryItemId, Name, UserName};

use crate::permission::UserCaller;

mod tree;

pub use tree::Tree;

/// How many folders an item may be in, one inside the other.
pub const DEEPEST: usize = 32;

/// A text that is none of the words that are allowed at its place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is not a {kind}; it is one of {allowed}")]
pub struct UnknownWord {
    kind: &'static str,
    allowed: String,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident ($kind:literal) { $($(#[$vdoc:meta])* $variant:ident = $text:literal,)+ })+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The word in the database and on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = UnknownWord;
            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| UnknownWord {
                    kind: $kind,
                    allowed: Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", "),
                })
            }
        }
    )+};
}

words! {
    /// What an item is.
    Kind ("kind of library item") {
        /// What items are in.
        Folder = "folder",
        /// A data function.
        DataFunction = "data_function",
        /// A custom visualization.
        VisualizationMod = "visualization_mod",
        /// A package of scripts that triggers start.
        ActionMod = "action_mod",
        /// A configured call of an external system.
        ExternalAction = "external_action",
        /// A script of analyses.
        Script = "script",
        /// A custom query of a connection.
        CustomQuery = "custom_query",
        /// The script of a job's task.
        JobScript = "job_script",
        /// An analysis, which names its parts.
        Analysis = "analysis",
    }

    /// What a permission lets do. Who may write may read.
    Right ("right") {
        /// See it, use it, and have the stamps on it count.
        Read = "read",
        /// Change it and what inherits from it, put items into it, and say who else may.
        Write = "write",
    }
}

/// The license feature that saving an item of this kind needs: that of making or configuring it. An analysis needs those
/// of what it embeds.
pub fn license(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Folder | Kind::Analysis => None,
        Kind::DataFunction => Some(crate::permission::REGISTER_DATA_FUNCTIONS),
        Kind::VisualizationMod | Kind::ActionMod => Some("Develop Visualization Mod"),
        Kind::ExternalAction => Some("Configure External Actions"),
        Kind::Script | Kind::JobScript => Some(crate::permission::AUTHOR_SCRIPTS),
        Kind::CustomQuery => Some("Custom Query in Connections"),
    }
}

/// Whom a permission is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grantee {
    /// One user.
    User(UserName),
    /// All members of a group, inherited ones included.
    Group(Name),
    /// All who have a license feature.
    License(String),
}

/// One permission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Whose.
    pub grantee: Grantee,
    /// To do what.
    pub right: Right,
}

impl Grant {
    fn is_for(&self, user: &UserCaller) -> bool {
        match &self.grantee {
            Grantee::User(name) => name.key() == user.name.key(),
            Grantee::Group(group) => user.is_in(group.as_str()),
            Grantee::License(feature) => user.features.contains(feature),
        }
    }
}

/// An item, or a folder that it is in, as far as rights go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Which.
    pub id: LibraryItemId,
    /// What it is called; the root has no name that is shown.
    pub name: Name,
    /// Whether the permissions of its folder hold.
    pub inherits: bool,
    /// Its own permissions; none while it inherits.
    pub grants: Vec<Grant>,
}

/// What `user` may do with the first item of `chain`, which is followed by the folder that it is in, and so on up to the
/// root. An empty chain is that of nothing, to which nobody has a right.
pub fn right(user: &UserCaller, chain: &[Step]) -> Option<Right> {
    right_below(
        user,
        chain
            .iter()
            .rev()
            .map(|step| (step.inherits, step.grants.as_slice())),
    )
}

/// As [`right`], with the steps from the root down: whether each inherits, and its own permissions.
fn right_below<'a>(user: &UserCaller, steps: impl Iterator<Item = (bool, &'a [Grant])>) -> Option<Right> {
    let controls = user.controls_library();
    let mut grants: &[Grant] = &[];
    let mut last = None;
    for (inherits, own) in steps {
        if controls {
            return Some(Right::Write);
        }
        if !inherits {
            grants = own;
        }
        let mine = grants.iter().filter(|grant| grant.is_for(user));
        last = mine.map(|grant| grant.right).max();
        last?;
    }
    last
}

/// The place in `chain` whose permissions hold for its first item.
pub fn holding(chain: &[Step]) -> Option<&Step> {
    chain.iter().find(|step| !step.inherits)
}

/// The path of the first item of `chain`: `/` for the root, `/Team/Forecasts`.
pub fn path(chain: &[Step]) -> String {
    let names = chain.iter().rev().skip(1).map(|step| format!("/{}", step.name));
    let path: String = names.collect();
    if path.is_empty() { "/".to_owned() } else { path }
}

#[cfg(test)]
mod tests;
