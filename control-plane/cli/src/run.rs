//! `muster run`: runs of data functions.

mod follow;
mod receipt;
pub(crate) mod result;
pub(crate) mod wait;

use std::io::IsTerminal as _;

use clap::{Args, Subcommand};
use muster_client::{Request, Rest};
use muster_ids::RunId;
use muster_wire::admin::v1::run::Run;

use crate::{
    context::Context,
    escape::escaped_lines,
    failure::Failure,
    function::Save,
    list::{self, Extent},
    output, table,
};

const PATH: &str = "/api/v1/runs";
/// The states of a run.
const STATES: [&str; 8] = [
    "queued",
    "running",
    "succeeded",
    "failed",
    "refused",
    "cancelled",
    "timed_out",
    "lost",
];

/// Runs of data functions
#[derive(Subcommand)]
pub(crate) enum Command {
    /// List your runs, newest first; administrators see all
    List {
        /// Only runs in this state
        #[arg(long, value_parser = STATES)]
        state: Option<String>,
        /// How many.
        #[command(flatten)]
        extent: Extent,
    },
    /// Show one run: where, in which mode and why it ran, how it ended
    #[command(after_help = "Example:\n  muster run show ID --save y=out.csv")]
    Show {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Save an output to a file, in the format that it has; repeat for more
        #[arg(long = "save", value_name = "NAME=FILE", value_parser = crate::function::save)]
        saves: Vec<Save>,
    },
    /// Print what a run wrote to standard output and standard error
    #[command(after_help = "Example:\n  muster run logs ID --follow")]
    Logs {
        /// Which.
        #[command(flatten)]
        which: Which,
        /// Print also what it writes from now on, and how far it is, until it has ended
        #[arg(long, short)]
        follow: bool,
    },
    /// End a run with everything that it started
    Cancel(Which),
    /// Signed receipts of runs: have them, and verify them without a control plane
    #[command(subcommand)]
    Receipt(receipt::Command),
}

/// A run.
#[derive(Args)]
pub(crate) struct Which {
    /// Identifier of the run
    run: RunId,
}

/// Does `command`.
pub(crate) async fn run(context: &Context, command: Command) -> Result<(), Failure> {
    match command {
        Command::List { state, extent } => {
            let request = || match &state {
                Some(state) => Request::get(PATH).query("state", state),
                None => Request::get(PATH),
            };
            let runs: Vec<Run> = list::all(&context.rest()?, request, &extent).await?;
            context.show(&runs, || rows(&runs, context.colour))
        }
        Command::Show { which, saves } => {
            saves.iter().try_for_each(result::check_target)?;
            let rest = context.rest()?;
            let run: Run = rest.call(at(Request::get(PATH), which.run)).await?;
            let saved = result::save(&rest, &run, &saves).await?;
            context.show(&run, || {
                let fields = fields(&run, context.colour);
                std::iter::once(fields)
                    .chain(saved)
                    .collect::<Vec<_>>()
                    .join("\n")
            })
        }
        Command::Logs { which, follow: true } => follow::follow(context, &context.rest()?, which.run).await,
        Command::Logs { which, follow: false } => follow::so_far(context, &context.rest()?, which.run).await,
        Command::Cancel(which) => {
            let request = at(Request::post(PATH), which.run).segment("cancel");
            let run: Run = context.rest()?.call(request).await?;
            context.show(&run, || {
                if wait::is_final(&run) {
                    crate::escape::escaped(&format!("The run {} is {}.", run.id, run.state))
                } else {
                    format!("The run {} is being ended; see muster run show.", run.id)
                }
            })
        }
        Command::Receipt(command) => receipt::run(context, command).await,
    }
}

fn at(request: Request, run: RunId) -> Request {
    request.segment(&run.to_string())
}

/// What a run wrote, `stdout` or `stderr`.
async fn stream(rest: &Rest, run: RunId, name: &str) -> Result<Vec<u8>, Failure> {
    let answer = rest.send(at(Request::get(PATH), run).segment(name)).await?;
    Ok(answer.body.to_vec())
}

