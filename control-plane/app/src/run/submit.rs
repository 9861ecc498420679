//! A person asks for a run: arguments are checked against the function's declaration, then it is queued.

use std::collections::BTreeMap;

use muster_ids::{Digest, FunctionId, Name, RunId, UserId};
use muster_model::{
    audit::Event,
    join::Capability,
    permission::{Authorized, Caller, Operation},
    run::{Run, RunState},
};
use muster_store::{Draft, RunRow};
use muster_wire::{
    admin::v1::run::{Run as WireRun, SubmitRun},
    function::{BlobRef, Blobs, FunctionDefinition, Limits},
    node::v1::run::{Arguments, GrantLimits, WantedOutput},
};
use serde_json::json;
use unicode_normalization::UnicodeNormalization as _;

use super::{Request, to_json};
use crate::{App, Error, Queues, function::no_such_function};

/// Wall time of a run whose function says nothing: the documented `engine.execution.timeout`, in seconds.
const DEFAULT_WALL_SECONDS: u64 = 600;
/// Formats that are understood.
const FORMATS: [&str; 2] = ["csv", "json"];
/// Seconds after which it makes sense to ask again for a place in a full queue.
const QUEUE_RETRY: u64 = 10;
/// The longest value that travels with its run, in bytes; longer ones are blobs …
const LONGEST_ARGUMENT: usize = 4 * 1024;
/// … as are those beyond so many bytes in all.
const MOST_ARGUMENTS: usize = 64 * 1024;
/// The longest name of an analysis, in bytes.
const LONGEST_LABEL: usize = 200;
/// The largest idempotency key.
const LONGEST_KEY: usize = 200;

/// Everything that comes with a request for a run.
#[derive(Debug, Clone, Default)]
pub struct Submission {
    /// Values, formats, limits, place.
    pub request: SubmitRun,
    /// Data that was stored already, by input name.
    pub files: Blobs,
    /// `Idempotency-Key`.
    pub idempotency_key: Option<String>,
}

/// What is to run.
pub(super) struct Asked {
    /// The library item; an expression is none.
    pub(super) function: Option<FunctionId>,
    /// Its name.
    pub(super) name: Name,
    /// Of its content.
    pub(super) digest: Digest,
    /// Its content.
    pub(super) definition: FunctionDefinition,
}

impl App {
    /// Queues a run of the current version of a function.
    pub async fn submit_run(
        &self,
        caller: &Caller,
        reference: &str,
        submission: Submission,
    ) -> Result<WireRun, Error> {
        let authorized = self.authorize(caller, Operation::Run).await?;
        if submission.request.trace {
            self.authorize(caller, Operation::TraceRuns).await?;
            if submission.request.analysis.is_some() {
                return Err(Error::invalid(
                    "a traced run shares no engine with others; leave the field analysis or the field trace away",
                ));
            }
        }
        let current = self.known_function(reference).await?;
        self.require_readable(caller, current.function.id, || no_such_function(reference))
            .await?;
        let asked = Asked {
            function: Some(current.function.id),
            name: current.function.name.clone(),
            digest: current.function.current,
            definition: current.definition.clone(),
        };
        self.queue(&authorized, asked, submission).await
    }

    /// Queues a run of what is `asked` for.
    pub(super) async fn queue(
        &self,
        authorized: &Authorized,
        asked: Asked,
        submission: Submission,
    ) -> Result<WireRun, Error> {
        let caller = authorized.caller();
        let Caller::User(user) = caller else {
            return Err(Error::invalid("runs are asked for by users"));
        };
        let digest = submission_digest(&asked, &submission)?;
        if let Some(key) = &submission.idempotency_key {
            if key.is_empty() || key.len() > LONGEST_KEY {
                return Err(Error::invalid("an Idempotency-Key has 1 to 200 characters"));
            }
            if let Some(answer) = self.store().idempotency_lookup(user.id, key).await? {
                if answer.request_digest != digest {
                    return Err(Error::Invalid {
                        kind: "idempotency-key-reused",
                        detail: "this Idempotency-Key was used for another request; use a new one".to_owned(),
                    });
                }
                let id: RunId = answer.body.parse().map_err(Error::bug)?;
                return self.show_run(caller, id).await;
            }
        }
        let mut request = self.request(&asked.definition, &submission).await?;
        let (pool, site) = (&submission.request.pool, &submission.request.site);
        let (pool, site) = self.known_places(pool.as_ref(), site.as_ref()).await?;
        let capability = capability(&asked.definition.language)?;
        let language = asked.definition.language.clone();
        if asked.function.is_none() {
            request.expression = Some(asked.definition);
        }
        let analysis = submission.request.analysis.as_deref();
        request.session = analysis.map(|label| session(user.id, label)).transpose()?;
        let now = self.now();
        let row = RunRow {
            run: Run {
                id: self.random().id(now, RunId::new),
                state: RunState::Queued,
                fence: 0,
                node: None,
                lease_until: None,
                cancel_requested: false,
                stale_since: None,
                version: 1,
            },
            function: asked.function,
            function_name: asked.name,
            digest: asked.digest,
            engine: language,
            user: user.id,
            user_name: user.name.clone(),
            client: "web".to_owned(),
            capability,
            pool: pool.id,
            site: site.id,
            request: to_json(&request)?,
            mode: None,
            verdict: None,
            engine_description: None,
            created_at: now,
            started_at: None,
            finished_at: None,
            ending: None,
            outputs: None,
            receipt: None,
        };
        let mut tx = self.store().begin(authorized).await?;
        let queues = self.options().queues;
        let lengths = tx
            .queue_lengths(&row, (queues.per_queue, queues.per_user))
            .await?;
        room(&row, lengths, queues)?;
        tx.run_insert(&row).await?;
        if let Some(key) = &submission.idempotency_key {
            tx.idempotency_store(
                user.id,
                key,
                &muster_store::Answer {
                    request_digest: digest,
                    status: 202,
                    body: row.run.id.to_string(),
                    created_at: now,
                },
            )
            .await?;
        }
        let detail = json!({ "function": row.function_name.as_str(), "digest": row.digest.to_string() });
        tx.commit(
            Draft::new(Event::RunSubmitted, row.run.id.to_string(), detail),
            now,
        )
        .await?;
        self.run_to_wire(row).await
    }

