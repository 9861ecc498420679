//! The finder of code in the library: every script, data function and custom query, with what it holds.
//!
//! Invariant: an item is written to the report as a whole and once, however often the search is interrupted and begun again,
//! and nothing in the library is changed but the stamps that were asked for.

mod code;
mod expression;
mod output;

use std::{path::PathBuf, sync::Arc};

use clap::{Args, ValueEnum};
use muster_client::{Request, Rest};
use muster_wire::admin::v1::{library::LibraryItem, session::WhoAmI};
use serde::Serialize;
use tokio::task::JoinSet;

use self::{
    code::{Found, Kind},
    expression::Expression,
    output::{Counts, Output, Wanted},
};
use super::{PATH, at, fetch};
use crate::{
    context::Context,
    escape::escaped,
    failure::Failure,
    list::{self, Extent},
    output as terminal_output, terminal,
};

/// Items that are read at the same time.
const AT_ONCE: usize = 8;

/// Find scripts, data functions and custom queries in the library, and write them to a report
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  muster library find-scripts reports --folder /Team\n  \
                  muster library find-scripts --match 'type:analysis \"sales report\"'\n  \
                  muster library find-scripts --folder /Restored --trust scripts --trust queries --yes\n\n\
                  The report, a script that trusts everything in it and one that untrusts it come into the output folder. \
                  After an interruption the same command goes on where it stopped."
)]
pub(crate) struct FindScripts {
    /// Folder for the report and the scripts
    #[arg(value_name = "FOLDER", default_value = ".")]
    place: PathBuf,
    /// Folder of the library; what is in folders in it is found too
    #[arg(long, value_name = "PATH", default_value = "/")]
    folder: String,
    /// Only items with all these words; * stands for anything, and name:, description:, path: and type: say where
    #[arg(long = "match", value_name = "WORDS")]
    expression: Option<String>,
    /// Trust what is found of this kind; repeat for more
    #[arg(long, value_name = "KIND")]
    trust: Vec<Trusted>,
    /// Read one item after the other
    #[arg(long)]
    single_threaded: bool,
    /// Say what was found in each item
    #[arg(long)]
    verbose: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// What can be trusted where it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Trusted {
    /// Scripts
    Scripts,
    /// Data functions
    DataFunctions,
    /// Custom queries
    Queries,
}

/// A search.
#[derive(Debug)]
pub(crate) struct Search {
    /// Where the report comes.
    pub(crate) output: PathBuf,
    /// Under which folder of the library.
    pub(crate) folder: String,
    /// Which items.
    pub(crate) expression: Option<String>,
    /// What is trusted where it is found.
    pub(crate) trust: Vec<Trusted>,
    /// Whether items are read one after the other.
    pub(crate) single_threaded: bool,
    /// Whether each item is told.
    pub(crate) verbose: bool,
}

/// What came of it, for programs.
#[derive(Serialize)]
struct Summary {
    report: PathBuf,
    trust_script: PathBuf,
    untrust_script: PathBuf,
    #[serde(flatten)]
    counts: Counts,
}

/// `muster library find-scripts`.
pub(super) async fn find(context: &Context, wanted: FindScripts) -> Result<(), Failure> {
    let search = Search {
        output: wanted.place,
        folder: wanted.folder,
        expression: wanted.expression,
        trust: wanted.trust,
        single_threaded: wanted.single_threaded,
        verbose: wanted.verbose,
    };
    search.confirmed(wanted.yes, "give --yes")?;
    search.run(context).await
}

impl Search {
    /// Goes on only if somebody agrees, or has agreed. A search alone changes nothing and asks nothing; what trusts asks.
    pub(crate) fn confirmed(&self, agreed: bool, cure: &str) -> Result<(), Failure> {
        if self.trust.is_empty() {
            return Ok(());
        }
        terminal::confirm(agreed, &self.question(), cure)
    }

    /// What somebody is asked before it.
    fn question(&self) -> String {
        let which = match &self.expression {
            Some(expression) => format!(" that match {}", escaped(expression)),
            None => String::new(),
        };
        let kinds: Vec<&str> = self
            .trust
            .iter()
            .map(|kind| match kind {
                Trusted::Scripts => "scripts",
                Trusted::DataFunctions => "data functions",
                Trusted::Queries => "custom queries",
            })
            .collect();
        format!(
            "Read all items under {}{which}, and trust all {} in them? That can take long.",
            escaped(&self.folder),
            kinds.join(", ")
        )
    }