/// Passes on what a run wrote: byte by byte to a file or program, escaped to a terminal.
fn print_streams(stdout: &[u8], stderr: &[u8]) -> Result<(), Failure> {
    let harmless = |bytes: &[u8], terminal: bool| {
        if terminal {
            escaped_lines(&String::from_utf8_lossy(bytes)).into_bytes()
        } else {
            bytes.to_vec()
        }
    };
    output::bytes(&harmless(stdout, std::io::stdout().is_terminal()))?;
    output::complain_bytes(&harmless(stderr, std::io::stderr().is_terminal()));
    Ok(())
}

fn rows(runs: &[Run], colour: bool) -> String {
    table::rows(
        [
            "id", "function", "state", "mode", "user", "language", "queued", "finished",
        ],
        runs.iter().map(|run| {
            [
                run.id.to_string(),
                run.function_name.to_string(),
                run.state.clone(),
                table::or_dash(run.mode.as_ref()),
                run.user.to_string(),
                run.language.clone(),
                table::time(&run.created),
                table::time_or_dash(run.finished.as_ref()),
            ]
        }),
        "No runs.",
        colour,
    )
}

fn fields(run: &Run, colour: bool) -> String {
    let optional = |text: Option<&String>| text.cloned().unwrap_or_default();
    let why = run.why.as_ref();
    let ending = run.ending.as_ref();
    let outputs: Vec<_> = run
        .outputs
        .iter()
        .map(|(name, blob)| format!("{name}: {}, {}", blob.format, table::size(blob.size)))
        .collect();
    let timings: Vec<_> = ending
        .into_iter()
        .flat_map(|ending| &ending.timings)
        .map(|(name, ms)| format!("{} {ms} ms", name.trim_end_matches("_ms")))
        .collect();
    table::fields(
        [
            ("Run", run.id.to_string()),
            ("State", run.state.clone()),
            ("Queue", run.queued_before.map(follow::place).unwrap_or_default()),
            (
                "Progress",
                run.progress.as_ref().map(follow::progress).unwrap_or_default(),
            ),
            (
                "Ending",
                ending.map(|ending| ending.message.clone()).unwrap_or_default(),
            ),
            (
                "Function",
                run.function.map_or_else(
                    || run.function_name.to_string(),
                    |id| format!("{} ({id})", run.function_name),
                ),
            ),
            ("Digest", run.digest.to_string()),
            ("User", run.user.to_string()),
            ("Mode", optional(run.mode.as_ref())),
            ("Rule", why.map(|why| why.rule.clone()).unwrap_or_default()),
            ("Entry", why.and_then(|why| why.entry.clone()).unwrap_or_default()),
            (
                "Groups",
                why.map(|why| why.group_path.join(" -> ")).unwrap_or_default(),
            ),
            (
                "Reasons",
                why.map(|why| why.reasons.join("\n")).unwrap_or_default(),
            ),
            (
                "Engine",
                run.engine.clone().unwrap_or_else(|| run.language.clone()),
            ),
            (
                "Package set",
                ending
                    .and_then(|ending| ending.packages)
                    .map(|set| set.to_string())
                    .unwrap_or_default(),
            ),
            ("Node", run.node.map(|node| node.to_string()).unwrap_or_default()),
            ("Place", format!("pool {}, site {}", run.pool, run.site)),
            ("Queued", table::time(&run.created)),
            ("Started", table::time_or_dash(run.started.as_ref())),
            ("Finished", table::time_or_dash(run.finished.as_ref())),
            ("Attempts", run.attempts.to_string()),
            ("Timings", timings.join(", ")),
            (
                "Peak memory",
                ending
                    .map(|ending| table::size(ending.peak_bytes))
                    .unwrap_or_default(),
            ),
            (
                "Limits degraded",
                ending
                    .map(|ending| ending.limits_degraded.join("\n"))
                    .unwrap_or_default(),
            ),
            (
                "Oversteps",
                ending
                    .map(|ending| ending.oversteps.join("\n"))
                    .unwrap_or_default(),
            ),
            ("Outputs", outputs.join("\n")),
        ],
        colour,
    )
}
