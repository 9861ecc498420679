//! The form of a policy file.
//!
//! Invariant: unknown fields, unknown names and rules without a comment are refused, so a slip of the pen never
//! loosens a filter.

use serde::Deserialize;

use super::constants::CONSTANTS;

/// One file of `node-agent/policies`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// The policy whose rules hold as well.
    pub(crate) base: Option<String>,
    /// What may be called.
    #[serde(default)]
    pub(crate) syscalls: Vec<Rule>,
    /// What the jail shows read-only.
    #[serde(default)]
    pub(crate) shown: Vec<Shown>,
    /// Bounds that no run chooses.
    pub(crate) limits: Option<Limits>,
}

/// Calls that are allowed, or refused in a particular way.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    comment: String,
    /// Names of the kernel's table.
    pub(crate) names: Vec<String>,
    /// All must hold; absent means always.
    #[serde(default)]
    pub(crate) when: Vec<Condition>,
    /// Refuse with this error instead of allowing.
    pub(crate) errno: Option<Number>,
}

/// A condition on the low 32 bits of one argument.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Condition {
    /// 0 to 5.
    pub(crate) argument: u32,
    /// Equal to one of these.
    pub(crate) one_of: Option<Vec<Number>>,
    /// Equal to none of these.
    pub(crate) none_of: Option<Vec<Number>>,
    /// With `equals`: these bits …
    pub(crate) mask: Option<u32>,
    /// … have these values.
    pub(crate) equals: Option<u32>,
}

/// A number, or the kernel's name for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(crate) enum Number {
    /// Itself.
    Value(u32),
    /// A name of `constants.rs`.
    Name(String),
}

/// A path of the host.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Shown {
    comment: String,
    /// Absolute.
    pub(crate) path: String,
}

/// Bounds that no run chooses.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    comment: String,
    /// Bytes of a thread's stack.
    pub(crate) stack_bytes: u64,
    /// Inodes of the scratch folder.
    pub(crate) scratch_files: u64,
    /// Bytes of the engine's own `/tmp`.
    pub(crate) engine_temporary_bytes: u64,
}

impl Policy {
    /// Reads one file; the error says which rule is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let policy: Self = toml::from_str(text).map_err(|error| error.to_string())?;
        let comments = policy.syscalls.iter().map(|rule| &rule.comment);
        let comments = comments.chain(policy.shown.iter().map(|shown| &shown.comment));
        let comments = comments.chain(policy.limits.iter().map(|limits| &limits.comment));
        for comment in comments {
            if comment.trim().len() < 5 {
                return Err(format!("a rule has no reason: {comment:?}"));
            }
        }
        Ok(policy)
    }

    /// These rules after those of the base, which may have a base of its own.
    pub(crate) fn on(mut self, base: &Self) -> Self {
        self.base.clone_from(&base.base);
        self.syscalls.splice(0..0, base.syscalls.iter().cloned());
        self.shown.splice(0..0, base.shown.iter().cloned());
        self.limits = self.limits.or_else(|| base.limits.clone());
        self
    }
}

impl Number {
    pub(crate) fn value(&self) -> Result<u32, String> {
        match self {
            Self::Value(value) => Ok(*value),
            Self::Name(name) => CONSTANTS
                .iter()
                .find(|constant| constant.0 == name)
                .map(|constant| constant.1)
                .ok_or_else(|| format!("unknown constant {name}")),
        }
    }
}
