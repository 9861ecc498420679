//! Many nodes in one process, for tests and benchmarks of a control plane.
//!
//! ```text
//! fleet REGISTRATION CA_FINGERPRINT FOLDER NODES [TOKEN_FILE]
//! ```
//!
//! Joins those nodes that have no identity below FOLDER yet, then connects all. Standard output, one a line: `waits ID
//! FINGERPRINT` for each request that needs an approval, `joined`, `connected N` whenever all are, `lost` when that ends,
//! `applied NUMBER TIME…` when all hold a trust state, with the time at which each had it in force, in microseconds since
//! boot. The process ends with its standard input.

#![forbid(unsafe_code)]

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use muster_agent::{
    agent::Agent,
    sim::{SimError, Simulated, is_connected},
};
use muster_daemon::{Clock, descriptors, log};
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

/// Nodes that make keys and write files at the same time.
const AT_ONCE: usize = 256;
/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

struct Wanted {
    registration: String,
    fingerprint: String,
    folder: PathBuf,
    nodes: usize,
    token: Option<String>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(wanted) = wanted() else {
        complain("fleet REGISTRATION CA_FINGERPRINT FOLDER NODES [TOKEN_FILE]");
        return ExitCode::from(2);
    };
    descriptors::raise();
    // Without a log, which is one line for each change of each node, this says nothing but its result.
    let levels =
        muster_daemon::environment().find_map(|(name, value)| (name == "FLEET_LOG").then_some(value));
    if let Some(levels) = levels
        && let Err(error) = begin_log(&levels)
    {
        complain(&error);
    }
    let ended = tokio::select! {
        ended = run(&wanted) => ended,
        () = end_of_input() => Ok(()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&muster_agent::sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn begin_log(levels: &str) -> Result<(), String> {
    let levels = levels
        .parse()
        .map_err(|error: log::NotLevels| error.to_string())?;
    log::start(log::LogFormat::Json, &levels, Clock::system()).map_err(|error| error.to_string())
}

fn wanted() -> Option<Wanted> {
    let mut arguments = std::env::args().skip(1);
    Some(Wanted {
        registration: arguments.next()?,
        fingerprint: arguments.next()?,
        folder: arguments.next()?.into(),
        nodes: arguments.next()?.parse().ok()?,
        token: arguments.next(),
    })
}

async fn run(wanted: &Wanted) -> Result<(), SimError> {
    let turns = Arc::new(Semaphore::new(AT_ONCE));
    let mut joining = JoinSet::new();
    for number in 1..=wanted.nodes {
        let mut settings = vec![
            (
                "MUSTER_CONTROL_PLANE__REGISTRATION".to_owned(),
                wanted.registration.clone(),
            ),
            (
                "MUSTER_JOIN__CA_FINGERPRINT".to_owned(),
                wanted.fingerprint.clone(),
            ),
        ];
        settings.extend(
            wanted
                .token
                .clone()
                .map(|token| ("MUSTER_JOIN__TOKEN_FILE".to_owned(), token)),
        );
        let node = Simulated::new(&format!("sim{number:05}"), &wanted.folder, settings)?;
        let turns = turns.clone();
        joining.spawn(async move {
            let mut turn = turns.acquire_owned().await.ok();
            let credentials = node
                .join(|id, fingerprint| {
                    say(&format!("waits {id} {fingerprint}"));
                    // Others go on while this one waits for a person.
                    turn = None;
                })
                .await?;
            Ok::<_, SimError>((node, credentials))
        });
    }
    let mut members = Vec::with_capacity(wanted.nodes);
    while let Some(joined) = joining.join_next().await {
        match joined {
            Ok(joined) => members.push(joined?),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    say("joined");
    let (stop, connected) = (CancellationToken::new(), Arc::new(AtomicUsize::new(0)));
    let (applied, states) = mpsc::unbounded_channel();
    tokio::spawn(say_applied(states, wanted.nodes));
    for (node, credentials) in &members {
        let agent = node.work(credentials, stop.clone())?;
        tokio::spawn(watch_state(agent.clone(), applied.clone()));
        let connected = connected.clone();
        tokio::spawn(async move {
            let mut link = agent.link.subscribe();
            let mut was = false;
            loop {
                let is = is_connected(&agent);
                match (was, is) {
                    (false, true) => drop(connected.fetch_add(1, Ordering::SeqCst)),
                    (true, false) => drop(connected.fetch_sub(1, Ordering::SeqCst)),
                    _ => {}
                }
                was = is;
                if link.changed().await.is_err() {
                    return;
                }
            }
        });
    }
    let mut all = false;
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let now = connected.load(Ordering::SeqCst) == wanted.nodes;
        if now != all {
            all = now;
            say(&if all {
                format!("connected {}", wanted.nodes)
            } else {
                "lost".to_owned()
            });
        }
    }
}

/// Tells the number of each trust state that `agent` has in force, and since when.
async fn watch_state(agent: Arc<Agent>, applied: mpsc::UnboundedSender<(u64, u128)>) {
    let mut versions = agent.trust.versions();
    while versions.changed().await.is_ok() {
        let since = agent.clock.boot().as_micros();
        let number = versions.borrow_and_update().map(|version| version.number);
        if number.is_some_and(|number| applied.send((number, since)).is_err()) {
            return;
        }
    }
}

/// Says when all nodes hold a state; one that not all have held is forgotten with the next.
async fn say_applied(mut states: mpsc::UnboundedReceiver<(u64, u128)>, nodes: usize) {
    let mut held: BTreeMap<u64, Vec<u128>> = BTreeMap::new();
    while let Some((number, since)) = states.recv().await {
        let times = held.entry(number).or_default();
        times.push(since);
        if times.len() == nodes {
            let times: Vec<String> = times.iter().map(ToString::to_string).collect();
            say(&format!("applied {number} {}", times.join(" ")));
            held = held.split_off(&(number + 1));
        }
    }
}

async fn end_of_input() {
    let (end, ended) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        drop(end);
    });
    let _ = ended.await;
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

fn complain(line: &str) {
    let _ = writeln!(io::stderr(), "fleet: {line}");
}
