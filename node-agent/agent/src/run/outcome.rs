//! The outcome of a run with its signed receipt.
//!
//! Invariant: outcome and receipt say the same; what they name is small and part of the outcome, or durable in the spool
//! before they are.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use muster_engines::{Cure, Outcome as EngineOutcome, Printed, RunEnding};
use muster_ids::{Digest, NodeId, RunId, UserName};
use muster_wire::{
    function::{BlobRef, Blobs},
    node::v1::{
        outcome::{
            Captured, Contents, Ending, MAX_CONTENT, MAX_CONTENTS, Outcome, PREDICATE_TYPE, Predicate,
            STATEMENT_TYPE, Statement, Subject,
        },
        run::WantedOutput,
        trust_state::TrustVersion,
    },
};

use super::{Why, admit::Admitted, withdrawn::Withdrawn};
use crate::{
    receipt::{ReceiptError, Receipts},
    spool::{Claim, Spool, SpoolError},
    trust::wire_version,
};

/// The problem of a run that was stopped because its trust was withdrawn.
const WITHDRAWN: &str = "trust-withdrawn";

/// What a run stands on: who asked for what, and what decided.
#[derive(Debug, Clone)]
pub struct Grounds {
    /// The run.
    pub run: RunId,
    /// The claim.
    pub fence: i64,
    /// The user.
    pub user: UserName,
    /// Digest of the grant's signed bytes.
    pub grant: Digest,
    /// Digest of the function.
    pub item: Digest,
    /// Digests of the inputs.
    pub inputs: BTreeMap<String, Digest>,
    /// The rule that decided.
    pub rule: String,
    /// The entry or setting that decided.
    pub entry: Option<String>,
    /// The trust state that decided; none before there was one.
    pub trust: Option<TrustVersion>,
    /// The policy of an unrestricted run, where one is set.
    pub policy: Option<Digest>,
    /// The content of the package set that it was given.
    pub packages: Option<Digest>,
    /// When the node began, milliseconds since 1970, UTC.
    pub started: i64,
}

impl Grounds {
    /// What would let the run do what it may not: trust in its function, unless a setting restricts trusted ones, too.
    pub(super) fn cure<'a>(&'a self, function: Option<&'a str>) -> Cure<'a> {
        let restricts = matches!(
            self.rule.as_str(),
            "terr-restricted-mode" | "node-forces-restricted"
        );
        match (function, &self.entry) {
            (None, _) => Cure::Expression,
            (Some(_), Some(setting)) if restricts => Cure::Setting(setting),
            (Some(name), _) => Cure::Trust(name),
        }
    }

    /// Those of an admitted grant; until the node has decided, the control plane's rule stands.
    pub fn of_grant(admitted: &Admitted, started: i64) -> Self {
        Self::new(&admitted.grant, admitted.digest, started, None)
    }

    /// Those of a claim that was found after a restart.
    pub fn of_claim(claim: &Claim) -> Self {
        Self::new(
            &claim.grant,
            claim.digest,
            claim.claimed_at,
            Some(claim.grant.trust.clone()),
        )
    }

    fn new(
        grant: &muster_wire::node::v1::run::RunGrant,
        digest: Digest,
        started: i64,
        trust: Option<TrustVersion>,
    ) -> Self {
        Self {
            run: grant.run,
            fence: grant.fence,
            user: grant.user.clone(),
            grant: digest,
            item: grant.item,
            inputs: grant
                .inputs
                .iter()
                .map(|(name, blob)| (name.clone(), blob.digest))
                .collect(),
            rule: grant.rule.clone(),
            entry: None,
            trust,
            policy: None,
            packages: None,
            started,
        }
    }
}

/// What happened, before it is signed.
#[derive(Debug, Clone, Default)]
pub struct Ended {
    state: &'static str,
    problem: Option<String>,
    message: String,
    mode: Option<&'static str>,
    /// Milliseconds by name.
    pub timings: BTreeMap<String, u64>,
    peak_bytes: u64,
    limits_degraded: Vec<String>,
    limits_met: Vec<String>,
    oversteps: Vec<String>,
    /// What lies in the spool.
    pub files: Files,
}

/// Blobs of an outcome.
#[derive(Debug, Clone, Default)]
pub struct Files {
    outputs: Blobs,
    stdout: Option<Captured>,
    stderr: Option<Captured>,
    /// The small ones, which lie in no file.
    contents: Contents,
}

/// Takes up what is small, as long as there is room in the outcome.
struct Room {
    left: u64,
    contents: Contents,
}

impl Room {
    fn new() -> Self {
        Self {
            left: MAX_CONTENTS,
            contents: Contents::new(),
        }
    }

    fn fits(&self, size: u64) -> bool {
        size <= MAX_CONTENT.min(self.left)
    }

    fn put(&mut self, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        self.left = self.left.saturating_sub(bytes.len() as u64);
        self.contents.insert(digest, STANDARD.encode(bytes));
        digest
    }
}