    /// The arguments, checked: every input given that must be, none that is not declared.
    async fn request(
        &self,
        definition: &FunctionDefinition,
        submission: &Submission,
    ) -> Result<Request, Error> {
        let mut inputs = submission.files.clone();
        let mut arguments = Arguments::new();
        let mut room = MOST_ARGUMENTS;
        let wanted = &submission.request;
        for (name, value) in &wanted.inputs {
            let declared = definition.inputs.iter().find(|input| input.name == *name);
            let Some(declared) = declared else {
                return Err(unknown_input(definition, name));
            };
            if declared.kind != "value" {
                return Err(argument(format!(
                    "the input {name} is a {}; give it as a file: --input {name}=@FILE.csv",
                    declared.kind
                )));
            }
            if value.is_object() || value.is_array() {
                return Err(argument(format!(
                    "the input {name} is a value; give a number, a text, true, false or null"
                )));
            }
            if inputs.contains_key(name) {
                return Err(argument(format!("the input {name} is given twice")));
            }
            let text = serde_json::to_string(value).map_err(Error::bug)?;
            if text.len() > LONGEST_ARGUMENT.min(room) {
                inputs.insert(name.clone(), self.store_bytes(text.as_bytes(), "json").await?);
                continue;
            }
            room -= text.len();
            let argument = BlobRef {
                digest: Digest::of(text.as_bytes()),
                size: text.len() as u64,
                format: "json".to_owned(),
            };
            inputs.insert(name.clone(), argument);
            arguments.insert(name.clone(), text);
        }
        for (name, file) in &submission.files {
            if definition.inputs.iter().all(|input| input.name != *name) {
                return Err(unknown_input(definition, name));
            }
            require_format(&file.format)?;
        }
        for input in &definition.inputs {
            if !input.optional && !inputs.contains_key(&input.name) {
                return Err(argument(format!(
                    "the function \"{}\" needs the input {} ({}); give it with --input {}=…",
                    definition.name, input.name, input.kind, input.name
                )));
            }
        }
        Ok(Request {
            inputs,
            arguments,
            outputs: outputs(definition, &wanted.outputs)?,
            limits: limits(&definition.limits, &wanted.limits)?,
            trace: wanted.trace,
            session: None,
            expression: None,
        })
    }
}

/// Names the session of a user and an analysis. Nodes learn nothing else of the label.
fn session(user: UserId, label: &str) -> Result<Digest, Error> {
    let label: String = label.trim().nfc().collect();
    if label.is_empty() || label.len() > LONGEST_LABEL || label.chars().any(char::is_control) {
        return Err(Error::invalid(format!(
            "the name of an analysis is one line of at most {LONGEST_LABEL} bytes"
        )));
    }
    let user = user.to_string();
    Ok(Digest::of_framed(&[
        b"muster-session/1",
        user.as_bytes(),
        label.as_bytes(),
    ]))
}

/// Whether one more run may wait. Of several control planes that ask at once each may let one in.
fn room(row: &RunRow, (in_queue, of_user): (u64, u64), queues: Queues) -> Result<(), Error> {
    let full = |what: String| {
        Err(Error::QueueFull {
            detail: what,
            retry_after: QUEUE_RETRY,
        })
    };
    if of_user >= u64::from(queues.per_user) {
        return full(format!(
            "{of_user} runs of {} wait already, as many as one user may have waiting; wait until some have ended, or end \
             some: muster run list --state queued, muster run cancel ID",
            row.user_name
        ));
    }
    if in_queue >= u64::from(queues.per_queue) {
        return full(format!(
            "{in_queue} runs wait already for nodes with {} in this pool and site, as many as may wait there; try again \
             later or in another pool, or ask an administrator for more nodes (muster node list)",
            row.capability
        ));
    }
    Ok(())
}

