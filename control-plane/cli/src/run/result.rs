//! What came of a run: its outputs, or its failure in words.

use std::{ffi::OsString, path::Path};

use muster_client::{Request, Rest};
use muster_wire::{admin::v1::run::Run, function::BlobRef, problem::KIND_PREFIX};
use serde_json::{Value, json};

use super::{PATH, at, print_streams, stream};
use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    function::Save,
    output::{self, Format},
    table,
};

/// Values up to this size are printed.
const LARGEST_VALUE: u64 = 64 * 1024;

/// Why a run did not succeed.
pub(crate) struct Problem {
    kind: String,
    /// The state and the first line, then what to do.
    sentence: String,
}

/// Why `run`, which has ended, did not succeed; `None` if it did.
pub(crate) fn problem(run: &Run) -> Option<Problem> {
    if run.state == "succeeded" {
        return None;
    }
    let ending = run.ending.as_ref();
    let message = ending
        .map(|ending| ending.message.trim())
        .filter(|message| !message.is_empty());
    let reasons = run
        .why
        .as_ref()
        .map(|why| why.reasons.join(" "))
        .filter(|reasons| !reasons.is_empty());
    let message = message
        .map(str::to_owned)
        .or(reasons)
        .unwrap_or_else(|| usual(&run.state).to_owned());
    Some(Problem {
        kind: ending
            .and_then(|ending| ending.problem.clone())
            .unwrap_or_else(|| format!("run-{}", run.state)),
        sentence: format!("{}: {message}", run.state),
    })
}

/// What is known where nobody said more.
fn usual(state: &str) -> &'static str {
    match state {
        "cancelled" => "a person asked to end it",
        "timed_out" => "its time was over; give more with --timeout, or have the function's limit raised",
        "lost" => {
            "the node that had it was not heard of again; nothing is repeated by itself, run the function again"
        }
        _ => "no reason is known; see muster run show",
    }
}

/// Tells why a run did not succeed, and what it wrote until then.
pub(crate) async fn tell_failure(
    context: &Context,
    rest: &Rest,
    run: &Run,
    problem: &Problem,
) -> Result<(), Failure> {
    output::complain(&escaped_lines(&problem.sentence));
    output::complain(&format!("(run {}; see muster run show)", run.id));
    if context.options.output == Format::Json {
        output::json(&with_problem(run, problem))?;
    } else {
        print_logs(rest, run).await?;
        list_oversteps(run);
    }
    Err(Failure::Said)
}

/// The run, which is also a problem document: other members are allowed there (RFC 9457 3.2).
fn with_problem(run: &Run, problem: &Problem) -> Value {
    let mut value = json!(run);
    if let Value::Object(members) = &mut value {
        let kind = problem.kind.strip_prefix(KIND_PREFIX).unwrap_or(&problem.kind);
        members.insert("type".to_owned(), json!(format!("{KIND_PREFIX}{kind}")));
        members.insert("title".to_owned(), json!("The run did not succeed"));
        members.insert("detail".to_owned(), json!(problem.sentence));
    }
    value
}

/// Prints what a run wrote and its values, and saves its other outputs.
pub(crate) async fn tell_success(
    context: &Context,
    rest: &Rest,
    run: &Run,
    saves: &[Save],
) -> Result<(), Failure> {
    let saved = save(rest, run, saves).await?;
    if context.options.output == Format::Json {
        return output::json(&with_values(rest, run).await?);
    }
    print_logs(rest, run).await?;
    list_oversteps(run);
    for (name, blob) in run
        .outputs
        .iter()
        .filter(|(name, _)| saves.iter().all(|save| save.name != **name))
    {
        output::line(&shown(rest, run, name, blob).await?)?;
    }
    saved.iter().try_for_each(|line| output::line(line))
}

/// What a traced run did although restricted scripts may not.
fn list_oversteps(run: &Run) {
    for what in run.ending.iter().flat_map(|ending| &ending.oversteps) {
        output::complain(&escaped(&format!("restricted call to {what}")));
    }
}

/// The run, with each output that is a value in `outputs.NAME.value`.
async fn with_values(rest: &Rest, run: &Run) -> Result<Value, Failure> {
    let mut whole = json!(run);
    for (name, blob) in &run.outputs {
        if let Some(value) = small_value(rest, run, name, blob).await? {
            whole["outputs"][name]["value"] = value;
        }
    }
    Ok(whole)
}

