//! Whether a grant may be used here, and in which mode: the node's own word.
//!
//! Invariant: [`check`] believes only what the collective's policy key signed for this node and this life of the
//! agent. [`decide`] only tightens: its mode is never looser than the granted one, nor than the one of the node's own
//! trust state, and never unrestricted on a stale one.

use std::collections::BTreeMap;

use muster_code_trust::{
    Client, DenyReason, Engine, ItemHash, Language, Mode, Moment, Outcome, Place, Question, RunPolicy,
    Settings, UserFacts, decide as decide_code,
};
use muster_ids::{Digest, NodeId, RunId};
use muster_pki::{EnvelopeError, PayloadType, Roots};
use muster_wire::{
    function::FunctionDefinition,
    node::v1::run::{Arguments, GrantPolicy, Granted, RunGrant},
};

use crate::{function, trust::Held};

/// How far the wall clocks of node and control plane may be apart.
const TOLERANCE_MS: i64 = 5 * 60 * 1000;
/// How many runs are remembered as granted before. A grant names this life of the agent, so the memory may die
/// with it.
const MAX_USED: usize = 65_536;

/// Why a grant is not used.
#[derive(Debug, thiserror::Error)]
pub enum NotAdmitted {
    /// Not signed by the collective.
    #[error("the run grant is not accepted")]
    Envelope(#[from] EnvelopeError),
    /// Signed, but not readable.
    #[error("the run grant cannot be read; are this program and the control plane of like versions?")]
    Format(#[from] serde_json::Error),
    /// For another node.
    #[error("the run grant is for the node {0}")]
    OtherNode(NodeId),
    /// It was used before.
    #[error("the run grant was used before")]
    Used,
    /// For an earlier life of this agent.
    #[error("the run grant is for an earlier life of this agent")]
    OtherLife,
    /// Its time is over or has not come.
    #[error("the run grant is not valid now; compare the clocks of node and control plane")]
    Time,
    /// The function is not the granted one.
    #[error("the function that came with the grant is not the granted one (it has the digest {found})")]
    OtherFunction {
        /// Of what came.
        found: Digest,
    },
    /// Something in it does not fit the rest.
    #[error("the run grant is not consistent: {0}")]
    Inconsistent(String),
}

/// What is done about a grant that is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: whoever sent it may not speak for the run.
    Ignore,
    /// The run goes back to the queue.
    PutBack,
}

impl NotAdmitted {
    /// What to do about it. Only what was surely granted to this node is handed back.
    pub fn answer(&self) -> Answer {
        match self {
            Self::Envelope(_) | Self::Format(_) | Self::OtherNode(_) | Self::Used => Answer::Ignore,
            Self::OtherLife | Self::Time | Self::OtherFunction { .. } | Self::Inconsistent(_) => {
                Answer::PutBack
            }
        }
    }
}

/// Where and when a grant is checked.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// This node.
    pub node: NodeId,
    /// This life of the agent.
    pub boot_nonce: &'a str,
    /// The collective's roots.
    pub roots: &'a Roots,
    /// Wall time, milliseconds since 1970, UTC.
    pub now_ms: i64,
}

/// A grant that may be used, with what was read out of it.
#[derive(Debug, Clone)]
pub struct Admitted {
    /// The grant.
    pub grant: RunGrant,
    /// Digest of its signed bytes.
    pub digest: Digest,
    /// The function.
    pub definition: FunctionDefinition,
    /// Values that came with it; each has the granted digest.
    pub arguments: Arguments,
    /// Who asks.
    pub facts: UserFacts,
    /// From where.
    pub client: Client,
    /// The language, which names the engine.
    pub language: Language,
    /// The mode that the control plane decided.
    pub mode: Mode,
    /// What the control plane says that the run may use at the most.
    pub policy: Option<RunPolicy>,
}

/// The grants that were used in this life of the agent: the highest fence of each run.
#[derive(Debug, Default)]
pub struct Used(BTreeMap<RunId, i64>);

impl Used {
    fn take(&mut self, run: RunId, fence: i64) -> Result<(), NotAdmitted> {
        match self.0.get(&run) {
            Some(used) if fence <= *used => return Err(NotAdmitted::Used),
            _ => {}
        }
        if self.0.len() >= MAX_USED {
            // Identifiers sort by age: the oldest run is the least likely to come back.
            self.0.pop_first();
        }
        self.0.insert(run, fence);
        Ok(())
    }
}

/// A grant that is not used.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub why: NotAdmitted,
    /// The claim that it was surely about, with its fence.
    pub claim: Option<(RunId, i64)>,
}