impl Ended {
    /// Something on this node went wrong before the run could start.
    pub fn failed(problem: &str, message: String) -> Self {
        Self {
            state: "failed",
            problem: Some(problem.to_owned()),
            message,
            ..Self::default()
        }
    }

    /// This node's decision said no.
    pub fn refused(problem: &str, message: String) -> Self {
        Self {
            state: "refused",
            ..Self::failed(problem, message)
        }
    }

    /// It was ended from outside before it started.
    pub fn stopped(why: Why) -> Self {
        let mut ended = Self::failed("", String::new());
        ended.blame(why);
        ended
    }

    /// The agent ended while it ran.
    pub fn interrupted() -> Self {
        Self::failed(
            "agent-restarted",
            "The agent restarted while it ran. Start the function again.".to_owned(),
        )
    }

    fn blame(&mut self, why: Why) {
        let (state, problem, message) = match why {
            Why::Cancelled => ("cancelled", "cancelled", "The run was cancelled."),
            Why::Stopping => (
                "failed",
                "agent-stopped",
                "The agent was stopped while it ran. Start the function again.",
            ),
            Why::Revoked => (
                "failed",
                "node-revoked",
                "The node was revoked while it ran. Start the function again.",
            ),
            Why::Withdrawn => (
                "failed",
                WITHDRAWN,
                "The run was stopped: its trust was withdrawn while it ran.",
            ),
        };
        self.state = state;
        self.problem = Some(problem.to_owned());
        message.clone_into(&mut self.message);
    }
}

/// Writes down that trust was withdrawn while the run went on: as what ended it, or that it was let finish.
pub fn note_withdrawn(withdrawn: &Withdrawn, ended: &mut Ended, grounds: &mut Grounds) {
    if ended.problem.as_deref() == Some(WITHDRAWN) {
        ended.message = format!("{} {}", ended.message, withdrawn.reasons);
        // By what it could begin is said too: rule and entry are from here on those that ended it.
        let entry = grounds.entry.as_ref().map(|entry| format!(", {entry}"));
        let number = grounds.trust.as_ref().map_or(0, |trust| trust.number);
        ended.limits_met.push(format!(
            "it began by state {number} ({}{})",
            grounds.rule,
            entry.unwrap_or_default()
        ));
        grounds.rule.clone_from(&withdrawn.rule);
        grounds.entry.clone_from(&withdrawn.entry);
        grounds.trust = Some(wire_version(&withdrawn.version));
    } else {
        ended.limits_met.push(format!(
            "trust withdrawn by state {} ({}), and it had not ended before",
            withdrawn.version.number, withdrawn.rule
        ));
    }
}

/// What an engine's ending means.
pub fn of_engine(ending: &RunEnding, cure: Cure<'_>, why: Option<Why>) -> Ended {
    let (state, problem) = match &ending.outcome {
        EngineOutcome::Succeeded => ("succeeded", None),
        EngineOutcome::TimedOut => ("timed_out", Some("time-limit")),
        EngineOutcome::Cancelled => ("cancelled", Some("cancelled")),
        EngineOutcome::OutOfMemory => ("failed", Some("memory-limit")),
        EngineOutcome::ScriptError { .. } if ending.met_memory_limit() => ("failed", Some("memory-limit")),
        EngineOutcome::JailRefused { .. } => ("failed", Some("jail-refused")),
        EngineOutcome::Signalled { .. } => ("failed", Some("script-killed")),
        EngineOutcome::Exited { .. } => ("failed", Some("script-exited")),
        EngineOutcome::ScriptError { .. } | EngineOutcome::RestrictedCall { .. } => {
            ("failed", Some("script-failed"))
        }
    };
    let problem = if ending.overstep().is_some() {
        Some("restricted-call")
    } else {
        problem
    };
    let started = !matches!(&ending.outcome, EngineOutcome::JailRefused { .. });
    let mut met = match &ending.outcome {
        EngineOutcome::TimedOut => vec!["wall time".to_owned()],
        _ if ending.met_memory_limit() => vec!["memory".to_owned()],
        _ => Vec::new(),
    };
    met.extend(ending.network_refused.iter().map(|one| format!("network: {one}")));
    let mode = match ending.mode {
        muster_engines::Mode::Restricted => "restricted",
        muster_engines::Mode::Unrestricted => "unrestricted",
    };
    let mut ended = Ended {
        state,
        problem: problem.map(str::to_owned),
        message: ending.in_words(cure),
        mode: started.then_some(mode),
        timings: BTreeMap::from([
            ("running_ms".to_owned(), ending.wall_ms),
            ("cpu_ms".to_owned(), ending.cpu_ms),
        ]),
        peak_bytes: ending.peak_bytes,
        limits_degraded: ending.limits_degraded.clone(),
        limits_met: met,
        oversteps: ending.oversteps.clone(),
        files: Files::default(),
    };
    if let (EngineOutcome::Cancelled, Some(why)) = (&ending.outcome, why) {
        ended.blame(why);
    }
    ended
}

