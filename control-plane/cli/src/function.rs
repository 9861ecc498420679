//! `muster function`: data functions of the library.

mod arguments;
mod evaluate;
mod policy;
mod register;
mod stamp;
mod start;

pub(crate) use arguments::{Save, save};
pub(crate) use policy::text;
pub(crate) use register::digest_of;

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_ids::{FunctionId, Name};
use muster_wire::{admin::v1::function::Function, function::Parameter};

use crate::{
    context::Context,
    escape::{escaped, escaped_lines},
    failure::Failure,
    list::{self, Extent},
    table,
};

const PATH: &str = "/api/v1/functions";

/// Data functions: register, run, trust
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Put a function, or a new version of it, into the library
    Register(register::Register),
    /// List functions
    List(Extent),
    /// Show one function with its script
    Show(Which),
    /// Run a function and wait for its outputs
    Run(start::Start),
    /// Evaluate an expression in TERR's language, restricted whatever is trusted
    Evaluate(evaluate::Evaluate),
    /// Trust exactly this version of a function, which you have read
    Trust(stamp::Trust),
    /// Remove the trust in a function
    Untrust(Which),
    /// Show or set what the unrestricted runs of a function may use
    Policy(policy::Policy),
}

/// A function.
#[derive(Args)]
pub(crate) struct Which {
    /// Name or identifier of the function
    function: Name,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    // What is wrong in files is said before anybody is asked to log in.
    match command {
        Command::Register(arguments) => register::run(context, arguments).await,
        Command::Run(arguments) => start::run(context, arguments).await,
        Command::Evaluate(arguments) => evaluate::run(context, arguments).await,
        Command::Trust(arguments) => stamp::trust(context, arguments).await,
        Command::Untrust(which) => stamp::untrust(context, &which).await,
        Command::Policy(arguments) => policy::run(context, arguments).await,
        Command::List(extent) => {
            let rest = context.rest()?;
            let functions: Vec<Function> = list::all(&rest, || Request::get(PATH), &extent).await?;
            context.show(&functions, || rows(&functions, context.colour))
        }
        Command::Show(which) => {
            let function = which.fetch(&context.rest()?).await?;
            context.show(&function, || {
                format!(
                    "{}\n\n{}",
                    fields(&function, context.colour),
                    escaped_lines(function.definition.script.trim_end())
                )
            })
        }
    }
}

/// The names of all functions.
pub(crate) async fn names(rest: &Rest) -> Result<BTreeMap<FunctionId, Name>, Failure> {
    let functions: Vec<Function> = list::all(rest, || Request::get(PATH), &Extent::default()).await?;
    Ok(functions
        .into_iter()
        .map(|function| (function.id, function.definition.name))
        .collect())
}

impl Which {
    fn at(&self, request: Request) -> Request {
        request.segment(self.function.as_str())
    }

    async fn fetch(&self, rest: &Rest) -> Result<Function, Failure> {
        Ok(rest.call(self.at(Request::get(PATH))).await?)
    }
}

fn rows(functions: &[Function], colour: bool) -> String {
    table::rows(
        ["name", "language", "trusted", "digest", "updated by", "updated"],
        functions.iter().map(|function| {
            [
                function.definition.name.to_string(),
                function.definition.language.clone(),
                table::yes_no(function.trusted),
                table::short_digest(&function.digest),
                table::or_dash(function.updated_by.as_ref()),
                table::time(&function.updated),
            ]
        }),
        "No functions. Put one into the library with muster function register.",
        colour,
    )
}

/// A function without its script.
fn fields(function: &Function, colour: bool) -> String {
    let definition = &function.definition;
    let limits = &definition.limits;
    let limit = |value: Option<u64>, unit: &str| value.map(|value| format!("{value} {unit}"));
    let limits: Vec<_> = [limit(limits.wall_seconds, "s"), limit(limits.memory_mib, "MiB")]
        .into_iter()
        .flatten()
        .collect();
    table::fields(
        [
            ("Function", function.id.to_string()),
            ("Name", definition.name.to_string()),
            ("Description", definition.description.clone()),
            ("Language", definition.language.clone()),
            ("Inputs", parameters(&definition.inputs)),
            ("Outputs", parameters(&definition.outputs)),
            ("Packages", definition.packages.join("\n")),
            ("Limits", limits.join(", ")),
            ("Digest", function.digest.to_string()),
            ("Trusted", table::yes_no(function.trusted)),
            (
                "Updated",
                table::dated(&function.updated, function.updated_by.as_ref()),
            ),
        ],
        colour,
    )
}

fn parameters(parameters: &[Parameter]) -> String {
    let one = |parameter: &Parameter| {
        let types = if parameter.types.is_empty() {
            String::new()
        } else {
            format!(" of {}", parameter.types.join(", "))
        };
        let optional = if parameter.optional { ", optional" } else { "" };
        escaped(&format!(
            "{}: {}{types}{optional}",
            parameter.name, parameter.kind
        ))
    };
    parameters.iter().map(one).collect::<Vec<_>>().join("\n")
}