fn outputs(
    definition: &FunctionDefinition,
    formats: &BTreeMap<String, String>,
) -> Result<Vec<WantedOutput>, Error> {
    for (name, format) in formats {
        require_format(format)?;
        if definition.outputs.iter().all(|output| output.name != *name) {
            let names: Vec<&str> = definition
                .outputs
                .iter()
                .map(|output| output.name.as_str())
                .collect();
            return Err(argument(format!(
                "the function \"{}\" has no output {name:?}; it has {}",
                definition.name,
                list(&names)
            )));
        }
    }
    Ok(definition
        .outputs
        .iter()
        .map(|output| {
            let usual = if output.kind == "value" { "json" } else { "csv" };
            let format = formats.get(&output.name).map_or(usual, String::as_str).to_owned();
            WantedOutput {
                parameter: output.clone(),
                format,
            }
        })
        .collect())
}

/// The tighter of what the function and the request say.
fn limits(function: &Limits, request: &Limits) -> Result<GrantLimits, Error> {
    if request.wall_seconds == Some(0) || request.memory_mib == Some(0) {
        return Err(argument("limits must be above 0".to_owned()));
    }
    let tighter = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    Ok(GrantLimits {
        wall_seconds: tighter(function.wall_seconds, request.wall_seconds).unwrap_or(DEFAULT_WALL_SECONDS),
        memory_mib: tighter(function.memory_mib, request.memory_mib).unwrap_or(0),
    })
}

fn require_format(format: &str) -> Result<(), Error> {
    if FORMATS.contains(&format) {
        return Ok(());
    }
    let shown: String = format.chars().take(16).flat_map(char::escape_default).collect();
    Err(argument(format!(
        "the format \"{shown}\" is not supported by this version; use csv or json"
    )))
}

fn capability(language: &str) -> Result<Capability, Error> {
    language.parse().map_err(|error: String| Error::bug(error))
}

pub(super) fn unknown_input(definition: &FunctionDefinition, name: &str) -> Error {
    let names: Vec<&str> = definition
        .inputs
        .iter()
        .map(|input| input.name.as_str())
        .collect();
    let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
    argument(format!(
        "the function \"{}\" has no input \"{shown}\"; it has {}",
        definition.name,
        list(&names)
    ))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn argument(detail: String) -> Error {
    Error::Invalid {
        kind: "invalid-argument",
        detail,
    }
}

fn submission_digest(asked: &Asked, submission: &Submission) -> Result<Digest, Error> {
    let request = to_json(&submission.request)?;
    let files = to_json(&submission.files)?;
    let what = asked
        .function
        .map_or_else(|| asked.digest.to_string(), |id| id.to_string());
    Ok(Digest::of_framed(&[
        what.as_bytes(),
        request.as_bytes(),
        files.as_bytes(),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_named_by_user_and_analysis_however_it_is_written() {
        let (ann, bob) = (UserId::new(1, [1; 10]), UserId::new(1, [2; 10]));
        let of = |user, label: &str| session(user, label).expect("a session");
        assert_eq!(of(ann, "Verkäufe 2026"), of(ann, " Verka\u{308}ufe 2026 "));
        assert_ne!(of(ann, "Verkäufe 2026"), of(bob, "Verkäufe 2026"));
        assert_ne!(of(ann, "sales"), of(ann, "Sales"));
        for wrong in ["", "  ", "two\nlines", "\u{0}", &"x".repeat(201)] {
            assert!(session(ann, wrong).is_err(), "{wrong:?}");
        }
        assert!(session(ann, &"x".repeat(200)).is_ok());
    }

    #[test]
    fn the_tighter_limit_holds() {
        let limits = |wall, memory| Limits {
            wall_seconds: wall,
            memory_mib: memory,
        };
        let of = |a, b| super::limits(&a, &b).expect("limits");
        assert_eq!(
            of(limits(Some(5), None), limits(Some(9), Some(64))),
            GrantLimits {
                wall_seconds: 5,
                memory_mib: 64
            }
        );
        assert_eq!(
            of(Limits::default(), Limits::default()),
            GrantLimits {
                wall_seconds: 600,
                memory_mib: 0
            }
        );
        assert!(super::limits(&Limits::default(), &limits(Some(0), None)).is_err());
    }

    #[test]
    fn a_format_that_is_not_there_yet_is_an_error_that_says_so() {
        let error = require_format("sbdf").expect_err("not yet").to_string();
        assert_eq!(
            error,
            "the format \"sbdf\" is not supported by this version; use csv or json"
        );
    }
}
