//! `muster function evaluate`: an inline expression, which is no function of the library.

use clap::Args;
use muster_client::Request;
use muster_ids::Name;
use muster_wire::{
    admin::v1::run::{EvaluateExpression, Run},
    function::Limits,
};

use super::{
    arguments::{self, Input, Save},
    start,
};
use crate::{context::Context, failure::Failure, run::result};

const PATH: &str = "/api/v1/expressions";
/// The variable that holds the result.
const OUTPUT: &str = "output";

/// Evaluate an expression in TERR's language, restricted whatever is trusted
#[derive(Args)]
#[command(
    after_help = "Examples:\n  muster function evaluate 'output <- input1 * 2' --input input1=21\n  \
                  muster function evaluate 'output <- rank(input1)' --input input1=@sales.csv --column --save output=ranks.csv\n\n\
                  The expression assigns its result to output. A literal is a value, a file a column. An expression is a run like \
                  others, which muster run shows; it is always restricted, and refused where no node has the engine terr."
)]
pub(crate) struct Evaluate {
    /// The expression
    expression: String,
    /// An input: @ names a file (.csv, .json), anything else is a literal; repeat for more
    #[arg(long = "input", value_name = "NAME=VALUE|NAME=@FILE", value_parser = arguments::input)]
    inputs: Vec<Input>,
    /// The result is a column, not a value
    #[arg(long, conflicts_with = "table")]
    column: bool,
    /// The result is a table, not a value
    #[arg(long)]
    table: bool,
    /// Save the result to a file (.csv, .json)
    #[arg(long, value_name = "output=FILE", value_parser = arguments::save)]
    save: Option<Save>,
    /// Only queue the run
    #[arg(long, conflicts_with = "save")]
    no_wait: bool,
    /// The pool whose nodes may take it [default: default]
    #[arg(long)]
    pool: Option<Name>,
    /// The site whose nodes may take it [default: default]
    #[arg(long)]
    site: Option<Name>,
    /// Stop it after this time, for example 60s, 5m, 1h
    #[arg(long, value_name = "SPAN", value_parser = arguments::seconds)]
    timeout: Option<u64>,
    /// The most memory in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u64).range(1..))]
    memory: Option<u64>,
}

/// Evaluates an expression.
pub(super) async fn run(context: &Context, evaluate: Evaluate) -> Result<(), Failure> {
    start::once("--input", evaluate.inputs.iter().map(|input| input.name.as_str()))?;
    if let Some(save) = &evaluate.save {
        if save.name != OUTPUT {
            return Err(Failure::usage(format!(
                "an expression has one output, which is called output; write --save output={}",
                save.file.path.display()
            )));
        }
        result::check_target(save)?;
    }
    let kind = match (evaluate.column, evaluate.table) {
        (true, _) => "column",
        (_, true) => "table",
        _ => "value",
    };
    let request = EvaluateExpression {
        expression: evaluate.expression,
        inputs: start::values(&evaluate.inputs),
        output: Some(kind.to_owned()),
        format: evaluate.save.as_ref().map(|save| save.file.format.to_owned()),
        pool: evaluate.pool,
        site: evaluate.site,
        limits: Limits {
            wall_seconds: evaluate.timeout,
            memory_mib: evaluate.memory,
        },
    };
    let form = start::with_files(context, &request, &evaluate.inputs).await?;
    let run: Run = context.rest()?.call(Request::post(PATH).multipart(form)).await?;
    start::follow(context, run, evaluate.no_wait, evaluate.save.as_slice()).await
}
