//! A whole fleet on one control plane: what it costs at rest, how it comes back, and how one more joins during a flood.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::IpAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use muster_tests::{
    Applicant, Server, Settings,
    flood::{self, Flood},
    folder, now, program,
};
use serde_json::{Value, json};

use crate::{
    memory,
    report::{Row, note},
    sample::{median, now_us, number},
};

/// Slow connections of the flood.
const SLOW: usize = 10_000;
/// Connections that send hellos one after the other.
const GREETERS: usize = 32;
/// Joins from each side of the flood.
const JOINS: usize = 20;
/// How long the fleet is left alone, and how long its control plane is then watched.
const SETTLE: Duration = Duration::from_secs(40);
const WATCHED: Duration = Duration::from_mins(1);
/// A step of a fleet; generous, for busy machines.
const PATIENCE: Duration = Duration::from_mins(15);
/// Between two looks at the state of the fleet, which costs the control plane some milliseconds.
const LOOK: Duration = Duration::from_millis(500);

/// Everything about fleets.
pub(crate) async fn rows(nodes: usize) -> anyhow::Result<Vec<Row>> {
    let mut rows = fleet(nodes).await?;
    rows.extend(joins().await?);
    Ok(rows)
}

async fn fleet(nodes: usize) -> anyhow::Result<Vec<Row>> {
    note(&format!("fleet: {nodes} nodes join"));
    let server = Server::start(&Settings::default());
    let admin = server.admin().await;
    let begun = now_us();
    let fleet = Fleet::start(&server, nodes).await?;
    fleet.until("joined").await?;
    note(&format!("fleet: joined after {:.1} s", seconds_since(begun)));
    fleet.until(&format!("connected {nodes}")).await?;
    let joined = seconds_since(begun);
    note("fleet: at rest");
    tokio::time::sleep(SETTLE).await;
    let id = server.process().id();
    let (used, watched) = (memory::ticks(id)?, now_us());
    tokio::time::sleep(WATCHED).await;
    let used = number(memory::ticks(id)? - used) / TICKS_A_SECOND;
    let percent = used / seconds_since(watched) * 100.0;
    let resident = memory::resident_mb(id)?;

    note("fleet: the control plane is killed and started again");
    let begun = now_us();
    server.restart();
    let ready = seconds_since(begun);
    fleet.until("lost").await?;
    let mut worst = 0;
    loop {
        let status: Value = admin.get("/api/v1/status").await;
        let of = |health: &str| status["nodes"][health].as_u64().unwrap_or_default();
        ensure!(of("offline") == 0, "healthy nodes were marked lost: {status}");
        worst = of("suspect").max(worst);
        if connected(&server).await? == nodes as u64 && of("online") == nodes as u64 {
            break;
        }
        ensure!(
            seconds_since(begun) < PATIENCE.as_secs_f64(),
            "the fleet does not come back: {status}"
        );
        tokio::time::sleep(LOOK).await;
    }
    let back = seconds_since(begun);
    fleet.until(&format!("connected {nodes}")).await?;
    note(&format!(
        "fleet: ready after {ready:.1} s, at most {worst} nodes were suspect"
    ));
    tokio::time::sleep(SETTLE).await;
    ensure!(
        connected(&server).await? == nodes as u64,
        "the fleet does not stay connected"
    );
    Ok(vec![
        Row::alone("fleet_nodes", number(nodes as u64), "nodes"),
        Row::alone("fleet_join_s", joined, "s"),
        Row::alone("server_rss_5000_mb", resident, "MiB"),
        Row::alone("server_cpu_5000_percent", percent, "%"),
        Row::alone("reconnect_5000_s", back, "s"),
        Row::alone(
            "reconnect_rss_5000_mb",
            memory::resident_mb(server.process().id())?,
            "MiB",
        ),
    ])
}

/// Ticks of /proc/PID/stat in a second (`USER_HZ`, the same on every Linux that we run on).
const TICKS_A_SECOND: f64 = 100.0;

fn seconds_since(begun: u64) -> f64 {
    number(now_us() - begun) / 1_000_000.0
}