/// Saves outputs and says where they are.
pub(crate) async fn save(rest: &Rest, run: &Run, saves: &[Save]) -> Result<Vec<String>, Failure> {
    let mut saved = Vec::with_capacity(saves.len());
    for save in saves {
        let blob = run
            .outputs
            .get(&save.name)
            .ok_or_else(|| missing(run, &save.name))?;
        if blob.format != save.file.format {
            return Err(Failure::failed(
                "wrong-format",
                format!(
                    "the output {} of run {} is {}; save it under a name that ends in .{}",
                    save.name, run.id, blob.format, blob.format
                ),
            ));
        }
        download(rest, run, &save.name, blob, &save.file.path).await?;
        saved.push(escaped(&format!(
            "{}: saved to {} ({})",
            save.name,
            save.file.path.display(),
            table::size(blob.size)
        )));
    }
    Ok(saved)
}

/// Says before a run begins that its output could not be saved.
pub(crate) fn check_target(save: &Save) -> Result<(), Failure> {
    let path = &save.file.path;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if path.is_dir() {
        return Err(Failure::usage(format!(
            "cannot save to {}: it is a folder",
            path.display()
        )));
    }
    if !folder.is_dir() {
        return Err(Failure::usage(format!(
            "cannot save to {}: the folder {} does not exist; make it first",
            path.display(),
            folder.display()
        )));
    }
    Ok(())
}

async fn print_logs(rest: &Rest, run: &Run) -> Result<(), Failure> {
    let Some(ending) = &run.ending else { return Ok(()) };
    let mut streams = [Vec::new(), Vec::new()];
    for (text, (captured, name)) in streams
        .iter_mut()
        .zip([(&ending.stdout, "stdout"), (&ending.stderr, "stderr")])
    {
        if captured.as_ref().is_some_and(|captured| captured.blob.size > 0) {
            *text = stream(rest, run.id, name).await?;
        }
    }
    print_streams(&streams[0], &streams[1])?;
    for (captured, name) in [
        (&ending.stdout, "standard output"),
        (&ending.stderr, "standard error"),
    ] {
        if captured.as_ref().is_some_and(|captured| captured.truncated) {
            output::complain(&format!("(the end of its {name} was not kept)"));
        }
    }
    Ok(())
}

/// An output that was not saved: a value itself, of other things how to get them.
async fn shown(rest: &Rest, run: &Run, name: &str, blob: &BlobRef) -> Result<String, Failure> {
    if let Some(value) = small_value(rest, run, name, blob).await? {
        return Ok(escaped(&format!("{name} = {value}")));
    }
    Ok(escaped(&format!(
        "{name}: {}, {}; get it with muster run show {} --save {name}=FILE.{}",
        blob.format,
        table::size(blob.size),
        run.id,
        blob.format
    )))
}

/// An output that is a value and not a table or a column.
async fn small_value(rest: &Rest, run: &Run, name: &str, blob: &BlobRef) -> Result<Option<Value>, Failure> {
    if blob.format != "json" || blob.size > LARGEST_VALUE {
        return Ok(None);
    }
    let value: Value = rest.call(output_request(run, name)).await?;
    // Engines write a value as {"type": …, "value": …}.
    let value = value.get("value").cloned().unwrap_or(value);
    Ok((!value.is_array() && !value.is_object()).then_some(value))
}

fn output_request(run: &Run, name: &str) -> Request {
    at(Request::get(PATH), run.id).segment("outputs").segment(name)
}

/// Writes an output beside `path` and puts it there when it is whole.
async fn download(rest: &Rest, run: &Run, name: &str, blob: &BlobRef, path: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(
            "file",
            format!("cannot save the output {name} to {} ({error})", path.display()),
        )
    };
    let mut unfinished = OsString::from(".");
    unfinished.push(path.file_name().unwrap_or_default());
    unfinished.push(format!(".{}.muster-new", run.id));
    let unfinished = path.with_file_name(unfinished);
    let mut file = tokio::fs::File::create(&unfinished).await.map_err(failed)?;
    let request = rest.authorized(output_request(run, name));
    let connection = rest.connection().await?;
    let whole = match connection
        .download(request, &mut file, blob.digest, blob.size)
        .await
    {
        Ok(_) => tokio::fs::rename(&unfinished, path).await.map_err(failed),
        Err(error) => Err(error.into()),
    };
    if whole.is_err() {
        // The first failure is the one to tell.
        let _ = tokio::fs::remove_file(&unfinished).await;
    }
    whole
}

fn missing(run: &Run, name: &str) -> Failure {
    let names: Vec<_> = run.outputs.keys().map(String::as_str).collect();
    Failure::failed(
        "not-found",
        format!(
            "the run {} ({}) has no output {name}; it has {}",
            run.id,
            run.state,
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        ),
    )
}