    /// Searches, from the start or from where an earlier search stopped.
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let expression = match &self.expression {
            Some(text) => text
                .parse::<Expression>()
                .map_err(|error| Failure::usage(error.to_string()))?,
            None => Expression::default(),
        };
        let rest = Arc::new(context.rest()?);
        let me: WhoAmI = rest.call(Request::get("/api/v1/sessions/current")).await?;
        let root = fetch(&rest, &self.folder).await?;
        if root.kind != "folder" {
            return Err(Failure::usage(format!(
                "{} is no folder; to search one item, name its folder and its words",
                escaped(&root.path)
            )));
        }
        let wanted = Wanted {
            server: context.address()?,
            user: me.user.to_string(),
            folder: root.id.to_string(),
            expression: self.expression.clone(),
            trust: Kind::ALL
                .into_iter()
                .filter(|kind| self.trusts(*kind))
                .map(|kind| kind.word().to_owned())
                .collect(),
        };
        let mut output = Output::open(&self.output, wanted, context.clock.unix_ms())?;
        if output.is_resumed() {
            terminal_output::complain(&escaped(&format!(
                "Going on with the search of {}; {} items are done.",
                output.begun(),
                output.counts().items
            )));
        }
        match self.walk(&rest, root, &expression, &mut output).await {
            Ok(()) => {}
            Err(why) => {
                return Err(Failure::failed(
                    "incomplete",
                    format!(
                        "the search stopped after {} items: {}; the same command goes on there",
                        output.counts().items,
                        why.sentence()
                    ),
                ));
            }
        }
        let (files, counts) = output.finish()?;
        let summary = Summary {
            report: files.report,
            trust_script: files.trust,
            untrust_script: files.untrust,
            counts,
        };
        context.show(&summary, || summary.text())?;
        if summary.counts.refused > 0 {
            return Err(Failure::Said);
        }
        Ok(())
    }

    fn trusts(&self, kind: Kind) -> bool {
        let wanted = match kind {
            Kind::Script => Trusted::Scripts,
            Kind::DataFunction => Trusted::DataFunctions,
            Kind::CustomQuery => Trusted::Queries,
            // Nobody trusts one: it runs as whoever has it run.
            Kind::JobScript => return false,
        };
        self.trust.contains(&wanted)
    }

    async fn walk(
        &self,
        rest: &Arc<Rest>,
        root: LibraryItem,
        expression: &Expression,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let width = if self.single_threaded { 1 } else { AT_ONCE };
        let start = root.id;
        let mut folders = vec![root];
        while let Some(folder) = folders.pop() {
            let id = folder.id.to_string();
            let request = || Request::get(PATH).query("folder", &id);
            let items: Vec<LibraryItem> = match list::all(rest, request, &Extent::default()).await {
                Ok(items) => items,
                // It was deleted or closed meanwhile.
                Err(error) if folder.id != start && code::is_gone(&error) => continue,
                Err(error) => return Err(error),
            };
            let mut batch = Vec::new();
            for item in items {
                if item.kind == "folder" {
                    folders.push(item);
                } else if code::can_hold_code(&item.kind) && expression.matches(&item) && !output.has(item.id)
                {
                    batch.push(item);
                    if batch.len() == width {
                        self.work(rest, std::mem::take(&mut batch), output).await?;
                    }
                }
            }
            self.work(rest, batch, output).await?;
        }
        Ok(())
    }

    /// Reads items at the same time, and writes them down in their order and together.
    async fn work(
        &self,
        rest: &Arc<Rest>,
        items: Vec<LibraryItem>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        if items.is_empty() {
            return Ok(());
        }
        let mut tasks = JoinSet::new();
        for (place, item) in items.into_iter().enumerate() {
            let (rest, kinds) = (Arc::clone(rest), self.kinds());
            tasks.spawn(async move {
                let found = code::read(&rest, item, &kinds).await?;
                Ok::<_, Failure>((place, found))
            });
        }
        let mut found: Vec<(usize, Found)> = Vec::new();
        while let Some(done) = tasks.join_next().await {
            let done = done.map_err(|error| {
                Failure::failed("system", format!("reading an item was given up: {error}"))
            })?;
            found.push(done?);
        }
        found.sort_by_key(|(place, _)| *place);
        let found: Vec<Found> = found.into_iter().map(|(_, found)| found).collect();
        output.write(&found)?;
        if self.verbose {
            for one in &found {
                terminal_output::complain(&escaped(&one.sentence()));
            }
        }
        Ok(())
    }

    fn kinds(&self) -> Vec<Kind> {
        Kind::ALL.into_iter().filter(|kind| self.trusts(*kind)).collect()
    }
}

impl Summary {
    fn text(&self) -> String {
        let counts = &self.counts;
        let mut lines = vec![format!(
            "Found {} scripts, {} data functions, {} custom queries and {} job scripts in {} items.",
            counts.scripts, counts.data_functions, counts.custom_queries, counts.job_scripts, counts.items
        )];
        if counts.trusted + counts.already + counts.refused > 0 {
            lines.push(format!(
                "Trusted {}; {} were trusted already, {} were refused.",
                counts.trusted, counts.already, counts.refused
            ));
        }
        if counts.unread > 0 {
            lines.push(format!(
                "{} could not be read; the report says why.",
                counts.unread
            ));
        }
        for (what, path) in [
            ("Report", &self.report),
            ("Trust all of it", &self.trust_script),
            ("Untrust all of it", &self.untrust_script),
        ] {
            lines.push(escaped(&format!("{what}: {}", path.display())));
        }
        lines.join("\n")
    }
}