/// Nodes with a control connection, as the control plane counts them.
async fn connected(server: &Server) -> anyhow::Result<u64> {
    let connection = server.plain(server.operations()).await;
    let metrics = connection.send(muster_client::Request::get("/metrics")).await?;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let line = metrics
        .lines()
        .find(|line| line.contains("nodes_connected ") && !line.starts_with('#'));
    let count = line.and_then(|line| line.rsplit(' ').next()?.parse().ok());
    count.context("the metrics say how many nodes are connected")
}

/// The simulated nodes, in a process of their own.
pub(crate) struct Fleet {
    child: Child,
    said: Said,
}

impl Fleet {
    async fn start(server: &Server, nodes: usize) -> anyhow::Result<Self> {
        Self::start_in(server, nodes, &folder("fleet")).await
    }

    /// Nodes whose state lies below `folder`.
    #[expect(clippy::disallowed_methods, reason = "a benchmark starts what it measures")]
    pub(crate) async fn start_in(server: &Server, nodes: usize, folder: &Path) -> anyhow::Result<Self> {
        let token = server.join_token(&json!({ "uses": nodes })).await;
        let file = folder.join("token");
        fs::write(&file, token)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
        let mut child = Command::new(program("examples/fleet"))
            .arg(format!("http://{}", server.registration()))
            .arg(server.root().to_string())
            .arg(folder)
            .arg(nodes.to_string())
            .arg(&file)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start the fleet, which tests/benches/run.sh builds")?;
        let said = Said::of(&mut child)?;
        Ok(Self { child, said })
    }

    /// Waits until it says `what`.
    pub(crate) async fn until(&self, what: &str) -> anyhow::Result<()> {
        while !self.said.line(what).await?.is_empty() {}
        Ok(())
    }

    /// The rest of the next line that begins with `start`.
    pub(crate) async fn line(&self, start: &str) -> anyhow::Result<String> {
        self.said.line(start).await
    }
}

/// What a process says, line by line.
pub(crate) struct Said(mpsc::Receiver<String>);

impl Said {
    /// Reads what `child` writes from now on.
    pub(crate) fn of(child: &mut Child) -> anyhow::Result<Self> {
        let out = child.stdout.take().context("its output")?;
        let (said, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if said.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self(lines))
    }

    /// The rest of the next line that begins with `start`; others are skipped.
    pub(crate) async fn line(&self, start: &str) -> anyhow::Result<String> {
        let begun = now_us();
        loop {
            match self.0.try_recv() {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(start) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(mpsc::TryRecvError::Disconnected) => bail!("the process has ended without \"{start}\""),
                Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(2)).await,
            }
            ensure!(
                seconds_since(begun) < PATIENCE.as_secs_f64(),
                "the process does not say \"{start}\""
            );
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// From hello to the issued certificate, while the registration listener is flooded from the same prefix, and from
/// another one.
async fn joins() -> anyhow::Result<Vec<Row>> {
    let mut times = Vec::new();
    for (what, second) in [("its own", 0), ("another", 9)] {
        let server = Server::start(&Settings::default());
        let token = server.join_token(&json!({ "uses": JOINS })).await;
        let sources: Vec<IpAddr> = flood::neighbours(second, second);
        let connections = flood::possible(SLOW);
        let slow = Flood::slow(server.registration(), &sources, connections).await;
        let hello = serde_json::to_vec(&Applicant::new("flood").await.hello)?;
        let greeters = Flood::hellos(server.registration(), &sources, &hello, GREETERS);
        let mut each = Vec::new();
        let begun = now();
        for n in 0..JOINS {
            let applicant = Applicant::new(&format!("honest{n:02}")).await.with_token(&token);
            let before = now_us();
            applicant.join_by_token(&server).await;
            each.push(number(now_us() - before) / 1000.0);
        }
        let took = f64::from(i32::try_from(now() - begun).unwrap_or(i32::MAX)) / 1000.0;
        note(&format!(
            "flood: {connections} slow connections, {} opened and {} cut in all, {:.0} hellos/s, from {what} prefix: median {:.1} ms, worst {:.1} ms",
            slow.opened(),
            slow.cut(),
            number(greeters.opened() as u64) / took,
            median(each.clone()),
            each.iter().copied().fold(0.0, f64::max),
        ));
        times.push(each);
    }
    let all = times.concat();
    Ok(vec![
        Row::alone(
            "join_under_flood_ms",
            all.iter().copied().fold(0.0, f64::max),
            "ms",
        ),
        Row::alone("join_under_flood_p50_ms", median(all), "ms"),
    ])
}
