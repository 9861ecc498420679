//! What the commands say and ask, and with which exit code they end: 0 done, 1 refused or failed, 2 wrong usage.

mod join;
mod leave;
mod look;

use std::{
    error::Error,
    io::{self, BufRead as _, IsTerminal as _, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use muster_agent::{
    cli::{Cli, Command, Output},
    config::Config,
    home::Home,
    sentence,
    service::Service,
};
use muster_daemon::{Clock, Random, config::ConfigErrors, shutdown};
use muster_wire::problem::{KIND_PREFIX, Problem};

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The kind of the problem.
    kind: &'static str,
    /// One sentence with the cure.
    sentence: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl Failure {
    /// An error with its causes.
    pub(crate) fn of(kind: &'static str, error: &dyn Error) -> Self {
        Self::new(kind, sentence(error))
    }

    fn new(kind: &'static str, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            exit: 1,
        }
    }
}

/// What all commands need.
struct Context {
    config: Config,
    config_file: PathBuf,
    state_dir: PathBuf,
    output: Output,
    clock: Clock,
    random: Random,
}

/// Does what was asked for.
pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let (config_file, must_exist) = cli.config_file();
    // A join may be what writes the file.
    let must_exist = must_exist && !matches!(cli.command, Command::Join(_));
    let config = load(&config_file, must_exist).map_err(|errors| Failure {
        exit: 2,
        ..Failure::new("configuration", errors.to_string())
    })?;
    let state_dir = cli.state_dir.map(absolute);
    let context = Context {
        state_dir: state_dir.clone().unwrap_or_else(|| config.state_dir.clone()),
        config,
        config_file,
        output: cli.output,
        clock: Clock::system(),
        random: Random::system(),
    };
    match cli.command {
        Command::Join(arguments) => join::join(context, arguments, state_dir).await,
        Command::Confirm { ca_fingerprint } => join::confirm(&context, ca_fingerprint),
        Command::Run => Box::pin(serve(context, must_exist)).await,
        Command::Status => look::status(&context),
        Command::Doctor => look::doctor(&context).await,
        Command::Leave { yes, force } => leave::leave(&context, yes, force).await,
    }
}

/// A path of the command line as it is meant, wherever it is used later.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn load(file: &std::path::Path, must_exist: bool) -> Result<Config, ConfigErrors> {
    Config::load(file, must_exist, muster_daemon::environment())
}

async fn serve(context: Context, must_exist: bool) -> Result<ExitCode, Failure> {
    let Context {
        config,
        config_file,
        state_dir,
        clock,
        random,
        ..
    } = context;
    // The log shows the machine's own time, beside that of other logs.
    muster_daemon::log::start(config.log_format, &config.log_level, Clock::system())
        .map_err(|error| Failure::of("log", &error))?;
    let signals = shutdown::listen().map_err(|error| Failure::of("system", &error))?;
    let home = Home::create(&state_dir).map_err(|error| Failure::of("state-folder", &error))?;
    let config_folder = config_file
        .parent()
        // A bare name lies in the present folder.
        .map(|folder| if folder.as_os_str().is_empty() { std::path::Path::new(".") } else { folder })
        .filter(|folder| folder.is_dir())
        .map(std::path::Path::to_owned);
    let service = Service {
        config,
        reload: Box::new(move || load(&config_file, must_exist)),
        config_folder,
        home,
        clock,
        random,
        signals,
    };
    match service.run().await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::of("agent", &error)),
    }
}

/// Writes a result. A reader who has gone away is no error.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Tells a person something beside the result.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says why a command did not succeed.
pub(crate) fn complain(failure: &Failure, json: bool) {
    note(&format!("muster-node: {}", failure.sentence));
    if json {
        tell_problem(
            failure.kind,
            &failure.sentence,
            if failure.exit == 2 { 400 } else { 500 },
        );
    }
}

fn tell_problem(kind: &str, sentence: &str, status: u16) {
    let problem = Problem {
        kind: format!("{KIND_PREFIX}{kind}"),
        title: "The command did not succeed".to_owned(),
        status,
        detail: sentence.to_owned(),
        instance: None,
    };
    say(&format!("{}\n", serde_json::json!(problem)));
}

/// What clap says of a command line: help and version are no failures.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    // That nobody listens any more is nothing more to tell.
    let _ = error.print();
    if !error.use_stderr() {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<_> = std::env::args_os().collect();
    let json = arguments.iter().any(|argument| argument == "--output=json")
        || arguments
            .windows(2)
            .any(|pair| pair[0] == "--output" && pair[1] == "json");
    if json {
        let sentence = muster_daemon::usage::sentence(&error.to_string());
        tell_problem("usage", &sentence, 400);
    }
    ExitCode::from(2)
}

fn is_terminal() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// Asks a person; anything but yes is no.
fn ask(question: &str) -> bool {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{question} [y/N] ").and_then(|()| err.flush());
    let mut answer = String::new();
    let read = io::stdin().lock().read_line(&mut answer);
    read.is_ok() && matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}