/// Verifies a grant and takes it out of circulation. A grant that fails for another reason than having been used
/// stays usable, so that a forged copy cannot burn the real one.
pub fn check(granted: Granted, ground: &Ground<'_>, used: &mut Used) -> Result<Admitted, Refused> {
    let read = || -> Result<(RunGrant, Digest), NotAdmitted> {
        let envelope = crate::envelope::read(&granted.grant, PayloadType::RunGrant)?;
        let verified = envelope.verify(PayloadType::RunGrant, ground.roots, ground.now_ms)?;
        let grant = serde_json::from_slice(&verified.payload)?;
        Ok((grant, Digest::of(&verified.payload)))
    };
    let (grant, digest) = read().map_err(|why| Refused { why, claim: None })?;
    let claim = Some((grant.run, grant.fence));
    let (facts, client, language, mode, policy) = circumstances(&grant, ground)
        .and_then(|()| content(&grant, &granted.definition))
        .and_then(|content| arguments(&grant, &granted.arguments).map(|()| content))
        .and_then(|content| used.take(grant.run, grant.fence).map(|()| content))
        .map_err(|why| Refused { why, claim })?;
    Ok(Admitted {
        grant,
        digest,
        definition: granted.definition,
        arguments: granted.arguments,
        facts,
        client,
        language,
        mode,
        policy,
    })
}

fn circumstances(grant: &RunGrant, ground: &Ground<'_>) -> Result<(), NotAdmitted> {
    if grant.node != ground.node {
        return Err(NotAdmitted::OtherNode(grant.node));
    }
    if ground.boot_nonce.is_empty() || grant.boot_nonce != ground.boot_nonce {
        return Err(NotAdmitted::OtherLife);
    }
    let now = ground.now_ms;
    if now.saturating_add(TOLERANCE_MS) < grant.issued || now.saturating_sub(TOLERANCE_MS) > grant.expires {
        return Err(NotAdmitted::Time);
    }
    Ok(())
}

fn content(
    grant: &RunGrant,
    definition: &FunctionDefinition,
) -> Result<(UserFacts, Client, Language, Mode, Option<RunPolicy>), NotAdmitted> {
    let wrong = NotAdmitted::Inconsistent;
    let word = |error: muster_code_trust::UnknownWord| wrong(error.to_string());
    let found = function::digest(definition).map_err(|error| wrong(error.to_string()))?;
    if found != grant.item {
        return Err(NotAdmitted::OtherFunction { found });
    }
    let facts: UserFacts = serde_json::from_value(grant.facts.clone())?;
    if facts.user != grant.user {
        return Err(wrong("its facts are about another user".to_owned()));
    }
    if grant.engine != definition.language {
        return Err(wrong("its engine is not that of the function".to_owned()));
    }
    for (name, blob) in &grant.inputs {
        if !definition.inputs.iter().any(|input| input.name == *name) {
            return Err(wrong(format!(
                "it has an argument \"{}\" that the function does not take",
                name.escape_default()
            )));
        }
        table_format(&blob.format)?;
    }
    if let Some(missing) =
        (definition.inputs.iter()).find(|input| !input.optional && !grant.inputs.contains_key(&input.name))
    {
        return Err(wrong(format!(
            "the argument \"{}\" is missing",
            missing.name.escape_default()
        )));
    }
    for output in &grant.outputs {
        if !definition.outputs.contains(&output.parameter) {
            return Err(wrong(
                "it wants an output that the function does not have".to_owned(),
            ));
        }
        table_format(&output.format)?;
    }
    let policy = grant.policy.as_ref().map(read_policy).transpose()?;
    let network = match &policy {
        Some(policy) => grant.network == policy.network().word(),
        None => matches!(grant.network.as_str(), "none" | "host"),
    };
    if !network {
        return Err(wrong("its network is not that of its policy".to_owned()));
    }
    let language: Language = grant.engine.parse().map_err(word)?;
    let client = grant.client.parse().map_err(word)?;
    let mode = grant.mode.parse().map_err(word)?;
    if grant.function.is_none() && language != Language::Terr {
        return Err(wrong("an expression is in the language terr".to_owned()));
    }
    if grant.session.is_some() && (grant.function.is_none() || grant.trace) {
        return Err(wrong("expressions and traced runs have no session".to_owned()));
    }
    if mode != Mode::Restricted && (grant.function.is_none() || grant.trace) {
        return Err(wrong("expressions and traced runs are restricted".to_owned()));
    }
    Ok((facts, client, language, mode, policy))
}

fn read_policy(granted: &GrantPolicy) -> Result<RunPolicy, NotAdmitted> {
    let policy: RunPolicy = serde_json::from_value(granted.policy.clone())
        .map_err(|error| NotAdmitted::Inconsistent(format!("its policy cannot be read: {error}")))?;
    if policy.digest() == granted.digest {
        Ok(policy)
    } else {
        Err(NotAdmitted::Inconsistent(
            "its policy has another digest than it says".to_owned(),
        ))
    }
}

/// What comes beside the signed grant is what the grant names.
fn arguments(grant: &RunGrant, arguments: &Arguments) -> Result<(), NotAdmitted> {
    for (name, text) in arguments {
        let granted = grant.inputs.get(name);
        if granted.is_none_or(|blob| blob.format != "json" || blob.digest != Digest::of(text.as_bytes())) {
            return Err(NotAdmitted::Inconsistent(format!(
                "the value of \"{}\" that came with it is not the granted one",
                name.escape_default()
            )));
        }
    }
    Ok(())
}

