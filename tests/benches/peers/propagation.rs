//! How soon a change of what is trusted is in force on a whole fleet, beside a message to as many subscribers of NATS.
//!
//! All times are microseconds of the clock since boot, which the processes share.

mod nats;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use muster_daemon::{Clock, descriptors};
use muster_tests::{Applicant, Member, Person, Server, Settings, folder};
use serde_json::{Value, json};

pub(crate) use self::nats::{ARGUMENT, subscribe};
use self::nats::{Nats, Subscribers};
use crate::{
    fleet::Fleet,
    report::{Row, note},
    sample::number,
};

/// Nodes, and subscribers.
const NODES: usize = 1_000;
/// Rounds that are not counted: the first finds cold caches on both sides.
const WARM_UP: usize = 2;

/// The rows of `rounds` changes and as many messages.
pub(crate) async fn rows(rounds: usize) -> anyhow::Result<Vec<Row>> {
    descriptors::raise();
    note(&format!("propagation: {NODES} nodes join"));
    let server = Server::start(&Settings::default());
    let admin = server.admin().await;
    let state = State::new()?;
    let fleet = Fleet::start_in(&server, NODES, &state.0).await?;
    fleet.until("joined").await?;
    fleet.until(&format!("connected {NODES}")).await?;
    let member = Applicant::new("beside").await.join(&server).await;
    note(&format!("propagation: {NODES} subscribers connect"));
    let folder = folder("nats");
    let nats = Nats::start(&folder).await?;
    let subscribers = Subscribers::start(&nats, &server, NODES).await?;
    let mut publisher = nats.connect().await?;

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for round in 0..WARM_UP + rounds {
        let (change, message) = if round % 2 == 0 {
            let change = change(&admin, &fleet, round).await?;
            (change, message(&member, &mut publisher, &subscribers).await?)
        } else {
            let message = message(&member, &mut publisher, &subscribers).await?;
            (change(&admin, &fleet, round).await?, message)
        };
        if round >= WARM_UP {
            ours.push(percentile(&change, 99)?);
            theirs.push(percentile(&message, 99)?);
            all.extend(change);
        }
    }
    Ok(vec![
        Row::alone("trust_propagation_1000_p50_ms", percentile(&all, 50)?, "ms"),
        Row::alone("trust_propagation_1000_p99_ms", percentile(&all, 99)?, "ms"),
        Row::beside(
            "trust_propagation_1000_vs_nats",
            &ours,
            "nats-server, TLS, 1000 subscribers",
            &theirs,
        ),
    ])
}

/// From sending one block until each node has it in force, in milliseconds.
async fn change(admin: &Person, fleet: &Fleet, round: usize) -> anyhow::Result<Vec<f64>> {
    let status: Value = admin.get("/api/v1/status").await;
    let number = status["trust_number"].as_u64().context("a number")? + 1;
    let hash = muster_ids::Sha512::of(format!("bench-{round}").as_bytes());
    let block = json!({ "item": { "type": "visualization_mod", "hash": hash } });
    let begun = now_us();
    admin
        .post("/api/v1/trust/blocks", &block)
        .await
        .context("block an item")?;
    let line = fleet.line(&format!("applied {number} ")).await?;
    after(&line, begun)
}

/// From sending one signed message until each subscriber has verified it, in milliseconds.
async fn message(
    member: &Member,
    publisher: &mut nats::Connection,
    subscribers: &Subscribers,
) -> anyhow::Result<Vec<f64>> {
    let connection = member.connect().await;
    let (_, reply) = member.trust_state(&connection, None).await;
    let message = serde_json::to_vec(&reply.head)?;
    let begun = now_us();
    publisher.publish(&message).await?;
    after(&subscribers.line("received ").await?, begun)
}

/// Milliseconds from `begun` to each of the times in `line`.
fn after(line: &str, begun: u64) -> anyhow::Result<Vec<f64>> {
    let times = line.split(' ').map(|time| {
        let time: u64 = time.parse().context("a time")?;
        Ok(number(time.saturating_sub(begun)) / 1000.0)
    });
    times.collect()
}

/// The sample below which `percent` of a hundred are.
fn percentile(samples: &[f64], percent: usize) -> anyhow::Result<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().context("there were samples")
}

/// Microseconds since boot.
fn now_us() -> u64 {
    u64::try_from(Clock::system().boot().as_micros()).unwrap_or(u64::MAX)
}

/// The folder of the nodes' state, in memory where the system offers that: a thousand nodes do not share one disk.
struct State(PathBuf);

impl State {
    fn new() -> anyhow::Result<Self> {
        let memory = Path::new("/dev/shm");
        let outer = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let path = outer.join(format!("muster-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
