//! What an administrator allows unrestricted code: paths, network, programs, limits.
//!
//! Invariant: a policy allows what it names and nothing else. [`RunPolicy::both`] allows what both allow, whatever the
//! order; it never widens. Equal meanings have one canonical JSON, and so one digest.

use std::collections::BTreeSet;

use muster_ids::Digest;
use serde::{Deserialize, Serialize};

mod destination;
mod path;

pub use destination::Destination;
pub use path::HostPath;

use path::{common, outermost};

/// The longest canonical JSON that people may set, in bytes: a grant carries it, and every node holds all of them.
const MAX_BYTES: usize = 32 * 1024;

/// A policy: what is not named is not allowed. Without any it is the jail's own world: the system's programs and
/// libraries to read, no network, no program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub struct RunPolicy {
    read: BTreeSet<HostPath>,
    write: BTreeSet<HostPath>,
    network: NetworkClass,
    programs: ProgramList,
    limits: PolicyLimits,
}

/// Which network, from the narrowest to the widest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkClass {
    /// None at all.
    None,
    /// These destinations, through a broker that resolves and connects; never an empty set.
    Brokered(BTreeSet<Destination>),
    /// The host's.
    Host,
}

/// Which programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgramList {
    /// Whatever the run can see.
    All,
    /// None.
    None,
    /// These, and those below these folders; never an empty set.
    Listed(BTreeSet<HostPath>),
}

/// The most that a run may use; what is absent is left to the node and the function.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyLimits {
    /// Wall time in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wall_seconds: Option<u64>,
    /// CPU time of a process in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_seconds: Option<u64>,
    /// Memory in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// The run's own folder in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_mib: Option<u64>,
    /// All outputs together in MiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_mib: Option<u64>,
}

/// Why a text is no policy: one sentence with the cure.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the policy is refused: {0}")]
pub struct PolicyError(String);

/// As people write it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    read: BTreeSet<HostPath>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    write: BTreeSet<HostPath>,
    #[serde(default)]
    network: NetworkForm,
    #[serde(default)]
    programs: ProgramForm,
    #[serde(default)]
    limits: PolicyLimits,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct NetworkForm {
    class: Class,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    to: BTreeSet<Destination>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Class {
    #[default]
    None,
    Brokered,
    Host,
}

#[derive(Serialize, Deserialize)]
#[serde(
    untagged,
    expecting = "programs are \"all\", \"none\" or a list of absolute paths"
)]
enum ProgramForm {
    Word(ProgramWord),
    Listed(BTreeSet<HostPath>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ProgramWord {
    All,
    None,
}

impl Default for ProgramForm {
    fn default() -> Self {
        Self::Word(ProgramWord::None)
    }
}

impl RunPolicy {
    /// Reads a policy as people write it. Unknown fields are refused.
    pub fn parse(json: &str) -> Result<Self, PolicyError> {
        let read = if json.trim_start().starts_with('{') {
            serde_json::from_str(json).map_err(|error| error.to_string())
        } else {
            // A list would be taken for the fields in their order.
            Err("it is no JSON object".to_owned())
        };
        let policy: Self = read.map_err(|why| {
            PolicyError(format!(
                "{why}; write it as {{\"read\": [\"/srv/data\"], \"write\": [], \"network\": {{\"class\": \"none\"}}, \
                 \"programs\": \"none\", \"limits\": {{}}}}"
            ))
        })?;
        if policy.to_json().len() > MAX_BYTES {
            return Err(PolicyError(format!(
                "it has more than {MAX_BYTES} bytes; name folders instead of what is in them"
            )));
        }
        Ok(policy)
    }

    /// The canonical JSON: sorted, without white space, without what says nothing.
    pub fn to_json(&self) -> String {
        crate::entry::canonical(self)
    }

    /// Of the canonical JSON.
    pub fn digest(&self) -> Digest {
        Digest::of(self.to_json().as_bytes())
    }

    /// What both allow.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        let readable =
            |policy: &Self| -> BTreeSet<HostPath> { policy.read.union(&policy.write).cloned().collect() };
        let write = common(&self.write, &other.write);
        let read = common(&readable(self), &readable(other));
        Self {
            network: self.network.both(&other.network),
            programs: self.programs.both(&other.programs),
            limits: self.limits.least(&other.limits),
            ..Self::of_paths(read, write)
        }
    }

    /// Everything within these paths and this network, with all programs and without limits: what a node's own file says.
    pub fn at_most(read: BTreeSet<HostPath>, write: BTreeSet<HostPath>, network: NetworkClass) -> Self {
        Self {
            network,
            programs: ProgramList::All,
            ..Self::of_paths(read, write)
        }
    }

    /// Paths that may be read and are not below those that may be written.
    pub fn read(&self) -> &BTreeSet<HostPath> {
        &self.read
    }

    /// Paths that may be read and written.
    pub fn write(&self) -> &BTreeSet<HostPath> {
        &self.write
    }

    /// The network.
    pub fn network(&self) -> &NetworkClass {
        &self.network
    }

    /// The programs.
    pub fn programs(&self) -> &ProgramList {
        &self.programs
    }

    /// The limits.
    pub fn limits(&self) -> &PolicyLimits {
        &self.limits
    }

    /// Nothing but these paths, each in one list only.
    fn of_paths(read: BTreeSet<HostPath>, write: BTreeSet<HostPath>) -> Self {
        let write = outermost(write);
        let mut read = outermost(read);
        read.retain(|path| !write.iter().any(|above| path.is_within(above)));
        Self {
            read,
            write,
            network: NetworkClass::None,
            programs: ProgramList::None,
            limits: PolicyLimits::default(),
        }
    }
}

/// Those that no other one holds.
fn widest(mut to: BTreeSet<Destination>) -> BTreeSet<Destination> {
    let all: Vec<_> = to.iter().cloned().collect();
    to.retain(|one| !all.iter().any(|wide| wide != one && wide.holds(one)));
    to
}

impl NetworkClass {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Brokered(_) => "brokered",
            Self::Host => "host",
        }
    }

    /// What both allow.
    #[must_use]
    pub fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Host, narrower) | (narrower, Self::Host) => narrower.clone(),
            (Self::Brokered(ours), Self::Brokered(theirs)) => {
                let held = |ones: &BTreeSet<Destination>, by: &BTreeSet<Destination>| -> Vec<Destination> {
                    let held = |one: &&Destination| by.iter().any(|wide| wide.holds(one));
                    ones.iter().filter(held).cloned().collect()
                };
                let both = held(ours, theirs).into_iter().chain(held(theirs, ours));
                match widest(both.collect()) {
                    both if both.is_empty() => Self::None,
                    both => Self::Brokered(both),
                }
            }
            (Self::None, _) | (_, Self::None) => Self::None,
        }
    }
}

