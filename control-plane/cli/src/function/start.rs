//! `muster function run`: queue a run, wait for it, bring its outputs home.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use clap::Args;
use muster_client::{Multipart, Request};
use muster_ids::Name;
use muster_wire::{
    admin::v1::run::{Run, SubmitRun},
    function::Limits,
};

use super::{
    PATH, Which,
    arguments::{self, Given, Input, Save},
};
use crate::{
    context::Context,
    failure::Failure,
    output::Format,
    run::{result, wait},
};

/// Run a function and wait for its outputs
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster function run forecast --input x=@sales.csv --input n=3 --save y=forecast.csv\n  \
                  muster function run forecast --input x=@sales.csv --no-wait\n  \
                  muster function run forecast --input x=@sales.csv --trace\n\n\
                  Outputs that are values are printed; tables and columns are saved where --save says. What the script printed \
                  comes on standard output and standard error.\n\n\
                  A run that did not succeed ends with exit code 1 and a first line on standard error such as \
                  \"failed: restricted call to Native[file]\". With --output json the run itself is printed, with its values in outputs.NAME.value; one that did not \
                  succeed also has the members of a problem document (type, title, detail).\n\n\
                  Ctrl-C leaves the run going; end it with muster run cancel."
)]
pub(crate) struct Start {
    /// Which.
    #[command(flatten)]
    which: Which,
    /// An input: @ names a file (.csv, .json), anything else is a literal; repeat for more
    #[arg(long = "input", value_name = "NAME=VALUE|NAME=@FILE", value_parser = arguments::input)]
    inputs: Vec<Input>,
    /// Save an output to a file (.csv, .json); repeat for more
    #[arg(long = "save", value_name = "NAME=FILE", value_parser = arguments::save)]
    saves: Vec<Save>,
    /// Only queue the run
    #[arg(long, conflicts_with = "saves")]
    no_wait: bool,
    /// The pool whose nodes may take it [default: default]
    #[arg(long)]
    pool: Option<Name>,
    /// The site whose nodes may take it [default: default]
    #[arg(long)]
    site: Option<Name>,
    /// List what it may not do as a restricted run, instead of ending it there; for authors and administrators
    #[arg(long)]
    trace: bool,
    /// The analysis that it belongs to: runs of yours with one name may share an engine and find what former ones left
    #[arg(long, value_name = "LABEL", conflicts_with = "trace")]
    analysis: Option<String>,
    /// Stop it after this time, below the function's own limit, for example 60s, 5m, 1h
    #[arg(long, value_name = "SPAN", value_parser = arguments::seconds)]
    timeout: Option<u64>,
    /// The most memory in MiB, below the function's own limit
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
}

/// Runs a function.
pub(super) async fn run(context: &Context, mut start: Start) -> Result<(), Failure> {
    once("--input", start.inputs.iter().map(|input| input.name.as_str()))?;
    once("--save", start.saves.iter().map(|save| save.name.as_str()))?;
    start.saves.iter().try_for_each(result::check_target)?;
    let rest = context.rest()?;
    if start.inputs.iter().any(Input::may_be_text) {
        let parameters = start.which.fetch(&rest).await?.definition.inputs;
        for input in &mut start.inputs {
            if let Some(parameter) = parameters.iter().find(|parameter| parameter.name == input.name) {
                input.declared(&parameter.types);
            }
        }
    }
    let form = form(context, &start).await?;
    // Without waiting: whatever happens to the connection later, the identifier of the run is known.
    let request = start
        .which
        .at(Request::post(PATH))
        .segment("runs")
        .multipart(form);
    let run: Run = rest.call(request).await?;
    follow(context, run, start.no_wait, &start.saves).await
}

/// Waits for the end of a run that was queued, and tells what came of it.
pub(super) async fn follow(
    context: &Context,
    run: Run,
    no_wait: bool,
    saves: &[Save],
) -> Result<(), Failure> {
    if no_wait {
        return context.show(&run, || {
            format!("Queued as run {}; see muster run show {}.", run.id, run.id)
        });
    }
    let rest = context.rest()?;
    let run = wait::until_final(&rest, run, context.options.output == Format::Table).await?;
    if let Some(problem) = result::problem(&run) {
        return result::tell_failure(context, &rest, &run, &problem).await;
    }
    result::tell_success(context, &rest, &run, saves).await
}

/// The request and the files, which are read while they are sent.
async fn form(context: &Context, start: &Start) -> Result<Multipart, Failure> {
    let request = SubmitRun {
        inputs: values(&start.inputs),
        outputs: start
            .saves
            .iter()
            .map(|save| (save.name.clone(), save.file.format.to_owned()))
            .collect(),
        pool: start.pool.clone(),
        site: start.site.clone(),
        limits: Limits {
            wall_seconds: start.timeout,
            memory_mib: start.memory,
        },
        trace: start.trace,
        analysis: start.analysis.clone(),
    };
    with_files(context, &request, &start.inputs).await
}

/// The literals among `inputs`.
pub(super) fn values(inputs: &[Input]) -> BTreeMap<String, serde_json::Value> {
    let mut values = BTreeMap::new();
    for input in inputs {
        if let Given::Value(value, _) = &input.given {
            values.insert(input.name.clone(), value.clone());
        }
    }
    values
}

/// A form of `request` and the files among `inputs`.
pub(super) async fn with_files(
    context: &Context,
    request: &impl serde::Serialize,
    inputs: &[Input],
) -> Result<Multipart, Failure> {
    let json = serde_json::to_vec(request)
        .map_err(|error| Failure::usage(format!("cannot write the request as JSON ({error})")))?;
    let mut form = Multipart::new(context.random.bytes()).field("request", json);
    for input in inputs {
        let Given::File(file) = &input.given else { continue };
        let (content, length) = open(&file.path).await?;
        let content_type = if file.format == "json" {
            "application/json"
        } else {
            "text/csv"
        };
        form = form.file(
            &format!("input:{}", input.name),
            &format!("{}.{}", input.name, file.format),
            content_type,
            content,
            length,
        );
    }
    Ok(form)
}

async fn open(path: &Path) -> Result<(tokio::fs::File, u64), Failure> {
    let wrong =
        |error: std::io::Error| Failure::usage(format!("cannot read the input {} ({error})", path.display()));
    // The kind first: opening a pipe would wait for its writer.
    let metadata = tokio::fs::metadata(path).await.map_err(wrong)?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!(
            "the input {} is not a regular file",
            path.display()
        )));
    }
    let file = tokio::fs::File::open(path).await.map_err(wrong)?;
    let length = file.metadata().await.map_err(wrong)?.len();
    Ok((file, length))
}

pub(super) fn once<'a>(option: &str, names: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Failure::usage(format!("{option} names {name} twice; leave one")));
        }
    }
    Ok(())
}