fn table_format(format: &str) -> Result<(), NotAdmitted> {
    if matches!(format, "csv" | "json") {
        Ok(())
    } else {
        Err(NotAdmitted::Inconsistent(
            "a format in it is neither csv nor json".to_owned(),
        ))
    }
}

/// What holds on this node beyond the trust state.
#[derive(Debug, Clone)]
pub struct Local {
    /// The node with its pool and site.
    pub place: Place,
    /// Whether the trust state is current.
    pub fresh: bool,
    /// Whether this node's administrator wants everything restricted.
    pub force_restricted: bool,
    /// Where a file of this node says that `disable.spotfire.trust.checks` is FALSE, for the language at hand.
    pub keeps_checks: Option<String>,
    /// Where a file of this node says that `terr.restricted.execution.mode` is TRUE.
    pub keeps_restricted_mode: Option<String>,
    /// Wall time, milliseconds since 1970, UTC, for entries that expire.
    pub now_ms: i64,
}

impl Local {
    /// The settings as this node holds to them where it is tighter than the control plane, and its file that says so.
    fn tighter(&self, settings: &Settings) -> Option<(Settings, String)> {
        let mut tight = settings.clone();
        tight.disable_trust_checks.value &= self.keeps_checks.is_none();
        tight.terr_restricted_execution_mode.value |= self.keeps_restricted_mode.is_some();
        let file = if tight.disable_trust_checks == settings.disable_trust_checks {
            &self.keeps_restricted_mode
        } else {
            &self.keeps_checks
        };
        let file = file.clone().filter(|_| tight != *settings)?;
        Some((tight, file))
    }
}

/// What happens with an admitted run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It starts.
    Run {
        /// In this mode.
        mode: Mode,
        /// By this rule.
        rule: String,
        /// And this entry or setting.
        entry: Option<String>,
    },
    /// It goes back to the queue.
    PutBack {
        /// For people.
        why: String,
    },
    /// It does not start.
    Refuse {
        /// The kind of the problem.
        problem: String,
        /// Sentences for people.
        message: String,
        /// By this rule.
        rule: String,
        /// And this entry or setting.
        entry: Option<String>,
    },
}

/// Decides once more, by the node's own trust state: the last step before a run is handed over.
pub fn decide(admitted: &Admitted, held: &Held, local: &Local) -> Decision {
    let engine = match admitted.grant.function {
        Some(_) => admitted.language.service(),
        None => Engine::TerrInline,
    };
    let question = Question::run_function(
        &admitted.facts,
        admitted.client,
        engine,
        (
            ItemHash::from(admitted.grant.item),
            (admitted.grant.function).and_then(|function| function.to_string().parse().ok()),
        ),
        Moment::from_unix_ms(local.now_ms),
    );
    let settings = held.state.settings_at(&local.place);
    let mut verdict = decide_code(&question, &held.state, &settings).verdict();
    // A word of this node can only take away, so that it is not asked where there is nothing to take.
    if verdict.outcome.mode() == Some(Mode::Unrestricted)
        && let Some((tight, file)) = local.tighter(&settings)
    {
        verdict = decide_code(&question, &held.state, &tight).verdict();
        if verdict.outcome.mode() != Some(Mode::Unrestricted) {
            let reason = format!("This node holds to the tighter setting {file}.");
            verdict.reasons.push(reason);
            verdict.entry = Some(file);
        }
    }
    let Some(own) = verdict.outcome.mode() else {
        return Decision::Refuse {
            problem: problem_of(verdict.outcome),
            message: verdict.reasons.join(" "),
            rule: verdict.rule.to_owned(),
            entry: verdict.entry,
        };
    };
    let (mode, rule, entry) = match (admitted.mode, own) {
        (Mode::Restricted, Mode::Unrestricted) => (Mode::Restricted, admitted.grant.rule.clone(), None),
        _ => (own, verdict.rule.to_owned(), verdict.entry),
    };
    if mode == Mode::Unrestricted && local.force_restricted {
        return Decision::Run {
            mode: Mode::Restricted,
            rule: "node-forces-restricted".to_owned(),
            entry: Some("trust.force_restricted in node.toml".to_owned()),
        };
    }
    if mode == Mode::Unrestricted && !local.fresh {
        return Decision::PutBack {
            why: "the trust state of this node is stale".to_owned(),
        };
    }
    Decision::Run { mode, rule, entry }
}

fn problem_of(outcome: Outcome) -> String {
    match outcome {
        Outcome::Deny { reason } => reason.as_str(),
        _ => DenyReason::Untrusted.as_str(),
    }
    .replace('_', "-")
}

#[cfg(test)]
pub(super) mod tests;