impl ProgramList {
    fn both(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, narrower) | (narrower, Self::All) => narrower.clone(),
            (Self::Listed(ours), Self::Listed(theirs)) => {
                let both = common(ours, theirs);
                if both.is_empty() {
                    Self::None
                } else {
                    Self::Listed(both)
                }
            }
            (Self::None, _) | (_, Self::None) => Self::None,
        }
    }
}

impl PolicyLimits {
    fn least(&self, other: &Self) -> Self {
        let least = |one: Option<u64>, two: Option<u64>| one.into_iter().chain(two).min();
        Self {
            wall_seconds: least(self.wall_seconds, other.wall_seconds),
            cpu_seconds: least(self.cpu_seconds, other.cpu_seconds),
            memory_mib: least(self.memory_mib, other.memory_mib),
            processes: least(self.processes, other.processes),
            scratch_mib: least(self.scratch_mib, other.scratch_mib),
            output_mib: least(self.output_mib, other.output_mib),
        }
    }

    fn values(&self) -> impl Iterator<Item = u64> {
        let all = [
            self.wall_seconds,
            self.cpu_seconds,
            self.memory_mib,
            self.processes,
            self.scratch_mib,
            self.output_mib,
        ];
        all.into_iter().flatten()
    }
}

impl TryFrom<Form> for RunPolicy {
    type Error = String;
    fn try_from(form: Form) -> Result<Self, String> {
        if form.limits.values().any(|value| value == 0) {
            return Err("its limits must be above 0; leave out those that the node should choose".to_owned());
        }
        let network = match (form.network.class, form.network.to) {
            (Class::None, to) if to.is_empty() => NetworkClass::None,
            (Class::Host, to) if to.is_empty() => NetworkClass::Host,
            (Class::Brokered, to) if !to.is_empty() => NetworkClass::Brokered(widest(to)),
            (Class::Brokered, _) => {
                return Err(
                    "the network class brokered needs destinations in \"to\", as in [\"db.example.com:5432\"]"
                        .to_owned(),
                );
            }
            _ => {
                return Err(
                    "destinations in \"to\" belong to the network class brokered; choose it, or leave them out"
                        .to_owned(),
                );
            }
        };
        let programs = match form.programs {
            ProgramForm::Word(ProgramWord::All) => ProgramList::All,
            ProgramForm::Word(ProgramWord::None) => ProgramList::None,
            ProgramForm::Listed(listed) if listed.is_empty() => ProgramList::None,
            ProgramForm::Listed(listed) => ProgramList::Listed(outermost(listed)),
        };
        let shown = form.read.iter().chain(&form.write);
        if let Some(why) = shown.clone().find_map(HostPath::of_the_product) {
            return Err(why);
        }
        let listed = match &programs {
            ProgramList::Listed(listed) => Some(listed),
            ProgramList::All | ProgramList::None => None,
        };
        if let Some(why) = shown
            .chain(listed.into_iter().flatten())
            .find_map(HostPath::of_the_jail)
        {
            return Err(why);
        }
        Ok(Self {
            network,
            programs,
            limits: form.limits,
            ..Self::of_paths(form.read, form.write)
        })
    }
}

impl From<RunPolicy> for Form {
    fn from(policy: RunPolicy) -> Self {
        let (class, to) = match policy.network {
            NetworkClass::None => (Class::None, BTreeSet::new()),
            NetworkClass::Brokered(to) => (Class::Brokered, to),
            NetworkClass::Host => (Class::Host, BTreeSet::new()),
        };
        Self {
            read: policy.read,
            write: policy.write,
            network: NetworkForm { class, to },
            programs: match policy.programs {
                ProgramList::All => ProgramForm::Word(ProgramWord::All),
                ProgramList::None => ProgramForm::Word(ProgramWord::None),
                ProgramList::Listed(listed) => ProgramForm::Listed(listed),
            },
            limits: policy.limits,
        }
    }
}

#[cfg(test)]
mod tests;