/// Whether nothing that a run left needs a file of its own, so that keeping it takes no time.
pub fn is_small(ending: &RunEnding) -> bool {
    let printed = [&ending.stdout, &ending.stderr].map(|printed| printed.bytes.len() as u64);
    let sizes = ending.outputs.iter().map(|output| output.size).chain(printed);
    let fits = |room: u64, size: u64| room.checked_sub(size).filter(|_| size <= MAX_CONTENT);
    sizes.into_iter().try_fold(MAX_CONTENTS, fits).is_some()
}

/// Takes up what a run left: what is small for its outcome, all else into the spool, where outputs are durable once they
/// are settled. Blocks while it reads.
pub fn keep_files(
    spool: &Spool,
    run: RunId,
    fence: i64,
    ending: &RunEnding,
    wanted: &[WantedOutput],
) -> Result<Files, SpoolError> {
    let mut room = Room::new();
    let mut files = Files {
        stdout: captured(spool, (run, fence), &ending.stdout, &mut room)?,
        stderr: captured(spool, (run, fence), &ending.stderr, &mut room)?,
        ..Files::default()
    };
    for output in &ending.outputs {
        let (digest, size) = if room.fits(output.size) {
            let bytes = spool.read(&output.path)?;
            (room.put(&bytes), bytes.len() as u64)
        } else {
            spool.adopt(run, fence, &output.path)?
        };
        let format = wanted
            .iter()
            .find(|wanted| wanted.parameter.name == output.name)
            .map_or_else(|| "json".to_owned(), |wanted| wanted.format.clone());
        let blob = BlobRef { digest, size, format };
        files.outputs.insert(output.name.clone(), blob);
    }
    files.contents = room.contents;
    Ok(files)
}

fn captured(
    spool: &Spool,
    (run, fence): (RunId, i64),
    printed: &Printed,
    room: &mut Room,
) -> Result<Option<Captured>, SpoolError> {
    if printed.bytes.is_empty() {
        return Ok(None);
    }
    let size = printed.bytes.len() as u64;
    let digest = if room.fits(size) {
        room.put(&printed.bytes)
    } else {
        spool.put(run, fence, &printed.bytes)?
    };
    Ok(Some(Captured {
        blob: BlobRef {
            digest,
            size,
            format: "text".to_owned(),
        },
        truncated: printed.truncated,
    }))
}

/// The outcome with its receipt.
pub async fn build(
    grounds: &Grounds,
    ended: Ended,
    engine: String,
    node: NodeId,
    finished: i64,
    receipts: &Receipts,
) -> Result<Outcome, ReceiptError> {
    let mut limits = ended.limits_met.clone();
    limits.extend(
        ended
            .limits_degraded
            .iter()
            .map(|limit| format!("degraded: {limit}")),
    );
    let statement = Statement {
        kind: STATEMENT_TYPE.to_owned(),
        subject: ended
            .files
            .outputs
            .iter()
            .map(|(name, blob)| Subject {
                name: name.clone(),
                digest: BTreeMap::from([("sha256".to_owned(), blob.digest.hex())]),
            })
            .collect(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        predicate: Predicate {
            grant: grounds.grant,
            run: grounds.run,
            fence: grounds.fence,
            user: grounds.user.clone(),
            item: grounds.item,
            mode: ended.mode.map(str::to_owned),
            rule: grounds.rule.clone(),
            entry: grounds.entry.clone(),
            policy: grounds.policy,
            packages: grounds.packages,
            node,
            trust_number: grounds.trust.as_ref().map_or(0, |version| version.number),
            trust: grounds.trust.clone(),
            inputs: grounds.inputs.clone(),
            state: ended.state.to_owned(),
            started: grounds.started,
            finished,
            limits,
        },
    };
    let receipt = crate::envelope::wire(&receipts.sign(&statement).await?);
    Ok(Outcome {
        fence: grounds.fence,
        state: ended.state.to_owned(),
        ending: Ending {
            problem: ended.problem,
            message: ended.message,
            mode: ended.mode.map(str::to_owned),
            rule: grounds.rule.clone(),
            entry: grounds.entry.clone(),
            engine,
            packages: grounds.packages,
            stdout: ended.files.stdout,
            stderr: ended.files.stderr,
            timings: ended.timings,
            peak_bytes: ended.peak_bytes,
            limits_degraded: ended.limits_degraded,
            oversteps: ended.oversteps,
        },
        outputs: ended.files.outputs,
        contents: ended.files.contents,
        receipt,
    })
}

/// Whether nothing belongs to an outcome but itself.
pub fn is_whole(outcome: &Outcome) -> bool {
    blobs(outcome).all(|blob| outcome.contents.contains_key(&blob.digest))
}

/// The blobs that an outcome names.
pub fn blobs(outcome: &Outcome) -> impl Iterator<Item = &BlobRef> {
    let printed = [&outcome.ending.stdout, &outcome.ending.stderr];
    outcome
        .outputs
        .values()
        .chain(printed.into_iter().flatten().map(|captured| &captured.blob))
}
